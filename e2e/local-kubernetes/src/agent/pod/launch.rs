//! The start of a container's run.

use std::path::PathBuf;

use kube::ResourceExt;

use super::Worker;
use crate::agent::container::{Run, Start};
use crate::agent::credentials;
use crate::agent::environment;
use crate::agent::images::{ImageError, Program, container_id};
use crate::agent::machine::{Effect, Ended};
use crate::agent::mounts::Mounts;
use crate::agent::prober::Target;
use crate::agent::process::Order;
use crate::agent::volumes;

/// Why a run did not begin.
enum Failure {
    /// It may begin later: the reason and the message of the waiting state.
    Postponed(&'static str, String),
    /// It cannot begin.
    Broken(String),
}

impl Worker {
    /// Starts a run; what that leads to is returned.
    pub(super) async fn start(&mut self, index: usize) -> Vec<Effect> {
        let number = self.next_run;
        self.next_run += 1;
        let id = container_id(
            &self.pod.uid().unwrap_or_default(),
            &self.machine.containers[index].spec.name,
            number,
        );
        match self.launch(index, number, &id).await {
            Ok(run) => {
                self.event(Some(index), "Normal", "Created", "Container created")
                    .await;
                self.runs[index] = Some(run);
                self.machine.started(index, id, self.node.clock.now())
            }
            Err(Failure::Postponed(reason, message)) => {
                self.machine
                    .postponed(index, reason, message, self.node.clock.now())
            }
            Err(Failure::Broken(message)) => {
                self.event(
                    Some(index),
                    "Warning",
                    "Failed",
                    &format!("Error: {message}"),
                )
                .await;
                let now = self.node.clock.now();
                self.machine.exited(
                    index,
                    Ended {
                        id,
                        exit_code: 128,
                        reason: "StartError",
                        message: Some(message),
                        started: Some(now),
                        finished: now,
                    },
                )
            }
        }
    }

    async fn launch(&mut self, index: usize, number: u64, id: &str) -> Result<Run, Failure> {
        let spec = self.machine.containers[index].spec.clone();
        let image = spec.image.clone().unwrap_or_default();
        let command = spec.command.as_ref().and_then(|words| words.first());
        let program = match self
            .node
            .options
            .images
            .program(&image, command.map(String::as_str))
        {
            Ok(program) => program,
            Err(error @ ImageError::NoImage(_)) => {
                return Err(Failure::Postponed("ErrImagePull", error.to_string()));
            }
            Err(error) => return Err(Failure::Broken(error.to_string())),
        };
        self.event(
            Some(index),
            "Normal",
            "Pulled",
            &format!("Container image \"{image}\" already present on machine"),
        )
        .await;
        let place = self.place();
        let sources = self
            .sources()
            .await
            .map_err(|error| Failure::Postponed("CreateContainerConfigError", error.to_string()))?;
        let variables = environment::resolve(&self.pod, &spec, &place, &sources)
            .map_err(|error| Failure::Postponed("CreateContainerConfigError", error.to_string()))?;
        let mounts = volumes::mounts(&spec, &self.directories, &variables);
        let order = self
            .order(&spec, &program, variables, &mounts)
            .await
            .map_err(|error| Failure::Broken(error.to_string()))?;
        let log = self
            .node
            .logs
            .begin(&self.pod.uid().unwrap_or_default(), &spec.name, number)
            .map_err(|error| Failure::Broken(error.to_string()))?;
        let child =
            match program {
                Program::Hollow => None,
                Program::Path(_) => Some(self.node.spawner.spawn(order.clone()).await.map_err(
                    |error| Failure::Broken(format!("failed to start container: {error}")),
                )?),
            };
        let target = Target {
            address: self.addresses.pod,
            order,
            container: spec,
        };
        let start = Start {
            index,
            number,
            id: id.into(),
            image,
            target,
            log,
            child,
        };
        Ok(Run::follow(start, self.node.clone(), self.outbox.clone()))
    }

    /// What to execute: words with references expanded and mount paths made real.
    async fn order(
        &self,
        spec: &k8s_openapi::api::core::v1::Container,
        program: &Program,
        variables: Vec<(String, String)>,
        mounts: &Mounts,
    ) -> std::io::Result<Order> {
        let word = |text: &String| mounts.rewrite(&environment::expand(text, &variables));
        let words = spec
            .command
            .iter()
            .flatten()
            .skip(1)
            .chain(spec.args.iter().flatten());
        let arguments = words.map(word).collect();
        let home = self.directory.join("work").join(&spec.name);
        tokio::fs::create_dir_all(&home).await?;
        let directory = spec
            .working_dir
            .as_deref()
            .and_then(|path| mounts.real(path))
            .unwrap_or_else(|| home.clone());
        tokio::fs::create_dir_all(&directory).await?;
        let mut environment = self.base_environment(&home);
        for (name, value) in &variables {
            environment.retain(|(known, _)| known != name);
            environment.push((name.clone(), mounts.rewrite(value)));
        }
        let program = match program {
            Program::Path(path) => path.clone(),
            Program::Hollow => PathBuf::new(),
        };
        Ok(Order {
            program,
            arguments,
            environment,
            directory,
            binds: self.binds.clone(),
        })
    }

    fn base_environment(&self, home: &std::path::Path) -> Vec<(String, String)> {
        let hostname = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.hostname.clone())
            .unwrap_or_else(|| self.pod.name_any());
        let mut environment = vec![
            (
                "PATH".to_string(),
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string(),
            ),
            ("HOSTNAME".to_string(), hostname),
            ("HOME".to_string(), home.to_string_lossy().into_owned()),
        ];
        if let Some((host, port)) = self
            .node
            .options
            .api_server
            .as_ref()
            .and_then(credentials::ApiServer::host_and_port)
        {
            environment.push(("KUBERNETES_SERVICE_HOST".into(), host));
            environment.push(("KUBERNETES_SERVICE_PORT".into(), port));
            if credentials::wanted(&self.pod) {
                environment.push((
                    "KUBECONFIG".into(),
                    self.directory
                        .join("kubeconfig")
                        .to_string_lossy()
                        .into_owned(),
                ));
            }
        }
        environment
    }
}
