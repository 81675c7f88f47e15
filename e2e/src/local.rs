//! A local Kubernetes in this process: API server on TLS, controllers, virtual nodes whose pods are processes, and the
//! kubeconfig file that leads there.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use kube::Client;
use local_kubernetes::agent::NodeSpec;
use local_kubernetes::agent::backoff::BackoffPolicy;
use local_kubernetes::agent::images::ImageTable;
use local_kubernetes::agent::network::Network;
use local_kubernetes::cluster::{self, ClusterOptions, LocalCluster};
use local_kubernetes::faults::Fault;
use local_kubernetes::tls::Serving;
use local_kubernetes::{Server, User};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::programs::{self, Programs};

/// What marks a kubeconfig as one that may be replaced.
const MARK: &str = "# Written by playground, which removes it when it ends.\n";
/// Verbs that ask for a change.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// The other ones.
const READS: [&str; 3] = ["get", "list", "watch"];

/// How a local Kubernetes is set up.
pub struct LocalOptions {
    /// The playground's executable.
    pub executable: PathBuf,
    /// Where the kubeconfig is written; if not given, among the instance's own files.
    pub kubeconfig: Option<PathBuf>,
    /// Port of the API server on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Virtual nodes.
    pub nodes: usize,
    /// How long containers that ended wait for their next start.
    pub backoff: BackoffPolicy,
}

impl LocalOptions {
    /// The usual ones, with this process's own program.
    ///
    /// # Errors
    /// If the system does not tell its path.
    pub fn of_this_program() -> Result<Self> {
        Ok(Self::of(std::env::current_exe().context("own path")?))
    }

    /// The usual ones.
    #[must_use]
    pub fn of(executable: PathBuf) -> Self {
        Self {
            executable,
            kubeconfig: None,
            port: 0,
            nodes: 4,
            backoff: BackoffPolicy::default(),
        }
    }
}

/// A local Kubernetes that runs.
pub struct Local {
    cluster: LocalCluster,
    serving: Serving,
    programs: Programs,
    kubeconfig: PathBuf,
}

impl Local {
    /// Starts API server, controllers and nodes, and writes the kubeconfig.
    ///
    /// # Errors
    /// If a file, an address or a process cannot be had.
    pub async fn start(options: LocalOptions) -> Result<Self> {
        if let Some(file) = &options.kubeconfig {
            refuse_foreign(file)?;
        }
        let programs = Programs::new(&options.executable, options.kubeconfig.as_deref())?;
        let kubeconfig = options
            .kubeconfig
            .unwrap_or_else(|| programs.directory().join("kubeconfig"));
        // Server and agent share one network, so that cluster addresses are forwarded to pods.
        let network = Network::claim().context("a loopback network")?;
        let server = Server::new(local_kubernetes::Options {
            services: network.services(),
            ..Default::default()
        });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
        let serving = server.serve_tls(address).await.context("API server")?;
        let mut setup = ClusterOptions::new(programs.directory().join("nodes"), images(&programs));
        setup.nodes = NodeSpec::numbered(options.nodes);
        setup.network = Some(network);
        setup.backoff = options.backoff;
        setup.api_server = Some(serving.api_server());
        setup.controllers.root_ca = serving.ca().to_owned();
        let cluster = cluster::start_with(server, setup).context("nodes")?;
        write_private(
            &kubeconfig,
            &format!("{MARK}{}", serving.kubeconfig(User::admin())),
        )?;
        Ok(Self {
            cluster,
            serving,
            programs,
            kubeconfig,
        })
    }

    /// A client in this process with every right.
    #[must_use]
    pub fn client(&self) -> Client {
        self.cluster.client()
    }

    /// Whether names of Services and pods resolve in pods: this process may lead them to a name server of the cluster's own.
    #[must_use]
    pub fn names_resolve(&self) -> bool {
        self.cluster.agent().name_server().is_some()
    }

    /// Where the kubeconfig is.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Where the API server listens.
    #[must_use]
    pub fn api_server(&self) -> SocketAddr {
        self.serving.address()
    }

    /// Lets the API server refuse everything from now on, as what is before a stopped one does, or answer again.
    pub fn stop_api_server(&self, stopped: bool) {
        let faults = self.cluster.server().faults();
        if !stopped {
            faults.clear();
            return;
        }
        faults.add(Fault {
            verbs: READS
                .iter()
                .chain(&WRITES)
                .map(|verb| (*verb).to_owned())
                .collect(),
            resource: String::new(),
            code: 503,
            count: u32::MAX,
        });
        faults.cut_watches();
    }

    /// Sends a signal to every operator, and tells how many there were.
    ///
    /// # Errors
    /// If one cannot be sent it.
    pub fn signal_operators(&self, signal: Signal) -> Result<usize> {
        let processes = self.programs.processes(programs::OPERATOR);
        for process in &processes {
            kill(Pid::from_raw(*process), signal).with_context(|| format!("signal {process}"))?;
        }
        Ok(processes.len())
    }

    /// Requests that were denied, as `user: message`.
    #[must_use]
    pub fn denials(&self) -> Vec<String> {
        let denials = self.cluster.server().audit().denials();
        denials
            .iter()
            .map(|denial| format!("{}: {}", denial.user, denial.message))
            .collect()
    }

    /// Requests of service accounts since `since` that ask for a change in a namespace.
    #[must_use]
    pub fn write_requests(&self, namespace: &str, since: jiff::Timestamp) -> Vec<String> {
        let within = format!("/namespaces/{namespace}/");
        let requests = self.cluster.server().audit().requests();
        let asked = requests.iter().filter(|request| {
            request.at > since
                && request.user.starts_with("system:serviceaccount:")
                && WRITES.contains(&request.verb.as_str())
                && request.path.contains(&within)
        });
        asked
            .map(|request| format!("{} {} {}", request.user, request.verb, request.path))
            .collect()
    }

    /// Ends everything; no process and no file is left.
    pub async fn stop(self) {
        self.cluster.shutdown().await;
        drop(self.serving);
        let _ = fs::remove_file(&self.kubeconfig);
    }
}

/// The images of the operator and of the nodes stand for this build's programs.
fn images(programs: &Programs) -> ImageTable {
    let directory = programs.directory().join("bin");
    ImageTable::default()
        .with(
            "ghcr.io/evenkeel/cache-node",
            &directory,
            Some(programs::NODE),
        )
        .with(
            "ghcr.io/evenkeel/cache-operator",
            &directory,
            Some(programs::OPERATOR),
        )
}

/// Refuses to replace a file that is not a playground's kubeconfig.
fn refuse_foreign(file: &Path) -> Result<()> {
    match fs::read_to_string(file) {
        Ok(text) if !text.is_empty() && !text.starts_with(MARK) => {
            bail!(
                "{} has something else in it: remove it, or name another file",
                file.display()
            )
        }
        _ => Ok(()),
    }
}

/// Writes a file that only its owner may read: it holds a token.
fn write_private(file: &Path, text: &str) -> Result<()> {
    let write = || {
        let mut out = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(file)?;
        out.write_all(text.as_bytes())
    };
    write().with_context(|| format!("write {}", file.display()))
}
