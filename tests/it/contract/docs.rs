//! The guide says what the code does: reasons, variables, phases, and links that lead somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use millrace::api::Phase;
use millrace::api::task_definition::BootVersion;
use millrace::api::task_monitoring::SecretKey;
use millrace::inject::exporters::{self, Exporters, Influx, InfluxTarget, ProxyDoors, WavefrontSender};
use millrace::inject::spring::{Identity, variables};
use millrace::names::condition;

use super::{files, read, root};

/// Values of the constants of a module in src/names.rs.
fn constants(module: &str) -> BTreeSet<String> {
    let source = read("src/names.rs");
    let (_, body) = source.split_once(&format!("pub mod {module} {{\n")).unwrap();
    let (body, _) = body.split_once("\n}\n").unwrap();
    let literal = |line: &str| Some(line.trim().strip_prefix("pub const ")?.split('"').nth(1)?.to_owned());
    body.lines().filter_map(literal).collect()
}

/// Words in the first column of the page's tables, in backticks.
fn first_column(page: &str) -> BTreeSet<String> {
    let text = read(page);
    text.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect()
}

#[test]
fn failures_explains_every_reason_and_no_other() {
    let reasons = constants("reason");
    assert!(reasons.contains("NonZeroExit") && reasons.len() > 20, "{reasons:?}");
    let mut explained = first_column("docs/failures.md");
    explained.extend(first_column("docs/troubleshooting.md"));
    assert_eq!(
        explained, reasons,
        "first columns of docs/failures.md and troubleshooting.md, and names::reason"
    );
}

#[test]
fn launch_and_wait_names_every_phase_and_condition() {
    let page = read("docs/launch-and-wait.md");
    let phases =
        [Phase::Pending, Phase::Running, Phase::Stopping, Phase::Succeeded, Phase::Failed, Phase::Stopped];
    let words = phases.iter().map(|phase| phase.as_str().to_owned()).chain(constants("condition"));
    // Those of stacks and definitions.
    let words =
        words.filter(|word| ![condition::READY, condition::PATTERNS_APPLIED].contains(&word.as_str()));
    for word in words {
        assert!(page.contains(&format!("| `{word}` |")), "docs/launch-and-wait.md has no row for {word}");
    }
}

/// Everywhere that metrics can go, with either version of InfluxDB.
fn everywhere() -> [Exporters; 2] {
    let key = || SecretKey { name: "s".into(), key: "k".into() };
    let one = InfluxTarget::Database { database: "d".into(), login: Some((key(), key())) };
    let two = InfluxTarget::Bucket { org: "o".into(), bucket: "b".into(), token: key() };
    [one, two].map(|target| Exporters {
        proxy: Some(ProxyDoors { host: "p".into(), port: 1, push: Some("http://p:2".into()) }),
        influx: Some(Influx { url: "http://i".into(), target }),
        wavefront: Some(WavefrontSender { url: "http://w".into(), source: None, token: Some(key()) }),
    })
}

#[test]
fn what_a_run_gets_lists_every_variable_and_no_other() {
    let run = Identity {
        task_name: "t".into(),
        execution_id: 1,
        parent_execution_id: Some(1),
        namespace: "n".into(),
    };
    let tags = BTreeMap::from([("team".to_owned(), "x".to_owned())]);
    let given = variables(&run, &tags, Some(BootVersion::Two)).into_iter();
    let given = given.chain(everywhere().into_iter().flat_map(|all| exporters::variables(&all, &run)));
    let given = given.map(|v| v.env.name);
    let given: BTreeSet<String> =
        given.map(|name| if name.ends_with("_TEAM") { name.replace("TEAM", "…") } else { name }).collect();
    assert!(given.len() > 15);
    let told: BTreeSet<String> =
        first_column("docs/what-a-run-gets.md").into_iter().filter(|word| word.contains('_')).collect();
    assert_eq!(told, given);
}

#[test]
fn what_a_run_gets_lists_every_label_and_annotation() {
    let page = read("docs/what-a-run-gets.md");
    for key in constants("label").iter().filter(|key| *key != "batch.kubernetes.io/job-name") {
        assert!(page.contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn links_lead_to_files() {
    let pages = files("docs").into_iter().chain(files("examples")).chain(files("charts/millrace"));
    let tops = ["CONTRIBUTING.md", "SECURITY.md"].map(Into::into);
    for page in pages.chain(tops).filter(|page| page.extension().is_some_and(|e| e == "md")) {
        for link in read(&page).split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = root().join(page.parent().unwrap_or(Path::new(""))).join(target);
            assert!(path.exists(), "{} links to {target}, which is not there", page.display());
        }
    }
}

#[test]
fn every_page_is_listed_on_the_first() {
    let first = read("docs/README.md");
    for page in files("docs") {
        let name = page.strip_prefix("docs").unwrap().to_str().unwrap();
        let listed = name == "README.md" || name.starts_with("adr/") || first.contains(&format!("({name})"));
        assert!(listed, "docs/README.md does not list {name}");
    }
}

#[test]
fn nothing_shipped_names_a_place_of_its_own() {
    let folders = ["charts", "deploy", "docs", "examples"].into_iter().flat_map(files);
    for file in folders.chain(["Dockerfile", "CONTRIBUTING.md", "SECURITY.md"].map(Into::into)) {
        let content = read(&file);
        for word in ["docker.io", "ghcr.io", "quay.io", "gcr.io", "registry.k8s.io", "/root/", "/work/"] {
            assert!(!content.contains(word), "{} names {word}", file.display());
        }
    }
}

#[test]
fn the_bean_to_copy_is_the_one_that_is_tested() {
    let page = read("docs/spring-boot-3-and-4.md");
    let class = read("tests/apps/spring/src/bean/java/dev/millrace/testapp/ProxyClient.java");
    let class = class.split_once("\n\n").unwrap().1;
    assert!(page.contains(class), "the class in docs/spring-boot-3-and-4.md");
    let mut blocks = page.split("```xml\n").skip(1).map(|block| block.split_once("```").unwrap().0);
    for _ in 0..2 {
        // As Maven reads it: comments and indentation say nothing.
        let lines = |text: &str| -> Vec<String> {
            text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.starts_with("<!--")).collect()
        };
        let block = lines(blocks.next().unwrap()).concat();
        for boot in ["boot35-bean", "boot40-bean"] {
            let pom = lines(&read(format!("tests/apps/spring/{boot}/pom.xml"))).concat();
            assert!(
                pom.contains(&block),
                "the dependencies in docs/spring-boot-3-and-4.md and {boot}: {block}"
            );
        }
    }
    assert_eq!(blocks.next(), None);
}
