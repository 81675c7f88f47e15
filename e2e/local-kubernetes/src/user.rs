//! Who makes a request, and the bearer tokens that prove it.

use std::collections::HashMap;

use parking_lot::Mutex;
use rand::{Rng, distr::Alphanumeric};

/// Group whose members may do everything.
pub const MASTERS: &str = "system:masters";

/// Somebody who makes requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User {
    /// Name, for example `system:serviceaccount:default:operator`.
    pub name: String,
    /// Groups, for example `system:masters`.
    pub groups: Vec<String>,
}

impl User {
    /// The cluster's administrator.
    #[must_use]
    pub fn admin() -> Self {
        Self {
            name: "kubernetes-admin".into(),
            groups: vec![MASTERS.into(), "system:authenticated".into()],
        }
    }

    /// A component of the cluster itself, such as `kube-controller-manager` or `kubelet`: it may do everything, and
    /// its name is the default manager of the fields that it writes.
    #[must_use]
    pub fn component(name: &str) -> Self {
        Self {
            name: format!("system:{name}"),
            groups: vec![MASTERS.into(), "system:authenticated".into()],
        }
    }

    /// A service account.
    #[must_use]
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".into(),
            ],
        }
    }

    /// Somebody without a token.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            name: "system:anonymous".into(),
            groups: vec!["system:unauthenticated".into()],
        }
    }

    /// Whether no rule restricts this user.
    #[must_use]
    pub fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }

    /// Namespace and name of a service account.
    #[must_use]
    pub fn as_service_account(&self) -> Option<(&str, &str)> {
        self.name
            .strip_prefix("system:serviceaccount:")?
            .split_once(':')
    }

    /// The user agent that in-process clients send: the component's or account's own name.
    pub(crate) fn agent(&self) -> &str {
        self.name.rsplit(':').next().unwrap_or(&self.name)
    }
}

impl From<&str> for User {
    /// `admin`, a service account's full name, `system:NAME` for a component, or an ordinary user.
    fn from(name: &str) -> Self {
        if name == "admin" {
            return Self::admin();
        }
        if let Some((namespace, account)) = name
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split_once(':'))
        {
            return Self::service_account(namespace, account);
        }
        if let Some(component) = name.strip_prefix("system:") {
            return Self::component(component);
        }
        Self {
            name: name.into(),
            groups: vec!["system:authenticated".into()],
        }
    }
}

/// The bearer tokens that have been given out.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Mutex<HashMap<String, User>>);

impl Tokens {
    /// Gives out a new token.
    pub(crate) fn issue(&self, user: User) -> String {
        let token: String = rand::rng()
            .sample_iter(Alphanumeric)
            .take(48)
            .map(char::from)
            .collect();
        self.0.lock().insert(token.clone(), user);
        token
    }

    /// Whose token it is.
    pub(crate) fn user(&self, token: &str) -> Option<User> {
        self.0.lock().get(token).cloned()
    }
}
