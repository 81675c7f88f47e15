//! `CLUSTER FAILOVER`: who is the primary of this shard.

use crate::bus::Request;
use crate::topology::TopologyCommand;

use super::super::context::AsyncContext;
use super::super::error::{SYNTAX, error};
use super::super::spec::Waiting;
use super::view;

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
            None => {
                return Err(error(
                    "ERR A planned hand-over needs replication; use CLUSTER FAILOVER FORCE",
                ));
            }
        }
        context.reply.ok();
        Ok(())
    })
}
