//! Buffers that the connections of a thread share, so that an idle connection has none.

use std::cell::RefCell;
use std::io::{self, Read};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Most bytes of a read.
pub(super) const READ: usize = 64 * 1024;

/// The beginning of a command up to this length is copied into the thread's buffer, so that the rest is read behind it there.
pub(super) const BEGINNING: usize = 16 * 1024;

/// Buffers for output are kept up to so many bytes.
const KEEP: usize = 4 * 1024 * 1024;

thread_local! {
    /// The buffers of this thread. Nobody holds them across an await.
    pub(super) static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: vec![0; BEGINNING + READ],
        outputs: Vec::new(),
        kept: 0,
    });
}

/// Buffers of a thread.
pub(super) struct Scratch {
    /// What was read, behind the beginning of a command that was kept.
    pub(super) input: Vec<u8>,
    /// Empty buffers for output, the last used one last.
    outputs: Vec<Vec<u8>>,
    /// Bytes of `outputs`.
    kept: usize,
}

impl Scratch {
    /// Gives a connection a buffer for its output, unless it has replies in one already.
    #[inline]
    pub(super) fn lend(&mut self, output: &mut Vec<u8>) {
        if output.is_empty()
            && let Some(buffer) = self.outputs.pop()
        {
            self.kept -= buffer.capacity();
            *output = buffer;
        }
    }

    /// Takes the buffer back when all is sent.
    #[inline]
    pub(super) fn take_back(&mut self, output: &mut Vec<u8>) {
        if output.is_empty() {
            let buffer = std::mem::take(output);
            if self.kept + buffer.capacity() <= KEEP {
                self.kept += buffer.capacity();
                self.outputs.push(buffer);
            }
        }
    }
}

/// Reads what has arrived. When that does not fill the buffer, the socket is known to be empty, which saves the call that would tell.
pub(super) fn read_available(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = None;
    let result = stream.try_io(Interest::READABLE, || {
        let count = (&*SockRef::from(stream)).read(buffer)?;
        read = Some(count);
        if count > 0 && count < buffer.len() {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            Ok(count)
        }
    });
    read.map_or(result, Ok)
}
