//! What a replica had of what was acknowledged, so that it can be seen that it keeps it.

use anyhow::{Result, ensure};
use redis::Value;
use redis::aio::MultiplexedConnection;

use super::writer::BATCH;
use crate::client::connect;
use crate::cluster::Cluster;
use crate::wait::PATIENCE;

/// A replica that can be asked at once.
pub(super) struct Replica {
    node: usize,
    connection: MultiplexedConnection,
}

/// Keys that a node had.
pub(super) struct Holding {
    node: usize,
    keys: Vec<String>,
}

impl Replica {
    pub(super) async fn new(cluster: &Cluster, node: usize) -> Result<Self> {
        let mut connection = connect(cluster.nodes[node].address(), PATIENCE).await?;
        let () = redis::cmd("READONLY").query_async(&mut connection).await?;
        Ok(Self { node, connection })
    }

    /// Which of `keys`, all of one slot, it has now.
    pub(super) async fn holds(mut self, keys: &[String]) -> Result<Holding> {
        let mut held = vec![];
        for batch in keys.chunks(BATCH) {
            let mut command = redis::cmd("MGET");
            command.arg(batch);
            let values: Vec<Value> = command.query_async(&mut self.connection).await?;
            held.extend(present(batch, &values));
        }
        Ok(Holding {
            node: self.node,
            keys: held,
        })
    }
}

impl Holding {
    /// Looks for all of it, at the node that had it. Its clients must not have removed anything.
    ///
    /// # Errors
    /// If it lacks a key.
    pub(super) async fn is_kept(&self, cluster: &Cluster) -> Result<()> {
        let replica = Replica::new(cluster, self.node).await?;
        let has = replica.holds(&self.keys).await?;
        let (had, has) = (self.keys.len(), has.keys.len());
        ensure!(had > 0, "node {} had nothing to be wiped", self.node);
        ensure!(
            has == had,
            "node {} was wiped: it had {had} acknowledged keys, and has {has} of them",
            self.node
        );
        Ok(())
    }
}

fn present(keys: &[String], values: &[Value]) -> Vec<String> {
    let pairs = keys.iter().zip(values);
    pairs
        .filter(|(_, value)| **value != Value::Nil)
        .map(|(key, _)| key.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_without_a_value_is_not_there() {
        let keys = ["a", "b", "c"].map(str::to_owned);
        let value = Value::BulkString(b"1".to_vec());
        let values = [value.clone(), Value::Nil, value];
        assert_eq!(present(&keys, &values), ["a", "c"]);
    }
}
