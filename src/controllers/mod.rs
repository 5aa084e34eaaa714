//! Wiring: watches feed the queue, workers take from it. No decisions.

mod launches;
pub mod queue;
mod report;
mod stacks;
mod watches;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use kube::Client;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::api::seen::{SeenDefinition, SeenJob, SeenLaunch, SeenMonitoring, SeenPod, SeenStackPod};
use crate::cluster::cache::{Cache, Key, Name};
use crate::cluster::error::{Class, Error};
use crate::cluster::events::Events;
use crate::cluster::execution_ids::ExecutionIds;
use crate::cluster::stacks::Monitoring;
use crate::cluster::{Clock, Cluster, Memories};
use crate::facts::Facts;
use crate::facts::reach::Reach;
use crate::monitoring::Installation;
use crate::monitoring::object::Kind;
use crate::names::label;
use crate::telemetry::metrics::{Controller, Metrics, Outcome};
use crate::telemetry::readiness::Readiness;
use queue::Queue;
use watches::{Feed, watch, watch_parts};

/// How the operator runs.
#[derive(Clone)]
pub struct Settings {
    /// Namespaces to work in; none means all.
    pub namespaces: Vec<String>,
    /// Namespace of the record of execution ids.
    pub operator_namespace: String,
    /// This process's name in events.
    pub instance: Option<String>,
    /// Objects worked on at the same time.
    pub concurrency: usize,
    /// Tells the time.
    pub clock: Clock,
    /// Looks after stacks, with these settings; `None`: not at all.
    pub monitoring: Option<Installation>,
}

/// Time that workers have to finish what they began when the operator is asked to end.
const FAREWELL: Duration = Duration::from_secs(4);
/// Time for one reconcile, which is a few requests.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked whether all lists have arrived.
const SYNC_POLL: Duration = Duration::from_millis(20);

/// How a reconcile went.
#[derive(Debug, Default)]
struct Done {
    written: bool,
    next: Option<Duration>,
    keys: Vec<Key>,
    /// To be looked at after [`LATER`]: what many of these come to is looked at once.
    later: Option<Key>,
}

/// How soon a stack tells what its runs cost.
const LATER: Duration = Duration::from_secs(30);

impl Done {
    fn settled(written: bool, next: Option<Duration>) -> Self {
        Self { written, next, keys: Vec::new(), later: None }
    }
}

/// One scope at work.
struct Scope {
    cluster: Cluster,
    queue: Arc<Queue<Key>>,
}

/// Runs the operator until `stop` is ready; then what was begun is finished, for at most four seconds.
pub async fn run(
    settings: Settings,
    client: Client,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    stop: impl Future<Output = ()>,
) -> Result<(), String> {
    let mut tasks = JoinSet::new();
    let (reach, news) = Reach::new();
    let scopes = scopes(&settings, &client, &metrics, &reach);
    for (namespace, scope) in &scopes {
        let feed = Feed {
            cache: scope.cluster.cache.clone(),
            queue: scope.queue.clone(),
            metrics: metrics.clone(),
            readiness: readiness.clone(),
        };
        let ours = Some(label::LAUNCH);
        tasks.spawn(watch::<SeenDefinition>(client.clone(), namespace.clone(), None, feed.clone()));
        tasks.spawn(watch::<SeenLaunch>(client.clone(), namespace.clone(), None, feed.clone()));
        tasks.spawn(watch::<SeenJob>(client.clone(), namespace.clone(), ours, feed.clone()));
        tasks.spawn(watch::<SeenPod>(client.clone(), namespace.clone(), ours, feed.clone()));
        if settings.monitoring.is_some() {
            let part = Some(label::MONITORING);
            tasks.spawn(watch::<SeenMonitoring>(client.clone(), namespace.clone(), None, feed.clone()));
            tasks.spawn(watch::<SeenStackPod>(client.clone(), namespace.clone(), part, feed.clone()));
            for kind in Kind::WATCHED {
                tasks.spawn(watch_parts(client.clone(), namespace.clone(), kind, feed.clone()));
            }
        }
    }
    let queues: Vec<_> = scopes.iter().map(|(_, scope)| scope.queue.clone()).collect();
    tasks.spawn(tell_depth(queues, metrics));
    let queues = scopes.iter().map(|(_, scope)| (scope.cluster.cache.clone(), scope.queue.clone()));
    tasks.spawn(look_again(news, queues.collect()));
    let workers = Arc::new(Semaphore::new(settings.concurrency.max(1)));
    let caches: Vec<Cache> = scopes.iter().map(|(_, scope)| scope.cluster.cache.clone()).collect();
    let all = join_all(scopes.into_iter().map(|(_, scope)| work(scope, workers.clone())));
    let working = async {
        // Nothing is decided before everything was seen once.
        while !caches.iter().all(|cache| cache.lock().is_synced()) {
            tokio::time::sleep(SYNC_POLL).await;
        }
        tracing::info!("all caches are filled");
        all.await;
    };
    // A watch that is gone would leave us blind and looking well: better to start again.
    let result = tokio::select! {
        () = working => Ok(()),
        () = stop => Ok(()),
        Some(ended) = tasks.join_next() => Err(format!("a watch ended, which none should: {ended:?}")),
    };
    let permits = u32::try_from(settings.concurrency.max(1)).unwrap_or(u32::MAX);
    let finished = tokio::time::timeout(FAREWELL, workers.acquire_many(permits)).await.is_ok();
    tracing::info!(finished, "the operator ends");
    result
}

/// Tells once a second how much is due.
async fn tell_depth(queues: Vec<Arc<Queue<Key>>>, metrics: Arc<Metrics>) {
    loop {
        metrics.queued(queues.iter().map(|queue| queue.depth()).sum());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Has stacks looked at again of whose addresses something new was found.
async fn look_again(mut news: mpsc::UnboundedReceiver<String>, scopes: Vec<(Cache, Arc<Queue<Key>>)>) {
    while let Some(stack) = news.recv().await {
        let Some((namespace, name)) = stack.split_once('/') else { continue };
        let name = Name::new(namespace, name);
        for (_, queue) in
            scopes.iter().filter(|(cache, _)| cache.lock().stacks.all().any(|(n, _)| *n == name))
        {
            queue.add(Key::Stack(name.clone()), Duration::ZERO);
        }
    }
}

fn scopes(
    settings: &Settings,
    client: &Client,
    metrics: &Arc<Metrics>,
    reach: &Reach,
) -> Vec<(Option<String>, Scope)> {
    let namespaces: Vec<Option<String>> = match settings.namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    let caches: Vec<Cache> = namespaces.iter().map(|_| Cache::default()).collect();
    for cache in &caches {
        cache.lock().stacks.on = settings.monitoring.is_some();
    }
    let installation = settings.monitoring.clone().unwrap_or_default();
    let monitoring = Monitoring::new(installation, caches.clone());
    let facts = Facts::default();
    let all = caches.clone();
    let highest_id: Arc<dyn Fn() -> i64 + Send + Sync> = Arc::new(move || {
        all.iter().map(|cache| cache.lock().highest_execution_id()).max().unwrap_or_default()
    });
    let ids = Arc::new(ExecutionIds::new(client.clone(), &settings.operator_namespace));
    let events = Arc::new(Events::new(client.clone(), settings.instance.clone()));
    let scope = |cache: Cache| Scope {
        cluster: Cluster {
            client: client.clone(),
            cache,
            ids: ids.clone(),
            highest_id: highest_id.clone(),
            events: events.clone(),
            metrics: metrics.clone(),
            clock: settings.clock.clone(),
            monitoring: monitoring.clone(),
            facts: facts.clone(),
            reach: reach.clone(),
            memories: Memories::default(),
        },
        queue: Arc::default(),
    };
    namespaces.into_iter().zip(caches.into_iter().map(scope)).collect()
}

/// Takes keys from the queue for ever, as many at the same time as there are workers.
async fn work(scope: Scope, workers: Arc<Semaphore>) {
    let Scope { cluster, queue } = scope;
    let cluster = Arc::new(cluster);
    loop {
        let key = queue.next().await;
        let Ok(permit) = workers.clone().acquire_owned().await else {
            return;
        };
        let (cluster, queue) = (cluster.clone(), queue.clone());
        tokio::spawn(async move {
            reconcile(&cluster, &queue, key).await;
            drop(permit);
        });
    }
}

/// One key: reconciled, counted, given back.
async fn reconcile(cluster: &Cluster, queue: &Queue<Key>, key: Key) {
    let started = Instant::now();
    let (controller, result) = match &key {
        Key::Launch(name) => (Controller::Launch, guard(launches::reconcile(cluster, name)).await),
        Key::History(name) => (Controller::History, guard(launches::reconcile_history(cluster, name)).await),
        Key::Stack(name) => (Controller::Stack, guard(stacks::reconcile(cluster, name)).await),
        Key::Definition(name) => {
            (Controller::Definition, guard(launches::reconcile_definition(cluster, name)).await)
        }
    };
    let outcome = match &result {
        Some(Ok(done)) if done.written => Outcome::Applied,
        Some(Ok(_)) => Outcome::Unchanged,
        Some(Err(error)) => match error.class() {
            Class::Conflict => Outcome::Conflict,
            Class::Forbidden => Outcome::Forbidden,
            Class::Transient => Outcome::Error,
        },
        None => Outcome::Panic,
    };
    cluster.metrics.reconciled(controller, outcome, started.elapsed());
    match result {
        Some(Ok(done)) => {
            for other in done.keys {
                let pause = other.pause();
                queue.add(other, pause);
            }
            if let Some(later) = done.later {
                queue.add(later, LATER);
            }
            queue.done(key, done.next);
        }
        Some(Err(error)) => {
            if error.class() == Class::Conflict {
                tracing::debug!(?key, %error, "another writer was faster");
            } else {
                tracing::warn!(?key, %error, "failed; it is tried again");
            }
            queue.failed(key, |failures| error.pause(failures));
        }
        None => {
            tracing::error!(?key, "a bug: the reconcile panicked; please report the lines above");
            queue.failed(key, |failures| Duration::from_secs(10).saturating_mul(1 << failures.min(5)));
        }
    }
}

/// A panic stays one object's problem, and so does a request that is never answered: to drop a reconcile is what
/// a crash does, which every decision survives.
async fn guard(reconcile: impl Future<Output = Result<Done, Error>>) -> Option<Result<Done, Error>> {
    let patient = tokio::time::timeout(PATIENCE, reconcile);
    let result = AssertUnwindSafe(patient).catch_unwind().await.ok()?;
    Some(result.unwrap_or(Err(Error::Unanswered(PATIENCE))))
}
