//! Each fault a few times, with real processes, and what clients saw judged. `failover-rounds judge` does the same as often
//! as one likes.

use std::path::Path;

use faults::nemesis::Nemesis;
use faults::network::Network;
use faults::trial::{self, Mode};

/// Does `nemesis` to a cluster so often.
fn judge(nemesis: Nemesis, rounds: usize) {
    if nemesis.needs_namespaces()
        && let Some(reason) = Network::unavailable()
    {
        println!("skipped: {reason}");
        return;
    }
    let executable = Path::new(env!("CARGO_BIN_EXE_failover-rounds"));
    match trial::run(executable, nemesis, &Mode::Asynchronous, rounds) {
        Ok(summary) => println!("{nemesis:?}: {summary:?}"),
        Err(error) => panic!("{error:#}"),
    }
}

#[test]
fn a_killed_primary_is_followed() {
    judge(Nemesis::KillPrimary, 2);
}

macro_rules! faults {
    ($($test:ident: $rounds:literal x $nemesis:ident;)*) => {
        $(
            #[test]
            #[ignore = "takes a quarter of a minute; by hand: cargo test -p faults -- --ignored"]
            fn $test() {
                judge(Nemesis::$nemesis, $rounds);
            }
        )*
    };
}

faults! {
    a_primary_that_is_stopped_and_goes_on_takes_no_writes_beside_its_successor: 1 x StopPrimary;
    a_primary_that_is_told_to_end_loses_nothing: 3 x Terminate;
    a_planned_failover_loses_nothing: 3 x Failover;
    the_leader_and_another_voter_are_followed: 2 x KillTwoVoters;
    an_empty_primary_never_wipes_its_replica: 3 x EmptyRestart;
    nodes_that_all_restart_have_what_was_on_their_disks: 2 x RestartAll;
    a_primary_that_is_cut_off_takes_no_writes_beside_its_successor: 1 x CutPrimary;
    a_primary_that_is_not_heard_is_followed: 1 x Unheard;
    a_primary_that_hears_nobody_is_followed: 1 x Deaf;
    two_primaries_that_are_cut_off_together_are_followed: 1 x CutMinority;
    a_primary_with_slow_links_stays_primary: 1 x SlowPrimary;
    a_replica_without_all_data_does_not_follow: 1 x KillSyncSource;
    a_replica_that_is_killed_during_its_sync_costs_nothing: 1 x KillSyncTarget;
    slots_that_move_under_load_lose_nothing: 2 x Migrate;
    slots_whose_primary_is_killed_while_they_move_are_somewhere: 2 x KillMigrationSource;
    slots_whose_target_is_killed_while_they_move_are_somewhere: 2 x KillMigrationTarget;
    a_replica_of_the_source_may_be_killed_while_slots_move: 1 x KillSourceReplica;
    a_replica_of_the_target_may_be_killed_while_slots_move: 1 x KillTargetReplica;
    a_primary_with_a_full_disk_ends_and_is_followed: 1 x FullDisk;
}
