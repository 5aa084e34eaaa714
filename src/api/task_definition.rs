//! `TaskDefinition`: what to run.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, PodTemplateSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{embedded, limits};

/// What to run: an image with its arguments, properties and limits, and what a launch of it may add.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "millrace.dev",
    version = "v1alpha1",
    kind = "TaskDefinition",
    plural = "taskdefinitions",
    namespaced,
    shortname = "td",
    category = "millrace",
    status = "TaskDefinitionStatus",
    derive = "PartialEq",
    doc = "A task that can be launched: an image with its arguments, properties and limits, and what a launch may add.",
    printcolumn(name = "Task", type_ = "string", json_path = ".spec.taskName", priority = 1),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image"),
    printcolumn(name = "Accepted", type_ = "string", json_path = ".status.conditions[?(@.type==\"Accepted\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Accepted\")].reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 63").message("a TaskDefinition's name has at most 63 characters, because it becomes a label of its Jobs and pods; give a longer display name in spec.taskName"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.image) || has(self.podTemplate)").message("give spec.image, or a spec.podTemplate with a container"),
    validation = Rule::new("has(self.image) || has(self.taskContainer) || !has(self.podTemplate) || (has(self.podTemplate.spec) && has(self.podTemplate.spec.containers) && size(self.podTemplate.spec.containers) > 0)").message("spec.podTemplate has no container: add one, or give spec.image"),
    validation = Rule::new("has(self.taskContainer) || !has(self.podTemplate) || !has(self.podTemplate.spec) || !has(self.podTemplate.spec.containers) || size(self.podTemplate.spec.containers) <= 1").message("spec.podTemplate has several containers: name the one whose end is the task's end in spec.taskContainer, and make the others native sidecars (initContainers with restartPolicy: Always)"),
)]
pub struct TaskDefinitionSpec {
    /// The task's name in tags, labels and dashboards. Default: the object's name. Upper case is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"))]
    pub task_name: Option<String>,

    /// Image of the task's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,

    /// Entry point of the task's container, instead of the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "limits::args")]
    pub command: Option<Vec<String>>,

    /// Arguments; properties and a launch's own arguments come after them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "limits::args")]
    pub args: Vec<String>,

    /// Environment of the task's container. A Spring setting here wins over the operator's; the identity of
    /// a run cannot be set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "embedded::env")]
    pub env: Vec<EnvVar>,

    /// ConfigMaps and Secrets whose keys become environment of the task's container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "embedded::env_from")]
    pub env_from: Vec<EnvFromSource>,

    /// Requests and limits of the task's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::resources")]
    pub resources: Option<ResourceRequirements>,

    /// A whole pod template, for everything that the short fields cannot say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::pod_template")]
    pub pod_template: Option<PodTemplateSpec>,

    /// The container whose end is the task's end, where the pod template has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub task_container: Option<String>,

    /// Spring properties by name, such as `spring.batch.job.name`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "limits::properties")]
    pub properties: BTreeMap<String, String>,

    /// How properties reach the application: as arguments `--key=value`, or as environment variables for
    /// images whose entry point ignores arguments.
    #[serde(default)]
    pub properties_as: PropertiesAs,

    /// Hints about a Spring application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spring: Option<Spring>,

    /// What a launch may add.
    #[serde(default)]
    pub overrides: Overrides,

    /// Retries, deadlines and grace period.
    #[serde(default)]
    pub run_policy: RunPolicy,

    /// Metrics of this task's runs.
    #[serde(default)]
    pub metrics: Metrics,

    /// How many finished launches are kept.
    #[serde(default)]
    pub history: History,

    /// Labels for Job and pod, such as a queue's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "limits::labels")]
    pub labels: BTreeMap<String, String>,

    /// Annotations for Job and pod, such as a mesh's opt-out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "limits::string_map")]
    pub annotations: BTreeMap<String, String>,

    /// `Restricted` fills in what the Pod Security Standard of that name asks for, where the template says
    /// nothing. Default: the template is left as it is, since many images run as root.
    #[serde(default)]
    pub pod_security: PodSecurity,
}

/// How properties reach the application.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PropertiesAs {
    /// As `--key=value`, after the definition's arguments.
    #[default]
    Arguments,
    /// As environment variables in Spring's form: `spring.batch.job.name` becomes `SPRING_BATCH_JOB_NAME`.
    Environment,
}

/// Hints about a Spring application.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Spring {
    /// Major version of Spring Boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_version: Option<BootVersion>,
}

/// Major version of Spring Boot. With "2", Spring Cloud Task's own metrics configuration is excluded, so that all
/// meters carry the execution id.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootVersion {
    /// Spring Boot 2.
    #[serde(rename = "2")]
    Two,
    /// Spring Boot 3.
    #[serde(rename = "3")]
    Three,
    /// Spring Boot 4.
    #[serde(rename = "4")]
    Four,
}

/// What a launch may add.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Overrides {
    /// Arguments: `Deny` none, `Plain` such as do not begin with a dash, `Any` all. An argument of the form
    /// `--key=value` always counts as a property.
    #[serde(default)]
    pub args: ArgsOverride,
    /// Names of the properties that a launch may set, in any of Spring's spellings.
    #[serde(default)]
    #[schemars(schema_with = "limits::property_names")]
    pub properties: Vec<String>,
}

/// Which arguments a launch may add.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArgsOverride {
    /// None.
    Deny,
    /// Such as do not begin with a dash.
    #[default]
    Plain,
    /// All; `--key=value` only for properties that are allowed by name.
    Any,
}

/// Retries, deadlines and grace period.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RunPolicy {
    /// How often a failed pod is replaced by a new one. Default 0: a failed task is not run again.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100), extend("default" = 0))]
    pub backoff_limit: i32,
    /// Seconds after which a running launch is ended as failed. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub active_deadline_seconds: Option<i64>,
    /// Seconds within which the task must have started, counted from the launch's creation; 0 means for ever.
    /// A launch that has not started by then fails with what it was waiting for.
    #[serde(default = "RunPolicy::default_start_deadline_seconds")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub start_deadline_seconds: i64,
    /// Seconds between SIGTERM and SIGKILL when a run is ended. Default: the pod template's, else 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400))]
    pub termination_grace_period_seconds: Option<i64>,
}

impl RunPolicy {
    /// One hour.
    pub const fn default_start_deadline_seconds() -> i64 {
        3600
    }
}

impl Default for RunPolicy {
    fn default() -> Self {
        Self {
            backoff_limit: 0,
            active_deadline_seconds: None,
            start_deadline_seconds: Self::default_start_deadline_seconds(),
            termination_grace_period_seconds: None,
        }
    }
}

/// Metrics of a task's runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Whether the task's metrics are collected: as the namespace's monitoring says, always, or never. Identity
    /// and tags always reach the application. Without monitoring in the namespace nothing is collected, in any mode.
    #[serde(default)]
    pub mode: MetricsMode,
    /// Tags that all meters of the task get.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "limits::tags")]
    pub tags: BTreeMap<String, String>,
    /// Of this task keep only metrics whose whole name fits one of these regular expressions, such as `spring_.*`, on top
    /// of what the TaskMonitoring says. Applied in the proxy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "limits::patterns")]
    pub keep: Vec<String>,
    /// Of this task drop metrics whose whole name fits one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "limits::patterns")]
    pub drop: Vec<String>,
}

/// Whether metrics are collected.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricsMode {
    /// As the namespace's monitoring says.
    #[default]
    Inherit,
    /// Always.
    Enabled,
    /// Never.
    Disabled,
}

/// How many finished launches are kept; the oldest go first.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Succeeded launches kept.
    #[serde(default = "History::default_limit")]
    #[schemars(range(min = 0, max = 100_000))]
    pub succeeded: i64,
    /// Failed and stopped launches kept.
    #[serde(default = "History::default_limit")]
    #[schemars(range(min = 0, max = 100_000))]
    pub failed: i64,
    /// Seconds after which a finished launch goes, whatever their number. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 315_360_000))]
    pub ttl_seconds_after_finished: Option<i64>,
}

impl History {
    /// Fifty of each.
    pub const fn default_limit() -> i64 {
        50
    }
}

impl Default for History {
    fn default() -> Self {
        Self {
            succeeded: Self::default_limit(),
            failed: Self::default_limit(),
            ttl_seconds_after_finished: None,
        }
    }
}

/// What the operator does to the pod's security context.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodSecurity {
    /// Nothing.
    #[default]
    Unchanged,
    /// Fills in what the Pod Security Standard `restricted` asks for.
    Restricted,
}

/// What the operator says about a definition.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TaskDefinitionStatus {
    /// Generation of the spec that the conditions speak of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted`: whether the definition can be launched. `PatternsApplied`, only if False: an older definition of the
    /// same task name says which metrics are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
