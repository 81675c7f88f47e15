//! How a pod's process reaches the API server: a token of its service account and a kubeconfig that names it.

use std::path::Path;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::ResourceExt;
use kube::api::{Api, PostParams};

/// Where processes find the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiServer {
    /// Its address, such as `https://127.0.0.1:6443`.
    pub url: String,
    /// The certificate (PEM) of the authority that signed its certificate.
    pub ca: String,
}

impl ApiServer {
    /// Host and port of the address.
    #[must_use]
    pub fn host_and_port(&self) -> Option<(String, String)> {
        let uri: http::Uri = self.url.parse().ok()?;
        Some((
            uri.host()?.to_string(),
            uri.port_u16().unwrap_or(443).to_string(),
        ))
    }
}

/// Whether the pod's containers are to know the API server.
#[must_use]
pub fn wanted(pod: &Pod) -> bool {
    pod.spec
        .as_ref()
        .is_some_and(|spec| spec.automount_service_account_token != Some(false))
}

/// A token of the pod's service account.
///
/// # Errors
/// The account does not exist, or the server gives no tokens.
pub async fn token(client: &kube::Client, pod: &Pod) -> Result<String, kube::Error> {
    let account = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.service_account_name.clone())
        .unwrap_or_else(|| "default".into());
    let accounts =
        Api::<ServiceAccount>::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            expiration_seconds: Some(3607),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(&account, &PostParams::default(), &request)
        .await?;
    Ok(answer
        .status
        .and_then(|status| status.token)
        .unwrap_or_default())
}

/// A kubeconfig for that server and the token in that file.
#[must_use]
pub fn kubeconfig(server: &ApiServer, token_file: &Path, namespace: &str) -> String {
    use base64::Engine as _;
    let ca = base64::engine::general_purpose::STANDARD.encode(&server.ca);
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "pod",
        "clusters": [{"name": "local", "cluster": {"server": server.url, "certificate-authority-data": ca}}],
        "contexts": [{"name": "pod", "context": {"cluster": "local", "user": "service-account", "namespace": namespace}}],
        "users": [{"name": "service-account", "user": {"tokenFile": token_file}}],
    });
    // JSON is YAML.
    config.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_names_server_token_and_namespace() {
        let server = ApiServer {
            url: "https://127.0.0.1:6443".into(),
            ca: "PEM".into(),
        };
        let config =
            kube::config::Kubeconfig::from_yaml(&kubeconfig(&server, Path::new("/pod/token"), "t"))
                .expect("a kubeconfig");
        assert_eq!(
            config.clusters[0]
                .cluster
                .as_ref()
                .and_then(|cluster| cluster.server.as_deref()),
            Some("https://127.0.0.1:6443")
        );
        assert_eq!(
            config.auth_infos[0]
                .auth_info
                .as_ref()
                .and_then(|user| user.token_file.as_deref()),
            Some("/pod/token")
        );
        assert_eq!(
            server.host_and_port(),
            Some(("127.0.0.1".into(), "6443".into()))
        );
    }
}
