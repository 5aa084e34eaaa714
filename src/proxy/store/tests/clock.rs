//! The store while the clock is set forwards and back: what was acknowledged last is the truth.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use proptest::prelude::*;

use super::{NOW, SimDisk, origin, push, run, shown};
use crate::proxy::intake::Pushed;
use crate::proxy::intake::{Body, Door, Intake};
use crate::proxy::store::{Clock, Push, Settings, Store};

/// A store and the time of its day.
struct Timed {
    disk: SimDisk,
    store: Arc<Store>,
    now_ms: Arc<AtomicI64>,
}

fn opened(disk: &SimDisk, now_ms: &Arc<AtomicI64>) -> Arc<Store> {
    let now = now_ms.clone();
    let clock: Clock = Arc::new(move || Timestamp::from_millisecond(now.load(Ordering::Relaxed)).unwrap());
    Store::open(Arc::new(disk.clone()), Settings::default(), clock).unwrap()
}

impl Timed {
    fn new() -> Self {
        let (disk, now_ms) = (SimDisk::default(), Arc::new(AtomicI64::new(NOW)));
        Self { store: opened(&disk, &now_ms), disk, now_ms }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now_ms.load(Ordering::Relaxed)).unwrap()
    }

    fn set(&self, ms: i64) {
        self.now_ms.store(NOW + ms, Ordering::Relaxed);
    }

    fn body(&self, id: u64, series: &str) -> Body {
        Body { origin: origin(id, Door::Tcp), taken_at: self.now(), text: run("1", series) }
    }

    fn request(&self, series: &str, replace: bool) -> Push {
        Push { at: self.now(), ..push("1", &run("1", series), replace) }
    }

    /// The same disk after the power failed.
    fn restarted(&self) -> Arc<Store> {
        opened(&self.disk.after_crash(|_| Vec::new()), &self.now_ms)
    }

    async fn close(&self, id: u64) {
        self.store.closed(origin(id, Door::Tcp), self.now()).await;
    }
}

#[tokio::test]
async fn a_request_that_comes_after_the_clock_was_set_back_is_kept() {
    let timed = Timed::new();
    timed.set(5000);
    timed.store.pushed(timed.request("a", false)).await.unwrap();
    timed.set(2000);
    timed.store.pushed(timed.request("b", true)).await.unwrap();
    assert_eq!(
        (shown(&timed.store), shown(&timed.restarted())),
        (vec!["b".to_owned()], vec!["b".to_owned()])
    );
}

#[tokio::test]
async fn a_request_that_was_overtaken_is_kept() {
    let timed = Timed::new();
    timed.set(1000);
    let early = timed.request("a", false);
    timed.set(1001);
    timed.store.pushed(timed.request("b", false)).await.unwrap();
    timed.store.pushed(early).await.unwrap();
    assert_eq!(shown(&timed.store), ["a", "b"]);
    assert_eq!(shown(&timed.restarted()), ["a", "b"]);
}

#[tokio::test]
async fn a_final_push_replaces_the_live_body_of_its_connection() {
    let timed = Timed::new();
    timed.store.connected(origin(1, Door::Tcp));
    timed.set(5000);
    timed.store.live_body(timed.body(1, "a"));
    timed.set(1000);
    timed.store.finished(timed.body(1, "b")).await.unwrap();
    assert_eq!(shown(&timed.store), ["b"]);
    timed.close(1).await;
    assert_eq!(shown(&timed.store), ["b"]);
    assert_eq!(shown(&timed.restarted()), ["b"]);
}

#[tokio::test]
async fn living_applications_are_heard_after_the_clock_jumped_and_came_back() {
    let timed = Timed::new();
    timed.store.connected(origin(1, Door::Tcp));
    timed.set(3_600_000);
    timed.store.live_body(timed.body(1, "a"));
    timed.set(0);
    timed.store.live_body(timed.body(1, "b"));
    assert_eq!(shown(&timed.store), ["b"]);
    // Also through another connection, which nobody closed.
    timed.store.connected(origin(2, Door::Tcp));
    timed.store.live_body(timed.body(2, "c"));
    assert_eq!(shown(&timed.store), ["c"]);
}

#[tokio::test]
async fn an_answer_that_a_push_overtook_is_not_newer() {
    let timed = Timed::new();
    timed.store.connected(origin(1, Door::Tcp));
    let answer = timed.body(1, "a");
    timed.set(1);
    timed.store.finished(timed.body(1, "b")).await.unwrap();
    timed.store.live_body(answer);
    assert_eq!(shown(&timed.store), ["b"]);
    timed.close(1).await;
    assert_eq!(shown(&timed.store), ["b"]);
}

/// What happens, one after the other.
#[derive(Clone, Copy, Debug)]
enum Event {
    Post,
    Put,
    Live,
    Final,
    /// The connection breaks, and the application comes back through another one.
    Break,
    /// The power fails.
    Crash,
}

fn any_event() -> impl Strategy<Value = Event> {
    use Event::{Break, Crash, Final, Live, Post, Put};
    prop_oneof![Just(Post), Just(Put), Just(Live), Just(Final), Just(Break), Just(Crash)]
}

/// What must be shown, by the order of arrival alone.
#[derive(Default)]
struct Truth {
    live: Option<BTreeSet<String>>,
    last: Option<BTreeSet<String>>,
    /// Whether the final one is of the push door: another one is not added to.
    pushed: bool,
    /// Whether the live body came after the final one.
    lives: bool,
}

impl Truth {
    fn happens(&mut self, event: Event, name: &str) {
        let one = BTreeSet::from([name.to_owned()]);
        let broke = self.lives;
        match event {
            Event::Post => {
                let before = self.last.take().filter(|_| self.pushed);
                self.finish(before.into_iter().flatten().chain(one).collect());
            }
            Event::Put | Event::Final => self.finish(one),
            Event::Live => (self.live, self.lives) = (Some(one), true),
            Event::Break => {
                if let Some(live) = self.live.take().filter(|_| self.lives) {
                    self.finish(live);
                }
            }
            Event::Crash => (self.live, self.lives) = (None, false),
        }
        self.pushed = match event {
            Event::Post | Event::Put => true,
            Event::Final => false,
            Event::Break => self.pushed && !broke,
            Event::Live | Event::Crash => self.pushed,
        };
    }

    fn finish(&mut self, last: BTreeSet<String>) {
        (self.last, self.lives) = (Some(last), false);
    }

    fn shown(&self) -> Vec<String> {
        let shown = if self.lives { &self.live } else { &self.last };
        shown.iter().flatten().cloned().collect()
    }
}

impl Timed {
    async fn happens(&mut self, event: Event, name: &str, connection: &mut u64) {
        let stored = Ok(Pushed::Stored);
        match event {
            Event::Post => assert_eq!(self.store.pushed(self.request(name, false)).await, stored),
            Event::Put => assert_eq!(self.store.pushed(self.request(name, true)).await, stored),
            Event::Live => self.store.live_body(self.body(*connection, name)),
            Event::Final => {
                assert_eq!(self.store.finished(self.body(*connection, name)).await, stored);
            }
            Event::Break | Event::Crash => {
                if matches!(event, Event::Break) {
                    self.close(*connection).await;
                } else {
                    self.disk = self.disk.after_crash(|_| Vec::new());
                    self.store = opened(&self.disk, &self.now_ms);
                }
                *connection += 1;
                self.store.connected(origin(*connection, Door::Tcp));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_came_last_is_the_truth_whatever_the_clock_says(
        events in prop::collection::vec((any_event(), -5_i64..=5), 1..25),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut timed, mut truth, mut connection, mut seconds) = (Timed::new(), Truth::default(), 0, 0);
            timed.store.connected(origin(connection, Door::Tcp));
            for (i, (event, step)) in events.into_iter().enumerate() {
                seconds += step;
                // No two events in the same millisecond: then the order is not told.
                timed.set(seconds * 1000 + i64::try_from(i).unwrap());
                let name = format!("a{i:02}");
                timed.happens(event, &name, &mut connection).await;
                truth.happens(event, &name);
                assert_eq!(shown(&timed.store), truth.shown(), "after event {i}, {event:?}");
            }
            assert_eq!(shown(&timed.restarted()), truth.last.into_iter().flatten().collect::<Vec<_>>());
        });
    }

    #[test]
    fn requests_at_the_same_time_are_all_kept(
        times in prop::collection::vec(-5000_i64..5000, 1..12), now in -5000_i64..5000,
    ) {
        let timed = Timed::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let requests = times.iter().enumerate().map(|(i, time)| {
                timed.set(*time);
                let request = timed.request(&format!("a{i:02}"), false);
                timed.store.pushed(request)
            });
            let requests: Vec<_> = requests.collect();
            timed.set(now);
            let answers = futures::future::join_all(requests).await;
            assert!(answers.iter().all(|answer| *answer == Ok(Pushed::Stored)));
        });
        prop_assert_eq!(shown(&timed.store).len(), times.len());
        prop_assert_eq!(shown(&timed.restarted()).len(), times.len());
    }
}
