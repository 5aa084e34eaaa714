//! A real API server with its etcd, and nothing that would run pods.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{conditions, wait};
use kube::{Client, Config, Resource, ResourceExt};
use millrace::api::TaskDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Namespace of the record of execution ids.
pub const HOME: &str = "millrace-system";
/// What a node has beside etcd and the API server.
const OTHERS: [&str; 6] =
    ["kubelet", "kube-proxy", "volumes", "dns", "kube-scheduler", "kube-controller-manager"];

/// The cluster; it is removed when this is dropped.
pub struct Cluster {
    folder: PathBuf,
    pub client: Client,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Said by the script, if it fails.
        let _ = self.script(&["down"]).status();
    }
}

impl Cluster {
    pub async fn up() -> Self {
        let folder = std::env::temp_dir().join(format!("millrace-bench-{}", std::process::id()));
        let said = script(&folder, &["up"]).status().unwrap();
        assert!(said.success(), "no cluster, see above");
        let config = Kubeconfig::read_from(folder.join("kubeconfig")).unwrap();
        let mut config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
        // What is told of the bare client is what the API server does, not what a retry hides.
        config.default_retry = false;
        let cluster = Self { folder, client: Client::try_from(config).unwrap() };
        for other in OTHERS {
            assert!(cluster.script(&["kill", other]).status().unwrap().success(), "{other} runs on");
        }
        cluster.install().await;
        cluster
    }

    fn script(&self, args: &[&str]) -> Command {
        script(&self.folder, args)
    }

    /// Starts a component that [`Self::up`] ended.
    pub fn start(&self, component: &str) {
        assert!(self.script(&["restart", component]).status().unwrap().success(), "no {component}");
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    async fn install(&self) {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for crd in millrace::api::all_crds() {
            crds.create(&PostParams::default(), &crd).await.unwrap();
            let name = crd.name_any();
            let established = wait::await_condition(crds.clone(), &name, conditions::is_crd_established());
            tokio::time::timeout(Duration::from_secs(30), established).await.unwrap().unwrap();
        }
        self.namespace(HOME).await;
    }

    /// A new namespace.
    pub async fn bare_namespace(&self, name: &str) {
        let namespace: Namespace = from(json!({"metadata": {"name": name}}));
        Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    }

    /// A new namespace in which pods may be made.
    pub async fn namespace(&self, name: &str) {
        self.bare_namespace(name).await;
        // The controller manager would make it.
        let account: ServiceAccount = from(json!({"metadata": {"name": "default"}}));
        let accounts = Api::namespaced(self.client.clone(), name);
        accounts.create(&PostParams::default(), &account).await.unwrap();
    }

    /// A definition as users write them, with history limits that are never reached unless `keep` says so.
    pub async fn define(&self, namespace: &str, keep: usize) {
        let definition: TaskDefinition = from(json!({
            "metadata": {"name": "task"},
            "spec": {
                "image": "registry.example/task:1",
                "args": ["--spring.batch.job.name=import"],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "history": {"succeeded": keep, "failed": keep},
            },
        }));
        let api: Api<TaskDefinition> = Api::namespaced(self.client.clone(), namespace);
        api.create(&PostParams::default(), &definition).await.unwrap();
    }

    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// All objects of a namespace.
    pub async fn all<K>(&self, namespace: &str) -> Vec<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
        K: Clone + std::fmt::Debug + DeserializeOwned,
    {
        let mut all = Vec::new();
        let mut page = ListParams::default().limit(500);
        loop {
            let list = self.api::<K>(namespace).list(&page).await.unwrap();
            let next = list.metadata.continue_.clone().filter(|next| !next.is_empty());
            all.extend(list.items);
            match next {
                Some(next) => page = page.continue_token(&next),
                None => return all,
            }
        }
    }

    /// Removes all objects of a kind in a namespace.
    pub async fn clear<K>(&self, namespace: &str)
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
        K: Clone + std::fmt::Debug + DeserializeOwned,
    {
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::background() };
        self.api::<K>(namespace).delete_collection(&at_once, &ListParams::default()).await.unwrap();
    }
}

fn script(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/cluster"));
    command.args(args).env("MILLRACE_CLUSTER_DIR", folder);
    command
}

/// An object from JSON, as a test writes it.
pub fn from<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// As bytes, once for many requests.
pub fn bytes(object: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(object).unwrap()
}
