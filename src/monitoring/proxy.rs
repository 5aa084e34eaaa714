//! The metrics proxy: as many replicas as asked for, each with a volume of its own.

use serde_json::{Value, json};

use super::network::{self, Port};
use super::object::{Kind, Object, Part, selector, set};
use super::offer::port;
use super::pods::{Pod, Resources, http_probe, literal, of_a_set, workload};
use super::{Stack, TaskFilter, quantity, volumes};
use crate::api::task_monitoring::{Discovery, Mode, Service, ServiceType};

/// User of the operator's image.
const USER: i64 = 65532;
/// What the end waits for, at most: scrapers that have not had everything.
const DRAIN_SECONDS: i64 = 60;
/// Applications are sent elsewhere before nothing is accepted here any more.
const PAUSE_SECONDS: i64 = 5;
/// The pause, the drain, and a little.
const GRACE_SECONDS: i64 = PAUSE_SECONDS + DRAIN_SECONDS + 15;
/// With less the proxy would not start.
const DISK_LEAST: i64 = 16 << 20;
const MEMORY_LEAST: i64 = 1 << 20;
const MEMORY_LIMIT: &str = "512Mi";
/// A ConfigMap holds a mebibyte in all; what the proxy's file may hold is the same.
const FILTERS_MAX_BYTES: usize = 900 << 10;
/// The proxy refuses a file with more of them as a whole.
const FILTERS_MAX: usize = 10_000;

/// All objects of the proxy.
pub(super) fn build(stack: &Stack<'_>) -> Vec<Object> {
    let spec = &stack.spec.proxy;
    if spec.mode != Mode::Managed {
        return Vec::new();
    }
    let part = Part::Proxy;
    let filters = json!({"data": {"filters.json": filters(stack.filters)}});
    let mut all = vec![
        Object::new(part, Kind::ConfigMap, part.name(), filters),
        service(stack),
        policy(stack),
        stateful_set(stack),
    ];
    // The StatefulSet would make these itself, but could not let them grow.
    let claims = (0..spec.replicas).filter_map(|n| volumes::claim(part, claim_name(n), &spec.storage));
    all.extend(claims);
    if spec.replicas > 1 {
        let body = json!({"spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(stack, part)}}});
        all.push(Object::new(part, Kind::PodDisruptionBudget, part.name(), body));
    }
    all
}

/// As the StatefulSet calls the volume `data` of its pod `n`.
fn claim_name(n: i32) -> String {
    format!("data-{}-{n}", Part::Proxy.name())
}

/// What definitions keep and drop: as many as there is room for, in order.
fn filters(all: &[TaskFilter]) -> String {
    json!(all.get(..fitting(all)).unwrap_or_default()).to_string()
}

/// How many of these there is room for.
pub(super) fn fitting(all: &[TaskFilter]) -> usize {
    let mut room = FILTERS_MAX_BYTES;
    let fitting = all.iter().take(FILTERS_MAX).take_while(|filter| {
        let size = json!(filter).to_string().len() + 1;
        let fits = size <= room;
        room = room.saturating_sub(size);
        fits
    });
    fitting.count()
}

fn service(stack: &Stack<'_>) -> Object {
    let asked = &stack.spec.proxy.service;
    let same = |name, number| Port { name, number, target: number };
    let ports = [
        Port { name: "tcp-rsocket", number: asked.port.unwrap_or(port::RSOCKET), target: port::RSOCKET },
        same("http-websocket", port::WEBSOCKET),
        same("http-metrics", port::HTTP),
        same("http-push", port::PUSH),
    ];
    let mut service = network::service(stack, Part::Proxy, asked, ServiceType::ClusterIP, &ports);
    set(&mut service.body, &["spec", "publishNotReadyAddresses"], json!(false));
    service
}

fn policy(stack: &Stack<'_>) -> Object {
    let asked = &stack.spec.proxy.service;
    let doors = [port::RSOCKET, port::WEBSOCKET, port::PUSH];
    let doors = network::rule(&doors, &[network::tasks(stack)], asked, ServiceType::ClusterIP);
    let mut readers = match stack.spec.prometheus.mode {
        Mode::Managed => vec![network::pods_of(stack, Part::Prometheus)],
        // Where it runs is not known.
        Mode::External => vec![network::any_namespace()],
        Mode::Disabled => Vec::new(),
    };
    if !stack.installation.operator_namespace.is_empty() {
        readers.push(network::namespace(&stack.installation.operator_namespace));
    }
    // What is known of runs stays inside, also where the doors are open at the nodes.
    let facts = network::rule(&[port::HTTP], &readers, &Service::default(), ServiceType::ClusterIP);
    network::policy(stack, Part::Proxy, &doors.into_iter().chain(facts).collect::<Vec<_>>())
}

fn stateful_set(stack: &Stack<'_>) -> Object {
    let spec = &stack.spec.proxy;
    let part = Part::Proxy;
    let mut volumes = vec![volumes::files("filters", part.name())];
    let mut more = of_a_set(part);
    if spec.storage.ephemeral {
        volumes.push(volumes::scratch("data", &spec.storage.size));
    } else {
        // Never changed, since it cannot be: sizes and classes are those of the claims that we make.
        set(
            &mut more,
            &["volumeClaimTemplates"],
            json!([{
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }]),
        );
    }
    let pod = Pod {
        part,
        options: &spec.pod,
        image: &stack.installation.proxy_image,
        user: USER,
        resources: Resources { cpu: "100m", memory: "128Mi", memory_limit: MEMORY_LIMIT },
        container: container(stack),
        volumes,
        more: json!({"terminationGracePeriodSeconds": GRACE_SECONDS}),
        annotations: scrape_annotations(stack),
        // The file of filters is read again while the proxy runs.
        configuration: json!({}),
    };
    let template = pod.template(stack);
    let body = workload(stack, part, spec.replicas, &template, more);
    Object::new(part, Kind::StatefulSet, part.name(), body)
}

fn container(stack: &Stack<'_>) -> Value {
    let metrics = &stack.spec.metrics;
    let port = |name: &str, number: i32| json!({"name": name, "containerPort": number, "protocol": "TCP"});
    let env: Vec<Value> = [("MILLRACE_KEEP", &metrics.keep), ("MILLRACE_DROP", &metrics.drop)]
        .into_iter()
        .filter(|(_, patterns)| !patterns.is_empty())
        .map(|(name, patterns)| json!({"name": name, "value": literal(&patterns.join(" "))}))
        .collect();
    json!({
        "args": args(stack),
        "env": env,
        "ports": [
            port("tcp-rsocket", port::RSOCKET),
            port("http-websocket", port::WEBSOCKET),
            port("http-metrics", port::HTTP),
            port("http-push", port::PUSH),
        ],
        "lifecycle": {"preStop": {"sleep": {"seconds": PAUSE_SECONDS}}},
        "livenessProbe": http_probe("/actuator/health/liveness", "http-metrics", 10, 6),
        "readinessProbe": http_probe("/actuator/health/readiness", "http-metrics", 2, 3),
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "filters", "mountPath": "/etc/millrace", "readOnly": true},
        ],
    })
}

fn args(stack: &Stack<'_>) -> Vec<String> {
    let spec = &stack.spec.proxy;
    let mut args = vec![
        "proxy".to_owned(),
        "--task-filters=/etc/millrace/filters.json".to_owned(),
        format!("--disk-max={}", volumes::four_fifths(&spec.storage).max(DISK_LEAST)),
        format!("--drain-seconds={DRAIN_SECONDS}"),
    ];
    let limit = match &spec.pod.resources {
        None => Some(MEMORY_LIMIT),
        Some(resources) => {
            resources.limits.as_ref().and_then(|limits| limits.get("memory")).map(|memory| memory.0.as_str())
        }
    };
    // The other half is for connections and for what is being written out.
    if let Some(limit) = limit.and_then(quantity::bytes) {
        args.push(format!("--memory-max={}", (limit / 2).max(MEMORY_LEAST)));
    }
    args
}

/// How a Prometheus of the user's own finds the pods, where it looks for annotations.
fn scrape_annotations(stack: &Stack<'_>) -> Value {
    let prometheus = &stack.spec.prometheus;
    let wanted = prometheus.mode == Mode::External
        && prometheus.external.as_ref().is_some_and(|e| e.discovery == Discovery::Annotations);
    if !wanted {
        return json!({});
    }
    json!({
        "prometheus.io/scrape": "true",
        "prometheus.io/port": port::HTTP.to_string(),
        "prometheus.io/path": "/metrics/connected",
    })
}
