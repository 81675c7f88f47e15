//! Running commands that may wait.

use std::sync::Arc;
use std::time::Instant;

use crate::node::Node;
use crate::resp::{OwnedArgs, Reply};

use super::context::AsyncContext;
use super::error::Failure;
use super::execute::finish_reply;
use super::session::Session;
use super::spec::Handler;
use super::table::Known;

/// Runs a command that [`super::execute`] has deferred, and appends its reply to `out`.
pub async fn run_waiting(
    node: &Arc<Node>,
    session: &mut Session,
    known: Known,
    args: &OwnedArgs,
    out: &mut Vec<u8>,
) {
    let Handler::Async(handler) = known.command.handler else {
        return;
    };
    let start = out.len();
    let began = Instant::now();
    let protocol = session.protocol;
    let result = handler(AsyncContext {
        node,
        session,
        args: args.as_args(),
        reply: Reply::new(out, protocol),
    })
    .await;
    if let Err(failure) = result {
        out.truncate(start);
        let text = match failure {
            Failure::Error(text) => text,
            Failure::Wait(_) => "ERR busy, try again".into(),
        };
        node.stats.count_error(&text);
        session.stats.count_failure(known.id);
        Reply::new(out, session.protocol).error(&text);
    }
    node.finished(session, known, args.as_args(), began.elapsed());
    finish_reply(session, start, out);
}
