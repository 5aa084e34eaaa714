//! Jobs that others delete or make, and definitions that come late.

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use millrace::api::Phase;
use millrace::names::{condition, reason};
use serde_json::json;

use crate::support::manifest::plain;
use crate::support::run::of;
use crate::support::{PLAIN, Space, beside};

#[tokio::test]
async fn a_job_deleted_by_hand_is_lost_and_never_made_again() {
    beside("job-lost", async |t: &Space| {
        t.define("long", plain(&["--run-for=10m"])).await;
        let run = t.launch("long").await;
        t.running_pod(&run).await;
        t.kubectl(&["delete", "job", &run.job_name(), "--timeout=30s"]).await.good();
        t.ended(&run).await.is(Phase::Failed, Some(reason::JOB_LOST), None).says("create another TaskLaunch");
        // Another launch, seen to its end, shows that the operator had the time for a second Job.
        t.define("short", plain(&[])).await;
        t.run("short").await.succeeded();
        assert_eq!(t.recorder.seen().jobs.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_foreign_job_of_the_same_name_is_left_alone() {
    beside("job-taken", async |t: &Space| {
        let run = t.launch("late").await;
        t.reason(&run, reason::DEFINITION_NOT_FOUND).await;
        let container = json!({"name": "other", "image": PLAIN});
        let foreign = json!({"metadata": {"name": run.job_name(), "labels": {"owner": "somebody-else"}}, "spec": {
            "suspend": true, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}});
        t.create::<Job>(&foreign).await;
        let before = t.job(&run).await;
        t.define("late", plain(&[])).await;

        let status = t.status(&run, "it has ended", 30, |s| s.phase.is_some_and(Phase::is_final)).await;
        assert_eq!((status.phase, status.reason.as_deref()), (Some(Phase::Failed), Some(reason::JOB_NAME_TAKEN)));
        let message = status.message.clone().unwrap();
        assert!(message.contains(&run.job_name()) && message.contains("create another TaskLaunch"), "{message}");
        // The launch itself is as it should be.
        assert_eq!(of(&status, condition::ACCEPTED).unwrap().status, "True");
        assert_eq!((status.job_name, status.execution_id), (None, None));
        // Its status is the Job controller's business.
        let after = t.job(&run).await;
        assert_eq!((after.uid(), &after.spec, after.labels()), (before.uid(), &before.spec, before.labels()));
        assert_eq!((after.annotations(), after.owner_references()), (before.annotations(), &[][..]));
    })
    .await;
}

#[tokio::test]
async fn a_definition_may_come_after_its_launch() {
    beside("definition-late", async |t: &Space| {
        let run = t.launch("late").await;
        let status = t.reason(&run, reason::DEFINITION_NOT_FOUND).await;
        assert_eq!(status.phase, Some(Phase::Pending));
        assert_eq!(of(&status, condition::ACCEPTED).unwrap().reason, reason::DEFINITION_NOT_FOUND);
        t.define("late", plain(&["--exit-code=3"])).await;
        t.ended(&run).await.is(Phase::Failed, Some(reason::NON_ZERO_EXIT), Some(3));
        let definition = ["wait", "td/late", "--for=condition=Accepted", "--timeout=10s"];
        t.kubectl(&definition).await.good();
    })
    .await;
}

#[tokio::test]
async fn changing_or_deleting_a_definition_leaves_a_run_alone() {
    beside("definition-changed", async |t: &Space| {
        t.define("task", plain(&["--run-for=4s"])).await;
        let run = t.launch("task").await;
        t.running_pod(&run).await;
        let change = r#"{"spec":{"args":["--exit-code=3"]}}"#;
        t.kubectl(&["patch", "td", "task", "--type=merge", "-p", change]).await.good();
        t.kubectl(&["delete", "td", "task"]).await.good();
        t.ended(&run).await.succeeded();
        assert!(t.all_runs().await.contains(&run));
    })
    .await;
}
