//! Programs that run beside a test and end with it.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::{LOOK, eventually};

/// A folder that goes with its owner.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new, empty one.
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("millrace-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A free address on loopback, below the ports that outgoing connections get, so that it stays free.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..10_000 {
        let offset = u32::from(NEXT.fetch_add(1, Ordering::Relaxed)) + std::process::id() * 97;
        let at = SocketAddr::from(([127, 0, 0, 1], 12_000 + u16::try_from(offset % 18_000).unwrap()));
        if TcpListener::bind(at).is_ok() {
            return at;
        }
    }
    panic!("no free port")
}

/// A running program; killed when dropped. Its output goes to a file, which a failing test shows.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; `log` is appended to.
    pub fn start(mut command: Command, log: PathBuf) -> Self {
        let open = || File::options().create(true).append(true).open(&log).unwrap();
        let program = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(open()).stderr(open());
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {program}: {e}"));
        Self { child, log }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it said so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name, as `kill` knows it.
    pub fn signal(&self, name: &str) {
        let ok = Command::new("kill").args(["-s", name, &self.id().to_string()]).status();
        assert!(ok.is_ok_and(|status| status.success()), "cannot send {name}");
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    pub async fn ended(&mut self, seconds: u64) -> ExitStatus {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "not ended within {seconds} s: {}",
                self.output()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until it has said something.
    pub async fn says(&self, seconds: u64, words: &str) {
        eventually(seconds, &format!("saying {words:?}"), async || {
            let output = self.output();
            if output.contains(words) { Ok(()) } else { Err(output) }
        })
        .await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let output = self.output();
            let tail: Vec<&str> = output.lines().rev().take(60).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            eprintln!("--- end of {}\n{}\n---", self.log.display(), tail.join("\n"));
        }
    }
}
