//! Serves HTTP on a port: so many connections at the same time, and none that is half open for ever.
//!
//! When there are too many, the one that waited longest for a first request makes room: a client that means well sends
//! its request at once, so the silent never keep it out.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::ServiceExt;

use super::delivery::{Late, Peer, Pending, Watched};
use crate::proxy::flood::Flood;
use crate::proxy::metrics::Metrics;

/// Connections served at the same time; more wait in the kernel's queue if all of them have sent a request.
const CONNECTIONS: usize = 1024;
/// A request's head must be there so long after the connection was made, or after the response before.
const HEAD_WAIT: Duration = Duration::from_secs(30);
/// Bytes of a request's head, and of what is read or written at once.
const BUFFER: usize = 64 << 10;
/// Pause while there are no file descriptors: others have to end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `routes`, which find their [`Peer`] as connect info, until `stop`; returns when every response is made.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()>,
) {
    // Its end tells the connections.
    let (serving, stopping) = watch::channel(());
    let (silent, flood) = (Silent::default(), Flood::default());
    let shared = Arc::new(Shared { routes, metrics, flood, silent, stopping });
    let (mut connections, mut number) = (JoinSet::new(), 0);
    tokio::pin!(stop);
    loop {
        let room = connections.len() < CONNECTIONS || shared.silent.any();
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if room => match accepted {
                Ok((stream, address)) => {
                    if connections.len() >= CONNECTIONS {
                        shared.silent.let_go_of_the_first();
                    }
                    number += 1;
                    let crowded_out = shared.silent.add(number);
                    connections.spawn(shared.clone().connection(stream, address, number, crowded_out));
                }
                Err(error) => {
                    shared.metrics.event("accept_failed");
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop((listener, serving));
    while connections.join_next().await.is_some() {}
}

struct Shared {
    routes: Router,
    metrics: Arc<Metrics>,
    flood: Flood,
    silent: Silent,
    stopping: watch::Receiver<()>,
}

/// Connections without a first request, the oldest first.
#[derive(Default)]
struct Silent(Mutex<BTreeMap<u64, Arc<Notify>>>);

impl Silent {
    fn add(&self, number: u64) -> Arc<Notify> {
        let crowded_out = Arc::new(Notify::new());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, crowded_out.clone());
        crowded_out
    }

    fn remove(&self, number: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    fn any(&self) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn let_go_of_the_first(&self) {
        if let Some((_, crowded_out)) = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_first() {
            crowded_out.notify_one();
        }
    }
}

impl Shared {
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        number: u64,
        crowded_out: Arc<Notify>,
    ) {
        let peer = Peer { address, pending: Arc::new(Pending::default()) };
        let pending = peer.pending.clone();
        let stream = TokioIo::new(Watched::new(stream, pending.clone()));
        let service = service_fn(|request: Request<Incoming>| {
            self.silent.remove(number);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer.clone()));
            self.routes.clone().oneshot(request)
        });
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT).max_buf_size(BUFFER);
        let conversation = server.serve_connection(stream, service);
        tokio::pin!(conversation);
        let mut stopping = self.stopping.clone();
        let result = tokio::select! {
            result = conversation.as_mut() => result,
            _ = stopping.changed() => {
                conversation.as_mut().graceful_shutdown();
                conversation.await
            }
            () = crowded_out.notified() => {
                self.tell(address, "http_crowded_out", "a connection without a request makes room");
                Ok(())
            }
        };
        self.silent.remove(number);
        if let Err(error) = result {
            self.broke(address, &error, &pending);
        }
    }

    fn broke(&self, peer: SocketAddr, error: &hyper::Error, pending: &Pending) {
        if error.is_timeout() {
            // What was sent before has arrived: else the connection would have been reset long ago.
            pending.arrived();
            self.tell(peer, "http_silent", "a connection sent no whole request in time");
        } else if error.is_parse() {
            self.tell(peer, "http_malformed", "what a connection sent is no request");
        } else {
            match late(error) {
                Some(Late::Stalled) => self.tell(peer, "http_stalled", "a reader takes nothing any more"),
                Some(Late::Slow) => {
                    self.tell(peer, "http_slow", "a reader did not take a response whole in time");
                }
                None => tracing::debug!(%peer, %error, "a connection broke"),
            }
        }
    }

    fn tell(&self, peer: SocketAddr, what: &'static str, words: &'static str) {
        self.metrics.event(what);
        if let Some(left_out) = self.flood.lets(what, Instant::now()) {
            tracing::info!(%peer, what, left_out, "{words}");
        }
    }
}

/// Why [`Watched`] gave the reader up, if it did.
fn late(error: &hyper::Error) -> Option<Late> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(late) = inner.and_then(|inner| inner.downcast_ref::<Late>()) {
            return Some(*late);
        }
        cause = error.source();
    }
    None
}
