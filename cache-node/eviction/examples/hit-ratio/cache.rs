//! What every simulated cache can do, and the contenders by name.

use std::{fmt, str::FromStr};

use anyhow::{Result, bail, ensure};
use cache_eviction::{Kind, Policy, SizeWeight};

use crate::{
    exact::{Belady, Recency, S3Fifo},
    node::Node,
    redis::{Order, Redis},
    trace::Trace,
};

/// A cache that admits every object that is asked for, unless the object is larger than the cache.
pub(crate) trait Cache {
    /// Asks for an object: whether it was there.
    fn request(&mut self, id: u32) -> bool;

    /// Sum of the costs of the objects held; at no time more than the capacity.
    fn used(&self) -> u64;
}

/// A policy to replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Contender {
    Fifo,
    Lru,
    S3Fifo,
    Belady,
    RedisLru,
    RedisLfu { decays: bool },
    Node(Policy, SizeWeight),
}

/// Names of those that are not the node's.
const REFERENCES: [(&str, Contender); 7] = [
    ("belady", Contender::Belady),
    ("fifo", Contender::Fifo),
    ("lru", Contender::Lru),
    ("s3-fifo", Contender::S3Fifo),
    ("redis-lru", Contender::RedisLru),
    ("redis-lfu-no-decay", Contender::RedisLfu { decays: false }),
    ("redis-lfu", Contender::RedisLfu { decays: true }),
];

/// The form of S3 that only `auto` chooses.
const LENIENT: &str = "s3-lenient";

/// What all caches are made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    /// What a minute of LFU's decay is.
    pub(crate) requests_per_minute: u64,
}

impl Contender {
    /// All that differ from each other; by objects, size weights do not.
    pub(crate) fn all(by_bytes: bool) -> Vec<Self> {
        let weights: &[SizeWeight] = if by_bytes {
            &[SizeWeight::None, SizeWeight::Root, SizeWeight::Full]
        } else {
            &[SizeWeight::None]
        };
        let plain = [Kind::Random, Kind::Fifo, Kind::Lfu, Kind::Lru]
            .map(|kind| Self::Node(Policy::AllKeys(kind), SizeWeight::None));
        let weighed = [
            Policy::AllKeys(Kind::S3),
            Policy::AllKeys(Kind::S3Lenient),
            Policy::Auto,
        ];
        let weighed = weighed
            .iter()
            .flat_map(|policy| weights.iter().map(|weight| Self::Node(*policy, *weight)));
        REFERENCES
            .iter()
            .map(|(_, contender)| *contender)
            .chain(plain)
            .chain(weighed)
            .collect()
    }

    /// A cache under this policy, for objects of these costs.
    pub(crate) fn build(
        self,
        trace: &Trace,
        costs: Vec<u32>,
        capacity: u64,
        options: &Options,
    ) -> Box<dyn Cache> {
        match self {
            Self::Fifo => Box::new(Recency::fifo(costs, capacity)),
            Self::Lru => Box::new(Recency::lru(costs, capacity)),
            Self::S3Fifo => Box::new(S3Fifo::new(costs, capacity)),
            Self::Belady => Box::new(Belady::new(&trace.requests, costs, capacity)),
            Self::RedisLru => Box::new(Redis::new(Order::Lru, costs, capacity, options.seed)),
            Self::RedisLfu { decays } => {
                let requests_per_decay = decays.then_some(options.requests_per_minute);
                Box::new(Redis::new(
                    Order::Lfu { requests_per_decay },
                    costs,
                    capacity,
                    options.seed,
                ))
            }
            Self::Node(policy, weight) => {
                Box::new(Node::new(policy, weight, costs, capacity, options))
            }
        }
    }
}

impl FromStr for Contender {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some((_, contender)) = REFERENCES.iter().find(|(name, _)| *name == text) {
            return Ok(*contender);
        }
        let (name, weight) = text.split_once(':').unwrap_or((text, "0.5"));
        let Ok(weight) = weight.parse() else {
            bail!("the size weight is 0, 0.5 or 1, not {weight:?}")
        };
        if name == LENIENT {
            return Ok(Self::Node(Policy::AllKeys(Kind::S3Lenient), weight));
        }
        let Ok(policy) = name.parse::<Policy>() else {
            let references: Vec<&str> = REFERENCES.iter().map(|(name, _)| *name).collect();
            let node: Vec<String> = Policy::all()
                .filter(|policy| !policy.only_volatile())
                .map(|policy| policy.to_string())
                .collect();
            bail!(
                "no policy has this name; there are {}, {}, {LENIENT}",
                references.join(", "),
                node.join(", ")
            );
        };
        ensure!(
            !policy.only_volatile(),
            "objects of a trace have no deadlines, so that no volatile policy can be replayed"
        );
        Ok(Self::Node(policy, weight))
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(Policy::AllKeys(Kind::S3Lenient), weight) => write!(f, "{LENIENT}:{weight}"),
            Self::Node(policy, weight) if policy.keeps_ghost() => write!(f, "{policy}:{weight}"),
            Self::Node(policy, _) => policy.fmt(f),
            reference => f.write_str(
                REFERENCES
                    .iter()
                    .find(|(_, known)| known == reference)
                    .map_or("", |(name, _)| name),
            ),
        }
    }
}
