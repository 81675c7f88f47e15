//! The server on a TCP port: TLS with a certificate authority of its own, HTTP/1.1 and HTTP/2, and kubeconfigs that lead there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::agent::credentials::ApiServer;
use crate::server::Server;
use crate::user::User;

/// How long a client may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Names that the certificate is for, besides the address.
const NAMES: [&str; 3] = ["localhost", "kubernetes.default.svc", "kubernetes"];

/// A server that cannot be served over TLS.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// No certificate could be made.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The certificate is not usable.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A server that listens. It ends when this is dropped.
pub struct Serving {
    server: Server,
    address: SocketAddr,
    ca: String,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves the API over TLS; port 0 takes a free one.
    ///
    /// # Errors
    /// The address is taken, or no certificate can be made.
    pub async fn serve_tls(&self, address: SocketAddr) -> Result<Serving, ServeError> {
        let listen = |error| ServeError::Listen(address, error);
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (ca, config) = certificates(address)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let task = tokio::spawn(accept(listener, acceptor, self.router()));
        Ok(Serving {
            server: self.clone(),
            address,
            ca,
            task,
        })
    }
}

impl Serving {
    /// Where it listens, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate (PEM) of the authority that clients must trust.
    #[must_use]
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// What the node agent tells processes about it.
    #[must_use]
    pub fn api_server(&self) -> ApiServer {
        ApiServer {
            url: self.url(),
            ca: self.ca.clone(),
        }
    }

    /// A kubeconfig (YAML) with which a client is that user.
    #[must_use]
    pub fn kubeconfig(&self, user: impl Into<User>) -> String {
        let (token, authority) = (self.server.token(user), STANDARD.encode(&self.ca));
        let url = self.url();
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: evenkeel\n\
             clusters:\n- name: evenkeel\n  cluster:\n    server: {url}\n    certificate-authority-data: {authority}\n\
             users:\n- name: evenkeel\n  user:\n    token: {token}\n\
             contexts:\n- name: evenkeel\n  context:\n    cluster: evenkeel\n    user: evenkeel\n    namespace: default\n"
        )
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A fresh authority's certificate (PEM), and the configuration of a server whose certificate it signed.
fn certificates(address: SocketAddr) -> Result<(String, rustls::ServerConfig), ServeError> {
    let mut authority = CertificateParams::new(vec![])?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    authority
        .distinguished_name
        .push(DnType::CommonName, "evenkeel local authority");
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);

    let names = NAMES.iter().map(|name| (*name).to_owned());
    let mut leaf =
        CertificateParams::new(names.chain([address.ip().to_string()]).collect::<Vec<_>>())?;
    leaf.distinguished_name
        .push(DnType::CommonName, "evenkeel local apiserver");
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &issuer)?;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((authority_certificate.pem(), config))
}

/// Takes connections until it is aborted; they end with it.
async fn accept(listener: TcpListener, acceptor: TlsAcceptor, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, acceptor.clone(), router.clone()));
                }
                // Out of file descriptors, most likely: leave the others time to end.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, router: Router) {
    // Small answers and watch events must not wait for each other.
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else {
        return;
    };
    let service = TowerToHyperService::new(router);
    // An error is a client that went away.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await;
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use k8s_openapi::api::core::v1::Namespace;
    use kube::api::{Api, ListParams};
    use kube::config::{KubeConfigOptions, Kubeconfig};

    use super::*;
    use crate::server::Options;

    async fn client(kubeconfig: &str) -> kube::Client {
        let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
        let config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .unwrap();
        kube::Client::try_from(config).unwrap()
    }

    #[tokio::test]
    async fn a_kubeconfig_leads_to_the_server_as_its_user() {
        let server = Server::new(Options::default());
        let serving = server
            .serve_tls((Ipv4Addr::LOCALHOST, 0).into())
            .await
            .unwrap();
        let admin: Api<Namespace> = Api::all(client(&serving.kubeconfig("admin")).await);
        assert!(
            admin
                .list(&ListParams::default())
                .await
                .unwrap()
                .items
                .len()
                > 1
        );
        let nobody: Api<Namespace> = Api::all(client(&serving.kubeconfig("nobody")).await);
        let error = nobody.list(&ListParams::default()).await.unwrap_err();
        assert!(
            matches!(&error, kube::Error::Api(status) if status.is_forbidden()),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn dropping_it_frees_the_port() {
        let server = Server::new(Options::default());
        let serving = server
            .serve_tls((Ipv4Addr::LOCALHOST, 0).into())
            .await
            .unwrap();
        let address = serving.address;
        drop(serving);
        let bound = async {
            while TcpListener::bind(address).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), bound)
            .await
            .unwrap();
    }
}
