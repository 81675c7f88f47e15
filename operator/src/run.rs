//! The process: command line, log, HTTP port, leader election, signals.

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::args::{Command, CommandLine, LogFormat, RunArgs};
use crate::lease::Election;
use crate::metrics::Metrics;
use crate::observe::RedisNodes;
use crate::witness::{Place, Witnesses};
use crate::{api, controller, http};

/// The process could not start, or cannot go on.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("--renew-seconds must be less than half of --lease-seconds")]
    Renewal,
    #[error("the filter of --log is not understood: {0}")]
    Log(#[from] tracing_subscriber::filter::ParseError),
    #[error("no API server: {0}")]
    Kubernetes(#[from] kube::Error),
    #[error("the CustomResourceDefinition cannot be written: {0}")]
    Crd(#[from] serde_yaml::Error),
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the lease was lost; another operator may act now")]
    LeaseLost,
}

/// Runs the operator with a command line (`args`, the program's name first) until it is told to end.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let line = match CommandLine::try_parse_from(args) {
        Ok(line) => line,
        Err(error) => {
            // Printing to a closed terminal is nothing to report.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let result = match line.command {
        Command::Crd => print_crd(),
        Command::Run(args) => run_operator(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cache-operator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_crd() -> Result<(), RunError> {
    print!("{}", api::crd_yaml()?);
    Ok(())
}

fn run_operator(args: &RunArgs) -> Result<(), RunError> {
    if 2 * args.renew_seconds >= args.lease_seconds {
        return Err(RunError::Renewal);
    }
    start_log(args)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(operate(args))
}

fn start_log(args: &RunArgs) -> Result<(), RunError> {
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&args.log)?)
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => log.init(),
    }
    Ok(())
}

async fn operate(args: &RunArgs) -> Result<(), RunError> {
    let client = Client::try_default().await?;
    let metrics = Arc::new(Metrics::new()?);
    let ready = Arc::new(AtomicBool::new(false));
    let http = tokio::spawn(http::serve(
        args.metrics_addr,
        metrics.clone(),
        ready.clone(),
    ));
    let version = tokio::select! {
        version = client.apiserver_version() => version?,
        served = http => return Err(http_ended(served)),
    };
    tracing::info!(
        kubernetes = version.git_version,
        version = api::VERSION,
        "the API server answers"
    );
    ready.store(true, Ordering::Relaxed);
    let namespace = args.lease_namespace.clone();
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
    let election = Election {
        name: args.lease_name.clone(),
        identity: args.identity.clone().unwrap_or_else(random_identity),
        duration: args.lease_duration(),
        renew: args.renew_interval(),
    };
    let told_to_end = told_to_end()?;
    tokio::pin!(told_to_end);
    let tenure = tokio::select! {
        tenure = election.acquire(&leases) => tenure,
        () = &mut told_to_end => return Ok(()),
    };
    tracing::info!(identity = election.identity, "this process leads");
    metrics.leader.set(1);
    let nodes = Arc::new(RedisNodes);
    let place = args.witness_address.map(|ip| Place {
        ip,
        ports: args.witness_ports.clone(),
    });
    let witnesses = Witnesses::new(client.clone(), place, tenure.clone(), metrics.clone());
    let passes = controller::run(
        client,
        args.namespace.as_deref(),
        nodes,
        witnesses,
        metrics,
        told_to_end,
    );
    tokio::select! {
        // Whatever is half done is dropped: another operator may act from now on.
        () = election.hold(&leases, &tenure) => return Err(RunError::LeaseLost),
        () = passes => {}
    }
    election.release(&leases, &tenure).await;
    tracing::info!("ended");
    Ok(())
}

fn http_ended(served: Result<std::io::Result<()>, tokio::task::JoinError>) -> RunError {
    match served {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) => std::io::Error::other("the HTTP server ended").into(),
        Err(error) => std::io::Error::other(error).into(),
    }
}

/// Completes on SIGTERM or SIGINT.
fn told_to_end() -> std::io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to end");
    })
}

/// An identity that no other process has.
fn random_identity() -> String {
    let now = jiff::Timestamp::now().as_nanosecond();
    format!("cache-operator-{}-{now:x}", std::process::id())
}
