//! Options: name, meaning, how to read and show one, and whether it can change while the process runs.

use super::ConfigError;
use super::settings::Settings;
use super::table::OPTIONS;

/// An option.
pub struct Setting {
    /// redis-server's name.
    pub name: &'static str,
    /// Group in the help.
    pub group: &'static str,
    /// Form of its value in the help.
    pub form: &'static str,
    /// What it does.
    pub help: &'static str,
    /// Whether `CONFIG SET` takes it.
    pub live: bool,
    /// Whether refusals keep its value to themselves: they go to logs and terminals.
    pub secret: bool,
    /// An older name that means the same.
    pub alias: Option<&'static str>,
    pub(super) show: fn(&Settings) -> String,
    pub(super) read: fn(&mut Settings, &str) -> Result<(), String>,
}

impl Setting {
    /// The value in force, as `CONFIG GET` answers.
    pub fn show(&self, settings: &Settings) -> String {
        (self.show)(settings)
    }

    /// Sets the value.
    pub fn apply(&self, settings: &mut Settings, value: &str) -> Result<(), ConfigError> {
        (self.read)(settings, value).map_err(|allowed| ConfigError::Value {
            name: self.name,
            value: if self.secret { "(not shown)" } else { value }.to_owned(),
            allowed,
        })
    }
}

/// The option with this name, in any case.
pub fn find(name: &str) -> Result<&'static Setting, ConfigError> {
    let lower = name.to_ascii_lowercase();
    OPTIONS
        .iter()
        .find(|option| option.name == lower || option.alias == Some(lower.as_str()))
        .ok_or_else(|| ConfigError::Unknown {
            near: nearest(&lower),
            name: name.to_owned(),
        })
}

/// The option whose name is nearest, if it is near at all.
fn nearest(name: &str) -> Option<&'static str> {
    OPTIONS
        .iter()
        .map(|option| (distance(name, option.name), option.name))
        .min()
        .filter(|(distance, near)| *distance <= near.len().div_ceil(3))
        .map(|(_, near)| near)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_can_be_read_back() {
        for option in OPTIONS {
            let mut settings = Settings::default();
            let shown = option.show(&settings);
            option.apply(&mut settings, &shown).unwrap();
            assert_eq!(settings, Settings::default(), "{}", option.name);
        }
    }

    #[test]
    fn an_unknown_name_gets_a_suggestion_if_one_is_near() {
        let text = |name| match find(name) {
            Ok(option) => option.name.to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(
            text("maxmemry"),
            "unknown option 'maxmemry'; did you mean 'maxmemory'?"
        );
        assert_eq!(text("frobnicate"), "unknown option 'frobnicate'");
        assert_eq!(text("MaxMemory"), "maxmemory");
        assert_eq!(text("hash-max-ziplist-value"), "hash-max-listpack-value");
    }

    fn apply(name: &str, value: &str) -> Result<(), String> {
        let option = find(name).map_err(|error| error.to_string())?;
        option
            .apply(&mut Settings::default(), value)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_policy_that_is_not_there_is_told_which_are() {
        assert_eq!(
            apply("maxmemory-policy", "allkeys-mru"),
            Err(
                "invalid value 'allkeys-mru' for 'maxmemory-policy': must be one of noeviction, \
                 allkeys-lru, allkeys-lfu, allkeys-lrm, allkeys-random, allkeys-fifo, allkeys-s3, volatile-lru, \
                 volatile-lfu, volatile-lrm, volatile-random, volatile-ttl, volatile-s3, auto"
                    .to_owned()
            )
        );
    }

    #[test]
    fn a_secret_has_a_least_length_and_is_not_repeated() {
        assert_eq!(
            apply("cluster-secret", "fifteen bytes !"),
            Err(
                "invalid value '(not shown)' for 'cluster-secret': must have at least 16 bytes, \
                 and has 15; empty: none"
                    .to_owned()
            )
        );
        assert_eq!(apply("cluster-secret", "sixteen bytes !!"), Ok(()));
        assert_eq!(apply("cluster-secret", ""), Ok(()));
    }

    #[test]
    fn save_points_are_pairs() {
        for (given, shown) in [("", ""), ("3600 1", "3600 1"), (" 60 5  1 2", "60 5 1 2")] {
            let mut settings = Settings::default();
            let option = find("save").unwrap();
            option.apply(&mut settings, given).unwrap();
            assert_eq!((option.show)(&settings), shown);
        }
        for wrong in ["3600", "0 1", "1 0", "a b", "-1 1"] {
            assert!(
                apply("save", wrong)
                    .unwrap_err()
                    .contains("pairs of seconds and changes")
            );
        }
        assert!(
            apply("dbfilename", "a/b")
                .unwrap_err()
                .contains("without a folder")
        );
    }

    #[test]
    fn a_node_to_copy_is_a_host_and_a_port() {
        for (given, shown) in [("", ""), ("no one", ""), (" ::1  6379 ", "::1 6379")] {
            let mut settings = Settings::default();
            let option = find("slaveof").unwrap();
            option.apply(&mut settings, given).unwrap();
            assert_eq!((option.show)(&settings), shown);
        }
        for (wrong, why) in [
            ("host", "a host and a port"),
            ("a b c", "a host and a port"),
            ("host 0", "a port from 1 to 65535"),
            ("host 65536", "a port from 1 to 65535"),
        ] {
            assert!(apply("replicaof", wrong).unwrap_err().contains(why));
        }
    }

    #[test]
    fn the_append_only_file_is_synchronized_in_one_of_three_ways() {
        for way in ["always", "everysec", "no"] {
            let mut settings = Settings::default();
            let option = find("appendfsync").unwrap();
            option.apply(&mut settings, way).unwrap();
            assert_eq!((option.show)(&settings), way);
        }
        let refused = apply("appendfsync", "sometimes").unwrap_err();
        assert!(refused.contains("must be one of always, everysec, no"));
        assert!(apply("appenddirname", "a/b").is_err());
    }
}
