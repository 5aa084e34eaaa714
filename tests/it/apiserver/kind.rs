//! The kinds the server knows: what a CRD or a built-in API registers.

use std::fmt;

/// One served resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    pub group: String,
    pub version: String,
    pub plural: String,
    #[allow(clippy::struct_field_names, reason = "what Kubernetes calls it")]
    pub kind: String,
    pub namespaced: bool,
    /// Has `/status`: the main resource then cannot write `status`, and `generation` is kept.
    pub status: bool,
}

impl Kind {
    /// A namespaced kind without subresources; `api_version` is `v1` or `group/version`.
    pub fn new(api_version: &str, kind: &str, plural: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            kind: kind.to_owned(),
            namespaced: true,
            status: false,
        }
    }

    #[must_use]
    pub fn with_status(mut self) -> Self {
        self.status = true;
        self
    }

    #[must_use]
    pub fn cluster_scoped(mut self) -> Self {
        self.namespaced = false;
        self
    }

    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `jobs.batch`, as messages and `kubectl` write it; the plural alone for the core group.
    pub fn resource(&self) -> String {
        qualified(&self.plural, &self.group)
    }

    /// Defined by a CRD: stricter about updates and field selectors than the built-in kinds.
    pub fn is_custom(&self) -> bool {
        self.group.contains('.') && !self.group.ends_with(".k8s.io")
    }

    /// Whether `name` (`jobs` or `jobs.batch`) means this kind.
    pub fn is_called(&self, name: &str) -> bool {
        name == self.plural || name == self.resource()
    }

    /// The kinds Millrace reads and writes, as a cluster with its CRDs installed serves them.
    pub fn defaults() -> Vec<Self> {
        let millrace = "millrace.dev/v1alpha1";
        vec![
            Self::new(millrace, "TaskDefinition", "taskdefinitions").with_status(),
            Self::new(millrace, "TaskLaunch", "tasklaunches").with_status(),
            Self::new(millrace, "TaskMonitoring", "taskmonitorings").with_status(),
            Self::new("batch/v1", "Job", "jobs").with_status(),
            Self::new("v1", "Pod", "pods").with_status(),
            Self::new("v1", "ConfigMap", "configmaps"),
            Self::new("v1", "Secret", "secrets"),
            Self::new("v1", "Service", "services").with_status(),
            Self::new("v1", "ServiceAccount", "serviceaccounts"),
            Self::new("v1", "PersistentVolumeClaim", "persistentvolumeclaims").with_status(),
            Self::new("v1", "Event", "events"),
            Self::new("events.k8s.io/v1", "Event", "events"),
            Self::new("apps/v1", "Deployment", "deployments").with_status(),
            Self::new("apps/v1", "StatefulSet", "statefulsets").with_status(),
            Self::new("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
            Self::new("rbac.authorization.k8s.io/v1", "Role", "roles"),
            Self::new("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
            Self::new("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets").with_status(),
            Self::new("networking.k8s.io/v1", "Ingress", "ingresses").with_status(),
            Self::new("v1", "Namespace", "namespaces").with_status().cluster_scoped(),
        ]
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource())
    }
}

pub fn qualified(plural: &str, group: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}
