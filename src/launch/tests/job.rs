//! Whole Jobs, as they are sent.

use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use super::{NAME, UID, definition_of, merge};
use crate::api::TaskLaunchSpec;
use crate::inject::spring::{EXCLUDE, TASK_METRICS_CONFIGURATION};
use crate::launch::job::{Owner, build_job};
use crate::launch::resolve::resolve;

fn built(definition: &Value, launch: &Value, parent: Option<i64>) -> Job {
    let definition = definition_of(definition);
    let mut whole = json!({"definitionRef": {"name": "nightly"}});
    merge(&mut whole, launch.clone());
    let launch: TaskLaunchSpec = serde_json::from_value(whole).unwrap();
    let resolved = resolve("nightly", definition.spec.as_result().unwrap(), &launch, parent).unwrap();
    build_job(&Owner { name: NAME, namespace: "batch", uid: UID }, &resolved, 42, None)
}

fn task(job: &Job) -> Value {
    json!(job.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0])
}

fn env(job: &Job, name: &str) -> Vec<Value> {
    let task = task(job);
    let all = task["env"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|v| v["name"] == name).collect()
}

#[test]
fn the_smallest_definition() {
    insta::assert_yaml_snapshot!(built(&json!({"image": "example.com/hello:1"}), &json!({}), None));
}

#[test]
fn everything_on() {
    let definition = json!({
        "taskName": "Nightly_Import",
        "image": "example.com/import:2",
        "args": ["import"],
        "env": [
            {"name": "POD", "value": "$(MILLRACE_EXTERNAL_EXECUTION_ID)"},
            {"name": EXCLUDE, "value": "com.example.Other"},
            {"name": "SPRING_CLOUD_TASK_CLOSE_CONTEXT_ENABLED", "value": "false"},
        ],
        "envFrom": [{"secretRef": {"name": "database"}}],
        "resources": {"limits": {"memory": "256Mi"}, "requests": {"cpu": 1}},
        "properties": {"app.chunk-size": "10", "management.metrics.tags.service": "mine"},
        "spring": {"bootVersion": "2"},
        "overrides": {"args": "Plain", "properties": ["app.chunk-size"]},
        "runPolicy": {
            "backoffLimit": 2, "activeDeadlineSeconds": 600, "startDeadlineSeconds": 60,
            "terminationGracePeriodSeconds": 5,
        },
        "metrics": {"tags": {"team": "finance", "cost.center": "x1", "application": "ours"}},
        "labels": {"kueue.x-k8s.io/queue-name": "nightly", "task-name": "not-this"},
        "annotations": {"sidecar.istio.io/inject": "false"},
        "podSecurity": "Restricted",
        "podTemplate": {
            "metadata": {
                "labels": {"team": "finance"}, "annotations": {"a": "b"}, "creationTimestamp": null,
            },
            "spec": {
                "serviceAccountName": "importer",
                "terminationGracePeriodSeconds": 90,
                "initContainers": [{
                    "name": "logs", "image": "example.com/logs:1", "restartPolicy": "Always",
                    "securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"]}},
                }],
                "containers": [{
                    "name": "main", "image": "example.com/import:1",
                    "securityContext": {"allowPrivilegeEscalation": true, "runAsUser": 1000},
                    "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
                }],
                "volumes": [{"name": "shared", "emptyDir": {}}],
            },
        },
    });
    let launch = json!({"args": ["2026-01-01"], "properties": {"app.chunkSize": "$(20)"}});
    insta::assert_yaml_snapshot!(built(&definition, &launch, Some(7)));
}

/// With Boot 2 ours must be among the excludes, and theirs must stay.
#[test]
fn an_exclude_of_the_definition_is_merged_with_ours() {
    let both = format!("com.example.Other,{TASK_METRICS_CONFIGURATION}");
    let boot2 = |more: Value| {
        let mut definition = json!({"image": "i", "spring": {"bootVersion": "2"}});
        merge(&mut definition, more);
        built(&definition, &json!({}), None)
    };
    let value = |job: &Job| env(job, EXCLUDE).first().and_then(|v| v["value"].as_str().map(str::to_owned));

    assert_eq!(value(&boot2(json!({}))).as_deref(), Some(TASK_METRICS_CONFIGURATION));
    for name in [EXCLUDE, "spring.autoconfigure.exclude"] {
        let job = boot2(json!({"env": [{"name": name, "value": "com.example.Other"}]}));
        let all = [env(&job, EXCLUDE), env(&job, "spring.autoconfigure.exclude")].concat();
        assert_eq!(all.last().unwrap()["value"], json!(both), "{name}");
        assert!(
            all.iter().all(|v| v["value"] == json!(both) || v["value"] == json!(TASK_METRICS_CONFIGURATION))
        );
    }
    let job = boot2(json!({"env": [{"name": EXCLUDE, "value": ""}]}));
    assert_eq!(value(&job).as_deref(), Some(TASK_METRICS_CONFIGURATION));
    let job = boot2(json!({"env": [{"name": EXCLUDE, "value": both}]}));
    assert_eq!(value(&job), Some(both.clone()), "not twice");
    let property = json!({"properties": {"spring.autoconfigure.exclude": "com.example.Other"}});
    let mut as_environment = property.clone();
    merge(&mut as_environment, json!({"propertiesAs": "Environment"}));
    assert_eq!(value(&boot2(as_environment)), Some(both.clone()));

    let argument = json!([format!("--spring.autoconfigure.exclude={both}")]);
    assert_eq!(task(&boot2(property))["args"], argument);
    let job = boot2(json!({"args": ["--spring.autoconfigure.exclude=com.example.Other"]}));
    assert_eq!(task(&job)["args"], argument);
    let command = ["java", "-Dspring.autoconfigure.exclude=com.example.Other", "-jar", "a.jar"];
    let job = boot2(json!({"command": command}));
    assert_eq!(task(&job)["command"][1], json!(format!("-Dspring.autoconfigure.exclude={both}")));
    let job = boot2(json!({"args": ["--spring.autoconfigure.exclude=", "--spring.autoconfigure.exclude"]}));
    let ours = format!("--spring.autoconfigure.exclude={TASK_METRICS_CONFIGURATION}");
    assert_eq!(task(&job)["args"], json!([ours, ours]));
}

/// `value` beside `valueFrom` is refused by the API server, and what a Secret holds is not ours to read.
#[test]
fn an_exclude_from_elsewhere_is_left_as_it_is() {
    let theirs = json!({"name": EXCLUDE, "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}});
    let job =
        built(&json!({"image": "i", "spring": {"bootVersion": "2"}, "env": [theirs]}), &json!({}), None);
    assert_eq!(env(&job, EXCLUDE), [theirs]);
}

#[test]
fn every_variable_stands_once_and_theirs_wins_over_a_default_of_ours() {
    let definition = json!({
        "image": "i",
        "env": [{"name": "MANAGEMENT_METRICS_TAGS_SERVICE", "value": "theirs"}],
        "args": ["--micrometer.prometheus.rsocket.enabled=true"],
        "metrics": {"tags": {"application": "ours", "service": "hidden"}},
    });
    let job = built(&definition, &json!({}), None);
    let task = task(&job);
    let names: Vec<&str> =
        task["env"].as_array().unwrap().iter().filter_map(|v| v["name"].as_str()).collect();
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), names.len(), "{names:?}");
    let value = |name: &str| env(&job, name).first().map(|v| v["value"].clone());
    assert_eq!(value("MANAGEMENT_METRICS_TAGS_SERVICE"), Some(json!("theirs")));
    assert_eq!(value("MANAGEMENT_METRICS_TAGS_APPLICATION"), Some(json!("ours")));
    assert_eq!(value("MICROMETER_PROMETHEUS_RSOCKET_ENABLED"), None, "the argument wins anyway");
}
