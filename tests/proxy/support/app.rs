//! A Spring Cloud Task (`tests/apps`) as a process, with the environment that the operator gives to a run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicI64, Ordering};

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource};
use millrace::api::task_definition::BootVersion;
use millrace::api::task_monitoring::SecretKey;
use millrace::inject::exporters::{self, Exporters, ProxyDoors};
use millrace::inject::spring::{Identity, Variable, variables};

use super::peers::peer;
use super::process::{Folder, Process};
use super::samples::{Labels, Sample, samples};

/// The two doors of a proxy, as a stack of the operator's offers them.
pub fn doors(rsocket: SocketAddr, push: Option<SocketAddr>) -> Exporters {
    let (host, port) = (rsocket.ip().to_string(), i32::from(rsocket.port()));
    let push = push.map(|at| format!("http://{at}"));
    Exporters { proxy: Some(ProxyDoors { host, port, push }), ..Exporters::default() }
}

/// Who a run is, and what its definition and its namespace say.
#[derive(Clone, Debug)]
pub struct Run {
    /// What the operator knows of it.
    pub identity: Identity,
    /// The pod: `task_external_execution_id`.
    pub pod: String,
    /// `spring.bootVersion` of the definition.
    pub boot_version: Option<BootVersion>,
    /// What the Secrets of the namespace hold.
    pub secrets: Vec<(SecretKey, String)>,
}

impl Run {
    /// A new one.
    pub fn new(task_name: &str) -> Self {
        static NEXT: AtomicI64 = AtomicI64::new(1000);
        let execution_id = NEXT.fetch_add(1, Ordering::Relaxed);
        let (task_name, namespace) = (task_name.to_owned(), "batch".to_owned());
        let identity = Identity { task_name, execution_id, parent_execution_id: None, namespace };
        let pod = format!("{}-{execution_id}-x7k2p", identity.task_name);
        Self { identity, pod, boot_version: None, secrets: Vec::new() }
    }

    /// `task_execution_id`.
    pub fn id(&self) -> String {
        self.identity.execution_id.to_string()
    }

    /// The labels that every one of its series must have.
    pub fn labels(&self) -> Labels {
        let identity = &self.identity;
        let parent = identity.parent_execution_id.map_or("unknown".to_owned(), |id| id.to_string());
        let pairs = [
            ("task_name", identity.task_name.clone()),
            ("task_execution_id", self.id()),
            ("task_external_execution_id", self.pod.clone()),
            ("task_parent_execution_id", parent),
            ("task_namespace", identity.namespace.clone()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// What the operator puts into its container, as the kubelet makes it of that.
    fn environment(&self, exporters: &Exporters) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        let ours = variables(&self.identity, &BTreeMap::new(), self.boot_version);
        for Variable { env: EnvVar { name, value, value_from }, .. } in
            ours.into_iter().chain(exporters::variables(exporters, &self.identity))
        {
            let value = match value_from {
                Some(source) => self.told(&source),
                None => Some(expanded(&value.unwrap_or_default(), &env)),
            };
            env.extend(value.map(|value| (name, value)));
        }
        // Two of Boot 2.7 or 3.2 on one machine: the RSocket starter makes them web applications.
        env.insert("SERVER_PORT".to_owned(), "0".to_owned());
        env
    }

    /// What a variable's source says; nothing if it is a Secret that is missing.
    fn told(&self, source: &EnvVarSource) -> Option<String> {
        let Some(secret) = &source.secret_key_ref else {
            let path = source.field_ref.as_ref().map(|field| &*field.field_path);
            assert_eq!(path, Some("metadata.name"), "{source:?}");
            return Some(self.pod.clone());
        };
        let found = self.secrets.iter().find(|(at, _)| (&at.name, &at.key) == (&secret.name, &secret.key));
        assert!(found.is_some() || secret.optional == Some(true), "this pod would never start: {secret:?}");
        found.map(|(_, value)| value.clone())
    }
}

/// A value with each `$(NAME)` that is known so far replaced, as the kubelet does it.
fn expanded(value: &str, known: &BTreeMap<String, String>) -> String {
    let (mut done, mut rest) = (String::new(), value);
    while let Some((before, after)) = rest.split_once('$') {
        done.push_str(before);
        if let Some(escaped) = after.strip_prefix('$') {
            done.push('$');
            rest = escaped;
        } else if let Some((name, behind)) = after.strip_prefix('(').and_then(|open| open.split_once(')')) {
            done.push_str(known.get(name).unwrap_or(&format!("$({name})")));
            rest = behind;
        } else {
            done.push('$');
            rest = after;
        }
    }
    done + rest
}

/// A running application.
#[derive(Debug)]
pub struct App {
    process: Process,
    _folder: Folder,
}

impl App {
    /// Starts the application of `tests/apps` that has this name, e.g. `boot27`; `env` wins over what the operator gives.
    pub fn start(name: &str, run: &Run, to: &Exporters, args: &[&str], env: &[(&str, &str)]) -> Self {
        let folder = Folder::new(name);
        let variable = format!("MILLRACE_TASK_{}", name.to_uppercase().replace('-', "_"));
        let mut command = Command::new(peer("MILLRACE_TASK_JAVA"));
        command.current_dir(peer(&variable)).arg("@java.args").args(args);
        command.env_clear().envs(run.environment(to)).envs(env.iter().copied());
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
