//! The command line: the only reader of arguments and environment.

mod proxy;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use kube::client::ClientBuilder;
use kube::{Client, Config, ResourceExt};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use self::proxy::Proxy;
use crate::api;
use crate::cluster::observe::system_clock;
use crate::controllers::{self, Settings};
use crate::monitoring::Installation;
use crate::proxy::run;
use crate::telemetry::logs::{self, Format};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::readiness::Readiness;
use crate::telemetry::{http, requests::CountRequests};

/// Defines, launches and monitors short-lived tasks on Kubernetes.
#[derive(Parser, Debug)]
#[command(name = "millrace", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Runs the operator: turns TaskLaunches into Jobs and tells what became of them.
    Operator(Operator),
    /// Runs the metrics proxy: keeps the last metrics of short-lived tasks until every Prometheus had them.
    Proxy(Box<Proxy>),
    /// Prints the CustomResourceDefinitions as YAML.
    Crds(Crds),
}

/// Options of `millrace operator`; each may be given as environment variable.
#[derive(Args, Debug)]
pub struct Operator {
    /// Namespaces to work in, separated by commas; none means all.
    #[arg(long, env = "MILLRACE_WATCH_NAMESPACES", value_delimiter = ',', value_name = "NAMESPACES")]
    watch_namespaces: Vec<String>,
    /// Namespace in which the record of execution ids is kept. Default: that of the pod or kube context.
    #[arg(long = "operator-namespace", env = "MILLRACE_OPERATOR_NAMESPACE", value_name = "NAMESPACE")]
    home: Option<String>,
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "MILLRACE_LISTEN", default_value = "0.0.0.0:8080", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// error, warn, info, debug or trace, or directives such as info,kube=debug.
    #[arg(long, env = "MILLRACE_LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    log_level: String,
    /// How log lines look.
    #[arg(long, env = "MILLRACE_LOG_FORMAT", default_value = "text", value_enum)]
    log_format: Format,
    /// Objects worked on at the same time.
    #[arg(long, env = "MILLRACE_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// Looks after TaskMonitorings; false where somebody else watches tasks.
    #[arg(long, env = "MILLRACE_MONITORING", default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    monitoring: bool,
    /// Image of managed metrics proxies: this one's own.
    #[arg(long, env = "MILLRACE_PROXY_IMAGE", default_value = concat!("millrace:", env!("CARGO_PKG_VERSION")), value_name = "IMAGE")]
    proxy_image: String,
    /// Host and port under which a managed Prometheus finds the operator's metrics; none means that it does not look.
    #[arg(long, env = "MILLRACE_METRICS_ADDRESS", value_name = "HOST:PORT")]
    metrics_address: Option<String>,
    /// Namespaces whose TaskMonitorings may be for the whole cluster, separated by commas. Default: the operator's.
    #[arg(long, env = "MILLRACE_CLUSTER_SCOPE_NAMESPACES", value_delimiter = ',', value_name = "NAMESPACES")]
    cluster_scope_namespaces: Option<Vec<String>>,
    /// Looks after ServiceMonitors, PrometheusRules and GrafanaDashboards that are left from before: the operator's role
    /// allows it.
    #[arg(long, env = "MILLRACE_INTEGRATIONS", default_value_t = false, action = ArgAction::Set, value_name = "BOOL")]
    integrations: bool,
    /// Tries every five minutes to connect to what others run for TaskMonitorings; false where the operator is let out to
    /// nobody.
    #[arg(long, env = "MILLRACE_CHECK_EXTERNAL", default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    check_external: bool,
    /// Name of this process in events.
    #[arg(long, env = "HOSTNAME", hide = true)]
    instance: Option<String>,
}

/// Options of `millrace crds`.
#[derive(Args, Debug)]
struct Crds {
    /// Write one file per kind into this folder instead of printing.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// A connection that brings nothing for so long is dead.
const READ_TIMEOUT: Duration = Duration::from_mins(5);

/// Runs the command line; the exit code is 0 on success, 1 on failure, 2 for a wrong command line.
pub fn main() -> ExitCode {
    let given = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&given).unwrap_or_else(|error| error.exit());
    let result = match cli.command {
        Command::Operator(operator) => run_operator(operator),
        Command::Proxy(mut proxy) => {
            #[allow(clippy::disallowed_methods, reason = "settings enter here")]
            let environment = |name: &str| std::env::var(name).ok();
            let adopted = proxy.adopt(given.subcommand_matches("proxy"), environment);
            adopted.and_then(|()| run_proxy(&proxy))
        }
        Command::Crds(crds) => print_crds(&crds),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // The reader may be gone; there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "millrace: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run_operator(options: Operator) -> Result<(), String> {
    logs::start(&options.log_level, options.log_format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("cannot start: {e}"))?;
    let result = runtime.block_on(operate(options));
    // Watches that still wait for the API server are not waited for.
    runtime.shutdown_background();
    result
}

async fn operate(options: Operator) -> Result<(), String> {
    let (metrics, readiness) = (Arc::new(Metrics::default()), Arc::new(Readiness::default()));
    readiness.wait_for("operator", "starting");
    let stop = stop_signal()?;
    let listener = TcpListener::bind(options.listen).await;
    let listener =
        listener.map_err(|e| format!("cannot listen on {}: {e}; choose another --listen", options.listen))?;
    let server = axum::serve(listener, http::routes(metrics.clone(), readiness.clone()));
    let probes = tokio::spawn(server.with_graceful_shutdown(until(stop.clone())).into_future());

    let (client, namespace) = connect(&metrics).await?;
    let home = options.home.unwrap_or(namespace);
    let cluster_scope = options.cluster_scope_namespaces.unwrap_or_else(|| vec![home.clone()]);
    let installation = Installation {
        proxy_image: options.proxy_image,
        operator_metrics: options.metrics_address.filter(|address| !address.is_empty()),
        operator_namespace: home.clone(),
        cluster_scope_namespaces: namespaces(&cluster_scope),
        integrations: options.integrations,
        check_external: options.check_external,
    };
    let settings = Settings {
        namespaces: namespaces(&options.watch_namespaces),
        operator_namespace: home,
        monitoring: options.monitoring.then_some(installation),
        instance: options.instance,
        concurrency: options.concurrency.into(),
        clock: system_clock(),
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        namespaces =
            if settings.namespaces.is_empty() { "all".to_owned() } else { settings.namespaces.join(",") },
        operator_namespace = settings.operator_namespace,
        "the operator begins"
    );
    readiness.arrived("operator");
    let result = controllers::run(settings, client, metrics, readiness, until(stop)).await;
    probes.abort();
    result
}

/// Each once, without blanks around it.
fn namespaces(given: &[String]) -> Vec<String> {
    let each: BTreeSet<&str> = given.iter().map(|n| n.trim()).filter(|n| !n.is_empty()).collect();
    each.into_iter().map(str::to_owned).collect()
}

fn run_proxy(options: &Proxy) -> Result<(), String> {
    logs::start(&options.log_level, options.log_format)?;
    let settings = options.settings()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("cannot start: {e}"))?;
    runtime.block_on(async { run::run(settings, system_clock(), until(stop_signal()?)).await })
}

/// A client whose requests are counted, and the namespace it is at home in.
async fn connect(metrics: &Arc<Metrics>) -> Result<(Client, String), String> {
    let config = Config::infer().await;
    let mut config =
        config.map_err(|e| format!("no cluster: neither in a pod nor a usable kube config: {e}"))?;
    let namespace = config.default_namespace.clone();
    // The queue tries again with pauses of its own, and a worker does not sleep meanwhile.
    config.default_retry = false;
    // Longer than any watch stays silent: the API server sends bookmarks every minute.
    config.read_timeout = Some(READ_TIMEOUT);
    let builder = ClientBuilder::try_from(config).map_err(|e| format!("cannot make a client: {e}"))?;
    Ok((builder.with_layer(&CountRequests { metrics: metrics.clone() }).build(), namespace))
}

/// Becomes true on SIGTERM or SIGINT.
fn stop_signal() -> Result<watch::Receiver<bool>, String> {
    let on = |kind| signal(kind).map_err(|e| format!("cannot wait for signals: {e}"));
    let (mut term, mut int) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        sender.send_replace(true);
    });
    Ok(receiver)
}

async fn until(mut stop: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn print_crds(options: &Crds) -> Result<(), String> {
    let mut all = String::new();
    for crd in api::all_crds() {
        let yaml = serde_yaml::to_string(&crd)
            .map_err(|e| format!("cannot write {} as YAML: {e}", crd.name_any()))?;
        match &options.dir {
            Some(dir) => write_crd(dir, &crd.spec.names.plural, &yaml)?,
            None => all.extend(["---\n", yaml.as_str()]),
        }
    }
    std::io::stdout().write_all(all.as_bytes()).map_err(|e| format!("cannot print: {e}"))
}

fn write_crd(dir: &Path, plural: &str, yaml: &str) -> Result<(), String> {
    let path = dir.join(format!("{plural}.yaml"));
    let text = format!("# Generated by `millrace crds`; change src/api instead.\n{yaml}");
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|e| format!("cannot write {}: {e}", path.display()))
}
