//! How cache-node holds its data: the arena that memory comes from, entries, the table that finds them, and values of every type.
//!
//! Pure: no I/O, no clock, no knowledge of commands. The `unsafe` core is [`arena`], [`entry`], [`table`] and [`prefetch`]; each says
//! what it relies on.

pub mod arena;
mod blocks;
pub mod collections;
pub mod entry;
pub mod hash;
mod key_hash;
mod leaves;
pub mod list;
pub mod packed;
pub mod prefetch;
pub mod set;
pub mod slot_lock;
pub mod sorted_set;
pub mod table;
pub mod text;
pub mod value;

pub use key_hash::KeyHash;
