//! Bodies in protobuf, as Boot 3.5 pushes them by default: delimited messages of `io.prometheus.client.MetricFamily`
//! (prometheus/client_model `metrics.proto`), made text. Six small messages without recursion: a decoder of our own is
//! shorter than what generated code would bring. Native histograms are left out, as text 0.0.4 has none.

use std::fmt::{self, Write};

use super::parse::escape;

/// Why a body cannot be made text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotText {
    /// Not what it says.
    #[error("not a delimited protobuf of metric families")]
    Malformed,
    /// A name stands once in a protobuf and in each line of the text: few bytes may be very many.
    #[error("over {0} bytes as text")]
    TooLarge(usize),
}

/// The text so far.
struct Out {
    text: String,
    most: usize,
}

impl Out {
    fn add(&mut self, line: fmt::Arguments<'_>) -> Result<(), NotText> {
        // Writing to a String does not fail.
        let _ = self.text.write_fmt(line);
        if self.text.len() > self.most { Err(NotText::TooLarge(self.most)) } else { Ok(()) }
    }
}

/// A field of a message.
enum Value<'a> {
    Varint(u64),
    Double(f64),
    Bytes(&'a [u8]),
    Skipped,
}

/// Text 0.0.4 of `body`, at most `most` bytes of it.
pub fn to_text(mut body: &[u8], most: usize) -> Result<String, NotText> {
    let mut out = Out { text: String::new(), most };
    while !body.is_empty() {
        let length = usize::try_from(varint(&mut body)?).map_err(|_| NotText::Malformed)?;
        family(take(&mut body, length)?, &mut out)?;
    }
    Ok(out.text)
}

fn varint(from: &mut &[u8]) -> Result<u64, NotText> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first().ok_or(NotText::Malformed)?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(NotText::Malformed)
}

fn take<'a>(from: &mut &'a [u8], length: usize) -> Result<&'a [u8], NotText> {
    let (taken, rest) = from.split_at_checked(length).ok_or(NotText::Malformed)?;
    *from = rest;
    Ok(taken)
}

/// Hands each field to `each`.
fn fields<'a>(
    mut message: &'a [u8],
    mut each: impl FnMut(u64, Value<'a>) -> Result<(), NotText>,
) -> Result<(), NotText> {
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let value = match tag & 7 {
            0 => Value::Varint(varint(&mut message)?),
            1 => {
                let bytes = take(&mut message, 8)?;
                Value::Double(f64::from_le_bytes(bytes.try_into().map_err(|_| NotText::Malformed)?))
            }
            2 => {
                let length = usize::try_from(varint(&mut message)?).map_err(|_| NotText::Malformed)?;
                Value::Bytes(take(&mut message, length)?)
            }
            5 => {
                take(&mut message, 4)?;
                Value::Skipped
            }
            _ => return Err(NotText::Malformed),
        };
        each(tag >> 3, value)?;
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Result<&str, NotText> {
    std::str::from_utf8(bytes).map_err(|_| NotText::Malformed)
}

fn family(message: &[u8], out: &mut Out) -> Result<(), NotText> {
    let (mut name, mut help, mut kind, mut metrics) = ("", "", 0, Vec::new());
    fields(message, |field, value| {
        match (field, value) {
            (1, Value::Bytes(bytes)) => name = text(bytes)?,
            (2, Value::Bytes(bytes)) => help = text(bytes)?,
            (3, Value::Varint(word)) => kind = word,
            (4, Value::Bytes(bytes)) => metrics.push(bytes),
            _ => {}
        }
        Ok(())
    })?;
    let word = match kind {
        0 => "counter",
        1 => "gauge",
        2 => "summary",
        4 => "histogram",
        _ => "untyped",
    };
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    // A name with a line break would forge lines; the parser drops what is left of it.
    let name = name.replace('\n', " ");
    out.add(format_args!("# HELP {name} {help}\n# TYPE {name} {word}\n"))?;
    metrics.into_iter().try_for_each(|message| metric(&name, message, out))
}

fn metric(name: &str, message: &[u8], out: &mut Out) -> Result<(), NotText> {
    let mut labels = String::new();
    fields(message, |field, value| {
        if let (1, Value::Bytes(pair)) = (field, value) {
            label(pair, &mut labels)?;
        }
        Ok(())
    })?;
    let series = Series { name, labels: &labels };
    fields(message, |field, value| match (field, value) {
        (2 | 3 | 5, Value::Bytes(number)) => series.simple(number, out),
        (4, Value::Bytes(summary)) => series.compound(summary, "quantile", out),
        (7, Value::Bytes(histogram)) => series.compound(histogram, "le", out),
        _ => Ok(()),
    })
}

fn label(pair: &[u8], labels: &mut String) -> Result<(), NotText> {
    let (mut name, mut label) = ("", "");
    fields(pair, |field, value| {
        match (field, value) {
            (1, Value::Bytes(bytes)) => name = text(bytes)?,
            (2, Value::Bytes(bytes)) => label = text(bytes)?,
            _ => {}
        }
        Ok(())
    })?;
    let _ = write!(labels, "{}=\"{}\",", name.replace('\n', " "), escape(label));
    Ok(())
}

struct Series<'a> {
    name: &'a str,
    labels: &'a str,
}

impl Series<'_> {
    fn line(&self, suffix: &str, more: &str, value: f64, out: &mut Out) -> Result<(), NotText> {
        out.add(format_args!("{}{suffix}{{{}{more}}} {value}\n", self.name, self.labels))
    }

    /// Gauge, counter, untyped: field 1 is the value.
    fn simple(&self, message: &[u8], out: &mut Out) -> Result<(), NotText> {
        let mut number = 0.0;
        fields(message, |field, value| {
            if let (1, Value::Double(value)) = (field, value) {
                number = value;
            }
            Ok(())
        })?;
        self.line("", "", number, out)
    }

    /// Summary and histogram: 1 count, 2 sum, 3 quantiles or buckets, 4 the count as a float.
    fn compound(&self, message: &[u8], bound: &str, out: &mut Out) -> Result<(), NotText> {
        let histogram = bound == "le";
        let (mut count, mut sum, mut infinite) = (0.0, 0.0, false);
        fields(message, |field, value| {
            match (field, value) {
                (1, Value::Varint(n)) => count = float(n),
                (4, Value::Double(n)) if histogram && n > 0.0 => count = n,
                (2, Value::Double(n)) => sum = n,
                (3, Value::Bytes(part)) => {
                    let (at, value) = if histogram { bucket(part)? } else { quantile(part)? };
                    infinite |= at == f64::INFINITY;
                    let suffix = if histogram { "_bucket" } else { "" };
                    self.line(suffix, &format!("{bound}=\"{}\"", bound_text(at)), value, out)?;
                }
                _ => {}
            }
            Ok(())
        })?;
        // Protobuf may leave the last bucket out.
        if histogram && !infinite {
            self.line("_bucket", "le=\"+Inf\"", count, out)?;
        }
        self.line("_count", "", count, out)?;
        self.line("_sum", "", sum, out)
    }
}

#[allow(clippy::cast_precision_loss)] // As every reader of the text would.
fn float(n: u64) -> f64 {
    n as f64
}

fn quantile(message: &[u8]) -> Result<(f64, f64), NotText> {
    let (mut at, mut number) = (0.0, 0.0);
    fields(message, |field, value| {
        match (field, value) {
            (1, Value::Double(n)) => at = n,
            (2, Value::Double(n)) => number = n,
            _ => {}
        }
        Ok(())
    })?;
    Ok((at, number))
}

fn bucket(message: &[u8]) -> Result<(f64, f64), NotText> {
    let (mut at, mut number) = (0.0, 0.0);
    fields(message, |field, value| {
        match (field, value) {
            (1, Value::Varint(n)) => number = float(n),
            (2, Value::Double(n)) => at = n,
            (4, Value::Double(n)) if n > 0.0 => number = n,
            _ => {}
        }
        Ok(())
    })?;
    Ok((at, number))
}

/// As Prometheus names the bound of a bucket that it reads from protobuf (`formatOpenMetricsFloat`).
fn bound_text(bound: f64) -> String {
    if bound == f64::INFINITY {
        return "+Inf".to_owned();
    }
    let size = bound.abs();
    if size != 0.0 && size.is_finite() && !(1e-4..1e21).contains(&size) {
        let text = format!("{bound:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or_default();
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    let text = bound.to_string();
    if text.contains('.') || !bound.is_finite() { text } else { format!("{text}.0") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
    }

    fn double(number: u8, value: f64) -> Vec<u8> {
        [&[number << 3 | 1][..], &value.to_le_bytes()].concat()
    }

    fn delimited(message: &[u8]) -> Vec<u8> {
        [&[u8::try_from(message.len()).unwrap()], message].concat()
    }

    fn example() -> Vec<u8> {
        let label = field(1, &[field(1, b"a"), field(2, b"x\"y")].concat());
        let bucket = field(3, &[vec![1 << 3, 3], double(2, 1.0)].concat());
        let histogram = field(7, &[vec![1 << 3, 5], double(2, 7.5), bucket].concat());
        let family =
            [field(1, b"h"), field(2, b"he\\lp"), vec![3 << 3, 4], field(4, &[label, histogram].concat())];
        let counter = [field(1, b"c_total"), field(4, &field(3, &double(1, 2.0)))];
        [delimited(&family.concat()), delimited(&counter.concat())].concat()
    }

    #[test]
    fn families_become_text() {
        let expected = "# HELP h he\\\\lp\n# TYPE h histogram\n\
            h_bucket{a=\"x\\\"y\",le=\"1.0\"} 3\nh_bucket{a=\"x\\\"y\",le=\"+Inf\"} 5\n\
            h_count{a=\"x\\\"y\",} 5\nh_sum{a=\"x\\\"y\",} 7.5\n\
            # HELP c_total \n# TYPE c_total counter\nc_total{} 2\n";
        assert_eq!(to_text(&example(), 1000).unwrap(), expected);
    }

    #[test]
    fn every_cut_is_an_error_or_a_shorter_text() {
        let whole = example();
        for end in 0..whole.len() {
            if let Ok(text) = to_text(&whole[..end], 1000) {
                assert!(to_text(&whole, 1000).unwrap().starts_with(&text));
            }
        }
        assert_eq!(to_text(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 9), Err(NotText::Malformed));
    }

    #[test]
    fn a_name_is_not_repeated_without_end() {
        let (name, gauge) = (field(1, &[b'a'; 100]), field(4, &field(2, &[])));
        let family = [name, gauge.repeat(1000)].concat();
        let length =
            [u8::try_from(family.len() % 128).unwrap() | 0x80, u8::try_from(family.len() / 128).unwrap()];
        let body = [&length, family.as_slice()].concat();
        assert_eq!(to_text(&body, 200_000).unwrap().len(), 1000 * 105 + 225);
        assert_eq!(to_text(&body, 100_000), Err(NotText::TooLarge(100_000)));
    }

    #[test]
    fn bounds_as_prometheus_names_them() {
        for (bound, text) in [
            (1.0, "1.0"),
            (0.5, "0.5"),
            (1e6, "1000000.0"),
            (1e21, "1e+21"),
            (0.00001, "1e-05"),
            (0.0, "0.0"),
        ] {
            assert_eq!(bound_text(bound), text);
        }
    }
}
