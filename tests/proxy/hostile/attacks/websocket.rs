//! Over websocket.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use millrace::proxy::wire::{Frame, Payload, decode, encode};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as Part;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Place, byte_by_byte, connect, send, until_end};
use crate::support::client::{seal, setup};
use crate::support::within;

type Socket = WebSocketStream<TcpStream>;

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: p\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

async fn upgraded(place: &Place) -> Socket {
    let stream = connect(place.websocket).await;
    client_async(format!("ws://{}/any/path", place.websocket), stream).await.unwrap().0
}

fn bytes(frame: &Frame) -> Bytes {
    let mut out = BytesMut::new();
    encode(frame, &mut out);
    out.freeze()
}

/// The next frame that `wanted` takes.
async fn next<T>(socket: &mut Socket, wanted: impl Fn(Frame) -> Option<T>) -> T {
    let found = async {
        loop {
            if let Message::Binary(bytes) = socket.next().await.unwrap().unwrap()
                && let Some(found) = wanted(decode(bytes).unwrap())
            {
                return found;
            }
        }
    };
    within(20, "a frame over websocket", found).await
}

async fn key(socket: &mut Socket) -> Bytes {
    let key = |frame| if let Frame::RequestFnf { payload, .. } = frame { Some(payload.data) } else { None };
    next(socket, key).await
}

pub async fn no_upgrade(place: &Place) {
    let requests: [&[u8]; 3] =
        [b"GET / HTTP/1.1\r\nHost: p\r\n\r\n", b"\x16\x03\x01\x02\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n"];
    for request in requests {
        let mut stream = connect(place.websocket).await;
        send(&mut stream, request).await;
        until_end(&mut stream).await;
    }
}

pub async fn huge_head(place: &Place) {
    let mut stream = connect(place.websocket).await;
    let head = [&UPGRADE[..UPGRADE.len() - 2], b"X: ", &vec![b'a'; 1 << 20], b"\r\n\r\n"].concat();
    send(&mut stream, &head).await;
    until_end(&mut stream).await;
}

pub async fn texts(place: &Place) {
    let mut socket = upgraded(place).await;
    for _ in 0..3 {
        socket.send(Message::text("a_total 1")).await.unwrap();
    }
    // It takes no harm of that.
    socket.send(Message::Binary(bytes(&setup()))).await.unwrap();
    key(&mut socket).await;
}

/// Sends bytes after the upgrade, until the proxy ends the connection.
async fn after_upgrade(place: &Place, bytes: &[u8]) {
    let mut stream = connect(place.websocket).await;
    send(&mut stream, UPGRADE).await;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    send(&mut stream, bytes).await;
    until_end(&mut stream).await;
}

pub async fn unmasked(place: &Place) {
    after_upgrade(place, b"\x82\x03abc").await;
}

pub async fn huge(place: &Place) {
    after_upgrade(place, b"\x82\xff\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00abc").await;
}

/// SETUP and a push, each byte of them a fragment, with pings between.
pub async fn fragments(place: &Place) {
    let mut socket = upgraded(place).await;
    for n in 0..200_u8 {
        socket.send(Message::Ping(vec![n; 100].into())).await.unwrap();
    }
    in_fragments(&mut socket, &bytes(&setup())).await;
    let key = key(&mut socket).await;
    let text = "fragments_total{task_execution_id=\"1\",task_external_execution_id=\"ws\"} 1\n";
    let push = Frame::RequestResponse { stream: 1, follows: false, payload: seal(&key, text) };
    in_fragments(&mut socket, &bytes(&push)).await;
    let answer =
        |frame| if let Frame::Payload { stream: 1, payload, .. } = frame { Some(payload) } else { None };
    assert_eq!(next(&mut socket, answer).await, Payload::default());
}

async fn in_fragments(socket: &mut Socket, bytes: &[u8]) {
    for (at, byte) in bytes.iter().enumerate() {
        let data = if at == 0 { Data::Binary } else { Data::Continue };
        let part = Part::message(vec![*byte], OpCode::Data(data), at + 1 == bytes.len());
        socket.send(Message::Frame(part)).await.unwrap();
        if at % 16 == 0 {
            socket.send(Message::Ping(Bytes::new())).await.unwrap();
        }
    }
}

pub async fn slow(place: &Place) {
    let stream = connect(place.websocket).await;
    let _ =
        tokio::time::timeout(Duration::from_secs(100), byte_by_byte(stream, &UPGRADE[..UPGRADE.len() - 2]))
            .await;
}
