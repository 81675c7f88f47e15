//! A cache cluster seen from its nodes: who owns which slot, and which process answers at an address.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use cache_node::slot::{SLOT_COUNT, SlotId, SlotSet};
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
    let mut owners = Owners::new();
    for range in ranges_seen_by(address).await? {
        let Some(primary) = range.members.into_iter().next() else {
            bail!("{address}: CLUSTER SLOTS named no primary");
        };
        owners
            .entry(primary)
            .or_default()
            .insert_range(range.first, range.last);
    }
    Ok(owners)
}

/// The addresses (`ip:port`) of the shard that owns `slot`, its primary's first, as the node at `address` sees it.
///
/// # Errors
/// If it does not answer, or says that nobody owns the slot.
pub async fn shard_seen_by(address: &str, slot: SlotId) -> Result<Vec<String>> {
    let ranges = ranges_seen_by(address).await?;
    let mut owning = ranges
        .into_iter()
        .filter(|range| (range.first..=range.last).contains(&slot));
    let range = owning.next();
    Ok(range
        .with_context(|| format!("{address}: nobody owns slot {}", slot.number()))?
        .members)
}

/// An entry of `CLUSTER SLOTS`.
struct Range {
    first: SlotId,
    last: SlotId,
    members: Vec<String>,
}

async fn ranges_seen_by(address: &str) -> Result<Vec<Range>> {
    let mut connection = connect(address).await?;
    let reply: Vec<Vec<Value>> = redis::cmd("CLUSTER")
        .arg("SLOTS")
        .query_async(&mut connection)
        .await?;
    let range = |entry: &Vec<Value>| {
        let [first, last, members @ ..] = entry.as_slice() else {
            bail!("{address}: CLUSTER SLOTS answered {entry:?}");
        };
        let members = members.iter().map(member).collect::<Result<_>>();
        Ok(Range {
            first: slot(first)?,
            last: slot(last)?,
            members: members.with_context(|| format!("{address}: CLUSTER SLOTS"))?,
        })
    };
    reply.iter().map(range).collect()
}

fn member(value: &Value) -> Result<String> {
    let named = value.as_sequence().unwrap_or_default();
    let [host, port, ..] = named else {
        bail!("a node without address: {value:?}");
    };
    let host = String::from_redis_value_ref(host)?;
    Ok(format!("{host}:{}", u16::from_redis_value_ref(port)?))
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

/// Lets a replica take its primary's place, with the primary's help.
///
/// # Errors
/// If it refuses, or does not answer.
pub async fn fail_over(replica: &str) -> Result<()> {
    let mut connection = connect(replica).await?;
    let mut command = redis::cmd("CLUSTER");
    let answer = command.arg("FAILOVER").query_async(&mut connection).await;
    answer.with_context(|| format!("{replica}: CLUSTER FAILOVER"))
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

/// Checks that every node sees all slots served and so many voters, and that there are so many replicas, which all follow.
///
/// # Errors
/// Says what is not so.
pub async fn whole(addresses: &[String], voters: usize, replicas: usize) -> Result<()> {
    let mut following = 0;
    for address in addresses {
        let mut connection = connect(address).await?;
        let info: InfoDict = redis::cmd("CLUSTER")
            .arg("INFO")
            .query_async(&mut connection)
            .await?;
        let said = |name| info.get::<String>(name).unwrap_or_default();
        let (state, served) = (said("cluster_state"), said("cluster_slots_ok"));
        let seats = said("cluster_voters").split(',').count();
        ensure!(
            state == "ok" && served == SLOT_COUNT.to_string() && seats == voters,
            "{address}: state {state}, {served} slots served, {seats} of {voters} voters"
        );
        let info: InfoDict = redis::cmd("INFO")
            .arg("replication")
            .query_async(&mut connection)
            .await?;
        if info.get::<String>("role").as_deref() != Some("master") {
            let link: Option<String> = info.get("master_link_status");
            ensure!(link.as_deref() == Some("up"), "{address} does not follow");
            following += 1;
        }
    }
    ensure!(
        following == replicas,
        "{following} of {replicas} replicas follow"
    );
    Ok(())
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
