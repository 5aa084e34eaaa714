//! The rules of the house, read from the source: who imports whom, and who may touch the API server, the clock, the
//! environment and the runtime. A new room gets a row in `ROOMS`.

use std::path::Path;

use super::{files, read};

/// A folder or file of `src/`, what of the crate it may import, and which words it may not use.
struct Room {
    name: &'static str,
    imports: &'static [&'static str],
    without: &'static [Words],
}

/// Words, and in which files of the room they are allowed all the same.
struct Words {
    what: &'static str,
    list: &'static [&'static str],
    but_in: &'static [&'static str],
}

const fn no(what: &'static str, list: &'static [&'static str]) -> Words {
    Words { what, list, but_in: &[] }
}

const KUBERNETES: Words = no("Kubernetes types", &["k8s_openapi", "kube"]);
const CLIENT: Words = no("the API server's client", &["Api", "Client"]);
const CALENDAR: Words = no("the clock", &["Timestamp::now", "SystemTime", "Zoned::now"]);
const TIMERS: Words = no("timers", &["Instant", "tokio::time", "thread::sleep"]);
const ENVIRONMENT: Words =
    no("environment or arguments", &["std::env", "env::var", "env::args", "env::var_os"]);
const ASYNC: Words = no("async", &["async", "await", "tokio", "futures"]);
const LOG: Words = no("logging", &["tracing"]);
/// Maps in no order would make two plans of one snapshot differ.
const UNORDERED: Words = no("maps without order", &["HashMap", "HashSet"]);

const PURE: &[Words] = &[CLIENT, CALENDAR, TIMERS, ENVIRONMENT, ASYNC, LOG, UNORDERED];

const ROOMS: &[Room] = &[
    Room { name: "names", imports: &[], without: PURE },
    Room { name: "api", imports: &["names"], without: PURE },
    Room { name: "inject", imports: &["names", "api"], without: PURE },
    Room { name: "launch", imports: &["names", "api", "inject"], without: PURE },
    Room { name: "monitoring", imports: &["names", "api", "inject"], without: PURE },
    Room {
        name: "cluster",
        imports: &["names", "api", "inject", "launch", "monitoring", "facts", "telemetry"],
        without: &[
            Words { what: "the clock", list: CALENDAR.list, but_in: &["cluster/observe.rs"] },
            ENVIRONMENT,
        ],
    },
    Room {
        name: "controllers",
        imports: &["names", "api", "inject", "launch", "monitoring", "cluster", "facts", "telemetry"],
        without: &[
            Words {
                what: "handles of the API server, but for watches",
                list: &["Api"],
                but_in: &["controllers/watches.rs"],
            },
            no("requests of its own", &["PostParams", "PatchParams", "DeleteParams", "ListParams", "Patch"]),
            CALENDAR,
            ENVIRONMENT,
        ],
    },
    Room {
        name: "proxy",
        imports: &["telemetry"],
        without: &[
            KUBERNETES,
            ENVIRONMENT,
            Words {
                what: "async",
                list: ASYNC.list,
                but_in: &[
                    "proxy/aside.rs",
                    "proxy/http.rs",
                    "proxy/http/delivery.rs",
                    "proxy/http/facts.rs",
                    "proxy/http/scrapes.rs",
                    "proxy/http/serve.rs",
                    "proxy/push.rs",
                    "proxy/run.rs",
                    "proxy/server.rs",
                    "proxy/server/connection.rs",
                    "proxy/server/room.rs",
                    "proxy/server/transport.rs",
                    "proxy/store/commit.rs",
                    "proxy/store/intake.rs",
                    "proxy/store/mod.rs",
                    "proxy/store/turns.rs",
                ],
            },
        ],
    },
    Room { name: "facts", imports: &[], without: &[KUBERNETES, CALENDAR, ENVIRONMENT] },
    Room { name: "telemetry", imports: &["names", "api"], without: &[CLIENT, CALENDAR, ENVIRONMENT] },
    Room {
        name: "cli",
        imports: &["names", "api", "cluster", "controllers", "monitoring", "proxy", "facts", "telemetry"],
        without: &[no("Kubernetes types", &["k8s_openapi"]), CALENDAR],
    },
    Room { name: "main", imports: &["cli"], without: &[KUBERNETES, CALENDAR, ASYNC] },
    Room { name: "lib", imports: &[], without: &[KUBERNETES, CALENDAR, ENVIRONMENT, ASYNC] },
];

/// Longest file, in lines without its tests.
const LINES_MAX: usize = 500;
const FORBIDDEN_NAMES: [&str; 6] = ["util", "helpers", "common", "misc", "manager", "base"];

/// The code of a file: no comments, no tests.
fn code(source: &str) -> String {
    let source = source.find("\n#[cfg(test)]\nmod ").map_or(source, |tests| &source[..tests]);
    source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Whether `word` stands in `code` as a word (or path) of its own.
fn has_word(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(part) && !code[at + word.len()..].starts_with(part))
}

/// Rooms that `code` takes something from: `crate::x`, and `crate::{x, y::{…}}`.
fn imports(code: &str) -> Vec<String> {
    let name = |text: &str| {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    let mut found = Vec::new();
    for crate_name in ["crate::", "millrace::"] {
        for (at, _) in code.match_indices(crate_name) {
            let rest = &code[at + crate_name.len()..];
            let Some(list) = rest.strip_prefix('{') else {
                found.push(name(rest));
                continue;
            };
            let (mut depth, mut item) = (0, true);
            for (i, c) in list.char_indices() {
                if depth == 0 && item && c.is_alphanumeric() {
                    found.push(name(&list[i..]));
                    item = false;
                }
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' => item = depth == 0 || item,
                    _ => {}
                }
            }
        }
    }
    found
}

/// What a file (a path below `src/`) does against the rules.
fn offences(path: &str, source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let top = path.split('/').next().unwrap().trim_end_matches(".rs");
    let Some(room) = ROOMS.iter().find(|room| room.name == top) else {
        return vec![format!("{path}: no such room; give it a row in this test and in src/lib.rs")];
    };
    let code = code(source);
    for import in imports(&code) {
        let known = ROOMS.iter().any(|other| other.name == import);
        if known && import != room.name && !room.imports.contains(&import.as_str()) {
            found.push(format!("{path}: {} may not import {import}", room.name));
        }
    }
    if code.contains("super::super::") {
        found.push(format!("{path}: super::super:: hides where it leads; write crate::"));
    }
    for rule in room.without.iter().filter(|rule| !rule.but_in.contains(&path)) {
        for word in rule.list.iter().filter(|word| has_word(&code, word)) {
            found.push(format!("{path}: {} is without {} ({word})", room.name, rule.what));
        }
    }
    if code.lines().count() > LINES_MAX {
        found.push(format!("{path}: {} lines, more than {LINES_MAX}", code.lines().count()));
    }
    let names = path.trim_end_matches(".rs").split('/');
    found.extend(
        names.filter(|n| FORBIDDEN_NAMES.contains(n)).map(|name| format!("{path}: {name} says nothing")),
    );
    found
}

#[test]
fn everyone_keeps_to_the_rules_of_the_house() {
    let sources = files("src").into_iter().filter(|f| f.extension().is_some_and(|e| e == "rs"));
    // Tests in a file or a folder of their own.
    let is_test = |file: &Path| file.with_extension("").iter().any(|part| part == "tests");
    let sources: Vec<_> = sources.filter(|file| !is_test(file.strip_prefix("src").unwrap())).collect();
    assert!(sources.len() > 15);
    let below = |file: &Path| file.strip_prefix("src").unwrap().to_str().unwrap().to_owned();
    let found: Vec<String> = sources.iter().flat_map(|file| offences(&below(file), &read(file))).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_map_in_the_crates_documentation_has_every_room() {
    let map = read("src/lib.rs");
    for line in map.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let name = line.trim_end_matches(';');
        assert!(map.contains(&format!("//! | [`{name}`] |")), "src/lib.rs: no row for {name}");
    }
}

#[test]
fn offences_are_noticed() {
    for (path, source, told) in [
        ("launch/x.rs", "use crate::cluster::Cluster;", "may not import cluster"),
        ("launch/x.rs", "use crate::{api::{A, B}, telemetry::C};", "may not import telemetry"),
        ("api/x.rs", "fn f() -> crate::launch::X {}", "may not import launch"),
        ("launch/x.rs", "let now = Timestamp::now();", "without the clock"),
        ("launch/x.rs", "pub async fn f() {}", "without async"),
        ("launch/x.rs", "tracing::info!(\"x\");", "without logging"),
        ("inject/x.rs", "use std::collections::HashMap;", "without maps"),
        ("cluster/apply.rs", "let now = jiff::Timestamp::now();", "without the clock"),
        ("controllers/launches.rs", "let api: Api<Job> = x;", "but for watches"),
        ("controllers/watches.rs", "api.create(&PostParams::default(), x)", "requests of its own"),
        ("proxy/session.rs", "use kube::Client;", "without Kubernetes types"),
        ("proxy/session.rs", "async fn f() {}", "without async"),
        ("cluster/mod.rs", "std::env::var(\"X\")", "without environment"),
        ("telemetry/util.rs", "", "says nothing"),
        ("attic/x.rs", "", "no such room"),
        ("launch/x.rs", "use super::super::cluster;", "hides where it leads"),
    ] {
        let found = offences(path, source);
        assert!(found.iter().any(|f| f.contains(told)), "{path} {source}: {found:?}");
    }
    assert_eq!(offences("launch/x.rs", &"\n".repeat(LINES_MAX + 2)).len(), 1);
}

#[test]
fn what_is_allowed_is_no_offence() {
    for (path, source) in [
        ("launch/x.rs", "// Timestamp::now() would be wrong here.\nuse crate::{api::{A, telemetry}, names};"),
        ("launch/x.rs", "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use std::collections::HashMap;\n}"),
        ("cluster/observe.rs", "let now = Timestamp::now();"),
        ("controllers/watches.rs", "let api: Api<Job> = Api::all(client);"),
        ("launch/x.rs", "let apiary = asynchronous;"),
    ] {
        assert_eq!(offences(path, source), [""; 0], "{path} {source}");
    }
}
