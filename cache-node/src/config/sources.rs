//! Where settings come from: the command line, the environment, a file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::resp::split_line;

use super::options::find;
use super::table::OPTIONS;
use super::{ConfigError, Settings};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Invocation {
    /// Run with these settings, read from this file among others.
    Run(Box<Settings>, Option<PathBuf>),
    /// Show the help.
    Help,
    /// Show the version.
    Version,
}

/// Prefix of environment variables.
const PREFIX: &str = "CACHE_NODE_";

/// Reads the command line (`args`, the program's name first) and `environment`.
pub fn read(
    args: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Invocation, ConfigError> {
    let args = args
        .into_iter()
        .skip(1)
        .map(|arg| {
            let no_text = |arg: OsString| format!("argument {} is no text", arg.display());
            arg.into_string()
                .map_err(|arg| ConfigError::Usage(no_text(arg)))
        })
        .collect::<Result<Vec<String>, _>>()?;
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        return Ok(Invocation::Help);
    }
    if args.iter().any(|arg| arg == "--version" || arg == "-v") {
        return Ok(Invocation::Version);
    }
    let mut settings = Settings::default();
    let (file, flags) = match args.split_first() {
        Some((first, rest)) if !first.starts_with("--") => (Some(PathBuf::from(first)), rest),
        _ => (None, args.as_slice()),
    };
    if let Some(path) = &file {
        read_file(path, &mut settings)?;
    }
    let mut source = Source::new(&mut settings);
    for (variable, value) in environment {
        if let Some(name) = variable.strip_prefix(PREFIX) {
            let name = name.to_ascii_lowercase().replace('_', "-");
            source.set(&name, &value)?;
        }
    }
    let mut source = Source::new(&mut settings);
    for (name, value) in flag_pairs(flags)? {
        source.set(&name, &value)?;
    }
    Ok(Invocation::Run(Box::new(settings), file))
}

fn read_file(path: &Path, settings: &mut Settings) -> Result<(), ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::File {
        path: path.display().to_string(),
        reason: error.to_string(),
    })?;
    let mut source = Source::new(settings);
    for (index, line) in text.lines().enumerate() {
        let fail = |reason: String| ConfigError::File {
            path: path.display().to_string(),
            reason: format!("line {}: {reason}", index + 1),
        };
        if let Some((name, value)) = directive(line).map_err(|what| fail(what.to_owned()))? {
            source
                .set(&name, &value)
                .map_err(|error| fail(error.to_string()))?;
        }
    }
    Ok(())
}

/// One place that settings come from.
struct Source<'s> {
    settings: &'s mut Settings,
    /// Names that it has set.
    seen: Vec<&'static str>,
}

impl<'s> Source<'s> {
    fn new(settings: &'s mut Settings) -> Self {
        Self {
            settings,
            seen: Vec::new(),
        }
    }

    /// Sets an option. A second `save` adds its points to the first one's, as in redis-server; an empty one takes them away.
    fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let option = find(name)?;
        let adds = option.name == "save" && self.seen.contains(&"save") && !value.trim().is_empty();
        self.seen.push(option.name);
        if adds {
            let both = format!("{} {value}", option.show(self.settings));
            option.apply(self.settings, both.trim())
        } else {
            option.apply(self.settings, value)
        }
    }
}

/// `--name value...` pairs; the values up to the next flag belong together. `--name=value` works too.
fn flag_pairs(args: &[String]) -> Result<Vec<(String, String)>, ConfigError> {
    let mut pairs: Vec<(String, Vec<String>)> = Vec::new();
    for arg in args {
        match (arg.strip_prefix("--"), pairs.last_mut()) {
            (Some(flag), _) => match flag.split_once('=') {
                Some((name, value)) => pairs.push((name.to_owned(), vec![value.to_owned()])),
                None => pairs.push((flag.to_owned(), Vec::new())),
            },
            (None, Some((_, values))) => values.push(arg.clone()),
            (None, None) => {
                return Err(ConfigError::Usage(format!("unexpected argument '{arg}'")));
            }
        }
    }
    pairs
        .into_iter()
        .map(|(name, values)| {
            if values.is_empty() {
                let name = find(&name)?.name;
                return Err(ConfigError::Usage(format!("'--{name}' needs a value")));
            }
            Ok((name, values.join(" ")))
        })
        .collect()
}

/// Name and value of a line. `None`: it is empty or a comment (`#`). Values may be quoted as in redis.conf.
fn directive(line: &str) -> Result<Option<(String, String)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let words = split_line(line.as_bytes())
        .ok_or("unbalanced quotes")?
        .into_iter()
        .map(|word| String::from_utf8(word).map_err(|_| "not text"))
        .collect::<Result<Vec<_>, _>>()?;
    match words.split_first() {
        Some((name, values)) if !values.is_empty() => Ok(Some((name.clone(), values.join(" ")))),
        _ => Err("a directive needs a value"),
    }
}

/// The file's text with the directives that are in force: those there are brought up to date, others that differ from the defaults
/// are added.
pub(super) fn rewritten(old: &str, settings: &Settings) -> String {
    let defaults = Settings::default();
    let mut written = Vec::new();
    let mut text = String::new();
    for line in old.lines() {
        let name = line.split_ascii_whitespace().next().unwrap_or_default();
        match find(name) {
            Ok(option) if written.contains(&option.name) => {}
            Ok(option) => {
                written.push(option.name);
                text.push_str(&written_directive(option.name, &option.show(settings)));
            }
            Err(_) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    for option in OPTIONS {
        let value = option.show(settings);
        if !written.contains(&option.name) && value != option.show(&defaults) {
            text.push_str(&written_directive(option.name, &value));
        }
    }
    text
}

fn written_directive(name: &str, value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    if name.ends_with("bind") || (!value.is_empty() && value.bytes().all(plain)) {
        format!("{name} {value}\n")
    } else {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
        format!("{name} \"{escaped}\"\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str], environment: &[(&str, &str)]) -> Result<Settings, String> {
        let args = std::iter::once("cache-node")
            .chain(args.iter().copied())
            .map(OsString::from);
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        match read(args, environment) {
            Ok(Invocation::Run(settings, _)) => Ok(*settings),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn save_points_of_one_source_add_up() {
        let file = file("save 900 1\nsave 300 10 60 10000\n");
        let path = file.path().to_str().unwrap();
        let points = |args: &[&str]| {
            let settings = run(args, &[]).unwrap();
            find("save").unwrap().show(&settings)
        };
        assert_eq!(points(&[path]), "900 1 300 10 60 10000");
        assert_eq!(points(&[path, "--save", "5", "6"]), "5 6");
        assert_eq!(
            points(&[path, "--save", "5 6", "--save", "7", "8"]),
            "5 6 7 8"
        );
        assert_eq!(points(&[path, "--save", "5 6", "--save", ""]), "");
    }

    #[test]
    fn flags_win_over_environment_and_that_over_the_file() {
        let file = file("# a comment\nport 1\nmaxmemory 1gb\ntimeout 5\nrequirepass \"a b\"\n");
        let path = file.path().to_str().unwrap();
        let environment = [
            ("CACHE_NODE_PORT", "2"),
            ("CACHE_NODE_TIMEOUT", "6"),
            ("HOME", "/"),
        ];
        let args = [path, "--port", "3", "--bind", "127.0.0.1", "127.0.0.2"];
        let settings = run(&args, &environment).unwrap();
        assert_eq!((settings.port, settings.timeout), (3, 6));
        assert_eq!(settings.maxmemory, 1 << 30);
        assert_eq!(settings.requirepass, "a b");
        assert_eq!(settings.bind.len(), 2);
    }

    #[test]
    fn what_redis_server_is_called_with_is_understood() {
        let mut args = vec![
            "--save",
            "",
            "--appendonly",
            "no",
            "--cluster-enabled",
            "yes",
        ];
        args.extend(["--slowlog-log-slower-than", "-1", "--maxmemory=1gb"]);
        let settings = run(&args, &[]).unwrap();
        assert!(settings.cluster_enabled);
        assert_eq!(settings.slowlog_log_slower_than, -1);
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |args: &[&str]| run(args, &[]).unwrap_err();
        assert_eq!(
            refused(&["--prot", "1"]),
            "unknown option 'prot'; did you mean 'port'?"
        );
        assert_eq!(refused(&["--port"]), "'--port' needs a value");
        assert_eq!(
            refused(&["--port", "x"]),
            "invalid value 'x' for 'port': must be a number from 1 to 65535"
        );
        assert!(refused(&["/nowhere/at.all"]).contains("/nowhere/at.all"));
        let file = file("port 1\nport \"x\n");
        let text = refused(&[file.path().to_str().unwrap()]);
        assert!(text.contains("line 2: unbalanced quotes"), "{text}");
    }

    #[test]
    fn a_rewrite_keeps_comments_and_adds_what_changed() {
        let settings = Settings {
            port: 7000,
            requirepass: "a b".to_owned(),
            ..Settings::default()
        };
        let text = rewritten("# mine\nport 6379\n", &settings);
        assert_eq!(text, "# mine\nport 7000\nrequirepass \"a b\"\n");
    }
}
