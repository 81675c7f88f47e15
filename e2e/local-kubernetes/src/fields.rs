//! Server-side apply: who owns which field, and what follows when somebody applies or updates.
//!
//! The rules are those of Kubernetes's structured merge diff:
//! - an update takes every field that it changes from everybody else;
//! - an apply owns exactly the fields that it names; taking one with another value from somebody else is a conflict unless forced;
//! - what an applier no longer names disappears, unless another applier names it;
//! - fields that the server fills in belong to the updater that created the object, never to an applier.
//!
//! Pure: the time is passed in, objects are JSON.

mod managers;
mod order;
mod path;
mod scale;
mod set;
mod typed;

use serde_json::{Map, Value, json};

pub use self::{
    managers::{Manager, Managers, Operation, Owned},
    path::{PathElement, display},
    scale::update_scale,
    set::FieldSet,
    typed::{Comparison, compare, merge, mismatches, remove, to_set},
};
use crate::schema::{self, Schema};

/// Owner of everything that was there before the first apply to an object without managers.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Which part of the object a write may own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything (kinds without a status subresource).
    All,
    /// Everything but `.status` (the main resource of kinds with a status subresource).
    NotStatus,
    /// Only `.status` (the status subresource).
    Status,
}

/// One write, as far as ownership is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// Schema of the kind, including `metadata`.
    pub schema: &'a Schema,
    /// Whether the kind is built in: its objects then have zero values from the start, which nobody owns.
    pub builtin: bool,
    /// `apps/v1`.
    pub api_version: &'a str,
    /// `StatefulSet`.
    pub kind: &'a str,
    /// Field manager.
    pub manager: &'a str,
    /// `status`, `scale` or nothing.
    pub subresource: &'a str,
    /// What may be owned.
    pub part: Part,
    /// RFC 3339 with seconds.
    pub now: &'a str,
}

/// What an apply gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The merged object with its managers; defaults are still to be filled in.
    pub object: Value,
    /// Whether anything but ownership changed.
    pub changed: bool,
}

/// One field that somebody else owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// `conflict with "curl" using v1`.
    pub message: String,
    /// `.data.b`.
    pub field: String,
}

/// Why an apply was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// 409 Conflict with one cause of type `FieldManagerConflict` a field.
    #[error("{message}")]
    Conflict {
        /// The message of the status.
        message: String,
        /// The causes.
        conflicts: Vec<Conflict>,
    },
    /// 400 BadRequest.
    #[error("{0}")]
    BadRequest(String),
    /// 500 without a reason: the patch does not fit the schema.
    #[error("failed to create typed patch object ({object}): {mismatch}")]
    Mismatch {
        /// `namespace/name; group/version, Kind=K`.
        object: String,
        /// `.spec.bogus: field not declared in schema`.
        mismatch: String,
    },
}

impl ApplyError {
    /// The `metav1.Status` to answer with.
    pub fn status(&self) -> Value {
        let mut status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.to_string()});
        match self {
            Self::Conflict { conflicts, .. } => {
                let cause = |conflict: &Conflict| json!({"reason": "FieldManagerConflict", "message": conflict.message, "field": conflict.field});
                status["reason"] = "Conflict".into();
                status["details"] =
                    json!({"causes": conflicts.iter().map(cause).collect::<Vec<_>>()});
                status["code"] = 409.into();
            }
            Self::BadRequest(_) => {
                status["reason"] = "BadRequest".into();
                status["code"] = 400.into();
            }
            Self::Mismatch { .. } => status["code"] = 500.into(),
        }
        status
    }
}

/// Records a create or an update in `new.metadata.managedFields`. `live` is none for a create; `new` is complete, defaults included.
pub fn update(write: &Write<'_>, live: Option<&Value>, new: &mut Value) {
    let given = take_managers(new);
    let Some(mut managers) = managers_for_update(write, live, given.as_ref()) else {
        return;
    };
    let empty = empty_object(write);
    let old = without_managers(live.unwrap_or(&empty));
    record_update(write, &mut managers, write.manager, &old, new);
    managers.cap();
    keep_times(live, &mut managers, &old, new);
    put_managers(new, &managers);
}

/// The managers that an update starts from; none if the object is not tracked.
fn managers_for_update(
    write: &Write<'_>,
    live: Option<&Value>,
    given: Option<&Value>,
) -> Option<Managers> {
    let of_live = || {
        Managers::decode(live.and_then(|live| live.pointer("/metadata/managedFields")))
            .unwrap_or_default()
    };
    let managers = if !write.subresource.is_empty() {
        of_live()
    } else if given.is_some_and(is_reset) {
        Managers::default()
    } else {
        Managers::decode(given)
            .filter(|given| !given.0.is_empty())
            .unwrap_or_else(of_live)
    };
    (live.is_none() || !managers.0.is_empty()).then_some(managers)
}

/// `[{}]` asks for forgetting all managers.
fn is_reset(given: &Value) -> bool {
    given
        .as_array()
        .is_some_and(|list| list.len() == 1 && list[0].as_object().is_some_and(Map::is_empty))
}

fn record_update(write: &Write<'_>, managers: &mut Managers, name: &str, old: &Value, new: &Value) {
    let changes = owned_changes(write, old, new);
    take_from_others(managers, None, &changes);
    let taken = strip(&changes.added.union(&changes.modified));
    if taken.is_empty() {
        return;
    }
    let manager = Manager {
        name: name.to_owned(),
        operation: Operation::Update,
        api_version: write.api_version.to_owned(),
        subresource: write.subresource.to_owned(),
    };
    let owned = managers.0.entry(manager).or_default();
    owned.fields = owned.fields.union(&taken);
    owned.api_version = write.api_version.to_owned();
    owned.time = Some(write.now.to_owned());
}

/// Applies a patch to `live` (none: creates the object).
///
/// # Errors
/// `ApplyError` for conflicts (unless `force`), a wrong version, managers in the patch, and fields that are not in the schema.
pub fn apply(
    write: &Write<'_>,
    live: Option<&Value>,
    patch: &Value,
    force: bool,
) -> Result<Applied, ApplyError> {
    check_patch(write, patch)?;
    let empty = empty_object(write);
    let old = without_managers(live.unwrap_or(&empty));
    let mut managers =
        Managers::decode(live.and_then(|live| live.pointer("/metadata/managedFields")))
            .unwrap_or_default();
    if live.is_some() && managers.0.is_empty() {
        // Ownership of what is there begins with the first apply.
        record_update(write, &mut managers, BEFORE_FIRST_APPLY, &empty, &old);
    }
    let manager = Manager {
        name: write.manager.to_owned(),
        operation: Operation::Apply,
        api_version: String::new(),
        subresource: write.subresource.to_owned(),
    };
    let before = managers.0.get(&manager).cloned();
    let fields = owned_part(write.part, &to_set(write.schema, patch));
    let time = before.as_ref().and_then(|owned| owned.time.clone());
    let api_version = write.api_version.to_owned();
    managers.0.insert(
        manager.clone(),
        Owned {
            fields: fields.clone(),
            api_version,
            time,
        },
    );

    let mut object = merge(write.schema, &old, patch);
    if let Some(before) = &before {
        object = drop_unnamed(write, &object, &managers, &before.fields);
    }
    let changes = owned_changes(write, &old, &object);
    if !force {
        refuse_conflicts(&managers, &manager, &changes)?;
    }
    take_from_others(&mut managers, Some(&manager), &changes);
    let changed = !changes.is_same();
    if let Some(owned) = managers.0.get_mut(&manager) {
        owned.fields = strip(&fields);
        if changed {
            owned.time = Some(write.now.to_owned());
        }
    }
    if !changed && live.is_some() {
        object = old.clone();
    }
    keep_times(live, &mut managers, &old, &object);
    put_managers(&mut object, &managers);
    Ok(Applied { object, changed })
}

fn check_patch(write: &Write<'_>, patch: &Value) -> Result<(), ApplyError> {
    let version = patch
        .get("apiVersion")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if version != write.api_version {
        let message = format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {}",
            write.api_version
        );
        return Err(ApplyError::BadRequest(message));
    }
    if patch
        .pointer("/metadata/managedFields")
        .is_some_and(|fields| !fields.is_null())
    {
        return Err(ApplyError::BadRequest(
            "metadata.managedFields must be nil".to_owned(),
        ));
    }
    let mut mismatches = mismatches(write.schema, patch);
    let mismatch = match mismatches.len() {
        0 => return Ok(()),
        1 => mismatches.remove(0),
        _ => format!("errors:\n  {}", mismatches.join("\n  ")),
    };
    let text = |pointer: &str| {
        patch
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (group, version) = write
        .api_version
        .rsplit_once('/')
        .unwrap_or(("", write.api_version));
    let object = format!(
        "{}/{}; {group}/{version}, Kind={}",
        text("/metadata/namespace"),
        text("/metadata/name"),
        write.kind
    );
    Err(ApplyError::Mismatch { object, mismatch })
}

/// Removes what the applier named last time, does not name now, and no other applier names.
fn drop_unnamed(write: &Write<'_>, merged: &Value, managers: &Managers, last: &FieldSet) -> Value {
    let schema = write.schema;
    let named = |set: &FieldSet| set.with_named_fields(Some(schema));
    let pruned = remove(schema, merged, &named(last));
    let applied = managers
        .0
        .iter()
        .filter(|(manager, _)| manager.operation == Operation::Apply)
        .fold(FieldSet::default(), |all, (_, owned)| {
            all.union(&owned.fields)
        });
    let merged_set = named(&to_set(schema, merged));
    let gone = merged_set.difference(&named(&to_set(schema, &pruned)).union(&named(&applied)));
    let pruned = remove(schema, merged, &gone);
    // What only hangs below something dropped, but was never the applier's, stays.
    let dangling = merged_set
        .difference(&named(&to_set(schema, &pruned)))
        .intersection(&named(last));
    remove(schema, merged, &dangling)
}

fn refuse_conflicts(
    managers: &Managers,
    applier: &Manager,
    changes: &Comparison,
) -> Result<(), ApplyError> {
    let changed = changes.modified.union(&changes.added);
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for (manager, owned) in managers.0.iter().filter(|(manager, _)| *manager != applier) {
        let paths: Vec<String> = owned
            .fields
            .intersection(&changed)
            .paths()
            .iter()
            .map(|path| display(path))
            .collect();
        if !paths.is_empty() {
            found.push((manager.display(), paths));
        }
    }
    let conflicts: Vec<Conflict> = found
        .iter()
        .flat_map(|(manager, paths)| {
            paths.iter().map(move |path| Conflict {
                message: format!("conflict with {manager}"),
                field: path.clone(),
            })
        })
        .collect();
    let message = match conflicts.as_slice() {
        [] => return Ok(()),
        [only] => format!(
            "Apply failed with 1 conflict: {}: {}",
            only.message, only.field
        ),
        _ => {
            let lines: Vec<String> = found
                .iter()
                .flat_map(|(manager, paths)| {
                    std::iter::once(format!("conflicts with {manager}:"))
                        .chain(paths.iter().map(|path| format!("- {path}")))
                })
                .collect();
            format!(
                "Apply failed with {} conflicts: {}",
                conflicts.len(),
                lines.join("\n")
            )
        }
    };
    Err(ApplyError::Conflict { message, conflicts })
}

/// Takes changed and removed fields from all managers but one.
fn take_from_others(managers: &mut Managers, writer: Option<&Manager>, changes: &Comparison) {
    let taken = changes
        .modified
        .union(&changes.added)
        .union(&changes.removed);
    for (_, owned) in managers
        .0
        .iter_mut()
        .filter(|(manager, _)| Some(*manager) != writer)
    {
        owned.fields = owned.fields.difference(&taken);
    }
    managers
        .0
        .retain(|manager, owned| Some(manager) == writer || !owned.fields.is_empty());
}

fn owned_changes(write: &Write<'_>, old: &Value, new: &Value) -> Comparison {
    let changes = compare(write.schema, old, new);
    Comparison {
        added: owned_part(write.part, &changes.added),
        modified: owned_part(write.part, &changes.modified),
        removed: owned_part(write.part, &changes.removed),
    }
}

fn owned_part(part: Part, set: &FieldSet) -> FieldSet {
    let status = || FieldSet::from_iter([[PathElement::Field("status".to_owned())]]);
    match part {
        Part::All => set.clone(),
        Part::NotStatus => set.recursive_difference(&status()),
        Part::Status => set.only_below("status"),
    }
}

/// Leaves out what nobody owns: the identity of the object and what the server says about it.
fn strip(set: &FieldSet) -> FieldSet {
    const IDENTITY: [&str; 3] = ["apiVersion", "kind", "metadata"];
    const METADATA: [&str; 9] = [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ];
    let field = |name: &str| PathElement::Field(name.to_owned());
    let mut unowned = FieldSet::from_iter(IDENTITY.map(|name| [field(name)]));
    for name in METADATA {
        unowned.insert(&[field("metadata"), field(name)]);
    }
    set.difference(&unowned)
}

/// An object of the kind before anything is set.
fn empty_object(write: &Write<'_>) -> Value {
    let mut object = json!({"apiVersion": write.api_version, "kind": write.kind, "metadata": {}});
    if write.builtin {
        schema::apply_defaults(write.schema, &mut object);
    }
    object
}

/// A write that changes nothing leaves no trace: times stay as they were.
fn keep_times(live: Option<&Value>, managers: &mut Managers, old: &Value, new: &Value) {
    let Some(before) =
        live.and_then(|live| Managers::decode(live.pointer("/metadata/managedFields")))
    else {
        return;
    };
    if before.same_fields(managers) && without_version(old) == without_version(new) {
        *managers = before;
    }
}

/// Gives `new`, which is complete, the times of `live` if nothing else differs. What a writer names may differ from what is there only until
/// it is brought into its canonical form, so that [`apply`] cannot always tell.
pub(crate) fn keep_times_of_no_change(live: &Value, new: &mut Value) {
    if let Some(mut managers) = Managers::decode(new.pointer("/metadata/managedFields")) {
        let (old, bare) = (without_managers(live), without_managers(new));
        keep_times(Some(live), &mut managers, &old, &bare);
        put_managers(new, &managers);
    }
}

/// The object without its resource version, which a writer may leave out.
fn without_version(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
    object
}

fn without_managers(object: &Value) -> Value {
    let mut object = object.clone();
    take_managers(&mut object);
    object
}

fn take_managers(object: &mut Value) -> Option<Value> {
    object
        .get_mut("metadata")?
        .as_object_mut()?
        .remove("managedFields")
}

fn put_managers(object: &mut Value, managers: &Managers) {
    let entries = managers.encode();
    if !entries.is_empty()
        && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.insert("managedFields".to_owned(), entries.into());
    }
}

#[cfg(test)]
#[path = "fields/tests.rs"]
mod tests;
