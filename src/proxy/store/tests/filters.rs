//! Patterns of single tasks, applied to bodies as they come in.

use std::sync::atomic::Ordering;

use super::*;
use crate::proxy::exposition::{Filter, TaskFilters};

const FILTERS: &str =
    r#"[{"namespace": "n", "task": "t", "keep": ["rows.*", "jvm_.*"], "drop": ["jvm_gc"]}]"#;

fn filters(text: &str) -> TaskFilters {
    TaskFilters::parse(text.as_bytes()).unwrap().0
}

fn with(disk: &SimDisk, drop: &[&str], text: &str) -> Arc<Store> {
    let drop: Vec<_> = drop.iter().map(|&pattern| pattern.to_owned()).collect();
    let filter = Filter::new(&[], &drop).unwrap();
    let settings = Settings { filter, task_filters: Arc::new(filters(text)), ..Settings::default() };
    let clock: Clock = Arc::new(|| Timestamp::from_millisecond(NOW).unwrap());
    Store::open(Arc::new(disk.clone()), settings, clock).unwrap()
}

/// A body of a run of this task.
fn of(namespace: &str, task: &str, names: &[&str]) -> String {
    let run = "task_execution_id=\"1\",task_external_execution_id=\"p\"";
    let series =
        |name: &&str| format!("{name}{{{run},task_namespace=\"{namespace}\",task_name=\"{task}\"}} 1\n");
    names.iter().map(series).collect()
}

const ALL: [&str; 4] = ["jvm_gc", "jvm_threads", "other", "rows_read"];

fn dropped(store: &Store) -> u64 {
    store.counts.dropped.load(Ordering::Relaxed)
}

#[tokio::test]
async fn a_tasks_patterns_count_for_it_alone_and_on_top_of_those_for_all() {
    for (namespace, task, drop, expected) in [
        ("n", "t", &[][..], &["jvm_threads", "rows_read"][..]),
        ("n", "t", &["rows.*"], &["jvm_threads"]),
        ("n", "u", &[], &ALL),
        ("m", "t", &[], &ALL),
        ("m", "t", &["rows.*"], &["jvm_gc", "jvm_threads", "other"]),
    ] {
        let store = with(&SimDisk::default(), drop, FILTERS);
        let text = of(namespace, task, &ALL);
        assert_eq!(store.finished(body(1, 0, &text)).await, Ok(Pushed::Stored));
        assert_eq!(shown(&store), expected, "{namespace}/{task} {drop:?}");
        assert_eq!(dropped(&store), (ALL.len() - expected.len()) as u64);
        assert_eq!(store.attempts("1")[0].series, expected.len());
        // And of the living.
        store.connected(origin(2, Door::Tcp));
        store.live_body(body(2, -1, &text));
        assert_eq!(shown(&store), expected);
    }
}

#[tokio::test]
async fn the_group_of_a_push_names_its_task() {
    let store = with(&SimDisk::default(), &[], FILTERS);
    let mut request = push("1", "jvm_gc 1\nrows_read 1\n", true);
    for (name, value) in [("task_namespace", "n"), ("task_name", "t")] {
        request.group.insert(name.to_owned(), value.to_owned());
    }
    store.pushed(request.clone()).await.unwrap();
    assert_eq!((shown(&store), dropped(&store)), (vec!["rows_read".to_owned()], 1));
    // What is added is filtered, and what was there is not counted again.
    request.text = b"other 1\nrows_written 1\n".to_vec();
    request.replace = false;
    store.pushed(request).await.unwrap();
    assert_eq!((shown(&store).len(), dropped(&store)), (2, 2));
}

#[tokio::test]
async fn new_patterns_count_for_bodies_from_then_on_and_after_a_restart_for_all() {
    let disk = SimDisk::default();
    let store = with(&disk, &[], "[]");
    let text = of("n", "t", &ALL);
    store.finished(body(1, 100, &text)).await.unwrap();
    store.filter_tasks(filters(FILTERS));
    assert_eq!(shown(&store), ALL);
    store.finished(body(1, 50, &text)).await.unwrap();
    assert_eq!(shown(&store), ["jvm_threads", "rows_read"]);
    store.filter_tasks(filters("[]"));
    store.finished(body(1, 0, &text)).await.unwrap();
    assert_eq!(shown(&store), ALL);
    drop(store);
    assert_eq!(shown(&with(&disk, &[], FILTERS)), ["jvm_threads", "rows_read"]);
}

#[tokio::test]
async fn a_body_without_identity_is_no_tasks() {
    let store = with(&SimDisk::default(), &[], FILTERS);
    let text = "other{task_namespace=\"n\",task_name=\"t\"} 1\n";
    store.finished(body(1, 0, text)).await.unwrap();
    assert_eq!(shown(&store), ["other"]);
}
