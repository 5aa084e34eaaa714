//! Requests to one replica: plain HTTP/1.1 on a connection of its own, which ends with its owner.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::answer::Answer;

/// Bytes of an answer: some hundred for each attempt, and for each of the 1,000 connections of an address that a proxy
/// tells at most.
const ANSWER_MAX: usize = 1 << 20;
/// Bytes that are read ahead; a proxy's answer begins with a few hundred.
const BUFFER: usize = 64 << 10;

/// A task that ends with its owner.
#[derive(Debug)]
pub struct Task(JoinHandle<()>);

impl Task {
    /// Of a task that was spawned.
    pub fn new(spawned: JoinHandle<()>) -> Self {
        Self(spawned)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection to a replica.
#[derive(Debug)]
pub struct Connection {
    replica: SocketAddr,
    sender: SendRequest<Empty<Bytes>>,
    _driver: Task,
}

impl Connection {
    /// Connects. How long that may take is the caller's.
    pub async fn open(replica: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(replica).await.map_err(|e| format!("cannot connect: {e}"))?;
        let (sender, driver) = Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| format!("no HTTP: {e}"))?;
        // Its error is that of the request.
        let driver = tokio::spawn(async move {
            let _ = driver.await;
        });
        Ok(Self { replica, sender, _driver: Task(driver) })
    }

    /// The beginning of an answer.
    pub async fn get(&mut self, path: &str) -> Result<Response<Incoming>, String> {
        let request = Request::get(path).header(header::HOST, self.replica.to_string());
        let request = request.body(Empty::new()).map_err(|e| format!("no request: {e}"))?;
        self.sender.ready().await.map_err(|e| format!("no answer: {e}"))?;
        self.sender.send_request(request).await.map_err(|e| format!("no answer: {e}"))
    }

    /// A whole answer.
    pub async fn fetch(&mut self, path: &str) -> Result<Answer, String> {
        let (head, body) = self.get(path).await?.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await;
        let text = body.map_err(|e| format!("its answer breaks off: {e}"))?.to_bytes().to_vec();
        Ok(Answer { status: head.status.as_u16(), text })
    }
}
