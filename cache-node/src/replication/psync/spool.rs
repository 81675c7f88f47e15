//! What is on its way to a replica that takes it slowly: in memory as long as it is little, then on disk, so that the walk that makes it
//! never waits for the network.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Bytes that wait in memory at most.
const IN_MEMORY: usize = 16 << 20;

/// Bytes that are read from the disk at once.
const PIECE: u64 = 256 << 10;

/// A queue of bytes between a thread that makes them and a task that sends them.
pub(super) struct Spool {
    folder: PathBuf,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    memory: VecDeque<Vec<u8>>,
    in_memory: usize,
    /// What came after what is in memory, without a name.
    file: Option<File>,
    written: u64,
    read: u64,
    pushed: u64,
    /// How it ended, once it has.
    ended: Option<Result<(), String>>,
    /// Nobody takes anything any more.
    abandoned: bool,
}

/// What there is to take.
pub(super) enum Taken {
    /// The next bytes.
    Bytes(Vec<u8>),
    /// There will be no more: that was all, or something went wrong.
    End(Result<(), String>),
}

impl Spool {
    /// An empty one, whose files are made in `folder`.
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Adds bytes.
    ///
    /// # Errors
    ///
    /// The disk does not take them, or nobody wants them any more.
    pub(super) fn push(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.abandoned {
            return Err(io::Error::other("the replica is gone"));
        }
        state.pushed += bytes.len() as u64;
        if state.file.is_none() && state.in_memory + bytes.len() <= IN_MEMORY {
            state.in_memory += bytes.len();
            state.memory.push_back(bytes.to_vec());
        } else {
            if state.file.is_none() {
                state.file = Some(tempfile::tempfile_in(&self.folder)?);
                (state.written, state.read) = (0, 0);
            }
            let at = state.written;
            if let Some(file) = &state.file {
                file.write_all_at(bytes, at)?;
            }
            state.written += bytes.len() as u64;
        }
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// No more comes.
    pub(super) fn end(&self, how: Result<(), String>) {
        self.state.lock().ended = Some(how);
        self.changed.notify_one();
    }

    /// Nobody takes anything any more.
    pub(super) fn abandon(&self) {
        self.state.lock().abandoned = true;
    }

    /// Whether nobody takes anything any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.state.lock().abandoned
    }

    /// Waits until everything was pushed; answers how many bytes there are.
    ///
    /// # Errors
    ///
    /// Something went wrong.
    pub(super) async fn whole(&self) -> Result<u64, String> {
        loop {
            let changed = self.changed.notified();
            {
                let state = self.state.lock();
                if let Some(ended) = &state.ended {
                    return ended.clone().map(|()| state.pushed);
                }
            }
            changed.await;
        }
    }

    /// Waits for the next bytes or the end.
    pub(super) async fn take(&self) -> Taken {
        loop {
            let changed = self.changed.notified();
            if let Some(taken) = self.try_take() {
                return taken;
            }
            changed.await;
        }
    }

    fn try_take(&self) -> Option<Taken> {
        let mut state = self.state.lock();
        if let Some(bytes) = state.memory.pop_front() {
            state.in_memory -= bytes.len();
            return Some(Taken::Bytes(bytes));
        }
        let (read, left) = (state.read, state.written - state.read);
        if let Some(file) = &state.file
            && left > 0
        {
            let mut bytes = vec![0; left.min(PIECE) as usize];
            if let Err(error) = file.read_exact_at(&mut bytes, read) {
                return Some(Taken::End(Err(error.to_string())));
            }
            state.read += bytes.len() as u64;
            if state.read == state.written {
                state.file = None;
            }
            return Some(Taken::Bytes(bytes));
        }
        state.ended.clone().map(Taken::End)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_come_out_as_they_went_in_and_little_of_them_waits_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path());
        let (mut pushed, mut taken) = (Vec::new(), Vec::new());
        for round in 0_u32..600 {
            let bytes = round.to_le_bytes().repeat(20_000);
            spool.push(&bytes).unwrap();
            pushed.extend_from_slice(&bytes);
            if round % 10 == 0
                && let Taken::Bytes(bytes) = spool.take().await
            {
                taken.extend(bytes);
            }
            assert!(spool.state.lock().in_memory <= IN_MEMORY);
        }
        spool.end(Ok(()));
        assert_eq!(spool.whole().await, Ok(pushed.len() as u64));
        while let Taken::Bytes(bytes) = spool.take().await {
            taken.extend(bytes);
        }
        assert!(pushed == taken);
        spool.abandon();
        assert!(spool.push(b"x").is_err());
    }
}
