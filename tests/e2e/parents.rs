//! Launches that belong to another, and what a launch may give.

use millrace::names::{condition, reason};
use serde_json::json;

use crate::support::manifest::{little, plain};
use crate::support::run::of;
use crate::support::{PLAIN, Space, beside};

#[tokio::test]
async fn a_parent_by_name_or_by_execution_id() {
    beside("parent", async |t: &Space| {
        t.define("step", plain(&["--run-for=4s"])).await;
        // The child is there first, and waits.
        let child = t.launch_with("step", json!({"parentRef": {"name": "month-end"}})).await;
        let status = t.reason(&child, reason::PARENT_NOT_FOUND).await;
        assert_eq!(of(&status, condition::ACCEPTED).unwrap().reason, reason::PARENT_NOT_FOUND);
        let parent = json!({"apiVersion": "millrace.dev/v1alpha1", "kind": "TaskLaunch",
            "metadata": {"name": "month-end"}, "spec": {"definitionRef": {"name": "step"}}});
        t.kubectl_with(&["create", "-f", "-"], &parent.to_string()).await.good();
        let foreign = t.launch_with("step", json!({"parentRef": {"executionId": 4711}})).await;

        let parent = t.all_runs().await.into_iter().find(|r| r.name == "month-end").unwrap();
        let parent = t.ended(&parent).await;
        assert_eq!(parent.succeeded().status.parent_execution_id, None);
        for (run, id) in [(child, parent.id()), (foreign, 4711)] {
            let end = t.ended(&run).await;
            assert_eq!(end.succeeded().status.parent_execution_id, Some(id));
            let line = format!("env MILLRACE_PARENT_EXECUTION_ID={id}");
            let log = t.log(end.pod()).await;
            assert!(log.lines().any(|l| l == line), "no {line:?} in {log}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_launch_gives_reaches_the_task_as_it_is() {
    beside("literal", async |t: &Space| {
        let spec = json!({"image": PLAIN, "resources": little(), "args": ["id=$(MILLRACE_EXECUTION_ID)"],
            "properties": {"app.color": "red", "app.size": "$(MILLRACE_NAMESPACE)"},
            "overrides": {"properties": ["app.color", "app.price"]}});
        t.define("task", spec).await;
        let given = ["$(MILLRACE_TASK_NAME)", "$$(HOME)", "$", "größe=½ 日本語 🙂", "", "two words", "'\"\\"];
        let launch = json!({"args": given, "properties": {"APP.COLOR": "$(PATH) blå", "app.price": "100 $"}});
        let end = t.ended(&t.launch_with("task", launch).await).await;
        end.succeeded();
        let log = t.log(end.pod()).await;
        let args: Vec<&str> = log.lines().filter_map(|l| l.strip_prefix("arg ")).collect();
        let id = format!("id={}", end.id());
        let size = format!("--app.size={}", t.name);
        // The definition's are expanded, as in any pod; the launch's never, and replace the definition's of that name.
        let mut expected = vec![id.as_str(), "--app.color=$(PATH) blå", "--app.price=100 $", &size];
        expected.extend(given);
        assert_eq!(args, expected);
    })
    .await;
}
