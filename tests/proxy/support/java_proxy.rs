//! The Java proxy 1.5.3: its server library in a main class of a few lines (`tests/proxy/java-proxy`).

use std::net::SocketAddr;
use std::process::Command;

use super::peers::peer;
use super::process::{Folder, Process, free_address};
use super::{check, eventually, http};

/// For a JVM that lives for a test only: it starts with half the CPU.
pub const QUICK: &[&str] = &["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m"];

/// A Java proxy with its ports, which stay the same over restarts.
#[derive(Debug)]
pub struct JavaProxy {
    process: Process,
    folder: Folder,
    args: Vec<String>,
    /// RSocket over TCP.
    pub tcp: SocketAddr,
    /// What is read.
    pub http: SocketAddr,
}

impl JavaProxy {
    /// Starts one, ready to be used, with these options of the JVM.
    pub async fn start(jvm: &[&str]) -> Self {
        let folder = Folder::new("java-proxy");
        let [tcp, websocket, http] = [(); 3].map(|()| free_address());
        let mut args: Vec<String> = jvm.iter().map(|&flag| flag.to_owned()).collect();
        args.extend(["-jar".to_owned(), peer("MILLRACE_JAVA_PROXY").display().to_string()]);
        args.push(format!("--server.port={}", http.port()));
        args.push(format!("--micrometer.prometheus-proxy.tcp-port={}", tcp.port()));
        args.push(format!("--micrometer.prometheus-proxy.websocket-port={}", websocket.port()));
        let process = Self::spawn(&args, &folder);
        let proxy = Self { process, folder, args, tcp, http };
        proxy.ready().await;
        proxy
    }

    fn spawn(args: &[String], folder: &Folder) -> Process {
        let mut command = Command::new(peer("MILLRACE_JAVA"));
        command.args(args).env_clear();
        Process::start(command, folder.path().join("log"))
    }

    async fn ready(&self) {
        eventually(300, "the Java proxy is ready", async || {
            let answer = http::get(self.http, "/actuator/health", &[]).await?;
            check(answer.status == 200, answer)
        })
        .await;
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts it again after its end, on the same ports.
    pub async fn start_again(&mut self) {
        self.process = Self::spawn(&self.args, &self.folder);
        self.ready().await;
    }

    /// Pulls all that are connected, and serves what they answer. Final pushes are served once, by this.
    pub async fn connected(&self) -> String {
        let answer = http::get(self.http, "/metrics/connected", &[]).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text()
    }
}
