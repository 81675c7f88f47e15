//! `CLIENT LIST`, `CLIENT INFO` and `CLIENT KILL`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::clients::Client;
use crate::clock;
use crate::resp::Reply;

use super::context::Context;
use super::error::{Failure, Result, SYNTAX, error};
use super::spec::Command;
use super::table::commands;
use super::text::integer;

/// The reply of a `HELP` subcommand.
pub(super) fn describe(reply: &mut Reply<'_>, name: &str, subcommands: &[Command]) {
    reply.array(1 + 2 * subcommands.len());
    reply.simple(&format!(
        "{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    ));
    for subcommand in subcommands {
        reply.simple(&subcommand.name.to_uppercase());
        reply.simple(&format!("    {}", subcommand.summary));
    }
}

/// A line of `CLIENT LIST`.
fn line(client: &Client) -> String {
    let now = clock::now();
    let labels = client.labels();
    let address = |address: Option<std::net::SocketAddr>| {
        address.map_or_else(String::new, |address| address.to_string())
    };
    let mut flags = String::new();
    let queued = client.queued.load(Relaxed);
    for (on, flag) in [
        (queued != usize::MAX, 'x'),
        (client.blocked.load(Relaxed), 'b'),
        (client.readonly.load(Relaxed), 'r'),
        (client.no_evict.load(Relaxed), 'e'),
        (client.is_untouching(), 'T'),
    ] {
        if on {
            flags.push(flag);
        }
    }
    if flags.is_empty() {
        flags.push('N');
    }
    let command = commands()
        .all()
        .get(client.last_command.load(Relaxed))
        .map_or_else(|| "NULL".to_owned(), super::Known::full_name);
    let query = client.query_buffer.load(Relaxed);
    let output = client.output_buffer.load(Relaxed);
    format!(
        "id={} addr={} laddr={} fd=-1 name={} age={} idle={} flags={flags} db=0 sub=0 psub=0 ssub=0 multi={} watch={} qbuf={query} \
         qbuf-free=0 argv-mem=0 multi-mem={} rbs=0 rbp=0 obl={output} oll=0 omem={output} tot-mem={} events=r cmd={command} \
         user=default redir=-1 resp={} lib-name={} lib-ver={}",
        client.id,
        address(client.peer),
        address(client.local),
        labels.name,
        now.saturating_sub(client.since) / 1000,
        now.saturating_sub(client.last_heard.load(Relaxed)) / 1000,
        if queued == usize::MAX {
            -1
        } else {
            queued as i64
        },
        client.watching.load(Relaxed),
        client.queued_bytes.load(Relaxed),
        client.bytes(),
        client.protocol.load(Relaxed),
        labels.library,
        labels.library_version,
    )
}

pub(super) fn info(context: &mut Context<'_, '_>) -> Result {
    let mut text = line(&context.session.client);
    text.push('\n');
    context.reply.verbatim(&text);
    Ok(())
}

/// Kinds of connections; all of them are ordinary ones, replicas speak over the bus.
fn is_normal(kind: &[u8]) -> Result<bool> {
    if kind.eq_ignore_ascii_case(b"normal") {
        return Ok(true);
    }
    let known = [b"master".as_slice(), b"slave", b"replica", b"pubsub"];
    if known.iter().any(|name| kind.eq_ignore_ascii_case(name)) {
        return Ok(false);
    }
    let kind = String::from_utf8_lossy(kind);
    Err(Failure::new(format!("ERR Unknown client type '{kind}'")))
}

pub(super) fn list(context: &mut Context<'_, '_>) -> Result {
    let clients = match context.args.get(2) {
        None => context.node.clients.all(),
        Some(filter) if filter.eq_ignore_ascii_case(b"type") && context.args.len() == 4 => {
            if is_normal(context.args.at(3))? {
                context.node.clients.all()
            } else {
                Vec::new()
            }
        }
        Some(filter) if filter.eq_ignore_ascii_case(b"id") && context.args.len() > 3 => {
            let mut chosen = Vec::new();
            for id in context.args.from(3).iter() {
                let id = integer(id).map_err(|_| error("ERR Invalid client ID"))?;
                chosen.extend(context.node.clients.get(u64::try_from(id).unwrap_or(0)));
            }
            chosen
        }
        Some(_) => return Err(SYNTAX),
    };
    let mut text = String::new();
    for client in clients {
        text.push_str(&line(&client));
        text.push('\n');
    }
    context.reply.verbatim(&text);
    Ok(())
}

/// Which connections `CLIENT KILL` ends.
#[derive(Default)]
struct Filters {
    id: Option<u64>,
    peer: Option<String>,
    local: Option<String>,
    older_than: Option<u64>,
    nobody: bool,
    also_me: bool,
}

impl Filters {
    fn read(context: &Context<'_, '_>) -> Result<Self> {
        let mut filters = Self::default();
        let mut args = context.args.from(2).iter();
        while let Some(name) = args.next() {
            let value = args.next().ok_or(SYNTAX)?;
            let text = String::from_utf8_lossy(value).into_owned();
            let number = || {
                integer(value)
                    .ok()
                    .and_then(|value| u64::try_from(value).ok())
            };
            match name.to_ascii_lowercase().as_slice() {
                b"id" => {
                    let id = number().filter(|id| *id > 0);
                    filters.id = Some(id.ok_or(error("ERR client-id should be greater than 0"))?);
                }
                b"addr" => filters.peer = Some(text),
                b"laddr" => filters.local = Some(text),
                b"maxage" => {
                    let age =
                        number().ok_or(error("ERR maxage is not an integer or out of range"))?;
                    filters.older_than = Some(age);
                }
                b"type" => filters.nobody |= !is_normal(value)?,
                b"user" if text == "default" => {}
                b"user" => {
                    return Err(Failure::new(format!("ERR No such user '{text}'")));
                }
                b"skipme" if value.eq_ignore_ascii_case(b"yes") => filters.also_me = false,
                b"skipme" if value.eq_ignore_ascii_case(b"no") => filters.also_me = true,
                _ => return Err(SYNTAX),
            }
        }
        Ok(filters)
    }

    fn admit(&self, client: &Client, me: u64) -> bool {
        let is = |wanted: &Option<String>, address: Option<std::net::SocketAddr>| {
            wanted
                .as_ref()
                .is_none_or(|wanted| address.is_some_and(|address| address.to_string() == *wanted))
        };
        let age = clock::now().saturating_sub(client.since) / 1000;
        !self.nobody
            && self.id.is_none_or(|id| id == client.id)
            && is(&self.peer, client.peer)
            && is(&self.local, client.local)
            && self.older_than.is_none_or(|limit| age >= limit)
            && (self.also_me || client.id != me)
    }
}

pub(super) fn kill(context: &mut Context<'_, '_>) -> Result {
    let me = context.session.client.id;
    // The old form names an address alone, and may mean the caller.
    let old_form = context.args.len() == 3;
    let filters = if old_form {
        Filters {
            peer: Some(String::from_utf8_lossy(context.args.at(2)).into_owned()),
            also_me: true,
            ..Filters::default()
        }
    } else {
        Filters::read(context)?
    };
    let doomed: Vec<Arc<Client>> = context
        .node
        .clients
        .all()
        .into_iter()
        .filter(|client| filters.admit(client, me))
        .collect();
    for client in &doomed {
        if client.id == me {
            // It still gets the reply.
            context.session.closing = true;
        } else {
            client.kill();
        }
    }
    match (old_form, doomed.is_empty()) {
        (true, true) => return Err(error("ERR No such client")),
        (true, false) => context.reply.ok(),
        (false, _) => context.reply.count(doomed.len()),
    }
    Ok(())
}
