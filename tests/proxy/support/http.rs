//! Requests, one connection each.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// `Content-Type`.
    pub kind: String,
    /// Body, as it came.
    pub bytes: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Sends one request and reads the whole answer.
pub async fn send(to: SocketAddr, request: Request<Full<Bytes>>) -> Result<Answer, String> {
    let stream = TcpStream::connect(to).await.map_err(|e| format!("{to}: {e}"))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| format!("{to}: {e}"))?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|e| format!("{to}: {e}"))?;
    let status = answer.status();
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let kind = kind.unwrap_or_default().to_owned();
    let bytes = answer.into_body().collect().await.map_err(|e| format!("{to}: {e}"))?.to_bytes();
    connection.abort();
    Ok(Answer { status, kind, bytes })
}

/// A request without a body. Each header is `(name, value)`.
pub async fn get(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
    with_body(to, "GET", path, headers, Bytes::new()).await
}

/// A request with a body.
pub async fn with_body(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Answer, String> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, to.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(to, request.body(Full::new(body.into())).map_err(|e| e.to_string())?).await
}
