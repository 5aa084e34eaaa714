//! Watches: events into the cache, and what they concern into the queue.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::SYNC_POLL;
use super::queue::Queue;
use crate::api::seen::SeenDefinition;
use crate::cluster::cache::{Cache, Cached, Counts, Key, SeenPart};
use crate::cluster::stacks::resource;
use crate::monitoring::object::Kind;
use crate::names::label;
use crate::telemetry::metrics::{Active, Metrics};
use crate::telemetry::readiness::Readiness;

/// What a watch feeds.
#[derive(Clone)]
pub(super) struct Feed {
    pub(super) cache: Cache,
    pub(super) queue: Arc<Queue<Key>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Arc<Readiness>,
}

/// Objects of one page of a list. A page is decoded as a whole: with the usual 500 that was 20 MiB, which no allocator
/// gives back.
const PAGE: u32 = 100;

/// Watches one kind in one namespace, or in all, for ever.
pub(super) async fn watch<T>(client: Client, namespace: Option<String>, selector: Option<&str>, feed: Feed)
where
    T: Cached + Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    T: Clone + Debug + DeserializeOwned + Send + 'static,
{
    // Pods are watched twice: of launches and of stacks.
    let of = selector.map_or_else(String::new, |selector| format!(" with {selector}"));
    let kind = format!("{}{of}", T::kind(&()));
    let what = namespace.as_ref().map_or_else(|| kind.clone(), |ns| format!("{kind} in namespace {ns}"));
    feed.readiness.wait_for(&what, "first list");
    while T::AFTER_LAUNCHES && !feed.cache.lock().knows_launches() {
        tokio::time::sleep(SYNC_POLL).await;
    }
    let api: Api<T> = match &namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let config = watcher::Config {
        label_selector: selector.map(str::to_owned),
        page_size: Some(PAGE),
        ..watcher::Config::default()
    };
    // The watcher resumes by itself where a watch ends, fails, or is silent for five minutes.
    let mut events = watcher(api, config).default_backoff().boxed();
    let mut listed = false;
    while let Some(event) = events.next().await {
        listed |= matches!(event, Ok(Event::InitDone));
        take(event, &what, listed, &feed);
    }
}

/// `listed`: this kind has been listed once, so that a watch of it which fails is resumed without a list.
fn take<T: Cached>(event: Result<Event<T>, watcher::Error>, what: &str, listed: bool, feed: &Feed) {
    let event = match event {
        Ok(event) => event,
        Err(error) => {
            feed.metrics.watch_restarted(plural::<T>());
            let why = explain(&error, &T::plural(&()), &T::group(&()));
            tracing::warn!(watch = what, why, "a watch failed; it is begun again");
            if !listed {
                feed.readiness.wait_for(what, why);
            }
            return;
        }
    };
    let mut seen = feed.cache.lock();
    let keys = T::take(&mut seen, event);
    let changes = seen.take_phase_changes();
    // Under the lock: a definition that is seen to go after this is forgotten after this.
    for (definition, counts) in seen.take_active_changes() {
        tell_active(&feed.metrics, &definition, &counts);
    }
    drop(seen);
    for (phase, change) in changes {
        feed.metrics.in_phase(phase, change);
    }
    for key in keys {
        let pause = key.pause();
        feed.queue.add(key, pause);
    }
    if listed {
        feed.readiness.arrived(what);
    }
}

/// Watches what stacks are made of, of one kind.
pub(super) async fn watch_parts(client: Client, namespace: Option<String>, kind: Kind, feed: Feed) {
    let (group, _, name, plural) = kind.api();
    let what = namespace.as_ref().map_or_else(|| name.to_owned(), |ns| format!("{name} in namespace {ns}"));
    feed.readiness.wait_for(&what, "first list");
    let api: Api<DynamicObject> = match &namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource(kind)),
        None => Api::all_with(client, &resource(kind)),
    };
    let config = watcher::Config::default().labels(label::MONITORING).page_size(PAGE);
    let mut events = watcher(api, config).default_backoff().boxed();
    let mut listed = false;
    while let Some(event) = events.next().await {
        listed |= matches!(event, Ok(Event::InitDone));
        let event = event.map(|event| match event {
            Event::Init => Event::Init,
            Event::InitDone => Event::InitDone,
            Event::InitApply(object) => Event::InitApply(SeenPart::new(kind, object)),
            Event::Apply(object) => Event::Apply(SeenPart::new(kind, object)),
            Event::Delete(object) => Event::Delete(SeenPart::new(kind, object)),
        });
        match event {
            Ok(event) => {
                let keys = feed.cache.lock().stacks.take_part(kind, event);
                for key in keys {
                    feed.queue.add(key, Duration::ZERO);
                }
                if listed {
                    feed.readiness.arrived(&what);
                }
            }
            Err(error) => {
                feed.metrics.watch_restarted("parts");
                let why = explain(&error, plural, group);
                tracing::warn!(watch = what, why, "a watch failed; it is begun again");
                if !listed {
                    feed.readiness.wait_for(&what, why);
                }
            }
        }
    }
}

/// Which launches of a definition have not ended.
fn tell_active(metrics: &Metrics, definition: &SeenDefinition, counts: &Counts) {
    let (namespace, name) = (definition.namespace().unwrap_or_default(), definition.name_any());
    let task_name = definition.spec.as_result().ok().and_then(|spec| spec.task_name.clone());
    let active = counts.iter().map(|(phase, (launches, oldest))| {
        let oldest_seconds = Some(oldest.as_duration().as_secs_f64());
        (*phase, Active { launches: *launches, oldest_seconds })
    });
    metrics.defined(&namespace, &name, task_name.as_deref().unwrap_or(&name), &active.collect());
}

/// Why a watch failed, and what to do about it.
fn explain(error: &watcher::Error, plural: &str, group: &str) -> String {
    use watcher::Error::{InitialListFailed, WatchStartFailed};
    let status = match error {
        InitialListFailed(kube::Error::Api(status)) | WatchStartFailed(kube::Error::Api(status)) => {
            Some(status.clone())
        }
        _ => None,
    };
    let name = format!("{plural}.{group}");
    match status {
        Some(status) if status.is_not_found() => {
            format!(
                "the API server does not know {name}: apply the files in crds/, or install the chart with crds.install=true"
            )
        }
        Some(status) if status.is_forbidden() => {
            format!(
                "may not list and watch {name}: {} (the chart's rbac.create makes the roles)",
                status.message
            )
        }
        _ => error.to_string(),
    }
}

fn plural<T: Resource<DynamicType = ()>>() -> &'static str {
    match T::plural(&()).as_ref() {
        "tasklaunches" => "tasklaunches",
        "taskdefinitions" => "taskdefinitions",
        "jobs" => "jobs",
        "pods" => "pods",
        "taskmonitorings" => "taskmonitorings",
        _ => "other",
    }
}
