//! A server with controllers on a TCP port, and kubectl pointed at it.

use std::{process::Stdio, time::Duration};

use local_kubernetes::{Options, Server, controllers, tls::Serving};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::kubelet;

/// How long one kubectl command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running cluster.
pub(crate) struct Cluster {
    home: TempDir,
    _serving: Serving,
    _stop: DropGuard,
}

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Cluster {
    /// Starts a server, its controllers and the stand-in kubelet.
    pub(crate) async fn start() -> Self {
        let server = Server::new(Options::default());
        let stop = CancellationToken::new();
        let serving = server
            .serve_tls(([127, 0, 0, 1], 0).into())
            .await
            .expect("a loopback port is free");
        let options = controllers::Options {
            node_grace: Duration::from_secs(1_000_000),
            root_ca: serving.ca().to_owned(),
            ..controllers::Options::default()
        };
        tokio::spawn(controllers::run(
            server.client("system:kube-controller-manager"),
            options,
            stop.clone(),
        ));
        tokio::spawn(kubelet::run(server.client("system:kubelet"), stop.clone()));
        let home = TempDir::new().expect("a directory can be made");
        std::fs::write(home.path().join("kubeconfig"), serving.kubeconfig("admin"))
            .expect("a file can be written");
        let cluster = Self {
            home,
            _serving: serving,
            _stop: stop.drop_guard(),
        };
        cluster
            .succeeds(&[
                "wait",
                "--for=create",
                "serviceaccount/default",
                "--timeout=30s",
            ])
            .await;
        cluster
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(arguments)
            .kill_on_drop(true)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.home.path().join("kubeconfig"));
        command
    }

    async fn run(&self, command: Command, input: &str) -> Outcome {
        let (mut command, input) = (command, input.to_owned());
        let shown = format!("{command:?}");
        let work = async move {
            let mut child = command
                .spawn()
                .expect("these tests need kubectl in the PATH");
            let mut stdin = child.stdin.take().expect("stdin is piped");
            // A command that does not read its input closes it; that is no failure.
            let _ = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
            child
                .wait_with_output()
                .await
                .expect("kubectl can be waited for")
        };
        let output = tokio::time::timeout(PATIENCE, work)
            .await
            .unwrap_or_else(|_| panic!("{shown} has not ended in time"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    async fn expect(&self, arguments: &[&str], input: &str, code: i32) -> Outcome {
        let outcome = self.run(self.command(arguments), input).await;
        let Outcome {
            code: actual,
            stdout,
            stderr,
        } = &outcome;
        assert_eq!(
            *actual, code,
            "kubectl {arguments:?}\nstdout: {stdout}\nstderr: {stderr}"
        );
        outcome
    }

    /// Runs a command that succeeds; answers what it prints.
    pub(crate) async fn succeeds(&self, arguments: &[&str]) -> String {
        self.expect(arguments, "", 0).await.stdout
    }

    /// Runs a command that fails; answers all that it prints.
    pub(crate) async fn fails(&self, arguments: &[&str]) -> String {
        let outcome = self.expect(arguments, "", 1).await;
        outcome.stdout + &outcome.stderr
    }

    /// Runs a command that succeeds with a manifest as its input.
    pub(crate) async fn applies(&self, arguments: &[&str], manifest: &str) -> String {
        self.expect(arguments, manifest, 0).await.stdout
    }

    /// Runs a command that fails with a manifest as its input; answers why.
    pub(crate) async fn refuses(&self, arguments: &[&str], manifest: &str) -> String {
        self.expect(arguments, manifest, 1).await.stderr
    }

    /// Runs `kubectl diff`, which says with its code that there are differences.
    pub(crate) async fn differs(&self, arguments: &[&str], manifest: &str) -> String {
        self.expect(arguments, manifest, 1).await.stdout
    }

    /// Runs a command that opens an editor; a sed expression is the editor.
    pub(crate) async fn edits(&self, expression: &str, arguments: &[&str]) {
        let script = self.home.path().join("edit");
        std::fs::write(&script, format!("{expression}\n")).expect("a file can be written");
        let mut command = self.command(arguments);
        command.env("EDITOR", format!("sed -i -f {}", script.display()));
        let outcome = self.run(command, "").await;
        assert_eq!(outcome.code, 0, "{}{}", outcome.stdout, outcome.stderr);
    }

    /// Runs a watch, then a command; answers what the watch printed up to a line with `word`.
    pub(crate) async fn watches(&self, watch: &[&str], then: &[&str], word: &str) -> String {
        let mut child = self
            .command(watch)
            .spawn()
            .expect("these tests need kubectl in the PATH");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let mut seen = String::new();
        let first = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .expect("the watch begins in time");
        seen.push_str(&first.expect("the output is text").unwrap_or_default());
        self.succeeds(then).await;
        while !seen.contains(word) {
            let line = tokio::time::timeout(PATIENCE, lines.next_line())
                .await
                .expect("the watch shows it in time");
            seen.push_str(
                &line
                    .expect("the output is text")
                    .expect("the watch goes on"),
            );
        }
        child.kill().await.expect("the watch can be ended");
        seen
    }
}
