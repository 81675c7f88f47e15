//! The data that move: how many keys of which length, how a server comes to have them, and how many bytes that is.

use anyhow::{Result, bail};

use crate::generator::encode::Requests;
use crate::generator::keys::{Distribution, Keys};
use crate::inspect;
use crate::servers::Kind;
use crate::servers::discovery::Installed;
use crate::servers::process::{Extra, Running};
use crate::session::Session;
use crate::workload::{self, Life};

/// Bytes of a key.
const KEY: u64 = 16;

/// A data set of strings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data {
    /// Number of keys.
    pub(super) keys: u64,
    /// Bytes of a value, random letters.
    pub(super) value: usize,
}

impl Data {
    /// Bytes of so many keys with their values, in millions.
    pub(super) fn megabytes(&self, keys: u64) -> f64 {
        (keys * (KEY + self.value as u64)) as f64 / 1e6
    }

    /// The key with this index, as the generator writes it.
    pub(super) fn key(index: u64) -> String {
        format!("key:{index:012}")
    }

    /// Starts a server that has the data.
    ///
    /// # Errors
    /// If it does not start or does not take them.
    pub(super) fn start(
        &self,
        session: &Session,
        installed: &Installed,
        arguments: &[&str],
    ) -> Result<Running> {
        let server = session.start_with(installed, &extra(installed.kind, arguments))?;
        self.fill(session, &server)?;
        Ok(server)
    }

    /// Writes each key once.
    ///
    /// # Errors
    /// If the server does not take all.
    pub(super) fn fill(&self, session: &Session, server: &Running) -> Result<()> {
        let keys = Keys::sequence(0, self.keys);
        let requests = workload::fill(server.kind.protocol(), self.value, Life::Forever, keys);
        session.load(server, requests)?;
        self.check(server)
    }

    /// Makes sure that a server has all keys.
    ///
    /// # Errors
    /// If it has not.
    pub(super) fn check(&self, server: &Running) -> Result<()> {
        let there = inspect::keys(server)?;
        if there != self.keys {
            bail!("{there} keys of {} are there", self.keys);
        }
        Ok(())
    }

    /// An endless stream of writes to existing keys for each thread of the generator.
    pub(super) fn writes(&self, session: &Session, kind: Kind) -> Vec<Requests> {
        let stream = |_| {
            let keys = session.choose(Distribution::Uniform, self.keys);
            workload::fill(kind.protocol(), self.value, Life::Forever, keys)
        };
        (0..session.threads()).map(stream).collect()
    }
}

/// Arguments that put all on the same footing, and more: no compression, which has nothing to do in random letters; full syncs begin at
/// once, and are not given up because the replica has not taken all that was written meanwhile.
pub(super) fn extra(kind: Kind, arguments: &[&str]) -> Extra {
    let peers: &[&str] = &[
        "--repl-diskless-sync-delay",
        "0",
        "--client-output-buffer-limit",
        "replica 0 0 0",
        "--auto-aof-rewrite-percentage",
        "0",
    ];
    let own = if kind == Kind::CacheNode { &[] } else { peers };
    let all = ["--rdbcompression", "no"]
        .iter()
        .chain(own)
        .chain(arguments);
    Extra {
        arguments: all.map(ToString::to_string).collect(),
        ..Extra::default()
    }
}
