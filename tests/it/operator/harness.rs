//! An operator (or two) at work on an API server in this process.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use millrace::api::{
    Phase, TaskDefinition, TaskDefinitionSpec, TaskLaunch, TaskLaunchSpec, TaskLaunchStatus,
};
use millrace::controllers::{self, Settings};
use millrace::launch::retention;
use millrace::monitoring::Installation;
use millrace::telemetry::metrics::Metrics;
use millrace::telemetry::readiness::Readiness;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::apiserver::{self, ApiServer, JobController, Record, Rule, Status, Store, Verb};

pub(super) const NS: &str = "default";
/// Namespace of the record of execution ids.
pub(super) const HOME: &str = "millrace-system";

/// A cluster with a Job controller, and no operator yet.
pub(super) struct World {
    pub(super) server: ApiServer,
    _jobs: apiserver::Running,
    time: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.time.abort();
    }
}

/// The cluster's clock goes with tokio's, which is paused and jumps from one timer to the next.
const TICK: Duration = Duration::from_millis(250);

/// An operator at work.
pub(super) struct Running {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), String>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Arc<Readiness>,
}

impl Running {
    /// Ends it as SIGTERM does, and waits for it.
    pub(super) async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        (&mut self.task).await.unwrap().unwrap();
    }

    /// Ends it as SIGKILL does.
    pub(super) fn kill(self) {
        self.task.abort();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    pub(super) fn new() -> Self {
        let server = ApiServer::new();
        server.with(|store| store.add_namespace(HOME));
        let ticking = server.clone();
        let time = tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                ticking.advance(TICK.try_into().unwrap());
            }
        });
        let jobs = JobController::run(&server);
        Self { server, _jobs: jobs, time }
    }

    /// An operator whose requests are recorded under `name`.
    pub(super) fn operator_as(&self, name: &str, namespaces: &[&str]) -> Running {
        self.operator_with(name, namespaces, |_| ())
    }

    /// Likewise, with other settings for stacks.
    pub(super) fn operator_with(
        &self,
        name: &str,
        namespaces: &[&str],
        change: impl FnOnce(&mut Installation),
    ) -> Running {
        let mut installation = Installation {
            proxy_image: "millrace:test".to_owned(),
            operator_metrics: Some("millrace.millrace-system.svc:8080".to_owned()),
            operator_namespace: HOME.to_owned(),
            cluster_scope_namespaces: vec![HOME.to_owned()],
            integrations: false,
            check_external: true,
        };
        change(&mut installation);
        let clock = self.server.clone();
        let settings = Settings {
            namespaces: namespaces.iter().map(ToString::to_string).collect(),
            operator_namespace: HOME.to_owned(),
            instance: Some(name.to_owned()),
            concurrency: 16,
            clock: Arc::new(move || clock.with(|store| store.now())),
            monitoring: Some(installation),
        };
        let (metrics, readiness) = (Arc::new(Metrics::default()), Arc::new(Readiness::default()));
        let (stop, stopped) = oneshot::channel();
        let run = controllers::run(
            settings,
            self.server.client_as(name),
            metrics.clone(),
            readiness.clone(),
            async move {
                let _ = stopped.await;
            },
        );
        Running { stop: Some(stop), task: tokio::spawn(run), metrics, readiness }
    }

    pub(super) fn operator(&self) -> Running {
        self.operator_as("operator", &[])
    }

    pub(super) fn define(&self, name: &str, change: impl FnOnce(&mut TaskDefinitionSpec)) {
        let mut spec = TaskDefinitionSpec { image: Some("task:1".into()), ..TaskDefinitionSpec::default() };
        change(&mut spec);
        self.server.put(&TaskDefinition::new(name, spec));
    }

    pub(super) fn launch(&self, name: &str, definition: &str) {
        self.launch_with(name, definition, |_| ());
    }

    pub(super) fn launch_with(&self, name: &str, definition: &str, change: impl FnOnce(&mut TaskLaunchSpec)) {
        let mut spec = TaskLaunchSpec::default();
        definition.clone_into(&mut spec.definition_ref.name);
        change(&mut spec);
        self.server.put(&TaskLaunch::new(name, spec));
    }

    pub(super) fn status(&self, launch: &str) -> TaskLaunchStatus {
        self.server.get::<TaskLaunch>(NS, launch).and_then(|l| l.status).unwrap_or_default()
    }

    /// Waits until the launch is over and gives its status.
    pub(super) async fn finished(&self, launch: &str) -> TaskLaunchStatus {
        let is_over = |store: &Store| phase_of(store, launch).is_some_and(Phase::is_final);
        self.server.until(&format!("{launch} is over"), is_over).await;
        self.status(launch)
    }

    pub(super) async fn in_phase(&self, launch: &str, phase: Phase) -> TaskLaunchStatus {
        let there = |store: &Store| phase_of(store, launch) == Some(phase);
        self.server.until(&format!("{launch} is {}", phase.as_str()), there).await;
        self.status(launch)
    }

    /// Waits for the launch's Job and gives its name.
    pub(super) async fn job(&self, launch: &str) -> String {
        self.server.until(&format!("{launch} has a Job"), |store| job_of(store, launch).is_some()).await;
        self.server.with(|store| job_of(store, launch)).unwrap()
    }

    /// Waits for the launch's pod, in whatever state.
    pub(super) async fn pod(&self, launch: &str) -> String {
        let job = self.job(launch).await;
        self.server.until(&format!("{launch} has a pod"), |store| !store.pods_of(NS, &job).is_empty()).await;
        job
    }

    /// Lets the launch's pod run and end.
    pub(super) async fn end_pod(&self, launch: &str, exit_code: i64, message: &str) {
        let job = self.pod(launch).await;
        self.server.with(|store| {
            store.pod_of(NS, &job).start();
            store.pod_of(NS, &job).finish(exit_code, message);
        });
    }

    /// Waits until no request comes any more.
    pub(super) async fn quiet(&self) {
        self.quiet_for(2 * TICK).await;
    }

    /// Waits until history limits have deleted all that they let go.
    pub(super) async fn cleaned_up(&self) {
        self.quiet_for(retention::GRACE.saturating_add(Duration::from_secs(5))).await;
    }

    /// Waits until no request came for this long.
    async fn quiet_for(&self, time: Duration) {
        // The ticking clock is activity too, so it is the record that is looked at.
        loop {
            let mark = self.server.mark();
            tokio::time::sleep(time).await;
            if self.server.mark() == mark {
                return;
            }
        }
    }

    /// Requests of the operators since `mark`, without their watches and lists of caches.
    pub(super) fn requests(&self, mark: usize) -> Record {
        let record = self.server.record().since(mark);
        record.filter(|entry| {
            let cache =
                matches!(entry.request.verb, Verb::List | Verb::Watch) && entry.request.namespace.is_empty();
            !cache
        })
    }

    pub(super) fn jobs_made(&self) -> usize {
        self.server.record().filter(|e| e.code == 201 || e.code == 0 && e.changed).count(Verb::Create, "jobs")
    }

    pub(super) fn job_objects(&self) -> Vec<Job> {
        self.server.all::<Job>()
    }

    pub(super) fn inject(&self, rule: Rule) {
        self.server.inject(rule);
    }
}

fn phase_of(store: &Store, launch: &str) -> Option<Phase> {
    let object = store.get("tasklaunches", NS, launch)?;
    serde_json::from_value(object["status"]["phase"].clone()).ok()
}

fn job_of(store: &Store, launch: &str) -> Option<String> {
    let ours = |job: &&Value| job["metadata"]["labels"]["millrace.dev/launch"] == json!(launch);
    store
        .all("jobs")
        .into_iter()
        .find(ours)
        .and_then(|job| Some(job["metadata"]["name"].as_str()?.to_owned()))
}

/// What quota or admission answers.
pub(super) fn refused(why: &str) -> Status {
    Status::new(403, "Forbidden", why)
}

/// The condition's status and reason.
pub(super) fn condition(status: &TaskLaunchStatus, type_: &str) -> (String, String) {
    let found = status.conditions.iter().find(|c| c.type_ == type_);
    found.map(|c| (c.status.clone(), c.reason.clone())).unwrap_or_default()
}
