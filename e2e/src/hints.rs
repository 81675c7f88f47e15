//! What to type next, printed when a playground is up.

use std::fmt::Write;

use anyhow::{Context, Result};
use kube::ResourceExt;

use crate::caches::Cache;
use crate::nodes;
use crate::platform::Platform;

/// How to reach the Kubernetes.
#[must_use]
pub fn kubernetes(platform: &Platform) -> String {
    format!(
        "The Kubernetes is up. In another shell:\n\n  export KUBECONFIG={}\n  kubectl get nodes\n\nCtrl-C ends it.",
        platform.kubeconfig().display()
    )
}

/// How to look at, scale, harm and use a cache cluster.
///
/// # Errors
/// If its pods or nodes do not answer.
pub async fn cache(platform: &Platform, cache: &Cache) -> Result<String> {
    let addresses = cache.addresses().await?;
    let owners = nodes::owners(&addresses).await?;
    let primary = owners.keys().next().context("no primary")?;
    let process = nodes::process(primary).await?;
    let (host, port) = primary.rsplit_once(':').context("address")?;
    let pods = cache.pods().await?;
    let on = |address: &str| {
        pods.iter()
            .find(|pod| crate::caches::address(pod).as_deref() == Some(address))
    };
    let pod = on(primary).map(ResourceExt::name_any).unwrap_or_default();
    let name = cache.name();
    let mut text = String::from("It is up. In another shell:\n\n");
    let mut line = |command: &str, what: &str| {
        let _ = if what.is_empty() {
            writeln!(text, "  {command}")
        } else {
            writeln!(text, "  {command:<58}# {what}")
        };
    };
    line(
        &format!("export KUBECONFIG={}", platform.kubeconfig().display()),
        "",
    );
    line("kubectl get cc,pods -o wide", "");
    line(
        &format!("kubectl scale cc {name} --replicas=5"),
        "and back; any number",
    );
    line(&format!("kubectl get cc {name} --watch"), "");
    line(
        &format!("kubectl delete pod {pod}"),
        "a primary: a replica takes over",
    );
    line(&format!("kill -9 {process}"), "the same without warning");
    line(
        &format!("redis-cli -c -h {host} -p {port} set greeting hello"),
        "",
    );
    line("pip install redis && python3 - <<'EOF'", "");
    text += &format!(
        "from redis.cluster import RedisCluster\ncache = RedisCluster(host=\"{host}\", port={port}, decode_responses=True)\n\
         cache.set(\"greeting\", \"hello\")\nprint(cache.get(\"greeting\"))\nEOF\n\nCtrl-C ends it and leaves nothing behind."
    );
    Ok(text)
}
