//! `CLUSTER FAILOVER`: who is the primary of this shard.

use std::time::Duration;

use crate::bus::Request;
use crate::topology::TopologyCommand;

use super::super::context::AsyncContext;
use super::super::error::{Failure, SYNTAX, error};
use super::super::spec::Waiting;
use super::view;

/// How long a planned hand-over may take.
const HAND_OVER_LIMIT: Duration = Duration::from_millis(crate::bus::REQUEST_MS);

/// `CLUSTER FAILOVER [FORCE|TAKEOVER]`.
pub(super) fn failover(mut context: AsyncContext<'_>) -> Waiting<'_> {
    Box::pin(async move {
        let view = view(context.node)?;
        let cluster = &context.node.cluster;
        let how = context.args.get(2).map(<[u8]>::to_ascii_lowercase);
        match how.as_deref() {
            Some(b"takeover") => {
                cluster.request(Request::Takeover).await?;
            }
            Some(b"force") => {
                if view.is_serving_primary() {
                    return Err(error("ERR You should send CLUSTER FAILOVER to a replica"));
                }
                let promote = TopologyCommand::Promote {
                    node: view.myself,
                    incarnation: view.incarnation,
                };
                cluster.propose(promote).await?;
            }
            Some(_) => return Err(SYNTAX),
            None if view.my_primary().is_none() => {
                return Err(error("ERR You should send CLUSTER FAILOVER to a replica"));
            }
            None => {
                let done = context.node.replication.hand_over(HAND_OVER_LIMIT).await;
                done.map_err(|why| Failure::new(format!("ERR {why}")))?;
            }
        }
        context.reply.ok();
        Ok(())
    })
}
