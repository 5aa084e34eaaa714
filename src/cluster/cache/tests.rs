//! Events in, keys and look-ups out.

use serde_json::{Value, json};

use super::*;

const NS: &str = "batch";

fn name(of: &str) -> Name {
    Name::new(NS, of)
}

fn launch_key(of: &str) -> Key {
    Key::Launch(name(of))
}

fn meta(of: &str, version: u64) -> Value {
    json!({"name": of, "namespace": NS, "uid": format!("uid-{of}"), "resourceVersion": version.to_string()})
}

fn launch(of: &str, version: u64, definition: &str, status: &Value) -> SeenLaunch {
    let spec = json!({"definitionRef": {"name": definition}});
    serde_json::from_value(json!({"metadata": meta(of, version), "spec": spec, "status": status})).unwrap()
}

fn child(of: &str, version: u64, parent: &str, status: &Value) -> SeenLaunch {
    let spec = json!({"definitionRef": {"name": "d"}, "parentRef": {"name": parent}});
    serde_json::from_value(json!({"metadata": meta(of, version), "spec": spec, "status": status})).unwrap()
}

fn finished_at(phase: &str, second: i64) -> Value {
    json!({"phase": phase, "completionTime": Timestamp::from_second(second).unwrap().to_string()})
}

fn definition(of: &str, version: u64) -> SeenDefinition {
    serde_json::from_value(json!({"metadata": meta(of, version), "spec": {"image": "i"}})).unwrap()
}

fn owned_by(mut metadata: Value, kind: &str, owner: &str, launch: &str) -> Value {
    let owner = json!({"apiVersion": "v1", "kind": kind, "name": owner, "uid": format!("uid-{owner}")});
    metadata["ownerReferences"] = json!([owner]);
    metadata["labels"] = json!({label::LAUNCH: launch});
    metadata
}

fn job(of: &str, version: u64, launch: &str) -> SeenJob {
    serde_json::from_value(json!({"metadata": owned_by(meta(of, version), "TaskLaunch", launch, launch)}))
        .unwrap()
}

fn pod(of: &str, version: u64, job: &str, created: i64) -> SeenPod {
    let mut metadata = owned_by(meta(of, version), "Job", job, "l");
    metadata["creationTimestamp"] = json!(Timestamp::from_second(created).unwrap().to_string());
    serde_json::from_value(json!({"metadata": metadata})).unwrap()
}

fn put<T: Cached>(seen: &mut Seen, object: T) -> Vec<Key> {
    T::take(seen, Event::Apply(object))
}

fn remove<T: Cached>(seen: &mut Seen, object: T) -> Vec<Key> {
    T::take(seen, Event::Delete(object))
}

fn list<T: Cached>(seen: &mut Seen, objects: impl IntoIterator<Item = T>) -> Vec<Key> {
    let mut keys = T::take(seen, Event::Init);
    for object in objects {
        keys.extend(T::take(seen, Event::InitApply(object)));
    }
    keys.extend(T::take(seen, Event::InitDone));
    keys
}

fn names_of(pods: &[Arc<SeenPod>]) -> Vec<String> {
    pods.iter().map(|pod| pod.name_any()).collect()
}

fn finished(seen: &Seen, definition: &str) -> [Vec<String>; 2] {
    let rows = seen.finished(&name(definition));
    rows.map(|rows| rows.each_ref().map(|row| row.iter().map(|l| l.name.clone()).collect()))
        .unwrap_or_default()
}

#[test]
fn it_is_synced_when_every_kind_was_listed() {
    let mut seen = Seen::default();
    list::<SeenLaunch>(&mut seen, []);
    list::<SeenDefinition>(&mut seen, []);
    list::<SeenJob>(&mut seen, []);
    SeenPod::take(&mut seen, Event::Init);
    assert!(!seen.is_synced(), "listing has begun, no more");
    SeenPod::take(&mut seen, Event::InitDone);
    assert!(seen.is_synced());
}

#[test]
fn a_relist_touches_only_what_changed_and_removes_what_is_gone() {
    let mut seen = Seen::default();
    list(&mut seen, [launch("a", 1, "d", &json!({})), launch("b", 1, "d", &json!({}))]);
    let keys = list(&mut seen, [launch("a", 1, "d", &json!({})), launch("c", 3, "d", &json!({}))]);
    assert_eq!(keys, [launch_key("c"), launch_key("b")]);
    assert!(seen.launch(&name("b")).is_none() && seen.launch(&name("a")).is_some());
}

#[test]
fn an_older_state_never_replaces_a_newer_one() {
    let mut seen = Seen::default();
    put(&mut seen, launch("l", 9, "d", &json!({})));
    let written = launch("l", 11, "d", &finished_at("Failed", 5));
    assert!(!seen.wrote(written, "9").is_empty());
    // The watch, which fell behind, delivers what was before the end.
    assert_eq!(put(&mut seen, launch("l", 10, "d", &json!({"phase": "Pending"}))), []);
    assert_eq!(list(&mut seen, [launch("l", 10, "d", &json!({"phase": "Pending"}))]), []);
    assert!(seen.launch(&name("l")).unwrap().final_phase().is_some());
    // Another launch of the same name, in a cluster whose versions began anew, is another.
    let mut other = launch("l", 2, "d", &json!({}));
    other.metadata.uid = Some("other".into());
    assert_eq!(put(&mut seen, other), [launch_key("l")]);
}

#[test]
fn what_was_written_is_seen_at_once_unless_something_newer_was() {
    let mut seen = Seen::default();
    put(&mut seen, launch("l", 9, "d", &json!({})));
    assert_eq!(seen.wrote(launch("l", 11, "d", &json!({"phase": "Running"})), "8"), []);
    assert_eq!(seen.wrote(launch("l", 11, "d", &json!({"phase": "Running"})), "9"), [launch_key("l")]);
    assert_eq!(
        put(&mut seen, launch("l", 11, "d", &json!({"phase": "Running"}))),
        [],
        "its own event is no news"
    );
    assert_eq!(seen.wrote(launch("gone", 11, "d", &json!({})), "9"), []);
}

/// Job and pod of launch `l`, both over.
fn run_of(l: &SeenLaunch, version: u64) -> (SeenJob, SeenPod) {
    let name = job_of(&name("l"), l).name;
    let mut job = job(&name, version, "l");
    job.metadata.owner_references.as_mut().unwrap()[0].uid = l.metadata.uid.clone().unwrap();
    job.metadata.annotations = Some([(label::EXECUTION_ID.to_owned(), "7".to_owned())].into());
    job.status =
        serde_json::from_value(json!({"conditions": [{"type": "Complete", "status": "True"}]})).unwrap();
    (job, pod(&format!("{name}-x"), version + 1, &name, 1))
}

fn kept(seen: &Seen) -> (usize, usize) {
    (seen.jobs.by_name.len(), seen.pods.by_name.len())
}

#[test]
fn nothing_is_kept_of_a_run_that_is_over() {
    let mut seen = Seen::default();
    let l = launch("l", 1, "d", &json!({}));
    let (job, pod) = run_of(&l, 2);
    put(&mut seen, l);
    assert_eq!(put(&mut seen, job.clone()), [launch_key("l")]);
    put(&mut seen, pod.clone());
    assert_eq!(kept(&seen), (1, 1));
    let mut over = finished_at("Succeeded", 5);
    over["executionId"] = json!(7);
    assert_eq!(seen.wrote(launch("l", 4, "d", &over), "1"), [Key::History(name("d"))]);
    assert_eq!(kept(&seen), (0, 0));
    // Whether later or listed anew, after a restart.
    assert_eq!((put(&mut seen, job.clone()), put(&mut seen, pod.clone())), (vec![], vec![]));
    assert_eq!((list(&mut seen, [job.clone()]), list(&mut seen, [pod])), (vec![], vec![]));
    assert_eq!((kept(&seen), seen.highest_execution_id()), ((0, 0), 7));
    assert_eq!(remove(&mut seen, job), []);
}

#[test]
fn a_run_that_is_not_over_as_its_launch_says_is_kept() {
    let mut seen = Seen::default();
    let mut over = finished_at("Failed", 5);
    let l = launch("l", 1, "d", &over);
    let (ended, pod) = run_of(&l, 2);
    let mut alive = ended.clone();
    alive.status = JobStatus::default();
    put(&mut seen, l);
    put(&mut seen, alive);
    assert_eq!(kept(&seen), (1, 0), "it runs: it is to be ended");
    // Only the Job knows its execution id.
    let mut ended = ended;
    ended.metadata.resource_version = Some("4".into());
    put(&mut seen, ended.clone());
    assert_eq!((kept(&seen), seen.highest_execution_id()), ((1, 0), 7));
    over["executionId"] = json!(7);
    put(&mut seen, launch("l", 5, "d", &over));
    assert_eq!(kept(&seen), (0, 0));
    // The pod of another launch of that name may be seen before the launch.
    let mut successor = pod;
    successor.metadata.owner_references.as_mut().unwrap()[0].name = "l-successor".into();
    put(&mut seen, successor);
    assert_eq!(kept(&seen), (0, 1));
}

#[test]
fn a_launch_that_is_over_is_kept_thin() {
    let mut seen = Seen::default();
    let mut said = finished_at("Failed", 5);
    said["message"] = json!("why");
    said["conditions"] = json!([
        {"type": "Started", "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        {"type": "Finished", "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"},
    ]);
    put(&mut seen, launch("l", 1, "d", &said));
    let kept = seen.launch(&name("l")).unwrap();
    let status = kept.status.as_result().unwrap();
    assert_eq!((status.message.as_deref(), status.conditions.len()), (None, 1));
    assert_eq!(finished(&seen, "d"), [vec![], vec!["l".to_owned()]]);
    put(&mut seen, launch("l", 2, "d", &json!({"phase": "Running", "message": "why"})));
    assert_eq!(seen.launch(&name("l")).unwrap().status.as_result().unwrap().message.as_deref(), Some("why"));
}

#[test]
fn a_definition_wakes_its_unfinished_launches_only() {
    let mut seen = Seen::default();
    put(&mut seen, launch("waits", 1, "d", &json!({})));
    put(&mut seen, launch("over", 1, "d", &finished_at("Succeeded", 1)));
    put(&mut seen, launch("other", 1, "e", &json!({})));
    let own = [Key::Definition(name("d")), Key::History(name("d"))];
    let mut with_launch = own.to_vec();
    with_launch.push(launch_key("waits"));
    assert_eq!(put(&mut seen, definition("d", 2)), with_launch);
    put(&mut seen, launch("waits", 3, "d", &finished_at("Failed", 2)));
    assert_eq!(remove(&mut seen, definition("d", 2)), own);
    assert!(seen.definition(&name("d")).is_none());
}

#[test]
fn a_parents_job_or_status_wakes_its_unfinished_children() {
    let mut seen = Seen::default();
    put(&mut seen, child("child", 1, "mother", &json!({})));
    assert_eq!(
        put(&mut seen, launch("mother", 2, "d", &json!({}))),
        [launch_key("mother"), launch_key("child")]
    );
    assert_eq!(put(&mut seen, job("job", 3, "mother")), [launch_key("child")], "its maker knows of it");
    put(&mut seen, child("child", 4, "mother", &finished_at("Succeeded", 1)));
    assert_eq!(remove(&mut seen, job("job", 3, "mother")), [launch_key("mother")]);
    let mut unlabelled = job("x", 5, "mother");
    unlabelled.metadata.labels = None;
    assert_eq!(put(&mut seen, unlabelled), []);
}

#[test]
fn finished_launches_are_in_order_of_their_end_and_leave_the_index_with_every_change() {
    let mut seen = Seen::default();
    put(&mut seen, launch("late", 1, "d", &finished_at("Succeeded", 9)));
    put(&mut seen, launch("early", 1, "d", &finished_at("Succeeded", 5)));
    put(&mut seen, launch("failed", 1, "d", &finished_at("Failed", 7)));
    put(&mut seen, launch("stopped", 1, "d", &finished_at("Stopped", 8)));
    put(&mut seen, launch("runs", 1, "d", &json!({"phase": "Running"})));
    put(&mut seen, launch("elses", 1, "e", &finished_at("Succeeded", 1)));
    assert_eq!(finished(&seen, "d"), [vec!["early", "late"], vec!["failed", "stopped"]]);

    let mut kept = launch("early", 2, "d", &finished_at("Succeeded", 5));
    kept.metadata.annotations = Some([(crate::names::annotation::KEEP.to_owned(), "true".to_owned())].into());
    assert_eq!(put(&mut seen, kept), [launch_key("early"), Key::History(name("d"))]);
    remove(&mut seen, launch("failed", 1, "d", &json!({})));
    let mut going = launch("stopped", 2, "d", &finished_at("Stopped", 8));
    going.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
    put(&mut seen, going);
    assert_eq!(finished(&seen, "d"), [vec!["late"], vec![]]);

    let late = seen.finished(&name("d")).unwrap()[0].first().cloned().unwrap();
    seen.deleted(&name("d"), &late);
    assert_eq!(finished(&seen, "d"), [vec![], vec![]] as [Vec<&str>; 2]);
    remove(&mut seen, launch("late", 1, "d", &json!({})));
    assert_eq!(finished(&seen, "e"), [vec!["elses"], vec![]]);
}

#[test]
fn pods_are_found_by_their_jobs_name_and_owner() {
    let mut seen = Seen::default();
    put(&mut seen, launch("l", 1, "d", &json!({})));
    for (pod_name, job, created) in [
        ("l-1-b", "l-1", 5),
        ("l-1-a", "l-1", 7),
        ("l-1-c", "stranger", 6),
        ("l-11-a", "l-11", 6),
        ("l-0-a", "l-0", 6),
    ] {
        assert_eq!(put(&mut seen, pod(pod_name, 1, job, created)), [launch_key("l")]);
    }
    let mut elsewhere = pod("l-1-d", 1, "l-1", 6);
    elsewhere.metadata.namespace = Some("other".into());
    put(&mut seen, elsewhere);
    assert_eq!(names_of(&seen.pods_of(&job("l-1", 1, "l"), &name("l"))), ["l-1-b", "l-1-a"], "oldest first");
}

#[test]
fn the_last_states_of_deleted_pods_are_kept_as_long_as_the_launch_may_need_them() {
    let mut seen = Seen::default();
    put(&mut seen, launch("l", 1, "d", &json!({})));
    let made = job("j", 1, "l");
    for (number, created) in [("1", 1), ("2", 2), ("3", 3)] {
        let pod = pod(&format!("j-{number}"), created.try_into().unwrap(), "j", created);
        put(&mut seen, pod.clone());
        assert_eq!(remove(&mut seen, pod), [launch_key("l")]);
    }
    put(&mut seen, pod("j-4", 4, "j", 4));
    assert_eq!(names_of(&seen.pods_of(&made, &name("l"))), ["j-2", "j-3", "j-4"], "two of them");
    assert_eq!(names_of(&seen.pods_of(&job("j2", 1, "l"), &name("l"))), [] as [&str; 0]);

    put(&mut seen, launch("l", 2, "d", &finished_at("Succeeded", 9)));
    assert_eq!(names_of(&seen.pods_of(&made, &name("l"))), ["j-4"]);
    assert_eq!(remove(&mut seen, pod("j-4", 4, "j", 4)), [], "nobody waits for it");
    assert!(seen.gone_pods.is_empty() && seen.pods_of(&made, &name("l")).is_empty());
}

#[test]
fn launches_are_counted_by_phase_whatever_happens_to_them() {
    let mut seen = Seen::default();
    let mut total = BTreeMap::<Phase, i64>::new();
    let mut count = |seen: &mut Seen| {
        for (phase, change) in seen.take_phase_changes() {
            *total.entry(phase).or_default() += change;
        }
        total.retain(|_, n| *n != 0);
        total.clone()
    };
    list(&mut seen, [launch("a", 1, "d", &json!({})), launch("b", 1, "d", &json!({"phase": "Running"}))]);
    assert_eq!(count(&mut seen), [(Phase::Pending, 1), (Phase::Running, 1)].into());
    put(&mut seen, launch("a", 2, "d", &json!({"phase": "Running"})));
    list(&mut seen, [launch("a", 2, "d", &json!({})), launch("c", 1, "d", &json!({"phase": 7}))]);
    assert_eq!(count(&mut seen), [(Phase::Running, 1), (Phase::Pending, 1)].into(), "unreadable is Pending");
    list::<SeenLaunch>(&mut seen, []);
    assert_eq!(count(&mut seen), [].into());
}

#[test]
fn the_highest_execution_id_is_on_a_job_or_in_a_status() {
    let mut seen = Seen::default();
    assert_eq!(seen.highest_execution_id(), 0);
    put(&mut seen, launch("a", 1, "d", &json!({"executionId": 7})));
    put(&mut seen, launch("b", 1, "d", &json!({"executionId": "unreadable"})));
    let mut made = job("j", 1, "a");
    made.metadata.annotations = Some([(label::EXECUTION_ID.to_owned(), "9".to_owned())].into());
    put(&mut seen, made.clone());
    assert_eq!(seen.highest_execution_id(), 9);
    made.metadata.resource_version = Some("2".into());
    made.metadata.annotations = Some([(label::EXECUTION_ID.to_owned(), "not a number".to_owned())].into());
    put(&mut seen, made);
    assert_eq!(seen.highest_execution_id(), 7);
}

#[test]
fn an_unreadable_launch_is_looked_at_and_harms_no_other() {
    let mut seen = Seen::default();
    let broken: SeenLaunch =
        serde_json::from_value(json!({"metadata": meta("x", 1), "spec": {"definitionRef": 7}, "status": 8}))
            .unwrap();
    assert_eq!(
        list(&mut seen, [broken, launch("l", 1, "d", &json!({}))]),
        [launch_key("x"), launch_key("l")]
    );
    assert_eq!(put(&mut seen, definition("d", 1)).len(), 3);
}

/// Every index after any events is what it would be had only the last states been listed.
mod property {
    use proptest::prelude::*;

    use super::*;

    fn some_launch() -> impl Strategy<Value = (usize, u64, usize, Option<usize>, usize, bool)> {
        (0..4_usize, 0..50_u64, 0..2_usize, proptest::option::of(0..4_usize), 0..4_usize, any::<bool>())
    }

    fn build(
        (which, _, definition, parent, phase, kept): (usize, u64, usize, Option<usize>, usize, bool),
        version: u64,
    ) -> SeenLaunch {
        let status =
            [json!({}), json!({"phase": "Running"}), finished_at("Succeeded", 3), finished_at("Failed", 4)];
        let mut launch = match parent {
            Some(parent) => child(&format!("l{which}"), version, &format!("l{parent}"), &status[phase]),
            None => launch(&format!("l{which}"), version, &format!("d{definition}"), &status[phase]),
        };
        if kept {
            launch.metadata.annotations =
                Some([(crate::names::annotation::KEEP.to_owned(), "true".to_owned())].into());
        }
        launch
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn indexes_follow(events in prop::collection::vec((some_launch(), 0..5_usize), 1..40)) {
            let mut seen = Seen::default();
            let mut last = BTreeMap::new();
            for (version, (change, what)) in (1..).zip(events) {
                let object = build(change, version);
                let of = object.name_any();
                if what == 0 {
                    last.remove(&of);
                    remove(&mut seen, object);
                } else if what == 1 {
                    last.insert(of, object);
                    list(&mut seen, last.values().cloned());
                } else {
                    last.insert(of, object.clone());
                    put(&mut seen, object);
                }
            }
            let mut fresh = Seen::default();
            list(&mut fresh, last.into_values());
            prop_assert_eq!(&seen.unfinished, &fresh.unfinished);
            prop_assert_eq!(&seen.children, &fresh.children);
            prop_assert_eq!(&seen.finished, &fresh.finished);
            let mut phases = seen.take_phase_changes();
            phases.retain(|_, n| *n != 0);
            prop_assert_eq!(phases, fresh.take_phase_changes());
        }
    }
}

fn active_of(seen: &mut Seen) -> Vec<(String, Counts)> {
    let changes = seen.take_active_changes();
    changes.into_iter().map(|(definition, counts)| (definition.name_any(), counts)).collect()
}

#[test]
fn launches_that_have_not_ended_are_known_by_phase_with_the_oldest() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let created = |of: &str, version, second, status: &Value| {
        let mut launch = launch(of, version, "d", status);
        let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(second));
        launch.metadata.creation_timestamp = Some(time);
        launch
    };
    let running = |second| json!({"phase": "Running", "startTime": at(second).to_string()});
    let mut seen = Seen::default();
    put(&mut seen, created("a", 1, 100, &json!({})));
    assert_eq!(active_of(&mut seen), [], "no series for a definition that is not there");
    put(&mut seen, definition("d", 2));
    assert_eq!(active_of(&mut seen), [("d".to_owned(), Counts::from([(Phase::Pending, (1, at(100)))]))]);
    assert_eq!(active_of(&mut seen), [], "told once");
    put(&mut seen, created("b", 3, 101, &running(120)));
    put(&mut seen, created("c", 4, 102, &running(110)));
    let counts = Counts::from([(Phase::Pending, (1, at(100))), (Phase::Running, (2, at(110)))]);
    assert_eq!(active_of(&mut seen), [("d".to_owned(), counts)]);
    put(&mut seen, created("c", 5, 102, &finished_at("Failed", 130)));
    put(&mut seen, created("a", 6, 100, &running(131)));
    let counts = Counts::from([(Phase::Running, (2, at(120)))]);
    assert_eq!(active_of(&mut seen), [("d".to_owned(), counts)]);
    SeenLaunch::take(&mut seen, Event::Delete(created("a", 7, 100, &running(131))));
    SeenLaunch::take(&mut seen, Event::Delete(created("b", 8, 101, &running(120))));
    assert_eq!(active_of(&mut seen), [("d".to_owned(), Counts::new())]);
    assert!(seen.active.is_empty(), "nothing is left of them");
    SeenDefinition::take(&mut seen, Event::Delete(definition("d", 9)));
    assert_eq!(active_of(&mut seen), []);
}

/// A definition of this age and task name that drops these metrics.
fn filtering(of: &str, version: u64, created: i64, task: &str, drop: &[&str]) -> SeenDefinition {
    let mut metadata = meta(of, version);
    metadata["creationTimestamp"] = json!(Timestamp::from_second(created).unwrap().to_string());
    let spec = json!({"image": "i", "taskName": task, "metrics": {"drop": drop}});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

#[test]
fn of_definitions_with_one_task_name_the_oldest_says_what_is_dropped() {
    let mut seen = Seen::default();
    let filters = |seen: &Seen| -> Vec<(String, Vec<String>)> {
        seen.filters(Some(NS)).into_iter().map(|f| (f.task, f.drop)).collect()
    };
    let one = |task: &str, drop: &str| (task.to_owned(), vec![drop.to_owned()]);
    let older = |name: &str| Some(("t".to_owned(), name.to_owned()));
    let definition_key = |of: &str| Key::Definition(name(of));
    put(&mut seen, filtering("b", 1, 5, "t", &["of_b"]));
    put(&mut seen, filtering("c", 2, 5, "other", &["of_c"]));
    assert_eq!(filters(&seen), [one("other", "of_c"), one("t", "of_b")]);
    // One that is older, another younger.
    let keys = put(&mut seen, filtering("z", 3, 4, "t", &["of_z"]));
    assert!(keys.contains(&definition_key("b")) && !keys.contains(&definition_key("c")), "{keys:?}");
    put(&mut seen, filtering("a", 4, 6, "t", &["of_z"]));
    assert_eq!(filters(&seen), [one("other", "of_c"), one("t", "of_z")]);
    assert_eq!((seen.outranked(&name("b")), seen.outranked(&name("c"))), (older("z"), None));
    assert_eq!((seen.outranked(&name("z")), seen.outranked(&name("a"))), (None, None), "they say the same");
    // The oldest says nothing, and then goes.
    put(&mut seen, filtering("z", 5, 4, "t", &[]));
    assert_eq!(filters(&seen), [one("other", "of_c")]);
    assert_eq!(seen.outranked(&name("a")), older("z"));
    let keys = remove(&mut seen, filtering("z", 5, 4, "t", &[]));
    assert!(keys.contains(&definition_key("a")) && keys.contains(&definition_key("b")), "{keys:?}");
    assert_eq!(filters(&seen), [one("other", "of_c"), one("t", "of_b")]);
    assert_eq!((seen.outranked(&name("b")), seen.outranked(&name("a"))), (None, older("b")));
    // Another name heals it.
    let keys = put(&mut seen, filtering("a", 6, 6, "mine", &["of_z"]));
    assert!(keys.contains(&definition_key("b")), "{keys:?}");
    assert_eq!(seen.outranked(&name("a")), None);
    // What changes nothing about metrics concerns nobody else.
    assert_eq!(
        put(&mut seen, filtering("b", 8, 5, "t", &["of_b"])),
        [definition_key("b"), Key::History(name("b"))]
    );
    assert_eq!(seen.filters(Some("elsewhere")), []);
}
