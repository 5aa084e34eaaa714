//! The server's own tests, through kube's clients: what is trusted elsewhere is checked here.

mod core;
mod deletion;
mod faults;
mod jobs;
mod objects;
mod watches;

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ConfigMap, Pod},
};
use kube::{Api, Error, ResourceExt};
use serde_json::{Value, json};

use super::ApiServer;

pub fn config_map(name: &str) -> ConfigMap {
    decode(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}}))
}

pub fn job(name: &str) -> Job {
    decode(json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "task", "image": "task"}],
        }}},
    }))
}

pub fn decode<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

pub fn maps(server: &ApiServer) -> Api<ConfigMap> {
    Api::namespaced(server.client(), "default")
}

pub fn jobs(server: &ApiServer) -> Api<Job> {
    Api::namespaced(server.client(), "default")
}

/// What the server refused with.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> kube::core::Status {
    match result {
        Err(Error::Api(status)) => *status,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// A pod whose owner is a Job.
pub fn owned_pod(name: &str, owner: &Job) -> Pod {
    decode(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "ownerReferences": [{
            "apiVersion": "batch/v1", "kind": "Job", "name": owner.name_any(), "uid": owner.uid(), "controller": true,
        }]},
    }))
}
