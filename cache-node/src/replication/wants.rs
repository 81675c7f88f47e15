//! What a replica wants of the node that it connects to.

use std::fmt;
use std::str::FromStr;

/// What a replica wants of the node that it connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// To be its replica. If that takes a full sync, another replica may send that.
    Replication,
    /// The same, but the full sync is to come from that node, too.
    OwnCopy,
    /// Nothing but a full sync: it is its primary's replica, as that node is.
    CopyOnly,
}

const NAMES: [(Wants, &str); 3] = [
    (Wants::Replication, "replication"),
    (Wants::OwnCopy, "own-copy"),
    (Wants::CopyOnly, "copy-only"),
];

impl fmt::Display for Wants {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(wants, _)| wants == self);
        formatter.write_str(name.map_or("", |(_, name)| name))
    }
}

impl FromStr for Wants {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let wants = NAMES.iter().find(|(_, name)| *name == text);
        wants.map(|(wants, _)| *wants).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for (wants, name) in NAMES {
            assert_eq!(wants.to_string(), name);
            assert_eq!(name.parse(), Ok(wants));
        }
        assert_eq!("all".parse::<Wants>(), Err(()));
    }
}
