//! The topology's invariants under arbitrary commands, and each refusal by example.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn node(number: u8) -> NodeId {
    NodeId::new([number; 20])
}

fn shard(number: u8) -> ShardId {
    ShardId::new([number; 20])
}

fn migration(number: u8) -> MigrationId {
    MigrationId::new([number; 20])
}

fn member(number: u8) -> Member {
    Member {
        id: node(number),
        address: Address {
            ip: format!("127.0.0.{number}"),
            port: 6379,
            bus_port: 16379,
            hostname: String::new(),
        },
        shard: shard(number),
    }
}

fn witness(number: u8) -> Witness {
    Witness {
        id: node(number),
        address: member(number).address,
    }
}

fn range(first: u16, last: u16) -> SlotSet {
    (first..=last).filter_map(SlotId::new).collect()
}

/// Three shards with one member each; the first owns slots 0 to 99, the second 100 to 199, the third none.
fn three() -> Topology {
    let mut topology = Topology::single(7, member(1), 11);
    for number in [2, 3] {
        let add = TopologyCommand::AddMember {
            member: member(number),
            incarnation: 10 + u64::from(number),
            slots: SlotSet::new(),
        };
        topology.apply(topology.index + 1, &add).unwrap();
    }
    for (number, slots) in [(1, range(0, 99)), (2, range(100, 199))] {
        let add = TopologyCommand::AddSlots {
            node: node(number),
            slots,
        };
        topology.apply(topology.index + 1, &add).unwrap();
    }
    topology
}

fn apply(
    topology: &mut Topology,
    command: impl std::borrow::Borrow<TopologyCommand>,
) -> Result<(), Refusal> {
    topology.apply(topology.index + 1, command.borrow())
}

fn any_slots() -> impl Strategy<Value = SlotSet> {
    (0u16..30, 0u16..8).prop_map(|(first, length)| range(first, first + length))
}

fn any_command() -> impl Strategy<Value = TopologyCommand> {
    let number = 1u8..6;
    prop_oneof![
        (number.clone(), number.clone(), any_slots()).prop_map(|(id, home, slots)| {
            TopologyCommand::AddMember {
                member: Member {
                    shard: shard(home),
                    ..member(id)
                },
                incarnation: 1,
                slots,
            }
        }),
        number
            .clone()
            .prop_map(|n| TopologyCommand::RemoveMember { node: node(n) }),
        number.clone().prop_map(|n| TopologyCommand::SetAddress {
            node: node(n),
            address: member(n + 100).address
        }),
        (number.clone(), any_slots()).prop_map(|(n, slots)| TopologyCommand::AddSlots {
            node: node(n),
            slots
        }),
        any_slots().prop_map(|slots| TopologyCommand::RemoveSlots { slots }),
        (number.clone(), any_slots()).prop_map(|(n, slots)| TopologyCommand::SetSlotOwner {
            node: node(n),
            slots
        }),
        (number.clone(), number.clone()).prop_map(|(a, b)| TopologyCommand::Replicate {
            node: node(a),
            primary: node(b)
        }),
        (number.clone(), 1u64..4, 1u64..20).prop_map(|(n, incarnation, epoch)| {
            TopologyCommand::HandOver {
                node: node(n),
                incarnation,
                epoch,
            }
        }),
        (number.clone(), 1u64..4).prop_map(|(n, incarnation)| TopologyCommand::Promote {
            node: node(n),
            incarnation
        }),
        (number.clone(), number.clone(), number.clone(), any_slots()).prop_map(
            |(id, source, target, slots)| TopologyCommand::BeginMigration {
                id: migration(id),
                migration: Migration {
                    source: shard(source),
                    target: shard(target),
                    slots
                },
            }
        ),
        (number.clone(), 1u64..20, 1u64..20).prop_map(|(n, source_since, target_since)| {
            TopologyCommand::CompleteMigration {
                id: migration(n),
                source_since,
                target_since,
            }
        }),
        number
            .clone()
            .prop_map(|n| TopologyCommand::AbortMigration { id: migration(n) }),
        number.prop_map(|n| TopologyCommand::SetWitness {
            witness: witness(n)
        }),
        Just(TopologyCommand::RemoveWitness),
    ]
}

fn check(topology: &Topology) {
    let mut owned = SlotSet::new();
    for (id, shard) in &topology.shards {
        assert!(!owned.intersects(&shard.slots), "a slot has two owners");
        owned.union_with(&shard.slots);
        assert_eq!(
            topology.members.get(&shard.primary).map(|m| m.shard),
            Some(*id),
            "the primary is a member of its shard"
        );
        assert!(shard.primary_since <= shard.epoch && shard.epoch <= topology.index);
    }
    assert!(!topology.members.is_empty());
    for member in topology.members.values() {
        assert!(topology.shards.contains_key(&member.shard));
    }
    let mut moving = SlotSet::new();
    for migration in topology.migrations.values() {
        assert_ne!(migration.source, migration.target);
        assert!(topology.shards.contains_key(&migration.target));
        let source = topology.shards.get(&migration.source).unwrap();
        assert!(source.slots.is_superset(&migration.slots));
        assert!(!moving.intersects(&migration.slots), "a slot moves twice");
        moving.union_with(&migration.slots);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_invariants_hold_after_any_commands(commands in vec(any_command(), 0..40)) {
        let mut topology = Topology::single(7, member(1), 1);
        let mut twin = topology.clone();
        for (offset, command) in commands.iter().enumerate() {
            let index = 2 + offset as u64;
            let before = topology.clone();
            let outcome = topology.apply(index, command);
            prop_assert_eq!(&outcome, &twin.apply(index, command), "apply is deterministic");
            prop_assert_eq!(&topology, &twin);
            if outcome.is_err() {
                prop_assert_eq!(&topology, &Topology { index, ..before }, "a refusal changes only the index");
            }
            check(&topology);
        }
        let bytes = postcard::to_stdvec(&topology).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Topology>(&bytes).unwrap(), topology);
    }
}

#[test]
fn a_slot_is_given_away_only_once() {
    let mut topology = three();
    let add = |number, slots| TopologyCommand::AddSlots {
        node: node(number),
        slots,
    };
    assert_eq!(
        apply(&mut topology, add(3, range(199, 300))).map_err(|r| r.to_string()),
        Err("Slot 199 is already busy".to_owned())
    );
    apply(&mut topology, add(3, range(200, 300))).unwrap();
    assert_eq!(topology.shards[&shard(3)].epoch, topology.index);
    assert_eq!(
        topology.owner(SlotId::new(250).unwrap()).unwrap().0,
        shard(3)
    );
}

#[test]
fn a_primary_that_is_needed_neither_leaves_nor_becomes_a_replica() {
    let mut topology = three();
    let remove = TopologyCommand::RemoveMember { node: node(1) };
    let follow = |a, b| TopologyCommand::Replicate {
        node: node(a),
        primary: node(b),
    };
    assert_eq!(
        apply(&mut topology, remove),
        Err(Refusal::HasSlots(node(1)))
    );
    assert_eq!(
        apply(&mut topology, follow(1, 2)),
        Err(Refusal::HasSlots(node(1)))
    );
    apply(&mut topology, follow(3, 1)).unwrap();
    assert!(
        !topology.shards.contains_key(&shard(3)),
        "its old shard ended"
    );
    assert_eq!(
        apply(&mut topology, follow(2, 3)),
        Err(Refusal::NotPrimary(node(3)))
    );
    let free = TopologyCommand::RemoveSlots {
        slots: range(0, 99),
    };
    apply(&mut topology, free).unwrap();
    assert_eq!(
        apply(
            &mut topology,
            TopologyCommand::RemoveMember { node: node(1) }
        ),
        Err(Refusal::HasReplicas(node(1)))
    );
    apply(
        &mut topology,
        TopologyCommand::RemoveMember { node: node(3) },
    )
    .unwrap();
    apply(
        &mut topology,
        TopologyCommand::RemoveMember { node: node(1) },
    )
    .unwrap();
    assert_eq!(
        apply(
            &mut topology,
            TopologyCommand::RemoveMember { node: node(2) }
        ),
        Err(Refusal::HasSlots(node(2)))
    );
}

/// What completes a migration between the shards as they are now.
fn complete(topology: &Topology, id: u8) -> TopologyCommand {
    let moving = &topology.migrations[&migration(id)];
    TopologyCommand::CompleteMigration {
        id: migration(id),
        source_since: topology.shards[&moving.source].primary_since,
        target_since: topology.shards[&moving.target].primary_since,
    }
}

#[test]
fn a_migration_goes_on_after_a_promotion_but_what_was_agreed_before_is_void() {
    let begin = TopologyCommand::BeginMigration {
        id: migration(1),
        migration: Migration {
            source: shard(1),
            target: shard(3),
            slots: range(0, 9),
        },
    };
    for promoted in [1, 3] {
        let mut topology = three();
        apply(&mut topology, begin.clone()).unwrap();
        let agreed = complete(&topology, 1);
        let promote = |incarnation| TopologyCommand::Promote {
            node: node(promoted),
            incarnation,
        };
        let same = topology.shards[&shard(promoted)].primary_incarnation;
        apply(&mut topology, promote(same)).unwrap();
        assert_eq!(complete(&topology, 1), agreed, "nothing changed");
        apply(&mut topology, promote(same + 1)).unwrap();
        assert_eq!(
            apply(&mut topology, promote(same)),
            Err(Refusal::StaleIncarnation(node(promoted)))
        );
        let before = topology.clone();
        assert_eq!(
            apply(&mut topology, agreed),
            Err(Refusal::StaleMigration(migration(1)))
        );
        assert_eq!(topology.shards, before.shards);
        let anew = complete(&topology, 1);
        apply(&mut topology, anew).unwrap();
        assert_eq!(topology.shards[&shard(3)].slots, range(0, 9));
        assert!(topology.migrations.is_empty());
    }
}

#[test]
fn of_two_hand_overs_from_the_same_epoch_only_one_takes_effect() {
    for first_is_replica in [true, false] {
        let mut topology = three();
        let join = TopologyCommand::Replicate {
            node: node(3),
            primary: node(1),
        };
        apply(&mut topology, join).unwrap();
        let epoch = topology.shards[&shard(1)].epoch;
        let to = |number, incarnation| TopologyCommand::HandOver {
            node: node(number),
            incarnation,
            epoch,
        };
        let (replica, myself) = (to(3, 13), to(1, 11));
        let (first, second, winner) = if first_is_replica {
            (replica, myself, node(3))
        } else {
            (myself, replica, node(1))
        };
        apply(&mut topology, first).unwrap();
        let refusal = apply(&mut topology, second);
        assert!(matches!(refusal, Err(Refusal::StaleHandOver(_))));
        assert_eq!(topology.shards[&shard(1)].primary, winner);
    }
}

#[test]
fn a_migration_changes_the_owner_at_once() {
    let mut topology = three();
    let begin = |id, first, last| TopologyCommand::BeginMigration {
        id: migration(id),
        migration: Migration {
            source: shard(1),
            target: shard(3),
            slots: range(first, last),
        },
    };
    apply(&mut topology, begin(1, 0, 9)).unwrap();
    let busy = Refusal::SlotMigrating {
        slot: SlotId::new(5).unwrap(),
        migration: migration(1),
    };
    assert_eq!(apply(&mut topology, begin(2, 5, 12)), Err(busy.clone()));
    let take = TopologyCommand::SetSlotOwner {
        node: node(2),
        slots: range(5, 5),
    };
    assert_eq!(apply(&mut topology, take), Err(busy));
    assert_eq!(
        apply(&mut topology, begin(2, 99, 100)),
        Err(Refusal::NotOwner {
            slot: SlotId::new(100).unwrap(),
            shard: shard(1)
        })
    );
    let complete = complete(&topology, 1);
    apply(&mut topology, complete).unwrap();
    assert_eq!(topology.shards[&shard(3)].slots, range(0, 9));
    assert_eq!(topology.shards[&shard(1)].slots, range(10, 99));
    check(&topology);
}

#[test]
fn nobody_is_a_member_and_the_witness() {
    let mut topology = three();
    let set = |number| TopologyCommand::SetWitness {
        witness: witness(number),
    };
    assert_eq!(
        apply(&mut topology, set(2)),
        Err(Refusal::AlreadyMember(node(2)))
    );
    apply(&mut topology, set(8)).unwrap();
    apply(&mut topology, set(9)).unwrap();
    let join = |number| TopologyCommand::AddMember {
        member: member(number),
        incarnation: 1,
        slots: SlotSet::new(),
    };
    assert_eq!(
        apply(&mut topology, join(9)),
        Err(Refusal::IsWitness(node(9)))
    );
    apply(&mut topology, join(8)).unwrap();
    apply(&mut topology, TopologyCommand::RemoveWitness).unwrap();
    apply(&mut topology, join(9)).unwrap();
}
