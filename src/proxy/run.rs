//! The whole proxy: recovers the store, opens the doors, and at the end lets every scraper have what is kept.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::crypto::KeyPair;
use super::files;
use super::filter_file::FilterFile;
use super::http::serve::serve;
use super::http::{self, HttpDoor};
use super::metrics::Metrics;
use super::push::{self, PushDoor, Room};
use super::server::{self, Clock, Parts, Stage};
use super::store::disk::Directory;
use super::store::{self, Store};

/// Where and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The writable folder.
    pub folder: PathBuf,
    /// Patterns of single tasks.
    pub task_filters: Option<PathBuf>,
    /// RSocket over TCP.
    pub tcp: SocketAddr,
    /// RSocket over websocket.
    pub websocket: SocketAddr,
    /// What is read.
    pub http: SocketAddr,
    /// The push API.
    pub push: SocketAddr,
    /// How long scrapers and applications are waited for at the end.
    pub drain: Duration,
    /// Any number that differs from process to process.
    pub seed: u64,
    /// Of connections.
    pub server: server::Settings,
    /// Of the store.
    pub store: store::Settings,
    /// Of the push API.
    pub pushes: push::Settings,
}

/// How often is looked whether everything was delivered.
const LOOK: Duration = Duration::from_millis(200);

/// How often is looked whether the file with the patterns of tasks says something else: a kubelet brings a changed
/// ConfigMap within a minute or two.
const LOOK_AT_FILE: Duration = Duration::from_secs(5);

/// Connections that the kernel holds until they are accepted: a burst of a few thousand applications, or those that
/// come while the store recovers. It takes the less of this and `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

fn listen(at: SocketAddr) -> Result<TcpListener, String> {
    let listen = || -> io::Result<TcpListener> {
        let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // The port of a proxy that was just killed.
        socket.set_reuseaddr(true)?;
        socket.bind(at)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error| format!("cannot listen on {at}: {error}; choose another address or port"))
}

/// Runs until `stop`, and then until everything was delivered or the time for that is over.
pub async fn run(settings: Settings, clock: Clock, stop: impl Future<Output = ()>) -> Result<(), String> {
    let begin = Instant::now();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        folder = %settings.folder.display(),
        http = %settings.http,
        tcp = %settings.tcp,
        websocket = %settings.websocket,
        push = %settings.push,
        "the proxy begins"
    );
    files::allow(settings.server.connections_max);
    let (cell, metrics, counts) = (Arc::new(OnceLock::new()), Arc::new(Metrics::default()), Arc::default());
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    http::register(&mut registry, cell.clone(), Arc::clone(&counts));
    // Alive while it recovers, and only then ready.
    let reads = HttpDoor::new(cell.clone(), registry, counts);
    let ending = reads.ending.clone();
    let reads = tokio::spawn(serve(listen(settings.http)?, http::routes(reads), metrics.clone(), pending()));
    // Applications that come early wait in the kernel: one that is refused comes back only after 10 s.
    let (tcp, websocket, push) = (listen(settings.tcp)?, listen(settings.websocket)?, listen(settings.push)?);

    let file = settings.task_filters.clone().map(|path| FilterFile::new(path, metrics.clone()));
    let (store, keys, file) = open(&settings, clock.clone(), file).await?;
    let keeper = tokio::spawn(store.clone().keep());
    let watcher = file.map(|file| tokio::spawn(watch(file, store.clone())));
    let (stage, stages) = watch::channel(Stage::Serving);
    let ids = Arc::new(AtomicU64::new(1));
    let door = PushDoor {
        store: store.clone(),
        clock: clock.clone(),
        settings: settings.pushes,
        next: ids.clone(),
        metrics: metrics.clone(),
        flood: Arc::default(),
        room: Room::default(),
    };
    let mut draining = stages.clone();
    let pushes = tokio::spawn(serve(push, push::routes(door), metrics.clone(), async move {
        // A sender that is gone means the same.
        let _ = draining.wait_for(|stage| *stage >= Stage::Draining).await;
    }));
    let (limits, seed) = (settings.server.clone(), settings.seed);
    let parts = Parts { intake: store.clone(), keys, settings: limits, clock, metrics, ids, seed };
    let mut doors = tokio::spawn(server::serve(tcp, websocket, parts, stages));
    // The store is whole now: the last thing that readiness waits for.
    let _ = cell.set(store.clone());
    tracing::info!(after_ms = begin.elapsed().as_millis(), "the proxy is ready");

    tokio::select! {
        () = stop => {}
        ended = &mut doors => return Err(format!("the doors ended early: {ended:?}")),
    }
    tracing::info!("the proxy ends; whoever is connected is still served");
    ending.store(true, Ordering::Relaxed);
    stage.send_replace(Stage::Draining);
    let latest = Instant::now() + settings.drain;
    while Instant::now() < latest && !(doors.is_finished() && store.drained()) {
        sleep(LOOK).await;
    }
    stage.send_replace(Stage::Ended);
    let served = doors.await;
    // A push that hangs is not waited for: it was not acknowledged.
    let _ = tokio::time::timeout(LOOK, pushes).await;
    keeper.abort();
    if let Some(watcher) = watcher {
        watcher.abort();
    }
    reads.abort();
    tracing::info!(everything_delivered = store.drained(), "the proxy has ended");
    served.map_err(|e| e.to_string())?.map_err(|error| format!("cannot serve: {error}"))
}

/// Both may take a while: the store when it is full, the key at the very first start.
async fn open(
    settings: &Settings,
    clock: Clock,
    mut file: Option<FilterFile>,
) -> Result<(Arc<Store>, Arc<KeyPair>, Option<FilterFile>), String> {
    let cannot = |e: io::Error| {
        let folder = settings.folder.display();
        format!("cannot open the store in {folder}: {e}; give a folder that can be written to as --data")
    };
    let directory = Directory::open(&settings.folder).map_err(cannot)?;
    let (folder, mut limits) = (settings.folder.clone(), settings.store.clone());
    let store = tokio::task::spawn_blocking(move || {
        // What is on disk is shown by the patterns of the present start.
        if let Some(filters) = file.as_mut().and_then(FilterFile::look) {
            limits.task_filters = Arc::new(filters);
        }
        Store::open(Arc::new(directory), limits, clock).map(|store| (store, file))
    });
    let keys = tokio::task::spawn_blocking(move || KeyPair::kept_in(&folder));
    let (store, keys) = tokio::join!(store, keys);
    let (store, file) = store.map_err(|e| e.to_string())?.map_err(cannot)?;
    let keys = keys.map_err(|e| e.to_string())?.map_err(|e| format!("cannot make a key pair: {e}"))?;
    Ok((store, Arc::new(keys), file))
}

/// Applies what the file says whenever it says something else.
async fn watch(mut file: FilterFile, store: Arc<Store>) {
    loop {
        sleep(LOOK_AT_FILE).await;
        let look = tokio::task::spawn_blocking(move || (file.look(), file)).await;
        // It only fails when the process ends.
        let Ok((filters, same)) = look else { return };
        file = same;
        if let Some(filters) = filters {
            store.filter_tasks(filters);
        }
    }
}
