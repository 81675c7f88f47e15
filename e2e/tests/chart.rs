//! The rendered chart is what a Kubernetes API server takes, and its operator gets along with the rights that it gives.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use e2e::local::LocalOptions;
use e2e::platform::Platform;
use e2e::{chart, install};
use local_kubernetes::{Options, Server};
use serde_json::json;

const ONE_NAMESPACE: &str = include_str!("../../charts/evenkeel/ci/one-namespace-values.yaml");
const BOUND: Duration = Duration::from_secs(120);

#[tokio::test]
async fn the_server_takes_every_object_of_the_chart_with_default_and_with_other_values() {
    let server = Server::new(Options::default());
    let client = server.client("admin");
    install::namespace(&client, "caches").await.unwrap();
    let one_namespace = serde_yaml::from_str(ONE_NAMESPACE).unwrap();
    for (namespace, values) in [("evenkeel-system", json!({})), ("keeper", one_namespace)] {
        let release = chart::Release {
            name: "evenkeel".into(),
            namespace: namespace.into(),
        };
        install::operator(&client, &release, &values).await.unwrap();
        next_second().await;
        // Applying the same again changes nothing, not even a time: nothing in the chart fights with the server's defaults.
        for object in chart::render(&release, &values).unwrap() {
            let revision = server.revision();
            install::apply(&client, &object).await.unwrap();
            assert_eq!(
                server.revision(),
                revision,
                "{} changes when it is applied again",
                object["kind"]
            );
        }
    }
}

/// Waits until times, which Kubernetes writes in seconds, would be other ones.
async fn next_second() {
    let second = || {
        let now = std::time::SystemTime::now();
        now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    };
    let begun = second();
    while second() == begun {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_of_one_namespace_makes_a_cluster_ready_with_its_role_alone() {
    let platform = Platform::new_local(LocalOptions::of(env!("CARGO_BIN_EXE_playground").into()))
        .await
        .unwrap();
    let client = platform.client();
    install::crd(client).await.unwrap();
    install::namespace(client, "caches").await.unwrap();
    let mut values: serde_json::Value = serde_yaml::from_str(ONE_NAMESPACE).unwrap();
    // There is no registry: the images that the local nodes know stand for this build, and this is all that differs.
    values["image"]["repository"] = json!("ghcr.io/evenkeel/cache-operator");
    let release = chart::Release {
        name: "cache-keeper".into(),
        namespace: "keeper".into(),
    };
    install::operator(client, &release, &values).await.unwrap();
    install::operator_ready(client, &release, BOUND)
        .await
        .unwrap();
    let manifest = "apiVersion: cache.evenkeel.dev/v1alpha1\nkind: CacheCluster\nmetadata: {}\nspec: {shards: 1, replicasPerShard: 1}\n";
    let cache = platform.cache("caches", "small");
    cache.apply(manifest).await.unwrap();
    cache
        .wait_ready(BOUND, |line| println!("{line}"))
        .await
        .unwrap();
    let elsewhere = platform.cache("default", "unseen");
    elsewhere.apply(manifest).await.unwrap();
    cache.delete(BOUND).await.unwrap();
    assert!(
        elsewhere
            .api()
            .get("unseen")
            .await
            .unwrap()
            .status
            .is_none()
    );
    assert_eq!(platform.denials(), Vec::<String>::new());
    platform.stop().await;
}
