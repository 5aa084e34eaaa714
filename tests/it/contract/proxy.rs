//! The pages about the metrics proxy, compared with its options and its own metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::CommandFactory;
use jiff::Timestamp;
use millrace::proxy::crypto::OpenError;
use millrace::proxy::http;
use millrace::proxy::intake::Door;
use millrace::proxy::metrics::{FilterRead, Metrics, Outcome, PullEnd};
use millrace::proxy::store::disk::Directory;
use millrace::proxy::store::{Settings, Store};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::{documents, read, text};

const PAGE: &str = "docs/metrics-proxy.md";

/// The rows of the page's tables whose first cell is one word in backticks, without the backticks.
fn rows(page: &str) -> BTreeMap<String, Vec<String>> {
    let page = read(page);
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()
    };
    let rows = page.lines().filter(|line| line.starts_with("| `")).map(cells);
    rows.map(|mut row| (row.remove(0), row)).collect()
}

#[test]
fn the_page_lists_every_option_with_its_variable_and_default_and_no_other() {
    let command = millrace::cli::Cli::command();
    let proxy = command.find_subcommand("proxy").unwrap();
    let mut options = BTreeMap::new();
    for option in proxy.get_arguments().filter(|option| option.get_id() != "help") {
        let default: Vec<_> = option.get_default_values().iter().map(|v| v.to_str().unwrap()).collect();
        let variable = option.get_env().unwrap_or_else(|| panic!("{} has no variable", option.get_id()));
        let variable = variable.to_str().unwrap().to_owned();
        assert!(variable.starts_with("MILLRACE_"), "{variable}");
        options.insert(format!("--{}", option.get_long().unwrap()), (variable, default.join(" ")));
    }
    let mut told = rows(PAGE);
    told.retain(|flag, _| flag.starts_with("--"));
    let told: BTreeMap<_, _> =
        told.into_iter().map(|(flag, row)| (flag, (row[0].clone(), row[1].clone()))).collect();
    assert_eq!(told, options);
}

#[test]
fn the_java_proxys_names_on_the_page_are_those_in_the_code() {
    let (page, code) = (read(PAGE), read("src/cli/proxy.rs"));
    let (_, list) = code.split_once("const JAVA:").unwrap();
    let (list, _) = list.split_once("];\n").unwrap();
    let names: Vec<&str> =
        list.split('"').skip(1).step_by(2).filter(|name| !name.ends_with("_port")).collect();
    assert_eq!(names.len(), 8, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("`{name}`")), "{PAGE} does not name {name}");
    }
}

#[test]
fn the_manifest_on_the_page_is_one_that_a_restricted_namespace_takes() {
    let page = read(PAGE);
    let (_, manifest) = page.split_once("```yaml\napiVersion").unwrap();
    let (manifest, _) = manifest.split_once("```").unwrap();
    let objects = documents(&format!("apiVersion{manifest}"));
    let kinds: Vec<_> = objects.iter().map(|object| text(object, "/kind")).collect();
    assert_eq!(kinds, ["StatefulSet", "Service"]);
    let pod = "/spec/template/spec";
    for (pointer, wanted) in [
        ("/securityContext/runAsNonRoot", serde_json::json!(true)),
        ("/securityContext/seccompProfile/type", "RuntimeDefault".into()),
        ("/containers/0/securityContext/allowPrivilegeEscalation", false.into()),
        ("/containers/0/securityContext/readOnlyRootFilesystem", true.into()),
        ("/containers/0/securityContext/capabilities/drop", serde_json::json!(["ALL"])),
        ("/enableServiceLinks", false.into()),
    ] {
        assert_eq!(objects[0].pointer(&format!("{pod}{pointer}")), Some(&wanted), "{pointer}");
    }
    let ports = |list: &serde_json::Value, name: &str| -> Vec<u64> {
        list.as_array().unwrap().iter().map(|port| port[name].as_u64().unwrap()).collect()
    };
    let container = ports(objects[0].pointer(&format!("{pod}/containers/0/ports")).unwrap(), "containerPort");
    assert_eq!(container, [7001, 8081, 8080, 9091]);
    assert_eq!(ports(&objects[1]["spec"]["ports"], "port"), container);
}

/// A folder that goes with its owner.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Everything that the proxy counts, counted once.
fn own_metrics() -> String {
    let (metrics, cell) = (Metrics::default(), Arc::new(OnceLock::new()));
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    http::register(&mut registry, cell.clone(), Arc::default());
    let folder = Folder(std::env::temp_dir().join(format!("millrace-docs-{}", std::process::id())));
    let clock: millrace::proxy::store::Clock = Arc::new(|| Timestamp::UNIX_EPOCH);
    let disk = Arc::new(Directory::open(&folder.0).unwrap());
    assert!(cell.set(Store::open(disk, Settings::default(), clock).unwrap()).is_ok());
    metrics.event("opened");
    metrics.task_filters(FilterRead::Applied, Some(1));
    metrics.pull(Outcome::success);
    metrics.push(Door::Push, Outcome::success, Duration::ZERO);
    metrics.answered(PullEnd::Kept, Duration::ZERO);
    metrics.scraped(PullEnd::Kept, Duration::ZERO);
    metrics.key_sent();
    metrics.connection_error(Door::Tcp, "accept");
    metrics.opened(&Err(OpenError::Key), Duration::ZERO);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

#[test]
fn the_page_lists_every_metric_and_no_other() {
    let text = own_metrics();
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let names: BTreeSet<String> = families
        .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
        .collect();
    assert!(names.len() > 20, "{names:?}");
    let told: BTreeSet<String> = rows("docs/proxy-metrics.md").into_keys().collect();
    assert_eq!(told, names);
}

#[test]
fn the_page_names_every_outcome_and_event() {
    let page = read("docs/proxy-metrics.md");
    let source = read("src/proxy/metrics.rs");
    let (_, outcomes) = source.split_once("pub enum Outcome {").unwrap();
    let (outcomes, _) = outcomes.split_once('}').unwrap();
    let outcomes = outcomes.lines().filter_map(|line| line.trim().strip_suffix(','));
    let (_, events) = source.split_once("self.event(match note {").unwrap();
    let (events, _) = events.split_once("});").unwrap();
    let events = events.split('"').skip(1).step_by(2);
    let words: Vec<&str> = outcomes.chain(events).collect();
    assert!(words.contains(&"skipped") && words.contains(&"late_answer"), "{words:?}");
    for word in words {
        assert!(page.contains(&format!("`{word}`")), "docs/proxy-metrics.md does not name {word}");
    }
}
