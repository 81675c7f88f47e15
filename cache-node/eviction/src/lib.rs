//! Eviction policies of cache-node as pure state machines.
//!
//! This crate decides *which* key goes when memory is short. It owns the 13 bits of metadata a key and what they mean, the pools
//! that sampled keys compete in, the memory of keys evicted lately, and the choice that `auto` makes. It must never do I/O, read a
//! clock, hold a lock or touch a table: time comes in as [`Now`], randomness as an argument, keys as [`Candidate`]s.
//!
//! A node holds one [`Rules`] a worker, one [`Evictor`] a worker, one [`Ghost`] a stripe of slots, one clock and one [`Auto`].
//! What a handler calls:
//!
//! | when | call |
//! |---|---|
//! | a key is read | [`Rules::on_read`]; write the metadata back if it returns some |
//! | a key is overwritten | [`Rules::on_write`] |
//! | a key is new | [`Ghost::take`] if the policy keeps a ghost, then [`Rules::on_insert`]; count the insertion for the clock |
//! | memory is short | sample two buckets, [`Evictor::offer`] what [`Policy::admits`], [`Evictor::pop`], read the entry again, [`Rules::judge`] |
//! | a background sweep passes | [`Rules::on_sweep`] |
//! | under `auto`, and [`Sampler::picks`] the key | [`Auto::observe`] |

mod auto;
mod clock;
mod evictor;
mod ghost;
mod lfu;
mod meta;
mod policy;
mod pool;
mod rules;
mod shadow;

pub use auto::{Auto, Sampler, Standing};
pub use clock::{Clock, Now, Stamp, insertions_per_tick};
pub use evictor::{Evictor, Residency};
pub use ghost::Ghost;
pub use lfu::LfuConfig;
pub use meta::Meta;
pub use policy::{Kind, Policy, SizeWeight, UnknownName};
pub use pool::{Candidate, POOL_SIZE};
pub use rules::{Rules, Verdict};
pub use shadow::Access;
