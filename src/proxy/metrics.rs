//! The doors' own metrics: the Java proxy's names where there are some, ours for the rest.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::crypto::OpenError;
use super::intake::Door;
use super::session::Note;

/// How a pull or a push ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the words are label values")]
pub enum Outcome {
    /// Stored.
    success,
    /// No answer in time.
    timeout,
    /// The client could not answer.
    failed,
    /// Could not be decrypted or decompressed.
    unreadable,
    /// Over a limit.
    oversize,
    /// The store did not take it.
    refused,
    /// A newer one came before this was opened.
    skipped,
    /// Without a single sample.
    empty,
}

/// How a pull ended, as the Java proxy's metrics tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullEnd {
    /// The body is kept.
    Kept,
    /// No answer in time.
    TimedOut,
    /// The client could not answer.
    Failed,
    /// The answer could not be decrypted or decompressed.
    Unreadable,
    /// The connection ended meanwhile.
    Closed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Through {
    door: &'static str,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Scrape {
    outcome: &'static str,
    exception: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Signal {
    signal_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    exception: &'static str,
    transport: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct What {
    what: &'static str,
}

/// What became of a file with the patterns of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterRead {
    /// All of it counts from now on.
    Applied,
    /// It does, but for entries that are wrong.
    Partly,
    /// It cannot be used, and what was before stays.
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Read {
    outcome: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Counts.
#[derive(Debug)]
pub struct Metrics {
    connections: Gauge,
    held: Gauge,
    pulls: Family<Of, Counter>,
    pushes: Histograms<Through>,
    scrapes: Histograms<Scrape>,
    requests: Histograms<Signal>,
    keys: Family<Signal, Counter>,
    failures: Family<Failure, Counter>,
    bytes: Histogram,
    opening: Histogram,
    events: Family<What, Counter>,
    filter_reads: Family<Read, Counter>,
    filtered_tasks: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let push: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 14));
        let pull: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 3.0, 9));
        Self {
            connections: Gauge::default(),
            held: Gauge::default(),
            pulls: Family::default(),
            pushes: Family::new_with_constructor(push),
            scrapes: Family::new_with_constructor(pull),
            requests: Family::new_with_constructor(pull),
            keys: Family::default(),
            failures: Family::default(),
            bytes: Histogram::new(exponential_buckets(1024.0, 4.0, 8)),
            opening: Histogram::new(exponential_buckets(0.000_25, 2.0, 12)),
            events: Family::default(),
            filter_reads: Family::default(),
            filtered_tasks: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Registers all.
    pub fn register(&self, registry: &mut Registry) {
        let java = registry.sub_registry_with_prefix("prometheus_proxy");
        java.register("scrape_active_connections", "Connected applications", self.connections.clone());
        java.register("scrape_payload_bytes", "Text of one application, in bytes", self.bytes.clone());
        let help = "From the request to an application until its body is kept, by how that ended";
        java.register_with_unit("scrape", help, Unit::Seconds, self.scrapes.clone());
        java.register("connection_error", "Connections that could not be taken", self.failures.clone());
        let rsocket = registry.sub_registry_with_prefix("rsocket_request");
        let help = "From the request to an application until its answer, by how that ended";
        rsocket.register_with_unit("response", help, Unit::Seconds, self.requests.clone());
        rsocket.register("fnf", "Keys sent to applications", self.keys.clone());
        let ours = registry.sub_registry_with_prefix("millrace_proxy");
        ours.register("held_connections", "Connections over a limit that wait", self.held.clone());
        ours.register("pulls", "Pulls by outcome", self.pulls.clone());
        let help = "From the arrival of a final push to its acknowledgement";
        ours.register_with_unit("push", help, Unit::Seconds, self.pushes.clone());
        let help = "Work to decrypt and decompress one payload, waiting included";
        ours.register_with_unit("open", help, Unit::Seconds, self.opening.clone());
        ours.register("connection_events", "What clients did, by kind", self.events.clone());
        let help = "Times that the file of --task-filters was read because it had changed";
        ours.register("task_filter_reads", help, self.filter_reads.clone());
        ours.register("task_filters", "Tasks with patterns of their own", self.filtered_tasks.clone());
    }

    /// An application is there, or gone.
    pub fn connected(&self, more: bool) {
        if more {
            self.connections.inc()
        } else {
            self.connections.dec()
        };
    }

    /// A connection waits for its turn, or does so no longer.
    pub fn held(&self, more: bool) {
        if more {
            self.held.inc()
        } else {
            self.held.dec()
        };
    }

    /// Something of a session.
    pub fn note(&self, note: Note) {
        self.event(match note {
            Note::Opened => "opened",
            Note::PullTimedOut => return self.pull(Outcome::timeout),
            Note::PullFailed => return self.pull(Outcome::failed),
            // Counted when it was opened.
            Note::PullAnswered => return,
            Note::PullLate => "late_answer",
            Note::PushRejected => "push_rejected",
            Note::Oversize => "oversize",
            Note::Malformed => "malformed",
            Note::Ignored => "ignored",
            Note::Unserved => "unserved",
            Note::Refused => "refused",
            Note::NoSetup => "no_setup",
            Note::Ending => "ending",
            Note::Expired => "expired",
        });
    }

    /// Something that happened to a connection.
    pub fn event(&self, what: &'static str) {
        self.events.get_or_create(&What { what }).inc();
    }

    /// The file with the patterns of tasks was read; it has so many tasks now.
    pub fn task_filters(&self, read: FilterRead, tasks: Option<usize>) {
        let outcome = match read {
            FilterRead::Applied => "applied",
            FilterRead::Partly => "partly",
            FilterRead::Refused => "refused",
        };
        self.filter_reads.get_or_create(&Read { outcome }).inc();
        if let Some(tasks) = tasks {
            self.filtered_tasks.set(i64::try_from(tasks).unwrap_or(i64::MAX));
        }
    }

    /// A pull is over.
    pub fn pull(&self, outcome: Outcome) {
        self.pulls.get_or_create(&Of { outcome }).inc();
    }

    /// An application was asked and answered, or did not, `took` after the request.
    pub fn answered(&self, end: PullEnd, took: Duration) {
        let signal_type = match end {
            PullEnd::Kept | PullEnd::Unreadable => "ON_COMPLETE",
            PullEnd::TimedOut => "CANCEL",
            PullEnd::Failed | PullEnd::Closed => "ON_ERROR",
        };
        self.requests.get_or_create(&Signal { signal_type }).observe(took.as_secs_f64());
    }

    /// A pull is over, `took` after the request.
    pub fn scraped(&self, end: PullEnd, took: Duration) {
        let (outcome, exception) = match end {
            PullEnd::Kept => ("success", "none"),
            PullEnd::TimedOut => ("error", "timeout"),
            PullEnd::Failed => ("error", "application"),
            PullEnd::Unreadable => ("error", "unreadable"),
            PullEnd::Closed => ("closed", "none"),
        };
        self.scrapes.get_or_create(&Scrape { outcome, exception }).observe(took.as_secs_f64());
    }

    /// An application was sent the key.
    pub fn key_sent(&self) {
        self.keys.get_or_create(&Signal { signal_type: "ON_COMPLETE" }).inc();
    }

    /// A connection could not be taken.
    pub fn connection_error(&self, door: Door, exception: &'static str) {
        // As the Java proxy writes them.
        let transport = if door == Door::Websocket { "Websocket" } else { "TCP" };
        self.failures.get_or_create(&Failure { exception, transport }).inc();
    }

    /// A push is over, `took` after it arrived.
    pub fn push(&self, door: Door, outcome: Outcome, took: Duration) {
        self.pushes.get_or_create(&Through { door: door.name(), outcome }).observe(took.as_secs_f64());
    }

    /// A payload was opened, or not.
    pub fn opened(&self, result: &Result<String, OpenError>, took: Duration) {
        self.opening.observe(took.as_secs_f64());
        match result {
            // Exact up to 2^52 bytes.
            Ok(text) => self.bytes.observe(f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX))),
            Err(OpenError::TooLarge { .. }) => self.event("oversize"),
            Err(_) => self.event("unreadable"),
        }
    }
}
