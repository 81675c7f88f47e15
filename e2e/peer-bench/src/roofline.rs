//! The roofline: an epoll loop that answers `+OK` to every command, whatever it is, and does nothing else. It shows how
//! many commands the kernel and the loop alone let through.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::generator::replies::{Protocol, ReplyCounter, Tally};

const LISTENER: Token = Token(usize::MAX);
const REPLY: &[u8] = b"+OK\r\n";
const BUFFER: usize = 64 << 10;

struct Client {
    stream: TcpStream,
    /// Commands have the form of replies, arrays of bulk strings, so that the same counter finds their ends.
    commands: ReplyCounter,
    /// Reply bytes that the socket has not taken yet.
    owed: usize,
}

/// Serves on the loopback address until the process is ended.
///
/// # Errors
/// If the port is taken or the kernel refuses.
pub fn serve(port: u16) -> Result<()> {
    let mut poll = Poll::new().context("epoll")?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut listener =
        TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)
        .context("epoll")?;
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; BUFFER];
    let replies = REPLY.repeat(BUFFER / REPLY.len());
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                return Err(error).context("epoll");
            }
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut clients)?;
                continue;
            }
            let place = event.token().0;
            if let Some(client) = &mut clients[place]
                && !client.answer(&mut buffer, &replies)
            {
                clients[place] = None;
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, clients: &mut Vec<Option<Client>>) -> Result<()> {
    while let Ok((mut stream, _)) = listener.accept() {
        stream.set_nodelay(true).context("TCP_NODELAY")?;
        let place = clients
            .iter()
            .position(Option::is_none)
            .unwrap_or(clients.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(&mut stream, Token(place), interest)
            .context("epoll")?;
        let client = Client {
            stream,
            commands: ReplyCounter::new(Protocol::Resp),
            owed: 0,
        };
        if place == clients.len() {
            clients.push(Some(client));
        } else {
            clients[place] = Some(client);
        }
    }
    Ok(())
}

impl Client {
    /// Answers what has come; `false` when the connection is over.
    fn answer(&mut self, buffer: &mut [u8], replies: &[u8]) -> bool {
        loop {
            if !self.pay(replies) {
                return false;
            }
            let count = match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(count) => count,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            };
            let mut tally = Tally::default();
            self.commands.feed(&buffer[..count], &mut tally);
            self.owed += tally.replies as usize * REPLY.len();
            if count < buffer.len() {
                return self.pay(replies);
            }
        }
    }

    /// Sends the replies that are owed, as far as the socket takes them.
    fn pay(&mut self, replies: &[u8]) -> bool {
        while self.owed > 0 {
            // What is owed may begin in the middle of a reply; the end of a run of replies is always the end of one.
            let length = self.owed.min(replies.len());
            let start = (REPLY.len() - self.owed % REPLY.len()) % REPLY.len();
            let end = (start + length).min(replies.len());
            match self.stream.write(&replies[start..end]) {
                Ok(count) => self.owed -= count,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }
}
