//! Many short storms, each with every fault that there is, and with an operator that repairs what it sees.

use super::*;

const SHARDS: usize = 3;
/// Storms in one run of the test.
const STORMS: u64 = 2_000;
/// How often the operator looks, in ms.
const LOOK: u64 = 500;

/// Each shard has a primary that takes writes, and a replica that has all of its data.
fn whole(s: &Simulation) -> bool {
    let placed = |node: usize| {
        let home = s.machines[node].bus.as_ref()?;
        home.topology().shard_of(home.myself())
    };
    (0..SHARDS).all(|node| {
        let pair = [node, node + SHARDS];
        let Some((id, shard)) = placed(node) else {
            return false;
        };
        let primary = (shard.primary, shard.primary_incarnation);
        placed(node + SHARDS).is_some_and(|(other, _)| other == id)
            && pair.iter().any(|it| s.takes_writes(*it))
            && pair
                .iter()
                .all(|it| s.id(*it) == primary.0 || s.machines[*it].status.copied == Some(primary))
    })
}

/// Whether the data of each shard are on a machine that is up, beside this one.
fn can_lose(s: &Simulation, node: usize) -> bool {
    let other = (node + SHARDS) % (2 * SHARDS);
    whole(s) && s.machines[other].bus.is_some()
}

fn strike(s: &mut Simulation) {
    let nodes = s.machines.len();
    let victim = s.rng.random_range(0..nodes);
    let length = s.rng.random_range(100..4_000);
    match s.rng.random_range(0..11) {
        0 if whole(s) => s.crash(victim),
        1 if can_lose(s, victim) => s.lose_disk(victim),
        2 => s.stop(victim, length),
        3 => s.machines[victim].side = 1,
        4 => {
            for machine in &mut s.machines {
                machine.side = u8::from(s.rng.random_bool(0.3));
            }
        }
        5 => s.cut_some(0.2),
        6 => s.slow_some(0.3, 700),
        7 => drop(s.hand_over_to(victim)),
        8 => s.machines[victim].slow_disk = length,
        9 if s.machines[victim].bus.is_some() => drop(s.request(victim, Request::Resign)),
        _ => s.machines[victim].deaf_to = s.leader(),
    }
    if s.rng.random_bool(0.3) {
        s.reset_connections();
    }
}

/// Lets time pass while the operator looks at the nodes and acts, sometimes on what it saw a while ago.
fn pass(s: &mut Simulation, ms: u64) {
    let end = s.now + ms;
    let mut before = s.picture();
    while s.now < end {
        s.run(LOOK.min(end - s.now));
        let now = s.picture();
        let stale = s.rng.random_bool(0.3);
        s.operate(if stale { &before } else { &now });
        before = now;
    }
}

/// There are never two that take writes of a shard, which is checked after every event, and all are served when it is over.
fn storm(seed: u64) {
    let mut s = Simulation::ready(seed, SHARDS, ROUGH);
    s.run_until("everybody takes part", 10_000, whole);
    for _ in 0..4 {
        if s.rng.random_bool(0.5) {
            heal(&mut s);
        }
        for _ in 0..s.rng.random_range(1..4) {
            strike(&mut s);
        }
        let length = s.rng.random_range(100..4_000);
        pass(&mut s, length);
    }
    heal(&mut s);
    for machine in &mut s.machines {
        machine.slow_disk = 0;
    }
    let end = s.now + 40_000;
    while !whole(&s) {
        assert!(s.now < end, "not all are served again, seed {seed}");
        pass(&mut s, LOOK);
    }
}

#[test]
fn nobody_takes_writes_beside_another_whatever_happens() {
    each_seed(STORMS, storm);
}
