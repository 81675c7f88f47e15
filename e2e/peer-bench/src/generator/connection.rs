//! One connection of the generator: bytes to send, replies to come. Owns its socket; does not decide when to send what.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use mio::{Interest, Poll, Token};

use super::replies::{Protocol, ReplyCounter, Tally};

/// A non-blocking connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    counter: ReplyCounter,
    /// Requests that are to be sent.
    pub(super) out: Vec<u8>,
    written: usize,
    /// Requests that have not been answered.
    pub(super) outstanding: u64,
}

impl Connection {
    /// Connects and registers with `poll`, edge-triggered, under `token`.
    ///
    /// # Errors
    /// If the server does not accept.
    pub(super) fn open(
        address: SocketAddr,
        protocol: Protocol,
        poll: &Poll,
        token: usize,
    ) -> Result<Self> {
        let stream = std::net::TcpStream::connect(address)
            .with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true).context("TCP_NODELAY")?;
        stream.set_nonblocking(true).context("O_NONBLOCK")?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry()
            .register(
                &mut stream,
                Token(token),
                Interest::READABLE | Interest::WRITABLE,
            )
            .context("epoll")?;
        Ok(Self {
            stream,
            counter: ReplyCounter::new(protocol),
            out: Vec::new(),
            written: 0,
            outstanding: 0,
        })
    }

    /// Sends what the socket takes of `out`; the rest goes with the next event.
    ///
    /// # Errors
    /// If the connection is broken.
    pub(super) fn flush(&mut self) -> Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("write to the server"),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads once and counts the replies. Whether more may be there to read: a read that did not fill the buffer has
    /// emptied the socket, and what comes later causes another event.
    ///
    /// # Errors
    /// If the connection is broken or closed.
    pub(super) fn read(&mut self, buffer: &mut [u8], tally: &mut Tally) -> Result<bool> {
        match self.stream.read(buffer) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(count) => {
                let before = tally.replies;
                self.counter.feed(&buffer[..count], tally);
                let answered = tally.replies - before;
                self.outstanding = self
                    .outstanding
                    .checked_sub(answered)
                    .context("the server sent more replies than there were requests")?;
                Ok(count == buffer.len())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error).context("read from the server"),
        }
    }
}
