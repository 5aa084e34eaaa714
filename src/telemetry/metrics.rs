//! The operator's own metrics. Labels are closed sets of words, never names of launches; only the series per
//! definition name one, and they go with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::api::Phase;

use super::definitions::Definitions;
pub use super::definitions::{ACTIVE_PHASES, Active, Received};

/// Which controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Controller {
    /// Of launches.
    Launch,
    /// Of definitions.
    Definition,
    /// Of finished launches.
    History,
    /// Of stacks.
    Stack,
}

/// How a reconcile went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// Something was written.
    Applied,
    /// Nothing was to be done.
    Unchanged,
    /// Another writer was faster.
    Conflict,
    /// Not allowed.
    Forbidden,
    /// Failed; tried again.
    Error,
    /// A bug, caught.
    Panic,
}

/// How a launch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum End {
    /// Exit code 0.
    Succeeded,
    /// Otherwise.
    Failed,
    /// As asked.
    Stopped,
}

impl End {
    /// The end that a final phase means.
    pub const fn of(phase: Phase) -> Option<Self> {
        match phase {
            Phase::Succeeded => Some(Self::Succeeded),
            Phase::Failed => Some(Self::Failed),
            Phase::Stopped => Some(Self::Stopped),
            Phase::Pending | Phase::Running | Phase::Stopping => None,
        }
    }
}

/// Between which points of a launch's life time is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Step {
    /// From the launch's creation to its Job's.
    CreatedToJob,
    /// From its Job's creation to the start of its container.
    JobToRunning,
    /// From that to its end.
    RunningToFinished,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reconcile {
    controller: Controller,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    controller: Controller,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: End,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InPhase {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AtStep {
    step: Step,
}

/// A request to the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Request {
    /// get, list, watch, create, update, patch, delete.
    pub verb: &'static str,
    /// Plural of the kind, one of those we use; with `/status` where only that is written.
    pub resource: &'static str,
    /// HTTP status code, 0 where no answer came.
    pub code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Watch {
    resource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Definition {
    namespace: String,
    definition: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DefinitionRuns {
    namespace: String,
    definition: String,
    outcome: End,
}

/// What a finished launch adds to its definition's series.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// How it ended.
    pub end: End,
    /// From start to end, if it started.
    pub duration: Option<Duration>,
    /// Exit code, if one is known.
    pub exit_code: Option<i32>,
}

/// All metrics.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Reconcile, Counter>,
    reconcile_seconds: Family<Of, Histogram, fn() -> Histogram>,
    queue_depth: Gauge,
    requests: Family<Request, Counter>,
    watch_restarts: Family<Watch, Counter>,
    launches: Family<InPhase, Gauge>,
    ended: Family<Ended, Counter>,
    step_seconds: Family<AtStep, Histogram, fn() -> Histogram>,
    runs: Family<DefinitionRuns, Counter>,
    last_succeeded: Family<Definition, Gauge>,
    last_duration: Family<Definition, Gauge<f64, std::sync::atomic::AtomicU64>>,
    last_exit_code: Family<Definition, Gauge>,
    more: Definitions,
    definitions: Mutex<BTreeSet<Definition>>,
}

/// 1 ms to 8 s: a reconcile is a few requests.
fn reconcile_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 14))
}

/// 10 ms to 23 h: a launch may last long.
fn step_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 3.0, 15))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("millrace"),
            reconciles: Family::default(),
            reconcile_seconds: Family::new_with_constructor(reconcile_buckets),
            queue_depth: Gauge::default(),
            requests: Family::default(),
            watch_restarts: Family::default(),
            launches: Family::default(),
            ended: Family::default(),
            step_seconds: Family::new_with_constructor(step_buckets),
            runs: Family::default(),
            last_succeeded: Family::default(),
            last_duration: Family::default(),
            last_exit_code: Family::default(),
            more: Definitions::default(),
            definitions: Mutex::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("reconciles", "Reconciles by controller and outcome", self.reconciles.clone());
        r.register_with_unit(
            "reconcile_duration",
            "Duration of reconciles",
            Unit::Seconds,
            self.reconcile_seconds.clone(),
        );
        r.register("queue_depth", "Objects that are due and wait for a worker", self.queue_depth.clone());
        r.register(
            "api_requests",
            "Requests to the API server by verb, resource and code (0: no answer)",
            self.requests.clone(),
        );
        r.register(
            "watch_restarts",
            "Watches begun again after an error or a silence",
            self.watch_restarts.clone(),
        );
        r.register("launches", "TaskLaunches by phase", self.launches.clone());
        r.register(
            "launches_ended",
            "TaskLaunches that this operator saw end, by outcome and reason",
            self.ended.clone(),
        );
        r.register_with_unit(
            "launch_step_duration",
            "Time between two points of a launch's life",
            Unit::Seconds,
            self.step_seconds.clone(),
        );
        r.register("definition_runs", "Ended launches of a definition by outcome", self.runs.clone());
        r.register(
            "definition_last_run_succeeded",
            "Whether the last ended launch of a definition succeeded",
            self.last_succeeded.clone(),
        );
        r.register_with_unit(
            "definition_last_run_duration",
            "Duration of the last ended launch of a definition",
            Unit::Seconds,
            self.last_duration.clone(),
        );
        r.register(
            "definition_last_run_exit_code",
            "Exit code of the last ended launch of a definition",
            self.last_exit_code.clone(),
        );
        self.more.register(r);
    }

    /// The exposition in OpenMetrics text.
    pub fn exposition(&self) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }

    /// A reconcile ended.
    pub fn reconciled(&self, controller: Controller, outcome: Outcome, took: Duration) {
        self.reconciles.get_or_create(&Reconcile { controller, outcome }).inc();
        self.reconcile_seconds.get_or_create(&Of { controller }).observe(took.as_secs_f64());
    }

    /// So many objects are due.
    pub fn queued(&self, depth: usize) {
        self.queue_depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    /// A request was answered.
    pub fn requested(&self, request: &Request) {
        self.requests.get_or_create(request).inc();
    }

    /// A watch was begun again.
    pub fn watch_restarted(&self, resource: &'static str) {
        self.watch_restarts.get_or_create(&Watch { resource }).inc();
    }

    /// So many launches more (or, negative, fewer) are in that phase.
    pub fn in_phase(&self, phase: Phase, change: i64) {
        self.launches.get_or_create(&InPhase { phase: phase.as_str() }).inc_by(change);
    }

    /// A launch came from one point of its life to the next.
    pub fn stepped(&self, step: Step, took: Duration) {
        self.step_seconds.get_or_create(&AtStep { step }).observe(took.as_secs_f64());
    }

    /// A launch of a definition (namespace and name, if there is one) ended; `reason` is one of
    /// [`crate::names::reason`].
    pub fn ended(&self, definition: Option<(&str, &str)>, run: Run, reason: &str) {
        self.ended.get_or_create(&Ended { outcome: run.end, reason: reason.to_owned() }).inc();
        let Some((namespace, definition)) = definition else { return };
        let whose = Definition { namespace: namespace.to_owned(), definition: definition.to_owned() };
        let runs = DefinitionRuns {
            namespace: namespace.to_owned(),
            definition: definition.to_owned(),
            outcome: run.end,
        };
        self.runs.get_or_create(&runs).inc();
        self.last_succeeded.get_or_create(&whose).set(i64::from(run.end == End::Succeeded));
        if let Some(duration) = run.duration {
            self.last_duration.get_or_create(&whose).set(duration.as_secs_f64());
        }
        if let Some(code) = run.exit_code {
            self.last_exit_code.get_or_create(&whose).set(i64::from(code));
        }
        self.known(whose);
    }

    fn known(&self, definition: Definition) {
        self.definitions.lock().unwrap_or_else(PoisonError::into_inner).insert(definition);
    }

    /// A definition is there, its task has this name, and so many of its launches have not ended: those of a phase that
    /// `active` does not name are none. To be called only for a definition that is there, since its series go with it.
    pub fn defined(
        &self,
        namespace: &str,
        definition: &str,
        task_name: &str,
        active: &BTreeMap<Phase, Active>,
    ) {
        self.known(Definition { namespace: namespace.to_owned(), definition: definition.to_owned() });
        self.more.named(namespace, definition, task_name);
        for phase in ACTIVE_PHASES {
            self.more.active(namespace, definition, phase, active.get(&phase).copied().unwrap_or_default());
        }
    }

    /// A launch of a definition that is there ended, and its metrics arrived or not.
    pub fn arrival(&self, namespace: &str, definition: &str, received: Received) {
        self.known(Definition { namespace: namespace.to_owned(), definition: definition.to_owned() });
        self.more.arrival(namespace, definition, received);
    }

    /// A definition is gone, and its series with it.
    pub fn forget_definition(&self, namespace: &str, definition: &str) {
        let gone = Definition { namespace: namespace.to_owned(), definition: definition.to_owned() };
        if !self.definitions.lock().unwrap_or_else(PoisonError::into_inner).remove(&gone) {
            return;
        }
        self.more.forget(namespace, definition);
        self.last_succeeded.remove(&gone);
        self.last_duration.remove(&gone);
        self.last_exit_code.remove(&gone);
        for outcome in [End::Succeeded, End::Failed, End::Stopped] {
            self.runs.remove(&DefinitionRuns {
                namespace: gone.namespace.clone(),
                definition: gone.definition.clone(),
                outcome,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_of_a_definition_go_with_it() {
        let metrics = Metrics::default();
        let run = Run { end: End::Failed, duration: Some(Duration::from_secs(2)), exit_code: Some(3) };
        metrics.ended(Some(("ns", "task1")), run, "NonZeroExit");
        let text = metrics.exposition();
        assert!(
            text.contains(r#"millrace_definition_last_run_exit_code{namespace="ns",definition="task1"} 3"#),
            "{text}"
        );
        assert!(text.contains(r#"millrace_launches_ended_total{outcome="Failed",reason="NonZeroExit"} 1"#));
        let running = Active { launches: 2, oldest_seconds: Some(12.5) };
        metrics.defined("ns", "task1", "old-name", &BTreeMap::new());
        metrics.defined("ns", "task1", "Task1", &BTreeMap::from([(Phase::Running, running)]));
        metrics.arrival("ns", "task1", Received::Missing);
        let text = metrics.exposition();
        for line in [
            r#"millrace_definition_info{namespace="ns",definition="task1",task_name="Task1"} 1"#,
            r#"millrace_definition_active{namespace="ns",definition="task1",phase="Running"} 2"#,
            r#"millrace_definition_active{namespace="ns",definition="task1",phase="Pending"} 0"#,
            r#"millrace_definition_oldest_active_timestamp_seconds{namespace="ns",definition="task1",phase="Running"} 12.5"#,
            r#"millrace_definition_run_metrics_total{namespace="ns",definition="task1",received="Missing"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in {text}");
        }
        assert!(!text.contains("old-name"));
        metrics.defined("ns", "task1", "Task1", &BTreeMap::new());
        assert!(!metrics.exposition().contains("timestamp_seconds{"), "none is active");
        metrics.forget_definition("ns", "task1");
        assert!(!metrics.exposition().contains("task1"));
    }
}
