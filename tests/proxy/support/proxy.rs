//! `millrace proxy` as a process of its own.

use std::net::SocketAddr;
use std::process::Command;

use millrace::inject::exporters::Exporters;

use super::app::doors;
use super::process::{Folder, Process, free_address};
use super::{eventually, http};

/// What a Prometheus sends with every scrape; without it a request is nobody's.
pub const SCRAPE: (&str, &str) = ("x-prometheus-scrape-timeout-seconds", "10");

/// A proxy with its ports and its folder, which stay the same over restarts.
#[derive(Debug)]
pub struct Proxy {
    process: Process,
    folder: Folder,
    /// Program and arguments.
    command: Vec<String>,
    /// RSocket over TCP.
    pub tcp: SocketAddr,
    /// RSocket over websocket.
    pub websocket: SocketAddr,
    /// What is read.
    pub http: SocketAddr,
    /// The push API.
    pub push: SocketAddr,
}

impl Proxy {
    /// Starts one, ready to be used. `args` come after those for ports and folder.
    pub async fn start(args: &[&str]) -> Self {
        Self::start_in(&[], args).await
    }

    /// The same within another program, whose last arguments become the proxy's program and arguments.
    pub async fn start_in(program: &[&str], args: &[&str]) -> Self {
        let folder = Folder::new("proxy");
        let [tcp, websocket, http, push] = [(); 4].map(|()| free_address());
        let own = [env!("CARGO_BIN_EXE_millrace"), "proxy", "--address=127.0.0.1"];
        let mut all: Vec<String> = program.iter().chain(&own).map(|&part| part.to_owned()).collect();
        all.push(format!("--data={}", folder.path().join("data").display()));
        for (flag, at) in [("tcp", tcp), ("websocket", websocket), ("http", http), ("push", push)] {
            all.push(format!("--{flag}-port={}", at.port()));
        }
        all.extend(args.iter().map(|&arg| arg.to_owned()));
        let process = Self::spawn(&all, &folder);
        let proxy = Self { process, folder, command: all, tcp, websocket, http, push };
        proxy.ready().await;
        proxy
    }

    fn spawn(of: &[String], folder: &Folder) -> Process {
        let mut command = Command::new(&of[0]);
        command.args(&of[1..]).env_clear();
        Process::start(command, folder.path().join("log"))
    }

    async fn ready(&self) {
        eventually(30, "the proxy is ready", async || {
            let answer = http::get(self.http, "/actuator/health/readiness", &[]).await?;
            super::check(answer.status == 200, answer)
        })
        .await;
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Where its data are.
    pub fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// Both of its doors.
    pub fn doors(&self) -> Exporters {
        doors(self.tcp, Some(self.push))
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after its end, on the same ports and data.
    pub async fn start_again(&mut self) {
        self.process = Self::spawn(&self.command, &self.folder);
        self.ready().await;
    }

    /// What people and probes see of all applications: counts as nobody's scrape.
    pub async fn connected(&self) -> String {
        self.connected_as(&[]).await
    }

    /// The same with headers; with [`SCRAPE`] it is a scrape.
    pub async fn connected_as(&self, headers: &[(&str, &str)]) -> String {
        let answer = http::get(self.http, "/metrics/connected", headers).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text()
    }

    /// Its own metrics.
    pub async fn own(&self) -> String {
        http::get(self.http, "/metrics/proxy", &[]).await.unwrap().text()
    }

    /// What it tells of an execution.
    pub async fn execution(&self, id: &str) -> serde_json::Value {
        let answer = http::get(self.http, &format!("/executions/{id}"), &[]).await.unwrap();
        serde_json::from_str(&answer.text()).unwrap_or_else(|e| panic!("{e}: {answer:?}"))
    }

    /// Sends a text to the push door, which takes it.
    pub async fn push(&self, path: &str, text: &str) {
        let answer = http::with_body(self.push, "POST", path, &[], text.to_owned()).await.unwrap();
        assert!(answer.status.is_success(), "{answer:?}");
    }
}
