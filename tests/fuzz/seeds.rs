//! Inputs to begin with, from what real applications sent.

use std::path::PathBuf;

use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(end));
    paths.sort();
    assert!(!paths.is_empty(), "{folder}");
    paths
}

pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(char::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

/// All frames of each recorded conversation, without their lengths.
pub fn conversations() -> Vec<Vec<Vec<u8>>> {
    let of = |path: &PathBuf| {
        let capture: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let frames = capture["frames"].as_array().cloned().unwrap_or_default();
        frames.iter().filter_map(|frame| frame["hex"].as_str()).map(hex).collect::<Vec<_>>()
    };
    files("tests/captures", ".json").iter().map(of).filter(|frames| !frames.is_empty()).collect()
}

/// Expositions of Spring Boot 2.7 to 4.0, and pieces of other kinds.
pub fn expositions() -> Vec<Vec<u8>> {
    let boot = files("src/proxy/exposition/testdata", ".prom");
    let mut all: Vec<Vec<u8>> = boot.iter().map(|path| std::fs::read(path).unwrap()).collect();
    let pieces: [&[u8]; 6] = [
        b"# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\"} 1\na_total{x=\"2\",} 2 1700000000000\n",
        b"# TYPE h histogram\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_count 2\nh_sum 3.5\n",
        b"# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_count 2\ns_sum 3\n# TYPE s_count gauge\ns_count{x=\"1\"} 4\n",
        b"# TYPE c counter\n# UNIT c seconds\nc_total 1 # {trace_id=\"x\"} 1\nc_created 1.5\n# EOF\n",
        b"x{task_execution_id=\"42\",task_external_execution_id=\"p\",a=\"q\\\\\\\"\\n\"} -0.0\nx 1e9\nx NaN\n",
        b"y{application=\"t-1\"} 1\n# TYPE y untyped\n# HELP y with \\\\ and \\n and \"quotes\" \xc3\xa9\n",
    ];
    all.extend(pieces.map(<[u8]>::to_vec));
    all
}
