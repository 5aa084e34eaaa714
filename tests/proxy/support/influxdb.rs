//! A real InfluxDB 1.

use std::fmt::Write;
use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

use super::peers::peer;
use super::process::{Folder, Process, free_address};
use super::{check, eventually, http};

/// The database that applications write to; Micrometer creates it.
pub const DATABASE: &str = "tasks";

/// One, with its data.
#[derive(Debug)]
pub struct InfluxDb {
    _process: Process,
    _folder: Folder,
    /// Where applications write, and Grafana asks.
    pub address: SocketAddr,
}

impl InfluxDb {
    /// Starts one.
    pub async fn start() -> Self {
        let (folder, address, backup) = (Folder::new("influxdb"), free_address(), free_address());
        let path = folder.path().display();
        let config = format!(
            "reporting-disabled = true\nbind-address = \"{backup}\"\n[meta]\ndir = \"{path}/meta\"\n[data]\n\
             dir = \"{path}/data\"\nwal-dir = \"{path}/wal\"\n[http]\nbind-address = \"{address}\"\nlog-enabled = false\n"
        );
        let file = folder.path().join("influxdb.conf");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(peer("MILLRACE_INFLUXDB"));
        command.arg("-config").arg(file);
        let process = Process::start(command, folder.path().join("log"));
        let influxdb = Self { _process: process, _folder: folder, address };
        eventually(60, "InfluxDB answers", async || {
            let answer = http::get(address, "/ping", &[]).await?;
            check(answer.status == 204, answer)
        })
        .await;
        influxdb
    }

    /// The series that an InfluxQL query gives, each with `name`, `tags`, `columns` and `values`.
    pub async fn ask(&self, query: &str) -> Result<Vec<Value>, String> {
        let mut path = format!("/query?db={DATABASE}&q=");
        for byte in query.bytes() {
            let _ = write!(path, "%{byte:02X}");
        }
        let answer = http::get(self.address, &path, &[]).await?;
        let answer: Value = serde_json::from_slice(&answer.bytes).map_err(|e| e.to_string())?;
        let result = &answer["results"][0];
        check(result["error"].is_null() && answer["error"].is_null(), &answer)?;
        Ok(result["series"].as_array().cloned().unwrap_or_default())
    }
}
