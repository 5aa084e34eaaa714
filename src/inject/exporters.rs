//! Where a run's metrics go: what a stack offers, without how it is made.

use std::time::Duration;

use crate::api::task_monitoring::SecretKey;

/// What a stack offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// namespace/name of the stack.
    pub stack: String,
    /// Whether tasks whose definition leaves it open are monitored.
    pub by_default: bool,
    /// Where metrics go.
    pub exporters: Exporters,
    /// Whether the operator can see what arrives: only in a proxy of its own.
    pub observable: bool,
    /// How long a launch waits for the proxy before it runs without; zero where there is nothing to wait for.
    pub patience: Duration,
    /// Whether a proxy is ready to take metrics.
    pub proxy_ready: bool,
    /// What links to Grafana begin with, if there is one: a URL without a slash at the end, or nothing.
    pub grafana: Option<String>,
}

/// Everywhere that metrics can go. What is `None` is switched off in the application where that does no harm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exporters {
    /// The metrics proxy, and through it Prometheus.
    pub proxy: Option<ProxyDoors>,
    /// InfluxDB.
    pub influx: Option<Influx>,
    /// Wavefront.
    pub wavefront: Option<WavefrontSender>,
}

/// The two doors of the metrics proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyDoors {
    /// Host of the RSocket door.
    pub host: String,
    /// Its port (TCP).
    pub port: i32,
    /// URL of the push door without a path, such as `http://metrics-proxy.team-a.svc:9091`.
    pub push: Option<String>,
}

/// An InfluxDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Influx {
    /// Its URL.
    pub url: String,
    /// What it takes.
    pub target: InfluxTarget,
}

/// What an InfluxDB takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InfluxTarget {
    /// Version 1.
    Database {
        /// Its name.
        database: String,
        /// User and password.
        login: Option<(SecretKey, SecretKey)>,
    },
    /// Version 2.
    Bucket {
        /// Organisation.
        org: String,
        /// Bucket.
        bucket: String,
        /// Token.
        token: SecretKey,
    },
}

/// Wavefront.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WavefrontSender {
    /// The service's URL, or `proxy://host:port`.
    pub url: String,
    /// Source of the metrics; `None` is the pod.
    pub source: Option<String>,
    /// API token.
    pub token: Option<SecretKey>,
}
