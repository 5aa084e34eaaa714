//! The Job controller and the pods, as an operator sees them.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ContainerStateTerminated, Event, Pod},
};
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::super::{ApiServer, Fate, JobController, PodActor, Status, Store};
use super::{decode, job, jobs};

const NS: &str = "default";

fn settle(server: &ApiServer) {
    server.with(JobController::settle);
}

/// Moves the newest pod of Job `a`, and lets the controller see it.
fn pod(server: &ApiServer, act: impl FnOnce(&mut PodActor<'_>)) -> Pod {
    let name = server.with(|store| {
        let mut actor = store.pod_of(NS, "a");
        act(&mut actor);
        actor.name().to_owned()
    });
    let pod = server.get(NS, &name).unwrap();
    settle(server);
    pod
}

/// Server with Job `a`, whose pod has been made.
fn server_with(spec: &Value) -> ApiServer {
    let server = ApiServer::new();
    let mut object = serde_json::to_value(job("a")).unwrap();
    super::super::object::merge(&mut object["spec"], spec);
    server.put(&decode::<Job>(object));
    settle(&server);
    server
}

fn the_job(server: &ApiServer) -> Job {
    server.get(NS, "a").unwrap()
}

/// `Type=Reason` of the conditions that are true.
fn conditions(server: &ApiServer) -> Vec<String> {
    let all = the_job(server).status.unwrap().conditions.unwrap_or_default();
    let held = all.into_iter().filter(|c| c.status == "True");
    held.map(|c| format!("{}={}", c.type_, c.reason.unwrap_or_default())).collect()
}

fn terminated(pod: &Pod) -> ContainerStateTerminated {
    let statuses = pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap();
    statuses[0].state.as_ref().unwrap().terminated.clone().unwrap()
}

#[test]
fn a_job_makes_one_pod_like_its_template() {
    let server = server_with(&json!({"template": {
        "metadata": {"labels": {"l": "1"}, "annotations": {"n": "2"}},
        "spec": {"containers": [{"name": "task", "image": "task", "env": [{"name": "E", "value": "3"}]}]},
    }}));
    let (job, pods) = (the_job(&server), server.all::<Pod>());
    let [pod] = pods.as_slice() else { panic!("{} pods", pods.len()) };
    assert!(pod.name_any().starts_with("a-") && pod.name_any().len() == 7);
    assert_eq!((pod.labels()["l"].as_str(), pod.annotations()["n"].as_str()), ("1", "2"));
    assert_eq!(pod.labels()["batch.kubernetes.io/job-name"], "a");
    assert_eq!(pod.labels()["batch.kubernetes.io/controller-uid"], job.uid().unwrap());
    assert_eq!(pod.owner_references()[0].uid, job.uid().unwrap());
    assert_eq!(pod.spec.as_ref().unwrap().containers[0].env.as_ref().unwrap()[0].name, "E");
    let status = job.status.unwrap();
    assert_eq!(
        (status.active, status.start_time.is_some(), job.metadata.generation),
        (Some(1), true, Some(1))
    );
}

#[test]
fn success_is_announced_and_then_recorded() {
    let server = server_with(&json!({}));
    pod(&server, |pod| _ = pod.start());
    assert_eq!(the_job(&server).status.unwrap().ready, Some(1));
    server.advance(SignedDuration::from_secs(5));
    server.with(|store| {
        store.pod_of(NS, "a").finish(0, "done");
        JobController::step(store);
    });
    assert_eq!(conditions(&server), ["SuccessCriteriaMet=CompletionsReached"]);
    assert_eq!(the_job(&server).status.unwrap().succeeded, None);
    settle(&server);
    assert_eq!(conditions(&server), ["SuccessCriteriaMet=CompletionsReached", "Complete=CompletionsReached"]);
    let status = the_job(&server).status.unwrap();
    assert_eq!((status.succeeded, status.active), (Some(1), None));
    let took = status.completion_time.unwrap().0.duration_since(status.start_time.unwrap().0);
    assert_eq!(took, SignedDuration::from_secs(5));
    let ended = server.all::<Pod>().remove(0);
    assert_eq!((ended.finalizers(), terminated(&ended).message), (&[] as &[String], Some("done".to_owned())));
}

#[test]
fn failures_use_up_the_retries() {
    let server = server_with(&json!({"backoffLimit": 1}));
    let first = pod(&server, |pod| _ = pod.finish(1, "no"));
    assert_eq!((server.all::<Pod>().len(), conditions(&server)), (2, vec![]));
    let second = pod(&server, |pod| _ = pod.oom());
    assert_eq!((terminated(&first).exit_code, terminated(&second).reason), (1, Some("OOMKilled".to_owned())));
    assert_eq!(conditions(&server), ["FailureTarget=BackoffLimitExceeded", "Failed=BackoffLimitExceeded"]);
    assert_eq!(the_job(&server).status.unwrap().failed, Some(2));
    settle(&server);
    assert_eq!(server.all::<Pod>().len(), 2);
}

#[tokio::test]
async fn a_deadline_in_the_past_stops_the_pod() {
    let server = server_with(&json!({}));
    pod(&server, |pod| _ = pod.start());
    server.advance(SignedDuration::from_secs(60));
    let patch = Patch::Merge(json!({"spec": {"activeDeadlineSeconds": 1}}));
    jobs(&server).patch("a", &PatchParams::default(), &patch).await.unwrap();
    let mut codes = Vec::new();
    while server.with(JobController::step) {
        let ended = server
            .all::<Pod>()
            .into_iter()
            .filter(|p| p.status.as_ref().unwrap().phase.as_deref() == Some("Failed"));
        codes.extend(ended.map(|pod| terminated(&pod).exit_code));
        // The Job does not say `Failed` while its pod may still run.
        assert!(!codes.is_empty() || conditions(&server) == ["FailureTarget=DeadlineExceeded"]);
    }
    assert!(codes.contains(&143), "{codes:?}");
    assert_eq!(conditions(&server), ["FailureTarget=DeadlineExceeded", "Failed=DeadlineExceeded"]);
    assert_eq!((the_job(&server).status.unwrap().failed, server.all::<Pod>().len()), (Some(1), 0));
}

#[tokio::test]
async fn a_suspended_job_has_no_pods_and_resumes() {
    let server = server_with(&json!({"suspend": true}));
    assert_eq!(
        (server.all::<Pod>().len(), conditions(&server)),
        (0, vec!["Suspended=JobSuspended".to_owned()])
    );
    let suspend = |value: bool| {
        let jobs = jobs(&server);
        let patch = Patch::Merge(json!({"spec": {"suspend": value}}));
        async move { jobs.patch("a", &PatchParams::default(), &patch).await.unwrap() }
    };
    suspend(false).await;
    settle(&server);
    pod(&server, |pod| _ = pod.start());
    suspend(true).await;
    settle(&server);
    let status = the_job(&server).status.unwrap();
    assert_eq!((status.failed, status.start_time, server.all::<Pod>().len()), (None, None, 0));
    suspend(false).await;
    settle(&server);
    assert_eq!((server.all::<Pod>().len(), conditions(&server)), (1, vec![]));
}

#[test]
fn pods_tell_why_they_do_not_run() {
    let server = server_with(&json!({"backoffLimit": 0}));
    let unschedulable = pod(&server, |pod| {
        _ = pod.unschedulable("0/1 nodes are available: Insufficient cpu.");
    });
    let scheduled = &unschedulable.status.unwrap().conditions.unwrap()[0];
    assert_eq!((scheduled.status.as_str(), scheduled.reason.as_deref()), ("False", Some("Unschedulable")));
    let waiting = pod(&server, |pod| {
        _ = pod.waiting("ImagePullBackOff", "Back-off pulling image \"task\"");
    });
    let state = waiting.status.unwrap().container_statuses.unwrap()[0].state.clone().unwrap();
    assert_eq!(state.waiting.unwrap().reason.as_deref(), Some("ImagePullBackOff"));
    let evicted = pod(&server, |pod| _ = pod.start().evict());
    assert_eq!(evicted.status.unwrap().reason.as_deref(), Some("Evicted"));
    assert_eq!(conditions(&server), ["FailureTarget=BackoffLimitExceeded", "Failed=BackoffLimitExceeded"]);
}

#[test]
fn a_refused_pod_is_an_event() {
    let server = ApiServer::new();
    server.with(|store| {
        store.on_create("pods", |_| Err(Status::new(403, "Forbidden", "exceeded quota: small")));
    });
    server.put(&job("a"));
    settle(&server);
    let event = server.all::<Event>().remove(0);
    assert_eq!(
        (event.reason.as_deref(), event.message.as_deref()),
        (Some("FailedCreate"), Some("Error creating: exceeded quota: small"))
    );
    server.with(Store::clear_admission);
    settle(&server);
    assert_eq!(server.all::<Pod>().len(), 1);
}

#[tokio::test]
async fn deleting_a_job_in_the_background_ends_its_pod() {
    let server = server_with(&json!({}));
    pod(&server, |pod| _ = pod.start());
    jobs(&server).delete("a", &DeleteParams::background()).await.unwrap();
    assert_eq!(server.all::<Pod>()[0].metadata.deletion_grace_period_seconds, Some(30));
    settle(&server);
    assert_eq!(server.all::<Pod>().len(), 0);
}

#[tokio::test]
async fn the_controller_runs_by_itself_and_rests() {
    let server = ApiServer::new();
    let _running = JobController::run_with(&server, |pod| {
        let name = pod["spec"]["containers"][0]["name"].as_str()?;
        (name == "task").then(|| Fate::Ends(3, "bad".to_owned()))
    });
    jobs(&server).create(&PostParams::default(), &job("a")).await.unwrap();
    let failed = |job: Option<&Value>| job.is_some_and(|job| job["status"]["failed"] == 1);
    server.until("the Job to fail", |store| failed(store.get("jobs", NS, "a"))).await;
    server.until_quiet(Duration::from_millis(10)).await;
    let revision = server.with(|store| store.revision());
    tokio::task::yield_now().await;
    assert_eq!(server.with(|store| store.revision()), revision);
    assert_eq!(conditions(&server), ["FailureTarget=BackoffLimitExceeded", "Failed=BackoffLimitExceeded"]);
}
