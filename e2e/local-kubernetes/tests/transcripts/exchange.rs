//! Recorded exchanges.

use std::collections::BTreeMap;

use serde_json::Value;

/// One request and its recorded answer.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    /// An object, or a text that is sent as it is.
    pub(crate) body: Value,
    pub(crate) status: u16,
    pub(crate) response_headers: BTreeMap<String, String>,
    pub(crate) answer: Answer,
}

/// A recorded answer's body.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Body(Value),
    Events(Vec<Value>),
}

/// All exchanges of a recording.
pub(crate) fn read(file: &str) -> Vec<Exchange> {
    let path = format!(
        "{}/tests/transcripts/{file}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(&path).expect("the recordings are part of the crate");
    let recorded: Vec<Value> = serde_json::from_str(&text).expect("the recordings are JSON");
    recorded
        .iter()
        .map(|recorded| exchange(file, recorded))
        .collect()
}

fn exchange(file: &str, recorded: &Value) -> Exchange {
    let (request, response) = (&recorded["request"], &recorded["response"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let headers = |value: &Value| -> BTreeMap<String, String> {
        value
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect()
    };
    Exchange {
        file: file.to_owned(),
        name: text(&recorded["name"]),
        method: text(&request["method"]),
        path: text(&request["path"]).replace(' ', ""),
        headers: headers(&request["headers"]),
        body: request["body"].clone(),
        status: response["status"]
            .as_u64()
            .and_then(|status| u16::try_from(status).ok())
            .unwrap_or_default(),
        response_headers: headers(&response["headers"]),
        answer: match response["events"].as_array() {
            Some(events) => Answer::Events(events.clone()),
            None => Answer::Body(response["body"].clone()),
        },
    }
}
