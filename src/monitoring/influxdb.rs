//! InfluxDB of the 1.x line, as the dashboards' InfluxQL expects.

use serde_json::json;

use super::network::{self, Port};
use super::object::{Kind, Object, Part};
use super::offer::port;
use super::pods::{Pod, Resources, http_probe, of_a_set, workload};
use super::{Stack, volumes};
use crate::api::task_monitoring::{Mode, ServiceType};

const IMAGE: &str = "influxdb:1.8.10";
const CLAIM: &str = "influxdb-data";
const USER: i64 = 1500;

/// All objects of InfluxDB.
pub(super) fn build(stack: &Stack<'_>) -> Vec<Object> {
    let spec = &stack.spec.influxdb;
    if spec.mode != Mode::Managed {
        return Vec::new();
    }
    let part = Part::InfluxDb;
    let number = spec.service.port.unwrap_or(port::INFLUXDB);
    let ports = [Port { name: "http-influxdb", number, target: port::INFLUXDB }];
    let peers = [network::tasks(stack), network::pods_of(stack, Part::Grafana)];
    let rule = network::rule(&[port::INFLUXDB], &peers, &spec.service, ServiceType::ClusterIP);
    let mut all = vec![
        network::service(stack, part, &spec.service, ServiceType::ClusterIP, &ports),
        network::policy(stack, part, rule.as_slice()),
        stateful_set(stack),
    ];
    all.extend(volumes::claim(part, CLAIM, &spec.storage));
    all
}

fn stateful_set(stack: &Stack<'_>) -> Object {
    let spec = &stack.spec.influxdb;
    let part = Part::InfluxDb;
    let pod = Pod {
        part,
        options: &spec.pod,
        image: IMAGE,
        user: USER,
        resources: Resources { cpu: "100m", memory: "256Mi", memory_limit: "1Gi" },
        container: json!({
            "ports": [{"name": "http-influxdb", "containerPort": port::INFLUXDB, "protocol": "TCP"}],
            "env": [
                // No word to its makers, and no log line for each write.
                {"name": "INFLUXDB_REPORTING_DISABLED", "value": "true"},
                {"name": "INFLUXDB_HTTP_LOG_ENABLED", "value": "false"},
            ],
            // Reading what was not yet compacted takes long after a crash.
            "startupProbe": http_probe("/ping", "http-influxdb", 5, 120),
            "livenessProbe": http_probe("/ping", "http-influxdb", 10, 6),
            "readinessProbe": http_probe("/ping", "http-influxdb", 5, 3),
            "volumeMounts": [
                {"name": "data", "mountPath": "/var/lib/influxdb"},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
        }),
        volumes: vec![volumes::data("data", CLAIM, &spec.storage), volumes::scratch("tmp", "256Mi")],
        more: json!({}),
        annotations: json!({}),
        configuration: json!({}),
    };
    let template = pod.template(stack);
    let body = workload(stack, part, 1, &template, of_a_set(part));
    Object::new(part, Kind::StatefulSet, part.name(), body)
}
