//! Proxies in this process.

use std::future::{Future, pending};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use millrace::proxy::{push, run, server, session, store};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

/// Enough for anything that happens at all.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A proxy with an address and a folder of its own, which stay the same over restarts.
pub struct Proxy {
    /// What it runs with.
    pub settings: run::Settings,
    /// Whatever the proxy has begun ends with it, as with a process that is killed.
    runtime: Option<Runtime>,
}

impl Proxy {
    /// Starts one, ready to be used.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// The same with patterns of single tasks.
    pub async fn start_with(task_filters: Option<PathBuf>) -> Self {
        // Each proxy of each process has an address of its own: no port is taken by anybody else.
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let (number, process) = (NEXT.fetch_add(1, Ordering::Relaxed), std::process::id().to_be_bytes());
        let address = Ipv4Addr::new(127, 128 | (process[2] & 127), process[3], number);
        let at = |port| SocketAddr::from((address, port));
        let session =
            session::Settings { pull_interval: Duration::from_millis(200), ..session::Settings::default() };
        let settings = run::Settings {
            folder: folder(address),
            task_filters,
            tcp: at(17_001),
            websocket: at(18_081),
            http: at(18_080),
            push: at(19_091),
            drain: Duration::ZERO,
            seed: 1,
            server: server::Settings { session, ..server::Settings::default() },
            store: store::Settings::default(),
            pushes: push::Settings::default(),
        };
        let mut proxy = Self { settings, runtime: None };
        proxy.begin().await;
        proxy
    }

    /// Starts it once more, on the same folder.
    pub async fn begin(&mut self) {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(run::run(self.settings.clone(), Arc::new(now), pending()));
        self.runtime = Some(runtime);
        let ready = async || {
            let request = Request::get("/actuator/health/readiness");
            send(self.settings.http, request.body(Full::default()).unwrap())
                .await
                .is_ok_and(|status| status == 200)
        };
        eventually("the proxy is ready", ready).await;
    }

    /// Ends it as SIGKILL does.
    pub async fn kill(&mut self) {
        let runtime = self.runtime.take();
        // It waits for its threads, which no task may do.
        tokio::task::spawn_blocking(move || drop(runtime)).await.unwrap();
    }

    /// Pushes so many series of a run.
    pub async fn push(&self, id: i64, pod: &str, series: usize) {
        let path = format!(
            "/metrics/job/t/task_name/t/task_execution_id/{id}{}{pod}",
            if pod.is_empty() { "/application/t-" } else { "/task_external_execution_id/" }
        );
        // Without its pod a run is known by its application.
        let path = if pod.is_empty() { format!("{path}{id}") } else { path };
        let text: Vec<_> = (0..series).map(|i| format!("rows{{i=\"{i}\"}} 1\n")).collect();
        let request = Request::put(path).body(Full::new(text.concat().into())).unwrap();
        assert_eq!(send(self.settings.push, request).await, Ok(200));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        let _ = std::fs::remove_dir_all(&self.settings.folder);
    }
}

/// A proxy's time of day is the machine's.
#[allow(clippy::disallowed_methods, reason = "a proxy that runs for real has a clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

fn folder(address: Ipv4Addr) -> PathBuf {
    std::env::temp_dir().join(format!("millrace-facts-{}-{address}", std::process::id()))
}

/// The status of an answer.
pub async fn send(to: SocketAddr, request: Request<Full<Bytes>>) -> Result<u16, String> {
    answer(to, request).await.map(|(status, _)| status)
}

/// The text at a path.
pub async fn get(to: SocketAddr, path: &str) -> String {
    let (status, text) = answer(to, Request::get(path).body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(status, 200, "{text}");
    text
}

async fn answer(to: SocketAddr, mut request: Request<Full<Bytes>>) -> Result<(u16, String), String> {
    request.headers_mut().insert("host", "proxy".parse().unwrap());
    let stream = TcpStream::connect(to).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = response.status().as_u16();
    let text = response.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes();
    Ok((status, String::from_utf8(text.to_vec()).unwrap()))
}

/// Waits for a condition.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut look: impl FnMut() -> F) {
    let found = tokio::time::timeout(PATIENCE, async {
        while !look().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(found.await.is_ok(), "not in time: {what}");
}
