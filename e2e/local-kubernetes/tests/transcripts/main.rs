//! Replays what a real Kubernetes 1.36.2 answered, and compares.
//!
//! The exchanges of the recordings are sent in order to one server with the built-in controllers and a stand-in for the
//! kubelet. `left-out.txt` lists the exchanges that are not expected to match, each with its reason; an entry whose
//! exchange matches, or that names none, fails the test.

mod bindings;
mod compare;
mod exchange;
#[path = "../common/kubelet.rs"]
mod kubelet;
mod left_out;
mod prepare;
mod session;

use exchange::Exchange;
use session::Session;

/// The recordings in the order in which they were made.
const FILES: [&str; 8] = [
    "discovery",
    "objects",
    "apply",
    "custom-resources",
    "workloads",
    "watches",
    "lifecycle",
    "access-and-events",
];

#[tokio::test(start_paused = true)]
async fn the_server_answers_as_a_real_one_did() {
    let left_out = left_out::read();
    let session = Session::start().await;
    let (mut total, mut passed, mut unexpected) = (0, 0, vec![]);
    let mut met = std::collections::BTreeSet::new();
    for file in FILES {
        for exchange in exchange::read(file) {
            total += 1;
            let differences = session.replay(&exchange).await;
            let reason = left_out.get(&(file.to_owned(), exchange.name.clone()));
            if reason.is_some() {
                met.insert((file.to_owned(), exchange.name.clone()));
            }
            passed += usize::from(differences.is_empty());
            if let Some(text) = verdict(file, &exchange, &differences, reason.map(String::as_str)) {
                unexpected.push(text);
            }
        }
    }
    let stale = left_out.keys().filter(|entry| !met.contains(*entry));
    unexpected.extend(stale.map(|(file, name)| {
        format!("left-out.txt names an exchange that is not there: {file} | {name}")
    }));
    println!(
        "{passed} of {total} exchanges match, {} are left out",
        met.len()
    );
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n\n"));
}

fn verdict(
    file: &str,
    exchange: &Exchange,
    differences: &[String],
    reason: Option<&str>,
) -> Option<String> {
    let head = format!(
        "{file} | {} | {} {}",
        exchange.name, exchange.method, exchange.path
    );
    match (differences.is_empty(), reason) {
        (true, None) | (false, Some(_)) => None,
        (true, Some(reason)) => Some(format!("{head}\n  matches, but is left out: {reason}")),
        (false, None) => Some(format!("{head}\n  {}", differences.join("\n  "))),
    }
}
