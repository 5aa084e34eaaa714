use super::*;
use crate::proxy::exposition::{Interner, build};

const RETENTION: Retention = Retention { least_ms: 300, most_ms: 3000, deliveries: 2 };

fn key(execution: &str) -> Key {
    let (execution, external) = (execution.to_owned(), "p".to_owned());
    Key::Run(Identity { execution, external, task: String::new() }, Labels::new())
}

fn taken(text: &str, at_ms: i64, connection: u64) -> Taken {
    let body = build(text.as_bytes(), &Labels::new(), &Interner::default()).body;
    let source = Source { door: Door::Tcp, peer: "p".to_owned(), connection, since_ms: 0 };
    Taken { body: Arc::new(body), at_ms, source }
}

fn last(text: &str, at_ms: i64, segment: Segment) -> Final {
    let taken = taken(text, at_ms, 1);
    Final { taken, snapshot: false, group: None, segment: Some(segment), deliveries: Arc::default() }
}

fn shown(runs: &Runs) -> Vec<(i64, usize)> {
    let mut all: Vec<_> = runs.exposed().0.iter().map(|e| (e.taken_ms.unwrap(), e.body.series())).collect();
    all.sort_unstable();
    all
}

#[test]
fn the_newest_body_that_is_not_empty_is_the_truth() {
    let mut runs = Runs::default();
    assert!(runs.live(&key("1"), taken("a 1\nb 1\n", 10, 1)));
    assert!(!runs.live(&key("1"), taken("a 1\n", 9, 2)));
    assert!(!runs.live(&key("1"), taken("", 11, 1)));
    assert_eq!(shown(&runs), [(10, 2)]);
    assert!(runs.finish(&key("1"), last("a 1\n", 12, 0)));
    assert_eq!(shown(&runs), [(12, 1)]);
    assert!(!runs.finish(&key("1"), last("", 13, 0)));
    assert!(!runs.finish(&key("1"), last("a 1\nb 1\n", 11, 0)));
    assert!(!runs.finish(&key("1"), Final { snapshot: true, ..last("a 1\nb 1\n", 12, 0) }));
    assert_eq!(shown(&runs), [(12, 1)]);
    // The application comes again through another connection.
    assert!(runs.live(&key("1"), taken("a 1\nb 1\nc 1\n", 20, 3)));
    assert_eq!(shown(&runs), [(20, 3)]);
    let third = runs.live_of(&key("1"), &taken("", 0, 3).source);
    runs.drop_live(&key("1"), &third.unwrap().source);
    assert_eq!(shown(&runs), [(12, 1)]);
}

#[test]
fn what_comes_after_the_clock_was_set_back_is_newer() {
    let mut runs = Runs::default();
    assert_eq!(runs.time_of_request(&key("1"), 50, 50), 50);
    runs.finish(&key("1"), last("a 1\n", 100, 0));
    assert_eq!(runs.time_of(&key("1"), 50, 60), 101);
    // Nothing tells that the clock was set: it is older, or is from before that as well.
    assert_eq!(runs.time_of(&key("1"), 50, 100), 50);
    assert_eq!(runs.time_of(&key("1"), 70, 60), 70);
    // A request's turn comes after the one that it was overtaken by.
    assert_eq!(runs.time_of_request(&key("1"), 50, 100), 101);
    assert_eq!(runs.time_of_request(&key("1"), 150, 150), 150);
    runs.live(&key("1"), taken("a 1\n", 200, 1));
    assert_eq!(runs.time_of_request(&key("1"), 50, 60), 201);
    assert_eq!(runs.time_of(&key("2"), 50, 60), 50);
}

#[test]
fn finals_stay_until_everybody_had_them_twice() {
    let mut runs = Runs::default();
    runs.finish(&key("1"), last("a 1\n", 1000, 7));
    let sweep = |runs: &mut Runs, now, scrapers: &[ScraperId]| runs.sweep(now, 0, scrapers, RETENTION);
    let (_, deliveries) = runs.exposed();
    sweep(&mut runs, 2000, &[]);
    deliveries[0].add(1);
    deliveries[0].add(1);
    sweep(&mut runs, 1299, &[1]);
    sweep(&mut runs, 2000, &[1, 2]);
    deliveries[0].add(2);
    sweep(&mut runs, 2000, &[1, 2]);
    assert!(runs.needs(7));
    runs.sweep(2000, 1900, &[1], RETENTION);
    assert!(runs.needs(7), "counted from the start of this process");
    sweep(&mut runs, 2000, &[1]);
    assert!(!runs.needs(7));
    assert_eq!((shown(&runs), runs.bytes()), (vec![], 0));
    runs.finish(&key("1"), last("a 1\n", 1000, 7));
    sweep(&mut runs, 4000, &[1]);
    assert_eq!(runs.evictions()[&Eviction::Expired], 1);
    assert_eq!(runs.evictions()[&Eviction::Delivered], 1);
}

#[test]
fn room_is_made_by_what_was_delivered_then_by_the_oldest() {
    let mut runs = Runs::default();
    for (i, at) in [(1, 10), (2, 20), (3, 30)] {
        runs.finish(&key(&i.to_string()), last("a 1\n", at, 0));
    }
    let delivered = runs.last(&key("3")).unwrap().deliveries.clone();
    delivered.add(1);
    delivered.add(1);
    runs.shrink(usize::MAX, &[1], RETENTION, false);
    assert_eq!(shown(&runs), [(10, 1), (20, 1)], "for a live body goes only what everybody had");
    runs.shrink(1, &[1], RETENTION, true);
    assert_eq!(shown(&runs), [(20, 1)]);
    assert_eq!(runs.evictions()[&Eviction::Bytes], 2);
}

#[test]
fn a_body_that_no_prometheus_would_take_is_not_shown() {
    let mut runs = Runs::default();
    runs.live(&key("1"), taken("a 1\n", 1000, 1));
    runs.sweep(3999, 0, &[], RETENTION);
    assert_eq!(shown(&runs), [(1000, 1)]);
    runs.sweep(4000, 0, &[], RETENTION);
    assert_eq!((shown(&runs), runs.bytes()), (vec![], 0));
    assert_eq!(runs.evicted_for(Eviction::Expired), 1);
}

#[test]
fn what_an_application_said_before_it_came_back_is_not_missed() {
    let mut runs = Runs::default();
    runs.finish(&key("1"), last("a 1\n", 1000, 0));
    runs.live(&key("1"), taken("a 2\n", 3900, 2));
    runs.sweep(4000, 0, &[1], RETENTION);
    assert_eq!(shown(&runs), [(3900, 1)]);
    assert_eq!((runs.evicted_for(Eviction::Replaced), runs.evicted_for(Eviction::Expired)), (1, 0));
}

#[test]
fn of_each_run_only_the_last_change_is_told() {
    let mut runs = Runs::default();
    let told = |runs: &Runs, after| {
        runs.changes_after(after).map(|(n, identity)| (n, identity.execution.clone())).collect::<Vec<_>>()
    };
    runs.live(&key("1"), taken("a 1\n", 10, 1));
    runs.live(&key("2"), taken("a 1\n", 10, 2));
    runs.live(&key("1"), taken("a 2\n", 20, 1));
    runs.live(&Key::Connection(1, 3), taken("a 1\n", 10, 3));
    assert_eq!(told(&runs, 0), [(1, "1".to_owned()), (2, "2".to_owned())], "a pull alone is no news");
    runs.live(&key("1"), taken("a 2\nb 1\n", 30, 1));
    assert_eq!(told(&runs, 0), [(2, "2".to_owned()), (3, "1".to_owned())]);
    runs.finish(&key("2"), last("a 1\n", 40, 0));
    runs.end(&key("2"));
    assert_eq!((told(&runs, 3), runs.sequence()), (vec![(5, "2".to_owned())], 5));
    // What is gone is not told.
    let source = taken("", 0, 1).source;
    runs.drop_live(&key("1"), &source);
    assert_eq!(told(&runs, 0), [(5, "2".to_owned())]);
    runs.sweep(5000, 0, &[], RETENTION);
    assert_eq!((runs.changes.len(), runs.changed.len(), runs.by_key.len()), (0, 0, 0));
}
