//! The parts of a stack.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::options::{Mode, PodOptions, SecretKey, Service, Storage, WavefrontMode};
use crate::api::limits;

const fn managed() -> Mode {
    Mode::Managed
}

/// Where metrics are kept.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.external) == (has(self.mode) && self.mode == 'External')").message("mode: External and external go together: give both, or neither"),
)]
pub struct Prometheus {
    /// Who runs it. Default: the operator.
    #[serde(default = "managed")]
    pub mode: Mode,
    /// How its pod runs.
    #[serde(flatten)]
    pub pod: PodOptions,
    /// Its volume.
    #[serde(default)]
    pub storage: Storage,
    /// How long metrics stay.
    #[serde(default)]
    pub retention: Retention,
    /// Seconds between two scrapes of the proxy.
    #[serde(default = "Prometheus::default_scrape_interval_seconds")]
    #[schemars(range(min = 1, max = 300))]
    pub scrape_interval_seconds: i32,
    /// Most series of one scrape; a scrape with more is refused as a whole.
    #[serde(default = "Prometheus::default_sample_limit")]
    #[schemars(range(min = 1000, max = 100_000_000))]
    pub sample_limit: i64,
    /// URLs of Alertmanagers that alerts are sent to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "limits::urls")]
    pub alertmanagers: Vec<String>,
    /// How it can be reached.
    #[serde(default)]
    pub service: Service,
    /// A Prometheus of your own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<PrometheusExternal>,
}

impl Prometheus {
    const fn default_scrape_interval_seconds() -> i32 {
        10
    }

    const fn default_sample_limit() -> i64 {
        1_000_000
    }
}

impl Default for Prometheus {
    fn default() -> Self {
        Self {
            mode: Mode::Managed,
            pod: PodOptions::default(),
            storage: Storage::default(),
            retention: Retention::default(),
            scrape_interval_seconds: Self::default_scrape_interval_seconds(),
            sample_limit: Self::default_sample_limit(),
            alertmanagers: Vec::new(),
            service: Service::default(),
            external: None,
        }
    }
}

/// How long metrics stay: until the first of the two is reached.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// Time, such as 15d or 12h.
    #[serde(default = "Retention::default_time")]
    #[schemars(length(min = 2, max = 12), regex(pattern = r"^[1-9][0-9]*(h|d|w|y)$"))]
    pub time: String,
    /// Size of all blocks, such as 6GB. Default: four fifths of the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 12), regex(pattern = r"^[1-9][0-9]*(MB|GB|TB)$"))]
    pub size: Option<String>,
}

impl Retention {
    fn default_time() -> String {
        "15d".to_owned()
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self { time: Self::default_time(), size: None }
    }
}

/// A Prometheus of your own.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusExternal {
    /// Where Grafana finds it.
    #[schemars(schema_with = "limits::url")]
    pub url: String,
    /// How it finds the proxy.
    #[serde(default)]
    pub discovery: Discovery,
    /// Labels of the ServiceMonitor and PrometheusRule: what your Prometheus selects, such as
    /// `release: kube-prometheus-stack`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "limits::labels")]
    pub labels: BTreeMap<String, String>,
}

/// How a Prometheus of your own finds the proxy.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Discovery {
    /// By a ServiceMonitor and a PrometheusRule of the Prometheus operator.
    ServiceMonitor,
    /// By annotations `prometheus.io/…` on the proxy's pods.
    Annotations,
    /// You configure it.
    #[default]
    Manual,
}

/// Takes the last metrics of short-lived tasks.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.external) == (has(self.mode) && self.mode == 'External')").message("mode: External and external go together: give both, or neither"),
)]
pub struct Proxy {
    /// Who runs it. Default: the operator.
    #[serde(default = "managed")]
    pub mode: Mode,
    /// How its pods run.
    #[serde(flatten)]
    pub pod: PodOptions,
    /// How many there are, each with a volume of its own.
    #[serde(default = "Proxy::default_replicas")]
    #[schemars(range(min = 1, max = 16))]
    pub replicas: i32,
    /// Volume of each replica.
    #[serde(default)]
    pub storage: Storage,
    /// Seconds that a launch waits for the proxy before it runs without; 0 means not at all.
    #[serde(default = "Proxy::default_wait_seconds")]
    #[schemars(range(min = 0, max = 3600))]
    pub wait_seconds: i64,
    /// How it can be reached; `port` is that of RSocket over TCP.
    #[serde(default)]
    pub service: Service,
    /// A proxy that somebody else runs, such as the Java one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ProxyExternal>,
}

impl Proxy {
    const fn default_replicas() -> i32 {
        1
    }

    const fn default_wait_seconds() -> i64 {
        30
    }
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            mode: Mode::Managed,
            pod: PodOptions::default(),
            replicas: Self::default_replicas(),
            storage: Storage::default(),
            wait_seconds: Self::default_wait_seconds(),
            service: Service::default(),
            external: None,
        }
    }
}

/// A proxy that somebody else runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ProxyExternal {
    /// Its host, as tasks know it.
    #[schemars(schema_with = "limits::host")]
    pub host: String,
    /// Its port of RSocket over TCP.
    #[serde(default = "ProxyExternal::default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// URL of a push API, such as that of a Pushgateway. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "limits::url")]
    pub push_url: Option<String>,
}

impl ProxyExternal {
    const fn default_port() -> i32 {
        7001
    }
}

/// Shows metrics.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.external) == (has(self.mode) && self.mode == 'External')").message("mode: External and external go together: give both, or neither"),
)]
pub struct Grafana {
    /// Who runs it. Default: the operator.
    #[serde(default = "managed")]
    pub mode: Mode,
    /// How its pod runs.
    #[serde(flatten)]
    pub pod: PodOptions,
    /// Its volume, for users and dashboards of your own. Default: none; what the operator provisions needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Where people reach it, for links in the status of launches. Default: links begin with a slash.
    #[serde(default, rename = "externalURL", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "limits::url")]
    pub external_url: Option<String>,
    /// Secret with the administrator's name and password. Default: the operator creates `grafana` with a random
    /// password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_secret: Option<AdminSecret>,
    /// How it can be reached.
    #[serde(default)]
    pub service: Service,
    /// A Grafana of your own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<GrafanaExternal>,
}

impl Default for Grafana {
    fn default() -> Self {
        Self {
            mode: Mode::Managed,
            pod: PodOptions::default(),
            storage: None,
            external_url: None,
            admin_secret: None,
            service: Service::default(),
            external: None,
        }
    }
}

/// Secret with the administrator's name and password.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AdminSecret {
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// Key of the name.
    #[serde(default = "AdminSecret::default_username_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub username_key: String,
    /// Key of the password.
    #[serde(default = "AdminSecret::default_password_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub password_key: String,
}

impl AdminSecret {
    /// As in the manifests of Spring Cloud Data Flow.
    pub fn default_username_key() -> String {
        "admin-username".to_owned()
    }

    /// As in the manifests of Spring Cloud Data Flow.
    pub fn default_password_key() -> String {
        "admin-password".to_owned()
    }
}

/// A Grafana of your own.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GrafanaExternal {
    /// Where people reach it, for links.
    #[schemars(schema_with = "limits::url")]
    pub url: String,
    /// How it gets the dashboards.
    #[serde(default)]
    pub dashboards: Dashboards,
    /// Labels of what carries the dashboards. Default: `grafana_dashboard: "1"`, which the sidecar of Grafana's chart
    /// looks for. For GrafanaDashboard they are the instance selector.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "limits::labels")]
    pub labels: BTreeMap<String, String>,
    /// Folder in Grafana.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9][-A-Za-z0-9 _.]*$"))]
    pub folder: Option<String>,
}

/// How a Grafana of your own gets the dashboards.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dashboards {
    /// By ConfigMaps that its sidecar finds.
    #[default]
    ConfigMap,
    /// By GrafanaDashboard resources of the grafana-operator.
    GrafanaDashboard,
    /// You import them.
    Manual,
}

/// Another place for metrics.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.external) == (has(self.mode) && self.mode == 'External')").message("mode: External and external go together: give both, or neither"),
)]
pub struct InfluxDb {
    /// Who runs it. Default: nobody.
    #[serde(default)]
    pub mode: Mode,
    /// How its pod runs.
    #[serde(flatten)]
    pub pod: PodOptions,
    /// Its volume.
    #[serde(default)]
    pub storage: Storage,
    /// Database that applications write to; they create it.
    #[serde(default = "InfluxDb::default_database")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9_][-A-Za-z0-9_]*$"))]
    pub database: String,
    /// How it can be reached.
    #[serde(default)]
    pub service: Service,
    /// An InfluxDB of your own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<InfluxExternal>,
}

impl InfluxDb {
    fn default_database() -> String {
        "millrace".to_owned()
    }
}

impl Default for InfluxDb {
    fn default() -> Self {
        Self {
            mode: Mode::Disabled,
            pod: PodOptions::default(),
            storage: Storage::default(),
            database: Self::default_database(),
            service: Service::default(),
            external: None,
        }
    }
}

/// An InfluxDB of your own.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.version) || self.version != 'V2' || (has(self.org) && has(self.bucket) && has(self.token))").message("version: V2 needs org, bucket and token"),
    validation = Rule::new("(has(self.version) && self.version == 'V2') || !(has(self.org) || has(self.bucket) || has(self.token))").message("org, bucket and token belong to version: V2; for V1 give username and password"),
    validation = Rule::new("has(self.username) == has(self.password)").message("give username and password together"),
)]
pub struct InfluxExternal {
    /// Where it is, as tasks and Grafana know it.
    #[schemars(schema_with = "limits::url")]
    pub url: String,
    /// Its API: V1 (database), or V2 (org, bucket and token).
    #[serde(default)]
    pub version: InfluxVersion,
    /// Organisation, V2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub org: Option<String>,
    /// Bucket, V2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub bucket: Option<String>,
    /// Token, V2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretKey>,
    /// User, V1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<SecretKey>,
    /// Password, V1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretKey>,
}

/// API of an InfluxDB.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InfluxVersion {
    /// Database, perhaps with user and password.
    #[default]
    V1,
    /// Organisation, bucket and token.
    V2,
}

/// For installations that still have it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.external) == (has(self.mode) && self.mode == 'External')").message("mode: External and external go together: give both, or neither"),
)]
pub struct Wavefront {
    /// External, or Disabled, the default. It is never managed.
    #[serde(default)]
    pub mode: WavefrontMode,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<WavefrontExternal>,
}

/// Where Wavefront is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.token) || self.url.startsWith('proxy://')").message("give token, the Secret's key with the API token; only a Wavefront proxy (proxy://host:2878) needs none"),
)]
pub struct WavefrontExternal {
    /// The service's URL, or `proxy://host:port` of a Wavefront proxy.
    #[schemars(length(min = 8, max = 512), regex(pattern = r"^(https?|proxy)://[^\s/?#@]+(/[^\s?#]*)?$"))]
    pub url: String,
    /// What metrics name as their source. Default: the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[-A-Za-z0-9_./]+$"))]
    pub source: Option<String>,
    /// API token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretKey>,
}
