//! What is kept stays within its bytes, and what goes first.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;

use super::*;
use crate::proxy::store::{Clock, Push, Settings, Store};

fn with(disk: &SimDisk, settings: Settings) -> Arc<Store> {
    let clock: Clock = Arc::new(|| Timestamp::from_millisecond(NOW).unwrap());
    Store::open(Arc::new(disk.clone()), settings, clock).unwrap()
}

#[tokio::test]
async fn the_log_stays_within_its_bytes() {
    let disk = SimDisk::default();
    let clock: Clock = Arc::new(|| Timestamp::from_millisecond(NOW).unwrap());
    let settings = Settings { disk_max: 4000, segment_bytes: 500, ..Settings::default() };
    let store = Store::open(Arc::new(disk.clone()), settings, clock).unwrap();
    for i in 0..40 {
        store.finished(body(i, 100, &run(&i.to_string(), "a"))).await.unwrap();
    }
    let last = shown(&store).len();
    assert!((5..30).contains(&last), "{last}");
    assert_eq!(store.attempts("39").len(), 1);
    let on_disk = || disk.0.lock().unwrap().files.values().map(|f| f.durable.len()).sum::<usize>();
    // The last removal happens behind the last acknowledgement.
    for _ in 0..1000 {
        if on_disk() <= 5000 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(on_disk() <= 5000, "{}", on_disk());
}

#[tokio::test]
async fn a_file_that_nobody_waits_for_goes_before_an_older_one() {
    let settings = Settings { disk_max: 2500, segment_bytes: 1, ..Settings::default() };
    let store = with(&SimDisk::default(), settings);
    for i in 10..15 {
        store.finished(body(i, 100, &run(&i.to_string(), "a"))).await.unwrap();
    }
    let scraper = store.scraper("prometheus").unwrap();
    // Of the oldest file nobody had anything.
    for body in store.exposed().1.iter().skip(1) {
        body.add(scraper);
        body.add(scraper);
    }
    let mut more = 20..40;
    while !store.totals().evictions.contains_key(&Eviction::Bytes) {
        let i = more.next().expect("the log has an end");
        store.finished(body(i, 100, &run(&i.to_string(), "b"))).await.unwrap();
    }
    assert!(store.attempts("11").is_empty());
    assert_eq!(store.attempts("10").len(), 1, "it is still waited for");
}

#[tokio::test]
async fn labels_and_series_do_not_multiply_without_end() {
    let store = open(&SimDisk::default());
    let mut group = push("1", "", true).group;
    group.insert("x".to_owned(), "y".repeat(100_000));
    let text: Vec<_> = (0..1500).map(|i| format!("a{{i=\"{i}\"}} 1\n")).collect();
    let text = text.concat();
    let refused = store.pushed(Push { group: group.clone(), ..push("1", &text, true) }).await;
    assert!(matches!(&refused, Err(IntakeError::Full(why)) if why.contains("labels")), "{refused:?}");
    store.pushed(Push { group, ..push("1", "a 1\n", true) }).await.unwrap();
}

#[tokio::test]
async fn names_without_end_are_refused_and_told() {
    let store = with(&SimDisk::default(), Settings::default());
    let text = (0..20_001).map(|i| format!("a{i} 1\n")).collect::<Vec<_>>().concat();
    let refused = store.pushed(push("1", &text, true)).await;
    assert!(
        matches!(&refused, Err(IntakeError::Full(why)) if why.contains("20001 metric names")),
        "{refused:?}"
    );
    store.connected(origin(1, Door::Tcp));
    store.live_body(body(1, 10, &text));
    assert_eq!((shown(&store).len(), store.counts.refused.load(Ordering::Relaxed)), (0, 1));
    // What they were called is forgotten as well.
    store.sweep();
    assert_eq!(store.totals().memory, 0);
}

#[tokio::test]
async fn living_applications_do_not_push_final_bodies_out() {
    let clock: Clock = Arc::new(|| Timestamp::from_millisecond(NOW).unwrap());
    let settings = Settings { memory_max: 20_000, ..Settings::default() };
    let store = Store::open(Arc::new(SimDisk::default()), settings, clock).unwrap();
    store.finished(body(1, 100, &run("1", "a"))).await.unwrap();
    for id in 2..40 {
        store.connected(origin(id, Door::Tcp));
        store.live_body(body(id, 10, &run(&id.to_string(), "b")));
    }
    assert!(shown(&store).contains(&"a".to_owned()));
    let totals = store.totals();
    assert!(totals.live > 1 && totals.memory <= 20_000, "{totals:?}");
    assert!(store.counts.no_room.load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn names_that_only_one_body_has_count_as_long_as_it_is_kept() {
    let limit = 1 << 20;
    let store = with(&SimDisk::default(), Settings { memory_max: limit, ..Settings::default() });
    for i in 0..40 {
        let names: Vec<String> = (0..1000).map(|n| format!("only_{i}_has_this_{n}")).collect();
        store.finished(body(i, 100, &run(&i.to_string(), &names.join(" ")))).await.unwrap();
        // A second time it is the same: nothing is new, and all of it is still there.
        store.finished(body(i, 90, &run(&i.to_string(), &names.join(" ")))).await.unwrap();
        let memory = store.totals().memory;
        assert!(memory <= limit && memory > 1000 * 20, "{memory} after {i}");
    }
    assert_eq!(store.attempts("39").len(), 1);
    assert_eq!(store.attempts("0").len(), 0);
}

#[tokio::test]
async fn lines_that_are_not_utf_8_are_dropped_alone_and_after_a_restart_as_well() {
    let disk = SimDisk::default();
    let store = open(&disk);
    let text = b"a 1\nb{x=\"\xff\"} 2\nc 3\n".to_vec();
    store.pushed(Push { text, ..push("1", "", true) }).await.unwrap();
    assert_eq!(store.counts.invalid.load(Ordering::Relaxed), 1);
    assert_eq!(shown(&store), ["a", "c"]);
    assert_eq!(shown(&open(&disk.after_crash(|_| Vec::new()))), ["a", "c"]);
}

#[tokio::test]
async fn where_no_scraper_is_known_nobody_is_waited_for() {
    let store = open(&SimDisk::default());
    store.finished(body(1, 100, &run("1", "a"))).await.unwrap();
    assert!(store.drained());
    store.scraper("prometheus");
    assert!(!store.drained());
    for body in store.exposed().1 {
        body.add(1);
        body.add(1);
    }
    assert!(store.drained());
}

#[tokio::test]
async fn posts_of_which_nothing_is_kept_are_taken() {
    let filter = Filter::new(&[], &["a.*".to_owned()]).unwrap();
    let store = with(&SimDisk::default(), Settings { filter, ..Settings::default() });
    for _ in 0..2 {
        assert_eq!(store.pushed(push("1", "a 1\n", false)).await, Ok(Pushed::Stored));
    }
    assert_eq!((store.attempts("1").len(), store.counts.dropped.load(Ordering::Relaxed)), (1, 2));
}
