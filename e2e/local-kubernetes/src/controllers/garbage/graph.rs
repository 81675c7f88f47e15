//! Who owns whom, and what follows from it: pure decisions of the garbage collector.
//!
//! Invariants: nothing is deleted that has an owner which is known to exist; an owner that waits for its dependents
//! (`foregroundDeletion`) goes only when no blocking dependent is left; `orphan` frees dependents before the owner goes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Finalizer of an owner that waits for its dependents.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an owner whose dependents are to stay.
pub const ORPHAN: &str = "orphan";

/// Where an object is: `apiVersion`, `kind`, namespace (empty for cluster scope), name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for cluster scope.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// What the collector knows of an object.
#[derive(Clone, Debug)]
pub struct Item {
    /// Where it is.
    pub place: Place,
    /// Its metadata.
    pub metadata: ObjectMeta,
}

/// A thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Delete a dependent, itself in the foreground if so asked.
    Delete {
        /// The object's uid.
        uid: String,
        /// `Foreground` or `Background`.
        foreground: bool,
    },
    /// Write these owner references in place of the old ones.
    SetOwners {
        /// The object's uid.
        uid: String,
        /// What remains.
        owners: Vec<OwnerReference>,
    },
    /// Take a finalizer away.
    RemoveFinalizer {
        /// The object's uid.
        uid: String,
        /// The finalizer.
        finalizer: &'static str,
    },
}

/// An owner that is not in the graph: it must be looked up before anything is concluded from that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suspect {
    /// The uid that dependents name.
    pub uid: String,
    /// Where they say it is.
    pub place: Place,
}

/// All known objects by uid.
#[derive(Debug, Default)]
pub struct Graph {
    items: HashMap<String, Item>,
}

fn owners(item: &Item) -> &[OwnerReference] {
    item.metadata
        .owner_references
        .as_deref()
        .unwrap_or_default()
}

fn is_deleting(item: &Item) -> bool {
    item.metadata.deletion_timestamp.is_some()
}

fn has_finalizer(item: &Item, name: &str) -> bool {
    item.metadata
        .finalizers
        .iter()
        .flatten()
        .any(|finalizer| finalizer == name)
}

/// Where an owner of that item must be: in the item's namespace or in none, which only the server can tell.
fn owner_place(item: &Item, owner: &OwnerReference) -> Place {
    Place {
        api_version: owner.api_version.clone(),
        kind: owner.kind.clone(),
        namespace: item.place.namespace.clone(),
        name: owner.name.clone(),
    }
}

impl Graph {
    /// Notes an object's present state.
    pub fn apply(&mut self, item: Item) {
        if let Some(uid) = item.metadata.uid.clone() {
            self.items.insert(uid, item);
        }
    }

    /// Forgets an object.
    pub fn remove(&mut self, uid: &str) {
        self.items.remove(uid);
    }

    /// Forgets all objects of a kind but those with these uids.
    pub fn retain(&mut self, api_version: &str, kind: &str, uids: &BTreeSet<String>) {
        self.items.retain(|uid, item| {
            item.place.api_version != api_version || item.place.kind != kind || uids.contains(uid)
        });
    }

    /// The object with that uid.
    pub fn get(&self, uid: &str) -> Option<&Item> {
        self.items.get(uid)
    }

    /// An owner that exists and can own the item: cluster-scoped, or in its namespace.
    fn owner(&self, item: &Item, reference: &OwnerReference) -> Option<&Item> {
        self.items.get(&reference.uid).filter(|owner| {
            owner.place.namespace.is_empty() || owner.place.namespace == item.place.namespace
        })
    }

    /// Owners that are named but unknown, to be looked up.
    pub fn suspects(&self) -> BTreeSet<Suspect> {
        let references = self
            .items
            .values()
            .flat_map(|item| owners(item).iter().map(move |owner| (item, owner)));
        references
            .filter(|(item, owner)| self.owner(item, owner).is_none())
            .map(|(item, owner)| Suspect {
                uid: owner.uid.clone(),
                place: owner_place(item, owner),
            })
            .collect()
    }

    /// What to do now, given the suspects that turned out not to exist.
    pub fn decide(&self, absent: &BTreeSet<Suspect>) -> Vec<Action> {
        let mut items: Vec<_> = self.items.iter().collect();
        items.sort_by_key(|(_, item)| &item.place);
        let mut dependents: BTreeMap<&str, Vec<(&String, &Item, bool)>> = BTreeMap::new();
        for (uid, item) in &items {
            for owner in owners(item)
                .iter()
                .filter(|owner| self.owner(item, owner).is_some())
            {
                dependents.entry(&owner.uid).or_default().push((
                    uid,
                    item,
                    owner.block_owner_deletion == Some(true),
                ));
            }
        }
        let mut actions = Vec::new();
        for (uid, item) in items {
            let children = dependents
                .get(uid.as_str())
                .map(Vec::as_slice)
                .unwrap_or_default();
            if is_deleting(item) && has_finalizer(item, ORPHAN) {
                orphan(uid, children, &mut actions);
            } else if is_deleting(item)
                && has_finalizer(item, FOREGROUND)
                && !children.iter().any(|(_, _, blocks)| *blocks)
            {
                actions.push(Action::RemoveFinalizer {
                    uid: uid.clone(),
                    finalizer: FOREGROUND,
                });
            }
            if !is_deleting(item) && !owners(item).is_empty() {
                actions.extend(self.attend(uid, item, !children.is_empty(), absent));
            }
        }
        actions
    }

    /// A dependent: deleted when no owner is left that wants it, else freed of owners that are gone.
    fn attend(
        &self,
        uid: &str,
        item: &Item,
        has_children: bool,
        absent: &BTreeSet<Suspect>,
    ) -> Option<Action> {
        let mut solid = Vec::new();
        let (mut gone, mut waiting) = (0, 0);
        for reference in owners(item) {
            match self.owner(item, reference) {
                Some(owner) if is_deleting(owner) && has_finalizer(owner, FOREGROUND) => {
                    waiting += 1;
                }
                Some(_) => solid.push(reference.clone()),
                None if absent.contains(&Suspect {
                    uid: reference.uid.clone(),
                    place: owner_place(item, reference),
                }) =>
                {
                    gone += 1;
                }
                None => solid.push(reference.clone()),
            }
        }
        match (solid.is_empty(), gone + waiting) {
            (_, 0) => None,
            (false, _) => Some(Action::SetOwners {
                uid: uid.into(),
                owners: solid,
            }),
            (true, _) => Some(Action::Delete {
                uid: uid.into(),
                foreground: waiting > 0 && has_children,
            }),
        }
    }
}

fn orphan(uid: &str, children: &[(&String, &Item, bool)], actions: &mut Vec<Action>) {
    if children.is_empty() {
        actions.push(Action::RemoveFinalizer {
            uid: uid.into(),
            finalizer: ORPHAN,
        });
    }
    for (child, item, _) in children {
        let rest = owners(item)
            .iter()
            .filter(|owner| owner.uid != uid)
            .cloned()
            .collect();
        actions.push(Action::SetOwners {
            uid: (*child).clone(),
            owners: rest,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn item(name: &str, owners: &[(&str, bool)], metadata: Value) -> Item {
        let mut meta: ObjectMeta = serde_json::from_value(metadata).expect("metadata");
        meta.uid = Some(format!("u-{name}"));
        let reference = |(owner, block): &(&str, bool)| OwnerReference {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            name: (*owner).into(),
            uid: format!("u-{owner}"),
            block_owner_deletion: Some(*block),
            ..OwnerReference::default()
        };
        meta.owner_references = Some(owners.iter().map(reference).collect());
        Item {
            place: Place {
                api_version: "v1".into(),
                kind: "ConfigMap".into(),
                namespace: "t".into(),
                name: name.into(),
            },
            metadata: meta,
        }
    }

    fn graph(items: Vec<Item>) -> Graph {
        let mut graph = Graph::default();
        items.into_iter().for_each(|item| graph.apply(item));
        graph
    }

    fn deleting(finalizer: &str) -> Value {
        json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [finalizer]})
    }

    #[test]
    fn a_dependent_goes_only_when_its_last_owner_is_proved_absent() {
        let graph = graph(vec![
            item("child", &[("gone", false)], json!({})),
            item("kept", &[("gone", false), ("owner", false)], json!({})),
            item("owner", &[], json!({})),
        ]);
        assert_eq!(
            graph.decide(&BTreeSet::new()),
            [],
            "an unknown owner may exist"
        );
        let absent = graph.suspects();
        assert_eq!(absent.len(), 1);
        let actions = graph.decide(&absent);
        assert_eq!(
            actions[0],
            Action::Delete {
                uid: "u-child".into(),
                foreground: false
            }
        );
        assert!(
            matches!(&actions[1], Action::SetOwners { uid, owners } if uid == "u-kept" && owners.len() == 1)
        );
        assert_eq!(actions.len(), 2);
    }

    #[test]
    fn an_owner_in_another_namespace_is_no_owner() {
        let mut owner = item("owner", &[], json!({}));
        owner.place.namespace = "other".into();
        let graph = graph(vec![item("child", &[("owner", false)], json!({})), owner]);
        assert_eq!(graph.suspects().len(), 1);
    }

    #[test]
    fn foreground_deletes_dependents_and_waits_for_blocking_ones() {
        let owner = item("owner", &[], deleting(FOREGROUND));
        let before = graph(vec![
            owner.clone(),
            item("child", &[("owner", true)], json!({})),
            item("grandchild", &[("child", true)], json!({})),
        ]);
        assert_eq!(
            before.decide(&BTreeSet::new()),
            [Action::Delete {
                uid: "u-child".into(),
                foreground: true
            }]
        );
        let blocked = graph(vec![
            owner.clone(),
            item("child", &[("owner", true)], deleting("x/y")),
        ]);
        assert_eq!(blocked.decide(&BTreeSet::new()), []);
        let free = graph(vec![
            owner,
            item("child", &[("owner", false)], deleting("x/y")),
        ]);
        assert_eq!(
            free.decide(&BTreeSet::new()),
            [Action::RemoveFinalizer {
                uid: "u-owner".into(),
                finalizer: FOREGROUND
            }]
        );
    }

    #[test]
    fn orphaning_frees_dependents_before_the_owner_goes() {
        let owner = item("owner", &[], deleting(ORPHAN));
        let before = graph(vec![
            owner.clone(),
            item("child", &[("owner", true)], json!({})),
        ]);
        assert_eq!(
            before.decide(&BTreeSet::new()),
            [Action::SetOwners {
                uid: "u-child".into(),
                owners: vec![]
            }]
        );
        let after = graph(vec![owner, item("child", &[], json!({}))]);
        assert_eq!(
            after.decide(&BTreeSet::new()),
            [Action::RemoveFinalizer {
                uid: "u-owner".into(),
                finalizer: ORPHAN
            }]
        );
    }
}
