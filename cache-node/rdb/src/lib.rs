//! The RDB format: how Redis and Valkey write a data set into a file, and send it to a replica.
//!
//! [`write`] makes version 9, which every Redis since 5 and every Valkey reads. [`read`] takes versions 1 to 12 and Valkey's 80, in one
//! pass and piece by piece, and trusts nothing: a length never leads to an allocation of more than what has arrived, twice over;
//! a compressed string takes up to 88 times what has arrived, and never more than 512 MiB.
//!
//! There is no official description of the format; what is here follows the files that Redis 2.4 to 8 and Valkey 7.2 to 9 write.
//! Pure: no files, no clock.

mod crc;
mod format;
pub mod read;
mod write;

pub use crc::Checksum;
pub use format::Item;
pub use read::{Error, Event, Header, Kind, Reason, read, read_value};
pub use write::{DUMP_TRAILER, Writer, is_dump, seal_dump};
