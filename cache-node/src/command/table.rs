//! All commands, found by name without regard to case and without allocating.

use std::sync::LazyLock;

use smallvec::SmallVec;

use super::error::{Failure, Result, wrong_arity};
use super::spec::Command;
use crate::resp::Args;

/// Places of the index: several for each command.
const PLACES: usize = 1024;

/// A command with its place in the list of all commands and subcommands.
#[derive(Clone, Copy)]
pub struct Known {
    /// The command.
    pub command: &'static Command,
    /// Its place; statistics are kept by it.
    pub id: usize,
    /// The command that it is a subcommand of.
    pub parent: Option<&'static Command>,
}

impl Known {
    /// The full name: `get`, `config|set`.
    pub fn full_name(&self) -> String {
        match self.parent {
            Some(parent) => format!("{}|{}", parent.name, self.command.name),
            None => self.command.name.to_owned(),
        }
    }
}

/// The list of all commands and subcommands, and an index of the former.
pub struct Commands {
    all: Vec<Known>,
    /// The commands at each place; see [`place_of`].
    index: Vec<SmallVec<[u16; 2]>>,
}

static COMMANDS: LazyLock<Commands> = LazyLock::new(|| Commands::new(super::FAMILIES));

/// All commands.
pub fn commands() -> &'static Commands {
    &COMMANDS
}

impl Commands {
    fn new(families: &[&'static [Command]]) -> Self {
        let mut all = Vec::new();
        let mut index = vec![SmallVec::new(); PLACES];
        for command in families.iter().copied().flatten() {
            let id = all.len();
            all.push(Known {
                command,
                id,
                parent: None,
            });
            index[place_of(command.name.as_bytes())].push(id as u16);
            for subcommand in command.subcommands {
                all.push(Known {
                    command: subcommand,
                    id: all.len(),
                    parent: Some(command),
                });
            }
        }
        Self { all, index }
    }

    /// All commands, each followed by its subcommands.
    pub fn all(&self) -> &[Known] {
        &self.all
    }

    /// The commands alone.
    pub fn top_level(&self) -> impl Iterator<Item = &Known> {
        self.all.iter().filter(|known| known.parent.is_none())
    }

    /// The command with this name.
    #[inline]
    pub fn named(&self, name: &[u8]) -> Option<Known> {
        let known = self.index[place_of(name)].iter().find(|id| {
            let known = self.all[usize::from(**id)].command.name.as_bytes();
            known.eq_ignore_ascii_case(name)
        })?;
        Some(self.all[usize::from(*known)])
    }

    /// The command or, written `config|get`, the subcommand with this name.
    pub fn full_named(&self, name: &[u8]) -> Option<Known> {
        let mut parts = name.splitn(2, |byte| *byte == b'|');
        let known = self.named(parts.next()?)?;
        match parts.next() {
            None => Some(known),
            Some(name) => self.subcommand(known, name),
        }
    }

    /// The subcommands of a command.
    pub fn subcommands(&self, known: Known) -> &[Known] {
        let count = known.command.subcommands.len();
        &self.all[known.id + 1..=known.id + count]
    }

    fn subcommand(&self, known: Known, name: &[u8]) -> Option<Known> {
        self.subcommands(known)
            .iter()
            .find(|known| known.command.name.as_bytes().eq_ignore_ascii_case(name))
            .copied()
    }

    /// The command or subcommand that `args` call; says what is wrong when there is none or the number of arguments is not right.
    pub fn resolve(&self, args: Args<'_>) -> Result<Known> {
        let Some(known) = self.named(&args[0]) else {
            return Err(unknown_command(args));
        };
        if known.command.subcommands.is_empty() || args.len() < 2 {
            return check_arity(known, args);
        }
        match self.subcommand(known, &args[1]) {
            Some(known) => check_arity(known, args),
            None => Err(unknown_subcommand(known.command, &args[1])),
        }
    }
}

/// Where a name stands in the index, whatever its case: from its length and its first eight bytes.
#[inline]
fn place_of(name: &[u8]) -> usize {
    let mut first = [0; 8];
    let length = name.len().min(8);
    first[..length].copy_from_slice(&name[..length]);
    // Letters differ in this bit alone between cases.
    let folded = u64::from_le_bytes(first) & !0x2020_2020_2020_2020;
    let mixed = (folded ^ name.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> (64 - PLACES.ilog2())) as usize
}

fn check_arity(known: Known, args: Args<'_>) -> Result<Known> {
    if known.command.accepts(args.len()) {
        Ok(known)
    } else {
        Err(wrong_arity(&known.full_name()))
    }
}

fn unknown_command(args: Args<'_>) -> Failure {
    let mut text = format!(
        "ERR unknown command '{}', with args beginning with: ",
        shown(&args[0])
    );
    for arg in args.from(1).iter() {
        if text.len() > 200 {
            break;
        }
        text.push_str(&format!("'{}' ", shown(arg)));
    }
    Failure::new(text)
}

fn unknown_subcommand(command: &Command, wanted: &[u8]) -> Failure {
    Failure::new(format!(
        "ERR unknown subcommand '{}'. Try {} HELP.",
        shown(wanted),
        command.name.to_uppercase()
    ))
}

/// At most 128 bytes of an argument, for an error text.
fn shown(arg: &[u8]) -> String {
    String::from_utf8_lossy(&arg[..arg.len().min(128)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn resolve(words: &[&str]) -> Result<String> {
        let args = OwnedArgs::new(words.iter().map(|word| word.as_bytes()));
        commands()
            .resolve(args.as_args())
            .map(|known| known.full_name())
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(resolve(&["gEt", "k"]), Ok("get".to_owned()));
        assert_eq!(resolve(&["Client", "ID"]), Ok("client|id".to_owned()));
    }

    #[test]
    fn what_is_wrong_is_said_as_in_redis() {
        let text = |words: &[&str]| match resolve(words) {
            Err(Failure::Error(text)) => text.into_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            text(&["get"]),
            "ERR wrong number of arguments for 'get' command"
        );
        assert_eq!(
            text(&["client", "setname"]),
            "ERR wrong number of arguments for 'client|setname' command"
        );
        assert_eq!(
            text(&["nope", "a", "b"]),
            "ERR unknown command 'nope', with args beginning with: 'a' 'b' "
        );
        assert_eq!(
            text(&["client", "nope"]),
            "ERR unknown subcommand 'nope'. Try CLIENT HELP."
        );
    }

    #[test]
    fn no_name_is_used_twice() {
        let mut names: Vec<String> = commands().all().iter().map(Known::full_name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
