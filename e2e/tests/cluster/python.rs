//! redis-py in a virtual environment under `target/`, made at first use, and its cluster client under load.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::sync::OnceCell;

use crate::bench::BOUND;

const REDIS_PY: &str = "redis>=7,<9";

/// `load.py` under way.
pub(crate) struct Load {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Load {
    /// Writes and reads through `RedisCluster`, which is told of this node only. Every key is there when this returns.
    pub(crate) async fn start(address: &str) -> Self {
        let (host, port) = address.rsplit_once(':').unwrap();
        let mut child = tokio::process::Command::new(interpreter().await)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/load.py"))
            .args([host, port, "1000"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut load = Self { child, lines };
        assert_eq!(load.line().await, "ready");
        load
    }

    /// Ends it; it has lost nothing and shown no error.
    pub(crate) async fn finish(mut self) {
        drop(self.child.stdin.take());
        let report: serde_json::Value = serde_json::from_str(&self.line().await).unwrap();
        for name in ["errors", "stale", "lost"] {
            assert_eq!(report[name], serde_json::json!([]), "redis-py: {name}");
        }
        assert!(report["writes"].as_u64() > Some(1_000), "{report}");
        self.child.wait().await.unwrap();
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(BOUND, self.lines.next_line()).await;
        let line = line.expect("redis-py's load says nothing").unwrap();
        line.expect("redis-py's load has ended")
    }
}

/// The interpreter that has redis-py.
async fn interpreter() -> PathBuf {
    static MADE: OnceCell<PathBuf> = OnceCell::const_new();
    let make = || async { tokio::task::spawn_blocking(make).await.unwrap() };
    MADE.get_or_init(make).await.clone()
}

fn make() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_playground"))
        .parent()
        .unwrap();
    let directory = target.join("e2e-python");
    let python = directory.join("bin/python");
    let has_redis = || {
        Command::new(&python)
            .args(["-c", "import redis.cluster"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if !has_redis() {
        let made = Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&directory)
            .output();
        succeeded(&made.expect(
            "python3 is needed for the redis-py test: install it (Debian: python3 python3-venv)",
        ));
        let pip = Command::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                REDIS_PY,
            ])
            .output();
        succeeded(&pip.unwrap());
    }
    python
}

fn succeeded(output: &Output) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "the virtual environment for redis-py could not be made: {text}"
    );
}
