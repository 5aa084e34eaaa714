//! Where a run's metrics go: what a stack offers, without how it is made.

use std::time::Duration;

use super::spring::{Identity, Variable};
use super::{influxdb, prometheus, wavefront};
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

/// Exporter settings of a run.
pub fn variables(exporters: &Exporters, identity: &Identity) -> Vec<Variable> {
    let proxy = prometheus::variables(exporters.proxy.as_ref(), identity);
    let influx = influxdb::variables(exporters.influx.as_ref());
    let wavefront = wavefront::variables(exporters.wavefront.as_ref(), identity);
    [proxy, influx, wavefront].concat()
}

/// `text` as part of a URL: all but what RFC 3986 calls unreserved is encoded.
pub fn percent_encoded(text: &str) -> String {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    text.bytes()
        .map(|b| if unreserved(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_a_url_is_encoded() {
        assert_eq!(percent_encoded("a-b.c_d~9"), "a-b.c_d~9");
        assert_eq!(percent_encoded("a/b&c=ä $"), "a%2Fb%26c%3D%C3%A4%20%24");
    }
}
