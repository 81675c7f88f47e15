//! `LPOS`: where elements are that equal another.

use crate::store::{End, ListRef};

use super::context::Context;
use super::error::{Result, SYNTAX, error};
use super::spec::{Command, Keys};
use super::text::integer;

pub(super) static COMMANDS: &[Command] = &[Command::new(
    "lpos",
    -3,
    lpos,
    "Returns the places of elements that are equal to another.",
)
.reads(Keys::ONE)
.group("list")];

const ZERO_RANK: &str = "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list";
const RANK_RANGE: &str =
    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";

/// Which matches are wanted.
struct Options {
    end: End,
    /// Matches to leave out, from `end`.
    skipped: usize,
    /// Most matches; `None`: one, answered by itself.
    count: Option<usize>,
    /// Most elements to look at.
    looks: usize,
}

impl Options {
    fn read(args: crate::resp::Args<'_>) -> Result<Self> {
        let mut options = Self {
            end: End::Front,
            skipped: 0,
            count: None,
            looks: usize::MAX,
        };
        let mut args = args.iter();
        while let Some(name) = args.next() {
            let value = args.next().ok_or(SYNTAX)?;
            if name.eq_ignore_ascii_case(b"rank") {
                options.set_rank(integer(value)?)?;
            } else if name.eq_ignore_ascii_case(b"count") {
                options.count = Some(most(value, "ERR COUNT can't be negative")?);
            } else if name.eq_ignore_ascii_case(b"maxlen") {
                options.looks = most(value, "ERR MAXLEN can't be negative")?;
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(options)
    }

    fn set_rank(&mut self, rank: i64) -> Result {
        match rank {
            0 => return Err(error(ZERO_RANK)),
            i64::MIN => return Err(error(RANK_RANGE)),
            1.. => self.end = End::Front,
            _ => self.end = End::Back,
        }
        self.skipped = rank.unsigned_abs() as usize - 1;
        Ok(())
    }
}

/// A number of which 0 means all.
fn most(text: &[u8], refusal: &'static str) -> Result<usize> {
    let number = integer(text)
        .ok()
        .and_then(|number| usize::try_from(number).ok());
    match number {
        None => Err(error(refusal)),
        Some(0) => Ok(usize::MAX),
        Some(number) => Ok(number),
    }
}

fn lpos(context: &mut Context<'_, '_>) -> Result {
    let options = Options::read(context.args.from(3))?;
    let list = context.db.read_list(context.args.at(1))?;
    let length = list.map_or(0, ListRef::len);
    let places = list
        .into_iter()
        .flat_map(|list| list.positions(options.end, context.args.at(2), 0))
        .take_while(|place| *place < options.looks)
        .skip(options.skipped)
        .map(|place| match options.end {
            End::Front => place,
            End::Back => length - 1 - place,
        });
    let Some(count) = options.count else {
        match places.into_iter().next() {
            Some(place) => context.reply.count(place),
            None => context.reply.null(),
        }
        return Ok(());
    };
    let places: Vec<usize> = places.take(count).collect();
    context.reply.array(places.len());
    places.iter().for_each(|place| context.reply.count(*place));
    Ok(())
}
