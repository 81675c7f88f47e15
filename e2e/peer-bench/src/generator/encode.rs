//! Requests as bytes: templates with holes for keys, values and numbers, filled for every request. Owns the wire forms of
//! all workloads; does no I/O.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::keys::Keys;
use super::replies::Protocol;

/// Digits in a key, after its four-byte prefix: keys are 16 bytes long.
const KEY_DIGITS: usize = 12;
/// Bytes of random letters that values are cut from.
const POOL: usize = 1 << 16;

/// A part of a request.
#[derive(Clone, Debug)]
pub enum Part {
    /// Bytes that are the same in every request.
    Text(String),
    /// `prefix` and the decimal number `(index / divisor) % modulus`, `width` digits wide.
    Number {
        /// What stands before the digits.
        prefix: String,
        /// Number of digits.
        width: usize,
        /// Divisor of the key's index.
        divisor: u64,
        /// The number stays below this.
        modulus: u64,
        /// Whether a new key index is drawn here; else the last one is used.
        draw: bool,
    },
    /// A random number of so many digits, the first of which is not zero.
    Random(usize),
    /// So many random letters.
    Letters(usize),
}

impl Part {
    /// A 16-byte key with a four-byte prefix, for a newly drawn index divided by `divisor`.
    pub fn key(prefix: &str, divisor: u64) -> Self {
        Self::Number {
            prefix: prefix.to_owned(),
            width: KEY_DIGITS,
            divisor,
            modulus: u64::MAX,
            draw: true,
        }
    }

    /// A name within the key, from the same index.
    pub fn name(prefix: &str, width: usize, modulus: u64) -> Self {
        Self::Number {
            prefix: prefix.to_owned(),
            width,
            divisor: 1,
            modulus,
            draw: false,
        }
    }

    /// Fixed text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    fn length(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Number { prefix, width, .. } => prefix.len() + width,
            Self::Random(length) | Self::Letters(length) => *length,
        }
    }
}

/// What is filled in, and where.
#[derive(Clone, Debug)]
enum Hole {
    Number {
        end: usize,
        divisor: u64,
        modulus: u64,
        draw: bool,
    },
    Random {
        at: usize,
        width: usize,
    },
    Letters {
        at: usize,
        length: usize,
    },
}

/// One request with holes.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    holes: Vec<Hole>,
}

impl Template {
    /// A RESP command: an array of arguments.
    pub fn resp(arguments: &[Part]) -> Self {
        let mut template = Self::empty();
        template.push(&Part::text(format!("*{}\r\n", arguments.len())));
        for argument in arguments {
            template.push(&Part::text(format!("${}\r\n", argument.length())));
            template.push(argument);
            template.push(&Part::text("\r\n"));
        }
        template
    }

    /// A request in memcached's text protocol: parts one after the other, spaces and line ends included.
    pub fn memcached(parts: &[Part]) -> Self {
        let mut template = Self::empty();
        for part in parts {
            template.push(part);
        }
        template
    }

    fn empty() -> Self {
        Self {
            bytes: Vec::new(),
            holes: Vec::new(),
        }
    }

    fn push(&mut self, part: &Part) {
        let at = self.bytes.len();
        match part {
            Part::Text(text) => self.bytes.extend_from_slice(text.as_bytes()),
            Part::Number {
                prefix,
                width,
                divisor,
                modulus,
                draw,
            } => {
                self.bytes.extend_from_slice(prefix.as_bytes());
                self.bytes.resize(at + part.length(), b'0');
                self.holes.push(Hole::Number {
                    end: at + prefix.len() + width,
                    divisor: *divisor,
                    modulus: *modulus,
                    draw: *draw,
                });
            }
            Part::Random(width) => {
                self.bytes.resize(at + width, b'0');
                self.holes.push(Hole::Random { at, width: *width });
            }
            Part::Letters(length) => {
                self.bytes.resize(at + length, b'x');
                self.holes.push(Hole::Letters {
                    at,
                    length: *length,
                });
            }
        }
    }
}

/// An endless, or with a sequence of keys finite, stream of requests.
#[derive(Clone)]
pub struct Requests {
    protocol: Protocol,
    templates: Vec<Template>,
    /// How many requests of each template come before the next template's turn.
    turns: Vec<u32>,
    turn: usize,
    left: u32,
    keys: Keys,
    random: SmallRng,
    letters: Vec<u8>,
}

impl Requests {
    /// Requests made from each template in turn, as many times as is given with it, for keys from `keys`.
    pub fn new(protocol: Protocol, templates: Vec<(Template, u32)>, keys: Keys) -> Self {
        let mut random = SmallRng::from_os_rng();
        let longest = templates
            .iter()
            .map(|(template, _)| template.bytes.len())
            .max()
            .unwrap_or(0);
        let letter = |_| {
            let number = random.random_range(0..52_u8);
            if number < 26 {
                b'a' + number
            } else {
                b'A' + number - 26
            }
        };
        let letters = (0..POOL + longest).map(letter).collect();
        let (templates, turns): (Vec<_>, Vec<_>) = templates.into_iter().unzip();
        Self {
            protocol,
            left: turns.first().copied().unwrap_or(0),
            templates,
            turns,
            turn: 0,
            keys,
            random,
            letters,
        }
    }

    /// The protocol that the requests are written in.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Appends one request; `false` if there are no more keys.
    #[inline]
    pub fn append(&mut self, out: &mut Vec<u8>) -> bool {
        let template = &self.templates[self.turn];
        let start = out.len();
        out.extend_from_slice(&template.bytes);
        let request = &mut out[start..];
        let mut index = 0;
        for hole in &template.holes {
            match *hole {
                Hole::Number {
                    end,
                    divisor,
                    modulus,
                    draw,
                } => {
                    if draw {
                        let Some(drawn) = self.keys.draw() else {
                            out.truncate(start);
                            return false;
                        };
                        index = drawn;
                    }
                    let mut value = index;
                    if divisor > 1 {
                        value /= divisor;
                    }
                    if value >= modulus {
                        value %= modulus;
                    }
                    write_digits(&mut request[..end], value);
                }
                Hole::Random { at, width } => {
                    for digit in &mut request[at..at + width] {
                        *digit = b'1' + (self.random.random::<u8>() & 7);
                    }
                }
                Hole::Letters { at, length } => {
                    let from = usize::from(self.random.random::<u16>());
                    request[at..at + length].copy_from_slice(&self.letters[from..from + length]);
                }
            }
        }
        self.left -= 1;
        if self.left == 0 {
            self.turn = if self.turn + 1 == self.templates.len() {
                0
            } else {
                self.turn + 1
            };
            self.left = self.turns[self.turn];
        }
        true
    }
}

/// Writes a number so that it ends where `field` ends; what stands before it are zeros already.
#[inline]
fn write_digits(field: &mut [u8], mut value: u64) {
    let mut at = field.len();
    while value >= 100 {
        let pair = (value % 100) as u8;
        value /= 100;
        field[at - 1] = b'0' + pair % 10;
        field[at - 2] = b'0' + pair / 10;
        at -= 2;
    }
    field[at - 1] = b'0' + (value % 10) as u8;
    if value >= 10 {
        field[at - 2] = b'0' + (value / 10) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(
        protocol: Protocol,
        templates: Vec<(Template, u32)>,
        keys: Keys,
        requests: usize,
    ) -> String {
        let mut out = Vec::new();
        let mut stream = Requests::new(protocol, templates, keys);
        for _ in 0..requests {
            stream.append(&mut out);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_get_is_a_resp_array_with_a_sixteen_byte_key() {
        let get = Template::resp(&[Part::text("GET"), Part::key("key:", 1)]);
        assert_eq!(
            written(
                Protocol::Resp,
                vec![(get, 1)],
                Keys::sequence(1_234_567, 1_234_568),
                1
            ),
            "*2\r\n$3\r\nGET\r\n$16\r\nkey:000001234567\r\n"
        );
    }

    #[test]
    fn each_hole_that_draws_takes_a_new_key() {
        let get = Template::resp(&[
            Part::text("MGET"),
            Part::key("key:", 1),
            Part::key("key:", 1),
        ]);
        let bytes = written(Protocol::Resp, vec![(get, 1)], Keys::sequence(8, 10), 1);
        assert!(
            bytes.contains("key:000000000008") && bytes.contains("key:000000000009"),
            "{bytes}"
        );
    }

    #[test]
    fn a_field_is_of_the_same_index_as_its_hash() {
        let set = Template::resp(&[
            Part::text("HSET"),
            Part::key("hsh:", 10),
            Part::name("field:", 3, 10),
            Part::Letters(8),
        ]);
        let bytes = written(Protocol::Resp, vec![(set, 1)], Keys::sequence(127, 128), 1);
        assert!(
            bytes.contains("$16\r\nhsh:000000000012\r\n$9\r\nfield:007\r\n$8\r\n"),
            "{bytes}"
        );
    }

    #[test]
    fn values_are_letters_and_differ() {
        let set = Template::memcached(&[
            Part::key("key:", 1),
            Part::text(" "),
            Part::Letters(64),
            Part::text("\n"),
        ]);
        let bytes = written(Protocol::Memcached, vec![(set, 1)], Keys::uniform(10), 2);
        let values: Vec<&str> = bytes.lines().map(|line| &line[17..]).collect();
        assert_eq!(values[0].len(), 64);
        assert!(
            values
                .iter()
                .all(|value| value.bytes().all(|byte| byte.is_ascii_alphabetic()))
        );
        assert_ne!(values[0], values[1]);
    }

    #[test]
    fn templates_take_turns() {
        let text = |text: &str| Template::memcached(&[Part::text(text)]);
        let templates = vec![(text("g"), 3), (text("s"), 1)];
        assert_eq!(
            written(Protocol::Memcached, templates, Keys::uniform(1), 9),
            "gggsgggsg"
        );
    }

    #[test]
    fn requests_end_with_their_keys() {
        let get = Template::resp(&[Part::text("GET"), Part::key("key:", 1)]);
        let mut stream = Requests::new(Protocol::Resp, vec![(get, 1)], Keys::sequence(0, 1));
        let mut out = Vec::new();
        assert!(stream.append(&mut out));
        let length = out.len();
        assert!(!stream.append(&mut out));
        assert_eq!(out.len(), length);
    }

    #[test]
    fn digits_fill_their_field_from_the_right() {
        for value in [0, 7, 10, 99, 100, 101, 65_536, 999_999] {
            let mut field = *b"000000";
            write_digits(&mut field, value);
            assert_eq!(std::str::from_utf8(&field).unwrap(), format!("{value:06}"));
        }
    }
}
