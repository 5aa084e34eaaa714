//! What Wavefront would be to applications: it records what they send, and answers as it is told.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use flate2::read::GzDecoder;
use http::{HeaderMap, StatusCode, Uri, header};

use super::samples::{Labels, unquoted};

/// A request with metrics.
#[derive(Clone, Debug)]
pub struct Report {
    /// Path and query.
    pub to: String,
    /// `Authorization`.
    pub authorization: Option<String>,
    /// What its lines say.
    pub points: Vec<Point>,
}

/// A line: `"name" value [time] source="…" "tag"="value"…`.
#[derive(Clone, Debug)]
pub struct Point {
    /// Name.
    pub name: String,
    /// Value.
    pub value: f64,
    /// Source.
    pub source: String,
    /// Tags.
    pub tags: Labels,
}

type Reports = Arc<Mutex<Vec<Report>>>;

/// One, on a port of its own.
#[derive(Debug)]
pub struct Receiver {
    /// Where applications send to.
    pub at: SocketAddr,
    reports: Reports,
}

impl Receiver {
    /// Starts one that answers with this status.
    pub async fn start(answer: StatusCode) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, reports) = (listener.local_addr().unwrap(), Reports::default());
        let take = async move |State(reports): State<Reports>, to: Uri, headers: HeaderMap, body: Bytes| {
            let report = report(&to, &headers, &body);
            reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
            answer
        };
        let routes = Router::new().fallback(take).with_state(reports.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { at, reports }
    }

    /// All requests so far that came from a run: the source tells which.
    pub fn reports_of(&self, source: &str) -> Vec<Report> {
        let mut all = self.reports.lock().unwrap().clone();
        all.retain(|report| report.points.iter().any(|point| point.source == source));
        all
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.reports.lock().unwrap().len()
    }
}

fn report(to: &Uri, headers: &HeaderMap, body: &[u8]) -> Report {
    let value = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let mut text = String::new();
    if value(header::CONTENT_ENCODING).is_some_and(|coding| coding == "gzip") {
        GzDecoder::new(body).read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(body.to_vec()).unwrap();
    }
    let points = text.lines().filter(|line| !line.is_empty()).map(point).collect();
    Report { to: to.to_string(), authorization: value(header::AUTHORIZATION), points }
}

fn point(line: &str) -> Point {
    let quoted = line.strip_prefix('"').unwrap_or_else(|| panic!("no name: {line}"));
    let (name, rest) = unquoted(quoted);
    let (numbers, tags) = rest.split_once(" source=\"").unwrap_or_else(|| panic!("no source: {line}"));
    let value = numbers.split_whitespace().next().and_then(|v| v.parse().ok());
    let (source, mut rest) = unquoted(tags);
    let mut tags = Labels::new();
    while let Some(quoted) = rest.strip_prefix(" \"") {
        let (tag, after) = unquoted(quoted);
        let quoted = after.strip_prefix("=\"").unwrap_or_else(|| panic!("no tag: {line}"));
        let (value, after) = unquoted(quoted);
        tags.insert(tag, value);
        rest = after;
    }
    assert_eq!(rest.trim_end(), "", "{line}");
    Point { name, value: value.unwrap_or_else(|| panic!("no value: {line}")), source, tags }
}
