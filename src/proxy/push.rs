//! The push door: the push API of Prometheus' Pushgateway, into the store (`docs/push-door.md` lists what is
//! meant to differ).

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::exposition::Labels;
use super::exposition::identity::group_labels;
use super::exposition::parse::is_label_name;
use super::exposition::protobuf::{self, NotText};
use super::flood::Flood;
use super::http::delivery::Peer;
use super::intake::{Door, IntakeError, Origin, Pushed};
use super::metrics::{Metrics, Outcome};
use super::store::{Clock, Push, Store};

/// Limits of the push door.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes of a request.
    pub body_max: usize,
    /// Bytes of what a compressed request holds.
    pub text_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { body_max: 16 << 20, text_max: 32 << 20 }
    }
}

/// What the door needs.
#[derive(Clone)]
pub struct PushDoor {
    /// Where pushes go.
    pub store: Arc<Store>,
    /// Tells the time of day.
    pub clock: Clock,
    /// Limits.
    pub settings: Settings,
    /// Numbers requests; shared with the other doors' numbers.
    pub next: Arc<AtomicU64>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Bounds what is logged.
    pub flood: Arc<Flood>,
    /// Bounds what is in memory.
    pub room: Room,
}

/// The routes, for [`super::http::serve::serve`].
pub fn routes(door: PushDoor) -> Router {
    Router::new().fallback(any).with_state(door)
}

/// A body must be there so long after its head.
const BODY_WAIT: Duration = Duration::from_secs(30);

/// Bytes of all requests that are read and stored at the same time, packed and unpacked.
const ROOM: usize = 256 << 20;

/// What is left of [`ROOM`].
#[derive(Clone, Debug)]
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM)))
    }
}

impl Room {
    /// Accounts for bytes until what is returned is dropped.
    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let full = "too much is pushed at the same time; push again in a moment";
        let taken = self.0.clone().try_acquire_many_owned(bytes);
        taken.map_err(|_| (StatusCode::SERVICE_UNAVAILABLE, full.to_owned()))
    }

    /// Reads a body. Only bytes that came are accounted for: a promise takes no room.
    async fn read(&self, body: Body, most: usize) -> Result<(Vec<u8>, OwnedSemaphorePermit), Refusal> {
        let (mut pieces, mut bytes, mut taken) = (body.into_data_stream(), Vec::new(), self.take(0)?);
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|e| bad(format!("the body broke off: {e}")))?;
            if bytes.len() + piece.len() > most {
                return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("over {most} bytes")));
            }
            taken.merge(self.take(piece.len())?);
            bytes.extend_from_slice(&piece);
        }
        Ok((bytes, taken))
    }
}

/// A refusal in the words of the Pushgateway.
type Refusal = (StatusCode, String);

fn bad(why: impl Into<String>) -> Refusal {
    (StatusCode::BAD_REQUEST, why.into())
}

async fn any(
    State(door): State<PushDoor>,
    ConnectInfo(Peer { address: peer, .. }): ConnectInfo<Peer>,
    request: Request<Body>,
) -> Response {
    // Clients ask these before or instead of pushing.
    if request.method() == Method::GET && matches!(request.uri().path(), "/-/healthy" | "/-/ready") {
        return "OK\n".into_response();
    }
    let begin = Instant::now();
    let answer = handle(&door, peer, request).await;
    let outcome = match &answer {
        Ok(Answer::Pushed(Pushed::Stored)) => Some(Outcome::success),
        Ok(Answer::Pushed(Pushed::Empty)) => Some(Outcome::empty),
        Ok(Answer::Ended) => None,
        Err((StatusCode::PAYLOAD_TOO_LARGE, _)) => Some(Outcome::oversize),
        Err((StatusCode::INTERNAL_SERVER_ERROR | StatusCode::SERVICE_UNAVAILABLE, _)) => {
            Some(Outcome::refused)
        }
        Err((StatusCode::REQUEST_TIMEOUT, _)) => Some(Outcome::timeout),
        Err(_) => Some(Outcome::unreadable),
    };
    if let Some(outcome) = outcome {
        door.metrics.push(Door::Push, outcome, begin.elapsed());
    }
    match answer {
        // As the Pushgateway, whose clients take both.
        Ok(Answer::Pushed(_)) => StatusCode::OK.into_response(),
        Ok(Answer::Ended) => StatusCode::ACCEPTED.into_response(),
        Err((status, why)) => {
            if let Some(left_out) = door.flood.lets("push refused", Instant::now()) {
                tracing::info!(%peer, status = status.as_u16(), why, left_out, "a push is refused");
            }
            (status, format!("{why}\n")).into_response()
        }
    }
}

/// What became of a request.
enum Answer {
    Pushed(Pushed),
    /// The group was ended.
    Ended,
}

async fn handle(door: &PushDoor, peer: SocketAddr, request: Request<Body>) -> Result<Answer, Refusal> {
    let since = (door.clock)();
    let Some(grouping) = request.uri().path().strip_prefix("/metrics/") else {
        return Err((StatusCode::NOT_FOUND, "not found".to_owned()));
    };
    let group = grouping_key(grouping).map_err(bad)?;
    let replace = match *request.method() {
        Method::PUT => true,
        Method::POST => false,
        Method::DELETE => {
            door.store.end(group);
            return Ok(Answer::Ended);
        }
        _ => return Err((StatusCode::METHOD_NOT_ALLOWED, "give PUT, POST or DELETE".to_owned())),
    };
    let (head, body) = request.into_parts();
    let body = timeout(BODY_WAIT, door.room.read(body, door.settings.body_max)).await;
    let late = |_| (StatusCode::REQUEST_TIMEOUT, format!("the body did not come within {BODY_WAIT:?}"));
    let (body, mut room) = body.map_err(late)??;
    let text = text_of(&head.headers, &body, door.settings.text_max)?;
    room.merge(door.room.take(text.len())?);
    drop(body);
    let id = door.next.fetch_add(1, Ordering::Relaxed);
    let origin = Origin { id, door: Door::Push, peer, since };
    let push = Push { origin, at: (door.clock)(), group, text: text.into_bytes(), replace };
    let store = door.store.clone();
    // A client that goes away meanwhile does not undo what is on its way to the disk.
    let stored = tokio::spawn(async move { store.push(store.read_push(push)?).await });
    let gone = |_| Err(IntakeError::Store("the proxy ends".to_owned()));
    let pushed = stored.await.unwrap_or_else(gone).map_err(|error| match error {
        IntakeError::Invalid(_) => bad(error.to_string()),
        IntakeError::Full(_) => (StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
        IntakeError::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    })?;
    Ok(Answer::Pushed(pushed))
}

/// `job/<job>{/<label>/<value>}`, each name with `@base64` or not, as labels.
fn grouping_key(path: &str) -> Result<Labels, String> {
    let mut parts = path.split('/');
    let mut pairs: Vec<(String, String)> = Vec::new();
    while let Some(name) = parts.next() {
        let name = percent_decoded(name)?;
        if name.is_empty() && parts.clone().all(str::is_empty) {
            break;
        }
        let value = percent_decoded(parts.next().ok_or("a label without a value")?)?;
        let (name, value) = match name.strip_suffix("@base64") {
            Some(name) => (name.to_owned(), base64(&value)?),
            None => (name, value),
        };
        let name = unescaped(&name).unwrap_or(name);
        // Boot 3.5 writes `task.execution.id`; what else is no label name is refused as the Pushgateway does.
        if !is_label_name(&name.replace('.', "_")) || name.starts_with("__") {
            return Err(format!("{name:?} is no label name"));
        }
        if value.chars().any(char::is_control) {
            return Err(format!("the value of {name} has control characters"));
        }
        // As there: the first one is the job.
        if name != "job" || pairs.is_empty() {
            pairs.push((name, value));
        }
    }
    match pairs.first() {
        Some((name, value)) if name == "job" && !value.is_empty() => Ok(group_labels(&pairs)),
        _ => Err("job name is required".to_owned()),
    }
}

/// `U__task_2e_name`, as Boot 4.0's Prometheus client writes the key `task.name` (escaping "values" of Prometheus' name
/// schemes); none if it is not written so.
fn unescaped(name: &str) -> Option<String> {
    let mut rest = name.strip_prefix("U__")?;
    let mut plain = String::with_capacity(rest.len());
    while let Some((before, after)) = rest.split_once('_') {
        let (code, after) = after.split_once('_')?;
        plain.push_str(before);
        plain.push(if code.is_empty() { '_' } else { char::from_u32(u32::from_str_radix(code, 16).ok()?)? });
        rest = after;
    }
    plain.push_str(rest);
    Some(plain)
}

/// Base64 of URLs, padded or not; `=` stands for an empty value.
fn base64(value: &str) -> Result<String, String> {
    let value = if value == "=" { "" } else { value };
    let bytes = URL_SAFE.decode(value).or_else(|_| URL_SAFE_NO_PAD.decode(value.trim_end_matches('=')));
    let bytes = bytes.map_err(|e| format!("invalid base64 in the path: {e}"))?;
    String::from_utf8(bytes).map_err(|_| "a label value is not UTF-8".to_owned())
}

fn percent_decoded(part: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(part.len());
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit =
            || bytes.next().and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err("a wrong % in the path".to_owned());
        };
        out.push(high << 4 | low);
    }
    String::from_utf8(out).map_err(|_| "the path is not UTF-8".to_owned())
}

/// The exposition of a request, whatever it is packed in.
fn text_of(headers: &HeaderMap, body: &[u8], most: usize) -> Result<String, Refusal> {
    let header =
        |name: header::HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let unpacked = match header(header::CONTENT_ENCODING).to_ascii_lowercase().as_str() {
        "" | "identity" => body.to_vec(),
        "gzip" => read_at_most(flate2::read::MultiGzDecoder::new(body), most)?,
        // Framed, as the Pushgateway reads it.
        "snappy" => read_at_most(snap::read::FrameDecoder::new(body), most)?,
        other => return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("cannot read {other:?}"))),
    };
    let kind = header(header::CONTENT_TYPE);
    if kind.starts_with("application/vnd.google.protobuf") {
        if !kind.contains("encoding=delimited") || !kind.contains("proto=io.prometheus.client.MetricFamily") {
            return Err(bad(format!("cannot read {kind:?}")));
        }
        return protobuf::to_text(&unpacked, most).map_err(|e| match e {
            NotText::Malformed => bad(e.to_string()),
            NotText::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, e.to_string()),
        });
    }
    // Lines that are no UTF-8 are dropped and counted by the reader; here only what they make of the text is kept.
    Ok(String::from_utf8(unpacked).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

fn too_large(most: usize) -> Refusal {
    (StatusCode::PAYLOAD_TOO_LARGE, format!("over {most} bytes unpacked"))
}

/// Never allocates more than `most` and a little, whatever the stream promises.
fn read_at_most(reader: impl Read, most: usize) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(limit).read_to_end(&mut out).map_err(|e| bad(format!("cannot decompress: {e}")))?;
    if out.len() > most { Err(too_large(most)) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(path: &str) -> Result<Vec<(String, String)>, String> {
        grouping_key(path).map(|labels| labels.into_iter().collect())
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn paths_of_the_pushgateway() {
        assert_eq!(group("job/a"), Ok(pairs(&[("job", "a")])));
        assert_eq!(group("job/a/"), Ok(pairs(&[("job", "a")])));
        assert_eq!(group("job/a/job/b"), Ok(pairs(&[("job", "a")])));
        assert_eq!(group("job/a/x/1%2F2/y/"), Ok(pairs(&[("job", "a"), ("x", "1/2")])));
        assert_eq!(group("job@base64/L2E/x@base64/="), Ok(pairs(&[("job", "/a")])));
        assert_eq!(group("job@base64/L2E="), Ok(pairs(&[("job", "/a")])));
        assert_eq!(
            group("job/a/U__task_2e_execution__id/7"),
            Ok(pairs(&[("job", "a"), ("task_execution_id", "7")]))
        );
        assert_eq!(group("job/a/U__x_zz_/7"), Ok(pairs(&[("U__x_zz_", "7"), ("job", "a")])));
        assert_eq!(
            group("job/t/task.execution.id/42/task.name/t"),
            Ok(pairs(&[("job", "t"), ("task_execution_id", "42"), ("task_name", "t")]))
        );
    }

    #[test]
    fn paths_that_are_refused() {
        for path in [
            "",
            "job",
            "job/",
            "jobs/a",
            "x/1/job/a",
            "job/a/x",
            "job/a/1x/1",
            "job/a/__x/1",
            "job/a/x-y/1",
            "job/%zz",
            "job/%ff",
            "job@base64/!",
            "job/a%0ab",
            "job/a/x%00/1",
            "job/a/x/%1",
        ] {
            assert!(group(path).is_err(), "{path}");
        }
    }

    #[test]
    fn bodies_however_packed() {
        use std::io::Write;
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&[b'#'; 5000]).unwrap();
        let packed = packed.finish().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
        assert_eq!(text_of(&headers, &packed, 5000).unwrap().len(), 5000);
        assert_eq!(text_of(&headers, &packed, 4999).unwrap_err().0, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(text_of(&headers, &packed[..9], 5000).unwrap_err().0, StatusCode::BAD_REQUEST);
        headers.insert(header::CONTENT_ENCODING, "snappy".parse().unwrap());
        let mut packed = snap::write::FrameEncoder::new(Vec::new());
        packed.write_all(b"a 1\n").unwrap();
        let packed = packed.into_inner().unwrap();
        assert_eq!(text_of(&headers, &packed, 4).unwrap(), "a 1\n");
        assert_eq!(text_of(&headers, &packed, 3).unwrap_err().0, StatusCode::PAYLOAD_TOO_LARGE);
        headers.insert(header::CONTENT_ENCODING, "br".parse().unwrap());
        assert_eq!(text_of(&headers, b"", 3).unwrap_err().0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
}
