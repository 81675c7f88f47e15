//! GET of an object and of collections: selectors, pages, and lists at a revision.

use std::{sync::Arc, time::Duration};

use axum::{http::StatusCode, response::Response};
use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::general_purpose::{GeneralPurpose, NO_PAD},
};
use serde_json::{Value, json};

use super::{call::Call, encode, error::ApiError, events};
use crate::{
    object,
    selector::{FieldSelector, LabelSelector},
    store::{Key, Store},
    validation::FieldError,
};

/// The encoding of continue tokens. Like Go's decoder it takes texts whose last bits are not zero.
const TOKEN: GeneralPurpose =
    GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

/// How long a list waits for a revision that has not come yet, as in Kubernetes.
const PATIENCE: Duration = Duration::from_secs(3);

/// Answers a GET of one object.
pub(super) fn get(call: &Call) -> Result<Response, ApiError> {
    let name = &call.about.name;
    let object = call
        .state
        .with_store(|store| store.get(&call.key(name)).cloned());
    let object = object.ok_or_else(|| ApiError::not_found(&call.resource, name))?;
    Ok(call.respond(StatusCode::OK, &encode::object(call, &object)))
}

/// What a collection request selects.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    labels: LabelSelector,
    fields: FieldSelector,
    /// A name in the path of a watch.
    name: Option<String>,
}

impl Filter {
    /// Reads the selectors of a request.
    ///
    /// # Errors
    /// 400 for selectors that cannot be read or name unknown fields.
    pub(super) fn parse(call: &Call) -> Result<Self, ApiError> {
        let labels =
            LabelSelector::parse(call.query.get("labelSelector")).map_err(ApiError::bad_request)?;
        let fields =
            FieldSelector::parse(call.query.get("fieldSelector")).map_err(ApiError::bad_request)?;
        for requirement in fields.requirements() {
            check_field(call, &requirement.field)?;
        }
        let name = (!call.about.name.is_empty()).then(|| call.about.name.clone());
        let is_event = call.resource.is("events.k8s.io", "Event");
        Ok(Self {
            labels,
            fields: if is_event {
                fields.renamed(events::core_field)
            } else {
                fields
            },
            name,
        })
    }

    /// Whether everything is selected.
    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.requirements().is_empty()
    }

    /// Whether an object is selected.
    pub(super) fn matches(&self, object: &Value) -> bool {
        self.name
            .as_deref()
            .is_none_or(|name| object::name(object) == name)
            && (self.labels.is_empty() || self.labels.matches(&object::labels(object)))
            && self.fields.matches(object)
    }
}

fn check_field(call: &Call, field: &str) -> Result<(), ApiError> {
    let resource = &call.resource;
    if matches!(field, "metadata.name" | "metadata.namespace")
        || resource.selectable.iter().any(|known| known == field)
    {
        return Ok(());
    }
    let message = if resource.custom.is_none() && resource.selectable.is_empty() {
        format!(
            "\"{field}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        )
    } else {
        format!("field label not supported: {field}")
    };
    Err(ApiError::bad_request(message))
}

/// The objects that a request selects now.
pub(super) fn selected(call: &Call, store: &Store, filter: &Filter) -> Vec<Arc<Value>> {
    let objects = store
        .list(&call.resource.storage, scope(call))
        .map(|(_, object)| object);
    objects
        .filter(|object| filter.matches(object))
        .cloned()
        .collect()
}

/// The namespace of a collection request, `None` for all.
pub(super) fn scope(call: &Call) -> Option<&str> {
    Some(call.namespace()).filter(|namespace| !namespace.is_empty())
}

/// Which moment a list shall show.
enum Moment {
    Now,
    NotOlderThan(u64),
    Exactly(u64),
    /// A page of a list that began at this revision, after this key.
    Continued(u64, Key),
}

/// Answers a GET of a collection.
pub(super) async fn answer(call: Call) -> Result<Response, ApiError> {
    let filter = Filter::parse(&call)?;
    let moment = moment(&call)?;
    if let Moment::NotOlderThan(revision) | Moment::Exactly(revision) = moment {
        wait_for(&call, revision).await?;
    }
    let body = call
        .state
        .with_store(|store| page(&call, store, &filter, &moment))?;
    Ok(call.respond(StatusCode::OK, &body))
}

fn moment(call: &Call) -> Result<Moment, ApiError> {
    let token = call.query.get("continue");
    if !token.is_empty() {
        return decode_token(call, token);
    }
    let text = call.query.get("resourceVersion");
    let wanted = call.query.get("resourceVersionMatch");
    let revision = parse_revision(text)
        .map_err(|why| ApiError::bad_request(format!("invalid resource version: {why}")))?;
    match (wanted, text) {
        ("", "" | "0") => Ok(Moment::Now),
        ("", _) | ("NotOlderThan", _) if !text.is_empty() => Ok(Moment::NotOlderThan(revision)),
        ("Exact", "0") => Err(list_option(
            "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"",
        )),
        ("Exact", _) if !text.is_empty() => Ok(Moment::Exactly(revision)),
        ("NotOlderThan" | "Exact", _) => Err(list_option(
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        )),
        (other, _) => {
            let allowed = ["Exact".to_owned(), "NotOlderThan".to_owned(), String::new()];
            let error = FieldError::not_supported("resourceVersionMatch", &other.into(), &allowed);
            Err(ApiError::invalid_kind(
                "ListOptions",
                "meta.k8s.io",
                "",
                &[error],
            ))
        }
    }
}

/// 422 for a combination of list options that is not allowed.
pub(super) fn list_option(why: &str) -> ApiError {
    let error = FieldError::forbidden("resourceVersionMatch", why);
    ApiError::invalid_kind("ListOptions", "meta.k8s.io", "", &[error])
}

/// Reads a resource version; empty is 0.
///
/// # Errors
/// The text with which Kubernetes refuses.
pub(super) fn parse_revision(text: &str) -> Result<u64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        format!("resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax")
    })
}

/// Waits until the store has reached a revision.
///
/// # Errors
/// 504 if it does not come in time.
async fn wait_for(call: &Call, revision: u64) -> Result<(), ApiError> {
    let mut revisions = call.state.revisions();
    let limit = call.query.duration("timeout").unwrap_or(PATIENCE);
    let reached = tokio::time::timeout(
        limit.min(PATIENCE),
        revisions.wait_for(|current| *current >= revision),
    )
    .await;
    match reached {
        Ok(_) => Ok(()),
        Err(_) if limit < PATIENCE => Err(ApiError::timeout()),
        Err(_) => Err(ApiError::future_revision(
            revision,
            call.state.with_store(|store| store.revision()),
        )),
    }
}

fn page(call: &Call, store: &Store, filter: &Filter, moment: &Moment) -> Result<Value, ApiError> {
    let resource = &call.resource.storage;
    let (revision, objects) = match moment {
        Moment::Now | Moment::NotOlderThan(_) => {
            let objects = store
                .list(resource, scope(call))
                .map(|(key, object)| (key.clone(), object.clone()))
                .collect();
            (store.revision(), objects)
        }
        Moment::Exactly(revision) | Moment::Continued(revision, _) => {
            let objects = store
                .list_at(resource, scope(call), *revision)
                .map_err(|_| expired(call, store))?;
            (*revision, objects)
        }
    };
    let mut items: Vec<(Key, Arc<Value>)> = objects
        .into_iter()
        .filter(|(_, object)| filter.matches(object))
        .collect();
    if let Moment::Continued(_, after) = moment {
        items.retain(|(key, _)| key > after);
    }
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    let limit: usize = call.query.get("limit").parse().unwrap_or_default();
    if limit > 0 && items.len() > limit {
        let remaining = items.len() - limit;
        items.truncate(limit);
        if let Some((last, _)) = items.last() {
            metadata["continue"] = encode_token(call, revision, last).into();
        }
        if filter.is_empty() {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    let items: Vec<Arc<Value>> = items.into_iter().map(|(_, object)| object).collect();
    Ok(encode::list(call, &items, &metadata))
}

fn expired(call: &Call, store: &Store) -> ApiError {
    if call.query.get("continue").is_empty() {
        let asked = call.query.get("resourceVersion");
        return ApiError::expired(format!(
            "too old resource version: {asked} ({})",
            store.floor()
        ));
    }
    ApiError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.",
    )
}

/// The place after a key, in Kubernetes's own form of the token.
fn encode_token(call: &Call, revision: u64, last: &Key) -> String {
    let start = match scope(call) {
        Some(_) => format!("/{}\0", last.name),
        None if call.resource.namespaced => format!("/{}/{}\0", last.namespace, last.name),
        None => format!("/{}\0", last.name),
    };
    TOKEN.encode(json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start}).to_string())
}

fn decode_token(call: &Call, token: &str) -> Result<Moment, ApiError> {
    let invalid = |why: String| {
        ApiError::bad_request(format!(
            "invalid continue token: continue key is not valid: {why}"
        ))
    };
    let bytes = TOKEN
        .decode(token)
        .map_err(|error| invalid(error.to_string()))?;
    let parsed: Value = serde_json::from_slice(&bytes).map_err(|_| {
        let first = bytes.first().copied().map(char::from).unwrap_or_default();
        invalid(format!(
            "invalid character '{first}' looking for beginning of value"
        ))
    })?;
    let start = parsed["start"]
        .as_str()
        .and_then(|start| start.strip_prefix('/'))
        .map(|start| start.trim_end_matches('\0'));
    let (Some(start), Some(revision)) = (start, parsed["rv"].as_u64()) else {
        return Err(invalid("incorrect start key or version".into()));
    };
    let (namespace, name) = match scope(call) {
        None if call.resource.namespaced => start.split_once('/').unwrap_or(("", start)),
        _ => (call.namespace(), start),
    };
    let after = Key {
        resource: call.resource.storage.clone(),
        namespace: namespace.into(),
        name: name.into(),
    };
    Ok(Moment::Continued(revision, after))
}
