//! Carries out one probe: HTTP, TCP or a command. What the answers mean is the machine's business.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::process::{Order, Spawner, exit_code, signal_group};

/// Longest part of an answer that is read.
const MAX_ANSWER: usize = 10 * 1024;

/// What a probe of a container works with.
#[derive(Clone, Debug)]
pub struct Target {
    /// The pod's address.
    pub address: Ipv4Addr,
    /// The container's process: environment and directory of commands.
    pub order: Order,
    /// The container's spec, for named ports.
    pub container: Container,
}

/// How the container's command words become a program of its image; `None` when there is no such program.
pub type Resolve<'a> =
    &'a (dyn Fn(&[String]) -> Option<(std::path::PathBuf, Vec<String>)> + Send + Sync);

/// Probes once.
///
/// # Errors
/// Why the probe failed, in words for an event.
pub async fn probe(
    target: &Target,
    spawner: &Spawner,
    resolve: Resolve<'_>,
    probe: &Probe,
) -> Result<(), String> {
    let limit =
        Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1).max(1)).unwrap_or(1));
    if let Some(action) = &probe.http_get {
        http_get(target, action, limit).await
    } else if let Some(action) = &probe.tcp_socket {
        let port = port_number(&target.container, &action.port).ok_or("no such port")?;
        let host = action
            .host
            .clone()
            .unwrap_or_else(|| target.address.to_string());
        tcp(&host, port, limit).await.map(drop)
    } else if let Some(action) = &probe.exec {
        exec(target, spawner, resolve, action, limit).await
    } else {
        Err("unsupported probe".into())
    }
}

/// The number of a port, which may be given by its name.
pub fn port_number(container: &Container, port: &IntOrString) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let named = container
                .ports
                .iter()
                .flatten()
                .find(|port| port.name.as_ref() == Some(name))
                .and_then(|port| u16::try_from(port.container_port).ok());
            named.or_else(|| name.parse().ok())
        }
    }
}

async fn tcp(host: &str, port: u16, limit: Duration) -> Result<TcpStream, String> {
    let target = format!("{host}:{port}");
    match tokio::time::timeout(limit, TcpStream::connect(&target)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Err(format!("dial tcp {target}: connect: connection refused"))
        }
        Ok(Err(error)) => Err(format!("dial tcp {target}: {error}")),
        Err(_) => Err(format!("dial tcp {target}: i/o timeout")),
    }
}

/// A GET; any status from 200 to 399 is a success.
///
/// # Errors
/// Why it is none.
pub async fn http_get(
    target: &Target,
    action: &HTTPGetAction,
    limit: Duration,
) -> Result<(), String> {
    if action.scheme.as_deref() == Some("HTTPS") {
        return Err("HTTPS probes are not supported".into());
    }
    let port = port_number(&target.container, &action.port).ok_or("no such port")?;
    let host = action
        .host
        .clone()
        .filter(|host| host.parse::<IpAddr>().is_ok())
        .unwrap_or_else(|| target.address.to_string());
    let path = action.path.as_deref().unwrap_or("/");
    let url = format!("http://{host}:{port}{path}");
    let exchange = async {
        let stream = tcp(&host, port, limit)
            .await
            .map_err(|error| format!("Get \"{url}\": {error}"))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| format!("Get \"{url}\": {error}"))?;
        let driver = tokio::spawn(connection);
        let mut request = http::Request::builder()
            .uri(path)
            .header("host", format!("{host}:{port}"))
            .header("user-agent", "kube-probe/1.36")
            .header("accept", "*/*");
        for header in action.http_headers.iter().flatten() {
            request = request.header(header.name.as_str(), header.value.as_str());
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|error| format!("Get \"{url}\": {error}"))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| format!("Get \"{url}\": {error}"))?;
        let status = response.status().as_u16();
        // Read to the end so that the server sees an orderly exchange; how it ends does not matter.
        drop(
            Limited::new(response.into_body(), MAX_ANSWER)
                .collect()
                .await,
        );
        driver.abort();
        if (200..400).contains(&status) {
            Ok(())
        } else {
            Err(format!("HTTP probe failed with statuscode: {status}"))
        }
    };
    let late = || {
        Err(format!(
            "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        ))
    };
    tokio::time::timeout(limit, exchange)
        .await
        .unwrap_or_else(|_| late())
}

/// Runs a command in the container's surroundings; success is exit code 0.
///
/// # Errors
/// The command's output, or why it did not run.
pub async fn exec(
    target: &Target,
    spawner: &Spawner,
    resolve: Resolve<'_>,
    action: &ExecAction,
    limit: Duration,
) -> Result<(), String> {
    let words = action.command.clone().unwrap_or_default();
    let Some((program, arguments)) = resolve(&words) else {
        return Err(format!(
            "exec: \"{}\": executable file not found in $PATH",
            words.first().map_or("", String::as_str)
        ));
    };
    let order = Order {
        program,
        arguments,
        ..target.order.clone()
    };
    let mut child = spawner
        .spawn(order)
        .await
        .map_err(|error| error.to_string())?;
    let leader = child.id().unwrap_or_default();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let run = async {
        let mut output = Vec::new();
        if let Some(mut stdout) = stdout {
            drop(stdout.read_to_end(&mut output).await);
        }
        if let Some(mut stderr) = stderr {
            drop(stderr.read_to_end(&mut output).await);
        }
        (child.wait().await, output)
    };
    let outcome = tokio::time::timeout(limit, run).await;
    signal_group(leader, Signal::SIGKILL);
    spawner.ended(leader);
    match outcome {
        Ok((Ok(status), _)) if exit_code(status) == 0 => Ok(()),
        Ok((_, output)) => {
            Err(String::from_utf8_lossy(&output[..output.len().min(MAX_ANSWER)]).into_owned())
        }
        Err(_) => Err(format!(
            "command timed out: \"{}\" timed out after {}s",
            words.join(" "),
            limit.as_secs()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    fn target() -> Target {
        let container = serde_json::from_value(
            json!({"name": "c", "ports": [{"name": "web", "containerPort": 81}]}),
        )
        .expect("a Container");
        Target {
            address: Ipv4Addr::LOCALHOST,
            order: Order {
                directory: "/".into(),
                ..Order::default()
            },
            container,
        }
    }

    async fn run(spec: serde_json::Value) -> Result<(), String> {
        let spec: Probe = serde_json::from_value(spec).expect("a Probe");
        let in_bin = |words: &[String]| {
            Some((
                std::path::Path::new("/bin").join(words.first()?),
                words[1..].to_vec(),
            ))
        };
        probe(
            &target(),
            &Spawner::start().expect("a spawner"),
            &in_bin,
            &spec,
        )
        .await
    }

    #[tokio::test]
    async fn http_status_decides() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            for status in ["204 No Content", "503 Service Unavailable"] {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut buffer = [0; 1024];
                let read = stream.read(&mut buffer).await.expect("a request");
                assert!(buffer[..read].starts_with(b"GET /readyz HTTP/1.1"));
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream
                    .write_all(answer.as_bytes())
                    .await
                    .expect("an answer");
            }
        });
        let spec = json!({"httpGet": {"path": "/readyz", "port": port}});
        assert_eq!(run(spec.clone()).await, Ok(()));
        assert_eq!(
            run(spec).await,
            Err("HTTP probe failed with statuscode: 503".into())
        );
    }

    #[tokio::test]
    async fn commands_and_connections_are_probed() {
        assert_eq!(run(json!({"exec": {"command": ["true"]}})).await, Ok(()));
        assert_eq!(
            run(json!({"exec": {"command": ["sh", "-c", "echo sick; exit 1"]}})).await,
            Err("sick\n".into())
        );
        let slow = run(json!({"exec": {"command": ["sleep", "100"]}, "timeoutSeconds": 1})).await;
        assert_eq!(
            slow,
            Err("command timed out: \"sleep 100\" timed out after 1s".into())
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        assert_eq!(run(json!({"tcpSocket": {"port": port}})).await, Ok(()));
        drop(listener);
        assert_eq!(
            run(json!({"tcpSocket": {"port": port}})).await,
            Err(format!(
                "dial tcp 127.0.0.1:{port}: connect: connection refused"
            ))
        );
    }
}
