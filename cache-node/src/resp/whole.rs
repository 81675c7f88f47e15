//! Commands that have arrived whole, in the one form in which clients send them: found quickly, without state.
//!
//! Whatever is not of that form (incomplete, inline, malformed, unusually long) is left to [`super::Parser`], which is slower and knows
//! all of it.

use super::args::Span;
use super::parse::Limits;

/// A command of more arguments is left to the other parser.
const MAX_ARGUMENTS: usize = 1024;

/// Appends the places of the arguments of the command that begins at `start`; answers where it ends. `None`, and nothing appended, when
/// there is no whole command in the usual form.
#[inline]
pub(crate) fn whole_command(
    data: &[u8],
    start: usize,
    limits: &Limits,
    spans: &mut Vec<Span>,
) -> Option<usize> {
    let before = spans.len();
    let end = arguments(data, start, limits, spans);
    if end.is_none() {
        spans.truncate(before);
    }
    end
}

#[inline]
fn arguments(data: &[u8], start: usize, limits: &Limits, spans: &mut Vec<Span>) -> Option<usize> {
    let (count, mut at) = line(data, start, b'*')?;
    let (most, longest) = if limits.unauthenticated {
        (10, limits.bulk.min(16 * 1024))
    } else {
        (MAX_ARGUMENTS, limits.bulk)
    };
    if count == 0 || count > most {
        return None;
    }
    for _ in 0..count {
        let (length, begin) = line(data, at, b'$')?;
        if length > longest {
            return None;
        }
        let end = begin + length;
        if *data.get(end)? != b'\r' || *data.get(end + 1)? != b'\n' {
            return None;
        }
        spans.push((begin as u32, end as u32));
        at = end + 2;
    }
    Some(at)
}

/// The number on a line that begins with `kind`, and where the next line begins.
#[inline]
fn line(data: &[u8], start: usize, kind: u8) -> Option<(usize, usize)> {
    let digit = |at: usize| {
        data.get(at)
            .map(|byte| usize::from(byte.wrapping_sub(b'0')))
    };
    if *data.get(start)? != kind {
        return None;
    }
    let mut number = digit(start + 1)?;
    if number > 9 {
        return None;
    }
    let mut at = start + 2;
    // At most seven more digits: longer arguments come in pieces anyway. None may follow a zero.
    for _ in 0..if number == 0 { 0 } else { 7 } {
        let next = digit(at)?;
        if next > 9 {
            break;
        }
        number = number * 10 + next;
        at += 1;
    }
    (*data.get(at)? == b'\r' && *data.get(at + 1)? == b'\n').then_some((number, at + 2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resp::{Parsed, Parser, encode_request};

    fn both(data: &[u8]) {
        let limits = Limits::default();
        let mut spans = Vec::new();
        let Some(end) = whole_command(data, 0, &limits, &mut spans) else {
            assert!(spans.is_empty());
            return;
        };
        let mut parser = Parser::default();
        assert_eq!(
            parser.parse(data, &limits),
            Ok(Parsed::Command { length: end })
        );
        let args: Vec<&[u8]> = spans
            .iter()
            .map(|(start, end)| &data[*start as usize..*end as usize])
            .collect();
        let expected: Vec<&[u8]> = parser.args(data).iter().collect();
        assert_eq!(args, expected);
    }

    proptest! {
        #[test]
        fn it_finds_what_the_other_parser_finds(
            args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..150), 1..6),
            cut in any::<prop::sample::Index>(),
            flip in any::<(prop::sample::Index, u8)>(),
        ) {
            let mut data = Vec::new();
            encode_request(&mut data, args.iter().map(Vec::as_slice));
            let mut spans = Vec::new();
            let found = whole_command(&data, 0, &Limits::default(), &mut spans);
            prop_assert_eq!(found, Some(data.len()));
            both(&data);
            let part = &data[..cut.index(data.len())];
            prop_assert_eq!(whole_command(part, 0, &Limits::default(), &mut Vec::new()), None);
            let at = flip.0.index(data.len());
            data[at] = flip.1;
            both(&data);
        }
    }

    #[test]
    fn numbers_that_are_not_in_their_usual_form_are_left_to_the_other_parser() {
        for data in [
            "*01\r\n$1\r\na\r\n",
            "*1\r\n$00\r\n\r\n",
            "*+1\r\n$1\r\na\r\n",
        ] {
            let found = whole_command(data.as_bytes(), 0, &Limits::default(), &mut Vec::new());
            assert_eq!(found, None, "{data}");
        }
    }

    #[test]
    fn an_argument_beyond_the_limit_is_left_to_the_other_parser() {
        let limits = Limits {
            bulk: 100,
            ..Limits::default()
        };
        for (length, found) in [(100, true), (101, false)] {
            let mut data = Vec::new();
            encode_request(&mut data, [vec![0; length].as_slice()].into_iter());
            let end = whole_command(&data, 0, &limits, &mut Vec::new());
            assert_eq!(end.is_some(), found);
        }
    }

    #[test]
    fn what_an_unauthenticated_client_may_not_send_is_left_to_the_other_parser() {
        let limits = Limits {
            unauthenticated: true,
            ..Limits::default()
        };
        let mut data = Vec::new();
        encode_request(&mut data, [b"a".as_slice(); 11].into_iter());
        assert_eq!(whole_command(&data, 0, &limits, &mut Vec::new()), None);
        data.clear();
        encode_request(&mut data, [vec![0; 17_000].as_slice()].into_iter());
        assert_eq!(whole_command(&data, 0, &limits, &mut Vec::new()), None);
    }
}
