//! What a stack offers the launches of the namespaces that it watches.

use std::time::Duration;

use super::object::Part;
use crate::api::TaskMonitoringSpec;
use crate::api::task_monitoring::{InfluxVersion, Mode, StackMode, WavefrontMode};
use crate::inject::exporters::{Exporters, Influx, InfluxTarget, Offer, ProxyDoors, WavefrontSender};

/// Ports of the proxy's pods.
pub mod port {
    /// RSocket over TCP.
    pub const RSOCKET: i32 = 7001;
    /// RSocket over websocket.
    pub const WEBSOCKET: i32 = 8081;
    /// What is read: metrics, health, facts.
    pub const HTTP: i32 = 8080;
    /// The push API.
    pub const PUSH: i32 = 9091;
    /// Prometheus.
    pub const PROMETHEUS: i32 = 9090;
    /// Grafana.
    pub const GRAFANA: i32 = 3000;
    /// InfluxDB.
    pub const INFLUXDB: i32 = 8086;
}

/// Host of a part's Service, as tasks in any namespace know it.
pub fn host(part: Part, namespace: &str) -> String {
    format!("{}.{namespace}.svc", part.name())
}

/// What the stack `name` in `namespace` offers; `ready_proxies` of its own are ready.
pub fn offer(name: &str, namespace: &str, spec: &TaskMonitoringSpec, ready_proxies: usize) -> Offer {
    let managed = spec.proxy.mode == Mode::Managed;
    Offer {
        stack: format!("{namespace}/{name}"),
        by_default: spec.metrics.mode == StackMode::Enabled,
        exporters: exporters(namespace, spec),
        observable: managed,
        patience: match u64::try_from(spec.proxy.wait_seconds) {
            Ok(seconds) if managed => Duration::from_secs(seconds),
            _ => Duration::ZERO,
        },
        proxy_ready: !managed || ready_proxies > 0,
        grafana: grafana(spec),
    }
}

fn exporters(namespace: &str, spec: &TaskMonitoringSpec) -> Exporters {
    let proxy = match (spec.proxy.mode, &spec.proxy.external) {
        (Mode::Managed, _) => Some(ProxyDoors {
            host: host(Part::Proxy, namespace),
            port: spec.proxy.service.port.unwrap_or(port::RSOCKET),
            push: Some(format!("http://{}:{}", host(Part::Proxy, namespace), port::PUSH)),
        }),
        (Mode::External, Some(external)) => Some(ProxyDoors {
            host: external.host.clone(),
            port: external.port,
            push: external.push_url.as_deref().map(|url| url.trim_end_matches('/').to_owned()),
        }),
        _ => None,
    };
    let wavefront = match (spec.wavefront.mode, &spec.wavefront.external) {
        (WavefrontMode::External, Some(external)) => Some(WavefrontSender {
            url: external.url.clone(),
            source: external.source.clone(),
            token: external.token.clone(),
        }),
        _ => None,
    };
    Exporters { proxy, influx: influx(namespace, spec), wavefront }
}

fn influx(namespace: &str, spec: &TaskMonitoringSpec) -> Option<Influx> {
    let database = |login| InfluxTarget::Database { database: spec.influxdb.database.clone(), login };
    match (spec.influxdb.mode, &spec.influxdb.external) {
        (Mode::Managed, _) => {
            let port = spec.influxdb.service.port.unwrap_or(port::INFLUXDB);
            let url = format!("http://{}:{port}", host(Part::InfluxDb, namespace));
            Some(Influx { url, target: database(None) })
        }
        (Mode::External, Some(external)) => {
            let two = (&external.org, &external.bucket, &external.token);
            let target = match (external.version, two) {
                (InfluxVersion::V2, (Some(org), Some(bucket), Some(token))) => {
                    InfluxTarget::Bucket { org: org.clone(), bucket: bucket.clone(), token: token.clone() }
                }
                _ => database(external.username.clone().zip(external.password.clone())),
            };
            Some(Influx { url: external.url.clone(), target })
        }
        _ => None,
    }
}

fn grafana(spec: &TaskMonitoringSpec) -> Option<String> {
    let url = match (spec.grafana.mode, &spec.grafana.external) {
        (Mode::Managed, _) => spec.grafana.external_url.clone().unwrap_or_default(),
        (Mode::External, Some(external)) => external.url.clone(),
        _ => return None,
    };
    Some(url.trim_end_matches('/').to_owned())
}
