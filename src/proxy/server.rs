//! The sockets: accepts applications over TCP and websocket and gives each a session.

mod connection;
mod room;
pub mod transport;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use jiff::Timestamp;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::room::Room;
use self::transport::Transport;
use super::crypto::KeyPair;
use super::crypto::pool::Pool;
use super::flood::Flood;
use super::intake::{Door, Intake, Origin};
use super::metrics::Metrics;
use super::rate::Rate;
use super::session;

/// Tells the time of day.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Limits of the doors.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of each connection.
    pub session: session::Settings,
    /// Bytes of one application's text.
    pub text_limit: usize,
    /// Applications served at the same time. More are accepted and wait.
    pub connections_max: usize,
    /// Threads that decrypt.
    pub threads: NonZeroUsize,
    /// New connections of one address in a burst; more wait.
    pub burst: u32,
    /// New connections of one address in a second, after a burst.
    pub per_second: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            session: session::Settings::default(),
            text_limit: 32 << 20,
            connections_max: 20_000,
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            // Behind a NAT a whole cluster is one address.
            burst: 5000,
            per_second: 200,
        }
    }
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// New applications are welcome.
    #[default]
    Serving,
    /// Nobody new; who is there is served.
    Draining,
    /// All are let go.
    Ended,
}

/// So long no room for another connection is waited for.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Ended connections come back at once, elsewhere; not all in the same moment.
const LEAVE: Duration = Duration::from_secs(2);

/// How often is looked whether a connection that waits still has another side.
const LOOK: Duration = Duration::from_millis(500);

/// What all connections share.
#[derive(Debug)]
struct Shared<I> {
    intake: I,
    keys: Arc<KeyPair>,
    pool: Pool,
    room: Room,
    settings: Settings,
    clock: Opaque<Clock>,
    metrics: Arc<Metrics>,
    flood: Flood,
    stage: watch::Receiver<Stage>,
    slots: Semaphore,
    rate: Rate,
    ids: Arc<AtomicU64>,
    /// When the doors were opened.
    began: Instant,
    /// Makes the pulls of two processes differ.
    seed: u64,
}

/// Something that cannot be printed.
struct Opaque<T>(T);

impl<T> std::fmt::Debug for Opaque<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// What a server needs from outside.
pub struct Parts<I> {
    /// The store.
    pub intake: I,
    /// The key pair for all clients.
    pub keys: Arc<KeyPair>,
    /// Limits.
    pub settings: Settings,
    /// The time.
    pub clock: Clock,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// The next number of a connection; shared with the push door.
    pub ids: Arc<AtomicU64>,
    /// Any number.
    pub seed: u64,
}

/// Serves both listeners until the stage is [`Stage::Ended`], or nobody is left while draining. When this returns,
/// every connection was told to the intake as closed.
pub async fn serve<I: Intake>(
    tcp: TcpListener,
    websocket: TcpListener,
    parts: Parts<I>,
    stage: watch::Receiver<Stage>,
) -> std::io::Result<()> {
    let Parts { intake, keys, settings, clock, metrics, ids, seed } = parts;
    let shared = Arc::new(Shared {
        intake,
        pool: Pool::start(keys.clone(), settings.threads, settings.text_limit)?,
        keys,
        room: Room::default(),
        slots: Semaphore::new(settings.connections_max),
        rate: Rate::new(settings.burst, settings.per_second),
        settings,
        clock: Opaque(clock),
        metrics,
        flood: Flood::default(),
        stage,
        ids,
        began: Instant::now(),
        seed,
    });
    tokio::join!(listen(tcp, Door::Tcp, shared.clone()), listen(websocket, Door::Websocket, shared));
    Ok(())
}

async fn listen<I: Intake>(listener: TcpListener, door: Door, shared: Arc<Shared<I>>) {
    let mut connections = JoinSet::new();
    let mut stage = shared.stage.clone();
    loop {
        // As many again may wait; the rest wait in the kernel's queue.
        let full = connections.len() >= shared.settings.connections_max.saturating_mul(2);
        tokio::select! {
            () = until(&mut stage, Stage::Draining) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if !full => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(welcome(shared.clone(), stream, peer, door));
                }
                // Out of files, or a client that is already gone.
                Err(error) => {
                    shared.metrics.event("accept_failed");
                    shared.metrics.connection_error(door, "accept");
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Waits for `wanted` or a later stage. A sender that is gone means the end.
async fn until(stage: &mut watch::Receiver<Stage>, wanted: Stage) {
    let _ = stage.wait_for(|stage| *stage >= wanted).await;
}

async fn welcome<I: Intake>(shared: Arc<Shared<I>>, stream: TcpStream, peer: SocketAddr, door: Door) {
    let origin =
        Origin { id: shared.ids.fetch_add(1, Ordering::Relaxed), door, peer, since: (shared.clock.0)() };
    // The key must not wait for more bytes to come.
    let _ = stream.set_nodelay(true);
    let mut stage = shared.stage.clone();
    let admitted = tokio::select! {
        () = until(&mut stage, Stage::Ended) => None,
        // Its memory is free again when it is over; the connection may stay for days.
        admitted = Box::pin(admit(&shared, stream, origin)) => admitted,
    };
    let Some((transport, _slot)) = admitted else { return };
    connection::run(&shared, transport, origin).await;
}

/// Holds the connection while it is over a limit. Never closes it for that: the client would be back at once.
async fn admit<I: Intake>(
    shared: &Shared<I>,
    stream: TcpStream,
    origin: Origin,
) -> Option<(Transport, SemaphorePermit<'_>)> {
    let pause = shared.rate.take(origin.peer.ip().to_canonical(), Instant::now());
    let slot = match (pause, shared.slots.try_acquire()) {
        (None, Ok(slot)) => slot,
        (pause, slot) => {
            drop(slot);
            let _held = Held::new(&shared.metrics);
            if let Some(left_out) = shared.flood.lets("held", Instant::now()) {
                tracing::info!(peer = %origin.peer, left_out, "over a limit: the connection waits");
            }
            let turn = async {
                sleep(pause.unwrap_or_default()).await;
                shared.slots.acquire().await.ok()
            };
            tokio::select! {
                slot = turn => slot?,
                // Nobody waits any more: the socket is free for others at once.
                () = left(&stream) => return None,
            }
        }
    };
    let wait = shared.settings.session.setup_wait;
    let limit = shared.settings.session.payload_limit;
    match timeout(wait, Transport::open(stream, origin.door, limit)).await {
        Ok(Ok(transport)) => Some((transport, slot)),
        Ok(Err(error)) => {
            shared.metrics.event("handshake_failed");
            shared.metrics.connection_error(origin.door, "handshake");
            if let Some(left_out) = shared.flood.lets("no websocket", Instant::now()) {
                tracing::info!(peer = %origin.peer, %error, left_out, "no websocket");
            }
            None
        }
        Err(_) => {
            shared.metrics.event("no_setup");
            if let Some(left_out) = shared.flood.lets("no upgrade", Instant::now()) {
                tracing::info!(peer = %origin.peer, left_out, "no upgrade to a websocket came in time");
            }
            None
        }
    }
}

/// Returns some time after the other side has ended, whatever it sent before.
async fn left(stream: &TcpStream) {
    let ready = || stream.ready(Interest::READABLE).now_or_never();
    while !matches!(ready(), Some(Ok(ready)) if ready.is_read_closed()) {
        sleep(LOOK).await;
    }
}

/// Counts a connection that waits for as long as it does.
struct Held<'a>(&'a Metrics);

impl<'a> Held<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.held(true);
        Self(metrics)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held(false);
    }
}

#[cfg(test)]
mod tests;
