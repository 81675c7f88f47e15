//! A data set as it comes from a server of another kind.

use std::io::{self, Read};

use cache_rdb::Event;

use crate::clock::{self, Millis};
use crate::node::Node;
use crate::slot::SlotId;
use crate::store::{Builder, Deadline, KeyHash, Store};

/// Reads until bytes have come that are a mark, behind which nothing comes for a while.
pub(super) struct UntilMark<R> {
    input: R,
    mark: Vec<u8>,
    /// What was read and not passed on: the mark may be in it.
    held: Vec<u8>,
}

impl<R: Read> UntilMark<R> {
    pub(super) fn new(input: R, mark: &[u8]) -> Self {
        Self {
            input,
            mark: mark.to_vec(),
            held: Vec::new(),
        }
    }
}

impl<R: Read> Read for UntilMark<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.held.len() <= self.mark.len() && self.held != self.mark {
            let mut piece = [0; 16 << 10];
            let read = self.input.read(&mut piece)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.held.extend_from_slice(&piece[..read]);
        }
        let ready = (self.held.len() - self.mark.len()).min(buffer.len());
        buffer[..ready].copy_from_slice(&self.held[..ready]);
        self.held.drain(..ready);
        Ok(ready)
    }
}

/// Puts a data set in the RDB format into `store`, which is empty; answers how many keys it has.
pub(super) fn load(
    node: &Node,
    store: &Store,
    input: &mut impl Read,
) -> Result<u64, cache_rdb::Error> {
    let limits = node.config.get().all_limits();
    let usage = node.eviction.usage(clock::now());
    let mut building: Option<(Box<[u8]>, Option<Millis>, Builder)> = None;
    let mut keys = 0;
    cache_rdb::read(&mut *input, &mut |event| match event {
        Event::Aux(..) | Event::Sizes { .. } | Event::Database(0) | Event::ModuleAux(_) => Ok(()),
        Event::Database(number) => Err(format!(
            "database {number}: there is only database 0, as in a cluster"
        )),
        Event::Function(_) => Err("libraries of functions cannot be loaded yet".to_owned()),
        Event::Begin(header) => {
            let builder = Builder::new(header.kind, limits);
            building = Some((header.key.into(), header.deadline, builder));
            Ok(())
        }
        Event::End => {
            let Some((key, deadline, builder)) = building.take() else {
                return Ok(());
            };
            if let Some(value) = builder.finish() {
                let hash = KeyHash::of(&key);
                let meta = node.eviction.fresh(node.store.memory(), hash, &usage);
                let deadline = deadline.map_or(Deadline::Never, Deadline::At);
                let mut slot = store.lock_blocking(SlotId::of(&key));
                if slot.find(&key, hash).is_some() {
                    return Err("a key is there twice".to_owned());
                }
                slot.insert(&key, hash, value, deadline, meta);
                keys += 1;
            }
            Ok(())
        }
        part => match &mut building {
            Some((key, _, builder)) => builder
                .add(part)
                .map_err(|why| format!("key '{}': {why}", String::from_utf8_lossy(key))),
            None => Err("a value without a key".to_owned()),
        },
    })?;
    store.memory().publish();
    // What follows the data set, up to the mark or the length that was announced, is read away.
    io::copy(input, &mut io::sink()).map_err(|error| cache_rdb::Error {
        offset: 0,
        reason: cache_rdb::Reason::Io(error),
    })?;
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_before_the_mark_is_read_however_it_comes() {
        let content: Vec<u8> = (0..50_000_u32).map(|number| number as u8).collect();
        let mark = [b'm'; 40];
        let mut whole = content.clone();
        whole.extend_from_slice(&mark);
        let mut read = Vec::new();
        UntilMark::new(whole.as_slice(), &mark)
            .read_to_end(&mut read)
            .unwrap();
        assert!(read == content);
        let cut = &whole[..whole.len() - 1];
        let error = UntilMark::new(cut, &mark).read_to_end(&mut read);
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
