//! Texts of a TaskMonitoring that the API server refuses by their shape.

use regex::Regex;
use serde_json::Value;

use super::schema_of;

/// Whether the schema at `path` below `spec` takes this text.
fn takes(schema: &Value, path: &str, text: &str) -> bool {
    let pointer = path.split('/').fold(String::from("/properties/spec"), |at, field| match field {
        "items" => at + "/items",
        field => at + "/properties/" + field,
    });
    let of = schema.pointer(&pointer).unwrap_or_else(|| panic!("no {path}"));
    let bound = |name: &str| {
        usize::try_from(of[name].as_u64().unwrap_or_else(|| panic!("{path}: no {name}"))).unwrap()
    };
    let pattern = Regex::new(of["pattern"].as_str().unwrap_or_else(|| panic!("{path}: no pattern"))).unwrap();
    (bound("minLength")..=bound("maxLength")).contains(&text.len()) && pattern.is_match(text)
}

#[test]
fn addresses_sizes_and_names_that_are_none_are_refused() {
    let schema = schema_of("TaskMonitoring");
    let urls = ["http://p:9090", "https://p.example.com/a/b", "http://[fd00::1]:65535", "http://10.0.0.7"];
    let no_urls = [
        "",
        "p:9090",
        "ftp://p",
        "http://",
        "http://p:0",
        "http://p:65536",
        "http://p:99999",
        "http://p?x=1",
        "http://u@p",
        "http://p/a b",
        "http://p\nx: y",
        "http://$(X)",
        "http://p/#a",
        "HTTP://p",
    ];
    let sizes = ["8Gi", "500Mi", "1.5Ti", "10G"];
    let no_sizes = ["", "8", "Gi", "-8Gi", "8 Gi", "8Ki", "8gi", "1e3Gi"];
    for (path, good, bad) in [
        ("prometheus/external/url", &urls[..], &no_urls[..]),
        ("prometheus/alertmanagers/items", &urls, &no_urls),
        ("proxy/external/pushUrl", &urls, &no_urls),
        ("grafana/external/url", &urls, &no_urls),
        ("grafana/externalURL", &urls, &no_urls),
        ("influxdb/external/url", &urls, &no_urls),
        (
            "wavefront/external/url",
            &["https://w.example.com", "proxy://w:2878"],
            &["w", "ftp://w:2878", "https://", "https://u@w/", "https://w/ x", "https://w?x"],
        ),
        (
            "proxy/external/host",
            &["proxy", "p.example.com", "10.0.0.7", "fd00::1"],
            &["", "p:7001", "http://p", "-p", "p.", "a b"],
        ),
        ("prometheus/storage/size", &sizes, &no_sizes),
        ("proxy/storage/size", &sizes, &no_sizes),
        ("prometheus/retention/time", &["15d", "12h", "1y"], &["", "15", "0d", "-1d", "15m", "15d\n"]),
        ("prometheus/retention/size", &["6GB", "500MB"], &["", "6", "6Gi", "6 GB", "0GB"]),
        ("grafana/adminSecret/name", &["mine", "a.b-c"], &["", "Mine", "a/b", "-a", "a b"]),
        ("grafana/adminSecret/passwordKey", &["admin-password", "A_b.c"], &["", "a/b", "a b", "ä"]),
        ("influxdb/database", &["millrace", "_a-1"], &["", "-a", "a b", "a\"b"]),
    ] {
        for text in good {
            assert!(takes(&schema, path, text), "{path}: {text:?}");
        }
        for text in bad {
            assert!(!takes(&schema, path, text), "{path}: {text:?}");
        }
    }
}
