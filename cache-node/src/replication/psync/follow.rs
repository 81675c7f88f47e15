//! Copying a redis-server or valkey-server: its data set, then its commands as they come. So a data set moves here while it is used.
//!
//! The commands are executed as a client's would be, but nothing expires here: that the primary decides. This node's log does not continue
//! the primary's, whose commands may be about several slots; so the offsets that are acknowledged are not this log's.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::input::UntilMark;
use crate::command::{Followed, Replayer};
use crate::node::Node;
use crate::persistence::receive;
use crate::replication::FlowError;
use crate::replication::history::History;
use crate::replication::link::{LinkState, Upstream};
use crate::replication::wire::WireError;
use crate::resp::{Limits, OwnedArgs, Parsed, Parser, encode_request, parse_integer};
use crate::store::Store;

/// What is applied is acknowledged so often.
pub(crate) const ACK: Duration = Duration::from_secs(1);

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

const READ: usize = 64 << 10;

/// Where the primary's stream was, so that it can go on there when the connection was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPlace {
    pub(crate) history: String,
    pub(crate) offset: u64,
}

/// A connection to the primary; it is closed when this goes, so that the thread that reads from it ends.
pub struct Line(TcpStream);

impl Drop for Line {
    fn drop(&mut self) {
        // It may be closed already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Connects to the primary; blocks the thread for at most some seconds.
///
/// # Errors
///
/// It cannot be reached.
pub fn connect(upstream: &Upstream) -> io::Result<(TcpStream, Line)> {
    let mut addresses = (upstream.host.as_str(), upstream.port).to_socket_addrs()?;
    let unknown = || io::Error::other("the host has no address");
    let address = addresses.next().ok_or_else(unknown)?;
    let stream = TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_nodelay(true)?;
    let line = Line(stream.try_clone()?);
    Ok((stream, line))
}

/// Copies the primary until the connection ends or this node is to copy it no more; blocks the thread. `place` is where the stream was, and is
/// kept up to date.
///
/// # Errors
///
/// Why it ended.
pub fn follow(
    node: &Arc<Node>,
    upstream: &Upstream,
    stream: TcpStream,
    place: &mut Option<StreamPlace>,
) -> Result<(), FlowError> {
    let timeout = Duration::from_secs(node.config.get().repl_timeout);
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let mut following = Following::new(node, upstream, stream.try_clone()?, stream);
    following.greet()?;
    let mut now = following.begin(place.take())?;
    following.output.set_read_timeout(Some(ACK))?;
    node.replication.set_synced_from(upstream);
    node.replication.set_link_state(LinkState::Connected);
    let result = following.stream(&mut now);
    *place = Some(now);
    result
}

impl From<io::Error> for FlowError {
    fn from(error: io::Error) -> Self {
        let silent = matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        );
        Self::Wire(if silent {
            WireError::Silent
        } else if error.kind() == io::ErrorKind::UnexpectedEof {
            WireError::Closed
        } else {
            WireError::Io(error)
        })
    }
}

/// The primary's stream, as bytes that come and go.
pub(crate) struct Following<'a, I, O> {
    node: &'a Arc<Node>,
    upstream: &'a Upstream,
    input: BufReader<I>,
    output: O,
    replayer: Replayer,
    /// Commands since `MULTI`.
    group: Option<Group>,
}

/// Commands that are executed together when all of them are there. Until then none of their bytes count: on another connection the primary
/// sends all of them again.
#[derive(Default)]
struct Group {
    commands: Vec<OwnedArgs>,
    bytes: u64,
}

impl<'a, I: Read, O: Write> Following<'a, I, O> {
    /// Nothing was said yet.
    pub(crate) fn new(node: &'a Arc<Node>, upstream: &'a Upstream, input: I, output: O) -> Self {
        Self {
            node,
            upstream,
            input: BufReader::with_capacity(READ, input),
            output,
            replayer: Replayer::new(node),
            group: None,
        }
    }

    fn greet(&mut self) -> Result<(), FlowError> {
        if let Some(password) = self.node.peer_password() {
            self.ask(&["AUTH", &password])?;
        }
        self.ask(&["PING"])?;
        let port = self.node.config.get().port.to_string();
        self.ask(&["REPLCONF", "listening-port", &port])?;
        self.ask(&["REPLCONF", "capa", "eof", "capa", "psync2"])?;
        Ok(())
    }

    fn ask(&mut self, command: &[&str]) -> Result<String, FlowError> {
        self.send(command)?;
        let answer = self.line()?;
        match answer.strip_prefix('-') {
            Some(error) => Err(FlowError::Wire(WireError::Refused {
                command: command[0].to_owned(),
                answer: error.to_owned(),
            })),
            None => Ok(answer),
        }
    }

    fn send(&mut self, command: &[&str]) -> io::Result<()> {
        let mut request = Vec::new();
        encode_request(&mut request, command.iter().map(|arg| arg.as_bytes()));
        self.output.write_all(&request)
    }

    /// The next line that is not empty: empty ones only say that the primary is there.
    fn line(&mut self) -> io::Result<String> {
        loop {
            let mut line = Vec::new();
            if self
                .input
                .by_ref()
                .take(4096)
                .read_until(b'\n', &mut line)?
                == 0
            {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            if !text.is_empty() {
                return Ok(text);
            }
        }
    }

    /// Asks for what is missing, and takes everything if that is the answer.
    fn begin(&mut self, place: Option<StreamPlace>) -> Result<StreamPlace, FlowError> {
        let (history, wanted) = match &place {
            Some(place) => (place.history.clone(), (place.offset + 1).to_string()),
            None => ("?".to_owned(), "-1".to_owned()),
        };
        let answer = self.ask(&["PSYNC", &history, &wanted])?;
        let words: Vec<&str> = answer.split(' ').collect();
        match (words.as_slice(), place) {
            (["+FULLRESYNC", history, offset], _) => {
                let offset = parse_integer(offset.as_bytes())
                    .and_then(|offset| u64::try_from(offset).ok())
                    .ok_or_else(|| unexpected(&answer))?;
                self.take_all(offset)?;
                Ok(StreamPlace {
                    history: (*history).to_owned(),
                    offset,
                })
            }
            (["+CONTINUE", rest @ ..], Some(mut place)) => {
                if let [history] = rest {
                    (*history).clone_into(&mut place.history);
                }
                self.node.replication.metrics.partial_syncs.inc();
                tracing::info!(primary = %self.upstream.host, port = self.upstream.port, offset = place.offset, "going on where the stream was");
                Ok(place)
            }
            _ => Err(unexpected(&answer)),
        }
    }

    /// Takes the data set and puts it in the place of this node's, whose data are served until then.
    fn take_all(&mut self, offset: u64) -> Result<(), FlowError> {
        let replication = &self.node.replication;
        replication.metrics.full_syncs.inc();
        replication.set_link_state(LinkState::Sync);
        tracing::info!(primary = %self.upstream.host, port = self.upstream.port, "full sync from a server of another kind begins");
        let header = self.line()?;
        let store = Arc::new(Store::new());
        replication.set_beside(Some(Arc::clone(&store)));
        let _beside = Beside(self.node);
        let keys = if let Some(mark) = header.strip_prefix("$EOF:") {
            let mut input = UntilMark::new(&mut self.input, mark.as_bytes());
            let keys = receive(self.node, &store, &mut input);
            read_away(keys.is_ok(), &mut input)?;
            keys
        } else {
            let length = header
                .strip_prefix('$')
                .and_then(|length| length.parse().ok())
                .ok_or_else(|| unexpected(&header))?;
            let mut input = self.input.by_ref().take(length);
            let keys = receive(self.node, &store, &mut input);
            read_away(keys.is_ok(), &mut input)?;
            keys
        };
        let keys = keys.map_err(|error| {
            replication.set_refused(&error.to_string());
            FlowError::Unwanted(error.to_string())
        })?;
        replication.set_refused("");
        let (log, replication) = (&self.node.log, &self.node.replication);
        let replaced = self.node.store.replace_by(&store, || {
            let wanted = self.is_wanted();
            if wanted {
                log.restart_at(log.end() + 1);
                replication.adopt(History::begin());
            }
            wanted
        });
        // What was here before is in it now.
        replication.set_beside(None);
        replication.discard(Some(store));
        if !replaced {
            return Err(no_more());
        }
        replication.set_applied(offset);
        self.node.persistence.history_restarted(self.node);
        tracing::info!(keys, offset, "full sync done");
        Ok(())
    }

    fn is_wanted(&self) -> bool {
        let replication = &self.node.replication;
        replication.is_configured() && replication.orders() == self.upstream.order
    }

    /// Executes what the primary has executed, for ever. Reading must give up after [`ACK`] when nothing comes.
    pub(crate) fn stream(&mut self, place: &mut StreamPlace) -> Result<(), FlowError> {
        let patience = Duration::from_secs(self.node.config.get().repl_timeout);
        let (mut heard, mut acknowledged) = (Instant::now(), Instant::now());
        let mut pending: Vec<u8> = Vec::new();
        let mut parser = Parser::default();
        self.acknowledge(place.offset)?;
        loop {
            match self.input.fill_buf() {
                Ok([]) => return Err(FlowError::Wire(WireError::Closed)),
                Ok(bytes) => {
                    pending.extend_from_slice(bytes);
                    let read = bytes.len();
                    self.input.consume(read);
                    heard = Instant::now();
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    if heard.elapsed() > patience {
                        return Err(FlowError::Wire(WireError::Silent));
                    }
                }
                Err(error) => return Err(error.into()),
            }
            let executed = self.execute_all(&mut parser, &pending, place)?;
            pending.drain(..executed);
            self.node.replication.set_applied(place.offset);
            if acknowledged.elapsed() >= ACK {
                self.acknowledge(place.offset)?;
                acknowledged = Instant::now();
            }
        }
    }

    fn acknowledge(&mut self, offset: u64) -> io::Result<()> {
        self.send(&["REPLCONF", "ACK", &offset.to_string()])
    }

    /// Executes all whole commands; answers how many bytes they have.
    fn execute_all(
        &mut self,
        parser: &mut Parser,
        bytes: &[u8],
        place: &mut StreamPlace,
    ) -> Result<usize, FlowError> {
        let limits = Limits::default();
        let mut done = 0;
        loop {
            let rest = &bytes[done..];
            let length = match parser.parse(rest, &limits) {
                Ok(Parsed::Command { length }) => {
                    let args = parser.args(rest).to_owned();
                    self.execute(args, length as u64, place)?;
                    length
                }
                Ok(Parsed::Nothing { length }) => {
                    self.count(length as u64, place);
                    length
                }
                Ok(Parsed::Incomplete { .. }) => return Ok(done),
                Err(error) => return Err(unexpected(&error.to_string())),
            };
            done += length;
        }
    }

    /// So many bytes more are done, or wait for the end of their group.
    fn count(&mut self, bytes: u64, place: &mut StreamPlace) {
        match &mut self.group {
            Some(group) => group.bytes += bytes,
            None => place.offset += bytes,
        }
    }

    fn execute(
        &mut self,
        command: OwnedArgs,
        bytes: u64,
        place: &mut StreamPlace,
    ) -> Result<(), FlowError> {
        let args = command.as_args();
        let is = |index: usize, word: &[u8]| {
            args.get(index)
                .is_some_and(|arg| arg.eq_ignore_ascii_case(word))
        };
        if is(0, b"MULTI") {
            if self.group.is_some() {
                return Err(unexpected("MULTI within MULTI"));
            }
            self.group = Some(Group::default());
        } else if is(0, b"EXEC") {
            let Some(group) = self.group.take() else {
                return Err(unexpected("EXEC without MULTI"));
            };
            self.apply(&group.commands)?;
            place.offset += group.bytes;
        } else if is(0, b"PING") {
        } else if is(0, b"REPLCONF") {
            if is(1, b"GETACK") {
                let offset = place.offset + if self.group.is_some() { 0 } else { bytes };
                self.acknowledge(offset)?;
            }
        } else if is(0, b"SELECT") {
            if args.get(1).and_then(parse_integer) != Some(0) {
                return Err(FlowError::Unwanted(
                    "the primary has keys in other databases than 0, of which there is none here"
                        .to_owned(),
                ));
            }
        } else if let Some(group) = &mut self.group {
            group.commands.push(command);
        } else {
            self.apply(&[command])?;
        }
        self.count(bytes, place);
        Ok(())
    }

    fn apply(&mut self, commands: &[OwnedArgs]) -> Result<(), FlowError> {
        let (replication, order) = (&self.node.replication, self.upstream.order);
        let wanted = || replication.is_configured() && replication.orders() == order;
        match self.replayer.follow(commands, wanted)? {
            Followed::Done => Ok(()),
            Followed::Unwanted => Err(no_more()),
        }
    }
}

/// Reads what is left behind a data set, so that the stream begins; after an error the connection is of no more use.
fn read_away(whole: bool, input: &mut impl Read) -> io::Result<()> {
    if whole {
        io::copy(input, &mut io::sink())?;
    }
    Ok(())
}

/// A data set that is being put together, until this goes.
struct Beside<'a>(&'a Node);

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        self.0.replication.set_beside(None);
    }
}

fn unexpected(answer: &str) -> FlowError {
    FlowError::Role(format!("the primary answered '{answer}'"))
}

fn no_more() -> FlowError {
    FlowError::Role("this node copies another node now, or none".to_owned())
}
