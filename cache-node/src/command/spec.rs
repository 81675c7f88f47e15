//! What a command looks like from outside: name, arity, flags, key positions.

use std::future::Future;
use std::ops::BitOr;
use std::pin::Pin;

use crate::resp::{Args, parse_integer};

use super::context::{AsyncContext, Context};
use super::error::Result;

/// Properties of a command, as in `COMMAND INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// No property.
    pub const NONE: Self = Self(0);
    /// May change keys.
    pub const WRITE: Self = Self(1);
    /// Reads keys and never changes them.
    pub const READONLY: Self = Self(1 << 1);
    /// May need more memory; refused when `maxmemory` is reached.
    pub const DENYOOM: Self = Self(1 << 2);
    /// Administration.
    pub const ADMIN: Self = Self(1 << 3);
    /// Takes constant or logarithmic time.
    pub const FAST: Self = Self(1 << 4);
    /// Allowed while the data set is loading.
    pub const LOADING: Self = Self(1 << 5);
    /// Allowed on a replica with stale data.
    pub const STALE: Self = Self(1 << 6);
    /// Allowed before authentication.
    pub const NO_AUTH: Self = Self(1 << 7);
    /// Not allowed inside `MULTI`.
    pub const NO_MULTI: Self = Self(1 << 8);
    /// Works on all slots at once, and takes all their locks.
    pub const ALL_SLOTS: Self = Self(1 << 9);
    /// Executed at once inside `MULTI`, not queued.
    pub const NOT_QUEUED: Self = Self(1 << 10);
    /// May wait.
    pub const BLOCKING: Self = Self(1 << 11);
    /// Not kept back by `CLIENT PAUSE`.
    pub const UNPAUSED: Self = Self(1 << 12);

    /// So brief that looking at the clock would take a good part of its time: calls in a row are measured together.
    pub const BRIEF: Self = Self(1 << 13);

    /// Whether all properties of `other` are there.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names that `COMMAND INFO` shows.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [
            (Self::WRITE, "write"),
            (Self::READONLY, "readonly"),
            (Self::DENYOOM, "denyoom"),
            (Self::ADMIN, "admin"),
            (Self::FAST, "fast"),
            (Self::LOADING, "loading"),
            (Self::STALE, "stale"),
            (Self::NO_AUTH, "no_auth"),
            (Self::NO_MULTI, "no_multi"),
            (Self::BLOCKING, "blocking"),
        ]
        .into_iter()
        .filter(move |(flag, _)| self.has(*flag))
        .map(|(_, name)| name)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Where a command's keys stand: from argument `first` to `last` (negative: from the end), every `step`-th; and, if `counted` is not 0,
/// behind argument `counted`, which says how many. `first` 0: nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The first key's position.
    pub first: u16,
    /// The last key's position; negative ones count from the end.
    pub last: i16,
    /// Distance between keys.
    pub step: u16,
    /// Position of the number of keys that follow it; 0: there is none.
    pub counted: u16,
}

impl Keys {
    /// No keys.
    pub const NONE: Self = Self::new(0, 0, 0);
    /// The first argument.
    pub const ONE: Self = Self::new(1, 1, 1);
    /// The first two arguments.
    pub const TWO: Self = Self::new(1, 2, 1);
    /// All arguments.
    pub const ALL: Self = Self::new(1, -1, 1);

    /// Keys from `first` to `last`, every `step`-th.
    pub const fn new(first: u16, last: i16, step: u16) -> Self {
        Self {
            first,
            last,
            step,
            counted: 0,
        }
    }

    /// The same, and keys whose number is argument `counted`.
    pub const fn counted(mut self, counted: u16) -> Self {
        self.counted = counted;
        self
    }

    /// The positions of the keys that stand at fixed places in a command of `len` arguments.
    fn fixed(self, len: usize) -> impl Iterator<Item = usize> {
        let last = if self.last < 0 {
            len.saturating_sub(usize::from(self.last.unsigned_abs()))
        } else {
            self.last as usize
        };
        let end = if self.first == 0 { 0 } else { last + 1 };
        (usize::from(self.first)..end.min(len)).step_by(usize::from(self.step.max(1)))
    }

    /// The keys of a command.
    pub fn of<'a>(self, args: Args<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let counted = match self.counted {
            0 => 0..0,
            at => {
                let start = usize::from(at) + 1;
                let count = args.get(start - 1).and_then(parse_integer).unwrap_or(0);
                let end = start.saturating_add(usize::try_from(count).unwrap_or(0));
                start..end.min(args.len())
            }
        };
        self.fixed(args.len())
            .chain(counted)
            .map(move |index| args.at(index))
    }
}

/// A future that an [`AsyncHandler`] answers.
pub type Waiting<'a> = Pin<Box<dyn Future<Output = Result> + Send + 'a>>;

/// A handler that never waits.
pub type SyncHandler = fn(&mut Context<'_, '_>) -> Result;

/// A handler that may wait; it holds no slot.
pub type AsyncHandler = for<'a> fn(AsyncContext<'a>) -> Waiting<'a>;

/// Who executes a command.
#[derive(Clone, Copy)]
pub enum Handler {
    /// Executed inline, with the locks of its keys' slots.
    Sync(SyncHandler),
    /// Executed without locks.
    Async(AsyncHandler),
    /// `EXEC`, which the executor knows itself.
    Exec,
    /// A command that has only subcommands.
    Container,
}

/// A command, or a subcommand.
#[derive(Clone, Copy)]
pub struct Command {
    /// Name in lower case.
    pub name: &'static str,
    /// Number of arguments with the name; negative: at least so many.
    pub arity: i16,
    /// Properties.
    pub flags: Flags,
    /// Where its keys stand.
    pub keys: Keys,
    /// Group in `COMMAND DOCS`.
    pub group: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// Who executes it.
    pub handler: Handler,
    /// Its subcommands.
    pub subcommands: &'static [Command],
}

impl Command {
    /// A command that never waits.
    pub const fn new(
        name: &'static str,
        arity: i16,
        handler: SyncHandler,
        summary: &'static str,
    ) -> Self {
        Self {
            name,
            arity,
            flags: Flags::NONE,
            keys: Keys::NONE,
            group: "generic",
            summary,
            handler: Handler::Sync(handler),
            subcommands: &[],
        }
    }

    /// A command that may wait.
    pub const fn waiting(
        name: &'static str,
        arity: i16,
        handler: AsyncHandler,
        summary: &'static str,
    ) -> Self {
        Self::new(name, arity, |_| Ok(()), summary).handled_by(Handler::Async(handler))
    }

    /// A command that has only subcommands.
    pub const fn container(
        name: &'static str,
        subcommands: &'static [Command],
        summary: &'static str,
    ) -> Self {
        let mut command = Self::new(name, -2, |_| Ok(()), summary).handled_by(Handler::Container);
        command.subcommands = subcommands;
        command
    }

    /// The same with another executor.
    pub const fn handled_by(mut self, handler: Handler) -> Self {
        self.handler = handler;
        self
    }

    /// The same, callable without a subcommand.
    pub const fn sync(self, handler: SyncHandler) -> Self {
        self.handled_by(Handler::Sync(handler))
    }

    /// The same with another number of arguments.
    pub const fn arity(mut self, arity: i16) -> Self {
        self.arity = arity;
        self
    }

    /// The same with one property more.
    pub const fn flag(mut self, flag: Flags) -> Self {
        self.flags = Flags(self.flags.0 | flag.0);
        self
    }

    /// The same with keys.
    pub const fn keys(mut self, keys: Keys) -> Self {
        self.keys = keys;
        self
    }

    /// The same in a group.
    pub const fn group(mut self, group: &'static str) -> Self {
        self.group = group;
        self
    }

    /// A command that reads keys.
    pub const fn reads(self, keys: Keys) -> Self {
        self.keys(keys).flag(Flags::READONLY)
    }

    /// A command that changes keys.
    pub const fn writes(self, keys: Keys) -> Self {
        self.keys(keys).flag(Flags::WRITE)
    }

    /// A command that changes keys and may need more memory.
    pub const fn grows(self, keys: Keys) -> Self {
        self.writes(keys).flag(Flags::DENYOOM)
    }

    /// A command that is fast.
    pub const fn fast(self) -> Self {
        self.flag(Flags::FAST)
    }

    /// A command whose time is measured together with that of its neighbours.
    pub const fn brief(self) -> Self {
        self.flag(Flags::BRIEF)
    }

    /// A command for administrators, allowed at all times.
    pub const fn admin(self) -> Self {
        self.flag(Flags::ADMIN).anytime()
    }

    /// A command allowed while loading, on a stale replica, and during `CLIENT PAUSE`.
    pub const fn anytime(self) -> Self {
        self.flag(Flags::LOADING)
            .flag(Flags::STALE)
            .flag(Flags::UNPAUSED)
    }

    /// Whether `count` arguments are right.
    pub fn accepts(&self, count: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 {
            count >= arity
        } else {
            count == arity
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    #[test]
    fn key_positions_follow_the_specification() {
        let positions = |keys: Keys, words: &[&str]| {
            let owned = OwnedArgs::new(words.iter().map(|word| word.as_bytes()));
            let args = owned.as_args();
            let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
            keys.of(args).map(text).collect::<Vec<_>>()
        };
        let words = ["x", "1", "b", "c", "d"];
        assert_eq!(positions(Keys::NONE, &words), [""; 0]);
        assert_eq!(positions(Keys::ONE, &words), ["1"]);
        assert_eq!(positions(Keys::ALL, &words), ["1", "b", "c", "d"]);
        assert_eq!(positions(Keys::new(1, -1, 2), &words), ["1", "c"]);
        assert_eq!(positions(Keys::new(2, 2, 1), &words), ["b"]);
        assert_eq!(positions(Keys::ALL, &["x"]), [""; 0]);
        assert_eq!(positions(Keys::NONE.counted(1), &words), ["b"]);
        let store = ["x", "to", "2", "a", "b", "weights"];
        assert_eq!(positions(Keys::ONE.counted(2), &store), ["to", "a", "b"]);
        assert_eq!(
            positions(Keys::ONE.counted(2), &["x", "to", "9", "a"]),
            ["to", "a"]
        );
        assert_eq!(
            positions(Keys::ONE.counted(2), &["x", "to", "-1", "a"]),
            ["to"]
        );
    }
}
