//! The data set as a replica gets it: in the RDB format, by a walk that is exact at the offset from which the log follows.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cache_rdb::{Checksum, Writer};
use tokio::sync::oneshot;

use super::spool::Spool;
use crate::command::REDIS_VERSION;
use crate::log::Cursor;
use crate::node::Node;
use crate::store::Walk;

/// Bytes that are handed over at once.
const BLOCK: usize = 256 * 1024;

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
        let (walk, cursor) = loop {
            if began.is_closed() {
                return;
            }
            match node.store.begin_walk(|| node.log.cursor()) {
                Some(walk) => break walk,
                None => node.store.wait_for_walk(LOOK),
            }
        };
        let offset = cursor.offset();
        if began.send(cursor).is_ok() {
            let result = write(&node, walk, offset, &spool);
            spool.end(result.map_err(|error| error.to_string()));
        }
    })?;
    Ok(begins)
}

fn write(node: &Node, mut walk: Walk<'_>, offset: u64, spool: &Spool) -> io::Result<()> {
    let settings = node.config.snapshot();
    let mut writer = Writer::new(settings.rdbcompression);
    let mut checksum = Checksum::default();
    let keys = node.store.count_keys(|_| true) as u64;
    let volatile = node.store.count_volatile(|_| true) as u64;
    writer.magic();
    writer.aux("redis-ver", REDIS_VERSION);
    writer.aux("redis-bits", &usize::BITS.to_string());
    writer.aux("repl-stream-db", "0");
    writer.aux("repl-id", &node.replication.history().id.to_string());
    writer.aux("repl-offset", &offset.to_string());
    writer.aux("aof-base", "0");
    writer.database(0, keys, volatile);
    let mut pass_on = |writer: &mut Writer, least: usize| -> io::Result<()> {
        if writer.out.len() >= least {
            checksum.update(&writer.out);
            spool.push(&writer.out)?;
            writer.out.clear();
        }
        Ok(())
    };
    while walk.step(&mut writer, &mut |writer| pass_on(writer, BLOCK))? {
        pass_on(&mut writer, BLOCK)?;
    }
    drop(walk);
    writer.end();
    pass_on(&mut writer, 1)?;
    spool.push(&checksum.value().to_le_bytes())
}
