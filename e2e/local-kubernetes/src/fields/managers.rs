//! The entries of `metadata.managedFields`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::set::FieldSet;

/// How many managers that update (rather than apply) are listed one by one.
const MAX_UPDATE_MANAGERS: usize = 10;
/// Under this name the oldest updates are gathered.
const ANCIENT_CHANGES: &str = "ancient-changes";

/// Whether a manager applies or updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Server-side apply.
    Apply,
    /// Any other write.
    Update,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// Who owns fields. Appliers are the same whatever version they apply; updaters are told apart by version too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    /// The name, as `kubectl`.
    pub name: String,
    /// Apply or Update.
    pub operation: Operation,
    /// `apps/v1`; empty for appliers.
    pub api_version: String,
    /// `status`, `scale` or nothing.
    pub subresource: String,
}

impl Manager {
    /// As conflicts name it: `"curl" using v1`.
    pub fn display(&self) -> String {
        let mut text = crate::validation::quoted(&self.name);
        if !self.subresource.is_empty() {
            text.push_str(&format!(
                " with subresource {}",
                crate::validation::quoted(&self.subresource)
            ));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

/// What a manager owns, in which version it was said, and when it last changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    /// The paths.
    pub fields: FieldSet,
    /// The version of the paths.
    pub api_version: String,
    /// RFC 3339; none if nothing was changed by it.
    pub time: Option<String>,
}

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managers(pub BTreeMap<Manager, Owned>);

impl Managers {
    /// Reads the list of an object; none if it is malformed.
    pub fn decode(list: Option<&Value>) -> Option<Self> {
        let mut managers = BTreeMap::new();
        for entry in list.and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| {
                entry
                    .get(key)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let operation = match text("operation").as_str() {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return None,
            };
            if text("fieldsType") != "FieldsV1" {
                return None;
            }
            let fields = match entry.get("fieldsV1") {
                None | Some(Value::Null) => FieldSet::default(),
                Some(json) => FieldSet::from_json(json)?,
            };
            let api_version = text("apiVersion");
            let manager = Manager {
                name: text("manager"),
                operation,
                api_version: if operation == Operation::Apply {
                    String::new()
                } else {
                    api_version.clone()
                },
                subresource: text("subresource"),
            };
            let time = entry.get("time").and_then(Value::as_str).map(str::to_owned);
            managers.insert(
                manager,
                Owned {
                    fields,
                    api_version,
                    time,
                },
            );
        }
        Some(Self(managers))
    }

    /// The list for an object, in Kubernetes's order: appliers first, then by time, name, version and subresource. Managers of nothing are left out.
    pub fn encode(&self) -> Vec<Value> {
        let mut entries: Vec<(&Manager, &Owned)> = self
            .0
            .iter()
            .filter(|(_, owned)| !owned.fields.is_empty())
            .collect();
        entries.sort_by(|(a, x), (b, y)| {
            let rank = |manager: &Manager, owned: &Owned| {
                (
                    manager.operation,
                    owned.time.clone(),
                    manager.name.clone(),
                    owned.api_version.clone(),
                    manager.subresource.clone(),
                )
            };
            rank(a, x).cmp(&rank(b, y))
        });
        entries
            .into_iter()
            .map(|(manager, owned)| encode_entry(manager, owned))
            .collect()
    }

    /// Whether both lists name the same managers with the same fields, whatever the times.
    pub fn same_fields(&self, other: &Self) -> bool {
        let fields = |managers: &Self| -> Vec<(Manager, FieldSet)> {
            let entries = managers
                .0
                .iter()
                .filter(|(_, owned)| !owned.fields.is_empty());
            entries
                .map(|(manager, owned)| (manager.clone(), owned.fields.clone()))
                .collect()
        };
        fields(self) == fields(other)
    }

    /// Gathers the oldest updaters under one name a version when there are too many.
    pub fn cap(&mut self) {
        let mut updaters: Vec<(Option<String>, Manager)> = self
            .0
            .iter()
            .filter(|(manager, _)| manager.operation == Operation::Update)
            .map(|(manager, owned)| (owned.time.clone(), manager.clone()))
            .collect();
        let mut count = updaters.len();
        updaters.sort();
        let mut first_of_version: BTreeMap<String, Manager> = BTreeMap::new();
        for (_, manager) in updaters {
            if count <= MAX_UPDATE_MANAGERS {
                return;
            }
            let Some(first) = first_of_version.get(&manager.api_version).cloned() else {
                first_of_version.insert(manager.api_version.clone(), manager);
                continue;
            };
            let bucket = Manager {
                name: ANCIENT_CHANGES.to_owned(),
                operation: Operation::Update,
                api_version: manager.api_version.clone(),
                subresource: String::new(),
            };
            if !self.0.contains_key(&bucket)
                && let Some(owned) = self.0.remove(&first)
            {
                self.0.insert(bucket.clone(), owned);
            }
            if let Some(owned) = self.0.remove(&manager) {
                let gathered = self.0.entry(bucket).or_default();
                gathered.fields = gathered.fields.union(&owned.fields);
                gathered.api_version = owned.api_version;
                gathered.time = owned.time;
                count -= 1;
            }
        }
    }
}

fn encode_entry(manager: &Manager, owned: &Owned) -> Value {
    let mut entry = Map::new();
    entry.insert("manager".to_owned(), manager.name.clone().into());
    entry.insert("operation".to_owned(), manager.operation.as_str().into());
    entry.insert("apiVersion".to_owned(), owned.api_version.clone().into());
    if let Some(time) = &owned.time {
        entry.insert("time".to_owned(), time.clone().into());
    }
    entry.insert("fieldsType".to_owned(), "FieldsV1".into());
    entry.insert("fieldsV1".to_owned(), owned.fields.to_json());
    if !manager.subresource.is_empty() {
        entry.insert("subresource".to_owned(), manager.subresource.clone().into());
    }
    entry.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(name: &str, operation: &str, time: Option<&str>, fields: &Value) -> Value {
        let mut entry = json!({
            "manager": name, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields,
        });
        if let Some(time) = time {
            entry["time"] = time.into();
        }
        entry
    }

    #[test]
    fn appliers_come_first_and_the_oldest_change_before_newer_ones() {
        let fields = json!({"f:data": {}});
        let (late, early) = (Some("2026-01-02T00:00:00Z"), Some("2026-01-01T00:00:00Z"));
        let list = json!([
            entry("u", "Update", early, &fields),
            entry("b", "Apply", late, &fields),
            entry("a", "Apply", late, &fields),
            entry("c", "Apply", None, &fields),
            entry("z", "Apply", early, &fields),
        ]);
        let managers = Managers::decode(Some(&list)).expect("a valid list");
        let names: Vec<Value> = managers
            .encode()
            .iter()
            .map(|entry| entry["manager"].clone())
            .collect();
        assert_eq!(names, ["c", "z", "a", "b", "u"]);
    }

    #[test]
    fn the_oldest_of_too_many_updaters_are_gathered() {
        let list: Vec<Value> = (0..12)
            .map(|n| {
                let time = format!("2026-01-01T00:00:{n:02}Z");
                let field = format!("f:{n}");
                entry(
                    &format!("m{n}"),
                    "Update",
                    Some(&time),
                    &json!({"f:data": {field: {}}}),
                )
            })
            .collect();
        let mut managers = Managers::decode(Some(&list.into())).expect("a valid list");
        managers.cap();
        let entries = managers.encode();
        assert_eq!(entries.len(), 10);
        assert_eq!(entries[0]["manager"], ANCIENT_CHANGES);
        assert_eq!(
            entries[0]["fieldsV1"],
            json!({"f:data": {"f:0": {}, "f:1": {}, "f:2": {}}})
        );
    }

    #[test]
    fn a_malformed_list_is_refused() {
        assert_eq!(Managers::decode(Some(&json!([{"manager": "x"}]))), None);
        assert_eq!(Managers::decode(None), Some(Managers::default()));
    }
}
