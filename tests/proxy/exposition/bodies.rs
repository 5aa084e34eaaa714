//! Bodies: real ones, hostile ones, and as many random ones as are wanted; each with the series that it means.

use std::fmt::Write;

use crate::support::reader::{Values, named, value};

/// What applications with the versions 2.7, 3.2, 3.5 and 4.0 of Spring Boot exposed.
pub const CAPTURES: [&str; 4] = ["b27", "b32", "b35", "b40"];

/// One of them.
pub fn capture(boot: &str) -> &'static str {
    match boot {
        "b27" => include_str!("../../../src/proxy/exposition/testdata/scrape-b27.prom"),
        "b32" => include_str!("../../../src/proxy/exposition/testdata/scrape-b32.prom"),
        "b35" => include_str!("../../../src/proxy/exposition/testdata/scrape-b35.prom"),
        _ => include_str!("../../../src/proxy/exposition/testdata/scrape-b40.prom"),
    }
}

type Labels = &'static [(&'static str, &'static str)];

/// A body that is hard to get right.
pub struct Hostile {
    pub what: &'static str,
    pub text: String,
    /// The series that are to be exposed.
    pub series: Vec<(&'static str, Labels, f64)>,
}

fn case(what: &'static str, text: &str, series: &[(&'static str, Labels, f64)]) -> Hostile {
    Hostile { what, text: text.to_owned(), series: series.to_vec() }
}

/// Bodies that no application should have, but some do. Some disagree with each other.
pub fn hostile() -> Vec<Hostile> {
    [families(), values(), compound(), syntax()].into_iter().flatten().collect()
}

fn families() -> Vec<Hostile> {
    vec![
        case(
            "a family twice, apart, and a series twice",
            "# HELP dup_total A.\n# TYPE dup_total counter\ndup_total{a=\"1\"} 1\n# TYPE between gauge\nbetween 5\n\
             # HELP dup_total B.\n# TYPE dup_total counter\ndup_total{a=\"2\"} 2\ndup_total{a=\"1\"} 9\n",
            &[("dup_total", &[("a", "1")], 1.0), ("dup_total", &[("a", "2")], 2.0), ("between", &[], 5.0)],
        ),
        case("a type", "# TYPE conflict counter\nconflict 1\n", &[("conflict", &[], 1.0)]),
        case("another type", "# TYPE conflict gauge\nconflict -2\n", &[("conflict", &[], -2.0)]),
        case(
            "a third type",
            "# TYPE conflict histogram\nconflict_bucket{le=\"+Inf\"} 3\nconflict_count 3\nconflict_sum 4\n",
            &[
                ("conflict_bucket", &[("le", "+Inf")], 3.0),
                ("conflict_count", &[], 3.0),
                ("conflict_sum", &[], 4.0),
            ],
        ),
        case(
            "a family named like a series of another",
            "# TYPE conflict_count gauge\nconflict_count 7\n",
            &[("conflict_count", &[], 7.0)],
        ),
        case(
            "samples that do not fit their type",
            "# TYPE fit summary\nfit_max 3\nfit_count 1\nfit_sum 2\nfit_active_count 4\nfit_bucket{le=\"1\"} 5\n",
            &[
                ("fit_max", &[], 3.0),
                ("fit_count", &[], 1.0),
                ("fit_sum", &[], 2.0),
                ("fit_active_count", &[], 4.0),
                ("fit_bucket", &[("le", "1")], 5.0),
            ],
        ),
        case("a counter without _total", "# TYPE bare counter\nbare 1\n", &[("bare", &[], 1.0)]),
        case(
            "a counter named like the gauge beside it",
            "# TYPE near_total counter\nnear_total 1\n# TYPE near gauge\nnear 2\n",
            &[("near_total", &[], 1.0), ("near", &[], 2.0)],
        ),
        case(
            "OpenMetrics, with exemplars, times and start timestamps",
            "# TYPE open counter\n# UNIT open seconds\nopen_total 3 1234.5 # {id=\"x\"} 1 2\nopen_created 1e9 1234.5\n\
             # TYPE open_info info\nopen_info{v=\"1\"} 1\n# EOF\n",
            &[("open_total", &[], 3.0), ("open_created", &[], 1e9), ("open_info", &[("v", "1")], 1.0)],
        ),
        case(
            "types that are none, or two",
            "# TYPE odd nonsense\nodd 1\n# TYPE two gauge\n# TYPE two counter\ntwo 2\n# TYPE\n# TYPE three\nthree 3\n",
            &[("odd", &[], 1.0), ("two", &[], 2.0), ("three", &[], 3.0)],
        ),
    ]
}

fn values() -> Vec<Hostile> {
    vec![
        case(
            "numbers",
            "n{i=\"1\"} NaN\nn{i=\"2\"} +Inf\nn{i=\"3\"} -Inf\nn{i=\"4\"} 1.7976931348623157e308\nn{i=\"5\"} 5e-324\n\
             n{i=\"6\"} -0\nn{i=\"7\"} 18446744073709551617\nn{i=\"8\"} 0.1\nn{i=\"9\"} Inf\nn{i=\"10\"} 1E-7\n",
            &[
                ("n", &[("i", "1")], f64::NAN),
                ("n", &[("i", "2")], f64::INFINITY),
                ("n", &[("i", "3")], f64::NEG_INFINITY),
                ("n", &[("i", "4")], f64::MAX),
                ("n", &[("i", "5")], 5e-324),
                ("n", &[("i", "6")], -0.0),
                ("n", &[("i", "7")], 18_446_744_073_709_551_617.0),
                ("n", &[("i", "8")], 0.1),
                ("n", &[("i", "9")], f64::INFINITY),
                ("n", &[("i", "10")], 1e-7),
            ],
        ),
        case(
            "counters that are no counts",
            "# TYPE odd_total counter\nodd_total{i=\"1\"} -1\nodd_total{i=\"2\"} NaN\n# TYPE inf_total counter\n\
             inf_total +Inf\n",
            &[
                ("odd_total", &[("i", "1")], -1.0),
                ("odd_total", &[("i", "2")], f64::NAN),
                ("inf_total", &[], f64::INFINITY),
            ],
        ),
    ]
}

fn compound() -> Vec<Hostile> {
    vec![
        case(
            "a histogram without its last bucket",
            "# TYPE h1 histogram\nh1_bucket{le=\"1.0\"} 1\nh1_count 1\nh1_sum 1\n",
            &[("h1_bucket", &[("le", "1.0")], 1.0), ("h1_count", &[], 1.0), ("h1_sum", &[], 1.0)],
        ),
        case(
            "a histogram without count and sum",
            "# TYPE h2 histogram\nh2_bucket{le=\"+Inf\"} 1\n# TYPE h3 histogram\nh3_bucket{le=\"+Inf\"} 1\nh3_sum 1\n\
             # TYPE h4 histogram\nh4_bucket{le=\"+Inf\"} 1\nh4_count 1\n# TYPE h5 histogram\nh5_count 1\nh5_sum 1\n",
            &[
                ("h2_bucket", &[("le", "+Inf")], 1.0),
                ("h3_bucket", &[("le", "+Inf")], 1.0),
                ("h3_sum", &[], 1.0),
                ("h4_bucket", &[("le", "+Inf")], 1.0),
                ("h4_count", &[], 1.0),
                ("h5_count", &[], 1.0),
                ("h5_sum", &[], 1.0),
            ],
        ),
        case(
            "histograms that contradict themselves",
            "# TYPE h6 histogram\nh6_bucket{le=\"2.0\"} 1\nh6_bucket{le=\"1.0\"} 5\nh6_bucket{le=\"+Inf\"} 3\nh6_count 9\n\
             h6_sum NaN\n# TYPE h7 histogram\nh7_bucket{le=\"-1.0\"} 1.5\nh7_bucket{le=\"+Inf\"} 2\nh7_count 2\n\
             h7_sum 0\n",
            &[
                ("h6_bucket", &[("le", "2.0")], 1.0),
                ("h6_bucket", &[("le", "1.0")], 5.0),
                ("h6_bucket", &[("le", "+Inf")], 3.0),
                ("h6_count", &[], 9.0),
                ("h6_sum", &[], f64::NAN),
                ("h7_bucket", &[("le", "-1.0")], 1.5),
                ("h7_bucket", &[("le", "+Inf")], 2.0),
                ("h7_count", &[], 2.0),
                ("h7_sum", &[], 0.0),
            ],
        ),
        case(
            "bounds that are missing or NaN",
            "# TYPE h8 histogram\nh8_bucket 1\nh8_bucket{le=\"+Inf\"} 2\nh8_count 2\nh8_sum 1\n\
             # TYPE h10 histogram\nh10_bucket{le=\"NaN\"} 1\nh10_bucket{le=\"+Inf\"} 2\nh10_count 2\nh10_sum 1\n",
            &[
                ("h8_bucket", &[], 1.0),
                ("h8_bucket", &[("le", "+Inf")], 2.0),
                ("h8_count", &[], 2.0),
                ("h8_sum", &[], 1.0),
                ("h10_bucket", &[("le", "NaN")], 1.0),
                ("h10_bucket", &[("le", "+Inf")], 2.0),
                ("h10_count", &[], 2.0),
                ("h10_sum", &[], 1.0),
            ],
        ),
        case(
            "a summary of odd quantiles",
            "# TYPE s1 summary\ns1 1\ns1{quantile=\"2.0\"} 2\ns1{quantile=\"0.5\"} -3\ns1{quantile=\"1\"} NaN\n\
             s1_count 0.5\ns1_sum -1\n# TYPE s3 summary\ns3_count NaN\n\
             # TYPE s4 summary\ns4{quantile=\"0.5\"} NaN\ns4_count 0\ns4_sum 0\n",
            &[
                ("s1", &[], 1.0),
                ("s1", &[("quantile", "2.0")], 2.0),
                ("s1", &[("quantile", "0.5")], -3.0),
                ("s1", &[("quantile", "1")], f64::NAN),
                ("s1_count", &[], 0.5),
                ("s1_sum", &[], -1.0),
                ("s3_count", &[], f64::NAN),
                ("s4", &[("quantile", "0.5")], f64::NAN),
                ("s4_count", &[], 0.0),
                ("s4_sum", &[], 0.0),
            ],
        ),
    ]
}

/// What only promtool's own reader refuses, as it does in the body itself. It is not the one that Prometheus scrapes with.
pub fn refused_by_promtool() -> Vec<Hostile> {
    vec![
        case(
            "bounds that are no numbers",
            "# TYPE p1 histogram\np1_bucket{le=\"much\"} 1\np1_bucket{le=\"+Inf\"} 2\np1_count 2\np1_sum 1\n\
             # TYPE p2 summary\np2{quantile=\"most\"} 1\n",
            &[
                ("p1_bucket", &[("le", "much")], 1.0),
                ("p1_bucket", &[("le", "+Inf")], 2.0),
                ("p1_count", &[], 2.0),
                ("p1_sum", &[], 1.0),
                ("p2", &[("quantile", "most")], 1.0),
            ],
        ),
        case(
            "counts below zero",
            "# TYPE p3 histogram\np3_bucket{le=\"+Inf\"} -2\np3_count -2\np3_sum 0\n",
            &[("p3_bucket", &[("le", "+Inf")], -2.0), ("p3_count", &[], -2.0), ("p3_sum", &[], 0.0)],
        ),
    ]
}

fn syntax() -> Vec<Hostile> {
    let mut all = vec![
        case(
            "labels of all kinds",
            "u{a=\"ü€😀\",b=\"\\\"q\\\"\",c=\"back\\\\slash\",d=\"line\\nbreak\",e=\"{},= #\",empty=\"\"} 1\n",
            &[(
                "u",
                &[("a", "ü€😀"), ("b", "\"q\""), ("c", "back\\slash"), ("d", "line\nbreak"), ("e", "{},= #")],
                1.0,
            )],
        ),
        case(
            "help",
            "# HELP helped a \\\\ and a \\n new line, \"quoted\"\n# TYPE helped gauge\nhelped 1\n\
             # HELP helped Later.\n# HELP unhelped\n# TYPE unhelped gauge\nunhelped 1\n\
             # HELP unhelped2 \n# TYPE unhelped2 gauge\nunhelped2 1\n# HELP tail ends with a \\\ntail 1\n",
            &[("helped", &[], 1.0), ("unhelped", &[], 1.0), ("unhelped2", &[], 1.0), ("tail", &[], 1.0)],
        ),
        case(
            "blanks, line ends and comments",
            "\r\n  # TYPE blank gauge\r\n\tblank { a = \"1\" , } \t 1 \t 99 \r\n\n#\n#x\n# \nlast 2",
            &[("blank", &[("a", "1")], 1.0), ("last", &[], 2.0)],
        ),
        case(
            "lines that cannot be read",
            "good 1\n1bad 2\nbad\nbad 1 2 3\nbad{ 1\nbad{a=1} 1\nbad{a=\"1\" 1\nbad{a=\"\\x\"} 1\nbad{a=\"1\",a=\"2\"} 1\n\
             bad{__name__=\"x\"} 1\nbad{1a=\"1\"} 1\nbad-name 1\nbäd 1\nbad one\nbad 0x10\n{a=\"1\"} 1\n\
             # TYPE b-d gauge\n# HELP b-d x\n<html>\n",
            &[("good", &[], 1.0)],
        ),
    ];
    let long = "x".repeat(100_000);
    let long: &'static str = long.leak();
    let labels: Labels = vec![("a", long)].leak();
    all.push(Hostile {
        what: "a long label",
        text: format!("long{{a=\"{long}\"}} 1\n"),
        series: vec![("long", labels, 1.0)],
    });
    all
}

/// Xorshift: the same bodies in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

/// A body and its series, its group's labels included.
pub struct Body {
    pub text: String,
    pub series: Values,
}

const NAMES: [&str; 10] =
    ["a", "a_total", "a_count", "a_sum", "a_bucket", "a_info", "b", "b_total", "b_count", "c_total"];
const TYPES: [&str; 8] = ["counter", "gauge", "histogram", "summary", "untyped", "unknown", "info", "odd"];
const NUMBERS: [&str; 12] =
    ["0", "1", "2", "2", "3", "-1", "0.5", "NaN", "+Inf", "-Inf", "1e300", "123456789.25"];
const BOUNDS: [&str; 6] = ["0.5", "1", "2.50", "+Inf", "+Inf", "7e0"];

/// The body number `i`: some families, some declared, with series that fit or not, and broken lines.
pub fn random(i: usize) -> Body {
    let mut random = Random((i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let (mut text, mut series) = (String::new(), Values::new());
    let mut histograms = Vec::new();
    for name in ["a", "b", "c", "a_total", "a_count", "b_total"] {
        if random.below(2) == 0 {
            let kind = random.of(&TYPES);
            if kind == "histogram" {
                histograms.push(name);
            }
            let _ = write!(
                text,
                "# HELP {name} {}\n# TYPE {name} {kind}\n",
                random.of(&["", "A.", "Ü \\n \"b\"."])
            );
        }
    }
    for _ in 0..15 {
        if random.below(10) == 0 {
            text.push_str(random.of(&["broken\n", "a{x=\"1\n", "# a comment\n", "\n"]));
        }
        let (name, number) = (random.of(&NAMES), random.of(&NUMBERS));
        let mut labels = vec![
            ("task_name".to_owned(), "r".to_owned()),
            ("task_execution_id".to_owned(), i.to_string()),
            ("task_external_execution_id".to_owned(), format!("r-{i}")),
        ];
        let mut own = Vec::new();
        for (label, all) in [("x", &["1", "ü", "{\",\"}"][..]), ("le", &BOUNDS), ("quantile", &BOUNDS[..2])]
        {
            if random.below(3) == 0 {
                let value = random.of(all);
                own.push(format!("{label}=\"{}\"", value.replace('"', "\\\"")));
                labels.push((label.to_owned(), value.to_owned()));
            }
        }
        let _ = writeln!(text, "{name}{{{}}} {number}", own.join(","));
        // The bare name of a histogram is none of its series, and dropped.
        if !histograms.contains(&name) {
            let name = named(name, labels.into_iter().collect());
            // Of a series that a body has twice, the first stays.
            series.entry(name).or_insert(value(number.parse().unwrap()));
        }
    }
    Body { text, series }
}
