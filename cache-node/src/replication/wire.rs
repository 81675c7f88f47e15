//! One connection between two nodes: opened as a client's, handed over by an internal command, then frames both ways.
//!
//! Every method that waits may be dropped and called again without losing a byte. It must never know what a frame means.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::frame::{self, Frame, FrameError};
use crate::resp::encode_request;

/// A peer that says nothing for so long is taken for lost. Both sides send something at least each second.
pub const SILENCE: Duration = Duration::from_secs(5);

/// How long connecting and each answer before the frames may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// No more is encoded while so many bytes wait to be written, and no more is read while so many wait to be decoded.
pub const HIGH_WATER: usize = 256 * 1024;

const READ_CHUNK: usize = 64 * 1024;

/// The connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The socket failed.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    /// The peer closed.
    #[error("connection closed by the other side")]
    Closed,
    /// The peer was silent for longer than [`SILENCE`].
    #[error("the other side is silent")]
    Silent,
    /// The handshake took too long.
    #[error("no answer in time to {0}")]
    Handshake(String),
    /// The peer answered a command of the handshake with an error.
    #[error("{command} was refused: {answer}")]
    Refused {
        /// The command.
        command: String,
        /// The error line.
        answer: String,
    },
    /// The peer sent something that is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// A connection that carries frames.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    input: BytesMut,
    /// What waits to be written; frames are appended here.
    pub out: BytesMut,
    heard: Instant,
}

impl Wire {
    /// A connection that a peer has handed over, with what was read beyond its command.
    pub fn accepted(stream: TcpStream, already_read: &[u8]) -> Self {
        Self {
            stream,
            input: BytesMut::from(already_read),
            out: BytesMut::new(),
            heard: Instant::now(),
        }
    }

    /// The connection, and what was read of it beyond the command that handed it over.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.input.to_vec())
    }

    /// Connects to a node's client port, authenticates if there is a password, and has the connection handed over by `command`. Answers also
    /// what the node said to that.
    ///
    /// # Errors
    ///
    /// No connection, no answer in time, or the peer's refusal.
    pub async fn open(
        address: (&str, u16),
        password: Option<&str>,
        command: &[String],
    ) -> Result<(Self, String), WireError> {
        let connecting = timeout(HANDSHAKE, TcpStream::connect(address));
        let stream = connecting
            .await
            .map_err(|_| WireError::Handshake("connect".to_owned()))??;
        stream.set_nodelay(true)?;
        let mut wire = Self::accepted(stream, &[]);
        if let Some(password) = password {
            let auth = ["AUTH".to_owned(), password.to_owned()];
            wire.ask(&auth).await?;
        }
        let answer = wire.ask(command).await?;
        Ok((wire, answer))
    }

    /// The peer's address.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    /// When something was last heard from the peer.
    pub fn heard(&self) -> Instant {
        self.heard
    }

    /// Writes the positive answer to the command that handed the connection over.
    pub fn welcome(&mut self) {
        self.answer("OK");
    }

    /// Writes another positive answer.
    pub fn answer(&mut self, line: &str) {
        self.out.extend_from_slice(b"+");
        self.out.extend_from_slice(line.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// Writes the negative answer to the command that handed the connection over.
    pub fn refuse(&mut self, why: &str) {
        self.out.extend_from_slice(b"-ERR ");
        self.out.extend_from_slice(why.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    async fn ask(&mut self, command: &[String]) -> Result<String, WireError> {
        let mut request = Vec::new();
        encode_request(&mut request, command.iter().map(String::as_bytes));
        self.out.extend_from_slice(&request);
        let name = command.first().cloned().unwrap_or_default();
        let exchange = async {
            self.flush().await?;
            self.answer_line().await
        };
        let answer = timeout(HANDSHAKE, exchange)
            .await
            .map_err(|_| WireError::Handshake(name.clone()))??;
        match answer.strip_prefix('-') {
            Some(error) => Err(WireError::Refused {
                command: name,
                answer: error.to_owned(),
            }),
            None => Ok(answer.trim_start_matches('+').to_owned()),
        }
    }

    async fn answer_line(&mut self) -> Result<String, WireError> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.input) {
                let line = self.input.split_to(end + 1);
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            self.fill().await?;
        }
    }

    /// The next frame; waits for it.
    ///
    /// # Errors
    ///
    /// The connection is lost, the peer silent, or the bytes are no frame.
    pub async fn frame(&mut self) -> Result<Frame, WireError> {
        loop {
            if let Some(frame) = self.try_frame()? {
                return Ok(frame);
            }
            self.progress().await?;
        }
    }

    /// The next frame if it has arrived already.
    ///
    /// # Errors
    ///
    /// The bytes are no frame.
    pub fn try_frame(&mut self) -> Result<Option<Frame>, WireError> {
        Ok(frame::decode(&mut self.input)?)
    }

    /// Waits until there is more to decode or something was written. Fails when the peer has been silent for too long.
    ///
    /// # Errors
    ///
    /// The connection is lost or the peer silent.
    pub async fn progress(&mut self) -> Result<(), WireError> {
        let deadline = self.heard + SILENCE;
        let stream = &self.stream;
        tokio::select! {
            // What has come while this side was busy counts before the silence does.
            biased;
            ready = stream.readable() => {
                ready?;
                self.read_some()
            }
            ready = stream.writable(), if !self.out.is_empty() => {
                ready?;
                self.write_some()
            }
            () = tokio::time::sleep_until(deadline) => Err(WireError::Silent),
        }
    }

    /// Reads and writes what the socket has and takes at once. Reads nothing while much waits to be decoded.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub fn poll_both(&mut self) -> Result<(), WireError> {
        if self.input.len() < HIGH_WATER {
            self.read_some()?;
        }
        self.write_some()
    }

    /// Waits until everything has been written.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub async fn flush(&mut self) -> Result<(), WireError> {
        while !self.out.is_empty() {
            self.stream.writable().await?;
            self.write_some()?;
        }
        Ok(())
    }

    /// Writes what the socket takes at once.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub fn write_some(&mut self) -> Result<(), WireError> {
        while !self.out.is_empty() {
            match self.stream.try_write(&self.out) {
                Ok(0) => return Err(WireError::Closed),
                Ok(written) => self.out.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn fill(&mut self) -> Result<(), WireError> {
        self.stream.readable().await?;
        self.read_some()
    }

    fn read_some(&mut self) -> Result<(), WireError> {
        self.input.reserve(READ_CHUNK);
        let mut chunk = (&mut self.input).limit(READ_CHUNK);
        match self.stream.try_read_buf(&mut chunk) {
            Ok(0) => Err(WireError::Closed),
            Ok(_) => {
                self.heard = Instant::now();
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Waiting times between attempts: 100 ms, doubled up to 3 s, or up to a minute when the last one has cost much.
#[derive(Debug, Default)]
pub struct Backoff(u32);

impl Backoff {
    /// The time to wait before the next attempt.
    pub fn next_wait(&mut self) -> Duration {
        self.wait(Duration::from_secs(3))
    }

    /// The same after an attempt that has cost both sides much, such as a full sync that was not finished.
    pub fn next_long_wait(&mut self) -> Duration {
        self.wait(Duration::from_mins(1))
    }

    fn wait(&mut self, most: Duration) -> Duration {
        let wait = Duration::from_millis(100) * 2u32.pow(self.0.min(10));
        self.0 += 1;
        wait.min(most)
    }

    /// An attempt succeeded.
    pub fn reset(&mut self) {
        self.0 = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A receiver that is slower than the sender leaves what comes in the socket.
    #[tokio::test]
    async fn no_more_is_read_than_is_decoded() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("bound");
        let sending = tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            let mut frames = BytesMut::new();
            let slot = crate::slot::SlotId::new(7).expect("it exists");
            for offset in 0..10_000 {
                frame::encode(&mut frames, frame::Kind::Record, slot, offset, &[1; 1000]);
            }
            // The other side may go before it is done.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, &frames).await;
            stream
        });
        let (stream, _) = listener.accept().await.expect("it connects");
        let mut wire = Wire::accepted(stream, &[]);
        for offset in 0..10_000 {
            let frame = timeout(SILENCE, wire.frame()).await.expect("in time");
            assert_eq!(frame.expect("valid").offset, offset);
            wire.poll_both().expect("connected");
            assert!(
                wire.input.len() < HIGH_WATER + READ_CHUNK,
                "{}",
                wire.input.len()
            );
        }
        sending.abort();
    }

    #[test]
    fn attempts_become_rarer_up_to_a_bound() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..7).map(|_| backoff.next_wait().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3000, 3000]);
        assert_eq!(backoff.next_long_wait().as_millis(), 12_800);
        assert_eq!(backoff.next_wait().as_millis(), 3000);
        let last = (0..5).map(|_| backoff.next_long_wait()).last();
        assert_eq!(last, Some(Duration::from_mins(1)));
        backoff.reset();
        assert_eq!(backoff.next_wait().as_millis(), 100);
    }
}
