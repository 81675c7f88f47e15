//! redis-py in a virtual environment under `target/`, made at first use.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tokio::sync::OnceCell;

const REDIS_PY: &str = "redis>=7,<9";

/// The interpreter that has redis-py.
pub(crate) async fn interpreter() -> PathBuf {
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
