//! Why a command did not do what it was asked. The texts are Redis's own, since clients match on them.

use std::borrow::Cow;

use super::wait::Wait;

/// Why a handler stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The client gets this error; it begins with its code.
    Error(Cow<'static, str>),
    /// Something that the handler needs is not there yet, such as a slot that another thread holds; it has changed nothing and is called
    /// again later.
    Wait(Wait),
}

/// What a handler answers; it has written the reply itself when it succeeds.
pub type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    /// An error with this text.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Error(text.into())
    }
}

/// A constant error.
pub(crate) const fn error(text: &'static str) -> Failure {
    Failure::Error(Cow::Borrowed(text))
}

pub(crate) const SYNTAX: Failure = error("ERR syntax error");
pub(crate) const NOT_INTEGER: Failure = error("ERR value is not an integer or out of range");
pub(crate) const NOT_FLOAT: Failure = error("ERR value is not a valid float");
pub(crate) const WRONG_TYPE: Failure =
    error("WRONGTYPE Operation against a key holding the wrong kind of value");
pub(crate) const NO_KEY: Failure = error("ERR no such key");
pub(crate) const OVERFLOW: Failure = error("ERR increment or decrement would overflow");
pub(crate) const NOT_FINITE: Failure = error("ERR increment would produce NaN or Infinity");
pub(crate) const TOO_LONG: Failure =
    error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
pub(crate) const OUT_OF_MEMORY: Failure =
    error("OOM command not allowed when used memory > 'maxmemory'.");
pub(crate) const NO_REPLICAS: Failure = error(
    "NOREPLICAS Not enough good replicas to write (min-replicas-to-write, min-replicas-max-lag, synchronous-replicas).",
);
pub(crate) const NO_LEASE: Failure = error(
    "CLUSTERDOWN No majority of the voters has confirmed this primary in time: it takes no writes, because another node may",
);
pub(crate) const CROSS_SLOT: Failure =
    error("CROSSSLOT Keys in request don't hash to the same slot");
pub(crate) const TRY_AGAIN: Failure =
    error("TRYAGAIN Multiple keys request during rehashing of slot");
pub(crate) const READ_ONLY: Failure =
    error("READONLY You can't write against a read only replica.");
pub(crate) const UNBLOCKED: Failure = error(
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
);
pub(crate) const LOADING: Failure = error("LOADING Redis is loading the dataset in memory");
pub(crate) const NO_AUTH: Failure = error("NOAUTH Authentication required.");

/// `name` was called with too few or too many arguments.
pub(crate) fn wrong_arity(name: &str) -> Failure {
    Failure::new(format!(
        "ERR wrong number of arguments for '{name}' command"
    ))
}

/// `name` has an expiry time that cannot be.
pub(crate) fn invalid_expire(name: &str) -> Failure {
    Failure::new(format!("ERR invalid expire time in '{name}' command"))
}
