//! Whose data a shard goes on with when its primary has restarted and no replica has all that it had. Pure.
//!
//! Then something may be lost for good, and the question is what is left: what the members have loaded from their disks, or what a replica
//! had from an earlier primary. Nothing is decided while a member is not heard, because that one may have more.

use super::request::LocalStatus;
use crate::topology::{NodeId, Shard};

/// A member of the shard, as it describes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) node: NodeId,
    pub(super) incarnation: u64,
    pub(super) status: LocalStatus,
}

impl Candidate {
    /// Whether it is a replica that has had all that the shard's primary had.
    pub(super) fn is_whole(&self, shard: &Shard) -> bool {
        let primary = (shard.primary, shard.primary_incarnation);
        self.node != primary.0 && self.status.healthy && self.status.copied == Some(primary)
    }
}

/// The one among all `members` whose data are to be the shard's. The former `primary`, unless it has lost its data and another one has some, or
/// another one has loaded more of the same history. None when it has lost its data and somebody has a mixture of old and new, which
/// nobody should be shown, but an administrator may want to keep.
pub(super) fn choose(primary: NodeId, members: &[Candidate]) -> Option<Candidate> {
    let former = members.iter().find(|member| member.node == primary)?;
    let usable = || members.iter().filter(|member| member.status.healthy);
    if former.status.keys == 0 {
        let mixture = members.iter().any(|member| !member.status.healthy);
        let best = usable().max_by_key(|member| worth(member, former));
        return best.filter(|_| !mixture).copied();
    }
    let further = usable().filter(|member| is_further(member, former));
    Some(
        *further
            .max_by_key(|member| worth(member, former))
            .unwrap_or(former),
    )
}

/// Whether a member has loaded a later state of what the former primary has loaded.
fn is_further(member: &Candidate, former: &Candidate) -> bool {
    match (member.status.loaded, former.status.loaded) {
        (Some((history, offset)), Some((its, before))) => history == its && offset > before,
        _ => false,
    }
}

/// Data that are still in memory since an earlier primary, before what was loaded; then the most of them. Without data, the former primary.
fn worth(member: &Candidate, former: &Candidate) -> (bool, bool, u64, u64, bool, NodeId) {
    let status = member.status;
    let loaded = status.loaded.map_or(0, |(_, offset)| offset);
    (
        status.keys > 0,
        status.copied.is_some(),
        loaded.max(status.offset),
        status.keys,
        member.node == former.node,
        member.node,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::new([number; 20])
    }

    /// A member with so many keys, loaded at an offset of one history, if any.
    fn member(number: u8, keys: u64, offset: Option<u64>) -> Candidate {
        Candidate {
            node: node(number),
            incarnation: 5,
            status: LocalStatus {
                keys,
                healthy: true,
                loaded: offset.map(|offset| (node(99), offset)),
                ..LocalStatus::default()
            },
        }
    }

    fn chosen(members: &[Candidate]) -> Option<NodeId> {
        choose(node(1), members).map(|member| member.node)
    }

    #[test]
    fn the_former_primary_goes_on_when_all_are_empty_or_it_has_data() {
        assert_eq!(
            chosen(&[member(1, 0, None), member(2, 0, None)]),
            Some(node(1))
        );
        assert_eq!(
            chosen(&[member(1, 3, None), member(2, 9, None)]),
            Some(node(1))
        );
        assert_eq!(
            chosen(&[member(2, 9, Some(8)), member(1, 3, None)]),
            Some(node(1))
        );
    }

    #[test]
    fn an_empty_primary_is_followed_by_whoever_has_most() {
        let replicas = [
            member(1, 0, None),
            member(2, 9, Some(80)),
            member(3, 7, Some(90)),
        ];
        assert_eq!(chosen(&replicas), Some(node(3)));
        let mut living = member(4, 1, None);
        living.status.copied = Some((node(8), 1));
        assert_eq!(chosen(&[&replicas[..], &[living]].concat()), Some(node(4)));
    }

    #[test]
    fn the_later_state_of_one_history_counts() {
        assert_eq!(
            chosen(&[member(1, 9, Some(80)), member(2, 3, Some(90))]),
            Some(node(2))
        );
        assert_eq!(
            chosen(&[member(1, 9, Some(80)), member(2, 3, Some(80))]),
            Some(node(1))
        );
        let mut other = member(2, 3, None);
        other.status.loaded = Some((node(7), 1000));
        assert_eq!(chosen(&[member(1, 9, Some(80)), other]), Some(node(1)));
    }

    #[test]
    fn a_mixture_is_neither_used_nor_wiped_by_an_empty_primary() {
        let mut mixture = member(2, 50, None);
        mixture.status.healthy = false;
        assert_eq!(chosen(&[member(1, 0, None), mixture]), None);
        assert_eq!(chosen(&[member(1, 2, None), mixture]), Some(node(1)));
    }

    #[test]
    fn nothing_is_decided_without_the_former_primary() {
        assert_eq!(chosen(&[member(2, 9, Some(8))]), None);
    }
}
