//! Which history of changes a data set belongs to, and up to where two histories are the same.
//!
//! A history is what one primary did after the other's last change: whoever becomes a primary begins one. A replica's data are a place in its
//! primary's: (history, offset). They can be brought up to date by the log of whoever has the same history, or one that branched off
//! behind that place. The names are Redis's replication ids.

use crate::topology::NodeId;

/// A history and the one that it branched off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Its name.
    pub id: NodeId,
    /// The name of the one before, and the offset up to which both are the same.
    pub before: Option<(NodeId, u64)>,
}

impl History {
    /// One that has nothing in common with any other.
    pub fn begin() -> Self {
        Self {
            id: NodeId::random(),
            before: None,
        }
    }

    /// Whether a data set at `offset` of the history `id` comes by here.
    pub fn passes(&self, id: NodeId, offset: u64) -> bool {
        id == self.id
            || self
                .before
                .is_some_and(|(before, end)| before == id && offset <= end)
    }

    /// The one that begins when whoever has applied this up to `offset` becomes a primary.
    pub fn branch(&self, offset: u64) -> Self {
        Self {
            id: NodeId::random(),
            before: Some((self.id, offset)),
        }
    }
}

/// How a primary answers a replica: what follows on the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Everything (`FULL`), or what is missing (`CONTINUE`).
    pub full: bool,
    /// The primary's history.
    pub history: History,
    /// The log's end at the primary.
    pub end: u64,
    /// Number of its keys, about.
    pub keys: u64,
    /// Bytes that they take, about.
    pub bytes: u64,
    /// Where everything is to be had instead: another replica, by host and port.
    pub sibling: Option<(String, u16)>,
}

impl Answer {
    /// The line, without its end.
    pub fn line(&self) -> String {
        let word = if self.full { "FULL" } else { "CONTINUE" };
        let (before, until) = self.history.before.unwrap_or((NodeId::new([0; 20]), 0));
        let Self {
            history,
            end,
            keys,
            bytes,
            ..
        } = self;
        let mut line = format!(
            "{word} {} {before} {until} {end} {keys} {bytes}",
            history.id
        );
        if let Some((host, port)) = &self.sibling {
            line.push_str(&format!(" {host} {port}"));
        }
        line
    }

    /// Reads the line; `None` when it is not one.
    pub fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let full = match words.next()? {
            "FULL" => true,
            "CONTINUE" => false,
            _ => return None,
        };
        let id = words.next()?.parse().ok()?;
        let before: NodeId = words.next()?.parse().ok()?;
        let mut number = || words.next()?.parse::<u64>().ok();
        let until = number()?;
        Some(Self {
            full,
            history: History {
                id,
                before: (before != NodeId::new([0; 20])).then_some((before, until)),
            },
            end: number()?,
            keys: number()?,
            bytes: number()?,
            sibling: match (words.next(), words.next()) {
                (Some(host), Some(port)) => Some((host.to_owned(), port.parse().ok()?)),
                _ => None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_passes_by_what_it_branched_off() {
        let old = History::begin();
        assert!(old.passes(old.id, 1000));
        let new = old.branch(500);
        assert!(new.passes(old.id, 500));
        assert!(!new.passes(old.id, 501));
        assert!(new.passes(new.id, 501));
        assert!(!old.passes(new.id, 1));
        assert!(!new.branch(700).passes(old.id, 1));
    }

    #[test]
    fn answers_survive_the_wire() {
        for history in [History::begin(), History::begin().branch(77)] {
            let answer = Answer {
                full: history.before.is_some(),
                sibling: history.before.map(|_| ("2001:db8::1".to_owned(), 6379)),
                history,
                end: 1,
                keys: 2,
                bytes: 3,
            };
            assert_eq!(Answer::read(&answer.line()), Some(answer));
        }
        assert_eq!(Answer::read("OK"), None);
        assert_eq!(Answer::read("FULL 1 2 3"), None);
    }
}
