//! Merging lists: by key, or as sets of scalars.

use serde_json::{Map, Value};

use super::{PATCH, PatchError, merge_objects, without_directives};
use crate::schema::Schema;

/// Merges the items of a patch into a list. `order` is the wanted order of items, if the patch gives one.
pub(super) fn merge_lists(
    schema: Option<&Schema>,
    old: &[Value],
    patch: Vec<Value>,
    order: Option<&[Value]>,
) -> Result<Vec<Value>, PatchError> {
    let key = merge_key(schema);
    let (directives, items): (Vec<Value>, Vec<Value>) = patch
        .into_iter()
        .partition(|item| item.get(PATCH).is_some());
    let mut list = old.to_vec();
    for item in &directives {
        match item[PATCH].as_str() {
            Some("delete") => {
                let gone = identity(item, key)?;
                list.retain(|candidate| identity(candidate, key) != Ok(gone.clone()));
            }
            Some("replace") => return Ok(items.into_iter().map(without_directives).collect()),
            Some("merge") => {}
            _ => return Err(PatchError::UnknownDirective(item[PATCH].to_string())),
        }
    }
    let wanted = order.map_or_else(|| items.clone(), <[Value]>::to_vec);
    for item in items {
        let id = identity(&item, key)?;
        let at = list
            .iter()
            .position(|candidate| identity(candidate, key) == Ok(id.clone()));
        match (at, item) {
            (Some(at), Value::Object(patch)) => {
                let live = list[at].as_object().cloned().unwrap_or_default();
                let below = schema.and_then(|schema| schema.items.as_deref());
                list[at] = merge_objects(below, live, patch)?.into();
            }
            (Some(_), _) => {}
            (None, item) => list.push(without_directives(item)),
        }
    }
    reorder(schema, list, &wanted, old)
}

/// Puts the items named in `wanted` in that order; the others keep their place relative to them as in `before`.
pub(super) fn reorder(
    schema: Option<&Schema>,
    list: Vec<Value>,
    wanted: &[Value],
    before: &[Value],
) -> Result<Vec<Value>, PatchError> {
    let key = merge_key(schema);
    let ids = |items: &[Value]| {
        items
            .iter()
            .map(|item| identity(item, key))
            .collect::<Result<Vec<_>, _>>()
    };
    let (wanted, before) = (ids(wanted)?, ids(before)?);
    let mut named: Vec<(usize, Value, Value)> = Vec::new();
    let mut others: Vec<(Value, Value)> = Vec::new();
    for item in list {
        let id = identity(&item, key)?;
        match wanted.iter().position(|candidate| *candidate == id) {
            Some(at) => named.push((at, id, item)),
            None => others.push((id, item)),
        }
    }
    named.sort_by_key(|(at, _, _)| *at);
    let place = |id: &Value| before.iter().position(|candidate| candidate == id);
    let mut others = others.into_iter().peekable();
    let mut out = Vec::new();
    for (_, id, item) in named {
        // An item that the patch does not name goes first only if it stood before this one.
        let stood_before = |other: &Value| matches!((place(other), place(&id)), (Some(other), Some(named)) if other < named);
        while others.peek().is_some_and(|(other, _)| stood_before(other)) {
            out.extend(others.next().map(|(_, item)| item));
        }
        out.push(item);
    }
    out.extend(others.map(|(_, item)| item));
    Ok(out)
}

fn merge_key(schema: Option<&Schema>) -> Option<&str> {
    schema.and_then(|schema| schema.patch.merge_key.as_deref())
}

/// What makes an item the same as another: the value of its key, or the value itself.
fn identity(item: &Value, key: Option<&str>) -> Result<Value, PatchError> {
    let Some(key) = key else {
        return Ok(item.clone());
    };
    let missing = || PatchError::MissingKey {
        item: item.to_string(),
        key: key.to_owned(),
    };
    item.as_object()
        .and_then(|item: &Map<String, Value>| item.get(key))
        .cloned()
        .ok_or_else(missing)
}
