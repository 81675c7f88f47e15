//! What the bus costs a node of a big cluster, in the steady state and while things happen.

use std::time::Duration;

use super::super::traffic::{Load, Traffic};
use super::*;
use crate::topology::{Migration, MigrationId};

/// How long is measured, in ms.
const WINDOW: u64 = 10_000;
/// What a node may send in a second, and receive, in any cluster, and for each member beside that: 100 KB in one of 1,000. In bytes.
const BYTES: u64 = 20_000;
const BYTES_A_MEMBER: u64 = 80;

/// The load of one second, averaged over the window.
struct Figures {
    nodes: usize,
    /// The node that has sent most, and the one that has received most.
    sent: Load,
    received: Load,
    /// All nodes together, divided by their number.
    mean: Load,
}

impl Figures {
    fn of(traffic: &Traffic) -> Self {
        let seconds = WINDOW / 1_000;
        let a_second = |load: Load| Load {
            messages: load.messages / seconds,
            bytes: load.bytes / seconds,
        };
        let most = |loads: &[Load]| {
            let most = loads.iter().copied().max_by_key(|load| load.bytes);
            a_second(most.unwrap_or_default())
        };
        let nodes = traffic.sent.len();
        let sum =
            |count: fn(&Load) -> u64| traffic.sent.iter().map(count).sum::<u64>() / nodes as u64;
        Self {
            nodes,
            sent: most(&traffic.sent),
            received: most(&traffic.received),
            mean: a_second(Load {
                messages: sum(|load| load.messages),
                bytes: sum(|load| load.bytes),
            }),
        }
    }

    fn check(&self, what: &str) {
        let Self {
            nodes,
            sent,
            received,
            mean,
        } = self;
        println!("{nodes} nodes, {what}: sent {sent:?}, received {received:?}, mean {mean:?}");
        let most = BYTES + BYTES_A_MEMBER * *nodes as u64;
        assert!(sent.bytes <= most, "{what}: {} bytes sent", sent.bytes);
        assert!(
            received.bytes <= most,
            "{what}: {} bytes received",
            received.bytes
        );
    }
}

/// A ready cluster in which every node has spoken to every other one, so that all connections are there.
fn settled(shards: usize) -> Simulation {
    let mut s = Simulation::ready(1, shards, CALM);
    s.traffic = Some(Traffic::new(2 * shards));
    s.run_until("all primaries take writes", 20_000, |s| {
        (0..shards).all(|node| s.takes_writes(node))
    });
    // Eight a round, ten rounds a second.
    s.run(2 * shards as u64 * 1_000 / 80);
    s
}

fn measure(s: &mut Simulation, what: &str, happen: impl FnOnce(&mut Simulation)) {
    if let Some(traffic) = &mut s.traffic {
        traffic.reset();
    }
    let began = s.now;
    happen(s);
    let passed = s.now - began;
    assert!(passed <= WINDOW, "{what}: {passed} ms");
    s.run(WINDOW - passed);
    if let Some(traffic) = &s.traffic {
        Figures::of(traffic).check(what);
        if let Some(busy) = &traffic.busy {
            print_busy(busy);
        }
    }
}

/// How much of one core of this machine the busiest bus takes, and the one in the middle.
fn print_busy(busy: &[Duration]) {
    let mut busy = busy.to_vec();
    busy.sort_unstable();
    let share = |busy: Duration| busy.as_secs_f64() / (WINDOW as f64 / 1_000.0) * 100.0;
    let most = busy.last().copied().unwrap_or_default();
    let median = busy[busy.len() / 2];
    println!(
        "busy: most {:.2} %, median {:.2} %",
        share(most),
        share(median)
    );
}

/// A slot a second moves from one shard to another: two entries each.
fn move_slots(s: &mut Simulation) {
    for step in 0..WINDOW / 1_000 {
        let shards = s.machines.len() / 2;
        let (source, target) = (step as usize % shards, (step as usize + 7) % shards);
        let (from, to) = (s.home(source).unwrap(), s.home(target).unwrap());
        let shard = |s: &Simulation, id| s.topology(source).shards[&id].clone();
        let slots = shard(s, from).slots.iter().take(1).collect();
        let id = MigrationId::new([step as u8; 20]);
        let migration = Migration {
            source: from,
            target: to,
            slots,
        };
        let begin = TopologyCommand::BeginMigration { id, migration };
        let began = s.request(source, Request::Propose(begin));
        s.run(500);
        let complete = TopologyCommand::CompleteMigration {
            id,
            source_since: shard(s, from).primary_since,
            target_since: shard(s, to).primary_since,
        };
        let completed = s.request(source, Request::Propose(complete));
        s.run(499);
        for token in [began, completed] {
            assert!(matches!(s.replies.get(&token), Some(Ok(_))), "step {step}");
        }
    }
}

fn costs(mut s: Simulation) {
    let shards = s.machines.len() / 2;
    let topology = postcard::to_stdvec(s.topology(0)).unwrap().len();
    println!(
        "a topology of {} members takes {topology} bytes",
        2 * shards
    );
    measure(&mut s, "steady state", |_| {});
    measure(&mut s, "a slot a second moves", move_slots);
    // Neither a voter nor of a shard with one.
    let victim = shards / 2;
    measure(&mut s, "a primary dies", |s| {
        s.crash(victim);
        let replica = victim + shards;
        s.run_until("its replica follows", 3_000, |s| s.takes_writes(replica));
    });
    measure(&mut s, "it comes back", |s| s.start(victim));
    let leader = s.leader().unwrap();
    measure(&mut s, "the leader dies", |s| s.crash(leader));
    s.run_until("all shards are served", 5_000, |s| {
        (0..shards).all(|node| s.takes_writes(node) || s.takes_writes(node + shards))
    });
}

/// Few nodes hear each other here; all know all the same.
#[test]
fn in_a_big_cluster_everybody_knows_who_has_failed_and_who_is_back() {
    const SHARDS: usize = 30;
    for seed in seeds(4) {
        let mut s = Simulation::ready(seed, SHARDS, CALM);
        s.run_until("all primaries take writes", 5_000, |s| {
            (0..SHARDS).all(|node| s.takes_writes(node))
        });
        // No primary says any more that it has no lease.
        s.run(1_000);
        let leader = s.leader().unwrap();
        let silent = (leader + 7) % SHARDS;
        let crashed = (leader + 11) % SHARDS;
        let ids = [s.id(silent), s.id(crashed)];
        s.machines[silent].side = 1;
        s.crash(crashed);
        let began = s.now;
        s.run_until("a replica follows the dead", 1_000, |s| {
            s.takes_writes(crashed + SHARDS)
        });
        let left = 2_500 - (s.now - began);
        s.run_until("a replica follows the silent", left, |s| {
            s.takes_writes(silent + SHARDS)
        });
        let others = |s: &Simulation| {
            let nodes = 0..s.machines.len();
            let up = nodes.filter(|node| ![silent, crashed].contains(node));
            up.collect::<Vec<_>>()
        };
        s.run_until("all see both fail, and nobody else", 2_000, |s| {
            others(s).iter().all(|node| {
                let reports = s.bus(*node).liveness(s.local(*node)).peers;
                reports.iter().all(|(id, report)| {
                    let failed = ids.contains(id);
                    report.failed == failed && report.suspected == failed
                })
            })
        });
        s.machines[silent].side = 0;
        s.start(crashed);
        s.run_until("all see them again", 5_000, |s| {
            (0..s.machines.len()).all(|node| {
                let liveness = s.bus(node).liveness(s.local(node));
                let mut reports = liveness.peers.values();
                reports.all(|report| !report.failed && !report.suspected)
            }) && s.converged()
        });
    }
}

/// The leases that the former leader has granted last until the next one grants them.
#[test]
fn in_a_big_cluster_no_primary_stops_because_the_leader_dies() {
    const SHARDS: usize = 30;
    for seed in seeds(4) {
        let mut s = Simulation::ready(seed, SHARDS, CALM);
        s.run_until("all primaries take writes", 5_000, |s| {
            (0..SHARDS).all(|node| s.takes_writes(node))
        });
        // The connections that tell of its end are there.
        s.run(1_000);
        let leader = s.leader().unwrap();
        s.crash(leader);
        for _ in 0..100 {
            s.run(50);
            let stopped = (0..SHARDS).find(|node| *node != leader && !s.takes_writes(*node));
            assert_eq!(stopped, None, "at {}, seed {seed}", s.now);
        }
        assert!(s.takes_writes(leader + SHARDS), "seed {seed}");
    }
}

/// What was lost on the way is asked for.
#[test]
fn on_a_rough_network_everybody_in_a_big_cluster_learns_every_change() {
    for seed in seeds(4) {
        let mut s = Simulation::ready(seed, 30, ROUGH);
        s.run_until("a leader", 5_000, |s| s.converged() && s.leader().is_some());
        for step in 0..10 {
            let asked = s.rng.random_range(0..s.machines.len());
            let node = s.id(step);
            let slots = slots(step as u16 * 1_000, step as u16 * 1_000 + 5);
            s.propose(asked, TopologyCommand::SetSlotOwner { node, slots })
                .unwrap();
        }
        s.run_until("convergence", 3_000, Simulation::converged);
    }
}

#[test]
fn a_node_of_a_big_cluster_says_and_hears_little() {
    costs(settled(50));
}

#[test]
#[ignore = "takes minutes; the figures are in docs/failover.md"]
fn a_node_of_a_thousand_says_and_hears_little() {
    let mut s = settled(500);
    if let Some(traffic) = &mut s.traffic {
        traffic.busy = Some(vec![Duration::ZERO; s.machines.len()]);
    }
    costs(s);
}
