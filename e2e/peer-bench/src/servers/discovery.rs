//! Finds the programs: ours beside this one or where it is said to be, peers on `PATH` and in `$PEERS/bin`. Starts them
//! only to ask for their versions.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::Kind;

/// A server that can be started.
#[derive(Clone, Debug, Serialize)]
pub struct Installed {
    /// Which.
    pub kind: Kind,
    /// Its program.
    #[serde(skip)]
    pub program: PathBuf,
    /// What it says of itself; empty if nothing.
    pub version: String,
}

impl Installed {
    /// Name and version.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} {}", self.kind.name(), self.version)
            .trim_end()
            .to_owned()
    }
}

/// Finds a program in `$PEERS/bin` or on `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let peers = env::var_os("PEERS").map(|peers| PathBuf::from(peers).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = peers.into_iter().chain(env::split_paths(&path));
    directories
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// Finds one of the servers; `None` if it is not installed. A copy of cache-node is made in `directory`, so that a build
/// meanwhile does not change what is measured.
///
/// # Errors
/// If cache-node cannot be built or copied.
pub fn find(kind: Kind, cache_node: Option<&Path>, directory: &Path) -> Result<Option<Installed>> {
    let program = match kind {
        Kind::Roofline => Some(env::current_exe().context("own executable")?),
        Kind::CacheNode => {
            let copy = directory.join("cache-node");
            let original = match cache_node {
                Some(path) => path.to_owned(),
                None => own_cache_node()?,
            };
            fs::copy(&original, &copy).with_context(|| format!("copy {}", original.display()))?;
            Some(copy)
        }
        _ => kind.program().and_then(find_program),
    };
    let installed = program.map(|program| Installed {
        kind,
        version: version(kind, &program),
        program,
    });
    Ok(installed)
}

/// cache-node beside this executable, or in the release directory next to it; built if it is not there.
fn own_cache_node() -> Result<PathBuf> {
    let own = env::current_exe().context("own executable")?;
    let profile = own.parent().context("own directory")?;
    let target = profile.parent().context("target directory")?;
    let places = [
        profile.join("cache-node"),
        target.join("release/cache-node"),
    ];
    // A debug build says nothing about speed.
    let usable = |path: &&PathBuf| {
        path.is_file()
            && !path
                .parent()
                .is_some_and(|parent| parent.ends_with("debug"))
    };
    if let Some(found) = places.iter().find(usable) {
        return Ok(found.clone());
    }
    eprintln!("No release build of cache-node beside this program: building one.");
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--release",
            "--package",
            "cache-node",
            "--target-dir",
        ])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .context("cargo")?;
    let built = target.join("release/cache-node");
    if !status.success() || !built.is_file() {
        bail!("cache-node could not be built; give --cache-node PATH");
    }
    Ok(built)
}

/// The line in which a program tells its version, without what varies between builds.
fn version(kind: Kind, program: &Path) -> String {
    if kind == Kind::Roofline {
        return env!("CARGO_PKG_VERSION").to_owned();
    }
    let output = Command::new(program).arg("--version").output();
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    shorten(&text)
}

/// The first word with a digit and a dot of a version line, without `v=`.
fn shorten(text: &str) -> String {
    let number = |word: &&str| word.contains('.') && word.contains(|c: char| c.is_ascii_digit());
    let word = text.split_whitespace().find(number).unwrap_or_default();
    word.trim_start_matches("v=").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(
            shorten("Valkey server v=9.1.2 sha=00000000:0 malloc=jemalloc-5.3.1"),
            "9.1.2"
        );
        assert_eq!(shorten("memcached 1.6.45\n"), "1.6.45");
        assert_eq!(shorten("cache-node 0.1.0\n"), "0.1.0");
        assert_eq!(shorten("pogocache\n"), "");
    }
}
