//! Real parsers of expositions, each a program that prints what it saw (`tests/proxy/prometheus`).

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::peers::peer;
use super::process::Folder;

/// Content type of text 0.0.4.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Content type of OpenMetrics 1.0.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Name and labels.
pub type Name = (String, BTreeMap<String, String>);
/// Series with the bits of their values.
pub type Values = BTreeMap<Name, u64>;

/// A parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Prometheus 3's.
    Prometheus3,
    /// The same with start timestamps, as with `created-timestamp-zero-ingestion`.
    Prometheus3Start,
    /// Prometheus 2's.
    Prometheus2,
    /// The Python client's: for OpenMetrics the strictest there is.
    Python,
}

/// All that read both formats in the same way.
pub const READERS: [Reader; 3] = [Reader::Prometheus3, Reader::Prometheus2, Reader::Python];

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Line {
    series: String,
    labels: BTreeMap<String, String>,
    bits: String,
    time: Option<i64>,
    start: i64,
    family: String,
    r#type: String,
    help: String,
}

/// What a parser saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Values of all series.
    pub values: Values,
    /// Times of all series, milliseconds since 1970.
    pub times: BTreeMap<Name, Option<i64>>,
    /// Start timestamps, where there are some.
    pub starts: BTreeMap<Name, i64>,
    /// Types of families.
    pub types: BTreeMap<String, String>,
    /// Help of families that have one.
    pub helps: BTreeMap<String, String>,
}

impl Reader {
    fn command(self, kind: &str) -> Command {
        let (program, first): (PathBuf, Option<&str>) = match self {
            Self::Prometheus3 | Self::Prometheus3Start => (peer("MILLRACE_PROMETHEUS_READ"), None),
            Self::Prometheus2 => (peer("MILLRACE_PROMETHEUS2_READ"), None),
            Self::Python => (peer("MILLRACE_PYTHON_CLIENT"), Some("tests/proxy/prometheus/python/read.py")),
        };
        let mut command = Command::new(program);
        command.args(first).arg(kind).current_dir(env!("CARGO_MANIFEST_DIR"));
        if self == Self::Prometheus3Start {
            command.arg("start");
        }
        command
    }

    /// Reads a text; its error is the parser's.
    pub fn read(self, kind: &str, text: &str) -> Result<Seen, String> {
        let printed = run(self.command(kind), text).map_err(|(_, error)| error)?;
        let mut seen = Seen::default();
        for line in printed.lines() {
            let line: Line = serde_json::from_str(line).map_err(|e| format!("{line}: {e}"))?;
            seen.add(line)?;
        }
        Ok(seen)
    }
}

impl Seen {
    fn add(&mut self, line: Line) -> Result<(), String> {
        if !line.family.is_empty() {
            if !line.r#type.is_empty() {
                self.types.insert(line.family.clone(), line.r#type);
            }
            if !line.help.is_empty() {
                self.helps.insert(line.family, line.help);
            }
            return Ok(());
        }
        let name = named(&line.series, line.labels);
        let bits = u64::from_str_radix(&line.bits, 16).map_err(|e| e.to_string())?;
        if self.values.insert(name.clone(), value(f64::from_bits(bits))).is_some() {
            return Err(format!("twice: {name:?}"));
        }
        if line.start != 0 {
            self.starts.insert(name.clone(), line.start);
        }
        self.times.insert(name, line.time);
        Ok(())
    }
}

/// A series as it is compared: Prometheus 3 writes bounds in its own way, and an empty label is none.
pub fn named(name: &str, labels: BTreeMap<String, String>) -> Name {
    let bound = |label: &str| matches!(label, "le" | "quantile");
    let labels = labels.into_iter().filter(|(_, value)| !value.is_empty()).map(|(label, value)| {
        let number = value.parse::<f64>().ok().filter(|_| bound(&label));
        let value = number.map_or(value, |number| format!("{number:?}"));
        (label, value)
    });
    (name.to_owned(), labels.collect())
}

/// Bits of a value as they are compared: there are many NaNs.
pub fn value(of: f64) -> u64 {
    if of.is_nan() { f64::NAN.to_bits() } else { of.to_bits() }
}

/// Runs a program with a text as its input: its output, or its exit code with what it complained of.
pub fn run(mut command: Command, input: &str) -> Result<String, (Option<i32>, String)> {
    let folder = Folder::new("input");
    let path = folder.path().join("text");
    std::fs::write(&path, input).unwrap();
    let output = command.stdin(File::open(path).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = output.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err((output.status.code(), text(&output.stdout) + &text(&output.stderr)))
}

/// What `promtool check metrics` complains of; the error is one that stops it.
pub fn promtool(text: &str) -> Result<Vec<String>, String> {
    let mut command = Command::new(peer("MILLRACE_PROMTOOL"));
    command.args(["check", "metrics"]);
    match run(command, text) {
        Ok(_) => Ok(Vec::new()),
        // Only style.
        Err((Some(3), said)) => Ok(said.lines().map(str::to_owned).collect()),
        Err((_, said)) => Err(said),
    }
}
