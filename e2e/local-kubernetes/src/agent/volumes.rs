//! A pod's volumes as directories: what files they hold (pure), and writing them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, Volume,
};
use kube::ResourceExt;

use super::environment::{Place, Sources, field_value};
use super::mounts::Mounts;

/// Files of a volume: path below the volume's directory to content.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What a volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// An empty directory of the pod's own.
    Empty,
    /// Files that follow their sources.
    Files(Files),
    /// A claim's directory, kept when the pod goes.
    Claim(String),
    /// A directory of this machine.
    Host(PathBuf),
}

/// The names of the ConfigMaps and Secrets that a pod refers to.
#[must_use]
pub fn references(pod: &Pod) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    let Some(spec) = &pod.spec else {
        return (maps, secrets);
    };
    for container in spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
    {
        for from in container.env_from.iter().flatten() {
            maps.extend(
                from.config_map_ref
                    .iter()
                    .map(|reference| reference.name.clone()),
            );
            secrets.extend(
                from.secret_ref
                    .iter()
                    .map(|reference| reference.name.clone()),
            );
        }
        for source in container
            .env
            .iter()
            .flatten()
            .filter_map(|variable| variable.value_from.as_ref())
        {
            maps.extend(
                source
                    .config_map_key_ref
                    .iter()
                    .map(|reference| reference.name.clone()),
            );
            secrets.extend(
                source
                    .secret_key_ref
                    .iter()
                    .map(|reference| reference.name.clone()),
            );
        }
    }
    for volume in spec.volumes.iter().flatten() {
        maps.extend(volume.config_map.iter().map(|source| source.name.clone()));
        secrets.extend(
            volume
                .secret
                .iter()
                .filter_map(|source| source.secret_name.clone()),
        );
        for source in volume
            .projected
            .iter()
            .flat_map(|projected| projected.sources.iter().flatten())
        {
            maps.extend(source.config_map.iter().map(|source| source.name.clone()));
            secrets.extend(source.secret.iter().map(|source| source.name.clone()));
        }
    }
    (maps, secrets)
}

/// Whether a volume of the pod wants a service account token.
#[must_use]
pub fn wants_token(pod: &Pod) -> bool {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .flat_map(|volume| {
            volume
                .projected
                .iter()
                .flat_map(|projected| projected.sources.iter().flatten())
        })
        .any(|source| source.service_account_token.is_some())
}

/// What a volume holds now.
///
/// # Errors
/// What is missing, in words for an event.
pub fn content(
    volume: &Volume,
    pod: &Pod,
    place: &Place,
    sources: &Sources,
    token: Option<&str>,
) -> Result<Content, String> {
    if volume.empty_dir.is_some() {
        return Ok(Content::Empty);
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        return Ok(Content::Claim(claim.claim_name.clone()));
    }
    if let Some(host) = &volume.host_path {
        return Ok(Content::Host(host.path.clone().into()));
    }
    if let Some(source) = &volume.config_map {
        let map = sources.config_maps.get(&source.name);
        return object_files(
            "configmap",
            &source.name,
            map.map(map_bytes),
            source.items.as_deref(),
            source.optional,
        )
        .map(Content::Files);
    }
    if let Some(source) = &volume.secret {
        let name = source.secret_name.clone().unwrap_or_default();
        let secret = sources.secrets.get(&name);
        return object_files(
            "secret",
            &name,
            secret.map(secret_bytes),
            source.items.as_deref(),
            source.optional,
        )
        .map(Content::Files);
    }
    if let Some(source) = &volume.downward_api {
        return downward(pod, place, source.items.as_deref().unwrap_or_default())
            .map(Content::Files);
    }
    let Some(projected) = &volume.projected else {
        return Err(format!(
            "volume \"{}\" is of a kind that is not supported here",
            volume.name
        ));
    };
    let mut files = Files::new();
    for source in projected.sources.iter().flatten() {
        if let Some(wanted) = &source.service_account_token {
            files.insert(
                wanted.path.clone(),
                token.ok_or("no service account token")?.as_bytes().to_vec(),
            );
        }
        if let Some(source) = &source.config_map {
            // The volume that every pod gets names ConfigMaps that only some clusters have.
            let map = sources.config_maps.get(&source.name);
            let optional = source
                .optional
                .or_else(|| source.name.starts_with("openshift-").then_some(true));
            files.extend(object_files(
                "configmap",
                &source.name,
                map.map(map_bytes),
                source.items.as_deref(),
                optional,
            )?);
        }
        if let Some(source) = &source.secret {
            let secret = sources.secrets.get(&source.name);
            files.extend(object_files(
                "secret",
                &source.name,
                secret.map(secret_bytes),
                source.items.as_deref(),
                source.optional,
            )?);
        }
        if let Some(source) = &source.downward_api {
            files.extend(downward(
                pod,
                place,
                source.items.as_deref().unwrap_or_default(),
            )?);
        }
    }
    Ok(Content::Files(files))
}

fn map_bytes(map: &ConfigMap) -> Files {
    let texts = map
        .data
        .iter()
        .flatten()
        .map(|(key, text)| (key.clone(), text.clone().into_bytes()));
    texts
        .chain(
            map.binary_data
                .iter()
                .flatten()
                .map(|(key, bytes)| (key.clone(), bytes.0.clone())),
        )
        .collect()
}

fn secret_bytes(secret: &Secret) -> Files {
    secret
        .data
        .iter()
        .flatten()
        .map(|(key, bytes)| (key.clone(), bytes.0.clone()))
        .collect()
}

fn object_files(
    kind: &str,
    name: &str,
    found: Option<Files>,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
) -> Result<Files, String> {
    let optional = optional == Some(true);
    let Some(all) = found else {
        return if optional {
            Ok(Files::new())
        } else {
            Err(format!("{kind} \"{name}\" not found"))
        };
    };
    let Some(items) = items else { return Ok(all) };
    let mut files = Files::new();
    for item in items {
        match all.get(&item.key) {
            Some(content) => drop(files.insert(item.path.clone(), content.clone())),
            None if optional => {}
            None => {
                return Err(format!(
                    "{kind} references non-existent config key: {}",
                    item.key
                ));
            }
        }
    }
    Ok(files)
}

fn downward(pod: &Pod, place: &Place, items: &[DownwardAPIVolumeFile]) -> Result<Files, String> {
    let fields = items.iter().filter_map(|item| {
        item.field_ref
            .as_ref()
            .map(|field| (item.path.clone(), &field.field_path))
    });
    fields
        .map(|(path, field)| {
            field_value(pod, place, field)
                .map(|value| (path, value.into_bytes()))
                .map_err(|error| error.to_string())
        })
        .collect()
}

/// Makes a directory hold exactly these files; a file whose content is right is not touched, others are replaced at once.
///
/// # Errors
/// The directory cannot be written.
pub fn write(directory: &Path, files: &Files) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let safe = |name: &str| {
        !name.is_empty()
            && Path::new(name)
                .components()
                .all(|part| matches!(part, std::path::Component::Normal(_)))
    };
    for (name, content) in files.iter().filter(|(name, _)| safe(name)) {
        let path = directory.join(name);
        if std::fs::read(&path).is_ok_and(|present| present == *content) {
            continue;
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let fresh = directory.join(format!("..{}", name.replace('/', "_")));
        std::fs::write(&fresh, content)?;
        std::fs::rename(&fresh, &path)?;
    }
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_file() && !files.contains_key(&name) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A container's mounts, given the real directories of the pod's volumes by name.
#[must_use]
pub fn mounts(
    container: &Container,
    directories: &BTreeMap<String, PathBuf>,
    environment: &[(String, String)],
) -> Mounts {
    let mounted = container
        .volume_mounts
        .iter()
        .flatten()
        .filter_map(|mount| {
            let directory = directories.get(&mount.name)?;
            let below = mount
                .sub_path_expr
                .as_ref()
                .map(|path| super::environment::expand(path, environment))
                .or_else(|| mount.sub_path.clone());
            let real = below.filter(|path| !path.is_empty()).map_or_else(
                || directory.clone(),
                |path| directory.join(path.trim_start_matches('/')),
            );
            Some((mount.mount_path.clone(), real))
        });
    Mounts::new(mounted)
}

/// The real directory of a volume.
#[must_use]
pub fn directory(
    content: &Content,
    pod: &Pod,
    volume: &str,
    pod_directory: &Path,
    claims: &Path,
) -> PathBuf {
    match content {
        Content::Claim(name) => claims.join(pod.namespace().unwrap_or_default()).join(name),
        Content::Host(path) => path.clone(),
        Content::Empty | Content::Files(_) => pod_directory.join("volumes").join(volume),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn volume(spec: serde_json::Value) -> Volume {
        serde_json::from_value(spec).expect("a Volume")
    }

    #[test]
    fn config_maps_secrets_and_fields_become_files() {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "db-0", "namespace": "t"}}))
                .expect("a Pod");
        let map =
            serde_json::from_value(json!({"data": {"a": "1", "b": "2"}})).expect("a ConfigMap");
        let sources = Sources {
            config_maps: [("m".to_string(), map)].into(),
            ..Sources::default()
        };
        let files = |spec| {
            content(
                &volume(spec),
                &pod,
                &Place::default(),
                &sources,
                Some("secret-token"),
            )
        };
        let expected: Files = [("x".to_string(), b"1".to_vec())].into();
        assert_eq!(
            files(
                json!({"name": "v", "configMap": {"name": "m", "items": [{"key": "a", "path": "x"}]}})
            ),
            Ok(Content::Files(expected))
        );
        assert_eq!(
            files(json!({"name": "v", "configMap": {"name": "n"}})),
            Err("configmap \"n\" not found".into())
        );
        assert_eq!(
            files(json!({"name": "v", "secret": {"secretName": "n", "optional": true}})),
            Ok(Content::Files(Files::new()))
        );
        let access = json!({"name": "v", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token"}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
        ]}});
        let expected: Files = [
            ("token".to_string(), b"secret-token".to_vec()),
            ("namespace".to_string(), b"t".to_vec()),
        ]
        .into();
        assert_eq!(files(access), Ok(Content::Files(expected)));
    }

    #[test]
    fn a_directory_follows_its_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("volume");
        let list = || {
            let mut names: Vec<_> = std::fs::read_dir(&path)
                .expect("a directory")
                .map(|entry| {
                    entry
                        .expect("an entry")
                        .file_name()
                        .into_string()
                        .expect("text")
                })
                .collect();
            names.sort();
            names
        };
        write(
            &path,
            &[
                ("a".to_string(), b"1".to_vec()),
                ("b".to_string(), b"2".to_vec()),
            ]
            .into(),
        )
        .expect("written");
        assert_eq!(list(), ["a", "b"]);
        write(
            &path,
            &[
                ("a".to_string(), b"3".to_vec()),
                ("../evil".to_string(), b"".to_vec()),
            ]
            .into(),
        )
        .expect("written");
        assert_eq!(list(), ["a"]);
        assert_eq!(std::fs::read(path.join("a")).expect("a file"), b"3");
    }

    #[test]
    fn mounts_may_be_below_a_volume() {
        let container: Container = serde_json::from_value(json!({"name": "c", "volumeMounts": [
            {"name": "data", "mountPath": "/data", "subPathExpr": "$(POD)"}, {"name": "data", "mountPath": "/all"}, {"name": "none", "mountPath": "/none"},
        ]}))
        .expect("a Container");
        let mounts = mounts(
            &container,
            &[("data".to_string(), "/real".into())].into(),
            &[("POD".into(), "db-0".into())],
        );
        assert_eq!(
            mounts.rewrite("/data/x /all /none"),
            "/real/db-0/x /real /none"
        );
    }
}
