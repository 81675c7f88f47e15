//! Accepts connections and hands them to workers.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tracing::{info, warn};

use super::worker::Workers;
use crate::node::Node;

/// Pause after an error such as "too many open files".
const BACK_OFF: Duration = Duration::from_millis(50);

/// Listens on each address. A loopback IPv6 address that the machine does not have is passed over, since it is a default.
pub fn bind(addresses: &[IpAddr], port: u16, backlog: u32) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    let mut failure = None;
    for address in addresses {
        let socket_address = SocketAddr::new(*address, port);
        match listen(socket_address, backlog) {
            Ok(listener) => listeners.push(listener),
            Err(error)
                if address.is_ipv6()
                    && address.is_loopback()
                    && error.kind() == io::ErrorKind::AddrNotAvailable =>
            {
                failure = Some(error);
            }
            Err(error) => {
                let text = format!("cannot listen on {socket_address}: {error}");
                return Err(io::Error::new(error.kind(), text));
            }
        }
    }
    match failure {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Accepts on `listener` until the process is to end.
pub async fn serve(
    node: Arc<Node>,
    listener: TcpListener,
    workers: Arc<Workers>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    if let Ok(address) = listener.local_addr() {
        info!(%address, "accepting connections");
    }
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = node.shutdown.requested() => return Ok(()),
        };
        match accepted {
            Ok((stream, _)) => admit(&node, stream, &workers),
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

fn admit(node: &Arc<Node>, stream: TcpStream, workers: &Workers) {
    node.stats.connections.fetch_add(1, Relaxed);
    let settings = node.config.snapshot();
    if workers.connections() >= settings.maxclients {
        node.stats.refused.fetch_add(1, Relaxed);
        tokio::spawn(refuse(stream));
        return;
    }
    if let Err(error) = prepare(&stream, settings.tcp_keepalive) {
        // The other side has gone already.
        tracing::debug!(%error, "a connection ended before it began");
        return;
    }
    if let Ok(stream) = stream.into_std() {
        workers.hand_over(stream);
    }
}

fn prepare(stream: &TcpStream, keepalive: u64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if keepalive > 0 {
        let interval = Duration::from_secs((keepalive / 3).max(1));
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(keepalive))
            .with_interval(interval)
            .with_retries(3);
        SockRef::from(stream).set_tcp_keepalive(&keepalive)?;
    }
    Ok(())
}

async fn refuse(mut stream: TcpStream) {
    // The client is turned away either way.
    let _ = stream
        .write_all(b"-ERR max number of clients reached\r\n")
        .await;
}
