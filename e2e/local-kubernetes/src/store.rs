//! The pure core: objects as JSON under one global revision, and the bounded log of their changes.
//!
//! Owns what is stored and in which order it changed. It knows no kinds, no users, no clock and does no I/O: whoever
//! writes has already decided what the object shall be. Two invariants hold after every call:
//!
//! - an object's `metadata.resourceVersion` is the revision of its last write;
//! - the log holds every change with a revision above [`Store::floor`], so the state at any revision from the floor on
//!   can be rebuilt.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde_json::Value;
use thiserror::Error;

use crate::object;

/// Where an object is stored. The order (resource, namespace, name) is the order of lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Storage name of the resource, for example `configmaps` or `statefulsets.apps`.
    pub resource: Arc<str>,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
}

/// What a change did to the object under its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// There was no object before.
    Added,
    /// The object was replaced.
    Modified,
    /// The object was removed.
    Deleted,
}

/// One entry of the log.
#[derive(Clone, Debug)]
pub struct Change {
    /// Revision that this change made.
    pub revision: u64,
    /// What happened.
    pub kind: ChangeKind,
    /// To which object.
    pub key: Key,
    /// The object after the change; for a deletion its last state with the revision of the deletion.
    pub object: Arc<Value>,
    /// The object before the change.
    pub previous: Option<Arc<Value>>,
}

/// Why a store refuses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// An object with that key exists already.
    #[error("the object exists already")]
    Exists,
    /// There is no object with that key.
    #[error("the object does not exist")]
    Missing,
    /// The object was written after the revision that the writer saw.
    #[error("the object has been modified")]
    Conflict,
    /// The revision lies before the log's floor.
    #[error("revision {asked} is compacted; the oldest is {floor}")]
    Compacted {
        /// Revision that was asked for.
        asked: u64,
        /// Oldest revision that can still be rebuilt.
        floor: u64,
    },
}

/// Objects, their revision and the log of changes.
#[derive(Debug)]
pub struct Store {
    revision: u64,
    floor: u64,
    capacity: usize,
    objects: BTreeMap<Key, Arc<Value>>,
    log: VecDeque<Change>,
}

impl Store {
    /// An empty store whose log holds at most `capacity` changes.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            revision: 1,
            floor: 1,
            capacity: capacity.max(1),
            objects: BTreeMap::new(),
            log: VecDeque::new(),
        }
    }

    /// The revision of the newest write.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The oldest revision whose state can still be rebuilt.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The object under a key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// Objects of a resource in key order; `namespace` `None` means all namespaces.
    pub fn list<'a>(
        &'a self,
        resource: &Arc<str>,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> + 'a {
        let start = Key {
            resource: resource.clone(),
            namespace: namespace.unwrap_or_default().into(),
            name: String::new(),
        };
        let resource = resource.clone();
        self.objects.range(start..).take_while(move |(key, _)| {
            key.resource == resource && namespace.is_none_or(|namespace| key.namespace == namespace)
        })
    }

    /// Like [`Store::list`], as it was at `revision`.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] if the log no longer reaches back that far.
    pub fn list_at(
        &self,
        resource: &Arc<str>,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Vec<(Key, Arc<Value>)>, StoreError> {
        let mut state: BTreeMap<Key, Arc<Value>> = self
            .list(resource, namespace)
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect();
        if revision < self.floor {
            return Err(StoreError::Compacted {
                asked: revision,
                floor: self.floor,
            });
        }
        for change in self
            .log
            .iter()
            .rev()
            .take_while(|change| change.revision > revision)
        {
            if change.key.resource != *resource
                || namespace.is_some_and(|namespace| change.key.namespace != namespace)
            {
                continue;
            }
            match &change.previous {
                Some(previous) => state.insert(change.key.clone(), previous.clone()),
                None => state.remove(&change.key),
            };
        }
        Ok(state.into_iter().collect())
    }

    /// Changes after `revision`, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] if some of them have left the log.
    pub fn changes_after(
        &self,
        revision: u64,
    ) -> Result<impl Iterator<Item = &Change>, StoreError> {
        if revision < self.floor {
            return Err(StoreError::Compacted {
                asked: revision,
                floor: self.floor,
            });
        }
        let start = self
            .log
            .partition_point(|change| change.revision <= revision);
        Ok(self.log.range(start..))
    }

    /// Adds an object and stamps its resource version.
    ///
    /// # Errors
    /// [`StoreError::Exists`].
    pub fn insert(&mut self, key: Key, object: Value) -> Result<Arc<Value>, StoreError> {
        if self.objects.contains_key(&key) {
            return Err(StoreError::Exists);
        }
        Ok(self.write(key, object, ChangeKind::Added, None))
    }

    /// Replaces an object. Writing what is there already changes nothing, not even the revision.
    ///
    /// # Errors
    /// [`StoreError::Missing`], or [`StoreError::Conflict`] if `seen` is not the object's revision.
    pub fn replace(
        &mut self,
        key: &Key,
        mut object: Value,
        seen: Option<u64>,
    ) -> Result<Arc<Value>, StoreError> {
        let previous = self.objects.get(key).ok_or(StoreError::Missing)?.clone();
        let current = object::resource_version(&previous);
        if seen.is_some_and(|seen| seen != current) {
            return Err(StoreError::Conflict);
        }
        object::set_resource_version(&mut object, current);
        if object == *previous {
            return Ok(previous);
        }
        Ok(self.write(key.clone(), object, ChangeKind::Modified, Some(previous)))
    }

    /// Removes an object; answers its last state with the revision of the removal.
    ///
    /// # Errors
    /// [`StoreError::Missing`].
    pub fn remove(&mut self, key: &Key) -> Result<Arc<Value>, StoreError> {
        let previous = self.objects.remove(key).ok_or(StoreError::Missing)?;
        let object = Value::clone(&previous);
        Ok(self.record(key.clone(), object, ChangeKind::Deleted, Some(previous)))
    }

    /// Forgets all history: watches from older revisions and lists at them are refused from now on.
    pub fn compact(&mut self) {
        self.log.clear();
        self.floor = self.revision;
    }

    fn write(
        &mut self,
        key: Key,
        object: Value,
        kind: ChangeKind,
        previous: Option<Arc<Value>>,
    ) -> Arc<Value> {
        let object = self.record(key.clone(), object, kind, previous);
        self.objects.insert(key, object.clone());
        object
    }

    fn record(
        &mut self,
        key: Key,
        mut object: Value,
        kind: ChangeKind,
        previous: Option<Arc<Value>>,
    ) -> Arc<Value> {
        self.revision += 1;
        object::set_resource_version(&mut object, self.revision);
        let object = Arc::new(object);
        self.log.push_back(Change {
            revision: self.revision,
            kind,
            key,
            object: object.clone(),
            previous,
        });
        if self.log.len() > self.capacity
            && let Some(dropped) = self.log.pop_front()
        {
            self.floor = dropped.revision;
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn key(name: &str) -> Key {
        Key {
            resource: "configmaps".into(),
            namespace: "t".into(),
            name: name.into(),
        }
    }

    fn object(value: u8) -> Value {
        json!({"metadata": {}, "data": value})
    }

    #[test]
    fn writing_the_same_object_keeps_its_revision() {
        let mut store = Store::new(10);
        let first = store.insert(key("a"), object(1)).unwrap();
        let second = store.replace(&key("a"), object(1), None).unwrap();
        assert_eq!(first, second);
        assert_eq!(store.revision(), 2);
    }

    #[test]
    fn a_write_with_an_old_revision_is_a_conflict() {
        let mut store = Store::new(10);
        store.insert(key("a"), object(1)).unwrap();
        store.replace(&key("a"), object(2), Some(2)).unwrap();
        assert_eq!(
            store.replace(&key("a"), object(3), Some(2)),
            Err(StoreError::Conflict)
        );
    }

    #[test]
    fn the_log_forgets_and_then_refuses() {
        let mut store = Store::new(2);
        for name in ["a", "b", "c"] {
            store.insert(key(name), object(0)).unwrap();
        }
        assert_eq!(store.floor(), 2);
        assert!(store.changes_after(1).is_err());
        assert_eq!(store.changes_after(2).unwrap().count(), 2);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8, u8),
        Replace(u8, u8),
        Remove(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        let name = 0..4u8;
        prop_oneof![
            (name.clone(), any::<u8>()).prop_map(|(name, value)| Step::Insert(name, value)),
            (name.clone(), any::<u8>()).prop_map(|(name, value)| Step::Replace(name, value)),
            name.prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn every_past_state_can_be_rebuilt(steps in proptest::collection::vec(step(), 0..60)) {
            let mut store = Store::new(1000);
            let resource: Arc<str> = "configmaps".into();
            let mut past = vec![(store.revision(), vec![])];
            for step in steps {
                let _ = match step {
                    Step::Insert(name, value) => store.insert(key(&name.to_string()), object(value)),
                    Step::Replace(name, value) => store.replace(&key(&name.to_string()), object(value), None),
                    Step::Remove(name) => store.remove(&key(&name.to_string())),
                };
                let now: Vec<_> = store.list(&resource, None).map(|(key, object)| (key.clone(), object.clone())).collect();
                past.push((store.revision(), now));
            }
            for (revision, state) in past {
                prop_assert_eq!(store.list_at(&resource, None, revision).unwrap(), state);
            }
        }
    }
}
