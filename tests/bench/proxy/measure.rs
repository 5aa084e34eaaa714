//! What a process takes, and what a scrape takes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::support::{http, proxy::SCRAPE};

/// Linux tells times of processes in hundredths of a second, whatever its own clock does.
const TICKS: f64 = 100.0;
pub const MIB: f64 = 1024.0 * 1024.0;

/// Resident memory of a process, bytes.
pub fn resident(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}

/// Seconds that its threads ran, in the kernel as well.
pub fn cpu(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // Behind the name, which may hold anything, the 12th and 13th field.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS
}

pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}

/// The value that so many of a hundred do not exceed.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * percent).div_ceil(100).clamp(1, sorted.len()) - 1]
}

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
