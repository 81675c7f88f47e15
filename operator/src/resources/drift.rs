//! Whether an object already is as it should be, so that nothing is written when nothing changed.

use serde::Serialize;
use serde_json::Value;

/// Whether `live` has everything that `desired` says. What only `live` has was defaulted by the server or belongs to others.
pub fn is_current<T: Serialize>(desired: &T, live: &T) -> bool {
    match (serde_json::to_value(desired), serde_json::to_value(live)) {
        (Ok(desired), Ok(live)) => contains(&live, &desired),
        _ => false,
    }
}

fn contains(live: &Value, desired: &Value) -> bool {
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => desired.iter().all(|(key, value)| {
            // An empty object may be dropped by the server.
            let empty = value.as_object().is_some_and(serde_json::Map::is_empty);
            live.get(key).map_or(empty, |live| {
                if key == "requests" || key == "limits" {
                    same_quantities(live, value)
                } else {
                    contains(live, value)
                }
            })
        }),
        (Value::Array(live), Value::Array(desired)) => {
            live.len() == desired.len() && live.iter().zip(desired).all(|(a, b)| contains(a, b))
        }
        _ => live == desired,
    }
}

/// Compares amounts by value: the server writes `1000m` as `1`.
fn same_quantities(live: &Value, desired: &Value) -> bool {
    let (Some(live), Some(desired)) = (live.as_object(), desired.as_object()) else {
        return live == desired;
    };
    live.len() >= desired.len()
        && desired.iter().all(|(name, amount)| {
            live.get(name)
                .is_some_and(|live| live == amount || thousandths(live) == thousandths(amount))
        })
}

/// The amount in thousandths, so that `500m` and `0.5` are equal.
fn thousandths(amount: &Value) -> Option<u64> {
    let text = amount.as_str()?;
    match text.strip_suffix('m') {
        Some(digits) => digits.parse().ok(),
        None => match text.parse::<f64>() {
            Ok(number) => Some((number * 1000.0) as u64),
            Err(_) => Some(crate::api::Quantity::new(text).value()? * 1000),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_server_defaults_is_no_drift() {
        let desired =
            json!({"spec": {"ports": [{"port": 1}], "selector": {"a": "b"}, "emptyDir": {}}});
        let live = json!({"spec": {"ports": [{"port": 1, "protocol": "TCP"}], "selector": {"a": "b"}, "x": 1}});
        assert!(is_current(&desired, &live));
    }

    #[test]
    fn another_value_or_another_number_of_items_is_drift() {
        assert!(!is_current(&json!({"a": 1}), &json!({"a": 2})));
        assert!(!is_current(&json!({"a": [1]}), &json!({"a": [1, 2]})));
        assert!(!is_current(&json!({"a": 1}), &json!({})));
    }

    #[test]
    fn amounts_are_compared_by_value() {
        let desired = json!({"limits": {"cpu": "1000m", "memory": "1024Mi"}});
        assert!(is_current(
            &desired,
            &json!({"limits": {"cpu": "1", "memory": "1Gi"}})
        ));
        assert!(!is_current(
            &desired,
            &json!({"limits": {"cpu": "2", "memory": "1Gi"}})
        ));
    }
}
