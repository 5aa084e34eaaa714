//! Each way to lose last metrics, the same for both proxies: is the task's last sample still served afterwards?

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use millrace::proxy::wire::{Frame, Payload};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::app::{App, Run, doors};
use crate::support::client::{Client, seal};
use crate::support::gate::Gate;
use crate::support::java_proxy::JavaProxy;
use crate::support::proxy::{Proxy, SCRAPE};
use crate::support::samples::{Sample, samples};
use crate::support::{check, eventually, http, within};

/// So long the Java client waits for its key.
const PATIENCE: Duration = Duration::from_secs(5);

/// A proxy of either kind.
pub enum Peer {
    Java(Box<JavaProxy>),
    Ours(Box<Proxy>),
}

impl Peer {
    fn tcp(&self) -> SocketAddr {
        match self {
            Self::Java(proxy) => proxy.tcp,
            Self::Ours(proxy) => proxy.tcp,
        }
    }

    fn http(&self) -> SocketAddr {
        match self {
            Self::Java(proxy) => proxy.http,
            Self::Ours(proxy) => proxy.http,
        }
    }

    fn signal(&mut self, name: &str) {
        match self {
            Self::Java(proxy) => proxy.process().signal(name),
            Self::Ours(proxy) => proxy.process().signal(name),
        }
    }

    async fn start_again(&mut self) {
        match self {
            Self::Java(proxy) => {
                proxy.process().ended(60).await;
                proxy.start_again().await;
            }
            Self::Ours(proxy) => {
                proxy.process().ended(60).await;
                proxy.start_again().await;
            }
        }
    }

    /// What Prometheus gets.
    async fn scrape(&self) -> String {
        let answer = http::get(self.http(), "/metrics/connected", &[SCRAPE]);
        within(60, "a scrape", answer).await.unwrap().text()
    }

    /// What Prometheus gets of a task.
    async fn serves(&self, run: &Run) -> Option<Sample> {
        samples(&self.scrape().await).into_iter().find(|s| s.label("task_external_execution_id") == run.pod)
    }
}

/// A way to lose last metrics.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    ReadBefore,
    BrokenOff,
    LongBackoff,
    ShortBackoff,
    Killed,
    CutOff,
    Unreadable,
    FailedPull,
    OneSample,
    RolledOut,
    Burst,
    ProxyKilled,
}

impl Way {
    /// Goes that way. Is the task's sample served afterwards?
    pub async fn kept(self, peer: &mut Peer) -> bool {
        let run = Run::new("lost");
        match self {
            Self::ReadBefore => read_before(peer, &run).await,
            Self::BrokenOff => broken_off(peer, &run).await,
            Self::LongBackoff => started_before_the_proxy(peer, &run, "2m").await,
            Self::ShortBackoff => started_before_the_proxy(peer, &run, "500ms").await,
            Self::Killed => killed(peer, &run).await,
            Self::CutOff => cut_off(peer, &run).await,
            Self::Unreadable => unreadable(peer, &run).await,
            Self::FailedPull => failed_pull(peer, &run).await,
            Self::OneSample => one_sample(peer, &run).await,
            Self::RolledOut => rolled_out(peer, &run).await,
            Self::Burst => burst(peer).await,
            Self::ProxyKilled => proxy_killed(peer, &run).await,
        }
    }
}

/// The task's one counter.
fn text(run: &Run) -> String {
    let labels: Vec<String> =
        run.labels().iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    format!("# TYPE app_runs_total counter\napp_runs_total{{{}}} 3\n", labels.join(","))
}

/// A task that pushed, was acknowledged, and is gone.
async fn finished(at: SocketAddr, run: &Run) {
    let mut client = Client::connect(at).await.unwrap();
    let sealed = seal(&client.key, &text(run));
    client.push(&sealed).await.unwrap();
    client.close().await;
}

/// A task at work, whose answers the proxy has served.
async fn at_work(peer: &Peer, at: SocketAddr, run: &Run) -> (Client, Payload) {
    let mut client = Client::connect(at).await.unwrap();
    let sealed = seal(&client.key, &text(run));
    let served = eventually(30, "the proxy serves the task", async || {
        check(peer.serves(run).await.is_some(), "nothing")
    });
    answering(&mut client, &sealed, served).await;
    (client, sealed)
}

/// Answers all pulls while something else happens.
async fn answering<T>(client: &mut Client, sealed: &Payload, meanwhile: impl Future<Output = T>) -> T {
    let answers = async {
        loop {
            if let Err(why) = client.answer_pull(sealed).await {
                return why;
            }
        }
    };
    tokio::select! {
        done = meanwhile => done,
        why = answers => panic!("the client cannot answer: {why}"),
    }
}

async fn read_before(peer: &Peer, run: &Run) -> bool {
    finished(peer.tcp(), run).await;
    let curl = http::get(peer.http(), "/metrics/connected", &[]).await.unwrap();
    assert!(curl.text().contains(&run.pod), "the first reader has it: {}", curl.text());
    peer.serves(run).await.is_some()
}

async fn broken_off(peer: &Peer, run: &Run) -> bool {
    let mute = Client::connect(peer.tcp()).await.unwrap();
    finished(peer.tcp(), run).await;
    let whole = timeout(Duration::from_secs(2), peer.scrape()).await;
    assert_eq!(whole.is_ok(), matches!(peer, Peer::Ours(_)), "only ours ends");
    mute.close().await;
    peer.serves(run).await.is_some()
}

/// A real client, which the proxy refuses at first.
async fn started_before_the_proxy(peer: &Peer, run: &Run, pause: &str) -> bool {
    let mut gate = Gate::before(peer.tcp());
    let env = [
        ("MANAGEMENT_METRICS_EXPORT_PROMETHEUS_RSOCKET_FIRSTBACKOFF", pause),
        ("MANAGEMENT_METRICS_EXPORT_PROMETHEUS_RSOCKET_MAXBACKOFF", pause),
        ("LOGGING_LEVEL_REACTOR_NETTY_TRANSPORT", "DEBUG"),
    ];
    // Long enough for some tries at the short pause, however slow the machine is.
    let mut task = App::start("boot27", run, &doors(gate.at, None), &["--app.run-for=5s"], &env);
    task.says("Connect attempt to").await;
    gate.open().await;
    assert_eq!(task.ended().await.code(), Some(0), "metrics never fail a task");
    peer.serves(run).await.is_some()
}

async fn killed(peer: &Peer, run: &Run) -> bool {
    drop(at_work(peer, peer.tcp(), run).await);
    peer.serves(run).await.is_some()
}

async fn cut_off(peer: &Peer, run: &Run) -> bool {
    let mut gate = Gate::before(peer.tcp());
    gate.open().await;
    let (mut client, sealed) = at_work(peer, gate.at, run).await;
    gate.close().await;
    client.push(&sealed).await.unwrap_err();
    peer.serves(run).await.is_some()
}

async fn unreadable(peer: &Peer, run: &Run) -> bool {
    let (mut client, sealed) = at_work(peer, peer.tcp(), run).await;
    let wrong = Payload { metadata: Some(Bytes::from(vec![1; 256])), ..sealed };
    assert_eq!(client.push(&wrong).await.is_ok(), matches!(peer, Peer::Java(_)), "only ours says so");
    client.close().await;
    peer.serves(run).await.is_some()
}

async fn failed_pull(peer: &Peer, run: &Run) -> bool {
    let (mut client, sealed) = at_work(peer, peer.tcp(), run).await;
    let fail = async {
        loop {
            if let Frame::RequestResponse { stream, .. } = client.next().await.unwrap() {
                return client.send(&Frame::error(stream, 0x201, "out of memory")).await.unwrap();
            }
        }
    };
    tokio::join!(fail, peer.scrape());
    let served = peer.serves(run);
    answering(&mut client, &sealed, served).await.is_some()
}

async fn one_sample(peer: &Peer, run: &Run) -> bool {
    finished(peer.tcp(), run).await;
    let first = peer.serves(run).await.unwrap();
    let again = peer.serves(run).await;
    let with_start = http::get(peer.http(), "/metrics/connected?start=1", &[]).await.unwrap().text();
    let begins = with_start.lines().any(|l| l.starts_with("app_runs_created{") && l.contains(&run.pod));
    first.at.is_some() && again == Some(first) && begins
}

async fn rolled_out(peer: &mut Peer, run: &Run) -> bool {
    let (mut client, sealed) = at_work(peer, peer.tcp(), run).await;
    peer.signal("TERM");
    eventually(60, "the proxy takes nobody new", async || {
        check(TcpStream::connect(peer.tcp()).await.is_err(), "it does")
    })
    .await;
    let pushed = client.push(&sealed).await;
    client.close().await;
    peer.start_again().await;
    let served = peer.serves(run).await.is_some();
    assert!(!served || pushed.is_ok(), "what was not pushed cannot be there");
    served
}

/// Do all have a key in time?
async fn burst(peer: &Peer) -> bool {
    let at = peer.tcp();
    let clients: Vec<_> =
        (0..400).map(|_| tokio::spawn(async move { timeout(PATIENCE, Client::connect(at)).await })).collect();
    let clients = futures::future::join_all(clients).await;
    clients.into_iter().all(|client| client.unwrap().is_ok_and(|connected| connected.is_ok()))
}

async fn proxy_killed(peer: &mut Peer, run: &Run) -> bool {
    finished(peer.tcp(), run).await;
    peer.signal("KILL");
    peer.start_again().await;
    peer.serves(run).await.is_some()
}
