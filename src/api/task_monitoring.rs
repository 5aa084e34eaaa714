//! `TaskMonitoring`: the monitoring of a namespace's tasks, or of a cluster's.

mod options;
mod parts;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits;
pub use options::{Mode, OnDelete, PodOptions, SecretKey, Service, ServiceType, Storage, WavefrontMode};
pub use parts::{
    AdminSecret, Dashboards, Discovery, Grafana, GrafanaExternal, InfluxDb, InfluxExternal, InfluxVersion,
    Prometheus, PrometheusExternal, Proxy, ProxyExternal, Retention, Wavefront, WavefrontExternal,
};

/// What watches the tasks of a namespace. Left empty it means: Prometheus, the metrics proxy and Grafana, all managed.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "millrace.dev",
    version = "v1alpha1",
    kind = "TaskMonitoring",
    plural = "taskmonitorings",
    namespaced,
    shortname = "tm",
    category = "millrace",
    status = "TaskMonitoringStatus",
    derive = "PartialEq",
    doc = "The monitoring of a namespace's tasks: Prometheus, the metrics proxy and Grafana with dashboards; InfluxDB and Wavefront as alternatives. With an empty spec the first three are managed.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Scope", type_ = "string", json_path = ".spec.scope", priority = 1),
    printcolumn(name = "Series", type_ = "integer", json_path = ".status.seriesPerRun"),
    printcolumn(name = "Grafana", type_ = "string", json_path = ".status.openGrafana", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 63").message("a TaskMonitoring's name has at most 63 characters, because it becomes a label of everything it owns"),
)]
#[serde(rename_all = "camelCase")]
pub struct TaskMonitoringSpec {
    /// Whose tasks: those of this namespace, or of all that have no TaskMonitoring of their own. Cluster counts only
    /// in namespaces that the operator's `monitoring.clusterScopeNamespaces` lists.
    #[serde(default)]
    pub scope: MonitoringScope,

    /// Which tasks, and which of their metrics.
    #[serde(default)]
    pub metrics: StackMetrics,

    /// Secrets for pulling the images of managed parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "limits::secret_names")]
    pub image_pull_secrets: Vec<String>,

    /// Where metrics are kept.
    #[serde(default)]
    pub prometheus: Prometheus,

    /// Takes the last metrics of short-lived tasks and keeps them until Prometheus had them.
    #[serde(default)]
    pub proxy: Proxy,

    /// Shows them.
    #[serde(default)]
    pub grafana: Grafana,

    /// Another place for metrics, which applications write to by themselves. Default: none.
    #[serde(default)]
    pub influxdb: InfluxDb,

    /// For installations that still have it: Wavefront has reached the end of its life. Default: none.
    #[serde(default)]
    pub wavefront: Wavefront,
}

/// Whose tasks a TaskMonitoring watches.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MonitoringScope {
    /// Those of its namespace.
    #[default]
    Namespace,
    /// Those of all namespaces that have no TaskMonitoring of their own.
    Cluster,
}

/// Which tasks, and which of their metrics.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct StackMetrics {
    /// What definitions with `metrics.mode: Inherit` get: Enabled for all tasks at once, Disabled for task by task.
    #[serde(default)]
    pub mode: StackMode,
    /// Keep only metrics whose whole name fits one of these regular expressions, such as `spring_.*`. Applied in the
    /// proxy. Identity stays whatever is dropped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "limits::patterns")]
    pub keep: Vec<String>,
    /// Drop metrics whose whole name fits one of these, such as `jvm_.*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "limits::patterns")]
    pub drop: Vec<String>,
}

/// Whether tasks are monitored where their definition leaves it open.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StackMode {
    /// They are.
    #[default]
    Enabled,
    /// They are not.
    Disabled,
}

/// How the stack stands.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TaskMonitoringStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the parts can be reached from inside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Addresses>,
    /// The command that opens Grafana.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_grafana: Option<String>,
    /// The most series that a run had lately: what each further run costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series_per_run: Option<i64>,
    /// `Accepted`, `Ready`, and one for each part that is not disabled: `PrometheusReady`, `ProxyReady`,
    /// `GrafanaReady`, `InfluxDBReady`, `WavefrontReady`. `PatternsApplied`, only if False: patterns of some definitions
    /// have no room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Where the parts can be reached from inside the cluster.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Addresses {
    /// Prometheus, as URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<String>,
    /// The proxy's RSocket door, as host and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// The proxy's push door, as URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<String>,
    /// Grafana, as URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grafana: Option<String>,
    /// InfluxDB, as URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub influxdb: Option<String>,
}
