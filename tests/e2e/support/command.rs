//! Programs as users run them.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// What a program said.
#[derive(Clone, Debug)]
pub struct Said {
    /// The command line.
    pub line: String,
    /// Exit code 0.
    pub ok: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Its output, provided that it succeeded.
    #[track_caller]
    pub fn good(self) -> String {
        assert!(self.ok, "`{}` failed: {}{}", self.line, self.out, self.err);
        self.out
    }

    /// What it complained of, provided that it failed.
    #[track_caller]
    pub fn bad(self) -> String {
        assert!(!self.ok, "`{}` should have failed, and said: {}", self.line, self.out);
        self.err
    }
}

/// Runs a program to its end.
pub async fn command(program: &str, args: &[&str], stdin: &str) -> Said {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (line, stdin) = (format!("{program} {}", args.join(" ")), stdin.to_owned());
    tokio::task::spawn_blocking(move || run(command, line, stdin)).await.unwrap()
}

fn run(mut command: Command, line: String, stdin: String) -> Said {
    let mut child = command.spawn().unwrap_or_else(|e| {
        panic!("cannot run `{line}` ({e}): is PATH set by `eval \"$(tests/cluster/cluster env)\"`?")
    });
    let mut input = child.stdin.take().unwrap();
    // A program that does not read to the end closes the pipe; what it says tells why.
    let feed = std::thread::spawn(move || input.write_all(stdin.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = feed.join();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { line, ok: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
}

/// `kubectl` in no particular namespace.
pub async fn kubectl(args: &[&str]) -> Said {
    command("kubectl", args, "").await
}
