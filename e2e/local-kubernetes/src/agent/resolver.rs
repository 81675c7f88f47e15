//! How the names of the cluster reach the processes of pods: a name server, and files that each process sees in place of the
//! machine's. Where this process may not do that, pods resolve names as the machine does.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;

use super::dns::{NameServer, PORT};
use super::namespace::{Bind, may_bind_to};
use super::network::Network;
use super::resolv_conf::resolv_conf;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const NSSWITCH_CONF: &str = "/etc/nsswitch.conf";
/// What images have. The machine's may ask a daemon of its own, which knows nothing of the pod's `resolv.conf`.
const FILES_THEN_DNS: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

/// The network's name server, if it may listen and processes may be led to it; if not, the log says why.
pub(super) fn name_server(network: &Network) -> Option<NameServer> {
    let address = SocketAddrV4::new(network.name_server(), PORT);
    let started = may_bind_to(Path::new(RESOLV_CONF)).and_then(|()| NameServer::listen(address));
    match started {
        Ok(server) => Some(server),
        Err(error) => {
            tracing::warn!(%error, "names of Services and pods do not resolve in pods: that takes mount namespaces and port 53, as root has them");
            None
        }
    }
}

/// Writes what the pod's processes see in place of the machine's files into the pod's directory.
///
/// # Errors
/// The directory cannot be written, or the machine's file not be read.
pub(super) async fn write(pod: &Pod, server: Ipv4Addr, directory: &Path) -> io::Result<Vec<Bind>> {
    let machine = tokio::fs::read_to_string(RESOLV_CONF).await?;
    let Some(text) = resolv_conf(pod, server, &machine) else {
        return Ok(Vec::new());
    };
    let mut binds = Vec::new();
    for (target, text) in [
        (RESOLV_CONF, text.as_str()),
        (NSSWITCH_CONF, FILES_THEN_DNS),
    ] {
        let target = Path::new(target);
        if let Some(name) = target.file_name().filter(|_| target.exists()) {
            let source = directory.join(name);
            tokio::fs::write(&source, text).await?;
            let target = target.into();
            binds.push(Bind { source, target });
        }
    }
    Ok(binds)
}
