//! What waits for the disk.
//!
//! A write may take seconds, and a node that is silent as long as its disk is would be taken for dead. So the bus goes on meanwhile, and what it
//! says then waits for the write under way, or for the next one, which holds all that has changed since. Only what no promise is in
//! overtakes: that the node lives, what it wants of the leader, and that a request has not been answered in time.

use super::message::Body;
use super::{Action, Persisted, RequestError};
use crate::topology::NodeId;

/// Most actions that wait for one write. Messages beyond that are lost, as messages may be.
const MOST_HELD: usize = 16_384;

/// See the module. Pure.
#[derive(Debug, Default)]
pub struct Held {
    /// The node and its incarnation that are on disk. Before that nobody may hear of them, since the next process would not know.
    known: Option<(NodeId, u64)>,
    writing: Option<Waiting>,
    /// What is written after that, if anything.
    next: Option<(Box<Persisted>, Waiting)>,
}

#[derive(Debug)]
struct Waiting {
    /// Whom that makes known.
    known: (NodeId, u64),
    actions: Vec<Action>,
}

impl Waiting {
    fn new(persisted: &Persisted) -> Self {
        Self {
            known: (persisted.node, persisted.incarnation),
            actions: Vec::new(),
        }
    }

    fn hold(&mut self, action: Action) {
        let may_be_lost = matches!(action, Action::Send { .. });
        if self.actions.len() < MOST_HELD || !may_be_lost {
            self.actions.push(action);
        }
    }
}

impl Held {
    /// What is to be done now of what the bus wants. An [`Action::Persist`] in it is to be begun, and nothing waits until it is done: that is
    /// told by [`Held::written`]. There is none while another one is under way.
    pub fn take(&mut self, actions: Vec<Action>) -> Vec<Action> {
        actions
            .into_iter()
            .filter_map(|action| self.take_one(action))
            .collect()
    }

    fn take_one(&mut self, action: Action) -> Option<Action> {
        let overtakes = self.overtakes(&action);
        let Some(writing) = &mut self.writing else {
            if let Action::Persist(persisted) = &action {
                self.writing = Some(Waiting::new(persisted));
            }
            return Some(action);
        };
        match (action, &mut self.next) {
            (action, _) if overtakes => return Some(action),
            (Action::Persist(newer), Some((persisted, waiting))) => {
                waiting.known = (newer.node, newer.incarnation);
                *persisted = newer;
            }
            (Action::Persist(persisted), next) => {
                let waiting = Waiting::new(&persisted);
                *next = Some((persisted, waiting));
            }
            (action, Some((_, waiting))) => waiting.hold(action),
            (action, None) => writing.hold(action),
        }
        None
    }

    fn overtakes(&self, action: &Action) -> bool {
        match action {
            Action::Report
            | Action::Reply {
                result: Err(RequestError::TimedOut(_)),
                ..
            } => true,
            Action::Send { message, .. } => {
                let sender = &message.sender;
                // A question for a lease must not arrive before the proposal that it belongs to.
                let wishes = matches!(
                    message.body,
                    Body::Heartbeat(_) | Body::AskLease { .. } | Body::Forward { .. }
                );
                wishes && self.known == Some((sender.node, sender.incarnation))
            }
            _ => false,
        }
    }

    /// The write under way is done: what is to be done now, as from [`Held::take`].
    pub fn written(&mut self) -> Vec<Action> {
        let Some(done) = self.writing.take() else {
            return Vec::new();
        };
        self.known = Some(done.known);
        let mut actions = done.actions;
        if let Some((persisted, waiting)) = self.next.take() {
            self.writing = Some(waiting);
            actions.push(Action::Persist(persisted));
        }
        actions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::machine::{Proposal, ProposalId};
    use crate::bus::{Bus, Config, Destination, Event, Message, Request};
    use crate::topology::{Address, TopologyCommand};

    fn bus() -> Bus {
        let address = Address {
            ip: "10.0.0.1".to_owned(),
            port: 1,
            bus_port: 2,
            hostname: String::new(),
        };
        let config = Config {
            address,
            node_timeout: 2_000,
        };
        Bus::new(config, None, 0, 1).unwrap()
    }

    fn names(actions: &[Action]) -> Vec<&'static str> {
        let name = |action: &Action| match action {
            Action::Send { .. } => "send",
            Action::Persist(_) => "persist",
            Action::Publish(_) => "publish",
            Action::Report => "report",
            Action::Reply { .. } => "reply",
        };
        actions.iter().map(name).collect()
    }

    /// A leader would not know what the question for a lease is about if that came before the proposal.
    #[test]
    fn wishes_overtake_in_their_order_and_promises_do_not() {
        let (mut bus, mut held) = (bus(), Held::default());
        let start = bus.handle(Event::Tick, 0);
        let again = start.clone();
        held.take(start);
        let proposal = Proposal {
            id: ProposalId {
                node: bus.myself(),
                incarnation: bus.incarnation(),
                sequence: 1,
            },
            command: TopologyCommand::RemoveWitness,
        };
        let bodies = [
            Body::Forward { proposal, hops: 1 },
            Body::AskLease { stamp: 1 },
            Body::WantTopology,
        ];
        let send = |body: &Body| Action::Send {
            to: Destination {
                node: None,
                address: bus.sender().address,
            },
            message: Box::new(Message {
                to: None,
                sender: bus.sender(),
                body: body.clone(),
                index: 1,
            }),
        };
        let sent: Vec<Action> = bodies.iter().map(send).collect();
        // Nobody may hear of a node that the next process would not be.
        assert!(held.take(sent.clone()).is_empty());
        held.written();
        held.take(again);
        let kinds = held.take(sent).into_iter().map(|action| match action {
            Action::Send { message, .. } => message.body,
            other => panic!("{other:?}"),
        });
        assert_eq!(kinds.collect::<Vec<_>>(), bodies[..2]);
    }

    /// It has another life by now, and leases are for that.
    #[test]
    fn no_lease_is_shown_for_a_role_that_is_not_seen() {
        let mut bus = bus();
        bus.handle(Event::Tick, 0);
        let seen = bus.published();
        assert!(bus.lease_until() > 500);
        assert_eq!(bus.lease_under(&seen, 500), bus.lease_until());
        let (token, request) = (1, Request::Reset { hard: false });
        bus.handle(Event::Request { token, request }, 10);
        for now in 1..5 {
            bus.handle(Event::Tick, now * 50);
        }
        assert!(bus.lease_until() > 500);
        assert_eq!(bus.lease_under(&seen, 500), 500);
        let now = bus.published();
        assert_eq!(bus.lease_under(&now, 500), bus.lease_until());
    }

    #[test]
    fn what_follows_a_write_waits_for_it_and_what_follows_the_next_for_that() {
        let (mut bus, mut held) = (bus(), Held::default());
        assert_eq!(names(&held.take(bus.handle(Event::Tick, 0))), ["persist"]);
        let node = bus.myself();
        let mut propose = |slot: u16, now| {
            let slots = std::iter::once(crate::slot::SlotId::new(slot).unwrap()).collect();
            let command = TopologyCommand::AddSlots { node, slots };
            let request = Request::Propose(command);
            let token = slot.into();
            bus.handle(Event::Request { token, request }, now)
        };
        assert!(held.take(propose(1, 10)).is_empty());
        assert!(held.take(propose(2, 20)).is_empty());
        assert_eq!(names(&held.written()), ["publish", "persist"]);
        // One write for both.
        let both = held.written();
        assert_eq!(names(&both), ["publish", "reply", "publish", "reply"]);
        let indexes = both.iter().filter_map(|action| match action {
            Action::Publish(published) => Some(published.topology.assigned().len()),
            _ => None,
        });
        assert_eq!(indexes.collect::<Vec<_>>(), [1, 2]);
        assert!(held.written().is_empty());
    }

    #[test]
    fn a_disk_that_stands_still_keeps_no_request_waiting() {
        let (mut bus, mut held) = (bus(), Held::default());
        held.take(bus.handle(Event::Tick, 0));
        let token = 1;
        let late = Err(RequestError::TimedOut(5_000));
        for (result, overtakes) in [(Ok(1), false), (late, true)] {
            let actions = held.take(vec![Action::Reply { token, result }]);
            assert_eq!(actions.len(), usize::from(overtakes));
        }
    }
}
