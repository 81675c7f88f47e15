//! Scores: as items, as text, in order.

use crate::packed::{Encoded, Item};

/// Redis treats integral scores up to this as integers, bigger ones as other numbers.
const MAX_INTEGER: f64 = (1_u64 << 62) as f64;

/// What stands before the eight bytes of a score in a big sorted set; no number's text begins with it.
const RAW: u8 = 0xFF;

/// A score as an item.
pub(super) struct ScoreItem {
    integer: Option<i64>,
    text: [u8; 32],
    len: usize,
}

impl ScoreItem {
    /// As Redis packs it: an integer if it is one, else the shortest text.
    pub(super) fn packed(score: f64) -> Self {
        let mut item = Self {
            integer: integer(score),
            text: [0; 32],
            len: 0,
        };
        if item.integer.is_none() {
            let mut text = Vec::with_capacity(32);
            write_score(score, &mut text);
            item.len = text.len();
            item.text[..text.len()].copy_from_slice(&text);
        }
        item
    }

    /// As blocks of a big sorted set have it: an integer if it is one, else its bytes, so that comparing needs no parsing.
    pub(super) fn raw(score: f64) -> Self {
        let mut text = [0; 32];
        text[0] = RAW;
        text[1..9].copy_from_slice(&score.to_le_bytes());
        Self {
            integer: integer(score),
            text,
            len: 9,
        }
    }

    pub(super) fn encoded(&self) -> Encoded<'_> {
        match self.integer {
            Some(integer) => Encoded::int(integer),
            // A big score's text may be an integer's.
            None => Encoded::new(&self.text[..self.len]),
        }
    }
}

fn integer(score: f64) -> Option<i64> {
    let integer = score as i64;
    (integer as f64 == score && (-MAX_INTEGER..=MAX_INTEGER).contains(&score)).then_some(integer)
}

/// The score that an item is, in any of its forms; `None` if it is no number.
pub fn score_of(item: Item<'_>) -> Option<f64> {
    match item {
        Item::Int(integer) => Some(integer as f64),
        Item::Str([RAW, bytes @ ..]) => Some(f64::from_le_bytes(bytes.try_into().ok()?)),
        Item::Str(text) => {
            let score: f64 = str::from_utf8(text).ok()?.parse().ok()?;
            (!score.is_nan()).then_some(score)
        }
    }
}

/// A number whose order among such numbers is the score's among scores.
pub(super) fn order(score: f64) -> u64 {
    // There is one zero only.
    let bits = (score + 0.0).to_bits();
    if bits >> 63 == 0 {
        bits | 1 << 63
    } else {
        !bits
    }
}

/// Appends a score as Redis and Valkey write it: integers plainly, others with the fewest digits that tell them from their neighbours.
pub fn write_score(score: f64, out: &mut Vec<u8>) {
    if score.is_infinite() {
        out.extend_from_slice(if score > 0.0 { b"inf" } else { b"-inf" });
    } else if let Some(integer) = integer(score) {
        out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
    } else {
        write_digits(&format!("{score:e}"), out);
    }
}

/// Writes a number given as `d.ddde-d`. When to use an exponent is the choice of the formatter that Redis has.
fn write_digits(shortest: &str, out: &mut Vec<u8>) {
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if mantissa.starts_with('-') {
        out.push(b'-');
    }
    let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    let count = digits.len() as i32;
    // The value is all digits times ten to the power of `scale`.
    let scale = exponent - count + 1;
    let far = exponent.abs();
    if scale >= 0 && far < count + 7 {
        out.extend_from_slice(&digits);
        out.extend(std::iter::repeat_n(b'0', scale as usize));
    } else if scale < 0 && (scale > -7 || far < 4) {
        let point = count + scale;
        if point <= 0 {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', point.unsigned_abs() as usize));
            out.extend_from_slice(&digits);
        } else {
            let (whole, fraction) = digits.split_at(point as usize);
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    } else {
        out.push(digits[0]);
        if count > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("e{sign}{far}").as_bytes());
    }
}
