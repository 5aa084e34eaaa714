//! What a TaskMonitoring may not be.

use serde_json::{Value, json};

use super::Case;
use super::Expect::Refused;

pub(super) fn all() -> Vec<Case> {
    let case = |what, spec: Value, words| Case {
        what,
        object: json!({"kind": "TaskMonitoring", "spec": spec}),
        expect: Refused(words),
    };
    let external = |url: &str| json!({"mode": "External", "external": {"url": url}});
    vec![
        case("an unknown part", json!({"promethius": {}}), "unknown field \"spec.promethius\""),
        case(
            "an unknown field",
            json!({"prometheus": {"retention": {"tiem": "1d"}}}),
            "unknown field \"spec.prometheus.retention.tiem\"",
        ),
        case("no URL", json!({"prometheus": external("prometheus:9090")}), "spec.prometheus.external.url"),
        case("no port", json!({"grafana": external("http://grafana:70000")}), "spec.grafana.external.url"),
        case(
            "no host",
            json!({"proxy": {"mode": "External", "external": {"host": "a b"}}}),
            "spec.proxy.external.host",
        ),
        case(
            "external, and nowhere",
            json!({"influxdb": {"mode": "External"}}),
            "mode: External and external go together",
        ),
        case(
            "Wavefront, managed",
            json!({"wavefront": {"mode": "Managed"}}),
            "Unsupported value: \"Managed\"",
        ),
        case("no size", json!({"proxy": {"storage": {"size": "much"}}}), "spec.proxy.storage.size"),
        case("no pattern", json!({"metrics": {"keep": ["jvm_.*", "("]}}), "must be a regular expression"),
        case("65 patterns", json!({"metrics": {"drop": vec!["x"; 65]}}), "must have at most 64 items"),
        case("a long pattern", json!({"metrics": {"drop": ["x".repeat(257)]}}), "may not be more than 256"),
        case("17 replicas", json!({"proxy": {"replicas": 17}}), "spec.proxy.replicas"),
        case("no replicas", json!({"proxy": {"replicas": 0}}), "should be greater than or equal to 1"),
        case(
            "where, and not external",
            json!({"prometheus": {"external": {"url": "http://prometheus:9090"}}}),
            "mode: External and external go together",
        ),
        case(
            "Wavefront without token",
            json!({"wavefront": external("https://w.example.com")}),
            "give token",
        ),
        case(
            "InfluxDB 2 without bucket",
            json!({"influxdb": {"mode": "External", "external": {
                "url": "http://i:8086", "version": "V2", "org": "o", "token": {"name": "secret", "key": "key"},
            }}}),
            "version: V2 needs org, bucket and token",
        ),
        case(
            "a node's port of no node's",
            json!({"grafana": {"service": {"type": "ClusterIP", "nodePort": 30000}}}),
            "nodePort needs type: NodePort",
        ),
        case("a long name", json!({}), "has at most 63 characters").named(&"m".repeat(64)),
    ]
}
