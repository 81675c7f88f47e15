//! Real cache-node processes on loopback ports that were free.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use std::collections::BTreeMap;

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use crate::ports::free_port;
use crate::replication::info;

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A process; it is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    args: Vec<String>,
    port: u16,
    password: Option<String>,
    _dir: tempfile::TempDir,
}

impl Process {
    /// Starts a process with these arguments beside port and directory, and waits until it serves data.
    pub(crate) async fn start(args: &[&str]) -> Self {
        let port = free_port();
        let password = args
            .iter()
            .position(|arg| *arg == "--requirepass")
            .map(|at| args[at + 1].to_owned());
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut all = vec![
            "--port".to_owned(),
            port.to_string(),
            "--bind".to_owned(),
            "127.0.0.1".to_owned(),
            "--dir".to_owned(),
            dir.path().display().to_string(),
            "--threads".to_owned(),
            "1".to_owned(),
        ];
        all.extend(args.iter().map(ToString::to_string));
        let process = Self {
            child: spawn(&all),
            args: all,
            port,
            password,
            _dir: dir,
        };
        let mut connection = process.connect().await;
        eventually("it has looked for data to load", async || {
            info(&mut connection).await["loading"] == "0"
        })
        .await;
        process
    }

    /// Kills the process and starts it again with the same arguments.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.args);
        self.connect().await;
    }

    /// Kills the process.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, signal).expect("the process is there");
    }

    /// Waits for the end of the process; answers whether it ended well.
    pub(crate) async fn ended(&mut self) -> bool {
        let mut status = None;
        eventually("the process ends", async || {
            status = self.child.try_wait().expect("our own child");
            status.is_some()
        })
        .await;
        status.is_some_and(|status| status.success())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        let user = self
            .password
            .as_ref()
            .map_or_else(String::new, |password| format!(":{password}@"));
        format!("redis://{user}127.0.0.1:{}/", self.port)
    }

    /// A connection, as soon as the process answers.
    pub(crate) async fn connect(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("a valid address");
        let start = Instant::now();
        loop {
            let config = redis::AsyncConnectionConfig::new()
                .set_connection_timeout(Some(PATIENCE))
                .set_response_timeout(Some(PATIENCE));
            match client
                .get_multiplexed_async_connection_with_config(&config)
                .await
            {
                Ok(connection) => return connection,
                Err(error) => assert!(start.elapsed() < PATIENCE, "no connection: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(args: &[String]) -> Child {
    let quiet = std::env::var_os("EVENKEEL_TEST_LOG").is_none();
    let output = || {
        if quiet {
            Stdio::null()
        } else {
            Stdio::inherit()
        }
    };
    Command::new(env!("CARGO_BIN_EXE_cache-node"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(output())
        .stderr(output())
        .spawn()
        .expect("the binary was built for this test")
}

/// Waits until `condition` holds; panics with `what` when it takes too long.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < PATIENCE, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Every key with its value, seen through `SCAN`.
pub(crate) async fn dump(connection: &mut MultiplexedConnection) -> BTreeMap<String, String> {
    let mut cursor = 0u64;
    let mut all = BTreeMap::new();
    loop {
        let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
            .arg(cursor)
            .arg("COUNT")
            .arg(1000)
            .query_async(connection)
            .await
            .expect("SCAN");
        for key in keys {
            if let Some(value) = connection
                .get::<_, Option<String>>(&key)
                .await
                .expect("a key that SCAN shows is served")
            {
                all.insert(key, value);
            }
        }
        if next == 0 {
            return all;
        }
        cursor = next;
    }
}
