//! A full sync from another replica of the same primary, so that the primary goes on with its work.
//!
//! Such a replica has the primary's history, byte for byte. So the copy is a place in that history, from which this node goes on with the
//! primary itself, by a partial sync.

use tokio::sync::mpsc;

use super::{HandOverRequest, Link, LinkState, Local, Wants, local};
use crate::replication::history::Answer;
use crate::replication::{FlowError, Told};

impl Link<'_> {
    /// Has a full sync from the replica that the primary has named in its answer.
    ///
    /// # Errors
    ///
    /// There is none to be had from that, which then is no matter: the primary has everything.
    pub(super) async fn copy_from(
        &mut self,
        sibling: &(String, u16),
        primary: &Answer,
        requests: &mut mpsc::UnboundedReceiver<HandOverRequest>,
    ) -> Result<(), FlowError> {
        let (host, port) = sibling;
        let (wire, answer) = self.open((host, *port), Wants::CopyOnly).await?;
        if !answer.full || answer.history != primary.history {
            return Err(FlowError::Role("it has another history".to_owned()));
        }
        tracing::info!(replica = %host, port, "the full sync comes from another replica");
        let mut inflow = self.begin_copy(wire, answer).await?;
        loop {
            match inflow.next(local(requests, &mut None)).await? {
                Told::Synced => break,
                Told::Interrupted(Local::Request(Some(request))) => {
                    self.request(&mut inflow, request);
                }
                Told::Goodbye(why) => return Err(FlowError::Role(why)),
                _ => {}
            }
        }
        let replication = &self.node.replication;
        replication.metrics.sibling_syncs.inc();
        replication.set_synced_from(self.upstream);
        replication.set_link_state(LinkState::Connecting);
        tracing::info!(
            bytes = inflow.bytes(),
            offset = inflow.applied(),
            "the copy of another replica is here"
        );
        inflow.goodbye("I have what I wanted");
        Ok(())
    }
}
