//! Two nodes and a witness: either of the two may fail, and so may the witness.

use super::*;
use crate::topology::Witness;

/// Where the witness runs.
const WITNESS: usize = 2;

/// A shard of two nodes, 0 and its replica 1, with a witness.
fn pair(seed: u64, network: Network) -> Simulation {
    let mut s = prepared(seed, 3, network);
    s.meet(0, 1);
    set_witness(&mut s, 0);
    follow(&mut s);
    s.run_until("all three vote", 20_000, |s| whole(s) && seated(s, 3));
    s
}

/// Nodes of which one is a witness that no cluster knows yet.
fn prepared(seed: u64, nodes: usize, network: Network) -> Simulation {
    let mut s = Simulation::empty(seed, nodes, network);
    s.machines[WITNESS].witness = true;
    (0..nodes).for_each(|node| s.start(node));
    s.run(200);
    s
}

fn set_witness(s: &mut Simulation, at: usize) {
    let witness = Witness {
        id: s.id(WITNESS),
        address: s.address(WITNESS),
    };
    s.propose(at, TopologyCommand::SetWitness { witness })
        .unwrap();
}

fn follow(s: &mut Simulation) {
    let (node, primary) = (s.id(1), s.id(0));
    s.propose(0, TopologyCommand::Replicate { node, primary })
        .unwrap();
}

/// Everybody that is up knows so many voters, and nobody waits to become one.
fn seated(s: &Simulation, voters: usize) -> bool {
    let buses = s.machines.iter().filter_map(|machine| machine.bus.as_ref());
    s.converged()
        && buses
            .map(Bus::topology)
            .all(|topology| topology.voters.len() == voters && topology.learners.is_empty())
}

fn votes(s: &Simulation, node: usize) -> bool {
    s.topology(0).voters.contains(&s.id(node))
}

/// One of the two takes writes, and the other has all of its data.
fn whole(s: &Simulation) -> bool {
    let copies = |node: usize, primary: usize| {
        let primary = (s.id(primary), s.bus(primary).incarnation());
        s.machines[node].status.copied == Some(primary)
    };
    let up = (0..2).all(|node| s.machines[node].bus.is_some());
    up && match (s.takes_writes(0), s.takes_writes(1)) {
        (true, false) => copies(1, 0),
        (false, true) => copies(0, 1),
        _ => false,
    }
}

fn wait_for_writes(s: &mut Simulation, node: usize) -> u64 {
    let began = s.now;
    s.run_until("it takes writes", 20_000, |s| s.takes_writes(node));
    s.now - began
}

/// For so long nothing keeps the primary from taking writes, and it remains the primary.
fn undisturbed(s: &mut Simulation, ms: u64) {
    let end = s.now + ms;
    while s.now < end {
        assert!(s.takes_writes(0), "at {}, seed {}", s.now, s.seed);
        s.step();
    }
}

fn longest(times: &[u64]) -> u64 {
    times.iter().copied().max().unwrap_or_default()
}

#[test]
fn the_replica_follows_a_primary_whose_process_ends() {
    let mut times = Vec::new();
    for seed in seeds(60) {
        let mut s = pair(seed, CALM);
        for (killed, other) in [(0, 1), (1, 0)] {
            s.crash(killed);
            times.push(wait_for_writes(&mut s, other));
            s.start(killed);
            s.run_until("it is copied again", 20_000, |s| whole(s) && s.converged());
        }
    }
    println!("longest {} ms", longest(&times));
    // A node timeout for a lease that is waited for, when too few have seen the end, and an election.
    assert!(longest(&times) <= 4_000);
}

#[test]
fn the_replica_follows_a_primary_that_is_cut_off() {
    let mut times = Vec::new();
    for seed in seeds(60) {
        let mut s = pair(seed, CALM);
        s.machines[0].side = 1;
        if seed % 2 == 0 {
            s.reset_connections();
        }
        times.push(wait_for_writes(&mut s, 1));
        assert!(!s.takes_writes(0));
        heal(&mut s);
        s.run_until("it is copied again", 20_000, whole);
    }
    println!("longest {} ms", longest(&times));
    // An election when it led, and then a node timeout.
    assert!(longest(&times) <= 5_000);
}

#[test]
fn a_primary_goes_on_without_its_replica() {
    for seed in seeds(40) {
        let mut s = pair(seed, CALM);
        let leads = s.leader() == Some(0);
        match seed % 2 {
            0 => s.crash(1),
            _ => s.machines[1].side = 1,
        }
        match leads {
            true => undisturbed(&mut s, 10_000),
            false => {
                s.run(10_000);
                assert!(s.takes_writes(0), "seed {seed}");
            }
        }
    }
}

#[test]
fn nothing_changes_for_the_two_when_the_witness_is_away() {
    for seed in seeds(60) {
        let mut s = pair(seed, CALM);
        match seed % 3 {
            0 => s.crash(WITNESS),
            1 => s.machines[WITNESS].side = 1,
            _ => s.stop(WITNESS, 8_000),
        }
        undisturbed(&mut s, 10_000);
        let id = s.id(0);
        s.propose(1, add(id, slots(0, 9))).unwrap();
        heal(&mut s);
        undisturbed(&mut s, 3_000);
        s.run_until("the witness takes part again", 10_000, |s| seated(s, 3));
    }
}

#[test]
fn members_lead_and_not_the_witness() {
    for seed in seeds(40) {
        let mut s = pair(seed, ROUGH);
        let leader = s.leader().unwrap();
        s.stop(leader, 3_000);
        s.run(3_500);
        s.run_until("a member leads", 10_000, |s| {
            s.converged() && s.leader().is_some_and(|leader| leader != WITNESS)
        });
    }
}

#[test]
fn a_witness_that_comes_back_elsewhere_has_its_vote_still() {
    for seed in seeds(30) {
        let mut s = pair(seed, ROUGH);
        let id = s.id(WITNESS);
        s.crash(WITNESS);
        s.run(seed * 50);
        s.machines[WITNESS].port += 1;
        s.start(WITNESS);
        assert_eq!(s.id(WITNESS), id);
        let address = s.address(WITNESS);
        s.run_until("its address is known", 10_000, |s| {
            s.topology(0).address_of(id) == Some(&address) && s.converged()
        });
        s.crash(0);
        wait_for_writes(&mut s, 1);
    }
}

#[test]
fn another_witness_takes_the_place_of_one_that_has_lost_its_memory() {
    for seed in seeds(30) {
        let mut s = pair(seed, ROUGH);
        let former = s.id(WITNESS);
        s.crash(WITNESS);
        s.machines[WITNESS].disk = None;
        s.start(WITNESS);
        assert_ne!(s.id(WITNESS), former);
        set_witness(&mut s, 1);
        s.run_until("it votes", 10_000, |s| seated(s, 3) && votes(s, WITNESS));
    }
}

/// With its own id and without its memory it would be dangerous: it does not know for whom it has voted.
#[test]
fn a_witness_is_not_called_into_a_cluster_in_which_it_may_have_voted() {
    let mut s = pair(7, CALM);
    let mut disk = s.machines[WITNESS].disk.clone().unwrap();
    disk.topology = Arc::new(Topology::unknown(disk.node));
    disk.consensus = None;
    s.crash(WITNESS);
    s.machines[WITNESS].disk = Some(disk);
    s.start(WITNESS);
    s.run(5_000);
    assert_eq!(s.topology(WITNESS).cluster, 0);
    assert!(s.takes_writes(0) && votes(&s, WITNESS));
}

#[test]
fn the_witness_votes_only_while_there_are_two_members() {
    for seed in seeds(40) {
        let mut s = prepared(seed, 4, ROUGH);
        set_witness(&mut s, 0);
        let alone = |s: &Simulation| s.topology(0).voters.len() == 1;
        s.run(2_000);
        assert!(alone(&s) && s.takes_writes(0), "seed {seed}");
        s.meet(0, 1);
        s.run_until("three vote", 10_000, |s| {
            s.topology(0).voters.len() == 3 && votes(s, WITNESS)
        });
        s.meet(0, 3);
        s.run_until("three members vote", 10_000, |s| {
            s.topology(0).voters.len() == 3
                && !votes(s, WITNESS)
                && s.topology(0).learners.is_empty()
        });
        let node = s.id(3);
        s.propose(0, TopologyCommand::RemoveMember { node })
            .unwrap();
        s.run_until("it votes again", 10_000, |s| {
            s.topology(0).voters.len() == 3 && votes(s, WITNESS)
        });
        let node = s.id(1);
        s.propose(0, TopologyCommand::RemoveMember { node })
            .unwrap();
        s.run_until("it votes no more", 10_000, alone);
        s.crash(WITNESS);
        s.run(5_000);
        assert!(s.takes_writes(0), "seed {seed}");
    }
}

/// Two voters need each other, so they are two for no longer than an entry and a tick take.
#[test]
fn the_group_is_hardly_ever_of_two() {
    for seed in seeds(40) {
        let mut s = prepared(seed, 3, CALM);
        set_witness(&mut s, 0);
        s.meet(0, 1);
        let mut two = None;
        while s.topology(0).voters.len() < 3 {
            if s.topology(0).voters.len() == 2 {
                two.get_or_insert(s.now);
            }
            s.step();
        }
        let lasted = s.now - two.unwrap();
        assert!(lasted <= 2 * TICK_MS, "{lasted} ms, seed {seed}");
    }
}

#[test]
fn a_member_alone_keeps_its_only_vote_while_the_witness_is_away() {
    for seed in seeds(20) {
        let mut s = prepared(seed, 3, CALM);
        set_witness(&mut s, 0);
        s.crash(WITNESS);
        s.meet(0, 1);
        follow(&mut s);
        s.run_until("it is copied", 10_000, whole);
        s.crash(1);
        undisturbed(&mut s, 5_000);
        heal(&mut s);
        s.run_until("all three vote", 10_000, |s| whole(s) && seated(s, 3));
    }
}

#[test]
fn the_witness_goes_and_its_seat_with_it() {
    for seed in seeds(20) {
        let mut s = pair(seed, ROUGH);
        s.propose(1, TopologyCommand::RemoveWitness).unwrap();
        s.run_until("two vote", 10_000, |s| {
            s.topology(0).voters.len() == 2 && s.topology(1).voters.len() == 2
        });
        assert!(!votes(&s, WITNESS));
    }
}

/// What happens when the operator is lost together with a node: the other one needs an order, and the witness serves the new group.
#[test]
fn after_a_takeover_the_witness_serves_the_new_group() {
    for seed in seeds(60) {
        let mut s = pair(seed, ROUGH);
        s.crash(0);
        s.crash(WITNESS);
        s.run(5_000);
        assert!(!s.takes_writes(1), "seed {seed}");
        s.ask(1, Request::Takeover).unwrap();
        wait_for_writes(&mut s, 1);
        heal(&mut s);
        s.run_until("all three vote", 20_000, |s| whole(s) && seated(s, 3));
        s.run(3_000);
        s.machines[1].side = 1;
        wait_for_writes(&mut s, 0);
        assert!(!s.takes_writes(1), "seed {seed}");
    }
}

/// Crashes, stops and partitions between any of the three at random. One of the two always keeps its data.
fn storm(seed: u64) {
    let mut s = pair(seed, ROUGH);
    for _ in 0..20 {
        for machine in &mut s.machines {
            (machine.side, machine.deaf_to) = (0, None);
        }
        let up = s.machines.iter().all(|machine| machine.bus.is_some());
        if !up && s.rng.random_bool(0.5) {
            heal(&mut s);
        }
        let victim = s.rng.random_range(0..3);
        let length = s.rng.random_range(100..5_000);
        match s.rng.random_range(0..5) {
            0 if up && whole(&s) => s.crash(victim),
            1 => s.stop(victim, length),
            2 => s.machines[victim].side = 1,
            3 => s.crash(WITNESS),
            _ => {
                let other = (victim + s.rng.random_range(1..3)) % 3;
                s.machines[victim].deaf_to = Some(other);
                if s.rng.random_bool(0.5) {
                    s.machines[other].deaf_to = Some(victim);
                }
            }
        }
        if s.rng.random_bool(0.5) {
            s.reset_connections();
        }
        let length = s.rng.random_range(100..6_000);
        s.run(length);
    }
    heal(&mut s);
    s.run_until("all take part again", 30_000, |s| whole(s) && seated(s, 3));
}

#[test]
fn of_the_two_never_both_take_writes_in_a_storm() {
    for seed in seeds(200) {
        storm(seed);
    }
}

/// Members come and go, and the witness's vote with them, while messages are lost and somebody is away now and then.
#[test]
fn seats_find_their_way_in_a_storm() {
    for seed in seeds(100) {
        let mut s = prepared(seed, 5, ROUGH);
        s.meet(0, 1);
        set_witness(&mut s, 0);
        for _ in 0..8 {
            let joiner = [3, 4][s.rng.random_range(0..2)];
            let id = s.id(joiner);
            let absent = s.rng.random_range(1..5);
            s.stop(absent, 1_500);
            if s.topology(0).members.contains_key(&id) {
                s.request(
                    0,
                    Request::Propose(TopologyCommand::RemoveMember { node: id }),
                );
            } else {
                let Address { ip, bus_port, .. } = s.address(joiner);
                s.request(joiner, Request::Reset { hard: true });
                s.request(0, Request::Meet { ip, bus_port });
            }
            let length = s.rng.random_range(100..6_000);
            s.run(length);
        }
        s.run_until("all seats are taken", 40_000, |s| {
            let topology = s.topology(0);
            let members = topology.members.len();
            let wanted = if members == 2 { 3 } else { members };
            topology.voters.len() == wanted
                && topology.learners.is_empty()
                && votes(s, WITNESS) == (members == 2)
        });
    }
}
