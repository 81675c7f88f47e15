//! Properties of plans: whatever happens and wherever the operator is interrupted, nothing is lost by a plan, and all ends well.

use proptest::prelude::*;

use super::world::World;
use crate::names::PodPlace;
use crate::plan::{Desired, Findings, plan};

/// Something that happens to a cluster, or to the operator in the middle of its work.
#[derive(Clone, Debug)]
enum Event {
    Scale(u32),
    Replicas(u32),
    KillPod(usize),
    KillProcess(usize),
    StopProcess(usize),
    ContinueAll,
    /// A pass of which only the first steps are carried out before the operator is killed.
    Pass(usize),
    Time(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => (1_u32..6).prop_map(Event::Scale),
        1 => (0_u32..3).prop_map(Event::Replicas),
        2 => any::<usize>().prop_map(Event::KillPod),
        2 => any::<usize>().prop_map(Event::KillProcess),
        1 => any::<usize>().prop_map(Event::StopProcess),
        1 => Just(Event::ContinueAll),
        10 => (0_usize..6).prop_map(Event::Pass),
        10 => any::<u64>().prop_map(Event::Time),
    ]
}

fn happen(world: &mut World, event: &Event) {
    let places = world.places();
    let pick = |number: usize| places.get(number % places.len().max(1)).copied();
    match event {
        Event::Scale(shards) => world.desired.shards = *shards,
        Event::Replicas(replicas) => world.desired.replicas = *replicas,
        Event::KillPod(number) => pick(*number)
            .into_iter()
            .for_each(|place| world.kill_pod(place)),
        Event::KillProcess(number) => pick(*number)
            .into_iter()
            .for_each(|place| world.kill_process(place)),
        Event::StopProcess(number) => pick(*number)
            .into_iter()
            .for_each(|place| world.stop_process(place)),
        Event::ContinueAll => world.continue_all(),
        Event::Pass(steps) => pass(world, *steps),
        Event::Time(luck) => world.tick(*luck),
    }
}

fn pass(world: &mut World, steps: usize) {
    let plan = plan(&world.desired, &world.observe());
    world.execute(&plan, steps);
}

/// Lets the operator work undisturbed until nothing is left to do.
fn settle(world: &mut World) -> Result<Findings, String> {
    world.continue_all();
    for round in 0..300_u64 {
        world.tick(1 + round % 3);
        let plan = plan(&world.desired, &world.observe());
        if plan.steps.is_empty()
            && plan.pods == *world.sets()
            && plan.findings.is_settled(&world.desired)
        {
            return Ok(plan.findings);
        }
        world.execute(&plan, usize::MAX);
        if !world.violations.is_empty() {
            return Err(format!("{:?}", world.violations));
        }
    }
    let plan = plan(&world.desired, &world.observe());
    Err(format!(
        "does not settle: {:?} {:#?}",
        plan.steps, plan.findings
    ))
}

fn formed(shards: u32, replicas: u32) -> World {
    let mut world = World::new(Desired { shards, replicas });
    settle(&mut world).unwrap();
    world.moved = 0;
    world
}

#[test]
fn a_new_cluster_is_formed_with_even_slots_and_replicas() {
    let mut world = World::new(Desired {
        shards: 3,
        replicas: 1,
    });
    let findings = settle(&mut world).unwrap();
    let sizes: Vec<u32> = findings
        .shards
        .iter()
        .map(|shard| shard.slots.len())
        .collect();
    assert_eq!(sizes, [5462, 5461, 5461]);
    assert_eq!(findings.shards[0].slots.to_string(), "0-5461");
    assert_eq!(world.moved, 0);
}

#[test]
fn slots_are_assigned_only_when_all_replicas_are_in_sync() {
    let mut world = World::new(Desired {
        shards: 2,
        replicas: 1,
    });
    for _ in 0..3 {
        pass(&mut world, usize::MAX);
        world.tick(1);
    }
    world.stop_process(PodPlace {
        shard: 1,
        ordinal: 1,
    });
    for _ in 0..10 {
        pass(&mut world, usize::MAX);
        world.tick(1);
    }
    let findings = plan(&world.desired, &world.observe()).findings;
    assert_eq!(findings.slots_owned, 0);
    assert!(
        findings
            .waiting
            .iter()
            .any(|reason| reason.contains("s1-1 does not answer")),
        "{:?}",
        findings.waiting
    );
    settle(&mut world).unwrap();
}

#[test]
fn scaling_out_and_in_moves_no_slot_twice() {
    let mut world = formed(3, 1);
    world.desired.shards = 5;
    let findings = settle(&mut world).unwrap();
    assert_eq!(
        world.moved,
        findings.shards[3].slots.len() + findings.shards[4].slots.len()
    );
    world.moved = 0;
    world.desired.shards = 3;
    settle(&mut world).unwrap();
    assert_eq!(
        world.moved,
        findings.shards[3].slots.len() + findings.shards[4].slots.len()
    );
    assert_eq!(world.sets().len(), 3);
}

#[test]
fn a_doomed_shard_whose_primary_is_stopped_is_waited_for() {
    let mut world = formed(5, 1);
    world.desired.shards = 3;
    pass(&mut world, usize::MAX);
    world.stop_process(PodPlace {
        shard: 4,
        ordinal: 0,
    });
    for luck in 0..60 {
        world.tick(luck);
        pass(&mut world, usize::MAX);
    }
    let findings = plan(&world.desired, &world.observe()).findings;
    assert_eq!(findings.slots_owned, 16_384);
    assert!(world.sets().contains_key(&4));
    assert!(
        !world.sets().contains_key(&3),
        "the other doomed shard went"
    );
    assert!(
        findings
            .waiting
            .iter()
            .any(|reason| reason.contains("s4-0")),
        "{:?}",
        findings.waiting
    );
    settle(&mut world).unwrap();
    assert_eq!(world.sets().len(), 3);
}

#[test]
fn a_lost_primary_is_replaced_by_its_replica_and_returns_as_one() {
    let mut world = formed(3, 1);
    world.kill_pod(PodPlace {
        shard: 1,
        ordinal: 0,
    });
    let findings = settle(&mut world).unwrap();
    assert_eq!(
        findings.shards[1].primary,
        Some(PodPlace {
            shard: 1,
            ordinal: 1
        })
    );
    assert_eq!(
        findings.shards[1].replicas,
        [PodPlace {
            shard: 1,
            ordinal: 0
        }]
    );
    assert!(world.excused.is_empty());
}

/// They know what each replica has copied; the operator does not, and the process may come back with its data.
#[test]
fn the_nodes_decide_who_follows_a_primary_whose_process_has_ended() {
    let mut world = formed(3, 1);
    world.kill_process(PodPlace {
        shard: 1,
        ordinal: 0,
    });
    let plan = plan(&world.desired, &world.observe());
    assert_eq!(plan.steps, []);
    let waiting = plan.findings.waiting;
    assert!(waiting[0].contains("primary s1-0"), "{waiting:?}");
}

#[test]
fn a_cluster_that_lost_most_voters_for_good_is_formed_anew_round_a_survivor() {
    let mut world = formed(3, 1);
    for place in world
        .places()
        .into_iter()
        .filter(|place| place.ordinal == 0)
    {
        world.kill_pod(place);
    }
    for place in world.places().into_iter().take(1) {
        world.kill_pod(place);
    }
    let findings = settle(&mut world).unwrap();
    assert_eq!(findings.slots_served, 16_384);
}

/// Two new shards lose their pods for good before they own a slot, and are not wanted any more: neither can see that the other is drained.
#[test]
fn drained_shards_whose_pods_are_gone_leave_together() {
    let mut world = formed(1, 0);
    for event in [
        Event::Scale(3),
        Event::Pass(0),
        Event::Time(0),
        Event::Pass(2),
        Event::KillPod(9_679_212_023_933_315_383),
        Event::Scale(1),
        Event::KillPod(14_477_320_604_221_289),
    ] {
        happen(&mut world, &event);
    }
    let findings = settle(&mut world).unwrap();
    assert_eq!(findings.shards.len(), 1);
}

/// A primary hands over in the pass in which it is told to give slots away.
#[test]
fn a_move_that_a_former_primary_is_told_to_begin_does_not_stay_for_ever() {
    let mut world = formed(3, 1);
    for event in [
        Event::KillPod(3_882_697_517_530_410_896),
        Event::Scale(5),
        Event::KillProcess(2_589_366_893_350_769_155),
        Event::Pass(0),
        Event::Replicas(0),
        Event::Time(0),
        Event::Pass(1),
        Event::Pass(4),
        Event::Time(0),
        Event::Pass(4),
        Event::KillPod(11_094_468_955_072_981_633),
    ] {
        happen(&mut world, &event);
    }
    settle(&mut world).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_plan_loses_anything_and_all_ends_well(
        shards in 1_u32..5, replicas in 0_u32..3, born in any::<bool>(), events in proptest::collection::vec(event(), 0..40)
    ) {
        let mut world = if born { formed(shards, replicas) } else { World::new(Desired { shards, replicas }) };
        for event in &events {
            happen(&mut world, event);
            prop_assert!(world.violations.is_empty(), "{:?}", world.violations);
        }
        let settled = settle(&mut world);
        prop_assert!(settled.is_ok(), "{}", settled.unwrap_err());
        let plan = plan(&world.desired, &world.observe());
        prop_assert!(plan.steps.is_empty(), "a converged state plans {:?}", plan.steps);
    }
}
