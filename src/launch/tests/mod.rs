//! Decisions as tables: what is seen, what is planned. Times are seconds since the launch's creation.

mod definition;
mod histories;
mod job;
mod monitored;
mod outcome;
mod progress;
mod resolve;
mod waiting;
mod world;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};

use super::*;
use crate::inject::exporters::{Exporters, ProxyDoors};
use crate::names::{annotation, job_name, label};

/// The launch of all tables, created at second 0.
const NAME: &str = "nightly-x7k2p";
const UID: &str = "4f0c8a52-1b9e-4c0d-9d52-7f3a5e2b1c00";
const CREATED: i64 = 1_790_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(CREATED + second).unwrap()
}

fn time(second: i64) -> Value {
    json!(at(second).to_string())
}

fn the_jobs_name() -> String {
    job_name(NAME, UID)
}

/// Puts `over` over `value`: objects are merged, all else is replaced.
fn merge(value: &mut Value, over: Value) {
    match (value, over) {
        (Value::Object(value), Value::Object(over)) => {
            for (key, inner) in over {
                merge(value.entry(key).or_insert(Value::Null), inner);
            }
        }
        (value, over) => *value = over,
    }
}

fn definition_of(spec: &Value) -> SeenDefinition {
    let meta = json!({"name": "nightly", "namespace": "batch", "uid": "d", "generation": 1});
    serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
}

/// What a stack with a proxy of its own offers, while its proxy is ready.
fn an_offer() -> Offer {
    let doors = ProxyDoors {
        host: "metrics-proxy.monitoring.svc".to_owned(),
        port: 7001,
        push: Some("http://metrics-proxy.monitoring.svc:9091".to_owned()),
    };
    Offer {
        stack: "monitoring/tasks".to_owned(),
        by_default: true,
        exporters: Exporters { proxy: Some(doors), influx: None, wavefront: None },
        observable: true,
        patience: Duration::from_secs(30),
        proxy_ready: true,
        grafana: Some("https://grafana.example.com".to_owned()),
    }
}

/// A Job as the API server has it.
#[derive(Clone)]
struct AJob(Value);

impl AJob {
    /// Made for the launch at second 1.
    fn new() -> Self {
        let owner =
            json!([{"apiVersion": "millrace.dev/v1alpha1", "kind": "TaskLaunch", "name": NAME, "uid": UID}]);
        let annotations = json!({
            label::EXECUTION_ID: "42",
            annotation::TASK_CONTAINER: "task",
            annotation::START_DEADLINE: "3600",
        });
        Self(json!({
            "metadata": {
                "name": the_jobs_name(), "namespace": "batch", "uid": "job", "resourceVersion": "10",
                "creationTimestamp": time(1), "ownerReferences": owner,
                "labels": {label::LAUNCH: NAME}, "annotations": annotations,
            },
            "status": {"active": 1},
        }))
    }

    fn with(mut self, over: Value) -> Self {
        merge(&mut self.0, over);
        self
    }

    fn annotated(self, key: &str, value: &str) -> Self {
        self.with(json!({"metadata": {"annotations": {key: value}}}))
    }

    fn monitored(self, observable: &str) -> Self {
        self.annotated(annotation::MONITORING, "monitoring/tasks")
            .annotated(annotation::OBSERVABLE, observable)
            .annotated(annotation::TASK_NAME, "Nightly_Import")
    }

    fn suspended(self) -> Self {
        self.with(json!({"spec": {"suspend": true}, "status": {"active": 0}}))
    }

    fn complete(self, second: i64) -> Self {
        let end = json!([
            {"type": "SuccessCriteriaMet", "status": "True", "reason": "CompletionsReached"},
            {"type": "Complete", "status": "True", "reason": "CompletionsReached", "lastTransitionTime": time(second)},
        ]);
        self.with(json!({"status": {"conditions": end, "active": 0, "succeeded": 1}}))
    }

    fn failed(self, second: i64, reason: &str, message: &str) -> Self {
        let end = json!([
            {"type": "FailureTarget", "status": "True", "reason": reason, "message": message},
            {"type": "Failed", "status": "True", "reason": reason, "message": message, "lastTransitionTime": time(second)},
        ]);
        self.with(json!({"status": {"conditions": end, "active": 0, "failed": 1}}))
    }

    fn over_its_limit(self, second: i64) -> Self {
        self.failed(second, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    }

    fn past_its_deadline(self, second: i64) -> Self {
        self.failed(second, "DeadlineExceeded", "Job was active longer than specified deadline")
    }

    fn seen(self) -> Arc<SeenJob> {
        Arc::new(serde_json::from_value(self.0).unwrap())
    }
}

/// A pod as the API server has it.
#[derive(Clone)]
struct APod(Value);

impl APod {
    /// Made for the Job at second 1, not yet looked at by anyone.
    fn new() -> Self {
        Self::named(&format!("{}-abcde", the_jobs_name()), 1)
    }

    fn named(name: &str, created: i64) -> Self {
        Self(json!({
            "metadata": {
                "name": name, "namespace": "batch", "uid": name, "resourceVersion": "11",
                "creationTimestamp": time(created), "labels": {label::LAUNCH: NAME},
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": the_jobs_name(), "uid": "job"}],
            },
            "status": {"phase": "Pending"},
        }))
    }

    fn with(mut self, over: Value) -> Self {
        merge(&mut self.0, over);
        self
    }

    fn container(self, state: &Value) -> Self {
        self.with(json!({"status": {"containerStatuses": [{"name": "task", "state": state}]}}))
    }

    fn waiting(self, reason: &str, message: &str) -> Self {
        self.container(&json!({"waiting": {"reason": reason, "message": message}}))
    }

    fn running(self, since: i64) -> Self {
        self.container(&json!({"running": {"startedAt": time(since)}})).phase("Running")
    }

    fn exited(self, code: i32, from: i64, to: i64) -> Self {
        let reason = if code == 0 { "Completed" } else { "Error" };
        self.ended(
            &json!({"exitCode": code, "reason": reason, "startedAt": time(from), "finishedAt": time(to)}),
        )
    }

    fn ended(self, how: &Value) -> Self {
        let phase = if how["exitCode"] == 0 { "Succeeded" } else { "Failed" };
        self.container(&json!({"terminated": how})).phase(phase)
    }

    fn phase(self, phase: &str) -> Self {
        self.with(json!({"status": {"phase": phase}}))
    }

    fn condition(self, type_: &str, status: &str, reason: &str, message: &str) -> Self {
        let condition = json!({"type": type_, "status": status, "reason": reason, "message": message});
        self.with(json!({"status": {"conditions": [condition]}}))
    }

    fn unschedulable(self) -> Self {
        self.condition(
            "PodScheduled",
            "False",
            "Unschedulable",
            "0/1 nodes are available: 1 Insufficient cpu.",
        )
    }

    fn seen(self) -> Arc<SeenPod> {
        Arc::new(serde_json::from_value(self.0).unwrap())
    }
}

/// A snapshot, said in a few words.
#[derive(Clone)]
struct Case {
    launch: Value,
    rest: LaunchSnapshot,
}

impl Case {
    /// A launch whose definition is there, at second `now`.
    fn at_second(now: i64) -> Self {
        let launch = json!({
            "metadata": {
                "name": NAME, "namespace": "batch", "uid": UID, "resourceVersion": "5", "generation": 1,
                "creationTimestamp": time(0),
            },
            "spec": {"definitionRef": {"name": "nightly"}},
        });
        let rest = LaunchSnapshot {
            now: at(now),
            launch: Arc::default(),
            definition: Some(Arc::new(definition_of(&json!({"image": "i"})))),
            parent: Parent::None,
            offer: None,
            job: None,
            pods: Vec::new(),
            memory: Memory::default(),
            evidence: Evidence::default(),
        };
        Self { launch, rest }
    }

    fn with(mut self, change: impl FnOnce(&mut LaunchSnapshot)) -> Self {
        change(&mut self.rest);
        self
    }

    fn launch(mut self, over: Value) -> Self {
        merge(&mut self.launch, over);
        self
    }

    fn spec(self, over: &Value) -> Self {
        self.launch(json!({"spec": over}))
    }

    fn told(self, status: &Value) -> Self {
        self.launch(json!({"status": status}))
    }

    fn shut_down(self) -> Self {
        self.spec(&json!({"shutdown": "Stop"})).launch(json!({"metadata": {"generation": 2}}))
    }

    fn offered(self, change: impl FnOnce(&mut Offer)) -> Self {
        let mut offer = an_offer();
        change(&mut offer);
        self.with(|s| s.offer = Some(offer))
    }

    fn definition(self, spec: &Value) -> Self {
        let seen = Arc::new(definition_of(spec));
        self.with(|s| s.definition = Some(seen))
    }

    fn no_definition(self) -> Self {
        self.with(|s| s.definition = None)
    }

    fn job(self, job: AJob) -> Self {
        self.with(|s| s.job = Some(job.seen()))
    }

    fn pod(self, pod: APod) -> Self {
        self.with(|s| s.pods.push(pod.seen()))
    }

    fn id(self, id: i64) -> Self {
        self.with(|s| {
            s.evidence.launch_is_there = Some(true);
            s.evidence.execution_id = Some(id);
        })
    }

    fn pods_were_read(self) -> Self {
        self.with(|s| s.evidence.pods_were_read = true)
    }

    fn made(self, second: i64) -> Self {
        let made = MadeJob { at: at(second), name: the_jobs_name(), uid: None, execution_id: Some(42) };
        self.with(|s| s.memory.job_made = Some(made))
    }

    fn answered(self, answer: Answer) -> Self {
        self.with(|s| s.memory.answer = Some(answer))
    }

    fn snapshot(self) -> LaunchSnapshot {
        LaunchSnapshot { launch: Arc::new(serde_json::from_value(self.launch).unwrap()), ..self.rest }
    }

    fn decide(self) -> LaunchPlan {
        let snapshot = self.snapshot();
        let plan = decide(&snapshot);
        assert_eq!(plan, decide(&snapshot), "the same snapshot gives the same plan");
        plan
    }

    /// The same case after its plan's status was written.
    fn and_then(mut self, now: i64) -> Self {
        if let Some(status) = self.clone().decide().status {
            self.launch["status"] = json!(status);
        }
        self.rest.now = at(now);
        self
    }
}

/// A plan in one line: what is wanted, made and stopped; phase, reason, exit code, sentence, conditions; event,
/// deletion, and when to look again.
fn line(plan: &LaunchPlan) -> String {
    let mut parts = Vec::new();
    parts.extend(plan.want.map(|want| format!("want {want:?}")));
    parts.extend(plan.create_job.as_ref().map(|_| "create".to_owned()));
    parts.extend(plan.stop_job.as_ref().map(|stop| format!("stop for {}", stop.why)));
    parts.extend(plan.status.as_ref().map(|status| status_line(status)));
    parts.extend(plan.warning.as_ref().map(|warning| format!("warn {}", warning.reason)));
    parts.extend(plan.delete_job.as_ref().map(|_| "delete the Job".to_owned()));
    parts.extend(plan.next.map(|next| format!("next in {}s", next.as_secs())));
    if parts.is_empty() { "nothing".to_owned() } else { parts.join("; ") }
}

/// Most tables are of launches that nobody monitors; that this is said of each at its end, `histories` checks.
fn is_told(condition: &Condition) -> bool {
    condition.reason != reason::NOT_MONITORED
}

fn status_line(status: &TaskLaunchStatus) -> String {
    let conditions = status.conditions.iter().filter(|c| is_told(c)).map(|c| {
        let sign = match c.status.as_str() {
            "True" => "+",
            "False" => "-",
            _ => "?",
        };
        format!("{sign}{}/{}", c.type_, c.reason)
    });
    let mut words = vec![status.phase.map_or("?", crate::api::Phase::as_str).to_owned()];
    words.extend(status.reason.clone());
    words.extend(status.exit_code.map(|code| format!("exit {code}")));
    words.extend(status.attempts.map(|n| format!("attempt {n}")));
    words.extend(status.duration.as_ref().map(|d| format!("after {d}")));
    words.extend(status.message.as_ref().map(|m| format!("({m})")));
    words.push(format!("[{}]", conditions.collect::<Vec<_>>().join(" ")));
    words.join(" ")
}

/// Compares a whole table at once, so that one run shows all that changed.
fn check<'a>(table: impl IntoIterator<Item = (&'a str, Case, &'a str)>) {
    let planned = table.into_iter().map(|(what, case, expected)| (what, line(&case.decide()), expected));
    let wrong: Vec<_> = planned
        .filter(|(_, plan, expected)| plan != expected)
        .map(|(what, plan, expected)| format!("\n{what}\n  expected {expected}\n  planned  {plan}\n"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.concat());
}
