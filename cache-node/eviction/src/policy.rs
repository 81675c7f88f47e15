//! The names of the policies, as `CONFIG SET maxmemory-policy` takes them, and what each name asks for.
//!
//! Owns the names only; how a kind treats metadata is in `rules`, how it orders candidates in `evictor`.

use std::{error, fmt, str::FromStr};

/// A value of `maxmemory-policy`: Redis's names, and `allkeys-fifo`, `allkeys-s3`, `volatile-s3` and `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Nothing is evicted; writes that need memory fail.
    NoEviction,
    /// Any key may go, in the order of the kind.
    AllKeys(Kind),
    /// Only keys with a deadline may go, in the order of the kind.
    Volatile(Kind),
    /// Any key may go; LRU or a form of S3, whichever [`crate::Auto`] has found to miss less.
    Auto,
}

/// What a policy orders keys by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Least recently used: read or written.
    Lru,
    /// Least frequently used: Redis's logarithmic counter, decaying.
    Lfu,
    /// Least recently modified: reads do not count.
    Lrm,
    /// Any key.
    Random,
    /// The earliest deadline.
    Ttl,
    /// First in, first out: neither reads nor overwrites count.
    Fifo,
    /// Sampled S3-FIFO: new keys are on probation, where 10 % of the bytes are; keys used twice there move to the main part.
    S3,
    /// S3 with 20 % on probation, where one use is enough: for workloads in which keys come back soon. Only `auto` chooses it.
    S3Lenient,
}

impl Kind {
    /// Whether keys are on probation first, and size counts.
    pub fn is_s3(self) -> bool {
        matches!(self, Self::S3 | Self::S3Lenient)
    }

    /// S3 evicts from probation while it has more than this share of the bytes.
    pub(crate) fn probation_percent(self) -> u64 {
        if self == Self::S3Lenient { 20 } else { 10 }
    }

    /// With this many uses, a key on probation moves to the main part instead of going.
    pub(crate) fn uses_to_promote(self) -> u8 {
        if self == Self::S3Lenient { 1 } else { 2 }
    }
}

/// Every policy with its name.
const NAMES: [(&str, Policy); 14] = [
    ("noeviction", Policy::NoEviction),
    ("allkeys-lru", Policy::AllKeys(Kind::Lru)),
    ("allkeys-lfu", Policy::AllKeys(Kind::Lfu)),
    ("allkeys-lrm", Policy::AllKeys(Kind::Lrm)),
    ("allkeys-random", Policy::AllKeys(Kind::Random)),
    ("allkeys-fifo", Policy::AllKeys(Kind::Fifo)),
    ("allkeys-s3", Policy::AllKeys(Kind::S3)),
    ("volatile-lru", Policy::Volatile(Kind::Lru)),
    ("volatile-lfu", Policy::Volatile(Kind::Lfu)),
    ("volatile-lrm", Policy::Volatile(Kind::Lrm)),
    ("volatile-random", Policy::Volatile(Kind::Random)),
    ("volatile-ttl", Policy::Volatile(Kind::Ttl)),
    ("volatile-s3", Policy::Volatile(Kind::S3)),
    ("auto", Policy::Auto),
];

impl Policy {
    /// Every policy that has a name.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(_, policy)| *policy)
    }

    /// What keys are ordered by; `None` for `noeviction`, and for `auto`, where [`crate::Auto::choice`] says it.
    pub fn kind(self) -> Option<Kind> {
        match self {
            Self::AllKeys(kind) | Self::Volatile(kind) => Some(kind),
            Self::NoEviction | Self::Auto => None,
        }
    }

    /// Whether only keys with a deadline may be evicted.
    pub fn only_volatile(self) -> bool {
        matches!(self, Self::Volatile(_))
    }

    /// Whether a key may be evicted, given whether it has a deadline.
    pub fn admits(self, has_deadline: bool) -> bool {
        match self {
            Self::NoEviction => false,
            Self::Volatile(_) => has_deadline,
            Self::AllKeys(_) | Self::Auto => true,
        }
    }

    /// Whether keys evicted lately are to be remembered in a [`crate::Ghost`].
    pub fn keeps_ghost(self) -> bool {
        self == Self::Auto || self.kind().is_some_and(Kind::is_s3)
    }
}

impl FromStr for Policy {
    type Err = UnknownName;

    /// Takes a name in any case, as Redis does.
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, policy)| *policy)
            .ok_or(UnknownName)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Kinds without a name of their own (`allkeys-ttl`) cannot come from `from_str`; they are shown by their parts.
        match NAMES.iter().find(|(_, policy)| policy == self) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{self:?}"),
        }
    }
}

/// How much S3 weighs size: candidates compete by `age x bytes^alpha`. The values of `maxmemory-eviction-size-weight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SizeWeight {
    /// 0: by age alone. Protects the origin's bandwidth (byte misses).
    None,
    /// 0.5: the balance.
    #[default]
    Root,
    /// 1: a key of twice the size goes at half the age. Protects the origin's request rate (object misses).
    Full,
}

impl SizeWeight {
    /// `bytes^alpha` in sixteenths, at least 1, below 2^36.
    pub(crate) fn of(self, bytes: u32) -> u64 {
        match self {
            Self::None => 16,
            Self::Root => (16.0 * (bytes as f32).sqrt()).max(1.0) as u64,
            Self::Full => 16 * u64::from(bytes.max(1)),
        }
    }
}

impl FromStr for SizeWeight {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "0" => Ok(Self::None),
            "0.5" => Ok(Self::Root),
            "1" => Ok(Self::Full),
            _ => Err(UnknownName),
        }
    }
}

impl fmt::Display for SizeWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "0",
            Self::Root => "0.5",
            Self::Full => "1",
        })
    }
}

/// The text names no policy, or no size weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownName;

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown name")
    }
}

impl error::Error for UnknownName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_in_any_case() {
        for (name, policy) in NAMES {
            assert_eq!(name.parse(), Ok(policy));
            assert_eq!(name.to_uppercase().parse(), Ok(policy));
            assert_eq!(policy.to_string(), name);
        }
        assert_eq!("allkeys-ttl".parse::<Policy>(), Err(UnknownName));
        assert_eq!("".parse::<Policy>(), Err(UnknownName));
    }

    #[test]
    fn only_volatile_policies_spare_keys_without_a_deadline() {
        for policy in Policy::all() {
            assert_eq!(
                policy.only_volatile(),
                policy.to_string().starts_with("volatile-")
            );
            assert_eq!(policy.admits(true), policy != Policy::NoEviction);
            assert_eq!(
                policy.admits(false),
                policy != Policy::NoEviction && !policy.only_volatile()
            );
        }
    }

    #[test]
    fn a_size_weight_grows_with_size_as_its_exponent_says() {
        for (name, ratio) in [("0", 1), ("0.5", 10), ("1", 100)] {
            let weight: SizeWeight = name.parse().unwrap();
            assert_eq!(weight.to_string(), name);
            assert_eq!(weight.of(6400), ratio * weight.of(64));
            assert!(weight.of(0) > 0);
        }
        assert_eq!("2".parse::<SizeWeight>(), Err(UnknownName));
    }
}
