//! Options of `millrace proxy`: each limit is a flag and a variable of the environment, with a default that is safe.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, value_parser};

use crate::proxy::exposition::Filter;
use crate::proxy::store::log::TEXT_MAX;
use crate::proxy::store::runs::Retention;
use crate::proxy::{push, run, server, session, store};
use crate::telemetry::logs::Format;

/// Options of `millrace proxy`; each may be given as environment variable.
#[derive(Args, Debug)]
pub struct Proxy {
    /// Folder for what must survive; the only one that is written to.
    #[arg(long, env = "MILLRACE_DATA", default_value = "/data", value_name = "FOLDER")]
    data: PathBuf,
    /// Address of all doors.
    #[arg(long, env = "MILLRACE_PROXY_ADDRESS", default_value = "0.0.0.0", value_name = "ADDRESS")]
    address: IpAddr,
    /// Port of RSocket over TCP.
    #[arg(long, env = "MILLRACE_TCP_PORT", default_value = "7001", value_parser = port(), value_name = "PORT")]
    tcp_port: u16,
    /// Port of RSocket over websocket.
    #[arg(
        long,
        env = "MILLRACE_WEBSOCKET_PORT",
        default_value = "8081",
        value_parser = port(),
        value_name = "PORT"
    )]
    websocket_port: u16,
    /// Port of what is read: metrics, health, facts.
    #[arg(long, env = "MILLRACE_HTTP_PORT", default_value = "8080", value_parser = port(), value_name = "PORT")]
    http_port: u16,
    /// Port of the push API.
    #[arg(long, env = "MILLRACE_PUSH_PORT", default_value = "9091", value_parser = port(), value_name = "PORT")]
    push_port: u16,

    /// Seconds from one pull of an application to the next, give or take a tenth.
    #[arg(long, env = "MILLRACE_PULL_SECONDS", default_value = "10", value_parser = seconds(1), value_name = "SECONDS")]
    pull_seconds: u32,
    /// Seconds that the answer to a pull is waited for.
    #[arg(
        long,
        env = "MILLRACE_PULL_DEADLINE_SECONDS",
        default_value = "5",
        value_parser = seconds(1),
        value_name = "SECONDS"
    )]
    pull_deadline_seconds: u32,

    /// Seconds that final metrics stay at least.
    #[arg(
        long,
        env = "MILLRACE_RETENTION_LEAST_SECONDS",
        default_value = "300",
        value_parser = seconds(0),
        value_name = "SECONDS"
    )]
    retention_least_seconds: u32,
    /// Seconds that they stay at most; what is older a Prometheus would refuse.
    #[arg(
        long,
        env = "MILLRACE_RETENTION_MOST_SECONDS",
        default_value = "3000",
        value_parser = seconds(1),
        value_name = "SECONDS"
    )]
    retention_most_seconds: u32,
    /// Complete responses to each known scraper before they may go.
    #[arg(
        long,
        env = "MILLRACE_RETENTION_DELIVERIES",
        default_value = "2",
        value_parser = value_parser!(u8).range(1..),
        value_name = "NUMBER"
    )]
    retention_deliveries: u8,
    /// Seconds after which a scraper that does not come is not waited for any more.
    #[arg(
        long,
        env = "MILLRACE_SCRAPER_MEMORY_SECONDS",
        default_value = "900",
        value_parser = seconds(1),
        value_name = "SECONDS"
    )]
    scraper_memory_seconds: u32,
    /// Scrapers that are waited for at the same time.
    #[arg(
        long,
        env = "MILLRACE_SCRAPERS_MAX",
        default_value = "16",
        value_parser = value_parser!(u16).range(1..=1000),
        value_name = "NUMBER"
    )]
    scrapers_max: u16,
    /// Keep only metrics whose name fits one of these regular expressions as a whole; separated by blanks.
    #[arg(long, env = "MILLRACE_KEEP", value_name = "PATTERNS")]
    keep: Vec<String>,
    /// Drop metrics whose name fits one of these regular expressions as a whole; separated by blanks.
    #[arg(long, env = "MILLRACE_DROP", value_name = "PATTERNS")]
    drop: Vec<String>,
    /// File with patterns of single tasks, in JSON; read again when it changes.
    #[arg(long, env = "MILLRACE_TASK_FILTERS", value_name = "FILE")]
    task_filters: Option<PathBuf>,

    /// Applications served at the same time; more are accepted and wait.
    #[arg(
        long,
        env = "MILLRACE_CONNECTIONS_MAX",
        default_value = "20000",
        value_parser = value_parser!(u32).range(1..=1_000_000),
        value_name = "NUMBER"
    )]
    connections_max: u32,
    /// New connections of one address at once; more wait.
    #[arg(
        long,
        env = "MILLRACE_CONNECTION_BURST",
        default_value = "5000",
        value_parser = value_parser!(u32).range(1..),
        value_name = "NUMBER"
    )]
    connection_burst: u32,
    /// New connections of one address per second, after a burst.
    #[arg(
        long,
        env = "MILLRACE_CONNECTIONS_PER_SECOND",
        default_value = "200",
        value_parser = value_parser!(u32).range(1..),
        value_name = "NUMBER"
    )]
    connections_per_second: u32,
    /// Bytes of one payload of RSocket, as it is sent.
    #[arg(long, env = "MILLRACE_PAYLOAD_MAX", default_value = "4Mi", value_parser = size, value_name = "BYTES")]
    payload_max: usize,
    /// Bytes of one request to the push door, as it is sent.
    #[arg(long, env = "MILLRACE_PUSH_MAX", default_value = "16Mi", value_parser = size, value_name = "BYTES")]
    push_max: usize,
    /// Bytes of one application's metrics as text, decompressed or sent plain.
    #[arg(long, env = "MILLRACE_TEXT_MAX", default_value = "32Mi", value_parser = size, value_name = "BYTES")]
    text_max: usize,
    /// Bytes of all metrics in memory.
    #[arg(long, env = "MILLRACE_MEMORY_MAX", default_value = "256Mi", value_parser = size, value_name = "BYTES")]
    memory_max: usize,
    /// Bytes of all final metrics on disk.
    #[arg(long, env = "MILLRACE_DISK_MAX", default_value = "1Gi", value_parser = size, value_name = "BYTES")]
    disk_max: usize,

    /// Seconds that scrapers and applications are waited for at the end.
    #[arg(
        long,
        env = "MILLRACE_DRAIN_SECONDS",
        default_value = "60",
        value_parser = seconds(0),
        value_name = "SECONDS"
    )]
    drain_seconds: u32,
    /// error, warn, info, debug or trace, or directives such as info,millrace=debug.
    #[arg(long, env = "MILLRACE_LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    pub(super) log_level: String,
    /// How log lines look.
    #[arg(long, env = "MILLRACE_LOG_FORMAT", default_value = "text", value_enum)]
    pub(super) log_format: Format,
}

/// Where the Java proxy's settings go, and under which names its container finds them: as properties, which SCDF's
/// compose file writes into the environment as they are; as Spring Boot's canonical variables, without dashes; in the
/// old form, with underscores for dashes.
const JAVA: [(&str, &[&str]); 3] = [
    ("http_port", &["server.port", "SERVER_PORT"]),
    (
        "tcp_port",
        &[
            "micrometer.prometheus-proxy.tcp-port",
            "MICROMETER_PROMETHEUSPROXY_TCPPORT",
            "MICROMETER_PROMETHEUS_PROXY_TCP_PORT",
        ],
    ),
    (
        "websocket_port",
        &[
            "micrometer.prometheus-proxy.websocket-port",
            "MICROMETER_PROMETHEUSPROXY_WEBSOCKETPORT",
            "MICROMETER_PROMETHEUS_PROXY_WEBSOCKET_PORT",
        ],
    ),
];

/// An hour longer than the head block of a Prometheus; what is longer is a mistake.
const SECONDS_MAX: i64 = 86_400;

fn port() -> clap::builder::RangedI64ValueParser<u16> {
    value_parser!(u16).range(1..)
}

fn seconds(least: i64) -> clap::builder::RangedI64ValueParser<u32> {
    value_parser!(u32).range(least..=SECONDS_MAX)
}

/// Bytes, as a number or with `Ki`, `Mi` or `Gi` after it.
fn size(text: &str) -> Result<usize, String> {
    let units = [("Ki", 10), ("Mi", 20), ("Gi", 30)];
    let (number, shift) =
        units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift))).unwrap_or((text, 0));
    let bytes = number.parse::<usize>().ok().and_then(|n| n.checked_mul(1 << shift));
    bytes.ok_or_else(|| "give a number of bytes, such as 16777216 or 16Mi".to_owned())
}

/// The patterns of all options; no name has blanks, and commas belong to patterns.
fn each(given: &[String]) -> Vec<String> {
    given.iter().flat_map(|patterns| patterns.split_whitespace()).map(str::to_owned).collect()
}

impl Proxy {
    /// Takes the Java proxy's settings from the environment where no flag and no variable of ours is `given`.
    pub fn adopt(
        &mut self,
        given: Option<&ArgMatches>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<(), String> {
        for (id, names) in JAVA {
            let default = given.and_then(|given| given.value_source(id)) == Some(ValueSource::DefaultValue);
            let found = names.iter().find_map(|name| Some((name, environment(name)?)));
            let Some((name, text)) = found.filter(|_| default) else { continue };
            let port = text.trim().parse::<u16>().ok().filter(|port| *port > 0);
            let port = port.ok_or_else(|| {
                format!(
                    "{name}={text} in the environment is no port; remove it, or give --{} \
                     (Kubernetes sets such variables for Services: enableServiceLinks: false)",
                    id.replace('_', "-")
                )
            })?;
            match id {
                "http_port" => self.http_port = port,
                "tcp_port" => self.tcp_port = port,
                _ => self.websocket_port = port,
            }
        }
        Ok(())
    }

    /// What the proxy runs with; an error says which options do not go together.
    pub fn settings(&self) -> Result<run::Settings, String> {
        self.check()?;
        let at = |port| SocketAddr::new(self.address, port);
        let time = |seconds: u32| Duration::from_secs(seconds.into());
        let ms = |seconds: u32| i64::from(seconds) * 1000;
        let whole = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let session = session::Settings {
            pull_interval: time(self.pull_seconds),
            pull_deadline: time(self.pull_deadline_seconds),
            payload_limit: self.payload_max,
            ..session::Settings::default()
        };
        let retention = Retention {
            least_ms: ms(self.retention_least_seconds),
            most_ms: ms(self.retention_most_seconds),
            deliveries: self.retention_deliveries,
        };
        Ok(run::Settings {
            tcp: at(self.tcp_port),
            websocket: at(self.websocket_port),
            http: at(self.http_port),
            push: at(self.push_port),
            drain: time(self.drain_seconds),
            // Hashes are seeded by the system anew in each process.
            seed: RandomState::new().hash_one(()),
            folder: self.data.clone(),
            task_filters: self.task_filters.clone(),
            server: server::Settings {
                session,
                text_limit: self.text_max,
                connections_max: whole(self.connections_max),
                burst: self.connection_burst,
                per_second: self.connections_per_second,
                ..server::Settings::default()
            },
            store: store::Settings {
                filter: Filter::new(&each(&self.keep), &each(&self.drop))?,
                task_filters: Arc::default(),
                retention,
                scraper_memory_ms: ms(self.scraper_memory_seconds),
                scrapers_max: self.scrapers_max.into(),
                memory_max: self.memory_max,
                disk_max: self.disk_max,
                // The log gives up room one file at a time.
                segment_bytes: (self.disk_max / 16).min(store::Settings::default().segment_bytes),
            },
            pushes: push::Settings { body_max: self.push_max, text_max: self.text_max },
        })
    }

    fn check(&self) -> Result<(), String> {
        if self.retention_least_seconds > self.retention_most_seconds {
            return Err(format!(
                "--retention-least-seconds {} is more than --retention-most-seconds {}; lower the one or raise the \
                 other",
                self.retention_least_seconds, self.retention_most_seconds
            ));
        }
        let mut doors = BTreeMap::new();
        for (flag, port) in [
            ("--tcp-port", self.tcp_port),
            ("--websocket-port", self.websocket_port),
            ("--http-port", self.http_port),
            ("--push-port", self.push_port),
        ] {
            if let Some(other) = doors.insert(port, flag) {
                return Err(format!("{other} and {flag} are both {port}; give each door a port of its own"));
            }
        }
        let mebibyte = 1 << 20;
        for (flag, value, least, most) in [
            // What is longer no frame of RSocket can carry, and no record of the store.
            ("--payload-max", self.payload_max, 1024, 16 * mebibyte),
            ("--push-max", self.push_max, 1024, TEXT_MAX),
            ("--text-max", self.text_max, 1024, TEXT_MAX),
            ("--memory-max", self.memory_max, mebibyte, usize::MAX),
            ("--disk-max", self.disk_max, 16 * mebibyte, usize::MAX),
        ] {
            if value < least {
                return Err(format!("{flag} {value} is too little; give {least} or more"));
            }
            if value > most {
                return Err(format!("{flag} {value} is too much; give {most} or less"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;
    use crate::cli::{Cli, Command};

    /// The settings that arguments and the Java proxy's variables lead to.
    fn settings(args: &[&str], java: &[(&str, &str)]) -> Result<run::Settings, String> {
        let all = ["millrace", "proxy"].iter().chain(args);
        let given = Cli::command().try_get_matches_from(all).map_err(|e| e.to_string())?;
        let Command::Proxy(mut proxy) = Cli::from_arg_matches(&given).unwrap().command else { panic!() };
        let environment =
            |name: &str| java.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        proxy.adopt(given.subcommand_matches("proxy"), environment)?;
        proxy.settings()
    }

    #[test]
    fn without_options_the_ports_are_those_of_the_java_proxy() {
        let default = settings(&[], &[]).unwrap();
        let ports = [default.http, default.tcp, default.websocket, default.push].map(|at| at.port());
        assert_eq!(ports, [8080, 7001, 8081, 9091]);
        // The defaults told by --help are those of the code.
        let (server, store) = (server::Settings::default(), store::Settings::default());
        assert_eq!(format!("{:?}", default.server), format!("{server:?}"));
        assert_eq!(format!("{:?}", default.store), format!("{store:?}"));
        assert_eq!(format!("{:?}", default.pushes), format!("{:?}", push::Settings::default()));
    }

    #[test]
    fn the_java_proxys_names_are_read_and_ours_win() {
        let java = [
            ("server.port", "9096"),
            ("SERVER_PORT", "1"),
            ("MICROMETER_PROMETHEUSPROXY_TCPPORT", "7002"),
            ("MICROMETER_PROMETHEUS_PROXY_WEBSOCKET_PORT", "8086"),
        ];
        let found = settings(&[], &java).unwrap();
        assert_eq!([found.http, found.tcp, found.websocket].map(|at| at.port()), [9096, 7002, 8086]);
        assert_eq!(settings(&["--http-port=8080"], &java).unwrap().http.port(), 8080);
        let service = settings(&[], &[("SERVER_PORT", "tcp://10.0.0.1:80")]).unwrap_err();
        assert!(
            service.contains("SERVER_PORT=tcp://10.0.0.1:80") && service.contains("--http-port"),
            "{service}"
        );
    }

    #[test]
    fn what_does_not_go_together_is_told() {
        for (args, told) in [
            (
                &["--retention-least-seconds=60", "--retention-most-seconds=59"][..],
                "lower the one or raise the other",
            ),
            (&["--push-port=8080"], "--http-port and --push-port are both 8080"),
            (&["--text-max=49Mi"], "--text-max 51380224 is too much; give 50331648 or less"),
            (&["--disk-max=1Mi"], "--disk-max 1048576 is too little; give 16777216 or more"),
            (&["--memory-max=1M"], "such as 16777216 or 16Mi"),
            (&["--keep=("], "--keep \"(\" is no pattern"),
            (&["--tcp-port=0"], "0 is not in 1..=65535"),
            (&["--retention-deliveries=0"], "0 is not in 1..=255"),
        ] {
            let error = settings(args, &[]).unwrap_err();
            assert!(error.contains(told), "{args:?}: {error}");
        }
        let all = settings(
            &["--keep=a b{1,2}.*", "--keep=d", "--drop=b_x", "--disk-max=32Mi", "--connections-max=7"],
            &[],
        )
        .unwrap();
        let passes = |name| all.store.filter.passes(name);
        assert!(passes("a") && passes("bbc") && passes("d") && !passes("b_x") && !passes("c"));
        assert_eq!((all.store.segment_bytes, all.server.connections_max), (2 << 20, 7));
    }
}
