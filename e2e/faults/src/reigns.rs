//! Who took writes after whom. Pure.

use std::net::SocketAddr;

/// A write that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// When it was sent, in nanoseconds of the history's clock.
    pub invoked: u64,
    /// When the answer came.
    pub completed: u64,
    /// Who gave it.
    pub by: SocketAddr,
}

/// A longest sequence of writes on one slot in which each was sent after the one before was answered, and by another node;
/// told by the nodes. One primary after the other makes as many as there were; two at a time make as many as
/// there are turns.
#[must_use]
pub fn reigns(writes: &[Acknowledged]) -> Vec<SocketAddr> {
    let mut by_end: Vec<&Acknowledged> = writes.iter().collect();
    by_end.sort_by_key(|write| write.completed);
    let mut turns: Vec<&Acknowledged> = vec![];
    // To take the one that ends first leaves the most for those that come after it.
    for write in by_end {
        let follows = |last: &&Acknowledged| last.by != write.by && last.completed < write.invoked;
        if turns.last().is_none_or(follows) {
            turns.push(write);
        }
    }
    turns.into_iter().map(|write| write.by).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(invoked: u64, completed: u64, by: u16) -> Acknowledged {
        Acknowledged {
            invoked,
            completed,
            by: ([127, 0, 0, 1], by).into(),
        }
    }

    fn ports(writes: &[Acknowledged]) -> Vec<u16> {
        reigns(writes).iter().map(SocketAddr::port).collect()
    }

    #[test]
    fn one_primary_after_the_other_is_a_reign_each() {
        let writes = [
            write(0, 1, 1),
            write(2, 9, 1),
            write(3, 10, 2),
            write(11, 12, 2),
        ];
        assert_eq!(ports(&writes), [1, 2]);
    }

    #[test]
    fn what_is_under_way_at_once_is_no_turn() {
        assert_eq!(
            ports(&[write(0, 9, 1), write(1, 8, 2), write(2, 7, 1)]),
            [1]
        );
    }

    #[test]
    fn two_primaries_at_a_time_make_a_turn_with_each_write() {
        let writes = [
            write(0, 1, 1),
            write(2, 3, 2),
            write(4, 5, 1),
            write(6, 7, 2),
        ];
        assert_eq!(ports(&writes), [1, 2, 1, 2]);
    }
}
