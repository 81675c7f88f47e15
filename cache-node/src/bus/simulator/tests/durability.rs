//! What clients were told when a replica had it is never lost, as long as no two members of a shard lose their data at once.

use super::*;

const SHARDS: usize = 2;
const MEMBERS: usize = 3;

/// Shards of three nodes: `n` is the primary of one, `n + SHARDS` and `n + 2 * SHARDS` are its replicas.
fn triples(seed: u64) -> Simulation {
    let nodes = SHARDS * MEMBERS;
    let mut s = Simulation::empty(seed, nodes, ROUGH);
    s.synchronous = 1;
    (0..nodes).for_each(|node| s.start(node));
    s.run(200);
    s.form();
    for node in SHARDS..nodes {
        let follow = TopologyCommand::Replicate {
            node: s.id(node),
            primary: s.id(node % SHARDS),
        };
        s.propose(0, follow).unwrap();
    }
    s.run_until("everybody takes part", 20_000, whole);
    s
}

/// Every shard has a primary that takes writes, and all others have its data.
fn whole(s: &Simulation) -> bool {
    let mut writers = 0;
    let all = (0..s.machines.len()).all(|node| {
        let Some(bus) = &s.machines[node].bus else {
            return false;
        };
        writers += usize::from(s.takes_writes(node));
        bus.topology()
            .shard_of(bus.myself())
            .is_some_and(|(_, shard)| {
                let primary = (shard.primary, shard.primary_incarnation);
                shard.primary == bus.myself() || s.machines[node].status.copied == Some(primary)
            })
    });
    all && writers == SHARDS
}

fn storm(seed: u64) {
    let mut s = triples(seed);
    for _ in 0..10 {
        if s.rng.random_bool(0.5) {
            heal(&mut s);
        }
        let victim = s.rng.random_range(0..s.machines.len());
        let length = s.rng.random_range(100..4_000);
        match s.rng.random_range(0..6) {
            0 | 1 if whole(&s) => s.crash(victim),
            2 => s.stop(victim, length),
            3 => s.machines[victim].side = 1,
            4 => drop(s.hand_over_to(victim)),
            _ => s.cut_some(0.2),
        }
        let length = s.rng.random_range(100..5_000);
        s.run(length);
    }
    heal(&mut s);
    s.run_until("all are served again", 40_000, whole);
    assert!(!s.told.is_empty(), "nobody was told anything, seed {seed}");
}

#[test]
fn what_clients_were_told_is_never_lost() {
    each_seed(200, storm);
}
