//! Each fault a few times, with real processes, and what clients saw judged. `failover-rounds judge` does the same as often
//! as one likes.

use std::path::Path;

use faults::nemesis::Nemesis;
use faults::network::Network;
use faults::trial::{self, Mode};

/// Rounds of each fault.
const ROUNDS: usize = 2;

fn judge(nemesis: Nemesis) {
    if nemesis.needs_virtual_hosts()
        && let Some(reason) = Network::unavailable()
    {
        println!("skipped: {reason}");
        return;
    }
    let executable = Path::new(env!("CARGO_BIN_EXE_failover-rounds"));
    match trial::run(executable, nemesis, &Mode::Asynchronous, ROUNDS) {
        Ok(summary) => println!("{nemesis:?}: {summary:?}"),
        Err(error) => panic!("{error:#}"),
    }
}

#[test]
fn a_killed_primary_is_followed() {
    judge(Nemesis::KillPrimary);
}
