//! How cache-node holds its data.
//!
//! Pure: no I/O, no clock, no knowledge of commands.
