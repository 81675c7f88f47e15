//! Containers of a pod.

use serde_json::{Value, json};

use super::{
    names,
    value::{fill, is_unset, items, items_mut, not_negative, object, one_of, port, quantity, text},
};
use crate::validation::{FieldError, Reason, child, index, key};

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
const HANDLERS: [&str; 4] = ["exec", "grpc", "httpGet", "tcpSocket"];

/// Defaults of a container.
pub(super) fn default(container: &mut Value) {
    let image = text(&container["image"]);
    let tag = image
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .split_once(':')
        .map(|(_, tag)| tag);
    let is_latest = !image.contains('@') && tag.is_none_or(|tag| tag == "latest");
    fill(
        container,
        "imagePullPolicy",
        if is_latest { "Always" } else { "IfNotPresent" },
    );
    fill(container, "terminationMessagePath", "/dev/termination-log");
    fill(container, "terminationMessagePolicy", "File");
    fill(container, "resources", json!({}));
    items_mut(container, "ports").for_each(|port| fill(port, "protocol", "TCP"));
    for variable in items_mut(container, "env") {
        if let Some(reference) = variable.pointer_mut("/valueFrom/fieldRef") {
            fill(reference, "apiVersion", "v1");
        }
    }
    for probe in PROBES {
        if let Some(probe) = container.get_mut(probe).filter(|probe| probe.is_object()) {
            default_probe(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(request) = container.pointer_mut(&format!("/lifecycle/{hook}/httpGet")) {
            default_request(request);
        }
    }
}

fn default_probe(probe: &mut Value) {
    for (field, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        if probe[field].is_null() || probe[field] == 0 {
            probe[field] = value.into();
        }
    }
    if let Some(request) = probe.get_mut("httpGet") {
        default_request(request);
    }
    if let Some(call) = probe
        .get_mut("grpc")
        .filter(|call| call["service"].is_null())
    {
        call["service"] = "".into();
    }
}

fn default_request(request: &mut Value) {
    fill(request, "path", "/");
    fill(request, "scheme", "HTTP");
}

/// What a pod (rather than a template) fills in: a limit without a request is the request.
pub(super) fn default_requests(container: &mut Value) {
    let Some(limits) = container
        .pointer("/resources/limits")
        .and_then(Value::as_object)
        .cloned()
    else {
        return;
    };
    let requests = container
        .get_mut("resources")
        .and_then(|resources| object(resources, "requests"));
    if let Some(requests) = requests {
        for (resource, limit) in limits {
            fill(requests, &resource, limit);
        }
    }
}

/// What is wrong with the containers of a pod; `volumes` are the names of its volumes.
pub(super) fn validate(
    containers: &[&Value],
    volumes: &[&str],
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    for (at, container) in containers.iter().enumerate() {
        let place = index(path, at);
        validate_one(container, volumes, &place, errors);
        let name = &container["name"];
        if !is_unset(name)
            && containers[..at]
                .iter()
                .any(|earlier| earlier["name"] == *name)
        {
            errors.push(FieldError::duplicate(child(&place, "name"), name));
        }
    }
}

fn validate_one(container: &Value, volumes: &[&str], path: &str, errors: &mut Vec<FieldError>) {
    let name = text(&container["name"]);
    if name.is_empty() {
        errors.push(FieldError::required(child(path, "name"), ""));
    } else {
        errors.extend(
            names::dns_label(name).iter().map(|problem| {
                FieldError::invalid(child(path, "name"), &container["name"], problem)
            }),
        );
    }
    let image = text(&container["image"]);
    if image.is_empty() {
        errors.push(FieldError::required(child(path, "image"), ""));
    } else if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(
            child(path, "image"),
            &container["image"],
            detail,
        ));
    }
    for probe in PROBES {
        if container[probe].is_object() {
            validate_probe(&container[probe], &child(path, probe), errors);
        }
    }
    let policies = ["FallbackToLogsOnError", "File"];
    one_of(
        &container["terminationMessagePolicy"],
        child(path, "terminationMessagePolicy"),
        &policies,
        true,
        errors,
    );
    validate_ports(&container["ports"], &child(path, "ports"), errors);
    validate_env(&container["env"], &child(path, "env"), errors);
    validate_mounts(
        &container["volumeMounts"],
        volumes,
        &child(path, "volumeMounts"),
        errors,
    );
    let policies = ["Always", "IfNotPresent", "Never"];
    one_of(
        &container["imagePullPolicy"],
        child(path, "imagePullPolicy"),
        &policies,
        true,
        errors,
    );
    validate_resources(&container["resources"], &child(path, "resources"), errors);
}

fn validate_probe(probe: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let handlers: Vec<&&str> = HANDLERS
        .iter()
        .filter(|handler| !probe[**handler].is_null())
        .collect();
    match handlers.as_slice() {
        [] => errors.push(FieldError::required(path, "must specify a handler type")),
        [_, more @ ..] => {
            let detail = "may not specify more than 1 handler type";
            errors.extend(
                more.iter()
                    .map(|handler| FieldError::forbidden(child(path, handler), detail)),
            );
        }
    }
    for handler in ["httpGet", "tcpSocket"] {
        let number = &probe[handler]["port"];
        if number.is_string() {
            let path = child(&child(path, handler), "port");
            errors.extend(
                names::port_name(text(number))
                    .iter()
                    .map(|problem| FieldError::invalid(path.as_str(), number, problem)),
            );
        } else if probe[handler].is_object() {
            port(number, child(&child(path, handler), "port"), errors);
        }
    }
    if probe["exec"].is_object() && items(&probe["exec"]["command"]).next().is_none() {
        errors.push(FieldError::required(child(path, "exec.command"), ""));
    }
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        not_negative(probe, field, path, errors);
    }
    if !path.ends_with("readinessProbe") && probe["successThreshold"] != 1 {
        errors.push(FieldError::invalid(
            child(path, "successThreshold"),
            &probe["successThreshold"],
            "must be 1",
        ));
    }
}

fn validate_ports(ports: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut names_seen: Vec<&str> = Vec::new();
    for (at, one) in items(ports).enumerate() {
        let path = index(path, at);
        let name = text(&one["name"]);
        if !name.is_empty() {
            let problems = names::port_name(name);
            errors.extend(
                problems.iter().map(|problem| {
                    FieldError::invalid(child(&path, "name"), &one["name"], problem)
                }),
            );
            if problems.is_empty() && names_seen.contains(&name) {
                errors.push(FieldError::duplicate(child(&path, "name"), &one["name"]));
            }
            names_seen.push(name);
        }
        if one["containerPort"].is_null() || one["containerPort"] == 0 {
            errors.push(FieldError::required(child(&path, "containerPort"), ""));
        } else {
            port(&one["containerPort"], child(&path, "containerPort"), errors);
        }
        if !one["hostPort"].is_null() && one["hostPort"] != 0 {
            port(&one["hostPort"], child(&path, "hostPort"), errors);
        }
        one_of(
            &one["protocol"],
            child(&path, "protocol"),
            &["SCTP", "TCP", "UDP"],
            true,
            errors,
        );
    }
}

fn validate_env(env: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (at, variable) in items(env).enumerate() {
        let path = index(path, at);
        let name = text(&variable["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(child(&path, "name"), ""));
        } else {
            let problems = names::env_name(name);
            errors.extend(problems.iter().map(|problem| {
                FieldError::invalid(child(&path, "name"), &variable["name"], problem)
            }));
        }
        let Some(source) = variable["valueFrom"].as_object() else {
            continue;
        };
        let place = child(&path, "valueFrom");
        if !is_unset(&variable["value"]) {
            errors.push(FieldError::invalid(
                place,
                &"".into(),
                "may not be specified when `value` is not empty",
            ));
        } else if source.len() != 1 {
            let detail = if source.is_empty() {
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
            } else {
                "may not have more than one field specified at a time"
            };
            errors.push(FieldError::invalid(place, &"".into(), detail));
        }
    }
}

fn validate_mounts(mounts: &Value, volumes: &[&str], path: &str, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<&str> = Vec::new();
    for (at, mount) in items(mounts).enumerate() {
        let path = index(path, at);
        let (name, mount_path) = (text(&mount["name"]), text(&mount["mountPath"]));
        if name.is_empty() {
            errors.push(FieldError::required(child(&path, "name"), ""));
        } else if !volumes.contains(&name) {
            errors.push(FieldError::not_found(child(&path, "name"), &mount["name"]));
        }
        if mount_path.is_empty() {
            errors.push(FieldError::required(child(&path, "mountPath"), ""));
        } else if seen.contains(&mount_path) {
            errors.push(FieldError::invalid(
                child(&path, "mountPath"),
                &mount["mountPath"],
                "must be unique",
            ));
        }
        seen.push(mount_path);
    }
}

/// Quantities must be positive and requests must not exceed limits.
fn validate_resources(resources: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for part in ["limits", "requests"] {
        for (resource, amount) in resources[part].as_object().into_iter().flatten() {
            let path = key(&child(path, part), resource);
            match quantity(amount) {
                None => {
                    let detail = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
                    errors.push(FieldError::invalid(path, amount, detail));
                }
                Some(amount_value) if amount_value.is_negative() => {
                    errors.push(FieldError::invalid(
                        path,
                        amount,
                        "must be greater than or equal to 0",
                    ));
                }
                Some(_) => {}
            }
        }
    }
    for (resource, request) in resources["requests"].as_object().into_iter().flatten() {
        let limit = &resources["limits"][resource];
        if let (Some(wanted), Some(allowed)) = (quantity(request), quantity(limit))
            && wanted > allowed
        {
            let detail = format!(
                "must be less than or equal to {resource} limit of {}",
                text(limit)
            );
            let error = FieldError::with_reason(
                child(path, "requests"),
                Reason::Invalid,
                &format!("{request}: {detail}"),
            );
            errors.push(error);
        }
    }
}
