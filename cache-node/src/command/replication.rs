//! Replication: `WAIT`, `ROLE`, `REPLICAOF`, and the internal commands that hand a connection over to a data set on its way.

use std::sync::Arc;
use std::time::Duration;

use crate::migration::import::{self, Offer};
use crate::node::Node;
use crate::replication::follow::PrimaryTerm;
use crate::replication::frame::PROTOCOL_VERSION;
use crate::replication::serve::{Hello, admit, serve};
use crate::replication::wants::Wants;
use crate::replication::wire::Wire;
use crate::replication::{psync, report};
use crate::resp::{Args, parse_integer};
use crate::topology::NodeId;

use super::context::{AsyncContext, Context};
use super::error::{Failure, NOT_INTEGER, Result, SYNTAX, UNBLOCKED, error};
use super::session::Takeover;
use super::spec::{Command, Flags, Waiting};

pub(super) static COMMANDS: &[Command] = &[
    Command::waiting(
        "wait",
        3,
        wait,
        "Waits until so many replicas have acknowledged all writes before this command.",
    )
    .group("generic")
    .flag(Flags::BLOCKING),
    Command::new("role", 1, role, "Returns the replication role.")
        .group("server")
        .fast()
        .anytime(),
    Command::new(
        "replconf",
        -1,
        replconf,
        "Part of Redis's replication protocol: what a replica says of itself before PSYNC.",
    )
    .group("server")
    .flag(Flags::ADMIN)
    .anytime(),
    Command::new(
        "psync",
        -3,
        begin_psync,
        "Hands the connection over to the data set, or what is missing of it, and the log, in Redis's protocol.",
    )
    .group("server")
    .flag(Flags::ADMIN)
    .flag(Flags::NO_MULTI),
    Command::new(
        "replicaof",
        3,
        replicaof,
        "Makes this node a replica of another, or of none.",
    )
    .group("server")
    .flag(Flags::ADMIN)
    .anytime(),
    Command::new(
        "slaveof",
        3,
        replicaof,
        "Makes this node a replica of another, or of none.",
    )
    .group("server")
    .flag(Flags::ADMIN)
    .anytime(),
    Command::new(
        "evenkeel.sync",
        9,
        sync,
        "Internal: hands the connection over to a full sync and its stream.",
    )
    .group("server")
    .flag(Flags::ADMIN)
    .flag(Flags::NO_MULTI),
    Command::waiting(
        "evenkeel.import",
        6,
        receive,
        "Internal: hands the connection over to a slot migration.",
    )
    .group("server")
    .flag(Flags::ADMIN)
    .flag(Flags::NO_MULTI),
];

fn wait(context: AsyncContext<'_>) -> Waiting<'_> {
    Box::pin(async move {
        let AsyncContext {
            node,
            args,
            mut reply,
            ..
        } = context;
        let Some(term) = PrimaryTerm::of(node) else {
            return Err(error(
                "ERR WAIT cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated.",
            ));
        };
        let wanted = parse_integer(&args[1]).ok_or(NOT_INTEGER)?;
        let timeout = parse_integer(&args[2])
            .ok_or(error("ERR timeout is not an integer or out of range"))?;
        let wanted = usize::try_from(wanted).map_err(|_| NOT_INTEGER)?;
        let timeout = u64::try_from(timeout).map_err(|_| error("ERR timeout is negative"))?;
        let limit = (timeout > 0).then(|| Duration::from_millis(timeout));
        // Whatever this connection has written lies before the log's end.
        let offset = node.log.end();
        tokio::select! {
            biased;
            () = term.end(node) => Err(UNBLOCKED),
            count = node.replication.replicas.wait(wanted, offset, limit) => {
                reply.count(count);
                Ok(())
            }
        }
    })
}

fn role(context: &mut Context<'_, '_>) -> Result {
    report::role(context.node, &mut context.reply);
    Ok(())
}

fn replconf(context: &mut Context<'_, '_>) -> Result {
    if context.args.len().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    let args = context.args;
    let hello = context.session.replica.get_or_insert_default();
    for index in (1..args.len()).step_by(2) {
        let (name, value) = (args.at(index), args.at(index + 1));
        if name.eq_ignore_ascii_case(b"listening-port") {
            hello.port = internal(args, index + 1)?;
        } else if name.eq_ignore_ascii_case(b"ip-address") {
            hello.ip = Some(String::from_utf8_lossy(value).into_owned());
        } else if name.eq_ignore_ascii_case(b"capa") {
            hello.eof |= value.eq_ignore_ascii_case(b"eof");
            hello.psync2 |= value.eq_ignore_ascii_case(b"psync2");
        } else if name.eq_ignore_ascii_case(b"rdb-only") && value != b"0" {
            return Err(error("ERR rdb-only is not supported; use SAVE or BGSAVE"));
        }
    }
    context.reply.ok();
    Ok(())
}

/// `PSYNC history offset`, of which the offset is that of the first byte that is wanted; `? -1` without data.
fn begin_psync(context: &mut Context<'_, '_>) -> Result {
    let (args, node) = (context.args, context.node);
    if node.cluster.enabled() {
        return Err(error(
            "ERR cluster mode is on here, where only members of the cluster are copied to",
        ));
    }
    if node.is_loading()
        || !node.replication.is_settled(node)
        || (node.replication.is_configured() && !node.replication.is_link_up())
    {
        return Err(error(
            "NOMASTERLINK Can't SYNC while not connected with my master",
        ));
    }
    let mut hello = context.session.replica.take().unwrap_or_default();
    let history = internal::<NodeId>(args, 1).ok();
    let wanted = parse_integer(&args[2]).and_then(|wanted| u64::try_from(wanted).ok());
    hello.place = history.zip(wanted.and_then(|wanted| wanted.checked_sub(1)));
    context.session.takeover = Some(takeover(node, move |node, wire| {
        let (stream, already_read) = wire.into_parts();
        psync::serve(node, *hello, stream, already_read)
    }));
    Ok(())
}

fn replicaof(context: &mut Context<'_, '_>) -> Result {
    let node = context.node;
    if node.cluster.enabled() {
        return Err(error("ERR REPLICAOF not allowed in cluster mode."));
    }
    let (host, port) = (&context.args[1], &context.args[2]);
    if host.eq_ignore_ascii_case(b"NO") && port.eq_ignore_ascii_case(b"ONE") {
        node.replication.configure(None);
    } else {
        let host = String::from_utf8_lossy(host).into_owned();
        let port = parse_integer(port)
            .and_then(|port| u16::try_from(port).ok())
            .ok_or(error("ERR Invalid master port"))?;
        node.replication.configure(Some((host, port)));
    }
    context.reply.ok();
    Ok(())
}

fn internal<T: std::str::FromStr>(args: Args<'_>, index: usize) -> Result<T> {
    args.get(index)
        .and_then(|arg| std::str::from_utf8(arg).ok())
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Failure::new(format!("ERR argument {index} is not what it should be")))
}

fn check_version(args: Args<'_>) -> Result {
    let version: u64 = internal(args, 1)?;
    if version != PROTOCOL_VERSION {
        return Err(Failure::new(format!(
            "ERR this node speaks version {PROTOCOL_VERSION} of the replication protocol, not {version}"
        )));
    }
    Ok(())
}

/// `EVENKEEL.SYNC version replica port primary incarnation history offset wants`; `-` and 0 for the primary when cluster mode is off.
fn sync(context: &mut Context<'_, '_>) -> Result {
    let args = context.args;
    check_version(args)?;
    let primary = if &args[4] == b"-" {
        None
    } else {
        Some((internal(args, 4)?, internal(args, 5)?))
    };
    let hello = Hello {
        node: internal::<NodeId>(args, 2)?,
        port: internal(args, 3)?,
        history: internal(args, 6)?,
        offset: internal(args, 7)?,
        wants: internal(args, 8)?,
        primary,
    };
    let node = context.node;
    let replication = &node.replication;
    let copies = replication.is_configured() || hello.wants == Wants::CopyOnly;
    let has_data = !copies || replication.is_link_up();
    admit(&node.cluster.view(), has_data, &hello)
        .map_err(|why| Failure::new(format!("ERR {why}")))?;
    if !replication.is_settled(node) {
        return Err(error("ERR my role changes; try again"));
    }
    context.session.takeover = Some(takeover(node, move |node, wire| serve(node, hello, wire)));
    Ok(())
}

/// `EVENKEEL.IMPORT version migration source incarnation history`.
fn receive(context: AsyncContext<'_>) -> Waiting<'_> {
    Box::pin(async move {
        let args = context.args;
        check_version(args)?;
        let offer = Offer {
            id: internal(args, 2)?,
            source: internal(args, 3)?,
            incarnation: internal(args, 4)?,
            history: internal(args, 5)?,
        };
        let migration = import::admit(context.node, offer)
            .await
            .map_err(|why| Failure::new(format!("ERR {why}")))?;
        context.session.takeover = Some(takeover(context.node, move |node, wire| {
            import::run(node, offer, migration, wire)
        }));
        Ok(())
    })
}

/// Takes a connection away from its worker and runs `task` with it where data sets travel.
fn takeover<F: Future<Output = ()> + Send + 'static>(
    node: &Arc<Node>,
    task: impl FnOnce(Arc<Node>, Wire) -> F + Send + Sync + 'static,
) -> Takeover {
    let node = node.clone();
    Takeover(Box::new(move |stream, already_read| {
        let already_read = already_read.to_vec();
        let runner = node.clone();
        node.replication.spawn(async move {
            match tokio::net::TcpStream::from_std(stream) {
                Ok(stream) => task(runner, Wire::accepted(stream, &already_read)).await,
                Err(error) => tracing::warn!("could not take a connection over: {error}"),
            }
        });
    }))
}
