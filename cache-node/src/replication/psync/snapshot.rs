//! The data set as a replica gets it: a snapshot that is exact at the offset from which the log follows.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::spool::Spool;
use crate::log::Cursor;
use crate::node::Node;
use crate::persistence::{Progress, Purpose, SaveError, write_snapshot};

/// How often it looks whether it is still wanted while another walk is under way.
const LOOK: Duration = Duration::from_secs(1);

/// Begins to write the data set into `spool`, on a thread of its own, as soon as no other walk is under way; the cursor comes when it
/// begins, and stands at its offset.
///
/// # Errors
///
/// The system grants no thread.
pub(super) fn begin(node: Arc<Node>, spool: Arc<Spool>) -> io::Result<oneshot::Receiver<Cursor>> {
    let (began, begins) = oneshot::channel();
    let thread = std::thread::Builder::new().name("sync".to_owned());
    thread.spawn(move || {
        let result = write(&node, &spool, began);
        spool.end(result.map_err(|error| error.to_string()));
    })?;
    Ok(begins)
}

fn write(node: &Node, spool: &Spool, began: oneshot::Sender<Cursor>) -> Result<(), SaveError> {
    let mut began = Some(began);
    let progress = Progress::default();
    loop {
        let cut = |_| {
            if let Some(began) = began.take() {
                // When nobody waits any more, the spool says so.
                let _ = began.send(node.log.cursor());
            }
        };
        let mut push = |bytes: &[u8]| spool.push(bytes);
        match write_snapshot(node, &progress, Purpose::Snapshot, cut, &mut push) {
            Err(SaveError::Walking) if !spool.is_abandoned() => node.store.wait_for_walk(LOOK),
            result => return result.map(drop),
        }
    }
}
