//! Whole shards and whole clusters restart, and nobody but the nodes decides who goes on.

use rand::seq::SliceRandom;

use super::failover::{SHARDS, pairs, wait_for_writes, whole};
use super::*;

/// Kills these nodes and starts them again one after another. The time until everybody takes part again, from the last start on.
fn restart(s: &mut Simulation, nodes: &[usize]) -> u64 {
    nodes.iter().for_each(|node| s.crash(*node));
    let mut order = nodes.to_vec();
    order.shuffle(&mut s.rng);
    for node in order {
        let pause = s.rng.random_range(0..2_000);
        s.run(pause);
        s.start(node);
    }
    let began = s.now;
    s.run_until("everybody takes part", 10_000, whole);
    s.now - began
}

#[test]
fn all_nodes_restart_at_once() {
    let mut longest = 0;
    for seed in seeds(30) {
        let mut s = pairs(seed, if seed % 2 == 0 { CALM } else { ROUGH });
        let primaries: Vec<NodeId> = (0..SHARDS).map(|node| s.id(node)).collect();
        longest = longest.max(restart(&mut s, &[0, 1, 2, 3, 4, 5]));
        let topology = s.topology(0);
        // All were empty: nobody has a reason to be another one's primary.
        for (node, id) in primaries.iter().enumerate() {
            assert!(topology.is_primary(*id), "node {node}, seed {seed}");
        }
    }
    println!("longest {longest} ms");
}

#[test]
fn both_members_of_a_shard_restart() {
    for seed in seeds(30) {
        let mut s = pairs(seed, ROUGH);
        let shard = (seed % SHARDS as u64) as usize;
        restart(&mut s, &[shard, shard + SHARDS]);
    }
}

#[test]
fn a_replica_with_more_on_its_disk_goes_on() {
    for seed in seeds(20) {
        let mut s = pairs(seed, ROUGH);
        let replica = SHARDS;
        s.crash(0);
        s.crash(replica);
        s.start(replica);
        s.machines[replica].status.keys = 7;
        s.run(5_000);
        assert!(
            !s.takes_writes(replica),
            "the primary was not heard, seed {seed}"
        );
        s.start(0);
        wait_for_writes(&mut s, replica);
        s.run_until("everybody takes part", 10_000, whole);
        assert!(s.machines[0].status.keys >= 7, "seed {seed}");
    }
}

#[test]
fn an_empty_primary_waits_for_a_replica_that_is_not_heard() {
    for seed in seeds(20) {
        let mut s = pairs(seed, CALM);
        let replica = SHARDS;
        s.stop(replica, 12_000);
        s.crash(0);
        s.run(500);
        s.start(0);
        s.run(9_000);
        assert!(!s.takes_writes(0), "seed {seed}");
        wait_for_writes(&mut s, replica);
        s.run_until("everybody takes part", 10_000, whole);
    }
}
