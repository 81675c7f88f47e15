//! The process from start to end.

use std::ffi::OsString;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use crate::cluster;
use crate::config::{self, Config, Invocation, Settings};
use crate::housekeeping;
use crate::http;
use crate::net::{self, Workers};
use crate::node::Node;
use crate::replication::Replication;
use crate::telemetry;

/// At the end of the process, replicas have so long to get what was written last.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Runs cache-node with a command line (`args`, the program's name first) until it is told to end.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (settings, file) = match config::read(args, std::env::vars()) {
        Ok(Invocation::Run(settings, file)) => (*settings, file),
        Ok(Invocation::Help) => {
            println!("{}", config::help());
            return ExitCode::SUCCESS;
        }
        Ok(Invocation::Version) => {
            println!("cache-node {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("cache-node: {error}");
            return ExitCode::from(2);
        }
    };
    telemetry::init(&settings);
    match start_and_serve(Config::new(settings, file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(%error, "cache-node cannot run");
            ExitCode::FAILURE
        }
    }
}

fn start_and_serve(config: Config) -> std::io::Result<()> {
    let control = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()?;
    // Before anybody can connect: whoever reaches the node may also end it.
    let signals = {
        let _runtime = control.enter();
        Signals::catch()?
    };
    let settings = config.snapshot();
    if settings.cluster_enabled && settings.replicaof.is_some() {
        return Err(std::io::Error::other(
            "replicaof: not in cluster mode, in which CLUSTER REPLICATE says who copies whom",
        ));
    }
    let listeners = net::bind(&settings.bind, settings.port, settings.tcp_backlog)?;
    let http = metrics_listeners(&settings)?;
    let (cluster, bus) = cluster::open(&settings).map_err(std::io::Error::other)?;
    let node = Arc::new(Node::new(config, cluster));
    node.spill_log();
    node.persistence.set_loading(true);
    node.replication.configure(settings.replicaof.clone());
    let (workers, threads) = Workers::start(&node, settings.threads)?;
    let workers = Arc::new(workers);
    info!(
        version = env!("CARGO_PKG_VERSION"),
        port = settings.port,
        threads = settings.threads,
        cluster = settings.cluster_enabled,
        "cache-node starts"
    );
    let ended = control.block_on(async {
        tokio::spawn(housekeeping::keep_process(Arc::clone(&node)));
        for listener in http {
            tokio::spawn(http::serve(Arc::clone(&node), listener));
        }
        for listener in listeners {
            tokio::spawn(net::serve(
                Arc::clone(&node),
                listener,
                Arc::clone(&workers),
            ));
        }
        let serving = async {
            load(&node).await?;
            // What comes from other nodes comes after what was on the disk.
            Replication::start(&node)?;
            if let Some(bus) = bus {
                // A task of its own, which goes on while the process drains.
                let bus = tokio::spawn(cluster::run(bus, Arc::clone(&node)));
                return bus.await?.map_err(std::io::Error::other);
            }
            std::future::pending().await
        };
        let ended = tokio::select! {
            ended = serving => ended,
            () = await_end(&node, signals) => Ok(()),
        };
        node.shutdown.request();
        drain(&node).await;
        let_replicas_catch_up(&node).await;
        let loaded = !node.persistence.is_loading();
        let saved = loaded && node.persistence.save_at_end(&node).await;
        if loaded && !node.persistence.end_aof().await {
            return Err(std::io::Error::other(
                "not everything is on the disk in the append-only file",
            ));
        }
        if loaded && !saved {
            return Err(std::io::Error::other(
                "the data set was not saved at the end",
            ));
        }
        ended
    });
    drop(workers);
    join(&node, threads);
    info!("cache-node has ended");
    ended
}

/// Loads what is on the disk, on a thread of its own; the signals' end does not wait for it.
async fn load(node: &Arc<Node>) -> std::io::Result<()> {
    let (done, loaded) = oneshot::channel();
    let loading = Arc::clone(node);
    std::thread::Builder::new()
        .name("load".to_owned())
        .spawn(move || {
            // Nobody waits any more when the process ends.
            let _ = done.send(loading.persistence.load(&loading));
        })?;
    match loaded.await {
        Ok(Ok(())) => {
            node.persistence.set_loading(false);
            Ok(())
        }
        Ok(Err(error)) => Err(std::io::Error::other(error)),
        Err(_) => Err(std::io::Error::other("the thread that loads has panicked")),
    }
}

/// Listens on the metrics port, if there is one.
fn metrics_listeners(settings: &Settings) -> std::io::Result<Vec<TcpListener>> {
    if settings.metrics_port == 0 {
        return Ok(Vec::new());
    }
    let addresses = if settings.metrics_bind.is_empty() {
        &settings.bind
    } else {
        &settings.metrics_bind
    };
    net::bind(addresses, settings.metrics_port, settings.tcp_backlog)
}

/// The signals that ask for the end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// Resolves when a signal or a command asks for the end.
async fn await_end(node: &Node, mut signals: Signals) {
    tokio::select! {
        _ = signals.terminate.recv() => info!("SIGTERM: shutting down"),
        _ = signals.interrupt.recv() => info!("SIGINT: shutting down"),
        () = node.shutdown.requested() => info!("SHUTDOWN: shutting down"),
    }
}

/// Hands over, then lets connections finish.
async fn drain(node: &Arc<Node>) {
    let timeout = Duration::from_secs(node.config.get().shutdown_timeout);
    // What is left is for the connections.
    let closing = (timeout / 4).clamp(Duration::from_millis(200), Duration::from_secs(2));
    let timeout = timeout.saturating_sub(closing);
    let hooks = async {
        for (name, hook) in node.shutdown.take_hooks() {
            info!(hook = name, "draining");
            hook().await;
        }
    };
    if tokio::time::timeout(timeout, hooks).await.is_err() {
        warn!(
            seconds = timeout.as_secs(),
            "draining took too long, going on without"
        );
    }
    node.shutdown.close();
    node.pause.end();
    for client in node.clients.all() {
        client.finish();
    }
    let closed = async {
        while node.clients.count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(closing, closed).await.is_err() {
        warn!(
            connections = node.clients.count(),
            "closing connections that do not end"
        );
        node.clients.all().iter().for_each(|client| client.kill());
    }
}

/// Has replicas get what was written last, so that they can go on from there when this node is back. Those that are slow are not waited for.
async fn let_replicas_catch_up(node: &Node) {
    if node.is_replica() {
        return;
    }
    let replicas = &node.replication.replicas;
    let online = replicas.list().iter().filter(|it| it.is_online()).count();
    let caught_up = replicas.wait(online, node.log.end(), Some(CATCH_UP)).await;
    if caught_up < online {
        warn!(online, caught_up, "some replicas do not have everything");
    }
}

/// Waits for the workers; they end with their connections.
fn join(node: &Node, threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            error!(connections = node.clients.count(), "a worker has panicked");
        }
    }
}
