//! What the parts of a stack have in common.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{embedded, limits};

/// Who runs a part.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The operator.
    Managed,
    /// Somebody else; `external` says where it is.
    External,
    /// Nobody: the part is not there.
    #[default]
    Disabled,
}

/// Who runs Wavefront.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WavefrontMode {
    /// Its service; `external` says where it is.
    External,
    /// Nobody: the part is not there.
    #[default]
    Disabled,
}

/// How the pods of a managed part run.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PodOptions {
    /// Another image, from a registry of your own for example. Default: a version that the operator was tried with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,
    /// Requests and limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::resources")]
    pub resources: Option<ResourceRequirements>,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "limits::labels")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that are no hindrance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "embedded::tolerations")]
    pub tolerations: Vec<Toleration>,
    /// Preferred and required places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::affinity")]
    pub affinity: Option<Affinity>,
}

/// Where a part keeps its data.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0").message("a volume cannot shrink: give the size it has, or a larger one"),
    validation = Rule::new("!has(self.storageClassName) || !has(oldSelf.storageClassName) || self.storageClassName == oldSelf.storageClassName").message("storageClassName of a volume cannot be changed: delete the TaskMonitoring and its volume, and create it again with the other class"),
)]
pub struct Storage {
    /// Size of the volume.
    #[serde(default = "Storage::default_size")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[0-9]+(\.[0-9]+)?(Mi|Gi|Ti|M|G|T)$"))]
    pub size: String,
    /// Class of the volume. Default: the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// Keep the data in the pod: they go with it.
    #[serde(default)]
    pub ephemeral: bool,
    /// What happens to the volume when the part is switched off or the TaskMonitoring deleted.
    #[serde(default)]
    pub on_delete: OnDelete,
}

impl Storage {
    fn default_size() -> String {
        "8Gi".to_owned()
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            size: Self::default_size(),
            storage_class_name: None,
            ephemeral: false,
            on_delete: OnDelete::Retain,
        }
    }
}

/// What happens to a volume that is no longer used.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDelete {
    /// It stays, with its data, and is taken up again.
    #[default]
    Retain,
    /// It is deleted, with its data.
    Delete,
}

/// How a part can be reached.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.nodePort) || !has(self.type) || self.type == 'NodePort'").message("nodePort needs type: NodePort"),
)]
pub struct Service {
    /// ClusterIP: from inside the cluster. NodePort: also at a port of every node. Default: NodePort for Grafana,
    /// else ClusterIP.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ServiceType>,
    /// Port of the Service. Default: the part's usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// Port of the nodes. Default: Kubernetes chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: Option<i32>,
}

/// From where a part can be reached.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceType {
    /// From inside the cluster.
    ClusterIP,
    /// Also at a port of every node.
    NodePort,
}

/// A key of a Secret. The operator passes the reference on and never reads the Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret. With `scope: Cluster` one of this name must be in each namespace whose tasks use it.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// Its key.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}
