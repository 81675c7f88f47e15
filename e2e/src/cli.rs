//! The playground's command line: what can be asked of it, and what it prints.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::chart::{self, Release};
use crate::local::LocalOptions;
use crate::platform::Platform;
use crate::{demo, hints, install, programs};

/// The cluster that is created, and shown in what to type next.
const SESSIONS: &str = include_str!("../../examples/sessions.yaml");
/// How long the example may take to get Ready.
const READY_BOUND: Duration = Duration::from_secs(180);

/// A cache cluster on a local Kubernetes, in one program.
#[derive(Parser)]
#[command(
    name = "playground",
    version,
    propagate_version = true,
    max_term_width = 100
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a local Kubernetes with the operator and a cache cluster, and keep it until Ctrl-C
    ///
    /// Starts an API server, controllers and virtual nodes, installs the operator from its chart, applies
    /// examples/sessions.yaml (3 shards with 1 replica each), waits until it is Ready and prints what to type next.
    /// Ctrl-C or SIGTERM ends it; nothing is left behind.
    Up {
        /// Write the kubeconfig to this file, and remove it at the end [default: a temporary one]
        #[arg(long, value_name = "FILE")]
        kubeconfig: Option<PathBuf>,
        /// Port of the API server on 127.0.0.1; 0 takes a free one
        #[arg(long, value_name = "N", default_value_t = 0)]
        port: u16,
        /// Virtual nodes
        #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
        nodes: u8,
        /// Do not create a cache cluster
        #[arg(long)]
        empty: bool,
    },
    /// Play the whole story and report: create, fill, 3 -> 5 shards under load, kill a primary, 5 -> 3, verify
    ///
    /// Exits with 0 if every phase finished in time and scaling lost no acknowledged write, else with 1.
    Demo {
        /// Keys to write before the load begins
        #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
        keys: u32,
        /// Write the numbers as JSON to this file
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        /// Play on the cluster that this kubeconfig names, where the operator is installed [default: a local one]
        #[arg(long, value_name = "FILE")]
        kubeconfig: Option<PathBuf>,
        /// Namespace of the cache cluster
        #[arg(long, value_name = "NAME", default_value = "default")]
        namespace: String,
    },
    /// Print the CRD and the rendered chart, for `kubectl apply --server-side -f -`
    Manifests {
        /// Namespace of the operator
        #[arg(long, value_name = "NAME", default_value = "evenkeel-system")]
        namespace: String,
        /// Name of the release
        #[arg(long, value_name = "NAME", default_value = "evenkeel")]
        release: String,
        /// Values to lay over the chart's, a YAML file
        #[arg(long, value_name = "FILE")]
        values: Option<PathBuf>,
    },
    /// Clean up when standard input ends
    #[command(name = programs::JANITOR, hide = true)]
    Janitor {
        directory: PathBuf,
        file: Option<PathBuf>,
    },
}

/// Runs the playground with this process's arguments.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| "error".into()),
        )
        .init();
    let outcome = tokio::runtime::Runtime::new()
        .context("runtime")
        .and_then(|runtime| runtime.block_on(execute(arguments.command)));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("playground: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn execute(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up {
            kubeconfig,
            port,
            nodes,
            empty,
        } => {
            let options = LocalOptions {
                kubeconfig,
                port,
                nodes: nodes.into(),
                ..LocalOptions::of_this_program()?
            };
            Box::pin(up(options, empty)).await
        }
        Command::Demo {
            keys,
            report,
            kubeconfig,
            namespace,
        } => {
            let keys = usize::try_from(keys).context("keys")?;
            let play = play(kubeconfig.as_deref(), &namespace, keys, report.as_deref());
            Box::pin(play).await
        }
        Command::Manifests {
            namespace,
            release,
            values,
        } => manifests(
            &Release {
                name: release,
                namespace,
            },
            values.as_deref(),
        ),
        Command::Janitor { directory, file } => {
            programs::clean_up_at_end_of_input(&directory, file.as_deref()).await;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn up(options: LocalOptions, empty: bool) -> Result<ExitCode> {
    let began = Instant::now();
    let stop = Stop::catch()?;
    let say = move |line: &str| progress(began, line);
    let platform = Platform::new_local(options).await?;
    let work = async {
        platform.install(&say).await?;
        if empty {
            println!("\n{}", hints::kubernetes(&platform));
        } else {
            let cache = platform.cache("default", "sessions");
            say("applying examples/sessions.yaml");
            cache.apply(SESSIONS).await?;
            cache.wait_ready(READY_BOUND, &say).await?;
            println!("\n{}", hints::cache(&platform, &cache).await?);
        }
        std::future::pending::<Result<()>>().await
    };
    let outcome = stop.or(Box::pin(work)).await;
    say("stopping");
    platform.stop().await;
    outcome.map(|_| ExitCode::SUCCESS)
}

async fn play(
    kubeconfig: Option<&Path>,
    namespace: &str,
    keys: usize,
    file: Option<&Path>,
) -> Result<ExitCode> {
    let began = Instant::now();
    let say = move |line: &str| progress(began, line);
    let stop = Stop::catch()?;
    let platform = match kubeconfig {
        Some(file) => Platform::of_kubeconfig(file).await?,
        None => Platform::new_local(LocalOptions::of_this_program()?).await?,
    };
    let work = async {
        platform.install(&say).await?;
        let cache = platform.cache(namespace, "demo");
        let report = demo::play(&cache, SESSIONS, keys, &say).await;
        cache.delete(READY_BOUND).await?;
        Ok(report)
    };
    let outcome = stop.or(Box::pin(work)).await;
    platform.stop().await;
    let Some(report) = outcome? else {
        bail!("interrupted");
    };
    println!("\n{report}");
    if let Some(file) = file {
        let json = serde_json::to_vec_pretty(&report).context("report")?;
        std::fs::write(file, json).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(if report.passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What asks for the end. Caught before anything is begun that would be left behind.
struct Stop([Signal; 3]);

impl Stop {
    fn catch() -> Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// The outcome of `work`, or `None` if a signal came first.
    async fn or<T>(self, work: impl Future<Output = Result<T>>) -> Result<Option<T>> {
        let [mut interrupt, mut terminate, mut hangup] = self.0;
        tokio::select! {
            outcome = work => outcome.map(Some),
            _ = interrupt.recv() => Ok(None),
            _ = terminate.recv() => Ok(None),
            _ = hangup.recv() => Ok(None),
        }
    }
}

fn manifests(release: &Release, values: Option<&Path>) -> Result<ExitCode> {
    let values = match values {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("read {}", file.display()))?;
            serde_yaml::from_str(&text)
                .with_context(|| format!("{} is not YAML", file.display()))?
        }
        None => json!({}),
    };
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": release.namespace}});
    let mut out = std::io::stdout().lock();
    write!(out, "{}", install::CRD)?;
    for object in std::iter::once(namespace).chain(chart::render(release, &values)?) {
        write!(out, "---\n{}", serde_yaml::to_string(&object)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn progress(began: Instant, line: &str) {
    println!("{:7.1} s  {line}", began.elapsed().as_secs_f64());
}
