//! Watches, by hand and through kube's watcher.

use std::{collections::BTreeMap, pin::Pin, time::Duration};

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    ResourceExt,
    api::{Patch, PatchParams, WatchEvent, WatchParams},
    runtime::watcher::{self, Event, watcher},
};
use serde_json::json;

use super::super::{ApiServer, Rule, Verb, WatchFault};
use super::{config_map, maps};

#[tokio::test]
async fn a_watch_resumes_and_is_told_when_it_cannot() {
    let server = ApiServer::new();
    let before = server.with(|store| store.revision()).to_string();
    server.put(&config_map("a"));
    let api = maps(&server);
    let mut events = api.watch(&WatchParams::default(), &before).await.unwrap().boxed();
    assert!(matches!(events.try_next().await.unwrap(), Some(WatchEvent::Added(m)) if m.name_any() == "a"));
    server.compact();
    server.with(|store| store.remove("configmaps", "default", "a"));
    assert!(matches!(events.try_next().await.unwrap(), Some(WatchEvent::Deleted(_))));
    let mut late = api.watch(&WatchParams::default(), &before).await.unwrap().boxed();
    assert!(matches!(late.try_next().await.unwrap(), Some(WatchEvent::Error(status)) if status.code == 410));
    assert!(late.try_next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_labelled_watch_sees_objects_come_and_go() {
    let server = ApiServer::new();
    let (api, params) = (maps(&server), WatchParams::default().labels("on=1"));
    let mut events = api.watch(&params, "0").await.unwrap().boxed();
    server.put(&config_map("a"));
    for value in ["1", "0"] {
        let label = Patch::Merge(json!({"metadata": {"labels": {"on": value}}}));
        api.patch("a", &PatchParams::default(), &label).await.unwrap();
    }
    assert!(matches!(events.try_next().await.unwrap(), Some(WatchEvent::Added(_))));
    assert!(
        matches!(events.try_next().await.unwrap(), Some(WatchEvent::Deleted(m)) if m.labels()["on"] == "1")
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_watch_gets_bookmarks_and_ends_in_time() {
    let server = ApiServer::new();
    let started = tokio::time::Instant::now();
    let events = maps(&server).watch(&WatchParams::default().timeout(100), "0").await.unwrap();
    let events: Vec<_> = events.try_collect().await.unwrap();
    assert!(matches!(events.as_slice(), [WatchEvent::Bookmark(_), WatchEvent::Bookmark(_)]), "{events:?}");
    assert_eq!(started.elapsed(), Duration::from_secs(100));
}

/// What a watcher believes, by name.
#[derive(Default)]
struct Mirror {
    known: BTreeMap<String, ConfigMap>,
    relist: BTreeMap<String, ConfigMap>,
    relists: usize,
}

impl Mirror {
    fn take(&mut self, event: Event<ConfigMap>) {
        match event {
            Event::Apply(map) => drop(self.known.insert(map.name_any(), map)),
            Event::Delete(map) => drop(self.known.remove(&map.name_any())),
            Event::Init => self.relist.clear(),
            Event::InitApply(map) => drop(self.relist.insert(map.name_any(), map)),
            Event::InitDone => {
                self.known = std::mem::take(&mut self.relist);
                self.relists += 1;
            }
        }
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<Event<ConfigMap>, watcher::Error>> + Send>>;

fn watch(server: &ApiServer, config: watcher::Config) -> Events {
    watcher(maps(server), config).boxed()
}

/// Feeds the mirror until it equals the cluster. Errors are what the watcher retries.
async fn converge(server: &ApiServer, events: &mut Events, mirror: &mut Mirror) {
    let wait = async {
        loop {
            let cluster = server.all::<ConfigMap>().into_iter().map(|m| (m.name_any(), m)).collect();
            if mirror.relists > 0 && mirror.known == cluster {
                return;
            }
            if let Some(Ok(event)) = events.next().await {
                mirror.take(event);
            }
        }
    };
    let outcome = tokio::time::timeout(Duration::from_mins(20), wait).await;
    assert!(outcome.is_ok(), "the watcher stays behind; it asked\n{}", server.record());
}

/// Creates, changes and removes.
fn churn(server: &ApiServer, round: usize) {
    server.put(&config_map(&format!("new-{round}")));
    server.with(|store| {
        store.edit("configmaps", "default", "new-0", |map| {
            map["data"]["round"] = json!(round.to_string());
        });
        if round > 1 {
            store.remove("configmaps", "default", &format!("new-{}", round - 1));
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_watcher_survives_each_fault_of_its_stream() {
    for fault in [
        WatchFault::Cut { after: 1 },
        WatchFault::Reset { after: 1 },
        WatchFault::Gone { after: 1 },
        // Recovered by the client's own timeout.
        WatchFault::Freeze { after: 1 },
        WatchFault::Duplicate(2),
        WatchFault::Coalesce,
    ] {
        let server = ApiServer::new();
        let rule = server.inject(Rule::watch("configmaps", fault));
        let (mut events, mut mirror) = (watch(&server, watcher::Config::default()), Mirror::default());
        for round in 0..4 {
            churn(&server, round);
            converge(&server, &mut events, &mut mirror).await;
        }
        assert_eq!(server.fired(rule), 1, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_is_cut_behind_a_compaction_relists() {
    for streaming in [false, true] {
        let server = ApiServer::new();
        let config = watcher::Config::default();
        let config = if streaming { config.streaming_lists() } else { config.page_size(2) };
        (0..5).for_each(|n| drop(server.put(&config_map(&format!("old-{n}")))));
        let (mut events, mut mirror) = (watch(&server, config), Mirror::default());
        converge(&server, &mut events, &mut mirror).await;
        assert_eq!(server.record().count(Verb::List, "configmaps"), if streaming { 0 } else { 3 });

        // Cut alone: resumes where it was.
        server.watches("configmaps").afflict(WatchFault::Cut { after: 0 });
        churn(&server, 0);
        converge(&server, &mut events, &mut mirror).await;
        assert_eq!(mirror.relists, 1);

        // Cut, and what was missed is compacted: everything is read again.
        server.watches("configmaps").afflict(WatchFault::Cut { after: 0 });
        churn(&server, 1);
        churn(&server, 2);
        server.restore(server.snapshot());
        server.compact();
        converge(&server, &mut events, &mut mirror).await;
        assert_eq!(mirror.relists, 2);
    }
}

#[tokio::test]
async fn a_lagging_watch_sends_what_is_released() {
    let server = ApiServer::new();
    server.inject(Rule::watch("configmaps", WatchFault::Lag));
    let mut events = maps(&server).watch(&WatchParams::default(), "0").await.unwrap().boxed();
    churn(&server, 0);
    churn(&server, 1);
    let watches = server.watches("configmaps");
    let moment = Duration::from_millis(20);
    assert!(tokio::time::timeout(moment, events.next()).await.is_err());
    watches.release(1);
    assert!(
        matches!(events.try_next().await.unwrap(), Some(WatchEvent::Added(m)) if m.name_any() == "new-0")
    );
    assert!(tokio::time::timeout(moment, events.next()).await.is_err());
    watches.release(u64::MAX);
    assert!(matches!(events.try_next().await.unwrap(), Some(WatchEvent::Modified(_))));
    assert!(matches!(events.try_next().await.unwrap(), Some(WatchEvent::Added(_))));
}

#[tokio::test(start_paused = true)]
async fn a_frozen_watch_is_silent_until_thawed() {
    let server = ApiServer::new();
    let mut events = maps(&server).watch(&WatchParams::default().timeout(10), "0").await.unwrap().boxed();
    server.watches("configmaps").afflict(WatchFault::Freeze { after: 0 });
    churn(&server, 0);
    assert!(tokio::time::timeout(Duration::from_hours(1), events.next()).await.is_err());
    assert_eq!(server.watches("configmaps").by("operator").count(), 1);
    server.watches("configmaps").thaw();
    assert!(matches!(events.try_next().await.unwrap(), Some(WatchEvent::Added(_))));
    drop(events);
    assert_eq!(server.watches("").count(), 0);
}

#[tokio::test]
async fn events_can_be_swapped_lost_and_merged() {
    let names = |fault: WatchFault| async move {
        let server = ApiServer::new();
        server.inject(Rule::watch("configmaps", fault));
        let from = server.with(|store| store.revision()).to_string();
        let events = maps(&server).watch(&WatchParams::default(), &from).await.unwrap();
        for name in ["a", "b", "c"] {
            server.put(&config_map(name));
            server
                .with(|store| store.edit("configmaps", "default", "b", |map| map["data"]["x"] = json!(name)));
        }
        server.watches("").afflict(WatchFault::Cut { after: 3 });
        let events: Vec<_> = events.try_collect().await.unwrap();
        let name = |event: &WatchEvent<ConfigMap>| match event {
            WatchEvent::Added(map) => format!("+{}", map.name_any()),
            WatchEvent::Modified(map) => format!("~{}", map.name_any()),
            other => format!("{other:?}"),
        };
        events.iter().map(name).collect::<String>()
    };
    // Undisturbed: +a +b ~b +c ~b.
    assert_eq!(names(WatchFault::Reorder).await, "+b+a~b");
    assert_eq!(names(WatchFault::Drop(2)).await, "~b+c~b");
    assert_eq!(names(WatchFault::Duplicate(1)).await, "+a+a+b");
    assert_eq!(names(WatchFault::Coalesce).await, "+a+c+b");
}
