//! A stream of bytes cut into frames, each read, written, read again, and fragments put together.
//!
//! The first byte of an input tells how it is cut into pieces; the rest is what comes over TCP.

use bytes::{Bytes, BytesMut};
use millrace::proxy::wire::reassembly::Outcome;
use millrace::proxy::wire::{Deframer, Frame, Malformed, Piece, Reassembly, decode, encode};

use crate::engine::{Target, fuzz, hash, size};
use crate::seeds;

const LIMIT: usize = 2000;

#[test]
fn frames() {
    let mut seeds = Vec::new();
    for conversation in seeds::conversations() {
        let all: Vec<Vec<u8>> = conversation.into_iter().map(|frame| with_length(&frame)).collect();
        seeds.push([&[0], all.concat().as_slice()].concat());
        seeds.extend(all.into_iter().map(|frame| [&[3], frame.as_slice()].concat()));
    }
    for word in 0..64_u16 {
        let frame = [&1_u32.to_be_bytes()[..], &(word << 10 | 0x1e0).to_be_bytes(), &[0; 40]].concat();
        seeds.push([&[0], with_length(&frame).as_slice(), &with_length(&frame)].concat());
    }
    fuzz(Target { name: "frames", seeds, words: WORDS, longest: 8 << 10, run });
}

/// Types with their flags, and SETUP's beginning.
const WORDS: &[&[u8]] = &[
    b"\x04\x00\x00\x01\x00\x00",
    b"\x05\xc0",
    b"\x0c\x80",
    b"\x11\x80",
    b"\x15\x80",
    b"\x29\x60",
    b"\x29\xa0",
    b"\x24\x00",
    b"\x2c\x00",
    b"\x35\x00",
    b"\xfc\x00",
    b"application/binary",
];

fn with_length(frame: &[u8]) -> Vec<u8> {
    [&u32::try_from(frame.len()).unwrap().to_be_bytes()[1..], frame].concat()
}

fn run(input: &[u8]) -> u64 {
    let (&cut, stream) = input.split_first().unwrap_or((&0, &[]));
    let (mut deframer, mut parts, mut kinds) = (Deframer::new(LIMIT), Reassembly::new(LIMIT), Vec::new());
    let cut = if cut == 0 { stream.len().max(1) } else { cut.into() };
    let mut taken = 0;
    for mut piece in stream.chunks(cut) {
        while let Some(piece) = deframer.next(&mut piece) {
            kinds.push(match piece {
                Piece::Frame(bytes) => {
                    assert!(bytes.len() <= LIMIT);
                    taken += bytes.len() + 3;
                    one(&bytes, &mut parts)
                }
                Piece::Oversize { head, length } => {
                    assert!(length > LIMIT && head.len() == 6);
                    taken += length + 3;
                    hash(Malformed::too_long(&head).wants_answer())
                }
            });
        }
        assert!(piece.is_empty());
    }
    assert!(taken <= stream.len(), "more came out than went in");
    kinds.truncate(4);
    hash((kinds, deframer.is_idle()))
}

fn one(bytes: &Bytes, parts: &mut Reassembly) -> u64 {
    let frame = match decode(bytes.clone()) {
        Ok(frame) => frame,
        Err(bad) => return hash((bad.kind, bad.what, bad.wants_answer())),
    };
    let mut written = BytesMut::new();
    encode(&frame, &mut written);
    let again =
        decode(written.freeze()).unwrap_or_else(|bad| panic!("{frame:?} cannot be read again: {bad}"));
    assert_eq!(again, frame);
    let stream = frame.stream();
    let kind = std::mem::discriminant(&frame);
    let outcome = match parts.on_frame(frame) {
        Outcome::Whole(Frame::RequestResponse { follows, payload, .. }) => {
            assert!(!follows);
            size(payload.size())
        }
        Outcome::Whole(_) => 100,
        Outcome::Waiting => {
            assert!(parts.has(stream));
            101
        }
        Outcome::Oversize { answer, .. } => 102 + u32::from(answer),
    };
    hash((kind, outcome))
}
