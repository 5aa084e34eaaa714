//! What a client encrypted, at each layer: the first byte of an input says which layer the rest stands for.

use aws_lc_rs::cipher::{AES_128, PaddedBlockEncryptingKey, UnboundCipherKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use millrace::proxy::crypto::{KeyPair, OpenError};
use millrace::proxy::wire::Payload;
use serde_json::Value;

use crate::engine::{Target, fuzz, hash, size};
use crate::seeds;

const LIMIT: usize = 64 << 10;

/// Made with the JDK, for a key that is used nowhere else.
struct Vector {
    pair: KeyPair,
    aes: Vec<u8>,
    wrapped: Bytes,
    data: Vec<u8>,
    snappy: Vec<u8>,
}

fn vector() -> Vector {
    let json: Value = serde_json::from_str(include_str!("../captures/vector-jdk17.json")).unwrap();
    let text = |name: &str| json[name].as_str().unwrap();
    let base64 = |name: &str| STANDARD.decode(text(name)).unwrap();
    Vector {
        pair: KeyPair::from_pkcs8(&base64("pkcs8_der_base64")).unwrap(),
        aes: seeds::hex(text("aes_key")),
        wrapped: base64("metadata_base64").into(),
        data: base64("data_base64"),
        snappy: seeds::hex(text("snappy")),
    }
}

#[test]
fn cipher() {
    let of = vector();
    let bomb = b"\x80\x80\x04\x00x\xfe\x01\x00\xfe\x01\x00".as_slice();
    let mut seeds = vec![
        [&[0], &of.wrapped[..]].concat(),
        [&[1], of.data.as_slice()].concat(),
        [&[2], of.snappy.as_slice()].concat(),
        [&[2], bomb].concat(),
    ];
    for text in seeds::expositions().into_iter().skip(4) {
        seeds.push([&[2], snap::raw::Encoder::new().compress_vec(&text).unwrap().as_slice()].concat());
    }
    let run = |input: &[u8]| run(&of, input);
    fuzz(Target { name: "cipher", seeds, words: WORDS, longest: 4 << 10, run });
}

/// Elements of a snappy block, and its length's bytes.
const WORDS: &[&[u8]] = &[
    b"\xfe\x01\x00",
    b"\xff\x01\x00\x00\x00",
    b"\x01\x01",
    b"\xfd\x01",
    b"\xf0\xff",
    b"\xfc",
    b"\x80\x80\x04",
    b"\xff\x7f",
];

fn run(of: &Vector, input: &[u8]) -> u64 {
    let (&layer, rest) = input.split_first().unwrap_or((&0, &[]));
    let payload = match layer % 3 {
        0 => Payload { metadata: Some(Bytes::copy_from_slice(rest)), data: of.data.clone().into() },
        1 => Payload { metadata: Some(of.wrapped.clone()), data: Bytes::copy_from_slice(rest) },
        _ => {
            let key = UnboundCipherKey::new(&AES_128, &of.aes).unwrap();
            let mut data = rest.to_vec();
            PaddedBlockEncryptingKey::ecb_pkcs7(key).unwrap().encrypt(&mut data).unwrap();
            Payload { metadata: Some(of.wrapped.clone()), data: data.into() }
        }
    };
    match of.pair.open(&payload, LIMIT) {
        Ok(text) => {
            assert!(text.len() <= LIMIT);
            hash((layer % 3, size(text.len()), size(rest.len())))
        }
        Err(OpenError::TooLarge { size, limit }) => {
            assert!(size > limit);
            hash(layer % 3)
        }
        Err(error) => hash((layer % 3, error)),
    }
}
