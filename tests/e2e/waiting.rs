//! What keeps a task from starting: told while it lasts, and at the end.

use k8s_openapi::api::core::v1::{Namespace, ResourceQuota};
use kube::api::{Api, Patch, PatchParams};
use millrace::api::{Phase, TaskLaunchStatus};
use millrace::names::{condition, reason};
use serde_json::{Value, json};

use crate::support::manifest::{plain, plain_with, quota};
use crate::support::run::of;
use crate::support::{PLAIN, Space, beside};

/// Pending, with the reason in status and condition.
fn waits(status: &TaskLaunchStatus, reason: &str) {
    assert_eq!(status.phase, Some(Phase::Pending), "{status:#?}");
    let started = of(status, condition::STARTED).unwrap();
    assert_eq!((started.status.as_str(), started.reason.as_str()), ("False", reason), "{status:#?}");
    assert!(!started.message.is_empty(), "{status:#?}");
    assert_eq!(of(status, condition::ACCEPTED).unwrap().status, "True");
}

/// A launch that cannot start says why, and ends so at its start deadline.
async fn never_starts(name: &str, spec: Value, seconds: u64, why: &str, sentence: &str) {
    beside(name, async |t: &Space| {
        let mut spec = spec;
        spec["runPolicy"] = json!({"startDeadlineSeconds": seconds, "terminationGracePeriodSeconds": 0});
        t.define("task", spec).await;
        let run = t.launch("task").await;
        waits(&t.reason(&run, why).await, why);
        let end = t.ended(&run).await;
        end.is(Phase::Failed, Some(why), None).says(sentence).says("not started within");
        assert!(end.status.start_time.is_none());
        let said =
            t.kubectl(&["get", "events", "--field-selector", "type=Warning", "-o", "wide"]).await.good();
        assert!(said.contains(why) && said.contains(&run.name), "no event of {why}: {said}");
    })
    .await;
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled() {
    let spec = json!({"image": "localhost/no-such-image:1"});
    never_starts("image", spec, 15, reason::IMAGE_PULL_FAILED, "no-such-image").await;
}

#[tokio::test]
async fn a_secret_that_is_not_there() {
    let spec = json!({"image": PLAIN, "envFrom": [{"secretRef": {"name": "database"}}]});
    never_starts("secret", spec, 15, reason::INVALID_POD, "\"database\" not found").await;
}

#[tokio::test]
async fn a_node_that_is_not_there() {
    let spec = json!({"image": PLAIN, "podTemplate": {"spec": {"nodeSelector": {"disk": "holographic"}}}});
    never_starts("node", spec, 12, reason::UNSCHEDULABLE, "0/1 nodes are available").await;
}

#[tokio::test]
async fn a_namespace_of_the_restricted_standard() {
    beside("restricted", async |t: &Space| {
        let enforce = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
        let namespaces: Api<Namespace> = Api::all(t.client.clone());
        namespaces.patch(&t.name, &PatchParams::default(), &Patch::Merge(&enforce)).await.unwrap();
        t.define("unchanged", plain_with(&[], &json!({"startDeadlineSeconds": 20}))).await;
        let mut restricted = plain(&[]);
        restricted["podSecurity"] = json!("Restricted");
        t.define("restricted", restricted).await;

        let unchanged = t.launch("unchanged").await;
        t.run("restricted").await.succeeded();
        waits(&t.reason(&unchanged, reason::POD_REFUSED).await, reason::POD_REFUSED);
        let end = t.ended(&unchanged).await;
        end.is(Phase::Failed, Some(reason::POD_REFUSED), None).says("violates PodSecurity");
        assert!(end.status.pod_name.is_none());
    })
    .await;
}

#[tokio::test]
async fn a_quota_of_pods_that_is_raised_later() {
    beside("quota-pods", async |t: &Space| heals(t, "pods").await).await;
}

#[tokio::test]
async fn a_quota_of_jobs_that_is_raised_later() {
    beside("quota-jobs", async |t: &Space| heals(t, "count/jobs.batch").await).await;
}

/// A launch waits for quota with the server's sentence, and starts when there is some.
async fn heals(t: &Space, resource: &str) {
    t.create::<ResourceQuota>(&quota(resource, 0)).await;
    let quotas: Api<ResourceQuota> = t.api();
    let known = |q: Option<&ResourceQuota>| q.and_then(|q| q.status.as_ref()?.hard.as_ref()).is_some();
    crate::support::cluster::until(quotas.clone(), "quota", "it is in force", 30, known).await;

    t.define("task", plain(&[])).await;
    let run = t.launch("task").await;
    let status = t.reason(&run, reason::POD_REFUSED).await;
    waits(&status, reason::POD_REFUSED);
    let said = status.message.unwrap();
    assert!(said.contains("exceeded quota: quota") && said.contains(resource), "{said}");

    let more = json!({"spec": {"hard": {resource: "5"}}});
    quotas.patch("quota", &PatchParams::default(), &Patch::Merge(&more)).await.unwrap();
    t.ended(&run).await.succeeded();
}

#[tokio::test]
async fn a_definition_that_never_comes() {
    beside("no-definition", async |t: &Space| {
        // Without a definition the default deadline holds, an hour: a definition that cannot be launched has its own.
        let spec = json!({"image": PLAIN, "podTemplate": {"spec": {"restartPolicy": "Always", "containers": []}},
            "runPolicy": {"startDeadlineSeconds": 8}});
        t.define("wrong", spec).await;
        let run = t.launch("wrong").await;
        let status = t.reason(&run, reason::INVALID_DEFINITION).await;
        assert_eq!(of(&status, condition::ACCEPTED).unwrap().status, "False");
        let end = t.ended(&run).await;
        end.is(Phase::Failed, Some(reason::START_DEADLINE_EXCEEDED), None).says("restartPolicy");
        assert!(end.status.job_name.is_none());
    })
    .await;
}
