//! Unmodified kubectl does with a cache cluster what it does on any Kubernetes.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::bench::{self, BOUND, Bench, say};

/// What a kubectl printed.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) succeeded: bool,
    pub(crate) out: String,
    pub(crate) error: String,
}

/// Runs kubectl in the test's namespace.
pub(crate) async fn kubectl(bench: &Bench, arguments: &[&str], input: &str) -> Answer {
    let mut child = command(bench, arguments)
        .stdin(Stdio::piped())
        .spawn()
        .expect("kubectl is needed for this test: https://kubernetes.io/docs/tasks/tools/");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let Ok(output) = tokio::time::timeout(BOUND, child.wait_with_output()).await else {
        panic!(
            "kubectl {arguments:?} does not end:\n{}",
            state(bench).await
        );
    };
    let output = output.unwrap();
    Answer {
        succeeded: output.status.success(),
        out: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

fn command(bench: &Bench, arguments: &[&str]) -> Command {
    let mut command = Command::new("kubectl");
    command
        .env("KUBECONFIG", bench.platform.kubeconfig())
        .args(["--namespace", &bench.namespace])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Pods and events, for those who have to find out what hangs.
async fn state(bench: &Bench) -> String {
    let mut text = String::new();
    for arguments in [
        ["get", "pods", "-o", "yaml"],
        ["get", "events", "-o", "wide"],
    ] {
        let answer = tokio::time::timeout(BOUND, command(bench, &arguments).output()).await;
        match answer {
            Ok(Ok(output)) => text.push_str(&String::from_utf8_lossy(&output.stdout)),
            other => text.push_str(&format!("kubectl {arguments:?}: {other:?}\n")),
        }
    }
    text
}

/// The same, for what must succeed; its standard output.
async fn ok(bench: &Bench, arguments: &[&str], input: &str) -> String {
    let answer = kubectl(bench, arguments, input).await;
    assert!(answer.succeeded, "kubectl {arguments:?}: {answer:?}");
    answer.out
}

/// Deletes a pod and waits for the one that takes its place. kubectl's own wait ends for a pod of another uid only if that is there when it
/// looks first: one that comes between that look and its watch is taken for the old one, for which it waits on and on.
async fn replace_pod(bench: &Bench, pod: &str) {
    let query = [
        "get",
        "pod",
        pod,
        "--ignore-not-found",
        "-o",
        "jsonpath={.metadata.uid}",
    ];
    let old = ok(bench, &query, "").await;
    assert!(!old.is_empty(), "there is no {pod}");
    ok(bench, &["delete", "pod", pod, "--wait=false"], "").await;
    let replaced = tokio::time::timeout(BOUND, async {
        loop {
            let uid = ok(bench, &query, "").await;
            if !uid.is_empty() && uid != old {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    let replaced = replaced.await.is_ok();
    assert!(replaced, "{pod} is not replaced:\n{}", state(bench).await);
}

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

#[test]
fn kubectl_applies_shows_explains_scales_and_deletes() {
    bench::run_heavy("kubectl", async |bench: &Bench| {
        let applied = ok(bench, &["apply", "-f", "-"], &bench::manifest(2, 1)).await;
        contains(&applied, &["cachecluster.cache.evenkeel.dev/cache created"]);
        ok(
            bench,
            &[
                "wait",
                "cc/cache",
                "--for=condition=Ready",
                "--timeout=180s",
            ],
            "",
        )
        .await;
        let again = ok(bench, &["apply", "-f", "-"], &bench::manifest(2, 1)).await;
        contains(&again, &["cachecluster.cache.evenkeel.dev/cache unchanged"]);

        let table = ok(bench, &["get", "cc"], "").await;
        contains(
            &table,
            &[
                "NAME", "SHARDS", "READY", "SLOTS", "PHASE", "16384", "Ready",
            ],
        );
        let pods = ok(
            bench,
            &[
                "get",
                "pods",
                "-l",
                "cache.evenkeel.dev/cluster=cache",
                "-o",
                "wide",
            ],
            "",
        )
        .await;
        contains(&pods, &["cache-s0-0", "cache-s1-1", "1/1", "Running"]);
        let all = ok(
            bench,
            &[
                "get",
                "statefulsets,services,poddisruptionbudgets,configmaps,secrets",
                "-o",
                "name",
            ],
            "",
        )
        .await;
        contains(
            &all,
            &[
                "statefulset.apps/cache-s1",
                "service/cache-nodes",
                "service/cache",
                "poddisruptionbudget.policy/cache-s0",
                "configmap/cache-config",
                "secret/cache-bus-",
            ],
        );
        let described = ok(bench, &["describe", "cc", "cache"], "").await;
        contains(&described, &["Shard Status:", "Conditions:", "Events:"]);
        let explained = ok(bench, &["explain", "cc.spec.shards"], "").await;
        contains(
            &explained,
            &[
                "KIND:",
                "CacheCluster",
                "shards <integer>",
                "Number of shards",
            ],
        );
        contains(
            &ok(bench, &["logs", "cache-s0-0", "--tail=5"], "").await,
            &[""],
        );

        ok(bench, &["scale", "cc", "cache", "--replicas=3"], "").await;
        bench.cache().wait_ready(BOUND, say).await.unwrap();
        let shards = ok(
            bench,
            &[
                "get",
                "cc",
                "cache",
                "-o",
                "jsonpath={.spec.shards} {.status.readyShards}",
            ],
            "",
        )
        .await;
        assert_eq!(shards, "3 3");
        let patch = r#"{"spec":{"shards":2}}"#;
        ok(
            bench,
            &["patch", "cc", "cache", "--type=merge", "-p", patch],
            "",
        )
        .await;
        bench.cache().wait_ready(BOUND, say).await.unwrap();

        replace_pod(bench, "cache-s0-0").await;
        ok(bench, &["delete", "cc", "cache", "--timeout=120s"], "").await;
        let selector = "app.kubernetes.io/managed-by=cache-operator";
        let kinds = "statefulsets,services,poddisruptionbudgets,configmaps,secrets,endpointslices,persistentvolumeclaims";
        tokio::time::timeout(BOUND, async {
            while !ok(bench, &["get", kinds, "-l", selector, "-o", "name"], "")
                .await
                .is_empty()
                || !ok(bench, &["get", "pods", "-o", "name"], "")
                    .await
                    .is_empty()
            {
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            }
        })
        .await
        .expect("deleting the CacheCluster removes everything");
    });
}
