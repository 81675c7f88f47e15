//! `LCS`: the longest common subsequence of two strings.

use crate::resp::Args;

use super::context::Context;
use super::error::{Result, SYNTAX, error};
use super::text::integer;

/// Most cells of the table that the search needs: 4 bytes each.
const MAX_CELLS: usize = 128 * 1024 * 1024;

#[derive(Default)]
struct Options {
    length_only: bool,
    matches: bool,
    least: usize,
    with_lengths: bool,
}

impl Options {
    fn read(args: Args<'_>) -> Result<Self> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(option) = args.next() {
            if option.eq_ignore_ascii_case(b"len") {
                options.length_only = true;
            } else if option.eq_ignore_ascii_case(b"idx") {
                options.matches = true;
            } else if option.eq_ignore_ascii_case(b"withmatchlen") {
                options.with_lengths = true;
            } else if option.eq_ignore_ascii_case(b"minmatchlen") {
                let least = integer(args.next().ok_or(SYNTAX)?)?;
                options.least = usize::try_from(least).unwrap_or(0);
            } else {
                return Err(SYNTAX);
            }
        }
        if options.length_only && options.matches {
            return Err(error(
                "ERR If you want both the length and indexes, please just use IDX.",
            ));
        }
        Ok(options)
    }
}

/// A run of bytes that both strings share.
#[derive(Debug, PartialEq, Eq)]
struct Match {
    a: usize,
    b: usize,
    len: usize,
}

pub(super) fn lcs(context: &mut Context<'_, '_>) -> Result {
    let options = Options::read(context.args.from(3))?;
    let a = string(context, 1)?;
    let b = string(context, 2)?;
    if (a.len() + 1).saturating_mul(b.len() + 1) > MAX_CELLS {
        return Err(error(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    let matches = common(&a, &b);
    let total: usize = matches.iter().map(|found| found.len).sum();
    let reply = &mut context.reply;
    if options.matches {
        let shown: Vec<&Match> = matches
            .iter()
            .rev()
            .filter(|found| found.len >= options.least)
            .collect();
        reply.map(2);
        reply.bulk(b"matches");
        reply.array(shown.len());
        for found in shown {
            reply.array(if options.with_lengths { 3 } else { 2 });
            for start in [found.a, found.b] {
                reply.array(2);
                reply.count(start);
                reply.count(start + found.len - 1);
            }
            if options.with_lengths {
                reply.count(found.len);
            }
        }
        reply.bulk(b"len");
        reply.count(total);
    } else if options.length_only {
        reply.count(total);
    } else {
        let text: Vec<u8> = matches
            .iter()
            .flat_map(|found| &a[found.a..found.a + found.len])
            .copied()
            .collect();
        reply.bulk(&text);
    }
    Ok(())
}

fn string(context: &mut Context<'_, '_>, index: usize) -> Result<Vec<u8>> {
    let mut number = itoa::Buffer::new();
    let value = context
        .db
        .read_string(context.args.at(index), &mut number)
        .map_err(|_| error("ERR The specified keys must contain string values"))?;
    Ok(value.map_or_else(Vec::new, |value| value.bytes().into_owned()))
}

/// The runs that make up the longest common subsequence, in order.
fn common(a: &[u8], b: &[u8]) -> Vec<Match> {
    let width = b.len() + 1;
    let mut lengths = vec![0_u32; (a.len() + 1) * width];
    for (i, left) in a.iter().enumerate() {
        for (j, right) in b.iter().enumerate() {
            lengths[(i + 1) * width + j + 1] = if left == right {
                lengths[i * width + j] + 1
            } else {
                lengths[i * width + j + 1].max(lengths[(i + 1) * width + j])
            };
        }
    }
    let mut matches: Vec<Match> = Vec::new();
    let (mut i, mut j) = (a.len(), b.len());
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            (i, j) = (i - 1, j - 1);
            match matches.last_mut() {
                Some(found) if found.a == i + 1 && found.b == j + 1 => {
                    (found.a, found.b, found.len) = (i, j, found.len + 1);
                }
                _ => matches.push(Match { a: i, b: j, len: 1 }),
            }
        } else if lengths[(i - 1) * width + j] > lengths[i * width + j - 1] {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    matches.reverse();
    matches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_example_comes_out() {
        let matches = common(b"ohmytext", b"mynewtext");
        let expected = [Match { a: 2, b: 0, len: 2 }, Match { a: 4, b: 5, len: 4 }];
        assert_eq!(matches, expected);
        assert!(common(b"", b"abc").is_empty());
    }
}
