//! Tells whether a response reached its reader: a scraper has a body only if the whole response was handed to the
//! kernel and the connection then lived on, until the next request or an orderly end. Where the connection ends with
//! the response, it is for the reader to end it as well: only then is it known that nothing was reset.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

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
    response: Mutex<Response>,
}

/// The response that is written now, if it has to be taken in time.
#[derive(Debug, Default)]
struct Response {
    until: Option<Instant>,
    made: bool,
}

/// A response that is not made whole yet.
#[derive(Debug)]
pub struct OnItsWay(Arc<Pending>);

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.response().made = true;
    }
}

impl Pending {
    /// A response begins that must be taken whole until then. What is returned lives until it is made.
    pub fn begin(self: &Arc<Self>, until: Instant) -> OnItsWay {
        *self.response() = Response { until: Some(until), made: false };
        OnItsWay(self.clone())
    }

    fn response(&self) -> MutexGuard<'_, Response> {
        self.response.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last byte of a response was made.
    pub fn made(&self, delivery: Delivery) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((delivery, false));
    }

    fn flushed(&self) {
        for (_, flushed) in self.waiting.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            *flushed = true;
        }
        let mut response = self.response();
        if response.made {
            response.until = None;
        }
    }

    /// What was handed to the kernel has arrived.
    pub fn arrived(&self) {
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

    fn any(&self) -> bool {
        !self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
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

/// A reader that takes nothing for so long is gone: a Prometheus gives up much earlier.
const STALL: Duration = Duration::from_mins(1);

/// Why a reader is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Late {
    /// It takes nothing any more.
    #[error("a reader takes nothing any more")]
    Stalled,
    /// It takes too little.
    #[error("a reader did not take a response whole in time")]
    Slow,
}

/// After our end of a connection, that of the reader is waited for so long: a Prometheus closes as soon as it has read
/// the last byte, and who takes longer gets the same again.
const READERS_END: Duration = Duration::from_secs(5);

/// A connection that tells [`Pending`] what happens to it.
#[derive(Debug)]
pub struct Watched {
    stream: TcpStream,
    pending: Arc<Pending>,
    /// Runs while nothing can be written, to the end of the time for the response at most.
    stall: Option<Pin<Box<Sleep>>>,
    /// Runs since our end of the connection.
    end: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    /// Watches `stream`.
    pub fn new(stream: TcpStream, pending: Arc<Pending>) -> Self {
        Self { stream, pending, stall: None, end: None }
    }

    /// Whether the reader takes nothing, or too little, for too long.
    fn late(&mut self, cx: &mut Context<'_>, written: &Poll<io::Result<usize>>) -> Option<Late> {
        let (now, until) = (Instant::now(), self.pending.response().until);
        if until.is_some_and(|until| until <= now) {
            return Some(Late::Slow);
        }
        if written.is_ready() {
            self.stall = None;
            return None;
        }
        let latest = until.map_or(now + STALL, |until| until.min(now + STALL));
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep_until(latest)));
        if stall.as_mut().poll(cx).is_pending() {
            return None;
        }
        Some(if until == Some(stall.deadline()) { Late::Slow } else { Late::Stalled })
    }

    /// Waits for the reader to close, or to reset, the connection; but not for ever.
    fn poll_readers_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; 1024];
        loop {
            let mut read = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if read.filled().is_empty() => {
                    self.pending.arrived();
                    return Poll::Ready(Ok(()));
                }
                // What it still sends is not for us: it was told that nothing more is read.
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.pending.lost();
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => break,
            }
        }
        let Some(end) = &mut self.end else { return Poll::Ready(Ok(())) };
        // Who sends without end is pending for fairness alone, and then the timer is as well: so the clock is asked.
        if end.as_mut().poll(cx).is_ready() || end.deadline() <= Instant::now() {
            self.pending.lost();
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }
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
        let mut written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Some(late) = self.late(cx, &written) {
            written = Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, late)));
        }
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

    /// hyper lets go of the connection when this is ready.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.end.is_none() {
            match Pin::new(&mut self.stream).poll_shutdown(cx) {
                Poll::Ready(Ok(())) if self.pending.any() => self.end = Some(Box::pin(sleep(READERS_END))),
                shut => return shut,
            }
        }
        self.poll_readers_end(cx)
    }
}

#[cfg(test)]
mod tests;
