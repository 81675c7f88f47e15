//! Commands: the table of them, and one file a family.
//!
//! A command goes through [`execute`]: look up, check, lock the slots of its keys, route, run, log its effects. Handlers never take a
//! slot lock across an await: those that lock do not wait, and those that wait do not lock.

mod client;
mod client_list;
mod cluster;
mod config;
mod connection;
mod context;
mod counters;
mod db;
mod deadline;
mod dump;
mod error;
mod execute;
mod expire;
mod hash_scan;
mod hashes;
mod held;
mod info;
mod introspection;
mod keys;
mod lcs;
mod list_moves;
mod list_search;
mod lists;
mod long_reply;
mod migration;
mod objects;
mod persistence;
mod prepare;
mod random;
mod recorded;
mod replay;
mod replication;
mod scan;
mod server;
mod session;
mod set;
mod set_algebra;
mod set_scan;
mod sets;
mod several;
mod sorted_set_algebra;
mod sorted_set_bounds;
mod sorted_set_pops;
mod sorted_set_ranges;
mod sorted_sets;
mod spec;
mod strings;
mod table;
mod text;
mod transaction;
mod wait;
mod waiting;

pub(crate) use connection::REDIS_VERSION;
pub use context::{AsyncContext, Context};
pub use db::{Db, StringBytes};
pub(crate) use db::{EXEC, MULTI};
pub use error::{Failure, Result};
pub(crate) use execute::no_room;
pub use execute::{Outcome, execute, execute_prepared};
pub use held::Hashed;
pub use long_reply::LongReply;
pub use prepare::{Near, Prepared};
pub(crate) use recorded::Recorded;
pub use replay::{Followed, ReplayError, Replayer};
pub use session::{Replies, Session};
pub use spec::{AsyncHandler, Command, Flags, Handler, Keys, SyncHandler, Waiting};
pub use table::{Commands, Known, commands};
pub use wait::Wait;
pub use waiting::run_waiting;

/// The families of commands; each has its own file.
static FAMILIES: &[&[Command]] = &[
    client::COMMANDS,
    cluster::COMMANDS,
    config::COMMANDS,
    connection::COMMANDS,
    dump::COMMANDS,
    expire::COMMANDS,
    hashes::COMMANDS,
    info::COMMANDS,
    introspection::COMMANDS,
    keys::COMMANDS,
    list_moves::COMMANDS,
    list_search::COMMANDS,
    lists::COMMANDS,
    objects::COMMANDS,
    persistence::COMMANDS,
    replication::COMMANDS,
    scan::COMMANDS,
    server::COMMANDS,
    set_algebra::COMMANDS,
    set_scan::COMMANDS,
    sets::COMMANDS,
    sorted_set_algebra::COMMANDS,
    sorted_set_pops::COMMANDS,
    sorted_set_ranges::COMMANDS,
    sorted_sets::COMMANDS,
    strings::COMMANDS,
    transaction::COMMANDS,
];
