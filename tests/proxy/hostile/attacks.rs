//! What is done to the proxy.

mod door;
mod rsocket;
mod websocket;

use std::net::SocketAddr;
use std::time::Duration;

use futures::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::Attack;

/// Where the proxy listens.
#[derive(Clone, Copy)]
pub struct Place {
    pub tcp: SocketAddr,
    pub websocket: SocketAddr,
    pub http: SocketAddr,
    pub push: SocketAddr,
}

macro_rules! event {
    ($what:literal) => {
        concat!("millrace_proxy_connection_events_total{what=\"", $what, "\"}")
    };
}

macro_rules! pushed {
    ($door:literal, $outcome:literal) => {
        concat!("millrace_proxy_push_seconds_count{door=\"", $door, "\",outcome=\"", $outcome, "\"}")
    };
}

macro_rules! attack {
    ($what:literal, $counted:expr, $times:expr, $logged:literal, $run:path) => {
        Attack { what: $what, counted: ($counted, $times), logged: $logged, run: |place| $run(place).boxed() }
    };
}

/// One after the other.
pub const QUICK: &[Attack] = &[
    attack!("each kind of frame cut off", event!("malformed"), 13.0, "not a frame", rsocket::cut_off),
    attack!("frames of 0 to 5 bytes", event!("malformed"), 6.0, "the end of a frame", rsocket::tiny),
    attack!("lengths beyond the frame", event!("malformed"), 4.0, "a length beyond the end", rsocket::lying),
    attack!("frames of unknown kinds", event!("ignored"), 20.0, "what=Ignored", rsocket::unknown),
    attack!("a request before SETUP", event!("refused"), 1.0, "what=Refused", rsocket::no_setup_first),
    attack!("another version, resume, lease", event!("refused"), 4.0, "what=Refused", rsocket::refused),
    attack!("a frame of 16 MiB", event!("malformed"), 1.0, "the length of a frame", rsocket::oversize),
    attack!("fragments over 4 MiB", event!("oversize"), 1.0, "what=Oversize", rsocket::many_fragments),
    attack!("fragments on 1,000 streams", event!("oversize"), 900.0, "what=Oversize", rsocket::many_streams),
    attack!(
        "a key of somebody else",
        pushed!("tcp", "unreadable"),
        1.0,
        "the key in the metadata",
        rsocket::wrong_key
    ),
    attack!("no encryption", pushed!("tcp", "unreadable"), 1.0, "not encrypted", rsocket::not_encrypted),
    attack!(
        "cut ciphertext",
        pushed!("tcp", "unreadable"),
        1.0,
        "the data cannot be decrypted",
        rsocket::cut_cipher
    ),
    attack!("cut snappy", pushed!("tcp", "unreadable"), 1.0, "no block of snappy", rsocket::cut_snappy),
    attack!("100 bombs", pushed!("tcp", "unreadable"), 100.0, "are more than the allowed", rsocket::bombs),
    attack!("no UTF-8", pushed!("tcp", "unreadable"), 1.0, "no UTF-8 text", rsocket::no_utf8),
    attack!("no exposition", pushed!("tcp", "refused"), 1.0, "no valid sample", rsocket::no_exposition),
    attack!(
        "1,000 pushes at once",
        event!("push_rejected"),
        100.0,
        "what=PushRejected",
        rsocket::many_pushes
    ),
    attack!("requests that nobody serves", event!("unserved"), 2.0, "what=Unserved", rsocket::unserved),
    attack!("1,000 reconnects per second", event!("opened"), 2000.0, "over a limit", rsocket::reconnects),
    attack!(
        "websocket: another request",
        event!("handshake_failed"),
        3.0,
        "no websocket",
        websocket::no_upgrade
    ),
    attack!(
        "websocket: a head of 1 MB",
        event!("handshake_failed"),
        1.0,
        "no websocket",
        websocket::huge_head
    ),
    attack!("websocket: text messages", event!("malformed"), 3.0, "a text message instead", websocket::texts),
    attack!("websocket: no mask", event!("malformed"), 1.0, "no message of a websocket", websocket::unmasked),
    attack!(
        "websocket: a message of 1 TB",
        event!("malformed"),
        1.0,
        "no message of a websocket",
        websocket::huge
    ),
    attack!(
        "websocket: pings, then fragments",
        pushed!("websocket", "success"),
        1.0,
        "",
        websocket::fragments
    ),
    attack!("HTTP: no HTTP", event!("http_malformed"), 6.0, "is no request", door::garbage),
    attack!("HTTP: a head of 1 MB", event!("http_malformed"), 2.0, "is no request", door::huge_head),
    attack!("HTTP: 3,000 silent connections", event!("http_crowded_out"), 400.0, "makes room", door::crowd),
    attack!(
        "push: control characters in the path",
        pushed!("push", "unreadable"),
        3.0,
        "control characters",
        door::control
    ),
    attack!("push: wrong paths", pushed!("push", "unreadable"), 6.0, "job name is required", door::paths),
    attack!("push: invalid bodies", pushed!("push", "unreadable"), 4.0, "no valid sample", door::bodies),
    attack!(
        "push: bombs of gzip, snappy, protobuf",
        pushed!("push", "oversize"),
        3.0,
        "bytes unpacked",
        door::bombs
    ),
    attack!(
        "push: more than 16 MiB",
        pushed!("push", "oversize"),
        1.0,
        "over 16777216 bytes",
        door::too_long
    ),
];

/// All at once.
pub const SLOW: &[Attack] = &[
    attack!("2,000 connections without SETUP", event!("no_setup"), 2002.0, "what=NoSetup", rsocket::mute),
    attack!("HTTP on the port of RSocket", event!("no_setup"), 1.0, "what=NoSetup", rsocket::http),
    attack!("TLS on the port of RSocket", event!("no_setup"), 1.0, "what=NoSetup", rsocket::tls),
    attack!("half open after SETUP", event!("expired"), 1.0, "what=Expired", rsocket::half_open),
    attack!("a client that reads nothing", event!("stalled"), 1.0, "takes nothing any more", rsocket::deaf),
    attack!(
        "websocket: an upgrade byte by byte",
        event!("handshake_failed"),
        5.0,
        "no websocket",
        websocket::slow
    ),
    attack!("HTTP: heads byte by byte", event!("http_silent"), 2.0, "no whole request", door::slow_heads),
    attack!(
        "HTTP: a reader that reads nothing",
        event!("http_stalled"),
        1.0,
        "takes nothing any more",
        door::deaf
    ),
    attack!(
        "push: a body byte by byte",
        pushed!("push", "timeout"),
        1.0,
        "did not come within",
        door::slow_body
    ),
];

/// Longer than the proxy waits for anything, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(100);

async fn connect(to: SocketAddr) -> TcpStream {
    TcpStream::connect(to).await.unwrap()
}

/// Sends bytes; the proxy may have ended the connection meanwhile.
async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
}

/// All that comes until the proxy ends the connection.
async fn until_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut all)).await;
    // A reset is an end as well.
    let _ = end.expect("the proxy did not end the connection");
    all
}

/// Sends bytes one by one until the connection ends.
async fn byte_by_byte(mut stream: TcpStream, bytes: &[u8]) {
    for byte in bytes.iter().cycle() {
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        sleep(Duration::from_millis(500)).await;
    }
}
