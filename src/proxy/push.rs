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

use super::aside::{Aside, EndedEarly};
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
    /// Bytes of what a request holds, unpacked.
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

/// A plain body of so many bytes is looked at where it is read: to hand it over would take longer.
const SMALL: usize = 64 << 10;

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

    /// The exposition of a body that was read, and all the room that it takes. Where that is work, it is done aside:
    /// the threads of the sockets serve everybody.
    async fn unpack(
        &self,
        headers: HeaderMap,
        body: Vec<u8>,
        most: usize,
        taken: OwnedSemaphorePermit,
        aside: &Aside,
    ) -> Result<(Vec<u8>, OwnedSemaphorePermit), Refusal> {
        let read = body.len();
        let (text, mut taken) = if body.len() > SMALL || is_packed(&headers) {
            // The room is held until the work is done, also if the client goes away meanwhile.
            let work = move || text_of(&headers, body, most).map(|text| (text, taken));
            let early = |early: EndedEarly| (StatusCode::INTERNAL_SERVER_ERROR, early.to_string());
            aside.run(work).await.map_err(early)??
        } else {
            (text_of(&headers, body, most)?, taken)
        };
        // The body is gone by now.
        taken.merge(self.take(text.len().saturating_sub(read))?);
        Ok((text, taken))
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
    let (body, room) = body.map_err(late)??;
    let (text, room) =
        door.room.unpack(head.headers, body, door.settings.text_max, room, &door.store.aside).await?;
    let id = door.next.fetch_add(1, Ordering::Relaxed);
    let origin = Origin { id, door: Door::Push, peer, since };
    let push = Push { origin, at: (door.clock)(), group, text, replace };
    let store = door.store.clone();
    // A client that goes away meanwhile does not undo what is on its way to the disk.
    let stored = tokio::spawn(async move {
        let _room = room;
        let ready = if push.text.len() > SMALL {
            let reader = store.clone();
            store.aside.run(move || reader.read_push(push)).await??
        } else {
            store.read_push(push)?
        };
        store.push(ready).await
    });
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

fn text_in(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

fn is_protobuf(headers: &HeaderMap) -> bool {
    text_in(headers, header::CONTENT_TYPE).starts_with("application/vnd.google.protobuf")
}

/// Whether few bytes may become very many.
fn is_packed(headers: &HeaderMap) -> bool {
    let coding = text_in(headers, header::CONTENT_ENCODING);
    is_protobuf(headers) || !(coding.is_empty() || coding.eq_ignore_ascii_case("identity"))
}

/// The exposition of a request, whatever it is packed in. It may have lines that are no UTF-8: whoever reads it drops
/// them alone, and counts them.
fn text_of(headers: &HeaderMap, body: Vec<u8>, most: usize) -> Result<Vec<u8>, Refusal> {
    let unpacked = match text_in(headers, header::CONTENT_ENCODING).to_ascii_lowercase().as_str() {
        "" | "identity" if body.len() > most => return Err(too_large(most)),
        "" | "identity" => body,
        "gzip" => read_at_most(flate2::read::MultiGzDecoder::new(&*body), most)?,
        // Framed, as the Pushgateway reads it.
        "snappy" => read_at_most(snap::read::FrameDecoder::new(&*body), most)?,
        other => return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("cannot read {other:?}"))),
    };
    if !is_protobuf(headers) {
        return Ok(unpacked);
    }
    let kind = text_in(headers, header::CONTENT_TYPE);
    if !kind.contains("encoding=delimited") || !kind.contains("proto=io.prometheus.client.MetricFamily") {
        return Err(bad(format!("cannot read {kind:?}")));
    }
    let text = protobuf::to_text(&unpacked, most).map_err(|e| match e {
        NotText::Malformed => bad(e.to_string()),
        NotText::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, e.to_string()),
    })?;
    Ok(text.into_bytes())
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

    fn gzip(text: &[u8]) -> Vec<u8> {
        use std::io::Write;
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(text).unwrap();
        packed.finish().unwrap()
    }

    fn encoded(coding: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_ENCODING, coding.parse().unwrap())])
    }

    #[test]
    fn bodies_however_packed() {
        use std::io::Write;
        let (packed, headers) = (gzip(&[b'#'; 5000]), encoded("gzip"));
        assert_eq!(text_of(&headers, packed.clone(), 5000).unwrap().len(), 5000);
        assert_eq!(text_of(&headers, packed.clone(), 4999).unwrap_err().0, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(text_of(&headers, packed[..9].to_vec(), 5000).unwrap_err().0, StatusCode::BAD_REQUEST);
        let headers = encoded("snappy");
        let mut packed = snap::write::FrameEncoder::new(Vec::new());
        packed.write_all(b"a 1\n").unwrap();
        let packed = packed.into_inner().unwrap();
        assert_eq!(text_of(&headers, packed.clone(), 4).unwrap(), b"a 1\n");
        assert_eq!(text_of(&headers, packed, 3).unwrap_err().0, StatusCode::PAYLOAD_TOO_LARGE);
        let unknown = text_of(&encoded("br"), Vec::new(), 3).unwrap_err();
        assert_eq!(unknown.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }

    #[test]
    fn a_plain_body_has_the_limit_of_a_packed_one() {
        let refused = Err((StatusCode::PAYLOAD_TOO_LARGE, "over 3 bytes unpacked".to_owned()));
        for headers in [HeaderMap::new(), encoded("identity")] {
            assert_eq!(text_of(&headers, b"a 1\n".to_vec(), 4).unwrap(), b"a 1\n");
            assert_eq!(text_of(&headers, b"a 1\n".to_vec(), 3), refused);
        }
        assert_eq!(text_of(&encoded("gzip"), gzip(b"a 1\n"), 3), refused);
    }

    #[tokio::test]
    async fn what_is_work_waits_for_a_core_and_what_is_none_does_not() {
        let (room, aside) = (Room::default(), Aside::default());
        let cores = std::thread::available_parallelism().unwrap().get();
        let (busy, waits) = std::sync::mpsc::channel::<()>();
        let waits = Arc::new(std::sync::Mutex::new(waits));
        let all_busy = (0..cores).map(|_| {
            let (aside, waits) = (aside.clone(), waits.clone());
            // Until the sender is gone.
            tokio::spawn(async move { aside.run(move || waits.lock().unwrap().recv()).await })
        });
        let all_busy: Vec<_> = all_busy.collect();
        tokio::task::yield_now().await;
        let unpack = async |headers, body: Vec<u8>| {
            let taken = room.take(body.len()).unwrap();
            room.unpack(headers, body, 1 << 20, taken, &aside).await.map(|(text, _)| text.len())
        };
        let protobuf =
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
        let protobuf = HeaderMap::from_iter([(header::CONTENT_TYPE, protobuf.parse().unwrap())]);
        let work = [
            (encoded("gzip"), gzip(b"a 1\n"), 4),
            (protobuf, Vec::new(), 0),
            (HeaderMap::new(), vec![b'#'; SMALL + 1], SMALL + 1),
        ];
        assert_eq!(unpack(HeaderMap::new(), vec![b'#'; SMALL]).await, Ok(SMALL));
        for (headers, body, _) in work.clone() {
            assert!(timeout(Duration::from_millis(50), unpack(headers, body)).await.is_err());
        }
        drop(busy);
        for (headers, body, length) in work {
            assert_eq!(unpack(headers, body).await, Ok(length));
        }
        assert_eq!(futures::future::join_all(all_busy).await.len(), cores);
        assert_eq!(room.0.available_permits(), ROOM);
    }

    #[tokio::test]
    async fn room_is_taken_for_what_a_body_becomes() {
        let room = Room::default();
        let body = gzip(&[b'#'; 5000]);
        let taken = room.take(body.len()).unwrap();
        let (_text, taken) =
            room.unpack(encoded("gzip"), body, 5000, taken, &Aside::default()).await.unwrap();
        assert_eq!(taken.num_permits(), 5000);
        let full = room.take(ROOM).unwrap_err();
        assert_eq!(full.0, StatusCode::SERVICE_UNAVAILABLE);
    }
}
