//! Talking to nodes: bounded questions and commands over their own protocol.

use std::time::Duration;

use futures::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Value};

use super::NodeView;
use super::parse::{self, Answers, ParseError};
use crate::names::CLIENT_PORT;

/// Time to connect: a pod that is there answers in far less.
const CONNECT: Duration = Duration::from_millis(500);
/// Time for the answers of an observation.
const OBSERVE: Duration = Duration::from_millis(1500);
/// Time for a command; those that change the topology answer within 5 s.
const COMMAND: Duration = Duration::from_secs(6);

/// A node could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// No connection, no answer in time, or an error reply.
    #[error(transparent)]
    Redis(#[from] redis::RedisError),
    /// The answer was not understood.
    #[error(transparent)]
    Parse(#[from] ParseError),
}

/// The nodes, reached by the addresses of their pods. Tests put a model in their place.
pub trait Nodes: Send + Sync {
    /// The view of the node at `ip`. `cluster` is the name that pods of the cluster begin with.
    fn view<'a>(
        &'a self,
        cluster: &'a str,
        ip: &'a str,
    ) -> BoxFuture<'a, Result<NodeView, NodeError>>;

    /// Has the node at `ip` carry out a command.
    fn command<'a>(
        &'a self,
        ip: &'a str,
        words: &'a [String],
    ) -> BoxFuture<'a, Result<(), NodeError>>;
}

/// Real nodes over TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct RedisNodes;

impl Nodes for RedisNodes {
    fn view<'a>(
        &'a self,
        cluster: &'a str,
        ip: &'a str,
    ) -> BoxFuture<'a, Result<NodeView, NodeError>> {
        Box::pin(async move {
            let mut connection = connect(ip, OBSERVE).await?;
            let (cluster_info, my_id, nodes, migrations, replication, keys) = redis::pipe()
                .cmd("CLUSTER")
                .arg("INFO")
                .cmd("CLUSTER")
                .arg("MYID")
                .cmd("CLUSTER")
                .arg("NODES")
                .cmd("CLUSTER")
                .arg("GETSLOTMIGRATIONS")
                .cmd("INFO")
                .arg("replication")
                .cmd("DBSIZE")
                .query_async(&mut connection)
                .await?;
            let answers = Answers {
                cluster_info,
                my_id,
                nodes,
                migrations,
                replication,
                keys,
            };
            Ok(parse::view(cluster, &answers)?)
        })
    }

    fn command<'a>(
        &'a self,
        ip: &'a str,
        words: &'a [String],
    ) -> BoxFuture<'a, Result<(), NodeError>> {
        Box::pin(async move {
            let mut connection = connect(ip, COMMAND).await?;
            let mut command = redis::Cmd::new();
            command.arg(words);
            let _: Value = command.query_async(&mut connection).await?;
            Ok(())
        })
    }
}

async fn connect(ip: &str, answer: Duration) -> Result<MultiplexedConnection, NodeError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(answer));
    let client = Client::open((ip, CLIENT_PORT))?;
    Ok(client
        .get_multiplexed_async_connection_with_config(&config)
        .await?)
}
