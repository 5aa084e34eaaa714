//! A Spring Cloud Task (`tests/apps`) as a process, with the environment that the operator gives to a run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicI64, Ordering};

use millrace::inject::exporters::{self, Exporters};
use millrace::inject::spring::{Identity, variables};

use super::peers::peer;
use super::process::{Folder, Process};
use super::samples::{Labels, Sample, samples};

/// The ways that a run's metrics may go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Doors {
    /// RSocket: `tcp` or `websocket`, and where.
    pub rsocket: Option<(&'static str, SocketAddr)>,
    /// The push API.
    pub push: Option<SocketAddr>,
}

/// Who a run is.
#[derive(Clone, Debug)]
pub struct Run {
    /// What the operator knows of it.
    pub identity: Identity,
    /// The pod: `task_external_execution_id`.
    pub pod: String,
}

impl Run {
    /// A new one.
    pub fn new(task_name: &str) -> Self {
        static NEXT: AtomicI64 = AtomicI64::new(1000);
        let execution_id = NEXT.fetch_add(1, Ordering::Relaxed);
        let (task_name, namespace) = (task_name.to_owned(), "batch".to_owned());
        let identity = Identity { task_name, execution_id, parent_execution_id: None, namespace };
        Self { pod: format!("{}-{execution_id}-x7k2p", identity.task_name), identity }
    }

    /// `task_execution_id`.
    pub fn id(&self) -> String {
        self.identity.execution_id.to_string()
    }

    /// The labels that every one of its series must have.
    pub fn labels(&self) -> Labels {
        let identity = &self.identity;
        let pairs = [
            ("task_name", identity.task_name.clone()),
            ("task_execution_id", self.id()),
            ("task_external_execution_id", self.pod.clone()),
            ("task_parent_execution_id", "unknown".to_owned()),
            ("task_namespace", identity.namespace.clone()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn environment(&self, doors: Doors) -> BTreeMap<String, String> {
        let mut env: BTreeMap<String, String> = BTreeMap::new();
        for variable in variables(&self.identity, &BTreeMap::new(), None) {
            // Without a value it is the pod's name; the kubelet expands what refers to it.
            let value = variable.env.value.unwrap_or_else(|| self.pod.clone());
            env.insert(variable.env.name, value.replace("$(MILLRACE_EXTERNAL_EXECUTION_ID)", &self.pod));
        }
        // As without a proxy; a door that is given switches it on.
        let off = exporters::variables(&Exporters::default(), &self.identity);
        env.extend(off.into_iter().filter_map(|v| Some((v.env.name, v.env.value?))));
        for prefix in ["MANAGEMENT_METRICS_EXPORT_PROMETHEUS_RSOCKET", "MICROMETER_PROMETHEUS_RSOCKET"] {
            let Some((transport, at)) = doors.rsocket else { continue };
            let settings = [
                ("ENABLED", "true".to_owned()),
                ("HOST", at.ip().to_string()),
                ("PORT", at.port().to_string()),
                ("TRANSPORT", transport.to_owned()),
                ("FIRSTBACKOFF", "500ms".to_owned()),
                ("MAXBACKOFF", "5s".to_owned()),
            ];
            env.extend(settings.map(|(name, value)| (format!("{prefix}_{name}"), value)));
        }
        if let Some(at) = doors.push {
            let settings = [
                ("ENABLED", "true".to_owned()),
                ("ADDRESS", at.to_string()),
                ("JOB", self.identity.task_name.clone()),
                ("SHUTDOWNOPERATION", "POST".to_owned()),
                ("GROUPINGKEY_TASK_EXECUTION_ID", self.id()),
                ("GROUPINGKEY_TASK_EXTERNAL_EXECUTION_ID", self.pod.clone()),
            ];
            let prefix = "MANAGEMENT_PROMETHEUS_METRICS_EXPORT_PUSHGATEWAY";
            env.extend(settings.map(|(name, value)| (format!("{prefix}_{name}"), value)));
        }
        // Two of Boot 2.7 or 3.2 on one machine: the RSocket starter makes them web applications.
        env.insert("SERVER_PORT".to_owned(), "0".to_owned());
        env
    }
}

/// A running application.
#[derive(Debug)]
pub struct App {
    process: Process,
    _folder: Folder,
}

impl App {
    /// Starts the application of `tests/apps` that has this name, e.g. `boot27`; `env` wins over what the operator gives.
    pub fn start(name: &str, run: &Run, doors: Doors, args: &[&str], env: &[(&str, &str)]) -> Self {
        let folder = Folder::new(name);
        let variable = format!("MILLRACE_TASK_{}", name.to_uppercase().replace('-', "_"));
        let mut command = Command::new(peer("MILLRACE_TASK_JAVA"));
        command.current_dir(peer(&variable)).arg("@java.args").args(args);
        command.env_clear().envs(run.environment(doors)).envs(env.iter().copied());
        let process = Process::start(command, folder.path().join("log"));
        Self { process, _folder: folder }
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until it has said something.
    pub async fn says(&self, words: &str) {
        self.process.says(120, words).await;
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        self.process.ended(300).await
    }

    /// The last scrape, which it printed while it ended.
    pub fn last_scrape(&self) -> Vec<Sample> {
        let output = self.process.output();
        let scrape =
            output.split_once("---8<--- scrape\n").and_then(|(_, rest)| rest.split_once("--->8--- scrape"));
        samples(scrape.unwrap_or_else(|| panic!("no scrape was printed: {output}")).0)
    }
}
