//! Runs that are ended before they end by themselves.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, EvictParams, Patch, PatchParams};
use millrace::api::Phase;
use millrace::names::reason;
use serde_json::json;

use crate::support::cluster::until;
use crate::support::manifest::{plain, plain_with, quota};
use crate::support::{Run, Space, beside};

async fn stop(t: &Space, run: &Run) {
    let stop = json!({"spec": {"shutdown": "Stop"}});
    t.launches().patch(&run.name, &PatchParams::default(), &Patch::Merge(&stop)).await.unwrap();
}

#[tokio::test]
async fn stop_is_stopped_whatever_the_exit_code() {
    beside("stop", async |t: &Space| {
        let long = "--run-for=10m";
        t.define("five", plain(&[long, "--term-exit-code=5"])).await;
        t.define("zero", plain(&[long, "--term-exit-code=0"])).await;
        let deaf = json!({"terminationGracePeriodSeconds": 1});
        t.define("deaf", plain_with(&[long, "--ignore-term"], &deaf)).await;
        let mut runs = Vec::new();
        for (definition, code) in [("five", 5), ("zero", 0), ("deaf", 137)] {
            runs.push((t.launch(definition).await, code));
        }
        for (run, _) in &runs {
            t.running_pod(run).await;
        }
        t.kubectl(&["patch", "tl", &runs[0].0.name, "--type=merge", "-p", r#"{"spec":{"shutdown":"Stop"}}"#])
            .await
            .good();
        stop(t, &runs[1].0).await;
        stop(t, &runs[2].0).await;
        for (run, code) in &runs {
            let end = t.ended(run).await;
            end.is(Phase::Stopped, Some(reason::STOPPED), Some(*code)).says("asked to stop");
            assert!(end.status.start_time.is_some());
        }
    })
    .await;
}

#[tokio::test]
async fn stop_before_there_is_a_job_makes_none() {
    beside("stop-early", async |t: &Space| {
        let run = t.launch("later").await;
        t.reason(&run, reason::DEFINITION_NOT_FOUND).await;
        stop(t, &run).await;
        let end = t.ended(&run).await;
        end.is(Phase::Stopped, Some(reason::STOPPED), None);
        // The definition comes too late: another launch of it shows that the operator has seen it.
        t.define("later", plain(&[])).await;
        t.run("later").await.succeeded();
        assert_eq!(t.recorder.seen().jobs.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_stop_that_comes_after_the_end_changes_nothing() {
    beside("stop-late", async |t: &Space| {
        t.define("three", plain(&["--exit-code=3"])).await;
        let run = t.launch("three").await;
        let before = t.ended(&run).await;
        stop(t, &run).await;
        t.define("one", plain(&[])).await;
        t.run("one").await;
        let after = t.ended(&run).await;
        assert_eq!(after.status, before.status);
        after.is(Phase::Failed, Some(reason::NON_ZERO_EXIT), Some(3));
    })
    .await;
}

#[tokio::test]
async fn a_task_that_takes_too_long() {
    beside("deadline", async |t: &Space| {
        let policy = json!({"activeDeadlineSeconds": 15, "terminationGracePeriodSeconds": 5});
        t.define("slow", plain_with(&["--run-for=10m", "--term-exit-code=6"], &policy)).await;
        let end = t.run("slow").await;
        end.is(Phase::Failed, Some(reason::DEADLINE_EXCEEDED), Some(6)).says("activeDeadlineSeconds");
    })
    .await;
}

#[tokio::test]
async fn an_evicted_pod() {
    beside("evicted", async |t: &Space| {
        t.define("long", plain(&["--run-for=10m", "--term-exit-code=6"])).await;
        let run = t.launch("long").await;
        let pod = t.running_pod(&run).await;
        t.api::<Pod>().evict(&pod.name_any(), &EvictParams::default()).await.unwrap();
        let end = t.ended(&run).await;
        // 2 is how the task's runtime ends where SIGTERM comes before it has a handler.
        let code = end.status.exit_code;
        assert!(matches!(code, Some(6 | 2)), "{code:?}");
        end.is(Phase::Failed, Some(reason::EVICTED), code).says("EvictionByEvictionAPI");
    })
    .await;
}

/// As a queue does it: the Job is held back, and let go later. The quota keeps it from starting before.
#[tokio::test]
async fn a_job_that_somebody_suspends() {
    beside("suspended", async |t: &Space| {
        t.create::<ResourceQuota>(&quota("pods", 0)).await;
        let quotas: Api<ResourceQuota> = t.api();
        let known = |q: Option<&ResourceQuota>| q.and_then(|q| q.status.as_ref()?.hard.as_ref()).is_some();
        until(quotas.clone(), "quota", "it is in force", 30, known).await;
        t.define("task", plain(&[])).await;
        let (run, held) = futures::future::join(t.launch("task"), t.launch("task")).await;
        for run in [&run, &held] {
            t.job(run).await;
            let suspend =
                ["patch", "job", &run.job_name(), "--type=merge", "-p", r#"{"spec":{"suspend":true}}"#];
            t.kubectl(&suspend).await.good();
            t.reason(run, reason::SUSPENDED).await;
        }
        quotas.delete("quota", &DeleteParams::default()).await.unwrap();
        let resume = ["patch", "job", &run.job_name(), "--type=merge", "-p", r#"{"spec":{"suspend":false}}"#];
        t.kubectl(&resume).await.good();
        t.ended(&run).await.succeeded();

        stop(t, &held).await;
        t.ended(&held).await.is(Phase::Stopped, Some(reason::STOPPED), None);
        let gone = |job: Option<&Job>| job.is_none();
        until(t.api(), &held.job_name(), "a Job that nobody will ever end goes", 30, gone).await;
    })
    .await;
}

#[tokio::test]
async fn deleting_a_launch_deletes_its_job_and_pods() {
    beside("delete", async |t: &Space| {
        t.define("long", plain(&["--run-for=10m"])).await;
        let run = t.launch("long").await;
        let pod = t.running_pod(&run).await;
        t.kubectl(&["delete", "tasklaunch", &run.name, "--timeout=10s"]).await.good();
        let gone = |job: Option<&Job>| job.is_none();
        until(t.api(), &run.job_name(), "the Job goes with its launch", 30, gone).await;
        let gone = |pod: Option<&Pod>| pod.is_none();
        until(t.api(), &pod.name_any(), "the pod goes with its launch", 30, gone).await;
        assert_eq!(t.recorder.seen().jobs.len(), 1);
    })
    .await;
}
