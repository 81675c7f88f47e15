//! What must hold in every run. A failure names its seed; the same seed fails the same way again.

mod durability;
mod failover;
mod handover;
mod restart;
mod scale;
mod storm;
mod witness;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::*;
use crate::slot::{SlotId, SlotSet};

/// The seeds of a test: as many as it wants, or all from `SIMULATOR_SEEDS=first..end`, to search wider or to repeat a failure.
fn seeds(wanted: u64) -> std::ops::Range<u64> {
    let Ok(range) = std::env::var("SIMULATOR_SEEDS") else {
        return 0..wanted;
    };
    let (first, end) = range.split_once("..").expect("first..end");
    first.parse().expect("a number")..end.parse().expect("a number")
}

/// Runs a test for each of its seeds, on all cores. Says which seed it was that failed.
fn each_seed(wanted: u64, test: impl Fn(u64) + Sync) {
    let seeds = seeds(wanted);
    let next = AtomicU64::new(seeds.start);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let run = std::panic::AssertUnwindSafe(|| test(seed));
                    if let Err(panic) = std::panic::catch_unwind(run) {
                        eprintln!("failed with SIMULATOR_SEEDS={seed}..{}", seed + 1);
                        // The others need not go on.
                        next.store(seeds.end, Relaxed);
                        std::panic::resume_unwind(panic);
                    }
                }
            });
        }
    });
}

fn slots(first: u16, last: u16) -> SlotSet {
    (first..=last).filter_map(SlotId::new).collect()
}

fn add(node: NodeId, slots: SlotSet) -> TopologyCommand {
    TopologyCommand::AddSlots { node, slots }
}

#[test]
fn clusters_of_one_to_nine_nodes_form_on_a_rough_network() {
    for seed in seeds(45) {
        let nodes = 1 + (seed % 9) as usize;
        let mut s = Simulation::new(seed, nodes, ROUGH);
        s.run(200);
        s.form();
        let first = s.id(0);
        s.propose(nodes - 1, add(first, slots(0, 99))).unwrap();
    }
}

#[test]
fn nodes_that_meet_keep_the_slots_that_they_owned_alone() {
    let mut s = Simulation::new(1, 3, CALM);
    s.run(200);
    for node in 0..3 {
        let first = node as u16 * 100;
        let id = s.id(node);
        s.propose(node, add(id, slots(first, first + 99))).unwrap();
    }
    // The way redis-cli does it: everybody meets the first.
    s.meet(1, 0);
    s.meet(2, 0);
    s.run_until("convergence", 10_000, |s| {
        s.converged() && s.topology(0).assigned().len() == 300
    });
    for node in 0..3 {
        let (_, shard) = s.topology(0).shard_of(s.id(node)).unwrap();
        assert_eq!(shard.slots.len(), 100);
        assert_eq!(shard.primary_incarnation, s.bus(node).incarnation());
    }
}

#[test]
fn two_clusters_do_not_merge_and_nobody_meets_itself() {
    let mut s = Simulation::new(2, 4, CALM);
    s.run(200);
    s.meet(0, 1);
    s.meet(2, 3);
    for (node, other) in [(0, 2), (0, 0)] {
        let meet = Request::Meet {
            ip: s.address(other).ip,
            bus_port: 16379,
        };
        assert!(matches!(s.ask(node, meet), Err(RequestError::Refused(_))));
    }
}

#[test]
fn two_nodes_that_are_told_to_meet_each_other_at_once_form_one_cluster() {
    for seed in seeds(20) {
        let mut s = Simulation::new(seed, 2, ROUGH);
        s.run(200);
        let tokens: Vec<u64> = (0..2)
            .map(|node| {
                let ip = s.address(1 - node).ip;
                s.request(
                    node,
                    Request::Meet {
                        ip,
                        bus_port: 16379,
                    },
                )
            })
            .collect();
        s.run_until("one cluster", 20_000, |s| {
            s.converged() && s.topology(0).members.len() == 2
        });
        s.run_until("answers", 6_000, |s| {
            tokens.iter().all(|token| s.replies.contains_key(token))
        });
    }
}

/// Crashes, restarts and partitions at random while a client of every node adds and removes a slot of its own. Each answer that
/// is not a time-out must be a success: a command that was applied twice would be refused the second time.
fn chaos(seed: u64, trace: bool) -> u32 {
    let (trace, committed) = chaos_on(seed, trace, 0);
    assert!(committed > 0, "nothing was committed, seed {seed}");
    trace
}

/// The same on disks that take up to so many ms for a write, if any. How many commands were committed, besides.
fn chaos_on(seed: u64, trace: bool, slow_disks: u64) -> (u32, u64) {
    const NODES: usize = 5;
    let mut s = Simulation::new(seed, NODES, ROUGH);
    s.trace = trace.then(crc32fast::Hasher::new);
    s.run(200);
    s.form();
    for machine in &mut s.machines {
        machine.slow_disk = slow_disks;
    }
    let home = s.id(0);
    let mut waiting: [Option<u64>; NODES] = [None; NODES];
    let mut owned = [false; NODES];
    let mut ended = [false; NODES];
    let mut committed = 0;
    for round in 0..300 {
        match slow_disks {
            0 if round % 25 == 0 => disturb(&mut s),
            1.. if round % 40 == 0 => cut_power(&mut s),
            _ => {}
        }
        s.run(40);
        for node in 0..NODES {
            if let Some(token) = waiting[node] {
                match s.replies.get(&token) {
                    None => ended[node] |= s.machines[node].bus.is_none(),
                    Some(Ok(_)) => {
                        owned[node] = !owned[node];
                        committed += 1;
                        waiting[node] = None;
                    }
                    // Nobody knows whether it was applied.
                    Some(Err(RequestError::TimedOut(_))) => ended[node] = true,
                    Some(Err(error)) => panic!("{error:?}, seed {seed}"),
                }
            }
            if waiting[node].is_none() && !ended[node] && s.machines[node].bus.is_some() {
                let slots = slots(node as u16, node as u16);
                let command = if owned[node] {
                    TopologyCommand::RemoveSlots { slots }
                } else {
                    add(home, slots)
                };
                waiting[node] = Some(s.request(node, Request::Propose(command)));
            }
        }
    }
    heal(&mut s);
    s.run_until("convergence", 20_000, Simulation::converged);
    let last = s.propose(0, add(home, slots(100, 100)));
    assert!(last.is_ok(), "{last:?}, seed {seed}");
    let trace = s.trace.map_or(0, crc32fast::Hasher::finalize);
    (trace, committed)
}

fn disturb(s: &mut Simulation) {
    heal(s);
    let victim = s.rng.random_range(0..s.machines.len());
    match s.rng.random_range(0..4) {
        0 => s.crash(victim),
        1 => {
            // Cut off the leader or somebody else, for the moment.
            let victim = s.leader().unwrap_or(victim);
            s.machines[victim].side = 1;
        }
        2 => {
            for machine in &mut s.machines {
                machine.side = u8::from(s.rng.random_bool(0.4));
            }
        }
        _ => {
            if let Some(leader) = s.leader() {
                s.crash(leader);
            }
        }
    }
}

/// Some crash in the middle of what they write, and are back at once, perhaps without those who have more.
fn cut_power(s: &mut Simulation) {
    heal(s);
    for node in 0..s.machines.len() {
        if s.rng.random_bool(0.4) {
            s.crash(node);
            s.start(node);
        } else if s.rng.random_bool(0.3) {
            s.machines[node].side = 1;
        }
    }
}

#[test]
fn what_was_answered_is_on_slow_disks() {
    // With some seeds the power is never there for long enough.
    let all = AtomicU64::new(0);
    each_seed(100, |seed| {
        let (_, committed) = chaos_on(seed, false, 60);
        all.fetch_add(committed, Relaxed);
    });
    assert!(all.into_inner() > 0, "nothing was committed");
}

fn heal(s: &mut Simulation) {
    for node in 0..s.machines.len() {
        s.machines[node].side = 0;
        s.machines[node].deaf_to = None;
        s.machines[node].cut.clear();
        s.machines[node].slow.clear();
        if s.machines[node].bus.is_none() {
            s.start(node);
        }
    }
}

#[test]
fn proposals_are_applied_exactly_once_while_leaders_come_and_go() {
    for seed in seeds(40) {
        chaos(seed, false);
    }
}

/// Nodes are met, forgotten and reset at random while others crash and are cut off. Afterwards every node that is a member of some
/// cluster can change it.
fn coming_and_going(seed: u64) {
    const NODES: usize = 7;
    let mut s = Simulation::new(seed, NODES, ROUGH);
    s.run(200);
    s.form();
    for round in 0..120 {
        if round % 20 == 0 {
            disturb(&mut s);
        }
        s.run(100);
        let (node, other) = (s.rng.random_range(0..NODES), s.rng.random_range(0..NODES));
        let Some(disk) = s.machines[other].disk.as_ref() else {
            continue;
        };
        let id = disk.node;
        let request = match s.rng.random_range(0..6) {
            0 => Request::Propose(TopologyCommand::RemoveMember { node: id }),
            // A soft reset would bring the same id back: to a cluster that has dissolved meanwhile, it would be a voter without memory.
            1 => Request::Reset { hard: true },
            2 | 3 => Request::Meet {
                ip: s.address(other).ip,
                bus_port: 16379,
            },
            _ => continue,
        };
        if s.machines[node].bus.is_some() {
            s.request(node, request);
        }
    }
    heal(&mut s);
    // Until the last invitation has passed.
    s.run(17_000);
    for node in 0..NODES {
        if !is_whole(&s, node) {
            continue;
        }
        let id = s.id(node);
        let address = s.address(node);
        let set = TopologyCommand::SetAddress { node: id, address };
        let mut result = s.propose(node, set.clone());
        for _ in 0..3 {
            if result.is_ok() || !s.topology(node).members.contains_key(&id) {
                break;
            }
            result = s.propose(node, set.clone());
        }
        let removed = !s.topology(node).members.contains_key(&id);
        assert!(result.is_ok() || removed, "{node}: {result:?}, seed {seed}");
    }
}

/// Whether a node is a member of a cluster that still exists: the voters of the newest topology have not gone elsewhere, and neither
/// has everybody that the node knows (it was removed while it was away then, and nobody is left to tell it).
fn is_whole(s: &Simulation, node: usize) -> bool {
    let (mine, me) = (s.topology(node), s.id(node));
    let buses = || s.machines.iter().filter_map(|m| m.bus.as_ref());
    let is_there = |id: &NodeId| {
        buses().any(|bus| bus.myself() == *id && bus.topology().cluster == mine.cluster)
    };
    let newest = buses()
        .map(Bus::topology)
        .filter(|topology| topology.cluster == mine.cluster)
        .max_by_key(|topology| topology.version());
    let knows_others = mine.members.keys().any(|id| *id != me && is_there(id));
    mine.members.contains_key(&me)
        && (knows_others || mine.members.len() == 1)
        && newest.is_none_or(|topology| topology.voters.iter().all(is_there))
}

#[test]
fn membership_may_change_at_any_time() {
    for seed in seeds(25) {
        coming_and_going(seed);
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(chaos(4, true), chaos(4, true));
    assert_ne!(chaos(4, true), chaos(5, true));
}

#[test]
fn a_takeover_heals_a_cluster_that_lost_its_majority() {
    for seed in seeds(20) {
        let mut s = Simulation::new(seed, 7, ROUGH);
        s.run(200);
        s.form();
        let voters = s.topology(0).voters.clone();
        let (lost, left): (Vec<usize>, Vec<usize>) =
            (0..7).partition(|node| voters.contains(&s.id(*node)) && *node != 6);
        lost.iter().for_each(|node| s.crash(*node));
        s.run(3_000);
        let survivor = left[0];
        let id = s.id(survivor);
        assert_eq!(
            s.propose(survivor, add(id, slots(0, 9))),
            Err(RequestError::TimedOut(5_000)),
            "seed {seed}"
        );
        s.ask(survivor, Request::Takeover).unwrap();
        s.propose(survivor, add(id, slots(0, 9))).unwrap();
        assert_eq!(s.topology(survivor).generation, 2);
        // The others come back with what they had, and follow.
        heal(&mut s);
        s.run_until("convergence", 20_000, |s| {
            s.converged() && s.topology(0).generation == 2 && s.topology(0).voters.len() == 5
        });
        assert_eq!(s.topology(lost[0]).assigned().len(), 10);
    }
}

#[test]
fn of_two_takeovers_at_once_one_wins() {
    for seed in seeds(20) {
        let mut s = Simulation::new(seed, 5, ROUGH);
        s.run(200);
        s.form();
        for node in 0..5 {
            s.machines[node].side = node as u8;
        }
        s.run(500);
        let tokens = [1, 3].map(|node| s.request(node, Request::Takeover));
        s.run(1_000);
        assert!(tokens.iter().all(|token| s.replies[token].is_ok()));
        heal(&mut s);
        s.run_until("convergence", 20_000, |s| {
            s.converged() && s.topology(0).generation == 2 && s.topology(0).voters.len() == 5
        });
    }
}

#[test]
fn a_voter_that_is_forgotten_gives_its_seat_to_another_member() {
    for seed in seeds(20) {
        let mut s = Simulation::new(seed, 7, ROUGH);
        s.run(200);
        s.form();
        let victim = s.leader().unwrap();
        let asked = (victim + 1) % 7;
        let node = s.id(victim);
        s.propose(asked, TopologyCommand::RemoveMember { node })
            .unwrap();
        assert!(!s.topology(asked).voters.contains(&node), "seed {seed}");
        s.run_until("a new voter", 20_000, |s| {
            let topology = s.topology(asked);
            topology.voters.len() == 5 && topology.learners.is_empty()
        });
    }
}

/// Moving nodes between shards moves seats, and some node gets a seat back that it has just lost. What it had said in the former one must
/// not be taken for what it knows in the new one.
#[test]
fn all_seats_are_taken_again_after_nodes_have_changed_their_shards() {
    for seed in seeds(60) {
        let mut s = Simulation::new(seed, 6, ROUGH);
        s.run(200);
        s.form();
        for replica in 3..6 {
            let (node, primary) = (s.id(replica), s.id(replica - 3));
            s.propose(0, TopologyCommand::Replicate { node, primary })
                .unwrap();
        }
        s.run_until("five voters", 20_000, |s| {
            let topology = s.topology(0);
            topology.voters.len() == 5 && topology.learners.is_empty()
        });
    }
}

#[test]
fn a_node_that_is_reset_leaves_and_can_join_again() {
    for seed in seeds(20) {
        let mut s = Simulation::new(seed, 3, ROUGH);
        s.run(200);
        s.form();
        let leaver = (seed % 3) as usize;
        let stayer = (leaver + 1) % 3;
        let (id, hard) = (s.id(leaver), seed % 2 == 0);
        s.propose(stayer, add(id, slots(0, 9))).unwrap();
        s.ask(leaver, Request::Reset { hard }).unwrap();
        assert_eq!(s.id(leaver) != id, hard);
        assert_eq!(s.topology(leaver).members.len(), 1);
        assert!(s.topology(leaver).assigned().is_empty());
        s.run_until("the others know", 10_000, |s| {
            s.topology(stayer).members.len() == 2 && s.topology(stayer).voters.len() == 2
        });
        s.meet(stayer, leaver);
        s.run_until("convergence", 20_000, |s| {
            s.converged() && s.topology(leaver).voters.len() == 3
        });
    }
}

#[test]
fn a_primary_that_restarts_is_reinstated_only_if_nobody_else_has_its_data() {
    for seed in seeds(10) {
        let mut s = Simulation::new(seed, 4, ROUGH);
        s.run(200);
        s.form();
        let (primary, replica, alone) = (1, 2, 3);
        let follow = TopologyCommand::Replicate {
            node: s.id(replica),
            primary: s.id(primary),
        };
        s.propose(0, follow).unwrap();
        for node in [primary, alone] {
            s.crash(node);
            s.run(100);
            // It comes back elsewhere.
            s.machines[node].port += 1;
            s.start(node);
        }
        let serving = |s: &Simulation, node: usize| {
            let (_, shard) = s.topology(0).shard_of(s.id(node)).unwrap();
            shard.primary_incarnation == s.bus(node).incarnation()
        };
        s.run_until("reinstated and known at the new address", 20_000, |s| {
            serving(s, alone)
                && [primary, alone]
                    .iter()
                    .all(|node| s.topology(0).members[&s.id(*node)].address == s.address(*node))
        });
        s.run(2_000);
        assert!(!serving(&s, primary), "seed {seed}");
        let promote = TopologyCommand::Promote {
            node: s.id(replica),
            incarnation: s.bus(replica).incarnation(),
        };
        s.propose(replica, promote).unwrap();
        assert!(s.topology(replica).is_primary(s.id(replica)));
    }
}

#[test]
fn a_silent_node_is_suspected_and_then_given_up_by_the_voters() {
    let mut s = Simulation::new(3, 4, CALM);
    s.run(200);
    s.form();
    let silent = s.id(3);
    s.machines[3].side = 1;
    s.run(1_000);
    assert!(!s.bus(0).liveness(s.local(0)).peers[&silent].suspected);
    s.run(1_500);
    let report = s.bus(0).liveness(s.local(0)).peers[&silent].clone();
    assert!(report.suspected && report.failed, "{report:?}");
    // A refused connection is evidence at once.
    s.crash(2);
    s.run(300);
    let crashed = s.machines[2].disk.as_ref().unwrap().node;
    assert!(s.bus(0).liveness(s.local(0)).peers[&crashed].suspected);
    heal(&mut s);
    s.run_until("everybody is back", 10_000, |s| {
        s.bus(0)
            .liveness(s.local(0))
            .peers
            .values()
            .all(|peer| !peer.suspected)
    });
}

#[test]
fn a_single_node_restarts_with_its_slots() {
    let mut s = Simulation::new(5, 1, CALM);
    let id = s.id(0);
    s.propose(0, add(id, SlotSet::full())).unwrap();
    for _ in 0..300 {
        let slots = slots(0, 0);
        s.propose(
            0,
            TopologyCommand::RemoveSlots {
                slots: slots.clone(),
            },
        )
        .unwrap();
        s.propose(0, add(id, slots)).unwrap();
    }
    s.run(100);
    s.crash(0);
    s.start(0);
    s.run(200);
    assert_eq!(s.topology(0).assigned(), SlotSet::full());
    let (_, shard) = s.topology(0).shard_of(id).unwrap();
    assert_eq!(shard.primary_incarnation, s.bus(0).incarnation());
}
