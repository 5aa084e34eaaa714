//! Tells whether a response reached its reader: a scraper has a body only if the whole response was handed to the
//! kernel and the connection then lived on, until the next request or an orderly end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::proxy::store::scrapers::{Deliveries, ScraperId};

/// A response's final bodies, and who is to have them.
#[derive(Debug)]
pub struct Delivery {
    /// Who.
    pub scraper: ScraperId,
    /// What.
    pub bodies: Vec<Arc<Deliveries>>,
}

/// Responses of one connection that are written and not yet known to have arrived.
#[derive(Debug, Default)]
pub struct Pending {
    waiting: Mutex<Vec<(Delivery, bool)>>,
}

impl Pending {
    /// The last byte of a response was made.
    pub fn made(&self, delivery: Delivery) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((delivery, false));
    }

    fn flushed(&self) {
        for (_, flushed) in self.waiting.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            *flushed = true;
        }
    }

    fn arrived(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for (delivery, _) in waiting.extract_if(.., |(_, flushed)| *flushed) {
            for body in delivery.bodies {
                body.add(delivery.scraper);
            }
        }
    }

    fn lost(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// What is on its way to it.
    pub pending: Arc<Pending>,
}

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.remote_addr().clone()
    }
}

/// Accepts connections and watches them.
#[derive(Debug)]
pub struct Door(pub TcpListener);

impl Listener for Door {
    type Io = Watched;
    type Addr = Peer;

    async fn accept(&mut self) -> (Watched, Peer) {
        loop {
            match self.0.accept().await {
                Ok((stream, address)) => {
                    let pending = Arc::new(Pending::default());
                    return (Watched { stream, pending: pending.clone() }, Peer { address, pending });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    // Out of file descriptors: others have to end first.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer { address: self.0.local_addr()?, pending: Arc::default() })
    }
}

/// A connection that tells [`Pending`] what happens to it.
#[derive(Debug)]
pub struct Watched {
    stream: TcpStream,
    pending: Arc<Pending>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        match &read {
            // The next request, or the other end closes in order: had it left anything unread, it would be a reset.
            Poll::Ready(Ok(())) => self.pending.arrived(),
            Poll::Ready(Err(_)) => self.pending.lost(),
            Poll::Pending => {}
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Err(_)) = written {
            self.pending.lost();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        // hyper flushes the socket only when its own buffer is empty.
        if let Poll::Ready(Ok(())) = flushed {
            self.pending.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        // The reader asked for one response only; nothing more will be heard of it.
        if let Poll::Ready(Ok(())) = shut {
            self.pending.arrived();
        }
        shut
    }
}
