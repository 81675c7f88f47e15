//! The server through an in-process `kube::Client`, on tokio's paused clock.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use local_kubernetes::{Options, Server};
use serde_json::json;

fn config_map(name: &str, value: &str) -> ConfigMap {
    let data = BTreeMap::from([("a".to_owned(), value.to_owned())]);
    let mut map = ConfigMap {
        data: Some(data),
        ..ConfigMap::default()
    };
    map.metadata.name = Some(name.to_owned());
    map
}

#[tokio::test(start_paused = true)]
async fn an_object_lives_from_creation_to_deletion() {
    let server = Server::new(Options::default());
    let maps: Api<ConfigMap> = Api::namespaced(server.client("admin"), "default");
    let created = maps
        .create(&PostParams::default(), &config_map("one", "1"))
        .await
        .unwrap();
    assert!(created.uid().is_some());

    let merge = Patch::Merge(json!({"data": {"b": "2"}}));
    let patched = maps
        .patch("one", &PatchParams::default(), &merge)
        .await
        .unwrap();
    assert_eq!(patched.data.as_ref().unwrap().len(), 2);

    let mut stale = created.clone();
    stale.data = None;
    let error = maps
        .replace("one", &PostParams::default(), &stale)
        .await
        .unwrap_err();
    assert!(matches!(error, kube::Error::Api(status) if status.is_conflict()));

    assert_eq!(
        maps.list(&ListParams::default()).await.unwrap().items.len(),
        1
    );
    maps.delete("one", &DeleteParams::default()).await.unwrap();
    assert!(maps.get_opt("one").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_watch_follows_from_a_revision_and_ends_after_its_timeout() {
    let server = Server::new(Options::default());
    let maps: Api<ConfigMap> = Api::namespaced(server.client("admin"), "default");
    let start = maps
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let params = WatchParams::default().timeout(120);
    let mut events = maps.watch(&params, &start).await.unwrap().boxed();
    maps.create(&PostParams::default(), &config_map("one", "1"))
        .await
        .unwrap();
    maps.delete("one", &DeleteParams::default()).await.unwrap();
    assert!(matches!(
        events.try_next().await.unwrap(),
        Some(WatchEvent::Added(_))
    ));
    assert!(matches!(
        events.try_next().await.unwrap(),
        Some(WatchEvent::Deleted(_))
    ));
    let began = tokio::time::Instant::now();
    assert!(matches!(
        events.try_next().await.unwrap(),
        Some(WatchEvent::Bookmark(_))
    ));
    while events.try_next().await.unwrap().is_some() {}
    assert_eq!(began.elapsed(), Duration::from_secs(120));
}

#[tokio::test(start_paused = true)]
async fn a_user_without_rules_is_refused_and_the_refusal_is_recorded() {
    let server = Server::new(Options::default());
    let namespaces: Api<Namespace> =
        Api::all(server.client("system:serviceaccount:default:nobody"));
    let error = namespaces.list(&ListParams::default()).await.unwrap_err();
    let expected = "namespaces is forbidden: User \"system:serviceaccount:default:nobody\" cannot list resource \
                    \"namespaces\" in API group \"\" at the cluster scope";
    assert!(matches!(error, kube::Error::Api(status) if status.message == expected));
    assert_eq!(server.audit().denials().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn reads_are_no_writes() {
    let server = Server::new(Options::default());
    let maps: Api<ConfigMap> = Api::namespaced(server.client("admin"), "default");
    maps.create(&PostParams::default(), &config_map("one", "1"))
        .await
        .unwrap();
    server.audit().clear();
    maps.list(&ListParams::default()).await.unwrap();
    let same = Patch::Merge(json!({"data": {"a": "1"}}));
    maps.patch("one", &PatchParams::default(), &same)
        .await
        .unwrap();
    assert!(server.audit().writes().is_empty());
    assert_eq!(server.audit().requests().len(), 2);
}
