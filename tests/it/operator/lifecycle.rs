//! What becomes of launches, and what it costs.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use millrace::api::task_launch::{ParentRef, Shutdown};
use millrace::api::{Phase, TaskDefinition, TaskLaunch};
use millrace::names::{execution_ids, job_name, label, reason};
use serde_json::json;

use super::harness::{HOME, NS, World, condition, refused};
use crate::apiserver::Verb;

#[tokio::test(start_paused = true)]
async fn a_short_launch_costs_two_writes_and_no_reads() {
    let world = World::new();
    world.define("hello", |_| ());
    let operator = world.operator();
    // The first launch takes a block of execution ids.
    world.launch("warm-up", "hello");
    world.end_pod("warm-up", 0, "").await;
    world.finished("warm-up").await;
    world.quiet().await;

    let mark = world.server.mark();
    world.launch("one", "hello");
    world.end_pod("one", 0, "all rows loaded").await;
    let status = world.finished("one").await;
    world.quiet().await;

    let requests = world.requests(mark).by("operator");
    assert_eq!(requests.len(), 2, "{requests}");
    assert_eq!(requests.count(Verb::Create, "jobs"), 1, "{requests}");
    assert_eq!(requests.count(Verb::Patch, "tasklaunches"), 1, "{requests}");
    assert_eq!(status.phase, Some(Phase::Succeeded));
    assert_eq!((status.exit_code, status.message.as_deref()), (Some(0), Some("all rows loaded")));
    assert_eq!(status.execution_id, Some(2));
    assert!(status.pod_name.is_some() && status.job_uid.is_some() && status.duration.is_some());
    for (type_, expected) in [
        ("Accepted", ("True", "Accepted")),
        ("Started", ("True", "ContainerStarted")),
        ("Finished", ("True", "Completed")),
        ("Succeeded", ("True", "Completed")),
    ] {
        assert_eq!(condition(&status, type_), (expected.0.into(), expected.1.into()), "{type_}");
    }
    operator.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_goes_on_is_told_to_run_after_five_seconds_and_once() {
    let world = World::new();
    world.define("hello", |_| ());
    let operator = world.operator();
    let told = |of: &str| {
        let text = operator.metrics.exposition();
        let name = format!("millrace_definition_{of}");
        let lines = text.lines().filter_map(|line| line.strip_prefix(&name)?.strip_prefix('{'));
        lines.map(|line| line.split_once("definition=").unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    world.launch("one", "hello");
    let job = world.pod("one").await;
    world.server.with(|store| {
        store.pod_of(NS, &job).start();
    });
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(world.status("one").phase, None, "nothing is said before five seconds");
    let status = world.in_phase("one", Phase::Running).await;
    assert!(status.start_time.is_some() && status.pod_name.is_some() && status.execution_id.is_some());
    world.quiet().await;
    assert_eq!(told("info"), [r#""hello",task_name="hello"} 1"#]);
    assert!(told("active").contains(&r#""hello",phase="Running"} 1"#.to_owned()), "{:?}", told("active"));
    let began = status.start_time.unwrap().0.as_second();
    let oldest = format!(r#""hello",phase="Running"}} {began}.0"#);
    assert_eq!(told("oldest_active_timestamp_seconds"), [oldest]);
    let mark = world.server.mark();
    tokio::time::sleep(Duration::from_mins(50)).await;
    let requests = world.requests(mark).by("operator").writes();
    assert!(requests.is_empty(), "a run that goes on costs nothing: {requests}");
    world.end_pod("one", 3, "").await;
    let status = world.finished("one").await;
    assert_eq!((status.phase, status.exit_code), (Some(Phase::Failed), Some(3)));
    assert_eq!(status.reason.as_deref(), Some(reason::NON_ZERO_EXIT));
    world.quiet().await;
    assert!(told("active").iter().all(|line| line.ends_with("} 0")), "{:?}", told("active"));
    assert_eq!(told("oldest_active_timestamp_seconds"), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_launch_waits_for_its_definition_and_its_parent() {
    let world = World::new();
    let _operator = world.operator();
    world.launch_with("child", "late", |spec| {
        spec.parent_ref = Some(ParentRef { name: Some("mother".into()), execution_id: None });
    });
    let status = world.in_phase("child", Phase::Pending).await;
    assert_eq!(condition(&status, "Accepted").1, reason::DEFINITION_NOT_FOUND);
    world.define("late", |_| ());
    world
        .server
        .until("the parent is missed", |store| {
            store.get("tasklaunches", NS, "child").unwrap()["status"]["reason"] == reason::PARENT_NOT_FOUND
        })
        .await;
    world.launch("mother", "late");
    world.end_pod("mother", 0, "").await;
    world.end_pod("child", 0, "").await;
    let (mother, child) = (world.finished("mother").await, world.finished("child").await);
    assert_eq!(child.parent_execution_id, mother.execution_id);
    assert_eq!(condition(&child, "Accepted").0, "True");
    assert!(child.execution_id > mother.execution_id);
}

#[tokio::test(start_paused = true)]
async fn a_missing_definition_fails_the_launch_at_its_start_deadline() {
    let world = World::new();
    let _operator = world.operator();
    world.launch("one", "never");
    tokio::time::sleep(Duration::from_secs(3590)).await;
    assert_eq!(world.status("one").phase, Some(Phase::Pending));
    let status = world.finished("one").await;
    assert_eq!(status.reason.as_deref(), Some(reason::START_DEADLINE_EXCEEDED));
    assert!(status.message.as_ref().unwrap().contains("there is no TaskDefinition never"));
    assert_eq!(condition(&status, "Started").0, "False");
    assert_eq!(world.jobs_made(), 0);
}

#[tokio::test(start_paused = true)]
async fn stop_ends_a_running_launch_and_keeps_an_outcome_that_is_there() {
    let world = World::new();
    world.define("hello", |_| ());
    let _operator = world.operator();
    for name in ["stopped", "over", "waiting"] {
        world.launch(name, if name == "waiting" { "never" } else { "hello" });
    }
    world.end_pod("over", 0, "").await;
    world.finished("over").await;
    let job = world.pod("stopped").await;
    world.server.with(|store| {
        store.pod_of(NS, &job).start();
    });
    for name in ["stopped", "over", "waiting"] {
        let stop = |launch: &mut serde_json::Value| launch["spec"]["shutdown"] = json!(Shutdown::Stop);
        world.server.with(|store| store.edit("tasklaunches", NS, name, stop));
    }
    let status = world.finished("stopped").await;
    assert_eq!((status.phase, status.exit_code), (Some(Phase::Stopped), Some(143)), "{status:?}");
    assert_eq!(world.finished("waiting").await.phase, Some(Phase::Stopped));
    world.quiet().await;
    assert_eq!(world.status("over").phase, Some(Phase::Succeeded));
    assert_eq!(world.jobs_made(), 2, "a launch stopped before its Job never gets one");
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cannot_be_pulled_shows_and_then_ends_the_launch() {
    let world = World::new();
    world.define("hello", |spec| spec.run_policy.start_deadline_seconds = 30);
    let _operator = world.operator();
    world.launch("one", "hello");
    let job = world.pod("one").await;
    world.server.with(|store| {
        store.pod_of(NS, &job).waiting("ErrImagePull", "no such image");
    });
    let status = world.in_phase("one", Phase::Pending).await;
    assert_eq!(status.reason.as_deref(), Some(reason::IMAGE_PULL_FAILED));
    let mark = world.server.mark();
    for why in ["ImagePullBackOff", "ErrImagePull", "ImagePullBackOff"] {
        world.server.with(|store| {
            store.pod_of(NS, &job).waiting(why, why);
        });
        world.quiet().await;
    }
    assert!(world.requests(mark).by("operator").is_empty(), "the kubelet's to and fro is told once");
    let status = world.finished("one").await;
    assert_eq!(
        (status.phase, status.reason.as_deref()),
        (Some(Phase::Failed), Some(reason::IMAGE_PULL_FAILED))
    );
    assert!(status.message.unwrap().starts_with("not started within 30 s: "));
    world.quiet().await;
    let events = world.requests(0).by("operator").count(Verb::Create, "events");
    assert_eq!(events, 1, "one warning for one reason");
}

#[tokio::test(start_paused = true)]
async fn a_pod_refused_by_quota_shows_the_servers_sentence_and_starts_when_it_may() {
    let world = World::new();
    world.define("hello", |_| ());
    world.server.with(|store| {
        store.on_create("pods", |_| Err(refused("exceeded quota: no-pods")));
    });
    let _operator = world.operator();
    world.launch("one", "hello");
    world
        .server
        .until("the refusal shows", |store| {
            store.get("tasklaunches", NS, "one").unwrap()["status"]["reason"] == reason::POD_REFUSED
        })
        .await;
    let said = world.status("one").message.unwrap();
    assert!(said.contains("exceeded quota: no-pods"), "{said}");
    world.server.with(crate::apiserver::Store::clear_admission);
    // The Job controller tries again at the Job's next change.
    let job = world.job("one").await;
    world
        .server
        .with(|store| store.edit("jobs", NS, &job, |job| job["metadata"]["annotations"]["x"] = json!("y")));
    world.end_pod("one", 0, "").await;
    assert_eq!(world.finished("one").await.phase, Some(Phase::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn history_keeps_the_newest_and_what_is_marked() {
    let world = World::new();
    world.define("hello", |spec| spec.history.succeeded = 2);
    let operator = world.operator();
    for name in ["a", "b", "c", "d", "e"] {
        world.launch(name, "hello");
        if name == "a" {
            let keep = |launch: &mut serde_json::Value| {
                launch["metadata"]["annotations"] = json!({"millrace.dev/keep": "true"});
            };
            world.server.with(|store| store.edit("tasklaunches", NS, name, keep));
        }
        world.end_pod(name, 0, "").await;
        world
            .server
            .until("over or gone", |store| {
                store.get("tasklaunches", NS, name).is_none_or(|l| !l["status"]["phase"].is_null())
            })
            .await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    world.cleaned_up().await;
    let left: Vec<_> = world.server.all::<TaskLaunch>().into_iter().filter_map(|l| l.metadata.name).collect();
    assert_eq!(left, ["a", "d", "e"]);
    assert_eq!(world.job_objects().len(), 3, "Jobs follow their launches");
    let deletes = world.requests(0).by("operator").filter(|e| e.request.verb == Verb::Delete);
    assert_eq!(deletes.len(), 2, "one delete for each: {deletes}");
    operator.stop().await;
}

#[tokio::test(start_paused = true)]
async fn deleting_a_launch_or_a_definition_leaves_no_work_behind() {
    let world = World::new();
    world.define("hello", |_| ());
    let operator = world.operator();
    world.launch("one", "hello");
    world.pod("one").await;
    world.server.with(|store| store.remove("tasklaunches", NS, "one"));
    world.server.until("its Job follows", |store| store.all("jobs").is_empty()).await;
    world.launch("two", "hello");
    world.end_pod("two", 0, "").await;
    world.finished("two").await;
    assert!(operator.metrics.exposition().contains("definition=\"hello\""));
    world.server.with(|store| store.remove("taskdefinitions", NS, "hello"));
    world.quiet().await;
    assert!(!operator.metrics.exposition().contains("definition=\"hello\""), "series go with the definition");
    assert!(world.server.get::<TaskLaunch>(NS, "two").is_some(), "launches stay");
    assert!(operator.metrics.exposition().contains("millrace_launches{phase=\"Succeeded\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_cannot_be_launched_says_so_at_once() {
    let world = World::new();
    world.define("bad", |spec| {
        spec.env =
            vec![serde_json::from_value(json!({"name": "MILLRACE_EXECUTION_ID", "value": "1"})).unwrap()];
    });
    let _operator = world.operator();
    let told = |store: &crate::apiserver::Store| {
        !store.get("taskdefinitions", NS, "bad").unwrap()["status"].is_null()
    };
    world.server.until("it is told", told).await;
    let status = world.server.get::<TaskDefinition>(NS, "bad").unwrap().status.unwrap();
    assert_eq!(status.conditions[0].reason, reason::IDENTITY_RESERVED);
    world.launch("one", "bad");
    let status = world.in_phase("one", Phase::Pending).await;
    assert_eq!(condition(&status, "Accepted").1, reason::IDENTITY_RESERVED);
}

#[tokio::test(start_paused = true)]
async fn one_undecodable_object_harms_only_itself() {
    let world = World::new();
    world.server.with(|store| {
        store.put(&json!({"apiVersion": "millrace.dev/v1alpha1", "kind": "TaskLaunch",
            "metadata": {"name": "poison", "namespace": NS}, "spec": {"definitionRef": 7}}));
        store.put(&json!({"apiVersion": "millrace.dev/v1alpha1", "kind": "TaskLaunch",
            "metadata": {"name": "newer", "namespace": NS}, "spec": {"definitionRef": {"name": "hello"}},
            "status": {"phase": "Dreaming"}}));
        store.put(&json!({"apiVersion": "millrace.dev/v1alpha1", "kind": "TaskDefinition",
            "metadata": {"name": "poison", "namespace": NS}, "spec": {"image": []}}));
    });
    world.define("hello", |_| ());
    let _operator = world.operator();
    world.launch("one", "hello");
    world.end_pod("one", 0, "").await;
    assert_eq!(world.finished("one").await.phase, Some(Phase::Succeeded));
    let says = |store: &crate::apiserver::Store| {
        store.get("tasklaunches", NS, "poison").unwrap()["status"]["reason"] == reason::INVALID_SPEC
    };
    world.server.until("the poisoned one says why", says).await;
    let newer = world.server.with(|store| store.get("tasklaunches", NS, "newer").cloned()).unwrap();
    assert_eq!(newer["status"], json!({"phase": "Dreaming"}), "what cannot be read is left alone");
}

#[tokio::test(start_paused = true)]
async fn execution_ids_go_on_above_the_highest_when_their_record_is_lost_or_damaged() {
    let world = World::new();
    world.define("hello", |_| ());
    let operator = world.operator();
    world.launch("one", "hello");
    world.end_pod("one", 0, "").await;
    assert_eq!(world.finished("one").await.execution_id, Some(1));
    operator.stop().await;

    world.server.with(|store| store.remove("configmaps", HOME, execution_ids::CONFIG_MAP));
    let operator = world.operator();
    world.launch("two", "hello");
    world.end_pod("two", 0, "").await;
    assert_eq!(world.finished("two").await.execution_id, Some(1001));
    operator.stop().await;

    let damage = |map: &mut serde_json::Value| map["data"]["next"] = json!("soon");
    world.server.with(|store| store.edit("configmaps", HOME, execution_ids::CONFIG_MAP, damage));
    let _operator = world.operator();
    world.launch("three", "hello");
    world.end_pod("three", 0, "").await;
    assert_eq!(world.finished("three").await.execution_id, Some(2001));
    let map = world.server.get::<ConfigMap>(HOME, execution_ids::CONFIG_MAP).unwrap();
    assert_eq!(map.data.unwrap()["next"], "2101");
}

#[tokio::test(start_paused = true)]
async fn the_record_of_execution_ids_is_read_once_and_again_when_somebody_touched_it() {
    let world = World::new();
    world.define("hello", |_| ());
    let _operator = world.operator();
    let burst = |from: usize, to: usize| {
        for i in from..to {
            world.launch(&format!("launch-{i:03}"), "hello");
        }
    };
    let reads = || world.requests(0).by("operator").count(Verb::Get, "configmaps");
    burst(0, 250);
    world.server.until("all have Jobs", |store| store.all("jobs").len() == 250).await;
    assert_eq!(reads(), 1, "three blocks");
    world.server.with(|store| store.remove("configmaps", HOME, execution_ids::CONFIG_MAP));
    burst(250, 350);
    world.server.until("all have Jobs", |store| store.all("jobs").len() == 350).await;
    assert_eq!(reads(), 2, "the known one is gone: looked for once more");
    let ids: std::collections::BTreeSet<_> = world.server.with(|store| {
        let id = |job: &serde_json::Value| job["metadata"]["labels"][label::EXECUTION_ID].to_string();
        store.all("jobs").iter().map(|job| id(job)).collect()
    });
    assert_eq!(ids.len(), 350, "each has its own");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pods_exit_code_is_not_lost() {
    let world = World::new();
    world.define("hello", |spec| spec.run_policy.active_deadline_seconds = Some(20));
    let _operator = world.operator();
    world.launch("one", "hello");
    let job = world.pod("one").await;
    world.server.with(|store| {
        store.pod_of(NS, &job).start();
    });
    let status = world.finished("one").await;
    assert_eq!(status.reason.as_deref(), Some(reason::DEADLINE_EXCEEDED));
    assert_eq!(
        status.exit_code,
        Some(143),
        "the Job controller deletes the pod; its end was seen: {status:?}"
    );
    let uid = world.server.get::<TaskLaunch>(NS, "one").unwrap().metadata.uid.unwrap();
    assert_eq!(status.job_name, Some(job_name("one", &uid)));
}
