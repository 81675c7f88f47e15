//! The simulator of eviction policies, `hit-ratio`, an example of the package `cache-eviction`: found or built, and asked.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The program.
pub struct Simulator(PathBuf);

impl Simulator {
    /// The one that was given, or the one beside this program, which is built if it is not there.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn find(given: Option<&Path>) -> Result<Self> {
        if let Some(path) = given {
            return Ok(Self(path.to_owned()));
        }
        let own = env::current_exe().context("own executable")?;
        let target = own
            .parent()
            .and_then(Path::parent)
            .context("target directory")?;
        let program = target.join("release/examples/hit-ratio");
        if program.is_file() {
            return Ok(Self(program));
        }
        eprintln!("No simulator beside this program: building one.");
        let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--release", "--package", "cache-eviction"])
            .args(["--example", "hit-ratio", "--target-dir"])
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .context("cargo")?;
        if !status.success() || !program.is_file() {
            bail!("the simulator could not be built; give --simulator PATH");
        }
        Ok(Self(program))
    }

    /// The hit ratio of a policy that holds `keys` objects, on a trace in a file. LFU's counters do not decay.
    ///
    /// # Errors
    /// If the simulator fails.
    pub fn hit_ratio(&self, trace: &Path, policy: &str, keys: u64) -> Result<f64> {
        let json = trace.with_extension("json");
        let output = Command::new(&self.0)
            .args(["--policy", policy, "--size", &keys.to_string()])
            .args(["--minutes", "1", "--threads", "1", "--json"])
            .arg(&json)
            .arg(trace)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .context("start the simulator")?;
        if !output.status.success() {
            bail!("simulator: {}", String::from_utf8_lossy(&output.stderr));
        }
        let text = fs::read_to_string(&json).context("the simulator's results")?;
        fs::remove_file(&json).context("remove the simulator's results")?;
        hit_ratio_of(&text).context("the simulator's results have no miss ratio")
    }
}

fn hit_ratio_of(json: &str) -> Option<f64> {
    let results: Value = serde_json::from_str(json).ok()?;
    Some(1.0 - results.get(0)?.get("miss_ratio")?.as_f64()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hit_ratio_is_what_is_not_missed() {
        assert_eq!(
            hit_ratio_of(r#"[{"policy": "x", "miss_ratio": 0.25}]"#),
            Some(0.75)
        );
        assert_eq!(hit_ratio_of("[]"), None);
        assert_eq!(hit_ratio_of("no JSON"), None);
    }
}
