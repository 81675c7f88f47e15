//! Reading arguments: numbers, ranges, glob patterns.

use std::ops::Range;

use crate::resp::parse_integer;

use super::error::{NOT_INTEGER, Result};

/// An integer argument.
pub(super) fn integer(text: &[u8]) -> Result<i64> {
    parse_integer(text).ok_or(NOT_INTEGER)
}

/// The part of `length` bytes from `start` to `end`, both included; negative positions count from the end.
pub(super) fn range(start: i64, end: i64, length: usize) -> Range<usize> {
    let length = length as i64;
    if length == 0 || (start < 0 && end < 0 && start > end) {
        return 0..0;
    }
    let place = |position: i64| {
        if position < 0 {
            (position + length).max(0)
        } else {
            position
        }
    };
    let (start, end) = (place(start), place(end).min(length - 1));
    if start > end {
        0..0
    } else {
        start as usize..end as usize + 1
    }
}

/// The elements from `start` to `end`, both included, of `length`; negative positions count from the end. Other than in [`range`], an end
/// before the first element means none.
pub(super) fn elements(start: i64, end: i64, length: usize) -> Range<usize> {
    let length = length as i64;
    let place = |position: i64| {
        if position < 0 {
            position + length
        } else {
            position
        }
    };
    let (start, end) = (place(start).max(0), place(end).min(length - 1));
    if start > end {
        0..0
    } else {
        start as usize..end as usize + 1
    }
}

/// Whether `text` matches the glob `pattern`: `*`, `?`, `[a-c]`, `[^x]`, `\` before a character that stands for itself.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // Where to go on if the last star has to take one byte more.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            pattern = rest;
            if rest.is_empty() {
                return true;
            }
            retry = Some((rest, text));
            continue;
        }
        if text.is_empty() {
            return pattern.is_empty();
        }
        if let Some(rest) = match_one(pattern, text[0]) {
            (pattern, text) = (rest, &text[1..]);
            continue;
        }
        match &mut retry {
            Some((after_star, from)) if !from.is_empty() => {
                *from = &from[1..];
                (pattern, text) = (*after_star, *from);
            }
            _ => return false,
        }
    }
}

/// Matches one byte against the beginning of `pattern`; answers the rest of it.
fn match_one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => match_class(rest, byte),
        [b'\\', literal, rest @ ..] => (*literal == byte).then_some(rest),
        [literal, rest @ ..] => (*literal == byte).then_some(rest),
    }
}

/// Matches one byte against a class, the part behind `[`. A class without end goes to the end of the pattern.
fn match_class(class: &[u8], byte: u8) -> Option<&[u8]> {
    let (negated, mut class) = match class {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, class),
    };
    let mut found = false;
    loop {
        match class {
            [] => break,
            [b']', rest @ ..] => {
                class = rest;
                break;
            }
            [b'\\', literal, rest @ ..] => {
                found |= *literal == byte;
                class = rest;
            }
            [from, b'-', to, rest @ ..] => {
                let (low, high) = (*from.min(to), *from.max(to));
                found |= (low..=high).contains(&byte);
                class = rest;
            }
            [literal, rest @ ..] => {
                found |= *literal == byte;
                class = rest;
            }
        }
    }
    (found != negated).then_some(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_in_redis() {
        for (pattern, text) in [
            ("*", ""),
            ("h?llo", "hallo"),
            ("h*llo", "hllo"),
            ("h*l*o", "hello"),
            ("h[ae]llo", "hello"),
            ("h[^e]llo", "hallo"),
            ("h[b-a]llo", "hallo"),
            ("h\\*llo", "h*llo"),
            ("[\\]]", "]"),
            ("a*b*c", "aXbXbXc"),
            ("[a", "a"),
        ] {
            assert!(
                matches(pattern.as_bytes(), text.as_bytes()),
                "{pattern} {text}"
            );
        }
        for (pattern, text) in [
            ("", "a"),
            ("h?llo", "hllo"),
            ("h[^e]llo", "hello"),
            ("h\\*llo", "hxllo"),
            ("a*b", "ac"),
            ("a", ""),
        ] {
            assert!(
                !matches(pattern.as_bytes(), text.as_bytes()),
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn a_hostile_pattern_is_no_trouble() {
        let pattern = "a*".repeat(50) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(5000).as_bytes()));
    }

    #[test]
    fn ranges_of_elements_can_end_before_the_first() {
        assert_eq!(elements(0, -1, 5), 0..5);
        assert_eq!(elements(-9, 1, 5), 0..2);
        assert_eq!(elements(0, -6, 5), 0..0);
        assert_eq!(elements(-7, -7, 5), 0..0);
        assert_eq!(elements(3, 99, 5), 3..5);
        assert_eq!(elements(5, 9, 5), 0..0);
        assert_eq!(elements(i64::MIN, i64::MAX, 5), 0..5);
        assert_eq!(elements(0, -1, 0), 0..0);
    }

    #[test]
    fn ranges_are_as_in_redis() {
        assert_eq!(range(0, -1, 5), 0..5);
        assert_eq!(range(-3, -1, 5), 2..5);
        assert_eq!(range(1, 2, 5), 1..3);
        assert_eq!(range(5, 10, 5), 0..0);
        assert_eq!(range(0, 10, 5), 0..5);
        assert_eq!(range(-1, -3, 5), 0..0);
        assert_eq!(range(-100, 2, 5), 0..3);
        assert_eq!(range(0, -100, 5), 0..1);
        assert_eq!(range(0, -1, 0), 0..0);
    }
}
