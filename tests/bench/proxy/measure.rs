//! What a scrape takes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub use crate::process::{MIB, cpu, median, percentile, resident};
use crate::support::{http, proxy::SCRAPE};

/// One response of `/metrics/connected`.
#[derive(Clone, Copy, Debug)]
pub struct Scrape {
    pub seconds: f64,
    pub bytes: usize,
    /// Lines, HELP and TYPE included.
    pub lines: usize,
}

/// Scrapes as a Prometheus does; without `gzip` the text comes as it is.
pub async fn scrape(from: SocketAddr, gzip: bool) -> Scrape {
    let begun = Instant::now();
    let scrape = async {
        let stream = TcpStream::connect(from).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request =
            Request::get("/metrics/connected").header(header::HOST, "proxy").header(SCRAPE.0, SCRAPE.1);
        if gzip {
            request = request.header(header::ACCEPT_ENCODING, "gzip");
        }
        let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let (mut bytes, mut lines) = (0, 0);
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap_or_default();
            bytes += data.len();
            lines += memchr::memchr_iter(b'\n', &data).count();
        }
        connection.abort();
        Scrape { seconds: begun.elapsed().as_secs_f64(), bytes, lines }
    };
    let scrape = tokio::time::timeout(Duration::from_mins(2), scrape).await;
    scrape.expect("a scrape takes two minutes at most")
}

/// A counter of the proxy's own metrics.
pub async fn counter(proxy: SocketAddr, series: &str) -> f64 {
    let text = http::get(proxy, "/metrics/proxy", &[]).await.unwrap().text();
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(0.0, |value| value.trim().parse().unwrap())
}
