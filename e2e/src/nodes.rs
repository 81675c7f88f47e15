//! A cache cluster seen from its nodes: who owns which slot, and which process answers at an address.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use cache_node::slot::{SlotId, SlotSet};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, InfoDict, Value};

/// Slots by the address (`ip:port`) of the primary that serves them.
pub type Owners = BTreeMap<String, SlotSet>;

/// A connection to one node; an answer takes at most two seconds.
///
/// # Errors
/// If nobody listens there.
pub async fn connect(address: &str) -> Result<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(2)))
        .set_response_timeout(Some(Duration::from_secs(2)));
    let client = redis::Client::open(format!("redis://{address}")).context("address")?;
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .with_context(|| format!("connect to {address}"))
}

/// Who owns which slot, as the first of `addresses` that answers sees it.
///
/// # Errors
/// If none answers.
pub async fn owners(addresses: &[String]) -> Result<Owners> {
    let mut last = anyhow!("no addresses");
    for address in addresses {
        match owners_seen_by(address).await {
            Ok(owners) => return Ok(owners),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn owners_seen_by(address: &str) -> Result<Owners> {
    let mut connection = connect(address).await?;
    let reply: Vec<Vec<Value>> = redis::cmd("CLUSTER")
        .arg("SLOTS")
        .query_async(&mut connection)
        .await?;
    let mut owners = Owners::new();
    for entry in reply {
        let [first, last, primary, ..] = entry.as_slice() else {
            bail!("{address}: CLUSTER SLOTS answered {entry:?}");
        };
        let bounds = (slot(first)?, slot(last)?);
        let Value::Array(primary) = primary else {
            bail!("{address}: CLUSTER SLOTS named the primary {primary:?}");
        };
        let (Some(host), Some(port)) = (primary.first(), primary.get(1)) else {
            bail!("{address}: CLUSTER SLOTS named a primary without address");
        };
        let (host, port) = (
            String::from_redis_value_ref(host)?,
            u16::from_redis_value_ref(port)?,
        );
        owners
            .entry(format!("{host}:{port}"))
            .or_default()
            .insert_range(bounds.0, bounds.1);
    }
    Ok(owners)
}

fn slot(value: &Value) -> Result<SlotId> {
    SlotId::new(u16::from_redis_value_ref(value)?).context("a slot beyond 16383")
}

/// How many slots another primary owns now.
#[must_use]
pub fn moved(before: &Owners, after: &Owners) -> usize {
    let mut moved = 0;
    for (address, slots) in before {
        let mut gone = slots.clone();
        if let Some(kept) = after.get(address) {
            gone.subtract(kept);
        }
        moved += gone.len();
    }
    moved
}

/// The process that answers at `address`. Only meaningful where nodes run on this machine.
///
/// # Errors
/// If it does not answer, or not with a process id.
pub async fn process(address: &str) -> Result<i32> {
    let mut connection = connect(address).await?;
    let info: InfoDict = redis::cmd("INFO")
        .arg("server")
        .query_async(&mut connection)
        .await?;
    info.get("process_id")
        .with_context(|| format!("{address}: INFO has no process_id"))
}

/// Whether every node answers and every replica follows its primary.
pub async fn settled(addresses: &[String]) -> bool {
    for address in addresses {
        if !matches!(follows_or_leads(address).await, Ok(true)) {
            return false;
        }
    }
    !addresses.is_empty()
}

async fn follows_or_leads(address: &str) -> Result<bool> {
    let mut connection = connect(address).await?;
    let info: InfoDict = redis::cmd("INFO")
        .arg("replication")
        .query_async(&mut connection)
        .await?;
    let role: Option<String> = info.get("role");
    let link: Option<String> = info.get("master_link_status");
    Ok(role.as_deref() == Some("master") || link.as_deref() == Some("up"))
}

/// Waits until every primary's replicas have all that it has.
///
/// # Errors
/// If that is not so within `bound`.
pub async fn wait_replicated(addresses: &[String], bound: Duration) -> Result<()> {
    let replicated = async {
        while !replicated(addresses).await.unwrap_or(false) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(bound, replicated)
        .await
        .context("the replicas do not catch up")
}

async fn replicated(addresses: &[String]) -> Result<bool> {
    for primary in owners(addresses).await?.keys() {
        let mut connection = connect(primary).await?;
        let info: InfoDict = redis::cmd("INFO")
            .arg("replication")
            .query_async(&mut connection)
            .await?;
        let replicas: usize = info.get("connected_slaves").unwrap_or(0);
        let offset: Option<u64> = info.get("master_repl_offset");
        for replica in 0..replicas {
            let line: String = info.get(&format!("slave{replica}")).unwrap_or_default();
            let acknowledged = line
                .split(',')
                .find_map(|field| field.strip_prefix("offset=")?.parse().ok());
            if acknowledged < offset {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(parts: &[(&str, u16, u16)]) -> Owners {
        let mut owners = Owners::new();
        for (address, first, last) in parts {
            let bounds = (SlotId::new(*first).unwrap(), SlotId::new(*last).unwrap());
            owners
                .entry((*address).to_owned())
                .or_default()
                .insert_range(bounds.0, bounds.1);
        }
        owners
    }

    #[test]
    fn slots_that_changed_their_owner_are_counted_once() {
        let before = owners(&[("a", 0, 99), ("b", 100, 199)]);
        assert_eq!(moved(&before, &before), 0);
        assert_eq!(
            moved(
                &before,
                &owners(&[("a", 0, 49), ("c", 50, 119), ("b", 120, 199)])
            ),
            70
        );
        assert_eq!(moved(&before, &owners(&[("a", 0, 199)])), 100);
    }
}
