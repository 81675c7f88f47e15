//! What was asked of the server: a bounded log of requests, and counts of writes.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use parking_lot::Mutex;

const KEPT: usize = 20_000;

/// One answered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it was answered.
    pub at: Timestamp,
    /// RBAC verb, or the lower-case HTTP method for paths that are not resources.
    pub verb: String,
    /// User, after impersonation.
    pub user: String,
    /// Path with its query.
    pub path: String,
    /// HTTP status code.
    pub code: u16,
    /// Whether it changed the store.
    pub wrote: bool,
}

/// A request that RBAC refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// User, after impersonation.
    pub user: String,
    /// The message that the client got.
    pub message: String,
}

#[derive(Debug, Default)]
struct Records {
    requests: VecDeque<Request>,
    denials: Vec<Denial>,
    writes: BTreeMap<String, u64>,
}

/// The record of requests.
#[derive(Debug, Default)]
pub struct Audit(Mutex<Records>);

impl Audit {
    /// The most recent requests, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.0.lock().requests.iter().cloned().collect()
    }

    /// All refusals since the start or the last [`Audit::clear`].
    #[must_use]
    pub fn denials(&self) -> Vec<Denial> {
        self.0.lock().denials.clone()
    }

    /// How many requests of each user changed the store since the start or the last [`Audit::clear`].
    #[must_use]
    pub fn writes(&self) -> BTreeMap<String, u64> {
        self.0.lock().writes.clone()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.0.lock() = Records::default();
    }

    pub(crate) fn request(&self, request: Request) {
        let mut records = self.0.lock();
        if request.wrote {
            *records.writes.entry(request.user.clone()).or_default() += 1;
        }
        if records.requests.len() == KEPT {
            records.requests.pop_front();
        }
        records.requests.push_back(request);
    }

    pub(crate) fn denial(&self, denial: Denial) {
        self.0.lock().denials.push(denial);
    }
}
