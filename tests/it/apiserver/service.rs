//! The asynchronous shell: HTTP in and out, delays, and the streams of watches.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::Value;
use tokio::{
    sync::watch::Receiver,
    time::{Instant, sleep_until},
};

use super::{
    inner::Outcome,
    open_watch::Step,
    request::{Request, Response},
    server::ApiServer,
};

/// How often an idle watch that wants bookmarks gets one, as on the real server.
const BOOKMARK_PERIOD: Duration = Duration::from_mins(1);

type Payload = UnsyncBoxBody<Bytes, io::Error>;
type Answer = http::Response<Payload>;

/// One client's connection.
#[derive(Clone)]
pub struct Shell {
    server: ApiServer,
    client: String,
}

impl Shell {
    pub fn new(server: ApiServer, client: &str) -> Self {
        Self { server, client: client.to_owned() }
    }

    async fn answer(self, request: http::Request<Body>) -> Result<Answer, tower::BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let request = match Request::from_http(&self.client, &head, &body) {
            Ok(request) => request,
            Err(status) => return Ok(respond(&status.into())),
        };
        let (delay, fault) = self.server.pick_fault(&request);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        match self.server.serve(&request, fault) {
            Outcome::Respond(response) => Ok(respond(&response)),
            Outcome::Stream(id) => Ok(http::Response::new(watch_body(self.server, id))),
            Outcome::Reset => Err(reset().into()),
            Outcome::Hang => std::future::pending().await,
            Outcome::Garbage => Ok(http::Response::new(whole("<html>upstream unavailable</html>"))),
        }
    }
}

impl tower::Service<http::Request<Body>> for Shell {
    type Response = Answer;
    type Error = tower::BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, tower::BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

fn respond(response: &Response) -> Answer {
    let mut answer = http::Response::new(whole(response.body.to_string()));
    *answer.status_mut() = http::StatusCode::from_u16(response.code).unwrap_or_default();
    let headers = answer.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    if let Some(seconds) = response.retry_after {
        headers.insert(http::header::RETRY_AFTER, seconds.into());
    }
    answer
}

fn whole(text: impl Into<Bytes>) -> Payload {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by peer")
}

/// The stream of one watch; closing it closes the watch.
struct Stream {
    server: ApiServer,
    id: u64,
    activity: Receiver<u64>,
    /// The server ends the watch at this time.
    deadline: Option<Instant>,
    next_bookmark: Instant,
    ended: bool,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.server.close_watch(self.id);
    }
}

fn watch_body(server: ApiServer, id: u64) -> Payload {
    let now = Instant::now();
    let deadline = server.watch_timeout(id).map(|seconds| now + Duration::from_secs(seconds));
    let activity = server.activity.subscribe();
    let next_bookmark = now + BOOKMARK_PERIOD;
    let stream = Stream { server, id, activity, deadline, next_bookmark, ended: false };
    let frames = stream::unfold(stream, |mut stream| async move {
        let frame = stream.next().await?;
        Some((frame, stream))
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Stream {
    async fn next(&mut self) -> Option<Result<Frame<Bytes>, io::Error>> {
        loop {
            if self.ended {
                return None;
            }
            self.activity.borrow_and_update();
            let silent = match self.server.step_watch(self.id) {
                Step::Send(event) => return Some(Ok(line(&event))),
                Step::End => return None,
                Step::Reset => {
                    self.ended = true;
                    return Some(Err(reset()));
                }
                Step::Wait { silent } => silent,
            };
            if let Some(event) = self.wait(silent).await {
                return Some(Ok(line(&event)));
            }
        }
    }

    /// Waits for something to happen: activity, the end of the watch, or time for a bookmark.
    async fn wait(&mut self, silent: bool) -> Option<Value> {
        let deadline = self.deadline.unwrap_or(self.next_bookmark);
        tokio::select! {
            biased;
            _ = self.activity.changed() => None,
            () = sleep_until(deadline), if !silent && self.deadline.is_some() => {
                self.ended = true;
                self.server.bookmark_watch(self.id)
            }
            () = sleep_until(self.next_bookmark), if !silent => {
                self.next_bookmark += BOOKMARK_PERIOD;
                self.server.bookmark_watch(self.id)
            }
        }
    }
}

fn line(event: &Value) -> Frame<Bytes> {
    Frame::data(Bytes::from(format!("{event}\n")))
}
