//! The operator's process, and what it tells of itself.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::cluster::{Cluster, HOME};
use crate::process;

/// Running; killed when dropped.
pub struct Operator {
    child: Child,
    listen: SocketAddr,
    /// Milliseconds from the start of the process until `/readyz` said so.
    pub ready: f64,
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Requests that it made, by `verb resource code`.
#[derive(Clone, Debug, Default)]
pub struct Requests(BTreeMap<(String, String, u16), f64>);

impl Operator {
    pub async fn start(cluster: &Cluster) -> Self {
        let listen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let begun = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_millrace"))
            .args(["operator", "--log-level=warn", "--operator-namespace", HOME])
            .arg(format!("--listen={listen}"))
            .env("KUBECONFIG", cluster.kubeconfig())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut operator = Self { child, listen, ready: 0.0 };
        operator.await_ready(begun).await;
        operator
    }

    async fn await_ready(&mut self, begun: Instant) {
        let ready = async {
            while get(self.listen, "/readyz").await.is_none_or(|(code, _)| code != 200) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), ready).await.expect("ready within a minute");
        self.ready = begun.elapsed().as_secs_f64() * 1000.0;
    }

    /// Resident memory, bytes.
    pub fn memory(&self) -> f64 {
        process::resident(self.child.id())
    }

    /// The most that it ever was.
    pub fn peak(&self) -> f64 {
        process::peak(self.child.id())
    }

    /// Seconds of CPU since its start.
    pub fn cpu(&self) -> f64 {
        process::cpu(self.child.id())
    }

    async fn series(&self) -> Vec<(String, f64)> {
        let (code, text) = get(self.listen, "/metrics").await.unwrap();
        assert_eq!(code, 200);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|l| l.rsplit_once(' ')).map(|(n, v)| (n.to_owned(), v.parse().unwrap())).collect()
    }

    /// Requests until now.
    pub async fn requests(&self) -> Requests {
        let mut requests = Requests::default();
        for (name, value) in self.series().await {
            let Some(labels) = name.strip_prefix("millrace_api_requests_total") else { continue };
            let (verb, resource) = (label(labels, "verb"), label(labels, "resource"));
            requests.0.insert((verb, resource, label(labels, "code").parse().unwrap()), value);
        }
        requests
    }

    /// Reconciles of all controllers until now.
    pub async fn reconciles(&self) -> f64 {
        let all = self.series().await;
        all.iter().filter(|(name, _)| name.starts_with("millrace_reconciles_total")).map(|(_, v)| v).sum()
    }
}

impl Requests {
    /// Those that `fits` (verb, resource, code).
    pub fn count(&self, fits: impl Fn(&str, &str, u16) -> bool) -> f64 {
        self.0.iter().filter(|((verb, resource, code), _)| fits(verb, resource, *code)).map(|(_, n)| n).sum()
    }

    pub fn since(&self, before: &Self) -> Self {
        let less =
            |(key, n): (&_, &f64)| (Clone::clone(key), n - before.0.get(key).copied().unwrap_or_default());
        Self(self.0.iter().map(less).filter(|(_, n)| *n > 0.0).collect())
    }

    /// What changes something, or was to.
    pub fn writes(&self) -> f64 {
        self.count(|verb, _, _| is_write(verb))
    }

    /// Writes that were refused or unanswered.
    pub fn failed_writes(&self) -> f64 {
        self.count(|verb, _, code| is_write(verb) && !(200..300).contains(&code))
    }

    /// Reads of one object or a list; not watches.
    pub fn reads(&self) -> f64 {
        self.count(|verb, _, _| matches!(verb, "get" | "list"))
    }
}

fn is_write(verb: &str) -> bool {
    matches!(verb, "create" | "update" | "patch" | "delete")
}

fn label(labels: &str, name: &str) -> String {
    let (_, rest) = labels.split_once(&format!("{name}=\"")).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

async fn get(from: SocketAddr, path: &str) -> Option<(u16, String)> {
    let stream = TcpStream::connect(from).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path).header(header::HOST, "operator").body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.ok()?;
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    connection.abort();
    Some((code, String::from_utf8_lossy(&body).into_owned()))
}
