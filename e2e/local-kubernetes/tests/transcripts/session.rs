//! One run: the server, its controllers, and the requests that are sent to it.

use std::{sync::Mutex, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{Request, Response, StatusCode},
};
use futures::StreamExt;
use http_body_util::BodyExt;
use local_kubernetes::{Options, Server, controllers};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{
    bindings::Bindings,
    compare::{Mode, differences},
    exchange::{Answer, Exchange},
    kubelet, prepare,
};

/// How long controllers get to bring about what was recorded.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a watch may be silent before it counts as having said everything.
const SILENCE: Duration = Duration::from_secs(2);

/// A running server and what is known of this run.
pub(crate) struct Session {
    server: Server,
    token: String,
    /// Workloads were recorded apart from the rest, with numbers of their own.
    bindings: Mutex<[Bindings; 2]>,
    _stop: tokio_util::sync::DropGuard,
}

/// A received answer.
pub(crate) struct Received {
    pub(crate) status: StatusCode,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    /// The body as JSON, as recorded: other texts under `raw`.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| serde_json::json!({"raw": String::from_utf8_lossy(&self.body)}))
    }
}

impl Session {
    /// Starts the server, its controllers and the stand-in kubelet.
    pub(crate) async fn start() -> Self {
        let server = Server::new(Options::default());
        let stop = CancellationToken::new();
        let manager = server.client("system:kube-controller-manager");
        // Without a heartbeat of its node, nothing is written while nothing happens.
        let options = controllers::Options {
            node_grace: Duration::from_secs(1_000_000),
            root_ca: prepare::recorded_ca(),
            ..controllers::Options::default()
        };
        tokio::spawn(controllers::run(manager, options, stop.clone()));
        tokio::spawn(kubelet::run(server.client("system:kubelet"), stop.clone()));
        settle(&server).await;
        let token = server.token("admin");
        Self {
            server,
            token,
            bindings: Mutex::default(),
            _stop: stop.drop_guard(),
        }
    }

    /// Sends a recorded request and answers how the answer differs.
    pub(crate) async fn replay(&self, exchange: &Exchange) -> Vec<String> {
        prepare::before(self, exchange).await;
        match &exchange.answer {
            Answer::Events(events) => self.replay_watch(exchange, events).await,
            Answer::Body(body) => self.replay_request(exchange, body).await,
        }
    }

    /// Reads are repeated while controllers are at work.
    async fn replay_request(&self, exchange: &Exchange, expected: &Value) -> Vec<String> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let received = self.send_recorded(exchange).await;
            let before = self.bindings().clone();
            let found = self.compare(exchange, &received, expected);
            let may_change = exchange.method == "GET" && prepare::waits_for_controllers(exchange);
            if found.is_empty() || !may_change || tokio::time::Instant::now() > deadline {
                return found;
            }
            *self.bindings() = before;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    fn compare(&self, exchange: &Exchange, received: &Received, expected: &Value) -> Vec<String> {
        let mut bindings = self.bindings();
        let bindings = &mut bindings[set_of(exchange)];
        let mut found = vec![];
        if received.status.as_u16() != exchange.status {
            found.push(format!(
                "status {}, expected {}",
                received.status.as_u16(),
                exchange.status
            ));
        }
        for (name, value) in &exchange.response_headers {
            let actual = received
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            if actual != value {
                found.push(format!("header {name}: {actual:?}, expected {value:?}"));
            }
        }
        found.extend(differences(
            expected,
            &received.json(),
            mode(exchange),
            bindings,
        ));
        found
    }

    async fn replay_watch(&self, exchange: &Exchange, expected: &[Value]) -> Vec<String> {
        let response = self.open_recorded(exchange).await;
        let status = response.status();
        prepare::during(self, exchange).await;
        let mut stream = response.into_body().into_data_stream();
        let mut received = vec![];
        while let Ok(Some(Ok(chunk))) = tokio::time::timeout(SILENCE, stream.next()).await {
            let lines = chunk
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .map(<[u8]>::to_vec);
            received.extend(
                lines.map(|line| serde_json::from_slice::<Value>(&line).unwrap_or_default()),
            );
        }
        let mut found = vec![];
        if status.as_u16() != exchange.status {
            found.push(format!(
                "status {}, expected {}",
                status.as_u16(),
                exchange.status
            ));
        }
        let mut bindings = self.bindings();
        let bindings = &mut bindings[set_of(exchange)];
        let (expected, received) = (Value::from(expected.to_vec()), Value::from(received));
        found.extend(differences(&expected, &received, Mode::Exact, bindings));
        found
    }

    async fn send_recorded(&self, exchange: &Exchange) -> Received {
        let response = self.open_recorded(exchange).await;
        collect(response).await
    }

    async fn open_recorded(&self, exchange: &Exchange) -> Response<Body> {
        let path = prepare::path(self, exchange);
        let body = prepare::body(self, exchange).await;
        let mut request = Request::builder()
            .method(exchange.method.as_str())
            .uri(path);
        for (name, value) in &exchange.headers {
            request = request.header(name, value);
        }
        self.open(request, body).await
    }

    async fn open(&self, request: axum::http::request::Builder, body: String) -> Response<Body> {
        let request = request.header("authorization", format!("Bearer {}", self.token));
        let request = request
            .body(Body::from(body))
            .expect("recorded requests are well-formed");
        let Ok(response) = self.server.router().oneshot(request).await;
        response
    }

    /// Sends a request that was made, but not recorded.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> Received {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type);
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        collect(self.open(request, body).await).await
    }

    /// A recorded text with the values of this run.
    pub(crate) fn substitute(&self, exchange: &Exchange, text: &str) -> String {
        self.bindings()[set_of(exchange)].substitute(text)
    }

    /// The value of a placeholder.
    pub(crate) fn bound(&self, exchange: &Exchange, placeholder: &str) -> Option<String> {
        self.bindings()[set_of(exchange)]
            .get(placeholder)
            .map(String::from)
    }

    fn bindings(&self) -> std::sync::MutexGuard<'_, [Bindings; 2]> {
        self.bindings.lock().expect("no test panics with the lock")
    }

    /// Waits until controllers and kubelet have done what there is to do.
    pub(crate) async fn settle(&self) {
        settle(&self.server).await;
    }

    /// The newest revision.
    pub(crate) fn revision(&self) -> u64 {
        self.server.revision()
    }
}

async fn collect(response: Response<Body>) -> Received {
    let (parts, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    Received {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

/// Discovery lists what is served, and the real server serves more.
fn mode(exchange: &Exchange) -> Mode {
    let is_discovery = exchange.path.starts_with("/openapi")
        || matches!(exchange.path.matches('/').count(), 1..=3);
    if is_discovery && exchange.method == "GET" && !exchange.path.contains("demo.example.com") {
        Mode::Subset
    } else {
        Mode::Exact
    }
}

/// Which of the two sets of placeholders an exchange speaks of.
fn set_of(exchange: &Exchange) -> usize {
    usize::from(exchange.file == "workloads")
}

async fn settle(server: &Server) {
    for _ in 0..20 {
        let before = server.revision();
        tokio::time::sleep(Duration::from_secs(2)).await;
        if server.revision() == before {
            return;
        }
    }
}
