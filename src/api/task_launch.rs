//! `TaskLaunch`: one run of a definition.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits;

/// One run of a task definition. Everything but `shutdown` is fixed when the launch is created.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "millrace.dev",
    version = "v1alpha1",
    kind = "TaskLaunch",
    plural = "tasklaunches",
    namespaced,
    shortname = "tl",
    category = "millrace",
    status = "TaskLaunchStatus",
    derive = "PartialEq",
    doc = "One run of a TaskDefinition: it becomes exactly one Job. Create it with generateName; to run again, create another.",
    printcolumn(name = "Definition", type_ = "string", json_path = ".spec.definitionRef.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Execution", type_ = "integer", json_path = ".status.executionId"),
    printcolumn(name = "Exit", type_ = "integer", json_path = ".status.exitCode"),
    printcolumn(name = "Duration", type_ = "string", json_path = ".status.duration"),
    printcolumn(name = "Metrics", type_ = "string", json_path = ".status.conditions[?(@.type==\"MetricsReceived\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason", priority = 1),
    printcolumn(name = "Pod", type_ = "string", json_path = ".status.podName", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 52").message("a TaskLaunch's name has at most 52 characters, because its Job and pod are named after it; with generateName, give a prefix of at most 47"),
    validation = Rule::new("!has(self.spec.parentRef) || !has(self.spec.parentRef.name) || self.spec.parentRef.name != self.metadata.name").message("a launch cannot be its own parent: name another launch in spec.parentRef.name"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.definitionRef == oldSelf.definitionRef").message("spec.definitionRef cannot be changed: a re-run is a new TaskLaunch"),
    validation = Rule::new("has(self.args) == has(oldSelf.args) && (!has(self.args) || self.args == oldSelf.args)").message("spec.args cannot be changed: a re-run is a new TaskLaunch"),
    validation = Rule::new("has(self.properties) == has(oldSelf.properties) && (!has(self.properties) || self.properties == oldSelf.properties)").message("spec.properties cannot be changed: a re-run is a new TaskLaunch"),
    validation = Rule::new("has(self.parentRef) == has(oldSelf.parentRef) && (!has(self.parentRef) || self.parentRef == oldSelf.parentRef)").message("spec.parentRef cannot be changed: a re-run is a new TaskLaunch"),
    validation = Rule::new("!has(oldSelf.shutdown) || has(self.shutdown)").message("spec.shutdown cannot be taken back: a re-run is a new TaskLaunch"),
)]
pub struct TaskLaunchSpec {
    /// The definition to run, in the launch's namespace. It is read once, when the Job is made.
    pub definition_ref: DefinitionRef,

    /// Arguments after the definition's own. Which are allowed, the definition says in `overrides.args`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "limits::args")]
    pub args: Vec<String>,

    /// Spring properties over the definition's own. Which are allowed, the definition says in
    /// `overrides.properties`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "limits::properties")]
    pub properties: BTreeMap<String, String>,

    /// The launch that this one belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_ref: Option<ParentRef>,

    /// Ends the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<Shutdown>,
}

/// A definition by name.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DefinitionRef {
    /// Name of the TaskDefinition.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// The launch that this one belongs to, by name or by execution id.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.name) != has(self.executionId)").message("give either spec.parentRef.name or spec.parentRef.executionId")
)]
pub struct ParentRef {
    /// Name of the parent TaskLaunch in the same namespace. The launch waits until it has an execution id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 52), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: Option<String>,
    /// Execution id of the parent, which need not be a launch of this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub execution_id: Option<i64>,
}

/// `Stop` ends the run: SIGTERM, grace period, SIGKILL. The launch is then `Stopped`, whatever the exit code.
/// It may be set at any time and never taken back.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// SIGTERM, grace period, SIGKILL.
    Stop,
}

/// What became of a launch.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TaskLaunchStatus {
    /// Where the launch stands. Succeeded, Failed and Stopped are final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// One word for why: what it waits for, or why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A sentence for why. At the end: the kubelet's reason and what the application wrote as its
    /// termination message, at most 1 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Unique in this installation, never used again; tag `task.execution.id` of the run's metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<i64>,
    /// Execution id of the parent; tag `task.parent.execution.id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_execution_id: Option<i64>,
    /// The Job that runs the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_name: Option<String>,
    /// UID of that Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_uid: Option<String>,
    /// The external execution id: name of the (last) pod; tag `task.external.execution.id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// How many pods were made, where the definition allows retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i32>,
    /// Exit code of the task's container, at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// When the task's container started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the launch ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Time from start to end for people, such as 1m12s, at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Grafana's dashboard of this run: a URL, or a path where nobody said under which name people reach Grafana.
    #[serde(default, rename = "dashboardURL", skip_serializing_if = "Option::is_none")]
    pub dashboard_url: Option<String>,
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted`, `Started`, `Finished`, `Succeeded`, and at the end `MetricsReceived`: whether the metrics proxy has
    /// the run's metrics, how they came, and how many series.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Where the launch stands: Pending, Running, Stopping, and at the end Succeeded, Failed or Stopped.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Not started: waits for its definition, a node, an image.
    Pending,
    /// The task's container runs.
    Running,
    /// Being ended before it ended by itself.
    Stopping,
    /// Ended with exit code 0.
    Succeeded,
    /// Ended otherwise, or could not be started.
    Failed,
    /// Ended because the launch asked for it.
    Stopped,
}

impl Phase {
    /// Final: the launch never leaves it.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Stopped)
    }

    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Stopping => "Stopping",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Stopped => "Stopped",
        }
    }
}
