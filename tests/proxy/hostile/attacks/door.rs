//! At the HTTP ports.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures::future::join_all;
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

use super::{Place, byte_by_byte, connect, send, until_end};
use crate::support::http::with_body;

const GROUP: &str = "/metrics/job/bad/task.execution.id/1/task.external.execution.id/bad";
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

pub async fn garbage(place: &Place) {
    let requests: [&[u8]; 3] =
        [b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"no HTTP at all\r\n\r\n", b"GET /\x01\x00 HTTP/1.1\r\n\r\n"];
    for at in [place.http, place.push] {
        for request in requests {
            let mut stream = connect(at).await;
            send(&mut stream, request).await;
            until_end(&mut stream).await;
        }
    }
}

pub async fn huge_head(place: &Place) {
    for at in [place.http, place.push] {
        let mut stream = connect(at).await;
        let head = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &vec![b'a'; 1 << 20]].concat();
        send(&mut stream, &head).await;
        until_end(&mut stream).await;
    }
}

/// On both ports more than they hold. The first ones are let go; nobody else waits for that.
pub async fn crowd(place: &Place) {
    for at in [place.http, place.push] {
        let silent = join_all((0..1500).map(|_| connect(at))).await;
        let answer = with_body(at, "GET", "/actuator/health", &[], "").await.unwrap();
        assert!([200, 404].contains(&answer.status.as_u16()), "{answer:?}");
        drop(silent);
    }
}

/// Status of a push, and what is said about it.
async fn push(place: &Place, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, String) {
    let answer = with_body(place.push, "PUT", path, headers, body).await.unwrap();
    (answer.status.as_u16(), answer.text())
}

pub async fn control(place: &Place) {
    for path in ["/metrics/job/a%0ab", "/metrics/job/a/x/%00", "/metrics/job@base64/YQBi"] {
        let (status, said) = push(place, path, &[], b"a 1\n".to_vec()).await;
        assert_eq!(status, 400, "{path}");
        assert!(said.contains("control characters"), "{said}");
    }
}

pub async fn paths(place: &Place) {
    for path in [
        "/metrics/",
        "/metrics/x/1",
        "/metrics/job/a/x",
        "/metrics/job/a/1x/1",
        "/metrics/job/%ff",
        "/metrics/job/%z",
    ] {
        assert_eq!(push(place, path, &[], b"a 1\n".to_vec()).await.0, 400, "{path}");
    }
}

pub async fn bodies(place: &Place) {
    for (headers, body) in [
        (&[][..], b"}{\n".to_vec()),
        (&[], b"\xff\xfe\n".to_vec()),
        (&[("content-encoding", "gzip")], b"\x1f\x8b\x08 cut".to_vec()),
        (&[("content-type", PROTOBUF)], b"\xff\xff\xff".to_vec()),
    ] {
        assert_eq!(push(place, GROUP, headers, body).await.0, 400, "{headers:?}");
    }
}

/// Kilobytes that hold gigabytes.
pub async fn bombs(place: &Place) {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&vec![b'#'; 1 << 20]).unwrap();
    let gzip = gzip.finish().unwrap().repeat(33);
    let mut snappy = snap::write::FrameEncoder::new(Vec::new());
    snappy.write_all(&vec![b'#'; 1 << 20]).unwrap();
    let snappy = snappy.into_inner().unwrap().repeat(33);
    // A name of 4 MB, and a million series that have it.
    let name = [&[0x0a][..], &varint(4 << 20), &vec![b'a'; 4 << 20]].concat();
    let family = [name, b"\x22\x02\x12\x00".repeat(1 << 20)].concat();
    let protobuf = [varint(family.len()), family].concat();
    for (headers, body) in [
        (("content-encoding", "gzip"), gzip),
        (("content-encoding", "snappy"), snappy),
        (("content-type", PROTOBUF), protobuf),
    ] {
        let (status, said) = push(place, GROUP, &[headers], body).await;
        assert_eq!(status, 413, "{headers:?}: {said}");
    }
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while number > 0x7F {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
    out
}

pub async fn too_long(place: &Place) {
    // The proxy answers before all was sent, so the connection may break first.
    let body = vec![b'#'; (16 << 20) + 1];
    if let Ok(answer) = with_body(place.push, "PUT", GROUP, &[], body).await {
        assert_eq!(answer.status.as_u16(), 413);
    }
}

pub async fn slow_heads(place: &Place) {
    let head = b"GET /metrics/connected HTTP/1.1\r\nX: y\r\n";
    let slow = [place.http, place.push].map(|at| async move { byte_by_byte(connect(at).await, head).await });
    join_all(slow).await;
}

/// Asks without end and reads nothing.
pub async fn deaf(place: &Place) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let mut stream = socket.connect(place.http).await.unwrap();
    let requests = b"GET /metrics/proxy HTTP/1.1\r\nHost: p\r\n\r\n".repeat(2000);
    let _ = tokio::time::timeout(Duration::from_secs(5), send(&mut stream, &requests)).await;
    byte_by_byte(stream, b"G").await;
}

pub async fn slow_body(place: &Place) {
    let mut stream = connect(place.push).await;
    let head = format!("PUT {GROUP} HTTP/1.1\r\nHost: p\r\nContent-Length: 1000000\r\n\r\na");
    send(&mut stream, head.as_bytes()).await;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}
