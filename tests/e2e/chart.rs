//! The chart: in namespaces of its own with Roles only, and uninstalled.

use kube::ResourceExt;
use serde_json::json;

use crate::support::command::{command, kubectl};
use crate::support::manifest::plain;
use crate::support::{Space, alone, operator};

const RELEASE: &str = "e2e-own";

/// Values of an installation, but for where its image comes from.
async fn image() -> String {
    let values = operator::values().await;
    let image = json!({"image": values["image"]});
    image.to_string()
}

/// The namespace, but for its prefix, whose tasks an operator of its own runs.
pub const OWN_TASKS: &str = "own-tasks";

#[tokio::test]
async fn an_operator_of_some_namespaces_needs_no_cluster_wide_rights() {
    alone(OWN_TASKS, async |t: &Space| {
        let (home, elsewhere) = ("e2e-own-home", "e2e-own-elsewhere");
        for namespace in [home, elsewhere] {
            kubectl(&["delete", "namespace", namespace, "--ignore-not-found"]).await.good();
        }
        kubectl(&["create", "namespace", elsewhere]).await.good();
        operator::scale(&t.client, 0).await;

        let watch = format!("watchNamespaces={{{}}}", t.name);
        let values = image().await;
        let install = [
            "install", RELEASE, operator::CHART, "-n", home, "--create-namespace", "--set", &watch,
            "--set", "crds.install=false,rbac.aggregateRoles=false", "-f", "-", "--wait", "--timeout", "90s",
        ];
        command("helm", &install, &values).await.good();
        let manifest = operator::helm(&["get", "manifest", RELEASE, "-n", home]).await;
        assert!(manifest.contains("kind: Role\n") && !manifest.contains("kind: ClusterRole"), "{manifest}");

        // The launch that nobody is responsible for comes first: when the other has ended, this one would have begun.
        let spec = |namespace: &str| json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "millrace.dev/v1alpha1", "kind": "TaskDefinition",
                "metadata": {"name": "task", "namespace": namespace}, "spec": plain(&[])},
            {"apiVersion": "millrace.dev/v1alpha1", "kind": "TaskLaunch",
                "metadata": {"name": "one", "namespace": namespace}, "spec": {"definitionRef": {"name": "task"}}}]});
        for namespace in [elsewhere, t.name.as_str()] {
            command("kubectl", &["create", "-f", "-"], &spec(namespace).to_string()).await.good();
        }
        let run = t.all_runs().await.pop().unwrap();
        t.ended(&run).await.succeeded();
        let status = kubectl(&["get", "tl", "one", "-n", elsewhere, "-o", "jsonpath={.status}"]).await.good();
        let jobs = kubectl(&["get", "jobs", "-n", elsewhere, "-o", "name"]).await.good();
        assert_eq!((status.as_str(), jobs.as_str()), ("", ""));

        operator::helm(&["uninstall", RELEASE, "-n", home, "--wait"]).await;
        assert!(t.all_runs().await.contains(&run), "launches stay");
        // Who is responsible for all now takes care of what was left lying.
        operator::scale(&t.client, 1).await;
        let wait = ["wait", "tl/one", "-n", elsewhere, "--for=condition=Succeeded", "--timeout=60s"];
        kubectl(&wait).await.good();
        for namespace in [home, elsewhere] {
            kubectl(&["delete", "namespace", namespace, "--wait=false"]).await.good();
        }
    })
    .await;
}

#[tokio::test]
async fn uninstalling_leaves_kinds_and_launches_and_a_new_installation_goes_on() {
    alone("uninstalled", async |t: &Space| {
        t.define("task", plain(&[])).await;
        let before = t.run("task").await;
        t.define("long", plain(&["--run-for=6s"])).await;
        let running = t.launch("long").await;
        t.running_pod(&running).await;
        let values = operator::values().await.to_string();

        operator::helm(&["uninstall", operator::NAME, "-n", operator::NAMESPACE, "--wait"]).await;
        operator::gone(&t.client).await;
        let crds = kubectl(&["get", "crd", "-o", "name"]).await.good();
        assert!(
            crds.contains("tasklaunches.millrace.dev") && crds.contains("taskdefinitions.millrace.dev"),
            "{crds}"
        );
        assert_eq!(t.all_runs().await.len(), 2);
        let waiting = t.launch("task").await;

        let install = [
            "install",
            operator::NAME,
            operator::CHART,
            "-n",
            operator::NAMESPACE,
            "--create-namespace",
            "-f",
            "-",
            "--wait",
            "--timeout",
            "90s",
        ];
        command("helm", &install, &values).await.good();
        t.ended(&running).await.succeeded();
        let after = t.ended(&waiting).await;
        assert!(after.succeeded().id() > before.id());
        assert_eq!(t.ended(&before.run).await.status, before.status);
        assert_eq!(operator::pods(&t.client).await.iter().map(ResourceExt::name_any).count(), 1);
    })
    .await;
}
