//! The doors together, over sockets.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;
use crate::proxy::metrics::Metrics;
use crate::proxy::push::{self, PushDoor};
use crate::proxy::store::tests::SimDisk;
use crate::proxy::store::{Clock, Settings, Store};

struct Proxy {
    read: SocketAddr,
    push: SocketAddr,
    store: Arc<Store>,
}

async fn proxy() -> Proxy {
    proxy_with(Scrapes::default()).await
}

async fn proxy_with(scrapes: Scrapes) -> Proxy {
    let clock: Clock = Arc::new(|| Timestamp::from_millisecond(1_800_000_000_000).unwrap());
    let store = Store::open(Arc::new(SimDisk::default()), Settings::default(), clock.clone()).unwrap();
    let cell = Arc::new(OnceLock::from(store.clone()));
    let (mut registry, counts) = (Registry::default(), Arc::new(Counts::default()));
    register(&mut registry, cell.clone(), counts.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let read = listener.local_addr().unwrap();
    let metrics = Arc::new(Metrics::default());
    metrics.register(&mut registry);
    let routes = routes(HttpDoor { scrapes, ..HttpDoor::new(cell, registry, counts) });
    tokio::spawn(serve::serve(listener, routes, metrics, std::future::pending()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let push = listener.local_addr().unwrap();
    let next = Arc::new(AtomicU64::new(1 << 48));
    let door = PushDoor {
        store: store.clone(),
        clock,
        settings: push::Settings::default(),
        next,
        metrics: Arc::default(),
        flood: Arc::default(),
        room: push::Room::default(),
    };
    tokio::spawn(serve::serve(listener, push::routes(door), Arc::default(), std::future::pending()));
    Proxy { read, push, store }
}

/// Status and body of one request on a connection of its own.
async fn ask(to: SocketAddr, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let head = format!("{head}\r\nhost: p\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = memchr::memmem::find(&answer, b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_off(end + 4);
    (status, if head.contains("chunked") { dechunked(&body) } else { body })
}

fn dechunked(mut body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = memchr::memmem::find(body, b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        out.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
    }
    out
}

const GROUP: &str = "/metrics/job/t/task.name/t/task.execution.id/42/task.external.execution.id/pod";

#[tokio::test]
async fn a_push_is_shown_and_told() {
    let proxy = proxy().await;
    let put = format!("PUT {GROUP} HTTP/1.1");
    assert_eq!(ask(proxy.push, &put, b"# TYPE a_total counter\na_total 3\n").await.0, 200);
    assert_eq!(ask(proxy.push, &format!("POST {GROUP} HTTP/1.1"), b"").await.0, 200);
    assert_eq!(ask(proxy.push, &format!("DELETE {GROUP} HTTP/1.1"), b"").await.0, 202);
    assert_eq!(ask(proxy.push, &put, b"}").await.0, 400);
    assert_eq!(ask(proxy.push, "PUT /metrics/jobs/a HTTP/1.1", b"a 1\n").await.0, 400);
    assert_eq!(ask(proxy.push, "GET / HTTP/1.1", b"").await.0, 404);
    let expected = "# TYPE a_total counter\na_total{task_execution_id=\"42\",task_external_execution_id=\"pod\",\
        task_name=\"t\"} 3.0 1800000000000\n";
    let (status, body) = ask(proxy.read, "GET /metrics/connected HTTP/1.1\r\naccept: x/y", b"").await;
    assert_eq!((status, String::from_utf8(body).unwrap()), (200, expected.to_owned()));
    let (_, body) = ask(proxy.read, "GET /metrics/connected?start=1 HTTP/1.1", b"").await;
    assert!(String::from_utf8(body).unwrap().contains("a_created{"));
    let (_, body) =
        ask(proxy.read, "GET /metrics/connected HTTP/1.1\r\naccept-encoding: br, gzip", b"").await;
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*body).read_to_string(&mut text).unwrap();
    assert_eq!(text, expected);
    let (_, body) = ask(proxy.read, "GET /executions/42 HTTP/1.1", b"").await;
    let facts: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(facts["attempts"][0]["externalExecutionId"], "pod");
    assert_eq!(facts["attempts"][0]["deleted"], true);
    assert_eq!(ask(proxy.read, "GET /actuator/health/readiness HTTP/1.1", b"").await.0, 200);
    let (_, body) = ask(proxy.read, "GET /metrics/proxy HTTP/1.1", b"").await;
    let own = String::from_utf8(body).unwrap();
    assert!(own.contains("# TYPE millrace_proxy_finals gauge\nmillrace_proxy_finals 1.0\n"), "{own}");
    assert!(own.contains("millrace_proxy_invalid_lines_total 1.0\n"), "{own}");
    assert_eq!(ask(proxy.read, "POST /metrics/connected HTTP/1.1", b"").await.0, 405);
}

#[tokio::test]
async fn a_line_that_is_no_utf8_is_dropped_alone_and_counted() {
    let proxy = proxy().await;
    let body = b"a{x=\"1\"} 1\na{x=\"\xff\"} 2\nb 3\n";
    assert_eq!(ask(proxy.push, &format!("PUT {GROUP} HTTP/1.1"), body).await.0, 200);
    let (_, shown) = ask(proxy.read, "GET /metrics/connected HTTP/1.1", b"").await;
    let shown = String::from_utf8(shown).unwrap();
    assert!(!shown.contains('\u{FFFD}'), "{shown}");
    assert_eq!(shown.lines().filter(|line| !line.starts_with('#')).count(), 2, "{shown}");
    let (_, own) = ask(proxy.read, "GET /metrics/proxy HTTP/1.1", b"").await;
    assert!(String::from_utf8(own).unwrap().contains("millrace_proxy_invalid_lines_total 1.0\n"));
}

#[tokio::test]
async fn packed_and_long_pushes_are_read_aside_and_stored() {
    let proxy = proxy().await;
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(b"packed 1\n").unwrap();
    let put = format!("PUT {GROUP}/step/packed HTTP/1.1\r\ncontent-encoding: gzip");
    assert_eq!(ask(proxy.push, &put, &packed.finish().unwrap()).await.0, 200);
    let long = [&b"# ".repeat(40 << 10), &b"\nlong 1\n"[..]].concat();
    assert_eq!(ask(proxy.push, &format!("PUT {GROUP}/step/long HTTP/1.1"), &long).await.0, 200);
    let (_, shown) = ask(proxy.read, "GET /metrics/connected HTTP/1.1", b"").await;
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("packed{") && shown.contains("long{"), "{shown}");
}

#[tokio::test]
async fn only_whole_responses_to_scrapers_count() {
    let proxy = proxy().await;
    assert_eq!(ask(proxy.push, &format!("PUT {GROUP} HTTP/1.1"), b"a 3\n").await.0, 200);
    let seen = || proxy.store.attempts("42").remove(0).seen_by;
    ask(proxy.read, "GET /metrics/connected HTTP/1.1", b"").await;
    assert!(seen().is_empty());
    let scrape = "GET /metrics/connected?scraper=p1 HTTP/1.1\r\nx-prometheus-scrape-timeout-seconds: 9";
    // On one connection, a response counts once the next request comes.
    let mut stream = TcpStream::connect(proxy.read).await.unwrap();
    for _ in 0..2 {
        stream.write_all(format!("{scrape}\r\nhost: p\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"0\r\n\r\n") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
        }
    }
    assert_eq!(seen(), ["p1"]);
    assert!(!proxy.store.drained());
    ask(proxy.read, scrape, b"").await;
    while !proxy.store.drained() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn alive_while_it_recovers_and_only_then_ready() {
    let cell = Arc::new(OnceLock::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let read = listener.local_addr().unwrap();
    let door = HttpDoor::new(cell.clone(), Registry::default(), Arc::default());
    tokio::spawn(serve::serve(listener, routes(door), Arc::default(), std::future::pending()));
    let status = async |path: &str| ask(read, &format!("GET {path} HTTP/1.1"), b"").await.0;
    assert_eq!(status("/actuator/health/liveness").await, 200);
    for path in ["/actuator/health", "/actuator/health/readiness", "/metrics/connected", "/executions"] {
        assert_eq!(status(path).await, 503, "{path}");
    }
    let clock: Clock = Arc::new(|| Timestamp::UNIX_EPOCH);
    let store = Store::open(Arc::new(SimDisk::default()), Settings::default(), clock).unwrap();
    assert!(cell.set(store).is_ok());
    assert_eq!(status("/actuator/health/readiness").await, 200);
    assert_eq!(status("/metrics/connected").await, 200);
}

async fn own_metrics(proxy: &Proxy) -> String {
    let (_, own) = ask(proxy.read, "GET /metrics/proxy HTTP/1.1", b"").await;
    String::from_utf8(own).unwrap()
}

#[tokio::test]
async fn who_finds_no_place_in_time_is_refused_and_counted() {
    let scrapes = Scrapes { wait: Duration::from_millis(50), ..Scrapes::default() };
    let places = scrapes.places.clone();
    let proxy = proxy_with(scrapes).await;
    let others = places.clone().try_acquire_many_owned(32).unwrap();
    let scrape = "GET /metrics/connected HTTP/1.1";
    let (status, why) = ask(proxy.read, scrape, b"").await;
    assert_eq!(status, 503);
    assert!(why.ends_with(b"ask again in a moment\n"));
    assert_eq!(ask(proxy.read, "GET /actuator/health HTTP/1.1", b"").await.0, 200);
    assert!(own_metrics(&proxy).await.contains("millrace_proxy_responses_refused_total 1.0\n"));
    drop(others);
    assert_eq!(ask(proxy.read, scrape, b"").await.0, 200);
    assert_eq!(ask(proxy.read, "HEAD /metrics/connected HTTP/1.1", b"").await.0, 200);
    while places.available_permits() < 32 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_response_that_is_not_taken_in_time_is_broken_off_and_no_delivery() {
    let scrapes = Scrapes { taken: Duration::from_millis(500), ..Scrapes::default() };
    let places = scrapes.places.clone();
    let proxy = proxy_with(scrapes).await;
    let long = "x".repeat(400);
    let series: Vec<_> = (0..20_000).map(|i| format!("a{{i=\"{i}\",x=\"{long}{}\"}} 1\n", i % 7)).collect();
    assert_eq!(ask(proxy.push, &format!("PUT {GROUP} HTTP/1.1"), series.concat().as_bytes()).await.0, 200);
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut reader = socket.connect(proxy.read).await.unwrap();
    let scrape = "GET /metrics/connected?scraper=p1 HTTP/1.1\r\nx-prometheus-scrape-timeout-seconds: 9";
    reader.write_all(format!("{scrape}\r\nhost: p\r\n\r\n").as_bytes()).await.unwrap();
    while reader.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0)
        && !own_metrics(&proxy).await.contains("what=\"http_slow\"} 1.0\n")
    {}
    assert!(own_metrics(&proxy).await.contains("what=\"http_slow\"} 1.0\n"));
    assert_eq!(places.available_permits(), 32);
    assert!(proxy.store.attempts("42").remove(0).seen_by.is_empty());
}
