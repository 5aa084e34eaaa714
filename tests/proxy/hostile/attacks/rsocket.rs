//! Over TCP.

use std::net::Ipv4Addr;
use std::time::Duration;

use aws_lc_rs::cipher::{AES_128, PaddedBlockEncryptingKey, UnboundCipherKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::future::join_all;
use millrace::proxy::crypto::KeyPair;
use millrace::proxy::wire::{Frame, Payload, Setup, enframe};
use serde_json::Value;
use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep_until};

use super::{Place, byte_by_byte, connect, send, until_end};
use crate::support::client::{AES, Client, seal, setup};
use crate::support::within;

fn framed(frame: &Frame) -> BytesMut {
    let mut bytes = BytesMut::new();
    enframe(frame, &mut bytes);
    bytes
}

/// Any bytes, as a frame.
fn raw(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[1..], bytes].concat()
}

fn header(stream: u32, kind: u16, flags: u16) -> Vec<u8> {
    [&stream.to_be_bytes()[..], &(kind << 10 | flags).to_be_bytes()].concat()
}

async fn client(place: &Place) -> Client {
    Client::connect(place.tcp).await.unwrap()
}

/// Each of these after SETUP; the connection lives on.
async fn after_setup(place: &Place, frames: impl IntoIterator<Item = Vec<u8>>) {
    let mut client = client(place).await;
    for frame in frames {
        send(client.stream(), &frame).await;
    }
    alive(&mut client).await;
}

/// A KEEPALIVE is echoed.
async fn alive(client: &mut Client) {
    let data = Bytes::from_static(b"still there?");
    client.send(&Frame::Keepalive { respond: true, position: 0, data: data.clone() }).await.unwrap();
    let echo = async {
        loop {
            if matches!(client.next().await.unwrap(), Frame::Keepalive { data: echo, .. } if echo == data) {
                return;
            }
        }
    };
    within(20, "the echo of a KEEPALIVE", echo).await;
}

/// Pushes something that is refused with these words.
async fn refused_push(place: &Place, sealed: impl FnOnce(&[u8]) -> Payload, words: &str) {
    let mut client = client(place).await;
    let sealed = sealed(&client.key);
    let error = client.push(&sealed).await.unwrap_err();
    assert!(error.contains(words), "{error}");
    alive(&mut client).await;
}

pub async fn cut_off(place: &Place) {
    // With METADATA, where the kind has any, and a byte of what must follow.
    let kinds = [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x0A, 0x0B, 0x0D, 0x0E, 0x3F];
    after_setup(place, kinds.map(|kind| raw(&[header(2, kind, 0x100).as_slice(), &[0]].concat()))).await;
}

pub async fn tiny(place: &Place) {
    after_setup(place, (0..6).map(|length| raw(&vec![0; length]))).await;
}

pub async fn lying(place: &Place) {
    let long = [0xFF; 3];
    let frames =
        [0x04, 0x05, 0x0A].map(|kind| raw(&[header(1, kind, 0x120).as_slice(), &long, b"x"].concat()));
    let setup = [header(0, 0x01, 0).as_slice(), &[0, 1, 0, 0], &[0; 8], &[0xFF], b"mime"].concat();
    after_setup(place, frames.into_iter().chain([raw(&setup)])).await;
}

pub async fn unknown(place: &Place) {
    after_setup(place, (0x10..0x24).map(|kind| raw(&header(1, kind, 0)))).await;
}

pub async fn no_setup_first(place: &Place) {
    let request = Frame::RequestResponse { stream: 1, follows: false, payload: Payload::default() };
    assert!(refusal(place, &framed(&request)).await.contains("SETUP or RESUME frame must be received"));
}

/// What the proxy says to a wrong first frame before it closes, which is late.
async fn refusal(place: &Place, frame: &[u8]) -> String {
    let mut stream = connect(place.tcp).await;
    let begin = Instant::now();
    send(&mut stream, frame).await;
    let said = until_end(&mut stream).await;
    assert!(begin.elapsed() >= Duration::from_secs(5), "closed early");
    String::from_utf8_lossy(&said).into_owned()
}

pub async fn refused(place: &Place) {
    let Frame::Setup(good) = setup() else { panic!() };
    let frames = [
        Frame::Setup(Box::new(Setup { version: (9, 9), ..*good.clone() })),
        Frame::Setup(Box::new(Setup { resume_token: Some(Bytes::from_static(b"t")), ..*good.clone() })),
        Frame::Setup(Box::new(Setup { lease: true, ..*good })),
        Frame::Resume { version: (1, 0), token: Bytes::from_static(b"t"), received: 0, available: 0 },
    ];
    let frames = frames.map(|frame| framed(&frame));
    let said = join_all(frames.iter().map(|frame| refusal(place, frame))).await;
    let words = [
        "Unsupported version: 9.9",
        "resume not supported",
        "lease is not supported",
        "resume not supported",
    ];
    for (said, words) in said.iter().zip(words) {
        assert!(said.contains(words), "{said}");
    }
}

pub async fn oversize(place: &Place) {
    let long = [header(1, 0x04, 0), vec![7; (1 << 24) - 7]].concat();
    after_setup(place, [raw(&long)]).await;
}

fn fragment(stream: u32, follows: bool, size: usize) -> Vec<u8> {
    let payload = Payload::of(vec![7; size].into());
    framed(&Frame::Payload { stream, follows, complete: !follows, next: true, payload }).to_vec()
}

fn first(stream: u32) -> Vec<u8> {
    framed(&Frame::RequestResponse { stream, follows: true, payload: Payload::default() }).to_vec()
}

pub async fn many_fragments(place: &Place) {
    let rest = (0..100).map(|_| fragment(1, true, 64 << 10));
    after_setup(place, [first(1)].into_iter().chain(rest).chain([fragment(1, false, 0)])).await;
}

pub async fn many_streams(place: &Place) {
    after_setup(place, (0..1000).map(|n| first(2 * n + 1))).await;
}

pub async fn wrong_key(place: &Place) {
    let known: Value = serde_json::from_str(include_str!("../../../captures/fake-proxy-key.json")).unwrap();
    let der = STANDARD.decode(known["pkcs8_der_base64"].as_str().unwrap()).unwrap();
    let other = KeyPair::from_pkcs8(&der).unwrap();
    refused_push(place, |_| seal(&other.public(), "a 1\n"), "cannot be decrypted with this proxy's key")
        .await;
}

pub async fn not_encrypted(place: &Place) {
    refused_push(place, |_| Payload::of(Bytes::from_static(b"a 1\n")), "not encrypted").await;
}

pub async fn cut_cipher(place: &Place) {
    let cut = |key: &[u8]| {
        let whole = seal(key, "a 1\n");
        Payload { data: whole.data.slice(..whole.data.len() - 1), ..whole }
    };
    refused_push(place, cut, "the data cannot be decrypted").await;
}

/// A block of snappy that the client seals as it is.
fn sealed_block(key: &[u8], block: &[u8]) -> Payload {
    let cipher = UnboundCipherKey::new(&AES_128, &AES).unwrap();
    let mut data = block.to_vec();
    PaddedBlockEncryptingKey::ecb_pkcs7(cipher).unwrap().encrypt(&mut data).unwrap();
    Payload { data: data.into(), ..seal(key, "") }
}

pub async fn cut_snappy(place: &Place) {
    let block = snap::raw::Encoder::new().compress_vec(&[b'a'; 1000]).unwrap();
    refused_push(place, |key| sealed_block(key, &block[..block.len() / 2]), "no block of snappy").await;
}

/// Small blocks that promise 4 GiB, or hold 40 MiB.
pub async fn bombs(place: &Place) {
    let held = snap::raw::Encoder::new().compress_vec(&vec![b'a'; 40 << 20]).unwrap();
    let mut client = client(place).await;
    let promised = sealed_block(&client.key, &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0]);
    let held = sealed_block(&client.key, &held);
    for _ in 0..50 {
        for sealed in [&promised, &held] {
            assert!(client.push(sealed).await.unwrap_err().contains("are more than the allowed"));
        }
    }
}

pub async fn no_utf8(place: &Place) {
    let block = snap::raw::Encoder::new().compress_vec(b"a 1\n\xff\xfe\n").unwrap();
    refused_push(place, |key| sealed_block(key, &block), "no UTF-8 text").await;
}

pub async fn no_exposition(place: &Place) {
    refused_push(place, |key| seal(key, "}{\n\0\n<html>\n"), "no valid sample").await;
}

pub async fn many_pushes(place: &Place) {
    let mut client = client(place).await;
    let payload =
        seal(&client.key, "flood_total{task_execution_id=\"1\",task_external_execution_id=\"flood\"} 1\n");
    let mut bytes = BytesMut::new();
    for n in 0..1000 {
        let frame = Frame::RequestResponse { stream: 2 * n + 1, follows: false, payload: payload.clone() };
        enframe(&frame, &mut bytes);
    }
    send(client.stream(), &bytes).await;
    alive(&mut client).await;
}

pub async fn unserved(place: &Place) {
    let mut client = client(place).await;
    let payload = Payload::default();
    let stream = Frame::RequestStream { stream: 1, follows: false, initial: 1, payload: payload.clone() };
    let channel = Frame::RequestChannel { stream: 3, follows: false, complete: false, initial: 1, payload };
    for (frame, wanted) in [(stream, 1), (channel, 3)] {
        client.send(&frame).await.unwrap();
        let rejected = async {
            loop {
                if matches!(client.next().await.unwrap(), Frame::Error { stream, code: 0x202, .. } if stream == wanted)
                {
                    return;
                }
            }
        };
        within(20, "a rejection", rejected).await;
    }
    alive(&mut client).await;
}

/// From an address of its own for 8 s: longer than its burst lasts.
pub async fn reconnects(place: &Place) {
    let (begin, setup) = (Instant::now(), framed(&setup()));
    join_all((0..8000).map(|n| {
        let setup = setup.clone();
        async move {
            sleep_until(begin + Duration::from_millis(n)).await;
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((Ipv4Addr::new(127, 0, 0, 3), 0).into()).unwrap();
            let Ok(mut stream) = socket.connect(place.tcp).await else { return };
            send(&mut stream, &setup).await;
        }
    }))
    .await;
}

pub async fn mute(place: &Place) {
    let ended = (0..2000).map(|_| async {
        let mut stream = connect(place.tcp).await;
        until_end(&mut stream).await
    });
    for said in join_all(ended).await {
        assert!(String::from_utf8_lossy(&said).contains("SETUP or RESUME"), "{said:?}");
    }
}

pub async fn http(place: &Place) {
    let mut stream = connect(place.tcp).await;
    send(&mut stream, b"GET /metrics HTTP/1.1\r\nHost: proxy\r\n\r\n").await;
    until_end(&mut stream).await;
}

pub async fn tls(place: &Place) {
    let mut stream = connect(place.tcp).await;
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3][..], &[7; 505]].concat();
    send(&mut stream, &hello).await;
    until_end(&mut stream).await;
}

/// As if the network had been cut: nothing comes any more, not even an end. The client's own limit is 10 s.
pub async fn half_open(place: &Place) {
    let mut stream = connect(place.tcp).await;
    let Frame::Setup(setup) = setup() else { panic!() };
    send(&mut stream, &framed(&Frame::Setup(Box::new(Setup { lifetime_ms: 10_000, ..*setup })))).await;
    let said = until_end(&mut stream).await;
    assert!(String::from_utf8_lossy(&said).contains("nothing heard for 10000 ms"));
}

/// Asks for echoes and never reads them.
pub async fn deaf(place: &Place) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let mut stream = socket.connect(place.tcp).await.unwrap();
    send(&mut stream, &framed(&setup())).await;
    let data = Bytes::from(vec![7; 60 << 10]);
    let keepalive = framed(&Frame::Keepalive { respond: true, position: 0, data });
    byte_by_byte_after(stream, &keepalive.repeat(500)).await;
}

async fn byte_by_byte_after(mut stream: tokio::net::TcpStream, bytes: &[u8]) {
    // The proxy stops reading at some point; then only its end is waited for.
    let _ = tokio::time::timeout(Duration::from_secs(5), send(&mut stream, bytes)).await;
    byte_by_byte(stream, &[0]).await;
}
