//! The `+OK` server in each of its shapes.
//!
//! All shapes read into one scratch buffer where they can, answer a read with one write, and ignore what does not fit
//! into a socket buffer: with at most 64 commands under way a reply always does.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll as TaskPoll;

use clap::ValueEnum;
use mio::{Events, Interest, Poll, Token};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};

use super::reply::{Replies, SCRATCH, commands};

/// A shape of server, or a setting of the runtime below one.
#[derive(Clone, Copy, ValueEnum, PartialEq)]
pub(super) enum Shape {
    /// Raw epoll.
    Epoll,
    /// Raw epoll that reads until nothing is left.
    EpollTwice,
    /// `readable().await`, `try_read` until it would block, `try_write`.
    Try,
    /// The same, but a short read ends the turn and clears the readiness.
    TryOnce,
    /// `poll_read` into the worker's scratch, `try_write`.
    Poll,
    /// `read().await`, `write_all().await` with a buffer a connection.
    Await,
    /// One task for all connections: an epoll of its own below the runtime's.
    Nested,
    /// `poll` with the timer enabled too.
    Timer,
    /// `poll` with `event_interval(16)`.
    Event16,
    /// `poll` with `event_interval(256)`.
    Event256,
    /// `poll` with `event_interval(1024)`.
    Event1024,
    /// `poll` with `global_queue_interval(1024)`.
    Global1024,
    /// `poll` with `max_io_events_per_tick(64)`.
    Io64,
    /// `poll` with `max_io_events_per_tick(4096)`.
    Io4096,
    /// `try-once` with `spawn` in place of `spawn_local`, and a scratch a connection.
    SendTasks,
}

impl Shape {
    /// As on the command line.
    pub(super) fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// As in the table.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Epoll => "raw epoll (mio), one read a turn",
            Self::EpollTwice => "raw epoll (mio), reads until it would block",
            Self::Try => "tokio, `readable` + `try_read` until it would block + `try_write`",
            Self::TryOnce => {
                "tokio, `readable` + one read + `try_write`, a short read ends the turn"
            }
            Self::Poll => "tokio, `poll_read` into shared scratch + `try_write`",
            Self::Await => "tokio, `read().await` + `write_all().await`",
            Self::Nested => "tokio, one task over an epoll of its own",
            Self::Timer => "`poll_read`, timer enabled",
            Self::Event16 => "`poll_read`, `event_interval(16)`",
            Self::Event256 => "`poll_read`, `event_interval(256)`",
            Self::Event1024 => "`poll_read`, `event_interval(1024)`",
            Self::Global1024 => "`poll_read`, `global_queue_interval(1024)`",
            Self::Io64 => "`poll_read`, `max_io_events_per_tick(64)`",
            Self::Io4096 => "`poll_read`, `max_io_events_per_tick(4096)`",
            Self::SendTasks => "short read ends the turn, `spawn` instead of `spawn_local`",
        }
    }
}

/// Serves until killed; prints the port first.
pub(super) fn serve(shape: Shape) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("{}", listener.local_addr()?.port());
    match shape {
        Shape::Epoll => return Ok(Loop::new(listener, false)?.run()?),
        Shape::EpollTwice => return Ok(Loop::new(listener, true)?.run()?),
        _ => {}
    }
    let mut builder = Builder::new_current_thread();
    builder.enable_io();
    match shape {
        Shape::Timer => builder.enable_time(),
        Shape::Event16 => builder.event_interval(16),
        Shape::Event256 => builder.event_interval(256),
        Shape::Event1024 => builder.event_interval(1024),
        Shape::Global1024 => builder.global_queue_interval(1024),
        Shape::Io64 => builder.max_io_events_per_tick(64),
        Shape::Io4096 => builder.max_io_events_per_tick(4096),
        _ => &mut builder,
    };
    if shape == Shape::SendTasks {
        return Ok(builder.build()?.block_on(accept_send(listener))?);
    }
    let runtime = builder.build_local(LocalOptions::default())?;
    if shape == Shape::Nested {
        return Ok(runtime.block_on(nested(listener))?);
    }
    Ok(runtime.block_on(accept(listener, shape))?)
}

/// A loop on epoll alone.
struct Loop {
    poll: Poll,
    listener: mio::net::TcpListener,
    connections: Vec<Option<mio::net::TcpStream>>,
    scratch: Vec<u8>,
    replies: Replies,
    twice: bool,
}

const LISTENER: Token = Token(usize::MAX);

impl Loop {
    fn new(listener: TcpListener, twice: bool) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = mio::net::TcpListener::from_std(listener);
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            connections: Vec::new(),
            scratch: vec![0; SCRATCH],
            replies: Replies::new(),
            twice,
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            self.poll.poll(&mut events, None)?;
            self.turn(&events)?;
        }
    }

    fn turn(&mut self, events: &Events) -> io::Result<()> {
        for event in events {
            match event.token() {
                LISTENER => self.accept()?,
                Token(index) => self.answer(index),
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Ok((mut stream, _)) = self.listener.accept() {
            stream.set_nodelay(true)?;
            let index = self
                .connections
                .iter()
                .position(Option::is_none)
                .unwrap_or(self.connections.len());
            self.poll
                .registry()
                .register(&mut stream, Token(index), Interest::READABLE)?;
            if index == self.connections.len() {
                self.connections.push(None);
            }
            self.connections[index] = Some(stream);
        }
        Ok(())
    }

    fn answer(&mut self, index: usize) {
        while let Some(stream) = &mut self.connections[index] {
            match stream.read(&mut self.scratch) {
                Ok(length) if length > 0 => {
                    let (count, _) = commands(&self.scratch[..length]);
                    if stream.write(self.replies.to(count)).is_err() {
                        self.connections[index] = None;
                    } else if !self.twice {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                _ => self.connections[index] = None,
            }
        }
    }
}

/// The raw loop as one task: the runtime waits for the inner epoll, then all that is ready is answered at once.
async fn nested(listener: TcpListener) -> io::Result<()> {
    let mut inner = Loop::new(listener, false)?;
    let descriptor = inner.poll.registry().as_fd().try_clone_to_owned()?;
    // SAFETY: the descriptor is owned by what is registered, so it stays open for as long as that.
    #[allow(unsafe_code)]
    let descriptor = unsafe { AsyncFd::register(descriptor) }.map_err(io::Error::from)?;
    let mut events = Events::with_capacity(1024);
    loop {
        let mut guard = descriptor.readable().await?;
        inner
            .poll
            .poll(&mut events, Some(std::time::Duration::ZERO))?;
        if events.is_empty() {
            guard.clear_ready();
        }
        inner.turn(&events)?;
    }
}

/// What the connections of a worker share.
struct Worker {
    scratch: RefCell<Vec<u8>>,
    replies: Replies,
}

async fn accept(listener: TcpListener, shape: Shape) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let worker = Rc::new(Worker {
        scratch: RefCell::new(vec![0; SCRATCH]),
        replies: Replies::new(),
    });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let worker = Rc::clone(&worker);
        match shape {
            Shape::Try => tokio::task::spawn_local(try_twice(worker, stream)),
            Shape::TryOnce => tokio::task::spawn_local(try_once(worker, stream)),
            Shape::Await => tokio::task::spawn_local(awaiting(worker, stream)),
            _ => tokio::task::spawn_local(poll(worker, stream)),
        };
    }
}

async fn try_twice(worker: Rc<Worker>, stream: TcpStream) {
    while stream.readable().await.is_ok() {
        let mut scratch = worker.scratch.borrow_mut();
        match stream.try_read(&mut scratch) {
            Ok(0) => return,
            Ok(length) => {
                let (count, _) = commands(&scratch[..length]);
                if stream.try_write(worker.replies.to(count)).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Reads once. When the buffer was not filled the socket is empty, and saying "would block" to the runtime makes it
/// wait for the next event without the system call that would only find that out.
fn read_once(stream: &TcpStream, scratch: &mut [u8]) -> io::Result<usize> {
    let mut short = None;
    let result = stream.try_io(tokio::io::Interest::READABLE, || {
        let length = (&*socket2::SockRef::from(stream)).read(scratch)?;
        if 0 < length && length < scratch.len() {
            short = Some(length);
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(length)
    });
    short.map_or(result, Ok)
}

async fn try_once(worker: Rc<Worker>, stream: TcpStream) {
    while stream.readable().await.is_ok() {
        let mut scratch = worker.scratch.borrow_mut();
        match read_once(&stream, &mut scratch) {
            Ok(0) => return,
            Ok(length) => {
                let (count, _) = commands(&scratch[..length]);
                if stream.try_write(worker.replies.to(count)).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

async fn poll(worker: Rc<Worker>, mut stream: TcpStream) {
    loop {
        let count = poll_fn(|context| {
            let mut scratch = worker.scratch.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut stream).poll_read(context, &mut buffer) {
                TaskPoll::Pending => TaskPoll::Pending,
                TaskPoll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    TaskPoll::Ready(Some(commands(buffer.filled()).0))
                }
                TaskPoll::Ready(_) => TaskPoll::Ready(None),
            }
        })
        .await;
        match count {
            Some(count) if stream.try_write(worker.replies.to(count)).is_ok() => {}
            _ => return,
        }
    }
}

async fn awaiting(worker: Rc<Worker>, mut stream: TcpStream) {
    let mut buffer = vec![0; SCRATCH];
    while let Ok(length) = stream.read(&mut buffer).await {
        let (count, _) = commands(&buffer[..length]);
        if length == 0 || stream.write_all(worker.replies.to(count)).await.is_err() {
            return;
        }
    }
}

async fn accept_send(listener: TcpListener) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let replies = Replies::new();
            let mut scratch = vec![0; SCRATCH];
            while stream.readable().await.is_ok() {
                match read_once(&stream, &mut scratch) {
                    Ok(length) if length > 0 => {
                        let (count, _) = commands(&scratch[..length]);
                        if stream.try_write(replies.to(count)).is_err() {
                            return;
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    _ => return,
                }
            }
        });
    }
}
