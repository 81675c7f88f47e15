//! Primaries fail, and others follow them: soon, and never two at a time.

use super::*;

pub(super) const SHARDS: usize = 3;

/// Three shards of two nodes: node `n` is the primary of a shard, and node `n + 3` its replica, which has all of its data.
pub(super) fn pairs(seed: u64, network: Network) -> Simulation {
    let mut s = Simulation::new(seed, 2 * SHARDS, network);
    s.run(200);
    s.form();
    for shard in 0..SHARDS {
        let follow = TopologyCommand::Replicate {
            node: s.id(shard + SHARDS),
            primary: s.id(shard),
        };
        s.propose(0, follow).unwrap();
    }
    s.run_until("everybody takes part", 20_000, |s| {
        let topology = s.topology(0);
        whole(s) && topology.voters.len() == 5 && topology.learners.is_empty()
    });
    s
}

/// Every shard has a primary that takes writes, and a replica that has all of its data.
pub(super) fn whole(s: &Simulation) -> bool {
    let up = (0..s.machines.len()).filter(|node| s.machines[*node].bus.is_some());
    let writers = up.clone().filter(|node| s.takes_writes(*node)).count();
    let replicas = up.filter(|node| {
        let (_, shard) = s.topology(*node).shard_of(s.id(*node)).unwrap();
        let copied = s.machines[*node].status.copied;
        copied == Some((shard.primary, shard.primary_incarnation)) && shard.primary != s.id(*node)
    });
    writers == SHARDS && replicas.count() == SHARDS
}

/// How long it takes until `node` takes writes, in ms.
pub(super) fn wait_for_writes(s: &mut Simulation, node: usize) -> u64 {
    let began = s.now;
    s.run_until("it takes writes", 20_000, |s| s.takes_writes(node));
    s.now - began
}

fn median(mut times: Vec<u64>) -> u64 {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn a_primary_whose_process_ends_is_followed_at_once() {
    let mut times = Vec::new();
    for seed in seeds(30) {
        let mut s = pairs(seed, CALM);
        for node in 0..SHARDS {
            s.crash(node);
            times.push(wait_for_writes(&mut s, node + SHARDS));
            s.start(node);
            s.run_until("it is copied again", 20_000, whole);
        }
    }
    let longest = times.iter().copied().max();
    let median = median(times);
    println!("median {median} ms, longest {longest:?} ms");
    assert!(median <= 500, "{median} ms");
    assert!(longest <= Some(1_000), "{longest:?} ms");
}

#[test]
fn a_primary_that_is_cut_off_has_stopped_when_another_begins() {
    let mut times = Vec::new();
    for seed in seeds(30) {
        let mut s = pairs(seed, CALM);
        for node in 0..SHARDS {
            s.machines[node].side = 1;
            if seed % 2 == 0 {
                s.reset_connections();
            }
            times.push(wait_for_writes(&mut s, node + SHARDS));
            assert!(!s.takes_writes(node));
            heal(&mut s);
            s.run_until("it is copied again", 20_000, whole);
        }
    }
    let longest = times.iter().copied().max();
    println!("median {} ms, longest {longest:?} ms", median(times));
    assert!(longest <= Some(2_500), "{longest:?} ms");
}

/// What the next leader waits for is the lease that the silent primary was granted last, whenever others were granted theirs.
#[test]
fn a_primary_that_is_cut_off_is_followed_as_soon_when_there_is_another_leader_meanwhile() {
    let mut times = Vec::new();
    for seed in seeds(60) {
        let mut s = pairs(seed, CALM);
        let leader = s.leader().unwrap();
        let mut others = (0..SHARDS).filter(|node| *node != leader && node + SHARDS != leader);
        let node = others.next().unwrap();
        let began = s.now;
        s.machines[node].side = 1;
        let length = s.rng.random_range(0..900);
        s.run(length);
        s.stop(leader, 3_000);
        wait_for_writes(&mut s, node + SHARDS);
        times.push(s.now - began);
        assert!(!s.takes_writes(node));
    }
    let longest = times.iter().copied().max();
    println!("median {} ms, longest {longest:?} ms", median(times));
    assert!(longest <= Some(2_500), "{longest:?} ms");
}

#[test]
fn a_primary_whose_disk_is_slow_goes_on() {
    for seed in seeds(20) {
        let mut s = pairs(seed, CALM);
        let leader = s.leader().unwrap();
        let node = (0..SHARDS).find(|node| *node != leader).unwrap();
        let id = s.id(node);
        let known = s.topology(node).index;
        s.machines[node].slow_disk = 1_000_000;
        let end = s.now + 10_000;
        for slot in 0_u16.. {
            if s.now > end {
                break;
            }
            let home = s.id(leader);
            s.propose(leader, add(home, slots(slot, slot))).unwrap();
            s.run(100);
            assert!(s.takes_writes(node), "at {}, seed {seed}", s.now);
            for other in (0..s.machines.len()).filter(|other| *other != node) {
                let peers = s.bus(other).liveness(s.local(other)).peers;
                assert!(!peers[&id].suspected, "at {}, seed {seed}", s.now);
            }
        }
        // It does not tell what it has not written.
        assert!(s.topology(node).index <= known + 1, "seed {seed}");
    }
}

#[test]
fn a_stopped_primary_takes_no_write_when_it_goes_on() {
    for seed in seeds(30) {
        let mut s = pairs(seed, CALM);
        let node = (seed % SHARDS as u64) as usize;
        s.stop(node, 6_000);
        wait_for_writes(&mut s, node + SHARDS);
        s.run(6_000);
        assert!(s.takes_writes(node + SHARDS) && !s.takes_writes(node));
        s.run_until("it is copied again", 20_000, whole);
    }
}

#[test]
fn a_forced_promotion_waits_for_the_lease_of_a_living_primary() {
    for seed in seeds(20) {
        let mut s = pairs(seed, ROUGH);
        let promote = TopologyCommand::Promote {
            node: s.id(SHARDS),
            incarnation: s.bus(SHARDS).incarnation(),
        };
        s.propose(SHARDS, promote).unwrap();
        wait_for_writes(&mut s, SHARDS);
        s.run_until("it is copied again", 20_000, whole);
    }
}

#[test]
fn a_primary_that_hears_nothing_of_the_leader_is_followed() {
    for seed in seeds(20) {
        let mut s = pairs(seed, CALM);
        let leader = s.leader().unwrap();
        let node = (0..SHARDS).find(|node| *node != leader).unwrap();
        s.machines[node].deaf_to = Some(leader);
        wait_for_writes(&mut s, node + SHARDS);
        heal(&mut s);
        s.run_until("it is copied again", 20_000, whole);
    }
}

/// The voters of the larger side know nothing of that order, and grant leases to the primaries that they see.
#[test]
fn whoever_takes_over_on_the_smaller_side_replaces_no_primary_of_the_larger() {
    for seed in seeds(10) {
        let mut s = pairs(seed, CALM);
        s.torn = s.home(0);
        for node in [0, SHARDS + 1] {
            s.machines[node].side = 1;
        }
        s.run(1_000);
        s.ask(0, Request::Takeover).unwrap();
        s.run(8_000);
        assert!(
            s.takes_writes(1) && !s.takes_writes(SHARDS + 1),
            "seed {seed}"
        );
        heal(&mut s);
        s.run_until("all are served again", 30_000, whole);
    }
}

/// Somebody wants a replica to be primary, whatever the primary says.
fn force(s: &mut Simulation) {
    let nodes = 0..s.machines.len();
    let replica = nodes
        .filter(|node| s.machines[*node].bus.is_some())
        .find(|node| {
            let copied = s.machines[*node].status.copied;
            let shard = s
                .topology(*node)
                .shard_of(s.id(*node))
                .map(|(_, shard)| shard);
            shard.is_some_and(|it| copied == Some((it.primary, it.primary_incarnation)))
        });
    if let Some(node) = replica {
        let promote = TopologyCommand::Promote {
            node: s.id(node),
            incarnation: s.bus(node).incarnation(),
        };
        s.request(node, Request::Propose(promote));
    }
}

/// Crashes, stops and partitions at random: there are never two that take writes of a shard, which is checked after every event, and
/// all are served when it is over. One of each shard always keeps its data.
fn storm(seed: u64) {
    let mut s = pairs(seed, ROUGH);
    for _ in 0..20 {
        for machine in &mut s.machines {
            machine.side = 0;
            machine.deaf_to = None;
        }
        let up = (0..s.machines.len()).all(|node| s.machines[node].bus.is_some());
        if !up && s.rng.random_bool(0.5) {
            heal(&mut s);
        }
        let victim = s.rng.random_range(0..s.machines.len());
        let length = s.rng.random_range(100..5_000);
        match s.rng.random_range(0..4) {
            0 if up && whole(&s) => s.crash(victim),
            1 => s.stop(victim, length),
            2 => s.machines[victim].side = 1,
            _ => {
                for machine in &mut s.machines {
                    machine.side = u8::from(s.rng.random_bool(0.3));
                }
            }
        }
        if s.rng.random_bool(0.5) {
            s.reset_connections();
        }
        if s.rng.random_bool(0.2) {
            force(&mut s);
        }
        if s.rng.random_bool(0.3) {
            let deaf = s.rng.random_range(0..s.machines.len());
            s.machines[deaf].deaf_to = Some(s.rng.random_range(0..s.machines.len()));
        }
        let length = s.rng.random_range(100..6_000);
        s.run(length);
    }
    heal(&mut s);
    s.run_until("all are served again", 30_000, whole);
}

#[test]
fn nobody_takes_writes_beside_another_in_a_storm() {
    for seed in seeds(40) {
        storm(seed);
    }
}

/// Of four voters three are a majority, so that all that are left are needed when one has ended: also one that has just come back.
#[test]
fn of_four_voters_any_may_end_soon_after_another_has_come_back() {
    const PAIRS: usize = 2;
    let mut times = Vec::new();
    for seed in seeds(60) {
        let mut s = Simulation::ready(seed, PAIRS, CALM);
        let whole = |s: &Simulation| {
            let up = 0..2 * PAIRS;
            up.clone().filter(|node| s.takes_writes(*node)).count() == PAIRS
                && up
                    .clone()
                    .all(|node| s.topology(node).voters.len() == 2 * PAIRS)
                && up
                    .filter(|node| s.machines[*node].status.copied.is_some())
                    .count()
                    == PAIRS
        };
        s.run_until("everybody votes", 10_000, whole);
        for _ in 0..10 {
            let node = (0..2 * PAIRS).find(|node| s.takes_writes(*node)).unwrap();
            s.crash(node);
            times.push(wait_for_writes(&mut s, (node + PAIRS) % (2 * PAIRS)));
            s.start(node);
            s.run_until("it is copied again", 20_000, |s| {
                (0..2 * PAIRS).filter(|node| s.takes_writes(*node)).count() == PAIRS
                    && s.topology(node)
                        .shard_of(s.id(node))
                        .is_some_and(|(_, shard)| {
                            s.machines[node].status.copied
                                == Some((shard.primary, shard.primary_incarnation))
                        })
            });
            let pause = s.rng.random_range(200..500);
            s.run(pause);
        }
    }
    let longest = times.iter().copied().max();
    println!("median {} ms, longest {longest:?} ms", median(times));
    assert!(longest <= Some(1_200), "{longest:?} ms");
}
