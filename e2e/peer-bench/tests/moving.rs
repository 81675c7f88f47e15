//! The smallest moves of data, with cache-node alone, so that the tool keeps working.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The cache-node of the same build as this test, built if it is not there or old.
fn cache_node() -> Result<PathBuf> {
    let profile = Path::new(env!("CARGO_BIN_EXE_peer-bench"))
        .parent()
        .context("directory of programs")?;
    let target = profile.parent().context("target directory")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--package", "cache-node", "--bin"])
        .args(["cache-node", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    ensure!(status.success(), "cache-node cannot be built");
    Ok(target.join("debug/cache-node"))
}

#[test]
fn every_move_of_cache_node_has_figures_or_says_what_it_lacks() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let json = directory.path().join("figures.json");
    let limits = directory.path().join("limits.json");
    std::fs::write(&limits, r#"{"save/idle: MB/s": "at least 1"}"#)?;
    let output = Command::new(env!("CARGO_BIN_EXE_peer-bench"))
        .args(["--servers", "cache-node", "--rounds", "1", "--seconds"])
        .args(["0.05", "--clients", "4", "--cache-node"])
        .arg(cache_node()?)
        .arg("--json")
        .arg(&json)
        .args(["moving", "--keys", "1000", "--value", "100", "--limits"])
        .arg(&limits)
        .output()?;
    let tables = String::from_utf8_lossy(&output.stdout);
    let progress = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{progress}");
    ensure!(tables.contains("at least 1"), "{tables}");
    let entries: Value = serde_json::from_str(&std::fs::read_to_string(&json)?)?;
    let entries = entries.as_array().context("a list")?;
    let names = Command::new(env!("CARGO_BIN_EXE_peer-bench"))
        .args(["--list", "moving"])
        .output()?;
    ensure!(entries.len() == String::from_utf8_lossy(&names.stdout).lines().count());
    for entry in entries {
        let note = entry["note"].as_str();
        let lacks = note.is_some_and(|note| {
            note.starts_with("not available") || note.starts_with("does not have")
        });
        let figures = entry["figures"].as_array();
        ensure!(
            lacks || figures.is_some_and(|figures| !figures.is_empty()),
            "{entry}\n{progress}"
        );
    }
    Ok(())
}
