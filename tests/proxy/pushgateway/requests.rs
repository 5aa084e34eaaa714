//! Requests to a push API, good and bad. In paths and bodies `{m}` stands for a prefix that only one case has.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// A request.
pub struct Request {
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    packing: Packing,
}

#[derive(Clone, Copy)]
enum Packing {
    Text,
    /// As it is: nothing is put for `{m}`.
    Raw,
    Gzip,
    Snappy,
    Protobuf,
}

impl Request {
    /// The body as it is sent.
    pub fn body(&self, prefix: &str) -> Vec<u8> {
        let text = || String::from_utf8_lossy(&self.body).replace("{m}", prefix);
        match self.packing {
            Packing::Text => text().into_bytes(),
            Packing::Raw => self.body.clone(),
            Packing::Gzip => gzip(text().as_bytes()),
            Packing::Snappy => {
                let mut packer = snap::write::FrameEncoder::new(Vec::new());
                packer.write_all(text().as_bytes()).unwrap();
                packer.into_inner().unwrap()
            }
            Packing::Protobuf => families(prefix),
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// Requests that are sent one after the other.
pub struct Case {
    pub what: String,
    pub requests: Vec<Request>,
    /// What is looked at, if not what begins with the prefix.
    pub names: Option<&'static str>,
    /// The difference that it shows, by its name in `docs/push-door.md`.
    pub differs: Option<&'static str>,
}

fn request(method: &'static str, path: &str, body: &str) -> Request {
    let path = format!("/metrics/job/{{m}}{path}");
    Request { method, path, headers: Vec::new(), body: body.into(), packing: Packing::Text }
}

fn put(path: &str, body: &str) -> Request {
    request("PUT", path, body)
}

fn post(path: &str, body: &str) -> Request {
    request("POST", path, body)
}

fn delete(path: &str) -> Request {
    request("DELETE", path, "")
}

/// With a path of its own.
fn at(method: &'static str, path: &str, body: &str) -> Request {
    Request { path: path.to_owned(), ..request(method, "", body) }
}

fn packed(packing: Packing, headers: &[(&'static str, &'static str)], body: &[u8]) -> Request {
    Request { packing, headers: headers.to_vec(), body: body.to_vec(), ..post("", "") }
}

fn same(what: &str, requests: impl Into<Vec<Request>>) -> Case {
    Case {
        what: what.to_owned(),
        requests: requests.into().into_iter().collect(),
        names: None,
        differs: None,
    }
}

fn differs(difference: &'static str, what: &str, requests: impl Into<Vec<Request>>) -> Case {
    Case { differs: Some(difference), ..same(what, requests) }
}

/// All cases.
pub fn cases() -> Vec<Case> {
    [groups(), paths(), refused_paths(), methods(), bodies(), meanings(), packings()]
        .into_iter()
        .flatten()
        .collect()
}

const A: &str = "# TYPE {m}a gauge\n{m}a 1\n";
const AB: &str = "# TYPE {m}a gauge\n{m}a{x=\"1\"} 1\n# TYPE {m}b_total counter\n{m}b_total 2\n";

fn groups() -> Vec<Case> {
    vec![
        same("PUT", [put("", A)]),
        same("POST", [post("", AB)]),
        same("PUT replaces a group", [put("", AB), put("", A)]),
        same("POST replaces families", [put("", AB), post("", "# TYPE {m}a gauge\n{m}a{x=\"2\"} 3\n")]),
        same("PUT replaces its own group only", [put("/x/1", A), put("/x/2", A), put("", "{m}b 1\n")]),
        same("a group is the same in any order", [put("/x/1/y/2", AB), put("/y/2/x/1", A)]),
        same(
            "labels of the group win",
            [put("/x/g/le/1", "{m}a{x=\"b\",job=\"b\",y=\"b\"} 1\n{m}b{instance=\"b\"} 1\n")],
        ),
        same("instance in the group", [put("/instance/i", "{m}a{instance=\"b\"} 1\n{m}b 1\n")]),
        same(
            "metrics named like labels of the group",
            [put("/{m}l/1", "{m}l 1\n{m}l_total{a=\"{m}l\"} 2\n")],
        ),
        same("no group to delete", [delete("/x/none")]),
        differs("DELETE", "DELETE", [put("", A), delete("")]),
        same("what comes after DELETE stands alone", [put("", "{m}z 1\n"), delete(""), post("", A)]),
        differs("an empty body", "PUT of nothing", [put("", A), put("", "")]),
        same("POST of nothing", [put("", A), post("", "")]),
        same("POST of nothing to a new group", [post("", "")]),
        differs("`job` beside `task_name`", "task_name in the group", [put("/task_name/t", A)]),
        Case {
            names: Some("push_time_seconds"),
            ..differs("`push_time_seconds`", "the time of the push", [put("/x/time", A)])
        },
    ]
}

fn paths() -> Vec<Case> {
    vec![
        same("base64", [at("PUT", "/metrics/job@base64/L2pvYg/x@base64/YS9iL8O8/y/1", A)]),
        same("base64 with padding", [at("PUT", "/metrics/job@base64/L2pvYg==/x@base64/YQ==", A)]),
        same("base64 of nothing as a label", [put("/x@base64/=/y@base64/", A), put("/z/1", "{m}b 1\n")]),
        differs("two slashes together", "an empty value", [put("/x//y/1", A)]),
        same("a slash after the job", [put("/", A)]),
        same("percent signs", [put("/x/a%20b%25%C3%BC%3D%22", A), put("/%78%79/1", A)]),
        same("plus signs", [put("/x/a+b", A)]),
        same("a label twice", [put("/x/1/x/2", A)]),
        same("job as a label", [put("/job/other", A)]),
        same("a long value", [put(&format!("/x/{}", "x".repeat(4000)), A)]),
        same("a query", [put("/x/1?y=2", A)]),
        differs("a slash at the end of labels", "a slash at the end", [put("/x/1/", A)]),
        differs("a slash as `%2F`", "a slash as %2F", [put("/x/1%2F2", A)]),
        differs("dots in label names", "dots", [put("/task.x/1", A)]),
        differs("control characters in the path", "a line break in a value", [put("/x/1%0A2", A)]),
    ]
}

/// Not among them: a value that is no UTF-8. Both refuse it with 400, but the Pushgateway then fails to show anything.
fn refused_paths() -> Vec<Case> {
    let all = [
        "/metrics/job/{m}/x",
        "/metrics/job/{m}/x/1/y",
        "/metrics/job/{m}/1x/1",
        "/metrics/job/{m}/x-y/1",
        "/metrics/job/{m}/x:y/1",
        "/metrics/job/{m}/%C3%BC/1",
        "/metrics/job/{m}/__x/1",
        "/metrics/job/{m}/__name__/x",
        "/metrics/job/{m}/x@base64/%25",
        "/metrics/job@base64/=",
        "/metrics/job@base64/!",
    ];
    let mut cases: Vec<_> = all.iter().map(|path| same(path, [at("PUT", path, A)])).collect();
    cases.extend(all.iter().take(2).map(|path| same(path, [at("DELETE", path, "")])));
    for path in ["/metrics/job", "/metrics/x/1"] {
        cases.push(differs("paths of no group", path, [at("PUT", path, A)]));
    }
    cases.push(differs("pages for people", "PUT of one", [at("PUT", "/", A)]));
    cases.push(same("no page", [at("PUT", "/other", A)]));
    cases
}

fn methods() -> Vec<Case> {
    let mut cases: Vec<_> =
        ["GET", "PATCH", "HEAD", "TRACE"].map(|method| same(method, [request(method, "/x/1", A)])).into();
    cases.push(differs("OPTIONS", "OPTIONS", [request("OPTIONS", "/x/1", "")]));
    for path in ["/-/healthy", "/-/ready"] {
        cases.push(same(path, [at("GET", path, "")]));
    }
    for path in ["/metrics", "/api/v1/metrics", "/api/v1/status"] {
        cases.push(differs("reading", path, [at("GET", path, "")]));
    }
    cases.push(same("wiping, which is off", [put("", A), at("PUT", "/api/v1/admin/wipe", "")]));
    cases
}

fn bodies() -> Vec<Case> {
    let mut cases = vec![
        same("comments only", [put("", "# a comment\n# HELP {m}a A.\n# TYPE {m}a gauge\n")]),
        same("no comments", [put("", "{m}a 1\n\n{m}b{x=\"1\"} 2\n")]),
        same("blanks", [put("", "  # TYPE   {m}a \t gauge\n\t{m}a { x = \"1\" , }   1\n")]),
        same("escapes", [put("", "# HELP {m}a \\\\ \\n \"q\"\n{m}a{x=\"\\\\ \\n \\\" {}, üñí €😀\"} 1\n")]),
        same("numbers", [put("", "{m}a 1e3\n{m}b NaN\n{m}c +Inf\n{m}d -inf\n")]),
        same("an empty label", [put("", "{m}a{x=\"\"} 1\n")]),
        differs("lines that cannot be read", "one of them", [put("", "{m}a 1\nnonsense\n{m}b 2\n")]),
        differs("lines that cannot be read", "an unknown type", [put("", "# TYPE {m}a nonsense\n{m}a 1\n")]),
        differs("lines that cannot be read", "a label twice", [put("", "{m}a 1\n{m}b{x=\"1\",x=\"2\"} 1\n")]),
        differs("lines that end in CR LF", "CR LF", [put("", "{m}a 1\r\n{m}b 2\r\n")]),
        differs("no line end after the last line", "no line end", [put("", "{m}a 1\n{m}b 2")]),
        differs("a series twice", "a series twice", [put("", "{m}a{x=\"1\"} 1\n{m}a{x=\"1\"} 2\n")]),
        differs("metadata twice", "two types", [put("", "# TYPE {m}a gauge\n# TYPE {m}a counter\n{m}a 1\n")]),
        differs("metadata twice", "a type too late", [put("", "{m}a 1\n# TYPE {m}a gauge\n")]),
        differs("names in quotes", "a name in quotes", [put("", "{\"{m}a\"} 1\n")]),
        differs("times in a body", "a time", [put("", "{m}a 1 1234\n{m}b 2\n")]),
    ];
    for (what, body) in [
        ("no exposition", "<html>\n"),
        ("a broken line only", "{m}a{x=\"1\" 1\n"),
        ("no value", "{m}a\n"),
        ("a value that is none", "{m}a one\n"),
        ("a hexadecimal number", "{m}a 0x10\n"),
        ("a wrong escape", "{m}a{x=\"\\y\"} 1\n"),
        ("a name that is none", "{m}-a 1\n"),
    ] {
        cases.push(same(what, [put("", body)]));
    }
    cases
}

fn meanings() -> Vec<Case> {
    let histogram = "# TYPE {m}h histogram\n{m}h_bucket{le=\"1\"} 1\n{m}h_bucket{le=\"+Inf\"} 2\n{m}h_sum 3\n{m}h_count 2\n";
    vec![
        same("a histogram", [put("", histogram)]),
        same(
            "a summary",
            [put("", "# TYPE {m}s summary\n{m}s{quantile=\"0.5\"} 1\n{m}s_sum 2\n{m}s_count 3\n")],
        ),
        same("a counter without _total", [put("", "# TYPE {m}a counter\n{m}a 1\n")]),
        same("two groups with one type", [put("/x/1", AB), put("/x/2", AB)]),
        same(
            "two groups with other help",
            [put("/x/1", "# HELP {m}a A.\n{m}a 1\n"), put("/x/2", "# HELP {m}a B.\n{m}a 1\n")],
        ),
        differs(
            "types that do not agree",
            "types",
            [put("/x/1", A), put("/x/2", "# TYPE {m}a counter\n{m}a 1\n")],
        ),
        differs(
            "a histogram without its last bucket",
            "no +Inf",
            [put("", &histogram.replace("{m}h_bucket{le=\"+Inf\"} 2\n", ""))],
        ),
        same(
            "a sample that does not fit its type",
            [put("", "# TYPE {m}s summary\n{m}s_sum 2\n{m}s_count 3\n{m}s_max 1\n")],
        ),
    ]
}

const PROTOBUF: (&str, &str) = (
    "content-type",
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
);

fn packings() -> Vec<Case> {
    let gzip_header = ("content-encoding", "gzip");
    let bomb = gzip(&[b"#".repeat(33 << 20), b"\n".to_vec()].concat());
    vec![
        same("protobuf", [packed(Packing::Protobuf, &[PROTOBUF], b"")]),
        same("protobuf of nothing", [packed(Packing::Raw, &[PROTOBUF], b"")]),
        same("protobuf cut", [packed(Packing::Raw, &[PROTOBUF], &families("cut_")[..40])]),
        same("text as protobuf", [packed(Packing::Text, &[PROTOBUF], A.as_bytes())]),
        same("protobuf as text", [packed(Packing::Protobuf, &[("content-type", "text/plain")], b"")]),
        same(
            "any other content type",
            [packed(Packing::Text, &[("content-type", "application/json")], A.as_bytes())],
        ),
        same("gzip", [packed(Packing::Gzip, &[gzip_header], AB.as_bytes())]),
        same("gzip in capitals", [packed(Packing::Gzip, &[("content-encoding", "GZIP")], AB.as_bytes())]),
        same("no gzip", [packed(Packing::Text, &[gzip_header], A.as_bytes())]),
        same("gzip cut", [packed(Packing::Raw, &[gzip_header], &gzip(b"a 1\nb 2\nc 3\n")[..20])]),
        same("snappy", [packed(Packing::Snappy, &[("content-encoding", "snappy")], AB.as_bytes())]),
        same("no snappy", [packed(Packing::Text, &[("content-encoding", "snappy")], A.as_bytes())]),
        differs(
            "other content encodings",
            "br",
            [packed(Packing::Text, &[("content-encoding", "br")], A.as_bytes())],
        ),
        differs("bodies over the limits", "a bomb", [packed(Packing::Raw, &[gzip_header], &bomb)]),
    ]
}

/// A field of a protobuf message that is a message or a text.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
}

fn double(number: u8, value: f64) -> Vec<u8> {
    [&[number << 3 | 1][..], &value.to_le_bytes()].concat()
}

fn count(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

/// A family of each type, delimited.
fn families(prefix: &str) -> Vec<u8> {
    let label = field(1, &[field(1, b"x"), field(2, "a\"\\\n\u{fc}".as_bytes())].concat());
    let bucket = |le: f64, of: u8| field(3, &[count(1, of), double(2, le)].concat());
    let quantile = field(3, &[double(1, 0.5), double(2, 4.0)].concat());
    let kinds: [(&str, u8, Vec<u8>); 5] = [
        ("a_total", 0, field(3, &double(1, 3.0))),
        ("b", 1, field(2, &double(1, f64::NAN))),
        ("c", 2, field(4, &[count(1, 9), double(2, 8.0), quantile].concat())),
        ("d", 3, field(5, &double(1, -1.0))),
        (
            "e",
            4,
            field(
                7,
                &[count(1, 9), double(2, 8.0), bucket(0.00001, 1), bucket(1e6, 2), bucket(f64::INFINITY, 9)]
                    .concat(),
            ),
        ),
    ];
    let family = |(name, kind, metric): (&str, u8, Vec<u8>)| {
        let name = format!("{prefix}{name}");
        let metric = field(4, &[label.clone(), metric].concat());
        let family =
            [field(1, name.as_bytes()), field(2, b"He\\lp \"q\"\n."), count(3, kind), metric].concat();
        [&[u8::try_from(family.len()).unwrap()], &*family].concat()
    };
    kinds.map(family).concat()
}
