//! Frames over a socket. On TCP each has its length before it; over websocket each is one binary message.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, Take};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

use crate::proxy::intake::Door;
use crate::proxy::wire::{Deframer, Frame, Malformed, Piece, decode, encode, enframe};

/// What a client sent.
pub type Incoming = Result<Frame, Malformed>;

/// A client that takes nothing for so long is gone: what we send fits the kernel's buffers for days.
const WRITE_WAIT: Duration = Duration::from_secs(30);
/// So long the other side's part of a close is waited for.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// Room for a frame's header and key beside the data, which the session limits.
const FRAME_EXTRA: usize = 64 << 10;
/// The longest message that RSocket has; what a payload may have is less, and for the session to say.
const MESSAGE_MAX: usize = 1 << 24;
/// Read at once: on the stack on TCP, held by each connection on websocket.
const READ: usize = 16 << 10;
const WEBSOCKET_READ: usize = 2 << 10;

/// An open socket.
#[derive(Debug)]
pub enum Transport {
    /// With what was read of the next frame.
    Tcp(TcpStream, Deframer),
    /// After the upgrade.
    Websocket(Box<WebSocketStream<Rationed>>),
}

impl Transport {
    /// Takes over a socket; on websocket, answers the upgrade, whatever its path.
    pub async fn open(stream: TcpStream, door: Door, payload_limit: usize) -> Result<Self, Error> {
        if door != Door::Websocket {
            return Ok(Self::Tcp(stream, Deframer::new(payload_limit.saturating_add(FRAME_EXTRA))));
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(WEBSOCKET_READ)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_MAX))
            .max_frame_size(Some(MESSAGE_MAX));
        // Thousands of connections over TCP shall not have room for it in their tasks.
        let stream = Rationed::new(stream);
        let mut stream = Box::pin(accept_async_with_config(stream, Some(config))).await?;
        stream.get_mut().since_message = 0;
        Ok(Self::Websocket(Box::new(stream)))
    }

    /// Bytes of what is not whole.
    pub fn held(&self) -> usize {
        match self {
            Self::Tcp(_, deframer) => deframer.held(),
            Self::Websocket(stream) => stream.get_ref().since_message,
        }
    }

    /// The next frames: none if only a part of one came, [`READ`] bytes of it at most. `None` when the other side has
    /// ended. May be dropped and called again.
    pub async fn read(&mut self) -> Option<Vec<Incoming>> {
        match self {
            Self::Tcp(stream, deframer) => {
                stream.readable().await.ok()?;
                read_ready(stream, deframer)
            }
            Self::Websocket(stream) => loop {
                stream.get_mut().stream.set_limit(READ as u64);
                let next = poll_fn(|cx| match stream.poll_next_unpin(cx) {
                    Poll::Pending if stream.get_ref().stream.limit() == 0 => Poll::Ready(None),
                    next => next.map(Some),
                });
                let Some(message) = next.await else { return Some(Vec::new()) };
                stream.get_mut().since_message = 0;
                match message? {
                    Ok(Message::Binary(bytes)) => return Some(vec![decode(bytes)]),
                    Ok(Message::Text(_)) => return Some(no_frame("a text message instead")),
                    // The library answers pings and closes.
                    Ok(_) => {}
                    // Most clients end so.
                    Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return None,
                    // After it the stream ends: nobody knows where the next message begins.
                    Err(Error::Protocol(_) | Error::Capacity(_) | Error::Utf8(_)) => {
                        return Some(no_frame("what is no message of a websocket instead"));
                    }
                    Err(_) => return None,
                }
            },
        }
    }

    /// Sends all of `frames`, in one packet if they fit.
    pub async fn write(&mut self, frames: &[Frame]) -> Result<(), Error> {
        let mut bytes = BytesMut::new();
        if let Self::Tcp(stream, _) = self {
            for frame in frames {
                enframe(frame, &mut bytes);
            }
            // Nearly always the kernel takes it all.
            if let Ok(written) = stream.try_write(&bytes) {
                bytes.advance(written);
            }
            if bytes.is_empty() {
                return Ok(());
            }
        }
        let late = |_| Error::Io(ErrorKind::TimedOut.into());
        // What waits has its own memory: an idle connection has none for it.
        Box::pin(timeout(WRITE_WAIT, self.write_all(&bytes, frames))).await.map_err(late)?
    }

    async fn write_all(&mut self, bytes: &[u8], frames: &[Frame]) -> Result<(), Error> {
        match self {
            Self::Tcp(stream, _) => stream.write_all(bytes).await?,
            Self::Websocket(stream) => {
                for frame in frames {
                    stream.feed(Message::Binary(encoded(frame))).await?;
                }
                stream.flush().await?;
            }
        }
        Ok(())
    }

    /// Ends it from our side and waits a little for the other's.
    pub async fn close(mut self) {
        let close = async {
            match &mut self {
                Self::Tcp(stream, _) => {
                    let _ = stream.shutdown().await;
                }
                Self::Websocket(stream) => {
                    let _ = stream.as_mut().close(None).await;
                }
            }
            // Unread bytes would turn our end into a reset, and what we sent last would be lost.
            while self.read().await.is_some() {}
        };
        let _ = timeout(CLOSE_WAIT, close).await;
    }
}

/// Whether the other side took nothing for too long.
pub fn is_late(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == ErrorKind::TimedOut)
}

/// A socket that is read from no further than it is allowed to: a library that puts messages together would go on until
/// one is whole.
#[derive(Debug)]
pub struct Rationed {
    stream: Take<TcpStream>,
    /// So many bytes were read since the last whole message.
    since_message: usize,
}

impl Rationed {
    fn new(stream: TcpStream) -> Self {
        // The library has a limit of its own for the upgrade.
        Self { stream: stream.take(u64::MAX), since_message: 0 }
    }
}

impl AsyncRead for Rationed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.stream.limit() == 0 {
            // Whoever set the limit looks for this.
            return Poll::Pending;
        }
        let before = to.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, to);
        self.since_message += to.filled().len().saturating_sub(before);
        read
    }
}

impl AsyncWrite for Rationed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.stream.get_mut()).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_shutdown(cx)
    }
}

fn no_frame(what: &'static str) -> Vec<Incoming> {
    vec![Err(Malformed { stream: 0, kind: 0, what })]
}

fn encoded(frame: &Frame) -> Bytes {
    let mut bytes = BytesMut::new();
    encode(frame, &mut bytes);
    bytes.freeze()
}

/// Reads what is there, into the stack: idle connections hold no buffer.
fn read_ready(stream: &TcpStream, deframer: &mut Deframer) -> Option<Vec<Incoming>> {
    let mut buffer = [0; READ];
    let mut frames = Vec::new();
    match stream.try_read(&mut buffer) {
        Ok(0) => return None,
        Ok(length) => {
            let mut input = buffer.get(..length).unwrap_or_default();
            while let Some(piece) = deframer.next(&mut input) {
                frames.push(match piece {
                    Piece::Frame(bytes) => decode(bytes),
                    Piece::Oversize { head, .. } => Err(Malformed::too_long(&head)),
                });
            }
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
        Err(_) => return None,
    }
    Some(frames)
}
