//! What idle connections take: many are opened, each asks one thing and is then left alone.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use crate::figures::{Entry, Footprint};
use crate::generator::replies::Protocol;
use crate::inspect;
use crate::memory::footprint;
use crate::servers::Needs;
use crate::servers::discovery::Installed;
use crate::servers::process::Running;
use crate::session::{Session, reason};

/// Connections from one source address; each has 28,232 ephemeral ports in Linux's default range, and a free one is found
/// quickly while most are free.
const PER_SOURCE: usize = 2_000;
/// Descriptors beside the connections, here and in a server.
const SPARE: usize = 1000;

/// Names of all measurements.
pub fn names(count: usize) -> Vec<String> {
    vec![format!("connections/{count}")]
}

/// Measures `count` connections, or as many as the limit on open files allows.
pub fn measure(session: &Session, count: usize) -> Vec<Entry<Footprint>> {
    let chosen = session.chosen(names(count));
    let Some(name) = chosen.first() else {
        return Vec::new();
    };
    let allowed = raise_open_files(count + SPARE).saturating_sub(SPARE);
    if allowed < count {
        eprintln!("  The limit on open files allows {allowed} connections only");
    }
    let mut entries = Vec::new();
    for installed in session.stores() {
        let kind = installed.kind;
        let figures =
            measure_one(session, installed, count.min(allowed)).map_err(|error| reason(&error));
        if let Ok(footprint) = &figures {
            let mebibytes = footprint.resident * footprint.count as f64 / f64::from(1 << 20);
            eprintln!(
                "  {name:32} {:10} {:8.0} B each, {mebibytes:.0} MiB",
                kind.name(),
                footprint.resident
            );
        }
        entries.push(Entry::new(name, kind, figures));
    }
    entries
}

fn measure_one(session: &Session, installed: &Installed, count: usize) -> Result<Footprint> {
    let needs = Needs {
        connections: count + SPARE / 10,
        ..Needs::default()
    };
    let server = Running::start(installed, &session.place, needs)?;
    let before = inspect::settled_memory(&server, inspect::EMPTY)?;
    let open = |number| {
        connect(&server, number).with_context(|| format!("connection {} of {count}", number + 1))
    };
    let connections = (0..count).map(open).collect::<Result<Vec<_>>>()?;
    let after = inspect::settled_memory(&server, inspect::LOADED)?;
    // The last one is still served, so none was turned away.
    if let Some(mut last) = connections.into_iter().next_back() {
        ask(&mut last, server.kind.protocol())?;
    }
    Ok(footprint(before, after, count as u64, 0.0))
}

/// Opens a connection from one of several source addresses and has one question answered.
fn connect(server: &Running, number: usize) -> Result<Socket> {
    let source = Ipv4Addr::new(127, 0, 1, 1 + (number / PER_SOURCE) as u8);
    let mut socket = Socket::new(Domain::IPV4, Type::STREAM, None).context("socket")?;
    socket
        .bind(&SocketAddr::new(IpAddr::V4(source), 0).into())
        .context("bind")?;
    socket.connect(&server.address.into()).context("connect")?;
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .context("timeout")?;
    ask(&mut socket, server.kind.protocol())?;
    Ok(socket)
}

fn ask(socket: &mut Socket, protocol: Protocol) -> Result<()> {
    let question: &[u8] = match protocol {
        Protocol::Resp => b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000000\r\n",
        Protocol::Memcached => b"get key:000000000000\r\n",
    };
    socket.write_all(question).context("write")?;
    let mut answer = [0; 64];
    let length = socket.read(&mut answer).context("read")?;
    let answer = &answer[..length];
    if answer != b"$-1\r\n" && answer != b"END\r\n" {
        bail!(
            "unexpected answer: {}",
            String::from_utf8_lossy(answer).trim_end()
        );
    }
    Ok(())
}

/// Raises the limit on open files, of this process and the servers it starts, as far as it may; what it is then.
fn raise_open_files(wanted: usize) -> usize {
    let wanted = wanted as u64;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 0;
    };
    // Only the privileged may raise the hard limit; the others get as far as that.
    let raised = setrlimit(Resource::RLIMIT_NOFILE, wanted.max(soft), wanted.max(hard)).is_ok()
        || setrlimit(Resource::RLIMIT_NOFILE, wanted.clamp(soft, hard), hard).is_ok();
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(soft, |(soft, _)| soft);
    if raised {
        limit as usize
    } else {
        soft as usize
    }
}
