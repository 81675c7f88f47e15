//! A real redis-server next to ours: the one on the path, or the same program under the name by which Debian's redis-tools have it.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use redis::{Client, Connection};

use crate::process::{eventually, free_port};

/// The program, to be run as this one: redis-check-rdb and redis-server are one, which looks at its name.
fn program(name: &str) -> Command {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&folders).collect();
    let find = |name: &str| {
        folders
            .iter()
            .map(|folder| folder.join(name))
            .find(|path| path.exists())
    };
    let found = find(name)
        .or_else(|| find("redis-check-rdb"))
        .expect("redis-check-rdb or redis-server is needed: install it (Debian: redis-tools)");
    let mut command = Command::new(found);
    command.arg0(name);
    command
}

/// `redis-check-rdb` finds nothing wrong.
pub(crate) fn check_rdb(path: &Path) {
    let output = program("redis-check-rdb").arg(path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("RDB looks OK"), "{text}");
}

/// `redis-check-aof` finds nothing wrong with what a manifest names, or with a file.
pub(crate) fn check_aof(path: &Path) {
    let output = program("redis-check-aof").arg(path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("is valid"), "{text}");
}

/// A running redis-server.
pub(crate) struct RedisServer {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl RedisServer {
    /// With this snapshot.
    pub(crate) fn start(snapshot: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(snapshot, dir.path().join("dump.rdb")).unwrap();
        Self::start_in(dir, &[])
    }

    /// In a folder with what it is to load.
    pub(crate) fn start_in(dir: tempfile::TempDir, args: &[&str]) -> Self {
        let port = free_port();
        let child = program("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--dir"])
            .arg(dir.path())
            .args(args)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, port, dir };
        eventually("the start of redis-server", || {
            let mut connection = server.client().get_connection().ok()?;
            redis::cmd("PING").query::<String>(&mut connection).ok()
        });
        server
    }

    fn client(&self) -> Client {
        Client::open(format!("redis://127.0.0.1:{}/", self.port)).unwrap()
    }

    pub(crate) fn connect(&self) -> Connection {
        self.client().get_connection().unwrap()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its file.
    pub(crate) fn snapshot(&self) -> PathBuf {
        self.dir.path().join("dump.rdb")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
