//! What a handler gets to work with.

use std::sync::Arc;

use crate::node::Node;
use crate::resp::{Args, Reply};

use super::db::Db;
use super::session::Session;

/// What a handler that never waits gets.
pub struct Context<'a, 'g> {
    /// The process's shared state.
    pub node: &'a Arc<Node>,
    /// The connection's state.
    pub session: &'a mut Session,
    /// The command's arguments, its name first; their number fits the command's arity.
    pub args: Args<'a>,
    /// Where the reply goes.
    pub reply: Reply<'a>,
    /// Whether the command stands for itself and its reply is wanted, so that a long reply may be written after it.
    pub alone: bool,
    /// The keys of the locked slots.
    pub db: &'a mut Db<'g>,
}

impl Context<'_, '_> {
    /// Tells the log this command as it came, under `name`; its first argument is the only key that it changes.
    pub fn tell_as(&mut self, name: &'static [u8]) {
        let args = self.args;
        let command = (0..args.len()).map(|index| if index == 0 { name } else { args.at(index) });
        self.db.effect_of(args.at(1), command);
    }
}

/// What a handler that may wait gets. It holds no slot.
pub struct AsyncContext<'a> {
    /// The process's shared state.
    pub node: &'a Arc<Node>,
    /// The connection's state.
    pub session: &'a mut Session,
    /// The command's arguments, its name first; their number fits the command's arity.
    pub args: Args<'a>,
    /// Where the reply goes.
    pub reply: Reply<'a>,
}
