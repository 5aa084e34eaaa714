//! The push groups of a run, beside each other and beside the other doors.

use super::{Door, Intake, NOW, SimDisk, Timestamp, body, exposition, open, origin, push, run, shown};
use crate::proxy::exposition::Labels;
use crate::proxy::exposition::identity::group_labels;
use crate::proxy::store::{Push, Store};

/// A request to a group of execution 1 with these labels more.
fn to_group(more: &[(&str, &str)], text: &str, replace: bool) -> Push {
    let mut push = push("1", text, replace);
    push.group.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    push
}

/// The line of a series.
fn line(store: &Store, series: &str) -> String {
    let text = exposition(store);
    text.lines().find(|line| line.starts_with(series)).unwrap_or_default().to_owned()
}

fn group(pairs: &[(&str, &str)]) -> Labels {
    let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    group_labels(&pairs)
}

#[tokio::test]
async fn groups_of_one_run_stay_beside_each_other() {
    let disk = SimDisk::default();
    let store = open(&disk);
    store.pushed(to_group(&[("step", "load")], "a 1\nb 1\n", false)).await.unwrap();
    store.pushed(to_group(&[("step", "sum")], "c 1\n", false)).await.unwrap();
    store.pushed(to_group(&[("step", "sum")], "d 1\n", true)).await.unwrap();
    store.pushed(to_group(&[("step", "load")], "e 1\n", false)).await.unwrap();
    for store in [&store, &open(&disk.after_crash(|_| Vec::new()))] {
        assert_eq!(shown(store), ["a", "b", "d", "e"]);
        for series in ["a{", "b{", "e{"] {
            assert!(line(store, series).contains("step=\"load\""), "{}", exposition(store));
        }
        assert!(line(store, "d{").contains("step=\"sum\""), "{}", exposition(store));
    }
    // Who deletes one of them says nothing about the other.
    store.end(to_group(&[("step", "sum")], "", true).group);
    store.pushed(to_group(&[("step", "load")], "f 1\n", false)).await.unwrap();
    store.pushed(to_group(&[("step", "sum")], "g 1\n", false)).await.unwrap();
    assert_eq!(shown(&store), ["a", "b", "e", "f", "g"]);
}

#[tokio::test]
async fn jobs_of_one_task_are_groups_of_their_own() {
    let disk = SimDisk::default();
    let store = open(&disk);
    let loader = group(&[("job", "loader"), ("task_name", "n")]);
    let cleaner = group(&[("job", "cleaner"), ("task_name", "n")]);
    store.pushed(Push { group: loader, ..push("1", "a 1\n", true) }).await.unwrap();
    store.pushed(Push { group: cleaner, ..push("1", "b 1\n", true) }).await.unwrap();
    for store in [&store, &open(&disk.after_crash(|_| Vec::new()))] {
        assert_eq!(shown(store), ["a", "b"]);
        assert!(!exposition(store).contains("job="), "{}", exposition(store));
    }
}

#[tokio::test]
async fn the_plain_group_and_the_other_doors_are_one_truth_beside_the_groups() {
    let store = open(&SimDisk::default());
    store.connected(origin(1, Door::Tcp));
    store.live_body(body(1, 500, &run("1", "a b")));
    store.pushed(to_group(&[("step", "load")], "c 1\n", false)).await.unwrap();
    assert_eq!(shown(&store), ["a", "b", "c"]);
    store.pushed(push("1", "a 2\n", true)).await.unwrap();
    assert_eq!(shown(&store), ["a", "c"]);
    store.closed(origin(1, Door::Tcp), Timestamp::UNIX_EPOCH).await;
    assert_eq!(shown(&store), ["a", "c"]);
}

#[tokio::test]
async fn a_post_adds_to_its_own_group_alone() {
    let store = open(&SimDisk::default());
    store.finished(body(1, 500, &run("1", "a"))).await.unwrap();
    // The newest body of the run is the truth; the one of RSocket does not get the labels of a group.
    store.pushed(push("1", "b 1\n", false)).await.unwrap();
    assert_eq!(shown(&store), ["b"]);
    let other = to_group(&[("job", "other")], "c 1\n", false);
    store.pushed(other).await.unwrap();
    assert_eq!(shown(&store), ["c"]);
    store.pushed(to_group(&[("job", "other")], "d 1\n", false)).await.unwrap();
    assert_eq!(shown(&store), ["c", "d"]);
}

#[tokio::test]
async fn a_series_of_two_groups_is_shown_once() {
    let store = open(&SimDisk::default());
    store.pushed(push("1", "a{step=\"load\"} 1\nb 1\n", true)).await.unwrap();
    let later = Timestamp::from_millisecond(NOW + 5).unwrap();
    store.pushed(Push { at: later, ..to_group(&[("step", "load")], "a 2\n", true) }).await.unwrap();
    assert_eq!(shown(&store), ["a", "b"]);
    assert!(line(&store, "a{").contains("} 2"), "{}", exposition(&store));
}

#[tokio::test]
async fn the_groups_of_a_run_are_told_together() {
    let store = open(&SimDisk::default());
    store.pushed(to_group(&[("step", "load")], "a 1\nb 1\n", false)).await.unwrap();
    store.pushed(to_group(&[("step", "sum")], "c 1\n", false)).await.unwrap();
    let attempts = store.attempts("1");
    assert_eq!((attempts.len(), attempts[0].series, attempts[0].deleted), (1, 3, false));
    assert_eq!((attempts[0].connected, attempts[0].snapshot_only), (false, false));
    let facts = store.facts_after(0, 10);
    assert_eq!((facts.len(), &facts[0].1.attempt), (1, &attempts[0]));
    // Over is a run whose groups are all over.
    store.end(to_group(&[("step", "load")], "", true).group);
    assert!(!store.attempts("1")[0].deleted);
    store.end(to_group(&[("step", "sum")], "", true).group);
    assert!(store.attempts("1")[0].deleted);
    // A connection that ends is news, also if nothing of it stays.
    store.connected(origin(1, Door::Tcp));
    store.live_body(body(1, 10, &run("1", "d")));
    assert_eq!((store.attempts("1")[0].connected, store.attempts("1")[0].series), (true, 4));
    let (before, _) = store.facts_after(0, 10).pop().unwrap();
    // It turns out to be another run's.
    store.live_body(body(1, 5, &run("3", "d")));
    let last = store.attempts("1");
    assert_eq!((last[0].connected, last[0].series), (false, 3));
    assert!(store.facts_after(before, 10).iter().any(|(_, fact)| fact.execution_id == "1"));
}
