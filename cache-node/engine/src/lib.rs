//! How cache-node holds its data: the arena that memory comes from, entries, the table that finds them, and values of every type.
//!
//! Pure: no I/O, no clock, no knowledge of commands. The `unsafe` core is [`arena`], [`entry`], [`table`] and [`prefetch`]; each says
//! what it relies on.

pub mod arena;
pub mod entry;
mod key_hash;
pub mod prefetch;
pub mod slot_lock;
pub mod table;

pub use key_hash::KeyHash;

pub mod value;
mod old_hash;
mod old_table;

mod blocks;
pub mod collections;
pub mod hash;
mod leaves;
pub mod list;
pub mod packed;
pub mod set;
pub mod sorted_set;
pub mod text;
