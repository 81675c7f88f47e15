//! Sets of paths into an object: what a manager owns.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::path::PathElement;
use crate::schema::Schema;

/// A set of paths. A path may be a member although there are members below it (the `.` of `fieldsV1`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    members: BTreeSet<PathElement>,
    children: BTreeMap<PathElement, FieldSet>,
}

impl FieldSet {
    /// Whether nothing is owned.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(Self::is_empty)
    }

    /// Adds a path; the empty path (the object itself) is never a member.
    pub fn insert(&mut self, path: &[PathElement]) {
        match path {
            [] => {}
            [last] => {
                self.members.insert(last.clone());
            }
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }

    /// Whether the path itself is a member.
    pub fn has(&self, path: &[PathElement]) -> bool {
        match path {
            [] => false,
            [last] => self.members.contains(last),
            [first, rest @ ..] => self
                .children
                .get(first)
                .is_some_and(|child| child.has(rest)),
        }
    }

    /// What is owned below an element.
    pub fn below(&self, element: &PathElement) -> Option<&Self> {
        self.children.get(element).filter(|child| !child.is_empty())
    }

    /// Paths in either set.
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.members.extend(other.members.iter().cloned());
        for (element, child) in &other.children {
            let merged = all
                .children
                .get(element)
                .map_or_else(|| child.clone(), |own| own.union(child));
            all.children.insert(element.clone(), merged);
        }
        all
    }

    /// Paths in both sets.
    pub fn intersection(&self, other: &Self) -> Self {
        let members = self.members.intersection(&other.members).cloned().collect();
        self.children_with(members, |element, child| {
            other
                .children
                .get(element)
                .map(|theirs| child.intersection(theirs))
        })
    }

    /// Paths in this set and not in the other one.
    pub fn difference(&self, other: &Self) -> Self {
        let members = self.members.difference(&other.members).cloned().collect();
        self.children_with(members, |element, child| {
            Some(
                other
                    .children
                    .get(element)
                    .map_or_else(|| child.clone(), |theirs| child.difference(theirs)),
            )
        })
    }

    /// Paths that are neither in the other set nor below one of its members.
    pub fn recursive_difference(&self, other: &Self) -> Self {
        let members = self.members.difference(&other.members).cloned().collect();
        self.children_with(members, |element, child| {
            if other.members.contains(element) {
                return None;
            }
            Some(other.children.get(element).map_or_else(
                || child.clone(),
                |theirs| child.recursive_difference(theirs),
            ))
        })
    }

    /// Paths whose first element is this field.
    pub fn only_below(&self, field: &str) -> Self {
        let wanted = PathElement::Field(field.to_owned());
        let members = self
            .members
            .iter()
            .filter(|element| **element == wanted)
            .cloned()
            .collect();
        self.children_with(members, |element, child| {
            (*element == wanted).then(|| child.clone())
        })
    }

    fn children_with(
        &self,
        members: BTreeSet<PathElement>,
        keep: impl Fn(&PathElement, &Self) -> Option<Self>,
    ) -> Self {
        let children = self
            .children
            .iter()
            .filter_map(|(element, child)| Some((element.clone(), keep(element, child)?)))
            .filter(|(_, child)| !child.is_empty())
            .collect();
        Self { members, children }
    }

    /// The set with every declared field on the way to a member added, so that removing a set removes what would be left empty.
    pub fn with_named_fields(&self, schema: Option<&Schema>) -> Self {
        let mut all = self.clone();
        for (element, child) in &self.children {
            let declared = match element {
                PathElement::Field(name) => schema.and_then(|schema| schema.properties.get(name)),
                _ => None,
            };
            if declared.is_some() {
                all.members.insert(element.clone());
            }
            let below = match element {
                PathElement::Field(name) => schema.and_then(|schema| schema.field(name)),
                _ => schema.and_then(|schema| schema.items.as_ref()),
            };
            all.children.insert(
                element.clone(),
                child.with_named_fields(below.map(AsRef::as_ref)),
            );
        }
        all
    }

    /// All members: those of a level before those below it, each in order.
    pub fn paths(&self) -> Vec<Vec<PathElement>> {
        let mut found = Vec::new();
        self.collect(&mut Vec::new(), &mut found);
        found
    }

    fn collect(&self, prefix: &mut Vec<PathElement>, found: &mut Vec<Vec<PathElement>>) {
        for member in &self.members {
            found.push(prefix.iter().chain([member]).cloned().collect());
        }
        for (element, child) in &self.children {
            prefix.push(element.clone());
            child.collect(prefix, found);
            prefix.pop();
        }
    }

    /// The `fieldsV1` object.
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        for member in &self.members {
            fields.insert(member.to_wire(), Value::Object(Map::new()));
        }
        for (element, child) in self.children.iter().filter(|(_, child)| !child.is_empty()) {
            let mut below = child.to_json();
            if self.members.contains(element)
                && let Some(below) = below.as_object_mut()
            {
                below.insert(".".to_owned(), Value::Object(Map::new()));
            }
            fields.insert(element.to_wire(), below);
        }
        Value::Object(fields)
    }

    /// Reads a `fieldsV1` object; none if it is malformed.
    pub fn from_json(json: &Value) -> Option<Self> {
        let mut set = Self::default();
        for (name, below) in json.as_object()? {
            if name == "." {
                continue;
            }
            let element = PathElement::from_wire(name)?;
            let below_fields = below.as_object()?;
            if below_fields.is_empty() || below_fields.contains_key(".") {
                set.members.insert(element.clone());
            }
            let child = Self::from_json(below)?;
            if !child.is_empty() {
                set.children.insert(element, child);
            }
        }
        Some(set)
    }
}

impl<const N: usize> FromIterator<[PathElement; N]> for FieldSet {
    fn from_iter<I: IntoIterator<Item = [PathElement; N]>>(paths: I) -> Self {
        let mut set = Self::default();
        for path in paths {
            set.insert(&path);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn sets() -> impl Strategy<Value = FieldSet> {
        let element = prop_oneof![
            "[abc]".prop_map(PathElement::Field),
            "[xy]".prop_map(|name| PathElement::value(&json!(name))),
            (0..2_u8).prop_map(|port| PathElement::Key(json!({"port": port}).to_string())),
        ];
        prop::collection::vec(prop::collection::vec(element, 1..4), 0..8).prop_map(|paths| {
            let mut set = FieldSet::default();
            paths.iter().for_each(|path| set.insert(path));
            set
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(set in sets()) {
            prop_assert_eq!(FieldSet::from_json(&set.to_json()), Some(set));
        }

        #[test]
        fn sets_obey_the_laws_of_sets(a in sets(), b in sets()) {
            prop_assert_eq!(a.union(&b), b.union(&a));
            prop_assert_eq!(a.intersection(&b), b.intersection(&a));
            prop_assert_eq!(a.union(&a), a.clone());
            prop_assert!(a.difference(&a).is_empty());
            prop_assert!(a.difference(&b).intersection(&b).is_empty());
            prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
            prop_assert!(a.paths().iter().all(|path| a.union(&b).has(path)));
        }
    }

    #[test]
    fn a_member_with_members_below_has_a_dot() {
        let json = json!({"f:data": {".": {}, "f:a": {}}, "f:spec": {"f:x": {}}});
        let set = FieldSet::from_json(&json).expect("a valid set");
        assert_eq!(set.to_json(), json);
        let data = PathElement::Field("data".to_owned());
        assert!(set.has(std::slice::from_ref(&data)));
        assert!(!set.has(&[PathElement::Field("spec".to_owned())]));
        assert_eq!(
            set.only_below("data").to_json(),
            json!({"f:data": {".": {}, "f:a": {}}})
        );
        let without = set.recursive_difference(&FieldSet::from_iter([[data]]));
        assert_eq!(without.to_json(), json!({"f:spec": {"f:x": {}}}));
    }
}
