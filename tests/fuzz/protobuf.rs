//! Bodies in protobuf, as the push door reads them: made text within a limit, and that text read.

use millrace::proxy::exposition::{Interner, Labels, build, protobuf};

use crate::engine::{Target, fuzz, hash, size};

const LIMIT: usize = 64 << 10;

#[test]
fn protobuf() {
    fuzz(Target { name: "protobuf", seeds: seeds(), words: WORDS, longest: 4 << 10, run });
}

/// Tags, short fields and numbers.
const WORDS: &[&[u8]] = &[
    b"\x0a\x01a",
    b"\x12\x01h",
    b"\x18\x04",
    b"\x18\x02",
    b"\x22\x00",
    b"\x0a\x06\x0a\x01l\x12\x01v",
    b"\x1a\x09\x09\x00\x00\x00\x00\x00\x00\xf0\x3f",
    b"\x3a\x00",
    b"\x22\x04\x1a\x00\x1a\x00",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x0a\x05a_sum",
    b"\x0a\x02le",
];

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
}

fn double(number: u8, value: f64) -> Vec<u8> {
    [&[number << 3 | 1][..], &value.to_le_bytes()].concat()
}

fn family(name: &str, kind: u8, metric: &[u8]) -> Vec<u8> {
    let label = field(1, &[field(1, b"a"), field(2, b"x\"\\y\n")].concat());
    let metric = field(4, &[label.as_slice(), metric].concat());
    let message = [field(1, name.as_bytes()), field(2, b"Help."), vec![3 << 3, kind], metric].concat();
    [&[u8::try_from(message.len()).unwrap()], message.as_slice()].concat()
}

fn seeds() -> Vec<Vec<u8>> {
    let bucket = field(3, &[vec![1 << 3, 3], double(2, 1.0)].concat());
    let histogram = field(7, &[vec![1 << 3, 5], double(2, 7.5), bucket].concat());
    let quantile = field(3, &[double(1, 0.5), double(2, 3.0)].concat());
    let summary = field(4, &[vec![1 << 3, 5], double(2, 7.5), quantile].concat());
    let all = [
        family("c_total", 0, &field(3, &double(1, 2.0))),
        family("g", 1, &field(2, &double(1, -0.5))),
        family("s", 2, &summary),
        family("u", 3, &field(5, &double(1, f64::NAN))),
        family("h", 4, &histogram),
    ];
    [vec![all.concat()], all.to_vec()].concat()
}

fn run(input: &[u8]) -> u64 {
    let text = match protobuf::to_text(input, LIMIT) {
        Ok(text) => text,
        Err(error) => return hash(error),
    };
    assert!(text.len() <= LIMIT);
    let built = build(text.as_bytes(), &Labels::new(), &Interner::default());
    hash((
        size(built.body.series()),
        size(built.report.invalid),
        size(built.report.duplicate),
        size(text.len()),
    ))
}
