//! What is read from the proxy: `/metrics/connected`, `/metrics/proxy`, `/actuator/health`, `/executions`, `/connections`.

pub mod delivery;
mod facts;
mod metrics;
mod scrapes;
pub mod serve;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;

use self::delivery::{Delivery, Peer};
pub use self::metrics::{Counts, register};
use self::scrapes::{Place, Scrapes};
use super::exposition::{Body as Series, Exposed, Format, Interner, Labels, Merge, build};
use super::flood::Flood;
use super::store::Store;

/// Sent by Prometheus and by nobody who only looks.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";
/// Bytes made at once.
const PIECE: usize = 64 << 10;

/// What the door needs.
#[derive(Clone)]
pub struct HttpDoor {
    /// The store, once it is recovered.
    pub store: Arc<OnceLock<Arc<Store>>>,
    /// The own metrics of all doors.
    pub registry: Arc<Registry>,
    /// Of this door.
    pub counts: Arc<Counts>,
    /// Readers of all applications.
    pub scrapes: Scrapes,
    /// Bounds what is logged.
    pub flood: Arc<Flood>,
    /// Readers of the stream of facts.
    pub streams: Arc<Semaphore>,
    /// Whether the proxy ends.
    pub ending: Arc<AtomicBool>,
}

impl HttpDoor {
    /// A door that nobody reads from yet.
    pub fn new(store: Arc<OnceLock<Arc<Store>>>, registry: Registry, counts: Arc<Counts>) -> Self {
        let streams = Arc::new(Semaphore::new(facts::STREAMS));
        let (scrapes, flood) = (Scrapes::default(), Arc::default());
        Self { store, registry: Arc::new(registry), counts, scrapes, flood, streams, ending: Arc::default() }
    }
}

/// The routes, for [`serve::serve`].
pub fn routes(door: HttpDoor) -> Router {
    Router::new()
        .route("/metrics/connected", get(connected))
        .route("/metrics/proxy", get(own))
        .route("/actuator/health", get(ready))
        .route("/actuator/health/readiness", get(ready))
        .route("/actuator/health/liveness", get(|| async { health(true) }))
        .route("/executions", get(facts::executions))
        .route("/executions/{id}", get(facts::execution))
        .route("/connections", get(facts::connections))
        .with_state(door)
}

fn health(up: bool) -> Response {
    let (code, status) =
        if up { (StatusCode::OK, "UP") } else { (StatusCode::SERVICE_UNAVAILABLE, "OUT_OF_SERVICE") };
    (code, json(&serde_json::json!({ "status": status }))).into_response()
}

fn json(value: &serde_json::Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

async fn ready(State(door): State<HttpDoor>) -> Response {
    health(door.store.get().is_some())
}

/// The value of a parameter of the query, as it is written.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Text 0.0.4 whatever the Accept header says, as the Java proxy's users know it; OpenMetrics when it is asked for.
fn format(query: &str) -> Format {
    match (parameter(query, "start"), parameter(query, "format")) {
        (Some("1"), _) => Format::OpenMetrics { start: true },
        (_, Some("openmetrics")) => Format::OpenMetrics { start: false },
        _ => Format::Text,
    }
}

async fn connected(
    State(door): State<HttpDoor>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some(store) = door.store.get() else { return health(false) };
    let query = query.unwrap_or_default();
    let format = format(&query);
    let scraper = headers.contains_key(SCRAPE_TIMEOUT).then(|| scraper_name(&query, &peer, &headers));
    let scraper = scraper.and_then(|name| store.scraper(&name));
    let Some(place) = door.scrapes.place(&peer.pending).await else { return crowded(&door, &peer) };
    let (bodies, of_them) = store.exposed();
    let delivery = scraper.map(|scraper| (Delivery { scraper, bodies: of_them }, peer.pending));
    // Deciding about a million families takes a while, also if the reader is gone meanwhile.
    let merge = tokio::task::spawn_blocking(move || (Merge::new(bodies, format), place));
    let Ok((merge, place)) = merge.await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let gzip = accepts_gzip(&headers);
    let counts = door.counts.clone();
    let packer = gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast()));
    let begun = Pieces { merge, packer, delivery, counts, ended: false, _place: place };
    let stream = futures::stream::unfold(begun, |mut pieces| async {
        let piece = pieces.next()?;
        Some((Ok::<_, Infallible>(piece), pieces))
    });
    let mut response = Body::from_stream(stream).into_response();
    let head = response.headers_mut();
    head.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(format.content_type()));
    head.insert(header::VARY, header::HeaderValue::from_static("accept-encoding"));
    if gzip {
        head.insert(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip"));
    }
    if door.ending.load(Ordering::Relaxed) {
        // Its arrival is known when the connection ends, not only with the next scrape.
        head.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    response
}

/// Nobody of those that read now ended in time.
fn crowded(door: &HttpDoor, peer: &Peer) -> Response {
    door.counts.refused.fetch_add(1, Ordering::Relaxed);
    if let Some(left_out) = door.flood.lets("crowded", Instant::now()) {
        tracing::warn!(peer = %peer.address, left_out, "too many read /metrics/connected; one is refused");
    }
    let sentence = "too many others read this at the same time; ask again in a moment\n";
    (StatusCode::SERVICE_UNAVAILABLE, sentence).into_response()
}

/// What a scraper is known by: what it calls itself, else where it comes from and what it is.
fn scraper_name(query: &str, peer: &Peer, headers: &HeaderMap) -> String {
    let short = |text: &str| text.chars().filter(|c| !c.is_control()).take(128).collect::<String>();
    if let Some(name) = parameter(query, "scraper").filter(|name| !name.is_empty()) {
        return short(name);
    }
    let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    format!("{} {}", peer.address.ip(), short(agent))
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    accepted.flat_map(|v| v.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip") || name == "*");
        named && !parts.any(|q| matches!(q, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

/// A response on its way.
struct Pieces {
    merge: Merge,
    packer: Option<GzEncoder<Vec<u8>>>,
    delivery: Option<(Delivery, Arc<delivery::Pending>)>,
    counts: Arc<Counts>,
    ended: bool,
    _place: Place,
}

impl Pieces {
    /// The next piece; none is empty, or the response would seem to end.
    fn next(&mut self) -> Option<Bytes> {
        while !self.ended {
            let mut text = Vec::with_capacity(PIECE + 1024);
            self.ended = !self.merge.write(&mut text, PIECE);
            let piece = self.packed(text);
            if self.ended {
                self.end();
            }
            if !piece.is_empty() {
                return Some(piece.into());
            }
        }
        None
    }

    fn packed(&mut self, text: Vec<u8>) -> Vec<u8> {
        let Some(packer) = &mut self.packer else { return text };
        // Writing to a Vec does not fail.
        let _ = packer.write_all(&text);
        if self.ended {
            let _ = packer.try_finish();
        }
        std::mem::take(packer.get_mut())
    }

    fn end(&mut self) {
        let found = self.merge.counts();
        self.counts.series.store(found.series, Ordering::Relaxed);
        self.counts.conflicts.store(found.conflicts, Ordering::Relaxed);
        self.counts.duplicates.store(found.duplicates, Ordering::Relaxed);
        self.counts.responses.fetch_add(1, Ordering::Relaxed);
        if let Some((delivery, pending)) = self.delivery.take() {
            pending.made(delivery);
        }
    }
}

/// The own metrics, as text 0.0.4 like the Java proxy's.
async fn own(State(door): State<HttpDoor>) -> Response {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &door.registry);
    let body: Series = build(text.as_bytes(), &Labels::new(), &Interner::default()).body;
    let alone = Exposed { body: Arc::new(body), taken_ms: None, since: 0.0, identified: true };
    let mut merge = Merge::new(vec![alone], Format::Text);
    let mut out = Vec::new();
    while merge.write(&mut out, PIECE) {}
    ([(header::CONTENT_TYPE, Format::Text.content_type())], out).into_response()
}
