//! Starts the binary on a free port, and ends it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use redis::{Client, Connection};

pub(crate) use crate::ports::free_port;

const PATIENCE: Duration = Duration::from_secs(30);

/// A running cache-node.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    dir: tempfile::TempDir,
}

/// Calls `check` until it answers something.
pub(crate) fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::yield_now();
    }
}

/// Tells other threads of a test to end when it goes, which a failed test does as well: a scope waits for its threads.
pub(crate) struct Ending<'e>(pub(crate) &'e AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

impl Server {
    pub(crate) fn start(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let child = Self::command(dir.path(), port, args).spawn().unwrap();
        let server = Self { child, port, dir };
        server.await_start();
        server
    }

    fn command(dir: &Path, port: u16, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cache-node"));
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--threads", "2", "--dir"])
            .arg(dir)
            .args(args)
            .stdout(Stdio::null());
        command
    }

    /// The same, so that [`Server::limit_files`] makes its writes fail and does not end it.
    pub(crate) fn start_limitable(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let child = Self::limitable(dir.path(), port, args).spawn().unwrap();
        let server = Self { child, port, dir };
        server.await_start();
        server
    }

    /// A shell has the process ignore the signal that says a file is too long; the call fails then.
    fn limitable(dir: &Path, port: u16, args: &[&str]) -> Command {
        let inner = Self::command(dir, port, args);
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(inner.get_program())
            .args(inner.get_args())
            .stdout(Stdio::null());
        command
    }

    /// [`Server::restart`], for [`Server::limit_files`].
    pub(crate) fn restart_limitable(&mut self, args: &[&str]) {
        self.kill();
        self.port = free_port();
        let mut command = Self::limitable(self.dir.path(), self.port, args);
        self.child = command.spawn().unwrap();
        self.await_start();
    }

    /// No file can be longer than this from now on, as on a disk that is full.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let status = Command::new("prlimit")
            .args(["--pid", &self.child.id().to_string()])
            .arg(format!("--fsize={limit}:unlimited"))
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// It answers, and has loaded what there was to load.
    fn await_start(&self) {
        eventually("the start", || {
            let mut connection = self.client("").get_connection().ok()?;
            match try_ask::<redis::InfoDict>(&mut connection, "INFO persistence") {
                Ok(info) => (info.get::<u8>("loading") == Some(0)).then_some(()),
                Err(why) => (why.code() == Some("NOAUTH")).then_some(()),
            }
        });
    }

    /// Starts it again, on another port and in the same folder.
    pub(crate) fn restart(&mut self, args: &[&str]) {
        self.kill();
        self.port = free_port();
        self.child = Self::command(self.dir.path(), self.port, args)
            .spawn()
            .unwrap();
        self.await_start();
    }

    /// Starts it again, which fails: with which code, and what it says.
    pub(crate) fn fails(&mut self, args: &[&str]) -> (Option<i32>, String) {
        self.kill();
        let mut child = Self::command(self.dir.path(), free_port(), args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let status = eventually("the end", || child.try_wait().unwrap());
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    /// Ends it without warning.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn connect(&self) -> Connection {
        self.connect_with("?protocol=resp2")
    }

    pub(crate) fn connect_resp3(&self) -> Connection {
        self.connect_with("?protocol=resp3")
    }

    fn connect_with(&self, options: &str) -> Connection {
        let connection = self
            .client(options)
            .get_connection_with_timeout(PATIENCE)
            .unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection
    }

    fn client(&self, options: &str) -> Client {
        Client::open(format!("redis://127.0.0.1:{}/{options}", self.port)).unwrap()
    }

    /// A bare connection.
    pub(crate) fn socket(&self) -> Socket {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Socket(stream)
    }

    /// Bytes of the process in memory.
    pub(crate) fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.unwrap().split_ascii_whitespace().nth(1).unwrap();
        kib.parse::<usize>().unwrap() << 10
    }

    pub(crate) fn terminate(&self) {
        let status = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the end", || self.child.try_wait().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A bare connection.
pub(crate) struct Socket(TcpStream);

impl Socket {
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends what the other side takes; it may have closed.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// Reads exactly `expected`.
    pub(crate) fn expect(&mut self, expected: &str) {
        let mut bytes = vec![0; expected.len()];
        self.0.read_exact(&mut bytes).unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
    }

    /// The first byte that comes, if any does before the other side closes.
    pub(crate) fn begins(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.0.read_exact(&mut byte).ok().map(|()| byte[0])
    }

    /// Reads a line, without its end.
    pub(crate) fn line(&mut self) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            bytes.push(byte[0]);
        }
        bytes.truncate(bytes.len() - 2);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads until `end` has come.
    pub(crate) fn read_until(&mut self, end: &str) {
        let mut seen = Vec::new();
        while !seen.ends_with(end.as_bytes()) {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            seen.extend(byte);
        }
    }

    pub(crate) fn ask(&mut self, line: &str, expected: &str) {
        self.send(format!("{line}\r\n"));
        self.expect(expected);
    }

    /// Reads what is left until the other side closes.
    pub(crate) fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        // A reset is an end, too.
        let _ = self.0.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A command and its reply.
pub(crate) fn ask<T: redis::FromRedisValue>(connection: &mut Connection, line: &str) -> T {
    try_ask(connection, line).unwrap()
}

pub(crate) fn try_ask<T: redis::FromRedisValue>(
    connection: &mut Connection,
    line: &str,
) -> redis::RedisResult<T> {
    let mut words = line.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    for word in words {
        command.arg(word);
    }
    command.query(connection)
}

/// The text of the error that a command answers, with its code.
pub(crate) fn error(connection: &mut Connection, line: &str) -> String {
    match try_ask::<redis::Value>(connection, line) {
        Ok(value) => panic!("{line} answered {value:?}"),
        Err(error) => {
            let code = error.code().unwrap_or_default().to_owned();
            format!("{code} {}", error.detail().unwrap_or_default())
        }
    }
}
