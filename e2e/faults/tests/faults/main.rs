//! Each fault a few times, with real processes, and what clients saw judged. `failover-rounds judge` does the same as often
//! as one likes. As many clusters run at once as tests do: one a processor.

use std::path::Path;

use faults::nemesis::Nemesis;
use faults::network::Network;
use faults::trial::{self, Mode};

/// Does `nemesis` to a cluster so often.
fn judge(nemesis: Nemesis, mode: &Mode, rounds: usize) {
    if nemesis.needs_namespaces()
        && let Some(reason) = Network::unavailable()
    {
        println!("skipped: {reason}");
        return;
    }
    let executable = Path::new(env!("CARGO_BIN_EXE_failover-rounds"));
    match trial::run(executable, nemesis, mode, rounds) {
        Ok(summary) => println!("{nemesis:?}: {summary:?}"),
        Err(error) => panic!("{error:#}"),
    }
}

/// The primary alone acknowledges.
fn asynchronous() -> Mode {
    Mode::Asynchronous
}

/// One of two replicas acknowledges too.
fn synchronous() -> Mode {
    Mode::Synchronous(["--synchronous-replicas", "1"].map(str::to_owned).into())
}

macro_rules! faults {
    ($mode:ident: $($test:ident: $rounds:literal x $nemesis:ident;)*) => {
        $(
            #[test]
            fn $test() {
                judge(Nemesis::$nemesis, &$mode(), $rounds);
            }
        )*
    };
}

faults! {
    asynchronous:
    a_killed_primary_is_followed: 2 x KillPrimary;
    a_primary_that_is_stopped_and_goes_on_takes_no_writes_beside_its_successor: 1 x StopPrimary;
    a_primary_that_is_told_to_end_loses_nothing: 2 x Terminate;
    a_planned_failover_loses_nothing: 2 x Failover;
    the_leader_and_another_voter_are_followed: 1 x KillTwoVoters;
    an_empty_primary_never_wipes_its_replica: 2 x EmptyRestart;
    nodes_that_all_restart_have_what_was_on_their_disks: 2 x RestartAll;
    nodes_that_all_restart_without_data_take_writes_again: 1 x RestartAllEmpty;
    a_primary_that_is_cut_off_takes_no_writes_beside_its_successor: 1 x CutPrimary;
    a_primary_that_is_not_heard_is_followed: 1 x Unheard;
    a_primary_that_hears_nobody_is_followed: 1 x Deaf;
    two_primaries_that_are_cut_off_together_are_followed: 1 x CutMinority;
    a_primary_with_slow_links_stays_primary: 1 x SlowPrimary;
    a_replica_without_all_data_does_not_follow: 1 x KillSyncSource;
    a_replica_that_is_killed_during_its_sync_costs_nothing: 1 x KillSyncTarget;
    slots_that_move_under_load_lose_nothing: 1 x Migrate;
    slots_whose_primary_is_killed_while_they_move_are_somewhere: 1 x KillMigrationSource;
    slots_whose_target_is_killed_while_they_move_are_somewhere: 1 x KillMigrationTarget;
    a_replica_of_the_source_may_be_killed_while_slots_move: 1 x KillSourceReplica;
    a_replica_of_the_target_may_be_killed_while_slots_move: 1 x KillTargetReplica;
    a_primary_with_a_full_disk_goes_on: 1 x FullDisk;
}

// Nothing that was told is lost or taken back, and each key is as if there were one copy of it.
faults! {
    synchronous:
    a_killed_primary_loses_nothing_that_a_replica_has: 1 x KillPrimary;
    a_primary_that_is_stopped_and_goes_on_shows_nothing_of_the_past: 1 x StopPrimary;
    a_primary_that_is_cut_off_shows_nothing_of_the_past: 1 x CutPrimary;
    a_primary_that_is_told_to_end_breaks_no_order: 1 x Terminate;
    a_planned_failover_breaks_no_order: 2 x Failover;
    the_leader_and_another_voter_lose_nothing_that_replicas_have: 1 x KillTwoVoters;
    two_primaries_that_are_cut_off_together_show_nothing_of_the_past: 1 x CutMinority;
    a_primary_that_is_not_heard_loses_nothing_that_a_replica_has: 1 x Unheard;
    a_primary_that_hears_nobody_shows_nothing_of_the_past: 1 x Deaf;
    slots_that_move_under_load_break_no_order: 1 x Migrate;
    slots_whose_primary_is_killed_while_they_move_lose_nothing: 1 x KillMigrationSource;
    slots_whose_target_is_killed_while_they_move_lose_nothing: 1 x KillMigrationTarget;
    a_killed_replica_of_the_source_of_a_migration_breaks_no_order: 1 x KillSourceReplica;
    a_killed_replica_of_the_target_of_a_migration_breaks_no_order: 1 x KillTargetReplica;
}
