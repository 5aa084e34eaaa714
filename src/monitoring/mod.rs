//! One stack, decided: snapshot in, plan out. No client, no clock, no environment.
//!
//! Each part has a file that builds its objects; none of them can fail. What all objects have in common (namespace,
//! owner, labels, digest) [`object::finish`] adds. [`diff`] leaves only what differs from what is there.

pub mod config;
pub mod dashboards;
pub mod diff;
pub mod external;
mod grafana;
pub mod health;
mod influxdb;
mod network;
pub mod object;
pub mod offer;
mod pods;
mod prometheus;
mod proxy;
mod quantity;
pub mod select;
pub mod status;
mod volumes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::api::conditions::Warning;
use crate::api::seen::{SeenMonitoring, SeenStackPod};
use crate::api::{TaskMonitoringSpec, TaskMonitoringStatus};
use crate::names::reason;
use object::{Kind, Object};
use select::Acceptance;

/// How often what the API server refused is tried again.
pub const ASK_AGAIN: Duration = Duration::from_mins(1);
/// Kinds of other operators are not watched: what is there of them is looked at so often.
pub const UNWATCHED: Duration = Duration::from_mins(10);

/// What every stack of an installation has in common: the operator's own settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installation {
    /// Image of the proxy, which is the operator's own.
    pub proxy_image: String,
    /// Host and port of the operator's metrics, as Prometheus finds them.
    pub operator_metrics: Option<String>,
    /// Labels of the operator's pods and their namespace's name: who may read the facts.
    pub operator_namespace: String,
    /// Namespaces whose stacks may be for the whole cluster.
    pub cluster_scope_namespaces: Vec<String>,
    /// Whether the operator may look after kinds of other operators.
    pub integrations: bool,
    /// Whether it is tried to connect to what others run.
    pub check_external: bool,
}

/// All that a decision depends on.
#[derive(Clone, Debug)]
pub struct StackSnapshot {
    /// The time of the decision.
    pub now: Timestamp,
    /// The stack.
    pub stack: Arc<SeenMonitoring>,
    /// Whether it counts.
    pub acceptance: Acceptance,
    /// The operator's settings.
    pub installation: Arc<Installation>,
    /// What is there with the stack's label, whoever owns it: kind, name, object.
    pub owned: BTreeMap<(Kind, String), Arc<Value>>,
    /// The pods of its parts.
    pub pods: Vec<Arc<SeenStackPod>>,
    /// Patterns of the definitions whose tasks it watches.
    pub filters: Vec<TaskFilter>,
    /// The most series that a run had lately.
    pub series_per_run: Option<usize>,
    /// Whether what others run can be connected to, as far as it was tried: else what was said.
    pub reached: BTreeMap<external::Address, Result<(), &'static str>>,
    /// What this process knows beyond what it watches.
    pub memory: StackMemory,
}

/// What a definition says about its task's metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct TaskFilter {
    /// Namespace of the definition.
    pub namespace: String,
    /// The task's name.
    pub task: String,
    /// Patterns to keep.
    pub keep: Vec<String>,
    /// Patterns to drop.
    pub drop: Vec<String>,
    /// Name of the definition, which is for people.
    #[serde(skip)]
    pub definition: String,
}

/// What this process knows about a stack beyond what it watches; lost with the process, without harm.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StackMemory {
    /// What the API server answered to the last write of an object.
    pub answers: BTreeMap<(Kind, String), Answer>,
}

/// What the API server answered to a write, and what was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// When.
    pub at: Timestamp,
    /// Digest of what was written.
    pub digest: String,
    /// What came back.
    pub outcome: Outcome,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was taken; the object is now at this version.
    Taken(String),
    /// An object of that name is there and not the stack's.
    Foreign(String),
    /// The API server does not know the kind.
    KindMissing,
    /// It was refused, with this sentence.
    Refused(String),
    /// Nothing of the stack is there under that name.
    Absent,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StackPlan {
    /// Apply these, in this order: configuration before workloads.
    pub apply: Vec<Object>,
    /// Delete these: the stack's own that are no longer wanted.
    pub delete: Vec<Gone>,
    /// Look for these, which no watch shows, and delete what is the stack's.
    pub strays: Vec<(Kind, String)>,
    /// Write this status.
    pub status: Option<Box<TaskMonitoringStatus>>,
    /// Publish these, once the status is written.
    pub warnings: Vec<Warning>,
    /// Look again after this time at the latest.
    pub next: Option<Duration>,
}

/// An object to be deleted, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// A stack as builders see it.
#[derive(Clone, Copy, Debug)]
pub struct Stack<'a> {
    /// Name of the TaskMonitoring.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// What was asked for.
    pub spec: &'a TaskMonitoringSpec,
    /// The operator's settings.
    pub installation: &'a Installation,
    /// Patterns of definitions.
    pub filters: &'a [TaskFilter],
}

/// What to do about a stack.
pub fn decide(s: &StackSnapshot) -> StackPlan {
    let meta = &s.stack.metadata;
    // A status that this version cannot read is from a later one: hands off.
    if meta.deletion_timestamp.is_some() || s.stack.status.as_result().is_err() {
        return StackPlan::default();
    }
    let spec = match s.stack.spec.as_result() {
        Ok(spec) => spec,
        // What runs goes on running until the spec can be read.
        Err(why) => return status::refuse(s, reason::INVALID_SPEC, why),
    };
    let stack = Stack {
        name: meta.name.as_deref().unwrap_or_default(),
        namespace: meta.namespace.as_deref().unwrap_or_default(),
        uid: meta.uid.as_deref().unwrap_or_default(),
        spec,
        installation: &s.installation,
        filters: &s.filters,
    };
    if let Acceptance::Refused(reason, sentence) = &s.acceptance {
        let (delete, strays) = (diff::orphans(s, &stack, &[]), diff::strays(s, &stack, &[]));
        return StackPlan { delete, strays, ..status::refuse(s, reason, sentence) };
    }
    let wanted = build(&stack);
    let apply = diff::differing(s, &stack, &wanted);
    let (delete, strays) = (diff::orphans(s, &stack, &wanted), diff::strays(s, &stack, &wanted));
    let told = status::told(s, &stack, &wanted, !apply.is_empty());
    StackPlan { apply, delete, strays, ..told }
}

/// All objects of a stack, in the order in which they are applied.
pub fn build(stack: &Stack<'_>) -> Vec<Object> {
    let parts = [prometheus::build, proxy::build, grafana::build, influxdb::build];
    let mut all: Vec<Object> = parts.into_iter().flat_map(|build| build(stack)).collect();
    all.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    all.into_iter().map(|object| object::finish(stack, object)).collect()
}

#[cfg(test)]
mod tests;
