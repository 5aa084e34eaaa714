//! Requests to the push door: method, path, headers and body. Each gets an answer that means something, and what is
//! shown stays well formed.
//!
//! An input is the request's first line, then a line with words that stand for headers, then the body.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, Uri};
use jiff::Timestamp;
use millrace::proxy::exposition::{Format, Merge};
use millrace::proxy::http::delivery::Peer;
use millrace::proxy::push::{PushDoor, Room, Settings, routes};
use millrace::proxy::store::{self, Clock, Store};
use tower::ServiceExt;

use crate::engine::{Target, fuzz, hash, size};
use crate::grammar;
use crate::recovery::Memory;
use crate::seeds;

#[test]
fn push() {
    let mut seeds: Vec<Vec<u8>> = [
        &b"PUT /metrics/job/t/task.name/t/task.execution.id/42/task.external.execution.id/p\n\na 1\n"[..],
        b"POST /metrics/job@base64/L2E/x@base64/=\n\n# TYPE a counter\na 1\n",
        b"DELETE /metrics/job/t/x/1%2F2/\n\n",
        b"PUT /metrics/job/t\ntext\na{b=\"c\"} 1\n",
        b"PUT /metrics/job/t\ngzip\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x4b\x54\x30\xe4\x02\x00\x98\x54\xc4\x7c\x04\x00\x00\x00",
        b"PUT /metrics/job/t\nsnappy\n\x04\x0ca 1\n",
        b"POST /metrics/job/t\nprotobuf\n\x19\x0a\x07c_total\"\x0e\x0a\x00\x1a\x0a\x09\x00\x00\x00\x00\x00\x00\xf0\x3f",
        b"GET /-/healthy\n\n",
        b"GET /metrics\n\n",
    ]
    .map(<[u8]>::to_vec)
    .into();
    for text in seeds::expositions().into_iter().skip(4) {
        seeds.push([b"POST /metrics/job/t/i/1\n\n", text.as_slice()].concat());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut door = Door::new();
    let run = |input: &[u8]| runtime.block_on(door.run(input));
    fuzz(Target { name: "push", seeds, words: WORDS, longest: 4 << 10, run });
}

const WORDS: &[&[u8]] = &[
    b"/metrics/job/",
    b"PUT ",
    b"POST ",
    b"DELETE ",
    b"PATCH ",
    b"@base64/",
    b"%00",
    b"%0a",
    b"%ff",
    b"%2F",
    b"%",
    b"//",
    b"/task.name/t",
    b"/task_execution_id/1",
    b"/task_external_execution_id/p",
    b"/__x/1",
    b"?a=b",
    b"gzip ",
    b"snappy ",
    b"protobuf ",
    b"text ",
    b"\n\n",
    b"a 1\n",
];

struct Door {
    store: Arc<Store>,
    routes: Router,
    requests: usize,
}

impl Door {
    fn new() -> Self {
        let clock: Clock = Arc::new(|| Timestamp::from_millisecond(1_800_000_000_000).unwrap());
        let limits = store::Settings {
            memory_max: 1 << 20,
            disk_max: 4 << 20,
            segment_bytes: 64 << 10,
            ..Default::default()
        };
        let store = Store::open(Arc::new(Memory::default()), limits, clock.clone()).unwrap();
        let settings = Settings { body_max: 8 << 10, text_max: 16 << 10 };
        let door = PushDoor {
            store: store.clone(),
            clock,
            settings,
            next: Arc::new(AtomicU64::new(1)),
            metrics: Arc::default(),
            flood: Arc::default(),
            room: Room::default(),
        };
        Self { store, routes: routes(door), requests: 0 }
    }

    async fn run(&mut self, input: &[u8]) -> u64 {
        let mut lines = input.splitn(3, |byte| *byte == b'\n');
        let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let words = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let body = lines.next().unwrap_or_default().to_vec();
        let (method, path) = first.split_once(' ').unwrap_or(("PUT", &first));
        // What is no URI is refused before anybody sees it.
        let Ok(uri) = path.parse::<Uri>() else { return 0 };
        let length = body.len();
        let mut request = Request::builder().method(method).uri(uri);
        for word in words.split(' ') {
            request = match word {
                "gzip" | "snappy" | "identity" | "br" => request.header("content-encoding", word),
                "protobuf" => request.header("content-type", PROTOBUF),
                word => request.header("content-type", word),
            };
        }
        let Ok(mut request) = request.body(Body::from(body)) else { return 1 };
        let peer = Peer { address: SocketAddr::from(([10, 0, 0, 1], 4000)), pending: Arc::default() };
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = self.routes.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        assert!([200, 202, 400, 404, 405, 413, 415].contains(&status), "{status}");
        let said = axum::body::to_bytes(answer.into_body(), 16 << 10).await.unwrap();
        assert!(status < 400 || (said.ends_with(b"\n") && said.len() > 3), "no word about {status}");
        self.requests += 1;
        if status == 200 && self.requests.is_multiple_of(16) {
            self.shown();
        }
        let words: Vec<_> = std::str::from_utf8(&said).unwrap_or_default().rsplit(' ').take(2).collect();
        hash((status, if status == 400 { hash(words) } else { 0 }, size(length)))
    }

    /// All together: groups that are alike in all but their keys among them.
    fn shown(&self) {
        for (format, openmetrics) in [(Format::Text, false), (Format::OpenMetrics { start: true }, true)] {
            let mut merge = Merge::new(self.store.exposed().0, format);
            let mut out = Vec::new();
            while merge.write(&mut out, 4096) {}
            grammar::read(&String::from_utf8(out).unwrap(), openmetrics);
        }
    }
}

const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
