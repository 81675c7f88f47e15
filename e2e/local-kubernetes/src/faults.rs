//! Failures that tests ask for.

use parking_lot::Mutex;
use tokio::sync::watch;

/// A rule by which requests fail before they reach the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// RBAC verbs that fail; empty means all writes.
    pub verbs: Vec<String>,
    /// Plural of the resource; empty means all.
    pub resource: String,
    /// HTTP status code of the failure.
    pub code: u16,
    /// How many requests fail.
    pub count: u32,
}

/// The failures in force.
#[derive(Debug)]
pub struct Faults {
    rules: Mutex<Vec<Fault>>,
    cuts: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            rules: Mutex::default(),
            cuts: watch::Sender::new(0),
        }
    }
}

impl Faults {
    /// Lets the next `count` writes fail with `code`.
    pub fn fail_writes(&self, count: u32, code: u16) {
        self.add(Fault {
            verbs: vec![],
            resource: String::new(),
            code,
            count,
        });
    }

    /// Puts a rule in force.
    pub fn add(&self, fault: Fault) {
        self.rules.lock().push(fault);
    }

    /// Takes all rules back.
    pub fn clear(&self) {
        self.rules.lock().clear();
    }

    /// Ends all watches that are open now, as a restarted server would.
    pub fn cut_watches(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// The code with which this request shall fail, if any.
    pub(crate) fn strike(&self, verb: &str, resource: &str) -> Option<u16> {
        let mut rules = self.rules.lock();
        let is_write = !matches!(verb, "get" | "list" | "watch");
        let position = rules.iter().position(|rule| {
            let verb_matches = if rule.verbs.is_empty() {
                is_write
            } else {
                rule.verbs.iter().any(|other| other == verb)
            };
            rule.count > 0
                && verb_matches
                && (rule.resource.is_empty() || rule.resource == resource)
        })?;
        rules[position].count -= 1;
        let code = rules[position].code;
        rules.retain(|rule| rule.count > 0);
        Some(code)
    }

    /// Changes when watches are to be cut.
    pub(crate) fn cuts(&self) -> watch::Receiver<u64> {
        self.cuts.subscribe()
    }
}
