//! Watches: one JSON line for every change that concerns the client.
//!
//! A watch owns a cursor into the store's log and pulls; nothing is queued for it. A client that is so slow that its
//! cursor falls below the log's floor is told 410 and cut off, as in Kubernetes.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::Response,
};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    call::Call,
    encode,
    error::ApiError,
    list::{self, Filter},
};
use crate::{
    object,
    store::{Change, ChangeKind, Store},
};

/// How long a watch lasts that names no timeout.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(45 * 60);

/// How often a client that asked for bookmarks gets one.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

/// How long before the end of a watch its last bookmark comes.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// Type and object of a line.
type Event = (&'static str, Arc<Value>);

struct Watch {
    call: Call,
    filter: Filter,
    cursor: u64,
    queue: VecDeque<Bytes>,
    revisions: watch::Receiver<u64>,
    cuts: watch::Receiver<u64>,
    bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
    is_over: bool,
    /// Whether an event has been sent: only the first table names its columns.
    has_columns: bool,
}

/// Answers a GET with `watch=true`.
pub(super) async fn answer(call: Call) -> Result<Response, ApiError> {
    let filter = Filter::parse(&call)?;
    let start =
        list::parse_revision(call.query.get("resourceVersion")).map_err(ApiError::internal)?;
    let sends_initial = check_initial_events(&call)?;
    let timeout = call
        .query
        .duration("timeoutSeconds")
        .unwrap_or(DEFAULT_TIMEOUT);
    let now = Instant::now();
    let mut watch = Watch {
        filter,
        cursor: start,
        queue: VecDeque::new(),
        revisions: call.state.revisions(),
        cuts: call.state.faults.cuts(),
        bookmarks: call.query.flag("allowWatchBookmarks"),
        next_bookmark: now + BOOKMARK_INTERVAL.min(timeout.saturating_sub(LAST_BOOKMARK)),
        end: now + timeout,
        is_over: false,
        has_columns: false,
        call,
    };
    if start == 0 || sends_initial {
        watch.start_with_state(sends_initial);
    }
    let stream = futures::stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line), watch))
    });
    let mut response = Response::new(Body::from_stream(stream));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    Ok(response)
}

fn check_initial_events(call: &Call) -> Result<bool, ApiError> {
    let wanted = call.query.get("resourceVersionMatch");
    let given = !call.query.get("sendInitialEvents").is_empty();
    match (given, wanted) {
        (true, "NotOlderThan") => Ok(call.query.flag("sendInitialEvents")),
        (true, _) => Err(list::list_option(
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        )),
        (false, "") => Ok(false),
        (false, _) => Err(list::list_option(
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        )),
    }
}

impl Watch {
    /// Existing objects come as ADDED; with `marks_end` a bookmark closes them.
    fn start_with_state(&mut self, marks_end: bool) {
        let state = self.call.state.clone();
        let (revision, objects) = state.with_store(|store| {
            (
                store.revision(),
                list::selected(&self.call, store, &self.filter),
            )
        });
        for object in objects {
            self.push("ADDED", &object);
        }
        self.cursor = revision;
        if marks_end && self.bookmarks {
            self.push_bookmark(json!({"k8s.io/initial-events-end": "true"}));
        }
    }

    /// The next line, or `None` when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.queue.pop_front() {
                return Some(line);
            }
            if self.is_over {
                return None;
            }
            self.revisions.mark_unchanged();
            self.pull();
            if self.queue.is_empty() && !self.is_over {
                self.wait().await;
            }
        }
    }

    /// Takes what has happened since the cursor.
    fn pull(&mut self) {
        let state = self.call.state.clone();
        let pulled = state.with_store(|store| self.changes(store));
        match pulled {
            Ok((cursor, events)) => {
                for (kind, object) in events {
                    self.push(kind, &object);
                }
                self.cursor = self.cursor.max(cursor);
            }
            Err(error) => {
                self.push("ERROR", &error.status());
                self.is_over = true;
            }
        }
    }

    fn changes(&self, store: &Store) -> Result<(u64, Vec<Event>), ApiError> {
        let changes = store.changes_after(self.cursor).map_err(|_| {
            ApiError::expired(format!(
                "too old resource version: {} ({})",
                self.cursor,
                store.floor()
            ))
        })?;
        let events = changes.filter_map(|change| self.event(change)).collect();
        Ok((store.revision(), events))
    }

    /// What a change is to this client: an object that begins to match is ADDED, one that ceases to match DELETED.
    fn event(&self, change: &Change) -> Option<Event> {
        let is_here = change.key.resource == self.call.resource.storage
            && list::scope(&self.call).is_none_or(|namespace| change.key.namespace == namespace);
        if !is_here {
            return None;
        }
        let matched = change
            .previous
            .as_ref()
            .is_some_and(|previous| self.filter.matches(previous));
        let matches = change.kind != ChangeKind::Deleted && self.filter.matches(&change.object);
        match (matched, matches) {
            (false, false) => None,
            (false, true) => Some(("ADDED", change.object.clone())),
            (true, true) => Some(("MODIFIED", change.object.clone())),
            (true, false) => {
                let mut last = change
                    .previous
                    .as_ref()
                    .map(|previous| Value::clone(previous))?;
                object::set_resource_version(&mut last, change.revision);
                Some(("DELETED", Arc::new(last)))
            }
        }
    }

    fn push(&mut self, kind: &str, object: &Value) {
        let object = if kind == "ERROR" {
            object.clone()
        } else {
            encode::event(&self.call, object, !self.has_columns)
        };
        self.has_columns = true;
        self.queue.push_back(Bytes::from(format!(
            "{}\n",
            json!({"type": kind, "object": object})
        )));
    }

    fn push_bookmark(&mut self, annotations: Value) {
        let mut bookmark = json!({
            "kind": self.call.resource.kind,
            "apiVersion": self.call.resource.api_version(),
            "metadata": {"resourceVersion": self.cursor.to_string()},
        });
        if !annotations.is_null() {
            bookmark["metadata"]["annotations"] = annotations;
        }
        self.push("BOOKMARK", &bookmark);
    }

    /// Waits for a new revision, a bookmark's time, a cut or the end.
    async fn wait(&mut self) {
        let wake = if self.bookmarks {
            self.next_bookmark.min(self.end)
        } else {
            self.end
        };
        tokio::select! {
            changed = self.revisions.changed() => self.is_over = changed.is_err(),
            _ = self.cuts.changed() => self.is_over = true,
            () = sleep_until(wake) => {
                if Instant::now() >= self.end {
                    self.is_over = true;
                } else {
                    self.push_bookmark(Value::Null);
                    let last = self.end - LAST_BOOKMARK;
                    let next = Instant::now() + BOOKMARK_INTERVAL;
                    self.next_bookmark = if Instant::now() < last { next.min(last) } else { self.end + BOOKMARK_INTERVAL };
                }
            }
        }
    }
}
