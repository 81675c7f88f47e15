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
