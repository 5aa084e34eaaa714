//! Serves HTTP on a port: so many connections at the same time, and none that is half open for ever.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::ServiceExt;

use super::delivery::{Peer, Pending, Watched};

/// Connections served at the same time; more wait in the kernel's queue.
const CONNECTIONS: usize = 1024;
/// A request's head must be there so long after the connection was made, or after the response before.
const HEAD_WAIT: Duration = Duration::from_secs(30);
/// Pause while there are no file descriptors: others have to end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `routes`, which find their [`Peer`] as connect info, until `stop`; returns when every response is made.
pub async fn serve(listener: TcpListener, routes: Router, stop: impl Future<Output = ()>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    // Its end tells the connections.
    let (serving, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = async {
            let slot = slots.clone().acquire_owned().await;
            (slot, listener.accept().await)
        };
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            (slot, accepted) = accepted => match (slot, accepted) {
                (Ok(slot), Ok((stream, address))) => {
                    connections.spawn(connection(stream, address, routes.clone(), stopping.clone(), slot));
                }
                (_, Err(error)) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
                // Nobody closes the semaphore.
                (Err(_), _) => break,
            },
        }
    }
    drop((listener, serving));
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    routes: Router,
    mut stopping: watch::Receiver<()>,
    _slot: OwnedSemaphorePermit,
) {
    let peer = Peer { address, pending: Arc::new(Pending::default()) };
    let stream = TokioIo::new(Watched::new(stream, peer.pending.clone()));
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer.clone()));
        routes.clone().oneshot(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT);
    let conversation = http.serve_connection(stream, service);
    tokio::pin!(conversation);
    // An error is one of who went away, or sent no HTTP.
    tokio::select! {
        _ = conversation.as_mut() => return,
        _ = stopping.changed() => conversation.as_mut().graceful_shutdown(),
    }
    let _ = conversation.await;
}
