//! The playground's own promises: a report, and nothing left behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a start or an end may take.
const BOUND: Duration = Duration::from_secs(120);

/// A playground that makes its temporary files in a directory of the test.
struct Playground {
    child: Child,
    directory: tempfile::TempDir,
}

impl Playground {
    fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_playground"))
            .args(arguments)
            .arg("--kubeconfig")
            .arg(directory.path().join("kubeconfig"))
            .env("TMPDIR", directory.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, directory }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    fn signal(&self, signal: Signal) {
        kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            signal,
        )
        .unwrap();
    }

    /// Ends it and checks that it leaves nothing.
    fn ends_without_a_trace(mut self, signal: Signal) {
        self.signal(signal);
        let status = self.child.wait().unwrap();
        assert_eq!(status.success(), signal != Signal::SIGKILL, "{status}");
        let directory = self.directory.path();
        wait(
            || fs::read_dir(directory).unwrap().next().is_none(),
            "files are left",
        );
        wait(|| !mentioned(directory), "processes are left");
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process was started with a path under `directory`, or with it in its environment.
fn mentioned(directory: &Path) -> bool {
    let needle = directory.to_str().unwrap().as_bytes();
    let processes = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let names = |file: PathBuf| {
        fs::read(file)
            .unwrap_or_default()
            .windows(needle.len())
            .any(|part| part == needle)
    };
    processes
        .into_iter()
        .any(|process| names(process.join("cmdline")) || names(process.join("environ")))
}

/// Waits until a condition holds.
fn wait(condition: impl Fn() -> bool, otherwise: &str) {
    let deadline = Instant::now() + BOUND;
    let (_never, pause) = std::sync::mpsc::channel::<()>();
    while !condition() {
        assert!(Instant::now() < deadline, "{otherwise}");
        let _ = pause.recv_timeout(Duration::from_millis(50)).is_err();
    }
}

#[test]
fn an_interrupted_playground_leaves_nothing_behind_whenever_it_is_interrupted() {
    for progress in [
        |_: &Path| true,
        |kubeconfig: &Path| kubeconfig.exists(),
        pods_run,
    ] {
        for signal in [Signal::SIGINT, Signal::SIGKILL] {
            let playground = Playground::start(&["up"]);
            let directory = playground.directory.path().to_owned();
            wait(
                || {
                    fs::read_dir(&directory).unwrap().next().is_some()
                        && progress(&playground.kubeconfig())
                },
                "no progress",
            );
            playground.ends_without_a_trace(signal);
        }
    }
}

/// Whether the nodes of the example run.
fn pods_run(kubeconfig: &Path) -> bool {
    let directory = kubeconfig.parent().unwrap().to_str().unwrap().as_bytes();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let nodes = processes.filter(|entry| {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let program = command.split(|byte| *byte == 0).next().unwrap_or_default();
        program.starts_with(directory) && program.ends_with(b"/cache-node")
    });
    nodes.count() >= 6
}

#[test]
fn the_demonstration_reports_its_numbers_as_json() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("report.json");
    let status = Command::new(env!("CARGO_BIN_EXE_playground"))
        .args(["demo", "--keys", "2000", "--report"])
        .arg(&file)
        .env("TMPDIR", directory.path())
        .status()
        .unwrap();
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(&file).expect("a report, also of a failure")).unwrap();
    assert!(status.success(), "{report:#}");
    for name in [
        "ready_seconds",
        "acknowledged_writes",
        "scale_out_seconds",
        "scale_in_seconds",
        "slots_moved",
        "failover_write_gap_ms",
    ] {
        assert!(report[name].as_f64() > Some(0.0), "{name}: {report:#}");
    }
    for name in ["scaling_client_errors", "scaling_writes_lost"] {
        assert_eq!(report[name], 0, "{name}: {report:#}");
    }
    assert!(report["failover_writes_lost"].is_u64(), "{report:#}");
    assert!(
        report["slots_moved"].as_u64() < Some(14_000),
        "no slot moves without need: {report:#}"
    );
}

#[test]
fn every_command_explains_itself_and_refuses_what_it_does_not_know() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_playground"))
            .args(arguments)
            .output()
            .unwrap()
    };
    for arguments in [
        &["--help"][..],
        &["up", "--help"],
        &["demo", "--help"],
        &["manifests", "--help"],
    ] {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("Usage: playground"));
    }
    let output = run(&["demo", "--keys", "few"]);
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("--keys"),
        "{output:?}"
    );
}
