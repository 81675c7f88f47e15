//! The order of the items of a merged list.

use std::collections::BTreeMap;

use serde_json::Value;

use super::path::PathElement;

/// Merges an item of the live list with one of the patch.
type Merge<'a> = dyn Fn(Option<&Value>, Option<&Value>) -> Option<Value> + 'a;

/// Merges two lists of identified items. Items of the patch come in the patch's order; live items that it does not name stay where they are
/// between those that it does.
pub(super) fn merge_items(
    live: Option<&Value>,
    patch: Option<&Value>,
    element: &dyn Fn(usize, &Value) -> PathElement,
    merge: &Merge<'_>,
) -> Value {
    let (live, patch) = (Side::new(live, element), Side::new(patch, element));
    let mut shared = patch
        .elements
        .iter()
        .filter(|element| live.unique.contains_key(element));
    let mut next_shared = shared.next();
    let mut merged: Vec<&PathElement> = Vec::new();
    let mut out = Vec::new();
    let (mut l, mut r) = (0, 0);
    while l < live.elements.len() || r < patch.elements.len() {
        if let (Some(left), Some(right)) = (live.elements.get(l), patch.elements.get(r)) {
            if left == right {
                merged.push(left);
                out.extend(merge(live.item(left), patch.item(left)));
                (l, r) = (l + 1, r + 1);
                next_shared = shared.next();
                continue;
            }
            if patch.unique.contains_key(left) && next_shared.is_some_and(|next| next != left) {
                // Shared, but not the one that is due now: it comes where the patch has it.
                l += 1;
                continue;
            }
        }
        if let Some(left) = live.elements.get(l) {
            if !patch.unique.contains_key(left) {
                out.extend(merge(live.items.get(l).copied(), None));
                l += 1;
                continue;
            }
            if merged.contains(&left) {
                l += 1;
            }
        }
        if let Some(right) = patch.elements.get(r) {
            merged.push(right);
            out.extend(merge(live.item(right), patch.item(right)));
            r += 1;
            if next_shared == Some(right) {
                next_shared = shared.next();
            }
        }
    }
    out.into()
}

/// One of the lists: its items in order, and by element where that is unique.
struct Side<'a> {
    items: Vec<&'a Value>,
    elements: Vec<PathElement>,
    unique: BTreeMap<PathElement, Option<&'a Value>>,
}

impl<'a> Side<'a> {
    fn new(list: Option<&'a Value>, element: &dyn Fn(usize, &Value) -> PathElement) -> Self {
        let items: Vec<&Value> = list
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .collect();
        let elements: Vec<PathElement> = items
            .iter()
            .enumerate()
            .map(|(at, item)| element(at, item))
            .collect();
        let mut unique = BTreeMap::new();
        for (item, element) in items.iter().zip(&elements) {
            unique
                .entry(element.clone())
                .and_modify(|known| *known = None)
                .or_insert(Some(*item));
        }
        Self {
            items,
            elements,
            unique,
        }
    }

    /// The item, unless there are several.
    fn item(&self, element: &PathElement) -> Option<&'a Value> {
        self.unique.get(element).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(live: &Value, patch: &Value) -> Value {
        merge_items(
            Some(live),
            Some(patch),
            &|_, item| PathElement::value(item),
            &|live, patch| patch.or(live).cloned(),
        )
    }

    #[test]
    fn the_patch_orders_what_it_names_and_other_items_stay() {
        assert_eq!(
            merged(&json!(["a", "b"]), &json!(["c"])),
            json!(["a", "b", "c"])
        );
        assert_eq!(
            merged(&json!(["a", "b"]), &json!(["b", "a"])),
            json!(["b", "a"])
        );
        assert_eq!(
            merged(&json!(["a", "x", "b"]), &json!(["b", "a"])),
            json!(["x", "b", "a"])
        );
        assert_eq!(
            merged(&json!(["a", "b", "c"]), &json!(["c", "a"])),
            json!(["b", "c", "a"])
        );
        assert_eq!(
            merged(&json!(["x"]), &json!(["a", "x", "b"])),
            json!(["a", "x", "b"])
        );
        assert_eq!(merged(&json!([]), &json!(["a"])), json!(["a"]));
    }
}
