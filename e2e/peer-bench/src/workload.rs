//! The workloads: what is asked, of which data. Owns names and shapes of all keys; measures nothing.

use serde::Serialize;

use crate::generator::encode::{Part, Requests, Template};
use crate::generator::keys::Keys;
use crate::generator::replies::Protocol;

/// Fields of each hash.
const FIELDS: u64 = 10;
/// Members of each sorted set.
const MEMBERS: u64 = 1000;
/// Keys that an MGET asks for.
const MGET_KEYS: usize = 10;

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// GET of a key that is there.
    Get,
    /// SET of a key that is there, to a value of the same length.
    Set,
    /// Ten GETs, then one SET.
    Mixed,
    /// MGET of ten keys.
    Mget,
    /// HSET of one field that is there, in one of many hashes of ten fields.
    Hset,
    /// ZADD of a member that is there, with a new score, in one of many sorted sets of a thousand members.
    Zadd,
    /// INCR of one of many counters.
    Incr,
}

/// The data that must be there before a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dataset {
    /// Keys with values.
    Strings,
    /// Hashes of ten fields.
    Hashes,
    /// Sorted sets of a thousand members.
    SortedSets,
    /// Numbers.
    Counters,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Get,
        Self::Set,
        Self::Mixed,
        Self::Mget,
        Self::Hset,
        Self::Zadd,
        Self::Incr,
    ];

    /// Name in the names of measurements.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Mixed => "mixed",
            Self::Mget => "mget",
            Self::Hset => "hset",
            Self::Zadd => "zadd",
            Self::Incr => "incr",
        }
    }

    /// Whether values have a length that can be chosen.
    pub fn has_values(self) -> bool {
        !matches!(self, Self::Zadd | Self::Incr)
    }

    /// The data that it works on.
    pub fn dataset(self) -> Dataset {
        match self {
            Self::Get | Self::Set | Self::Mixed | Self::Mget => Dataset::Strings,
            Self::Hset => Dataset::Hashes,
            Self::Zadd => Dataset::SortedSets,
            Self::Incr => Dataset::Counters,
        }
    }

    /// Its requests for values of `value` bytes; `None` if the protocol cannot express it.
    pub fn requests(self, protocol: Protocol, value: usize, keys: Keys) -> Option<Requests> {
        let templates = match self {
            Self::Get => vec![(get(protocol), 1)],
            Self::Set => vec![(set(protocol, value, Life::Forever), 1)],
            Self::Mixed => vec![
                (get(protocol), 10),
                (set(protocol, value, Life::Forever), 1),
            ],
            Self::Mget => vec![(mget(protocol), 1)],
            Self::Hset => vec![(hset(protocol, value)?, 1)],
            Self::Zadd => vec![(zadd(protocol)?, 1)],
            Self::Incr => vec![(incr(protocol), 1)],
        };
        Some(Requests::new(protocol, templates, keys))
    }
}

impl Dataset {
    /// Requests that write each of the items of `keys` once; `None` if the protocol cannot express it.
    pub fn load(self, protocol: Protocol, value: usize, keys: Keys) -> Option<Requests> {
        let template = match self {
            Self::Strings => set(protocol, value, Life::Forever),
            Self::Hashes => hset(protocol, value)?,
            Self::SortedSets => zadd(protocol)?,
            Self::Counters => counter(protocol),
        };
        Some(Requests::new(protocol, vec![(template, 1)], keys))
    }
}

/// How long keys live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Until they are removed.
    Forever,
    /// So many seconds.
    Seconds(u32),
    /// Some days, each key another time.
    Days,
}

impl Life {
    fn part(self) -> Part {
        match self {
            Self::Forever => Part::text("0"),
            Self::Seconds(seconds) => Part::text(seconds.to_string()),
            Self::Days => Part::Random(6),
        }
    }
}

/// Requests that write each key of `keys` once.
pub fn fill(protocol: Protocol, value: usize, life: Life, keys: Keys) -> Requests {
    Requests::new(protocol, vec![(set(protocol, value, life), 1)], keys)
}

fn get(protocol: Protocol) -> Template {
    match protocol {
        Protocol::Resp => Template::resp(&[Part::text("GET"), Part::key("key:", 1)]),
        Protocol::Memcached => {
            Template::memcached(&[Part::text("get "), Part::key("key:", 1), Part::text("\r\n")])
        }
    }
}

fn set(protocol: Protocol, value: usize, life: Life) -> Template {
    match protocol {
        Protocol::Resp => {
            let mut arguments = vec![
                Part::text("SET"),
                Part::key("key:", 1),
                Part::Letters(value),
            ];
            if life != Life::Forever {
                arguments.extend([Part::text("EX"), life.part()]);
            }
            Template::resp(&arguments)
        }
        Protocol::Memcached => Template::memcached(&[
            Part::text("set "),
            Part::key("key:", 1),
            Part::text(" 0 "),
            life.part(),
            Part::text(format!(" {value}\r\n")),
            Part::Letters(value),
            Part::text("\r\n"),
        ]),
    }
}

fn mget(protocol: Protocol) -> Template {
    let keys = || std::iter::repeat_n(Part::key("key:", 1), MGET_KEYS);
    match protocol {
        Protocol::Resp => Template::resp(
            &std::iter::once(Part::text("MGET"))
                .chain(keys())
                .collect::<Vec<_>>(),
        ),
        Protocol::Memcached => {
            let mut parts = vec![Part::text("get")];
            parts.extend(keys().flat_map(|key| [Part::text(" "), key]));
            parts.push(Part::text("\r\n"));
            Template::memcached(&parts)
        }
    }
}

fn hset(protocol: Protocol, value: usize) -> Option<Template> {
    let arguments = [
        Part::text("HSET"),
        Part::key("hsh:", FIELDS),
        Part::name("field:", 10, FIELDS),
        Part::Letters(value),
    ];
    (protocol == Protocol::Resp).then(|| Template::resp(&arguments))
}

fn zadd(protocol: Protocol) -> Option<Template> {
    let arguments = [
        Part::text("ZADD"),
        Part::key("zst:", MEMBERS),
        Part::Random(6),
        Part::name("member:", 9, MEMBERS),
    ];
    (protocol == Protocol::Resp).then(|| Template::resp(&arguments))
}

fn incr(protocol: Protocol) -> Template {
    match protocol {
        Protocol::Resp => Template::resp(&[Part::text("INCR"), Part::key("cnt:", 1)]),
        Protocol::Memcached => Template::memcached(&[
            Part::text("incr "),
            Part::key("cnt:", 1),
            Part::text(" 1\r\n"),
        ]),
    }
}

/// Sets a counter to a number of six digits.
fn counter(protocol: Protocol) -> Template {
    match protocol {
        Protocol::Resp => {
            Template::resp(&[Part::text("SET"), Part::key("cnt:", 1), Part::Random(6)])
        }
        Protocol::Memcached => Template::memcached(&[
            Part::text("set "),
            Part::key("cnt:", 1),
            Part::text(" 0 0 6\r\n"),
            Part::Random(6),
            Part::text("\r\n"),
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(requests: Option<Requests>) -> String {
        let mut out = Vec::new();
        requests.expect("expressible").append(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_workload_has_sixteen_byte_keys_in_resp() {
        for workload in Workload::ALL {
            let text = first(workload.requests(Protocol::Resp, 8, Keys::sequence(0, 100)));
            let keys = text
                .lines()
                .filter(|line| line.as_bytes().get(3) == Some(&b':'))
                .collect::<Vec<_>>();
            assert!(
                !keys.is_empty() && keys.iter().all(|key| key.len() == 16),
                "{}: {text}",
                workload.name()
            );
        }
    }

    #[test]
    fn memcached_has_strings_and_counters_only() {
        for workload in Workload::ALL {
            let expressible = workload
                .requests(Protocol::Memcached, 8, Keys::uniform(10))
                .is_some();
            assert_eq!(
                expressible,
                !matches!(workload, Workload::Hset | Workload::Zadd)
            );
        }
        let text = first(Workload::Set.requests(Protocol::Memcached, 3, Keys::sequence(5, 6)));
        assert!(
            text.starts_with("set key:000000000005 0 0 3\r\n") && text.len() == 33,
            "{text}"
        );
    }

    #[test]
    fn a_time_to_live_is_part_of_a_fill() {
        let text = first(Some(fill(
            Protocol::Resp,
            1,
            Life::Seconds(90),
            Keys::sequence(0, 1),
        )));
        assert!(text.ends_with("$2\r\nEX\r\n$2\r\n90\r\n"), "{text}");
        let text = first(Some(fill(
            Protocol::Memcached,
            1,
            Life::Seconds(90),
            Keys::sequence(0, 1),
        )));
        assert!(text.contains(" 0 90 1\r\n"), "{text}");
    }
}
