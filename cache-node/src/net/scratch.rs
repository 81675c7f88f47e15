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

/// A buffer for output that is bigger than this is given back.
const KEEP: usize = 4 * 1024 * 1024;

thread_local! {
    /// The buffers of this thread. Nobody holds them across an await.
    pub(super) static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: vec![0; BEGINNING + READ],
        output: Vec::with_capacity(READ),
    });
}

/// Buffers of a thread.
pub(super) struct Scratch {
    /// What was read, behind the beginning of a command that was kept.
    pub(super) input: Vec<u8>,
    output: Vec<u8>,
}

impl Scratch {
    /// Gives a connection the buffer for its output, unless it has replies in one of its own.
    pub(super) fn lend(&mut self, output: &mut Vec<u8>) {
        if output.is_empty() {
            std::mem::swap(output, &mut self.output);
        }
    }

    /// Takes the buffer back when all is sent.
    pub(super) fn take_back(&mut self, output: &mut Vec<u8>) {
        if output.is_empty() {
            if output.capacity() > self.output.capacity() {
                std::mem::swap(output, &mut self.output);
            }
            *output = Vec::new();
        }
        if self.output.capacity() > KEEP {
            self.output = Vec::with_capacity(READ);
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
