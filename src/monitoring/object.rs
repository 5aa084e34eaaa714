//! What a stack is made of.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Serialize;
use serde_json::{Value, json};

use super::Stack;
use crate::api::task_monitoring::OnDelete;
use crate::names::{GROUP, MANAGER, VERSION, annotation, label};

/// Kinds of objects, in the order in which they are applied: what others need comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[allow(missing_docs, reason = "Kubernetes' own names")]
pub enum Kind {
    Secret,
    ServiceAccount,
    Role,
    RoleBinding,
    ConfigMap,
    PersistentVolumeClaim,
    NetworkPolicy,
    Service,
    PodDisruptionBudget,
    StatefulSet,
    Deployment,
    ServiceMonitor,
    PrometheusRule,
    GrafanaDashboard,
}

impl Kind {
    /// All kinds that are watched: Kubernetes' own, but Secrets, which the operator never reads.
    pub const WATCHED: [Self; 10] = [
        Self::ServiceAccount,
        Self::Role,
        Self::RoleBinding,
        Self::ConfigMap,
        Self::PersistentVolumeClaim,
        Self::NetworkPolicy,
        Self::Service,
        Self::PodDisruptionBudget,
        Self::StatefulSet,
        Self::Deployment,
    ];

    /// Group, version, kind and plural.
    pub const fn api(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Secret => ("", "v1", "Secret", "secrets"),
            Self::ServiceAccount => ("", "v1", "ServiceAccount", "serviceaccounts"),
            Self::Role => ("rbac.authorization.k8s.io", "v1", "Role", "roles"),
            Self::RoleBinding => ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
            Self::ConfigMap => ("", "v1", "ConfigMap", "configmaps"),
            Self::PersistentVolumeClaim => ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
            Self::Service => ("", "v1", "Service", "services"),
            Self::PodDisruptionBudget => ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
            Self::StatefulSet => ("apps", "v1", "StatefulSet", "statefulsets"),
            Self::Deployment => ("apps", "v1", "Deployment", "deployments"),
            Self::ServiceMonitor => ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
            Self::PrometheusRule => ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
            Self::GrafanaDashboard => {
                ("grafana.integreatly.org", "v1beta1", "GrafanaDashboard", "grafanadashboards")
            }
        }
    }

    /// As in `apiVersion`.
    pub fn api_version(self) -> String {
        match self.api() {
            ("", version, ..) => version.to_owned(),
            (group, version, ..) => format!("{group}/{version}"),
        }
    }

    /// As in `kind`.
    pub const fn name(self) -> &'static str {
        self.api().2
    }

    /// Whether what is there is known from a watch.
    pub fn is_watched(self) -> bool {
        Self::WATCHED.contains(&self)
    }
}

/// Parts of a stack; their names are those of their workloads and Services, and the value of
/// `app.kubernetes.io/component`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[allow(missing_docs, reason = "the products' own names")]
pub enum Part {
    Prometheus,
    Proxy,
    Grafana,
    InfluxDb,
    Wavefront,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Prometheus, Self::Proxy, Self::Grafana, Self::InfluxDb, Self::Wavefront];

    /// Name of its workload and Service.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Proxy => "metrics-proxy",
            Self::Grafana => "grafana",
            Self::InfluxDb => "influxdb",
            Self::Wavefront => "wavefront",
        }
    }

    /// Type of its condition.
    pub const fn condition(self) -> &'static str {
        match self {
            Self::Prometheus => "PrometheusReady",
            Self::Proxy => "ProxyReady",
            Self::Grafana => "GrafanaReady",
            Self::InfluxDb => "InfluxDBReady",
            Self::Wavefront => "WavefrontReady",
        }
    }
}

/// An object of a stack.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Object {
    /// Of which part.
    pub part: Part,
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// All of it, as the API server takes it.
    pub body: Value,
    /// Keys of a Secret that get random values when it is made. It is made once and never changed.
    pub random: Vec<&'static str>,
    /// Of a volume: what happens to it when it is no longer wanted.
    pub on_delete: OnDelete,
}

impl Object {
    /// An object with this `body`: everything but what [`finish`] adds.
    pub fn new(part: Part, kind: Kind, name: impl Into<String>, body: Value) -> Self {
        Self { part, kind, name: name.into(), body, random: Vec::new(), on_delete: OnDelete::Delete }
    }

    /// Kind and name.
    pub fn key(&self) -> (Kind, String) {
        (self.kind, self.name.clone())
    }

    /// Digest of what it was built as.
    pub fn digest(&self) -> &str {
        let pointer = format!("/metadata/annotations/{}", annotation::APPLIED.replace('/', "~1"));
        self.body.pointer(&pointer).and_then(Value::as_str).unwrap_or_default()
    }
}

/// Labels that select the pods of a part.
pub fn selector(stack: &Stack<'_>, part: Part) -> BTreeMap<&'static str, String> {
    [(label::MONITORING, stack.name.to_owned()), (label::APP_COMPONENT, part.name().to_owned())].into()
}

/// Labels of everything of a part, pods included.
pub fn labels(stack: &Stack<'_>, part: Part) -> BTreeMap<&'static str, String> {
    let mut labels = selector(stack, part);
    labels.insert(label::APP_NAME, part.name().to_owned());
    labels.insert(label::APP_INSTANCE, stack.name.to_owned());
    labels.insert(label::APP_MANAGED_BY, MANAGER.to_owned());
    labels
}

/// Adds what all objects of a stack have: kind, name, namespace, labels, owner, digest. A volume that is to stay has no
/// owner: nothing deletes it but people.
pub(super) fn finish(stack: &Stack<'_>, mut object: Object) -> Object {
    let keeps = object.kind == Kind::PersistentVolumeClaim && object.on_delete == OnDelete::Retain;
    let owner = OwnerReference {
        api_version: format!("{GROUP}/{VERSION}"),
        kind: "TaskMonitoring".to_owned(),
        name: stack.name.to_owned(),
        uid: stack.uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    };
    let metadata = ObjectMeta {
        name: Some(object.name.clone()),
        namespace: Some(stack.namespace.to_owned()),
        owner_references: (!keeps).then(|| vec![owner]),
        ..ObjectMeta::default()
    };
    let mut metadata = json!(metadata);
    let own = object.body.get("metadata").cloned().unwrap_or_default();
    // Labels that a spec adds may be any, but for those by which we know what is ours.
    let labels = merged(json!(labels(stack, object.part)), own.get("labels"));
    set(&mut metadata, &["labels"], merged(labels, Some(&json!(selector(stack, object.part)))));
    set(&mut metadata, &["annotations"], merged(json!({}), own.get("annotations")));
    set(&mut object.body, &["apiVersion"], json!(object.kind.api_version()));
    set(&mut object.body, &["kind"], json!(object.kind.name()));
    set(&mut object.body, &["metadata"], metadata);
    let digest = digest_of(&object.body);
    set(&mut object.body, &["metadata", "annotations", annotation::APPLIED], json!(digest));
    object
}

fn merged(mut base: Value, more: Option<&Value>) -> Value {
    if let (Some(base), Some(more)) = (base.as_object_mut(), more.and_then(Value::as_object)) {
        base.extend(more.clone());
    }
    base
}

/// Puts `new` where `path` leads, through maps that are made where they are missing.
pub(super) fn set(value: &mut Value, path: &[&str], new: Value) {
    let Some((key, rest)) = path.split_first() else {
        *value = new;
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    if let Some(map) = value.as_object_mut() {
        set(map.entry(*key).or_insert(Value::Null), rest, new);
    }
}

/// Texts of ConfigMaps that are longer than this, in bytes, are kept as a digest: dashboards and rules are most of what
/// a stack is, and are only compared.
pub(super) const LONG: usize = 512;

/// Makes what is there of an object into what is kept of it to be compared.
pub fn as_kept(kind: Kind, live: &mut Value) {
    let data = live.get_mut("data").filter(|_| kind == Kind::ConfigMap).and_then(Value::as_object_mut);
    for text in data.into_iter().flat_map(|data| data.values_mut()) {
        if let Value::String(text) = text
            && text.len() > LONG
        {
            *text = abridged(text);
        }
    }
}

/// What is kept of a long text.
pub(super) fn abridged(text: &str) -> String {
    hex(digest(&SHA256, text.as_bytes()).as_ref())
}

/// Sixteen digits that differ where `value` does.
pub fn digest_of(value: &Value) -> String {
    let hash = digest(&SHA256, value.to_string().as_bytes());
    hex(hash.as_ref().get(..8).unwrap_or_default())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
