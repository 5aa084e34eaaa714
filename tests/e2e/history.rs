//! How many finished launches stay.

use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use millrace::api::TaskLaunch;
use serde_json::json;

use crate::support::cluster::until;
use crate::support::manifest::plain;
use crate::support::{Run, Space, beside};

#[tokio::test]
async fn finished_launches_beyond_the_limit_go_but_for_those_kept() {
    beside("history", async |t: &Space| {
        let mut spec = plain(&[]);
        spec["history"] = json!({"succeeded": 2, "failed": 1});
        t.define("task", spec).await;
        // One after the other, so that their ages differ.
        let mut runs: Vec<Run> = Vec::new();
        for n in 0..5 {
            let run = t.launch("task").await;
            if n == 0 {
                t.kubectl(&["annotate", "tl", &run.name, "millrace.dev/keep=true"]).await.good();
            }
            t.ended(&run).await.succeeded();
            runs.push(run);
        }
        for gone in &runs[1..3] {
            let is_gone = |l: Option<&TaskLaunch>| l.is_none();
            until(t.launches(), &gone.name, "the oldest goes", 90, is_gone).await;
            let is_gone = |job: Option<&Job>| job.is_none();
            until(t.api(), &gone.job_name(), "its Job goes with it", 90, is_gone).await;
        }
        let mut left: Vec<String> = t.all_runs().await.into_iter().map(|r| r.name).collect();
        let mut expected: Vec<String> = [0, 3, 4].map(|n: usize| runs[n].name.clone()).into();
        left.sort();
        expected.sort();
        assert_eq!(left, expected);

        // A lower limit holds for what is there.
        t.kubectl(&["patch", "td", "task", "--type=merge", "-p", r#"{"spec":{"history":{"succeeded":0}}}"#])
            .await
            .good();
        let is_gone = |l: Option<&TaskLaunch>| l.is_none();
        until(t.launches(), &runs[4].name, "the newest goes too", 90, is_gone).await;
        until(t.launches(), &runs[3].name, "and the one before", 90, is_gone).await;
        let left = t.launches().list(&ListParams::default()).await.unwrap();
        assert_eq!(left.items.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn finished_launches_go_after_their_time() {
    beside("ttl", async |t: &Space| {
        let mut spec = plain(&["--exit-code=3"]);
        spec["history"] = json!({"ttlSecondsAfterFinished": 6});
        t.define("task", spec).await;
        let run = t.launch("task").await;
        t.ended(&run).await;
        let is_gone = |l: Option<&TaskLaunch>| l.is_none();
        until(t.launches(), &run.name, "its time is over", 90, is_gone).await;
    })
    .await;
}
