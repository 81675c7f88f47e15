//! Load: valkey-benchmark, or a closed loop of our own where it is not installed.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// What to send: SETs of 64 bytes.
pub(super) struct Load {
    /// The server's, on this machine.
    pub(super) port: u16,
    /// Connections.
    pub(super) connections: usize,
    /// Commands of a pipeline.
    pub(super) depth: usize,
    /// Commands in all, a multiple of `depth`.
    pub(super) requests: usize,
}

struct Connection {
    stream: TcpStream,
    awaited: usize,
}

impl Load {
    /// Sends with valkey-benchmark.
    ///
    /// # Errors
    /// When it cannot be run or fails.
    pub(super) fn with_valkey(&self, path: &Path) -> anyhow::Result<()> {
        let status = Command::new(path)
            .args([
                "-p",
                &self.port.to_string(),
                "-c",
                &self.connections.to_string(),
            ])
            .args([
                "-P",
                &self.depth.to_string(),
                "-n",
                &self.requests.to_string(),
            ])
            .args(["-t", "set", "-d", "64", "-r", "1000000", "-q"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("valkey-benchmark does not start")?;
        ensure!(status.success(), "valkey-benchmark failed: {status}");
        Ok(())
    }

    /// Sends with a closed loop of our own, and waits for all replies.
    ///
    /// # Errors
    /// When a socket fails.
    pub(super) fn with_builtin(&self) -> anyhow::Result<()> {
        const REPLY: usize = b"+OK\r\n".len();
        let request = format!(
            "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$64\r\n{}\r\n",
            "x".repeat(64)
        )
        .repeat(self.depth);
        let mut poll = Poll::new()?;
        let mut open = Vec::with_capacity(self.connections);
        for index in 0..self.connections {
            let stream = std::net::TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(index), Interest::READABLE)?;
            open.push(Connection { stream, awaited: 0 });
        }
        let mut to_send = self.requests / self.depth;
        let mut open_requests = 0;
        for connection in &mut open {
            if to_send > 0 {
                send(connection, request.as_bytes(), self.depth * REPLY)?;
                to_send -= 1;
                open_requests += 1;
            }
        }
        let mut events = Events::with_capacity(1024);
        let mut scratch = [0; 4096];
        while open_requests > 0 {
            poll.poll(&mut events, None)?;
            for event in &events {
                let connection = &mut open[event.token().0];
                while connection.awaited > 0 {
                    match connection.stream.read(&mut scratch) {
                        Ok(0) => anyhow::bail!("the server closed a connection"),
                        Ok(length) => connection.awaited -= length,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error.into()),
                    }
                }
                if connection.awaited == 0 {
                    open_requests -= 1;
                    if to_send > 0 {
                        send(connection, request.as_bytes(), self.depth * REPLY)?;
                        to_send -= 1;
                        open_requests += 1;
                    }
                }
            }
        }
        Ok(())
    }
}

fn send(connection: &mut Connection, request: &[u8], reply: usize) -> anyhow::Result<()> {
    // Small enough for an empty socket buffer, so it is taken whole.
    let written = connection.stream.write(request)?;
    ensure!(
        written == request.len(),
        "the socket took only part of a request"
    );
    connection.awaited = reply;
    Ok(())
}
