//! Lines of text 0.0.4 and OpenMetrics 1.0, read tolerantly. Nothing is copied.

/// Type of a family. The order decides between types that equally many bodies declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Grows and shrinks.
    Gauge,
    /// `_bucket`, `_count`, `_sum`.
    Histogram,
    /// Quantiles, `_count`, `_sum`.
    Summary,
    /// Not known.
    Untyped,
}

impl Kind {
    /// Whether one family has several series names.
    pub const fn is_compound(self) -> bool {
        matches!(self, Self::Histogram | Self::Summary)
    }

    /// What follows the family's name in its series names.
    pub const fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Histogram => &["_bucket", "_count", "_sum"],
            Self::Summary => &["", "_count", "_sum"],
            Self::Counter | Self::Gauge | Self::Untyped => &[""],
        }
    }
}

/// A label; the value as in the text, with its escapes.
pub type Label<'a> = (&'a str, &'a str);

/// One line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Line<'a> {
    /// `# HELP`: name, text with its escapes.
    Help(&'a str, &'a str),
    /// `# TYPE`: name, word.
    Type(&'a str, &'a str),
    /// Name and value; the labels are in the caller's vector.
    Sample(&'a str, f64),
    /// Empty, a comment, `# UNIT`, `# EOF`.
    Nothing,
    /// To be dropped and counted.
    Invalid,
}

/// Reads one line. The labels of a sample are appended to `labels`, those of an invalid line are not.
pub fn line<'a>(text: &'a str, labels: &mut Vec<Label<'a>>) -> Line<'a> {
    let text = text.trim_matches([' ', '\t', '\r']);
    if text.is_empty() {
        return Line::Nothing;
    }
    if let Some(comment) = text.strip_prefix('#') {
        return self::comment(comment);
    }
    let before = labels.len();
    sample(text, labels).unwrap_or_else(|| {
        labels.truncate(before);
        Line::Invalid
    })
}

fn comment(text: &str) -> Line<'_> {
    let (word, rest) = split_blank(trim_start(text));
    if word != "HELP" && word != "TYPE" {
        return Line::Nothing;
    }
    let (name, rest) = split_blank(rest);
    if !is_metric_name(name) {
        return Line::Invalid;
    }
    if word == "HELP" { Line::Help(name, rest) } else { Line::Type(name, rest.trim_end()) }
}

const BLANK: [char; 2] = [' ', '\t'];

fn split_blank(text: &str) -> (&str, &str) {
    let end = text.bytes().position(is_blank).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    (word, trim_start(rest))
}

/// Most often there is nothing to trim.
fn trim_start(text: &str) -> &str {
    if text.bytes().next().is_some_and(is_blank) { text.trim_start_matches(BLANK) } else { text }
}

const fn is_blank(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

fn sample<'a>(text: &'a str, labels: &mut Vec<Label<'a>>) -> Option<Line<'a>> {
    let end = text.bytes().position(|b| !is_name_byte(b)).filter(|end| *end > 0)?;
    let (name, rest) = text.split_at_checked(end)?;
    if name.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    let mut rest = trim_start(rest);
    if let Some(inside) = rest.strip_prefix('{') {
        rest = trim_start(label_set(inside, labels)?);
    } else if rest.len() == text.len() - end {
        // No blank between name and value.
        return None;
    }
    let (value, rest) = split_blank(rest);
    let value = number(value)?;
    let (time, rest) = split_blank(rest);
    // Whatever follows ` # ` is an exemplar.
    let well_ended = match time {
        "" | "#" => true,
        time => number(time).is_some() && (rest.is_empty() || rest.starts_with('#')),
    };
    well_ended.then_some(Line::Sample(name, value))
}

/// As Go's `ParseFloat` reads it, but no hexadecimal.
fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// The labels up to the closing brace; returns what follows it.
fn label_set<'a>(mut rest: &'a str, labels: &mut Vec<Label<'a>>) -> Option<&'a str> {
    let (first, mut in_order) = (labels.len(), true);
    loop {
        rest = trim_start(rest);
        if let Some(after) = rest.strip_prefix('}') {
            return Some(after);
        }
        let end = rest.bytes().position(|b| !is_name_byte(b))?;
        let (name, after) = rest.split_at_checked(end)?;
        // A colon may stand in names of metrics alone.
        if !begins_name(name) || name.contains(':') || name == "__name__" {
            return None;
        }
        let after = trim_start(after).strip_prefix('=')?;
        let quoted = trim_start(after).strip_prefix('"')?;
        let end = closing_quote(quoted)?;
        let value = quoted.get(..end)?;
        // Clients write them in order: then none is there twice.
        let before = labels.get(first..)?;
        in_order &= before.last().is_none_or(|last| last.0 < name);
        if !in_order && before.iter().any(|(other, _)| *other == name) {
            return None;
        }
        // To Prometheus an empty label is none.
        if !value.is_empty() {
            labels.push((name, value));
        }
        rest = trim_start(quoted.get(end + 1..)?);
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return None,
        }
    }
}

/// Where the value ends. An escape other than `\\`, `\"` and `\n` makes the line invalid.
fn closing_quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', bytes.get(from..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at);
        }
        if !matches!(bytes.get(at + 1)?, b'\\' | b'"' | b'n') {
            return None;
        }
        from = at + 2;
    }
}

const fn is_name_byte(b: u8) -> bool {
    matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b':')
}

fn begins_name(name: &str) -> bool {
    name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`
pub fn is_metric_name(name: &str) -> bool {
    name.bytes().all(is_name_byte) && begins_name(name)
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`
pub fn is_label_name(name: &str) -> bool {
    is_metric_name(name) && !name.contains(':')
}

/// A label value, written with the escapes of the text format.
pub fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The value that an escaped one means.
pub fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut escaped = false;
    for c in value.chars() {
        match (escaped, c) {
            (false, '\\') => escaped = true,
            (true, 'n') => {
                out.push('\n');
                escaped = false;
            }
            (_, c) => {
                out.push(c);
                escaped = false;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Line<'_>, Vec<Label<'_>>) {
        let mut labels = Vec::new();
        let line = line(text, &mut labels);
        (line, labels)
    }

    #[test]
    fn samples_as_clients_write_them() {
        for (text, name, value, labels) in [
            ("a 1", "a", 1.0, vec![]),
            ("a{} 1", "a", 1.0, vec![]),
            (r#"a_b{x="1",} 9.75E7"#, "a_b", 9.75e7, vec![("x", "1")]),
            (
                r#"a:b { x = "1" , y="\"\\\n" }   +Inf 1234"#,
                "a:b",
                f64::INFINITY,
                vec![("x", "1"), ("y", r#"\"\\\n"#)],
            ),
            (r#"a{x="}",z=""} -1e-3 1.5 # {trace="1"} 0.5"#, "a", -1e-3, vec![("x", "}")]),
            (r#"a{x="é"} 1 # {} 2"#, "a", 1.0, vec![("x", "é")]),
        ] {
            assert_eq!(read(text), (Line::Sample(name, value), labels), "{text}");
        }
        assert!(matches!(read("a NaN\r").0, Line::Sample("a", v) if v.is_nan()));
    }

    #[test]
    fn invalid_lines_leave_no_labels() {
        for text in [
            "1a 1",
            "a",
            "a ",
            "a b",
            "a1=2",
            r#"a{x="1" 1"#,
            r#"a{x="1"}"#,
            r"a{x=1} 1",
            r#"a{x="\d"} 1"#,
            r#"a{x="1",x="2"} 1"#,
            r#"a{1x="1"} 1"#,
            r#"a{__name__="b"} 1"#,
            "a 1 2 3",
            "a 1 x",
            r#"{"a.b"} 1"#,
            r#"a{x="1"y="2"} 1"#,
            r#"a{"x.y"="1"} 1"#,
            "# TYPE 1a gauge",
            r#"a{x="\"#,
            "a{",
            "é 1",
        ] {
            assert_eq!(read(text), (Line::Invalid, vec![]), "{text}");
        }
    }

    #[test]
    fn comments() {
        assert_eq!(read("# HELP a  some \\n text ").0, Line::Help("a", "some \\n text"));
        assert_eq!(read("#TYPE a\tcounter").0, Line::Type("a", "counter"));
        assert_eq!(read("# HELP a").0, Line::Help("a", ""));
        for nothing in ["", "  ", "#", "# EOF", "# UNIT a seconds", "# anything"] {
            assert_eq!(read(nothing).0, Line::Nothing);
        }
    }

    #[test]
    fn escapes_round_trip() {
        let value = "a\\n\"b\"\n\\";
        assert_eq!(unescape(&escape(value)), value);
    }
}
