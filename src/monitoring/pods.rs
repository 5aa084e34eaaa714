//! What the pods of all parts have in common: they satisfy the Pod Security Standard `restricted`.

use serde_json::{Value, json};

use super::Stack;
use super::object::{Part, digest_of, labels, selector, set};
use crate::api::task_monitoring::PodOptions;
use crate::names::annotation;

/// What a container gets where the spec says nothing: requests of CPU and memory, limit of memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resources {
    pub cpu: &'static str,
    pub memory: &'static str,
    pub memory_limit: &'static str,
}

/// A pod of one container.
#[derive(Clone, Debug)]
pub(super) struct Pod<'a> {
    pub part: Part,
    pub options: &'a PodOptions,
    /// Image where the spec names none.
    pub image: &'a str,
    /// User and group, by number: the kubelet cannot tell whether a name is root's.
    pub user: i64,
    pub resources: Resources,
    /// Ports, arguments, environment, probes, mounts.
    pub container: Value,
    pub volumes: Vec<Value>,
    /// Fields of the pod's spec beside those that all have.
    pub more: Value,
    /// Annotations of the pod.
    pub annotations: Value,
    /// What the container reads when it starts: a change of it rolls the pod.
    pub configuration: Value,
}

impl Pod<'_> {
    /// The template of the pod.
    pub fn template(self, stack: &Stack<'_>) -> Value {
        let mut container = self.container;
        set(&mut container, &["name"], json!(self.part.name()));
        set(&mut container, &["image"], json!(self.options.image.as_deref().unwrap_or(self.image)));
        let resources = match &self.options.resources {
            Some(resources) => json!(resources),
            None => {
                let Resources { cpu, memory, memory_limit } = self.resources;
                json!({"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory_limit}})
            }
        };
        set(&mut container, &["resources"], resources);
        set(
            &mut container,
            &["securityContext"],
            json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            }),
        );
        let mut spec = json!({
            "automountServiceAccountToken": false,
            // Variables for each Service of the namespace could be taken for settings.
            "enableServiceLinks": false,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": self.user,
                "runAsGroup": self.user,
                "fsGroup": self.user,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": self.volumes,
        });
        let secrets: Vec<Value> =
            stack.spec.image_pull_secrets.iter().map(|name| json!({"name": name})).collect();
        let options = self.options;
        for (key, value) in [
            ("nodeSelector", json!(options.node_selector)),
            ("tolerations", json!(options.tolerations)),
            ("affinity", json!(options.affinity)),
            ("imagePullSecrets", json!(secrets)),
        ] {
            if !is_empty(&value) {
                set(&mut spec, &[key], value);
            }
        }
        extend(&mut spec, self.more);
        let mut annotations = json!({annotation::CONFIGURATION: digest_of(&self.configuration)});
        extend(&mut annotations, self.annotations);
        json!({
            "metadata": {"labels": labels(stack, self.part), "annotations": annotations},
            "spec": spec,
        })
    }
}

/// What Deployments and StatefulSets have in common.
pub(super) fn workload(stack: &Stack<'_>, part: Part, replicas: i32, template: &Value, more: Value) -> Value {
    let mut spec = json!({
        "replicas": replicas,
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": selector(stack, part)},
        "template": template,
    });
    extend(&mut spec, more);
    json!({"spec": spec})
}

/// What a StatefulSet says besides. In Kubernetes' own order it would wait for a pod that can never be ready, such as one
/// with an image that is not there, and not replace it when the image is put right.
pub(super) fn of_a_set(part: Part) -> Value {
    json!({"serviceName": part.name(), "podManagementPolicy": "Parallel"})
}

/// A probe of an HTTP path.
pub(super) fn http_probe(path: &str, port: &str, period_seconds: i32, failures: i32) -> Value {
    json!({
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    })
}

/// `text` as it stands: in arguments and variables of a container Kubernetes would expand `$(NAME)`, in provisioning
/// files Grafana would expand `$NAME` and `$__file{…}`; both read `$$` as a dollar.
pub(super) fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

fn extend(base: &mut Value, more: Value) {
    if let (Some(base), Value::Object(more)) = (base.as_object_mut(), more) {
        base.extend(more);
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}
