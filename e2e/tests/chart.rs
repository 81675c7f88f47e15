//! The rendered chart is what a Kubernetes API server takes.

use e2e::{chart, install};
use local_kubernetes::{Options, Server};
use serde_json::json;

#[tokio::test]
async fn the_server_takes_every_object_of_the_chart_with_default_and_with_other_values() {
    let server = Server::new(Options::default());
    let client = server.client("admin");
    install::namespace(&client, "caches").await.unwrap();
    let one_namespace = include_str!("../../charts/evenkeel/ci/one-namespace-values.yaml");
    let one_namespace = serde_yaml::from_str(one_namespace).unwrap();
    for (namespace, values) in [("evenkeel-system", json!({})), ("keeper", one_namespace)] {
        let release = chart::Release {
            name: "evenkeel".into(),
            namespace: namespace.into(),
        };
        install::operator(&client, &release, &values).await.unwrap();
        // Applying the same again changes nothing: nothing in the chart fights with the server's defaults.
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
