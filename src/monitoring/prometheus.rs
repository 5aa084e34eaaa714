//! Prometheus, or what a Prometheus of the user's own needs to find the proxy.

use serde_json::{Value, json};

use super::config::prometheus::{FLAGS, PrometheusConfig, RULES, Targets, render_prometheus};
use super::network::{self, Port};
use super::object::{Kind, Object, Part, selector};
use super::offer::port;
use super::pods::{Pod, Resources, http_probe, literal, of_a_set, workload};
use super::{Stack, volumes};
use crate::api::task_monitoring::{Discovery, Mode, PrometheusExternal, ServiceType};

const IMAGE: &str = "prom/prometheus:v3.16.0";
const CLAIM: &str = "prometheus-data";
/// As in the official image.
const USER: i64 = 65534;
const PORT: &str = "http-web";

/// All objects of Prometheus.
pub(super) fn build(stack: &Stack<'_>) -> Vec<Object> {
    let spec = &stack.spec.prometheus;
    match (spec.mode, &spec.external) {
        (Mode::Managed, _) => managed(stack),
        (Mode::External, Some(external)) if external.discovery == Discovery::ServiceMonitor => {
            of_the_prometheus_operator(stack, external)
        }
        _ => Vec::new(),
    }
}

fn managed(stack: &Stack<'_>) -> Vec<Object> {
    let spec = &stack.spec.prometheus;
    let part = Part::Prometheus;
    let name = part.name();
    let number = spec.service.port.unwrap_or(port::PROMETHEUS);
    let ports = [Port { name: PORT, number, target: port::PROMETHEUS }];
    let files = json!({"prometheus.yml": prometheus_yml(stack), "rules.yml": RULES});
    // `kubectl port-forward` comes through the kubelet, which no policy keeps out.
    let readers = [network::pods_of(stack, Part::Grafana)];
    let rule = network::rule(&[port::PROMETHEUS], &readers, &spec.service, ServiceType::ClusterIP);
    // Only pods, only of this namespace, and only to be seen: it finds the proxies' addresses.
    let pods = json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]});
    let binding = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": stack.namespace}],
    });
    let mut all = vec![
        // Only the pod that asks for a token gets one.
        Object::new(part, Kind::ServiceAccount, name, json!({"automountServiceAccountToken": false})),
        Object::new(part, Kind::Role, name, pods),
        Object::new(part, Kind::RoleBinding, name, binding),
        stateful_set(stack, &files),
        Object::new(part, Kind::ConfigMap, name, json!({"data": files})),
        network::service(stack, part, &spec.service, ServiceType::ClusterIP, &ports),
        network::policy(stack, part, rule.as_slice()),
    ];
    all.extend(volumes::claim(part, CLAIM, &spec.storage));
    all
}

fn prometheus_yml(stack: &Stack<'_>) -> String {
    let spec = &stack.spec.prometheus;
    // The Java proxy has its metrics at the same port as ours.
    let external: Vec<String> =
        stack.spec.proxy.external.iter().map(|proxy| network::authority(&proxy.host, port::HTTP)).collect();
    let proxies = if external.is_empty() { Targets::Pods(stack.name) } else { Targets::Static(&external) };
    render_prometheus(&PrometheusConfig {
        scraper: &format!("{}/{}", stack.namespace, stack.name),
        proxies,
        operator: stack.installation.operator_metrics.as_deref(),
        scrape_interval_seconds: u32::try_from(spec.scrape_interval_seconds).unwrap_or_default(),
        sample_limit: u64::try_from(spec.sample_limit).unwrap_or_default(),
        alertmanagers: &spec.alertmanagers,
    })
}

fn stateful_set(stack: &Stack<'_>, files: &Value) -> Object {
    let spec = &stack.spec.prometheus;
    let part = Part::Prometheus;
    let pod = Pod {
        part,
        options: &spec.pod,
        image: IMAGE,
        user: USER,
        resources: Resources { cpu: "100m", memory: "256Mi", memory_limit: "2Gi" },
        container: json!({
            "args": args(stack),
            "ports": [{"name": PORT, "containerPort": port::PROMETHEUS, "protocol": "TCP"}],
            // Reading the log of a crash takes long: ten minutes at most.
            "startupProbe": http_probe("/-/ready", PORT, 5, 120),
            "livenessProbe": http_probe("/-/healthy", PORT, 10, 6),
            "readinessProbe": http_probe("/-/ready", PORT, 5, 3),
            "volumeMounts": [
                {"name": "configuration", "mountPath": "/etc/prometheus", "readOnly": true},
                {"name": "data", "mountPath": "/prometheus"},
            ],
        }),
        volumes: vec![
            volumes::files("configuration", part.name()),
            volumes::data("data", CLAIM, &spec.storage),
        ],
        more: json!({
            "serviceAccountName": part.name(),
            "automountServiceAccountToken": true,
            // It writes out what it has in memory.
            "terminationGracePeriodSeconds": 120,
        }),
        annotations: json!({}),
        configuration: files.clone(),
    };
    let template = pod.template(stack);
    let body = workload(stack, part, 1, &template, of_a_set(part));
    Object::new(part, Kind::StatefulSet, part.name(), body)
}

/// Neither the admin API nor `/-/reload` and `/-/quit`: who reaches the port can only read.
fn args(stack: &Stack<'_>) -> Vec<String> {
    let spec = &stack.spec.prometheus;
    let default = || format!("{}MB", (volumes::four_fifths(&spec.storage) >> 20).max(1));
    let size = spec.retention.size.clone().unwrap_or_else(default);
    let mut args = vec![
        "--config.file=/etc/prometheus/prometheus.yml".to_owned(),
        "--storage.tsdb.path=/prometheus".to_owned(),
        literal(&format!("--storage.tsdb.retention.time={}", spec.retention.time)),
        literal(&format!("--storage.tsdb.retention.size={size}")),
    ];
    args.extend(FLAGS.map(str::to_owned));
    args
}

/// For the Prometheus operator. No parameter `scraper`: two replicas of one Prometheus would count as one, and the
/// proxy would wait for the first only.
fn of_the_prometheus_operator(stack: &Stack<'_>, external: &PrometheusExternal) -> Vec<Object> {
    let part = Part::Prometheus;
    let interval = format!("{}s", stack.spec.prometheus.scrape_interval_seconds);
    let metadata = json!({"labels": external.labels});
    let monitor = json!({"metadata": metadata, "spec": {
        "selector": {"matchLabels": selector(stack, Part::Proxy)},
        "sampleLimit": stack.spec.prometheus.sample_limit,
        "endpoints": [
            {
                "port": "http-metrics",
                "path": "/metrics/connected",
                "interval": interval,
                "honorLabels": true,
                "honorTimestamps": true,
                // A run belongs to no pod of the proxy; labels of the application's own stay.
                "relabelings": [
                    {"action": "labeldrop", "regex": "pod|container|endpoint|service|namespace"},
                ],
                "metricRelabelings": [{"action": "labeldrop", "regex": "instance|pod"}],
            },
            {"port": "http-metrics", "path": "/metrics/proxy", "interval": interval},
        ],
    }});
    let rules: Value = serde_yaml::from_str(RULES).unwrap_or_default();
    let rules = json!({"metadata": metadata, "spec": rules});
    let mut all = vec![Object::new(part, Kind::PrometheusRule, name_of(stack), rules)];
    if stack.spec.proxy.mode == Mode::Managed {
        all.push(Object::new(part, Kind::ServiceMonitor, name_of(stack), monitor));
    }
    all
}

/// All objects that it can have of kinds that are not watched.
pub(super) fn unwatched(stack: &Stack<'_>) -> Vec<(Kind, String)> {
    [Kind::ServiceMonitor, Kind::PrometheusRule].map(|kind| (kind, name_of(stack))).into()
}

/// Others look at these objects beside many more: the name tells whose they are.
fn name_of(stack: &Stack<'_>) -> String {
    format!("millrace-{}", stack.name)
}
