//! What a pod's containers need before they start: volumes, credentials, and where names are asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use kube::api::Api;

use super::Worker;
use crate::agent::credentials;
use crate::agent::environment::{Place, Sources};
use crate::agent::resolver;
use crate::agent::volumes::{self, Content};

/// How often volumes that lack something are tried again.
const PREPARE_AGAIN: Duration = Duration::from_secs(1);

impl Worker {
    pub(super) fn place(&self) -> Place {
        Place {
            pod_ip: self.addresses.pod.to_string(),
            host_ip: self.addresses.host.to_string(),
            allocatable: self.node.spec.allocatable(),
        }
    }

    pub(super) async fn sources(&self) -> Result<Sources, kube::Error> {
        let namespace = self.pod.namespace().unwrap_or_default();
        let client = &self.node.options.client;
        let (maps, secrets) = volumes::references(&self.pod);
        let mut sources = Sources::default();
        for name in maps {
            if let Some(map) = Api::<ConfigMap>::namespaced(client.clone(), &namespace)
                .get_opt(&name)
                .await?
            {
                sources.config_maps.insert(name, map);
            }
        }
        for name in secrets {
            if let Some(secret) = Api::<Secret>::namespaced(client.clone(), &namespace)
                .get_opt(&name)
                .await?
            {
                sources.secrets.insert(name, secret);
            }
        }
        Ok(sources)
    }

    /// Volumes, credentials and where names are asked for.
    pub(super) async fn prepare(&mut self) -> Result<(), String> {
        tokio::fs::create_dir_all(&self.directory)
            .await
            .map_err(|error| error.to_string())?;
        if let Some(server) = self
            .node
            .options
            .api_server
            .as_ref()
            .filter(|_| credentials::wanted(&self.pod))
        {
            let token = credentials::token(&self.node.options.client, &self.pod)
                .await
                .map_err(|error| error.to_string())?;
            let file = self.directory.join("token");
            let config =
                credentials::kubeconfig(server, &file, &self.pod.namespace().unwrap_or_default());
            tokio::fs::write(&file, token)
                .await
                .map_err(|error| error.to_string())?;
            tokio::fs::write(self.directory.join("kubeconfig"), config)
                .await
                .map_err(|error| error.to_string())?;
        }
        if let Some(server) = self.node.name_server {
            self.binds = resolver::write(&self.pod, server, &self.directory)
                .await
                .map_err(|error| format!("resolv.conf: {error}"))?;
        }
        self.materialise().await
    }

    /// Makes the volumes' directories hold what they should.
    pub(super) async fn materialise(&mut self) -> Result<(), String> {
        let sources = self.sources().await.map_err(|error| error.to_string())?;
        let place = self.place();
        let token = match volumes::wants_token(&self.pod) {
            true => Some(self.token().await?),
            false => None,
        };
        let claims = self.node.options.dir.join("claims");
        let mut directories = BTreeMap::new();
        for volume in self
            .pod
            .spec
            .iter()
            .flat_map(|spec| spec.volumes.iter().flatten())
        {
            let content = volumes::content(volume, &self.pod, &place, &sources, token.as_deref())
                .map_err(|problem| {
                format!(
                    "MountVolume.SetUp failed for volume \"{}\" : {problem}",
                    volume.name
                )
            })?;
            let directory =
                volumes::directory(&content, &self.pod, &volume.name, &self.directory, &claims);
            let written = match &content {
                Content::Files(files) => volumes::write(&directory, files),
                Content::Empty | Content::Claim(_) => std::fs::create_dir_all(&directory),
                Content::Host(_) => Ok(()),
            };
            written.map_err(|error| error.to_string())?;
            directories.insert(volume.name.clone(), directory);
        }
        self.directories = directories;
        Ok(())
    }

    /// The pod's token: the one that was given out before, or a new one.
    async fn token(&self) -> Result<String, String> {
        let file = self.directory.join("token");
        if let Ok(token) = tokio::fs::read_to_string(&file).await {
            return Ok(token);
        }
        let token = credentials::token(&self.node.options.client, &self.pod)
            .await
            .map_err(|error| error.to_string())?;
        tokio::fs::write(&file, &token)
            .await
            .map_err(|error| error.to_string())?;
        Ok(token)
    }

    pub(super) async fn report_unprepared(&mut self, problem: String) {
        if self.unprepared.as_ref() != Some(&problem) {
            self.event(None, "Warning", "FailedMount", &problem).await;
            self.unprepared = Some(problem);
        }
        self.retry(PREPARE_AGAIN);
    }
}
