//! The slow log: the latest commands that took long.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;

use crate::resp::Args;

/// Most arguments of a command that are kept.
const MAX_ARGS: usize = 32;

/// Most bytes of an argument that are kept.
const MAX_ARG: usize = 128;

/// A slow command.
#[derive(Clone, Debug)]
pub struct Slow {
    /// Rises with every entry.
    pub id: u64,
    /// When it ran, in seconds since the epoch.
    pub time: u64,
    /// How long it took.
    pub took: Duration,
    /// Its arguments, shortened.
    pub args: Vec<Vec<u8>>,
    /// Address of the client.
    pub peer: String,
    /// Name of the client.
    pub name: String,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    entries: VecDeque<Slow>,
}

/// The slow log, latest first.
#[derive(Debug, Default)]
pub struct SlowLog(Mutex<Entries>);

impl SlowLog {
    /// Adds a command, and forgets the oldest beyond `limit`.
    pub fn add(&self, mut slow: Slow, limit: usize) {
        let mut entries = self.0.lock();
        slow.id = entries.next;
        entries.next += 1;
        entries.entries.push_front(slow);
        entries.entries.truncate(limit);
    }

    /// The latest `count` commands.
    pub fn latest(&self, count: usize) -> Vec<Slow> {
        self.0.lock().entries.iter().take(count).cloned().collect()
    }

    /// Number of commands held.
    pub fn len(&self) -> usize {
        self.0.lock().entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.0.lock().entries.clear();
    }
}

/// The arguments as the slow log keeps them.
pub fn shortened(args: Args<'_>) -> Vec<Vec<u8>> {
    let kept = if args.len() > MAX_ARGS {
        MAX_ARGS - 1
    } else {
        args.len()
    };
    let mut short: Vec<Vec<u8>> = args
        .iter()
        .take(kept)
        .map(|arg| match arg.get(..MAX_ARG) {
            Some(head) if arg.len() > MAX_ARG => {
                let more = format!("... ({} more bytes)", arg.len() - MAX_ARG);
                [head, more.as_bytes()].concat()
            }
            _ => arg.to_vec(),
        })
        .collect();
    if kept < args.len() {
        short.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    #[test]
    fn long_commands_are_shortened() {
        let long = vec![b'x'; 200];
        let args = OwnedArgs::new(std::iter::repeat_n(long.as_slice(), 40));
        let short = shortened(args.as_args());
        assert_eq!(short.len(), 32);
        assert!(short[0].ends_with(b"... (72 more bytes)"));
        assert_eq!(short[31], b"... (9 more arguments)");
    }
}
