//! Planned hand-overs: of a shard, and of the leadership of the voters.

use super::failover::{SHARDS, pairs, whole};
use super::*;

/// Runs event by event until the node takes writes; in ms.
fn until_it_takes_writes(s: &mut Simulation, node: usize) -> u64 {
    let began = s.now;
    while !s.takes_writes(node) {
        assert!(s.now < began + 10_000, "not in time, seed {}", s.seed);
        s.step();
    }
    s.now - began
}

/// A message takes up to 3 ms here: the proposal, the entry and its confirmation, and the answer with the lease are four of them. Nothing
/// waits for a tick.
#[test]
fn a_shard_is_handed_over_in_four_messages() {
    let mut longest = 0;
    for seed in seeds(50) {
        let mut s = pairs(seed, CALM);
        for turn in 0..2 * SHARDS {
            let replica = (turn + SHARDS) % (2 * SHARDS);
            s.hand_over_to(replica).expect("both are fit for it");
            longest = longest.max(until_it_takes_writes(&mut s, replica));
            s.run_until("it is copied again", 20_000, whole);
        }
    }
    println!("longest {longest} ms");
    assert!(longest <= 16, "{longest} ms");
}

#[test]
fn a_leader_that_resigns_is_followed_before_it_ends() {
    let mut longest = 0;
    for seed in seeds(50) {
        let mut s = pairs(seed, CALM);
        let leader = s.leader().expect("somebody leads");
        let began = s.now;
        s.ask(leader, Request::Resign).unwrap();
        let next = |s: &Simulation| s.leader().filter(|node| *node != leader);
        while next(&s).is_none() {
            assert!(s.now < began + 5_000, "not in time, seed {seed}");
            s.step();
        }
        longest = longest.max(s.now - began);
        let former = s.id(leader);
        s.crash(leader);
        let voter = next(&s).expect("somebody leads");
        let shards = s.topology(voter).shards.values();
        let mut primaries = shards.map(|shard| shard.primary);
        let owner = primaries.find(|node| *node != former).expect("three");
        let proposed = s.now;
        s.propose(voter, add(owner, slots(0, 0))).unwrap();
        // Nothing has to be found out first.
        let took = s.now - proposed;
        assert!(took <= 20, "{took} ms, seed {seed}");
    }
    println!("longest {longest} ms");
    assert!(longest <= 100, "{longest} ms");
}

#[test]
fn a_leader_that_nobody_can_follow_does_not_wait_for_ever() {
    let mut s = pairs(1, CALM);
    let leader = s.leader().expect("somebody leads");
    s.machines[leader].side = 1;
    let began = s.now;
    // It notices that it leads nobody any more, or gives up.
    let _ = s.ask(leader, Request::Resign);
    assert!(s.now - began <= 1_100, "{} ms", s.now - began);
    let mut alone = Simulation::new(2, 1, CALM);
    alone.run(200);
    alone.ask(0, Request::Resign).unwrap();
}
