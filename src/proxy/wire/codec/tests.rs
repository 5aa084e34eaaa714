use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::proxy::captures::{hex, java_proxy, vectors};
use crate::proxy::wire::{Deframer, Piece, enframe};

fn bytes_of(frame: &Frame) -> Bytes {
    let mut out = BytesMut::new();
    encode(frame, &mut out);
    out.freeze()
}

fn some_bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..30).prop_map(Bytes::from)
}

fn payload() -> impl Strategy<Value = Payload> {
    (option::of(some_bytes()), some_bytes()).prop_map(|(metadata, data)| Payload { metadata, data })
}

fn setup() -> impl Strategy<Value = Frame> {
    let numbers = (any::<(u16, u16)>(), 0..=BITS_31, 0..=BITS_31, any::<bool>());
    (numbers, option::of(some_bytes()), some_bytes(), some_bytes(), payload()).prop_map(
        |((version, keepalive_ms, lifetime_ms, lease), resume_token, metadata_mime, data_mime, payload)| {
            Frame::Setup(Box::new(Setup {
                version,
                keepalive_ms,
                lifetime_ms,
                resume_token,
                lease,
                metadata_mime,
                data_mime,
                payload,
            }))
        },
    )
}

fn frame() -> impl Strategy<Value = Frame> {
    let n = 0..=BITS_31;
    let long = 0..=BITS_63;
    let flag = any::<bool>();
    prop_oneof![
        setup(),
        (n.clone(), n.clone(), option::of(some_bytes()))
            .prop_map(|(ttl_ms, requests, metadata)| Frame::Lease { ttl_ms, requests, metadata }),
        (flag, long.clone(), some_bytes()).prop_map(|(respond, position, data)| Frame::Keepalive {
            respond,
            position,
            data
        }),
        (n.clone(), flag, payload()).prop_map(|(stream, follows, payload)| Frame::RequestResponse {
            stream,
            follows,
            payload
        }),
        (n.clone(), flag, payload()).prop_map(|(stream, follows, payload)| Frame::RequestFnf {
            stream,
            follows,
            payload
        }),
        (n.clone(), flag, n.clone(), payload()).prop_map(|(stream, follows, initial, payload)| {
            Frame::RequestStream { stream, follows, initial, payload }
        }),
        (n.clone(), flag, flag, n.clone(), payload()).prop_map(
            |(stream, follows, complete, initial, payload)| Frame::RequestChannel {
                stream,
                follows,
                complete,
                initial,
                payload
            }
        ),
        (n.clone(), n.clone()).prop_map(|(stream, n)| Frame::RequestN { stream, n }),
        n.clone().prop_map(|stream| Frame::Cancel { stream }),
        (n.clone(), flag, flag, flag, payload()).prop_map(|(stream, follows, complete, next, payload)| {
            Frame::Payload { stream, follows: follows && !complete, complete, next, payload }
        }),
        (n.clone(), any::<u32>(), some_bytes()).prop_map(|(stream, code, text)| Frame::Error {
            stream,
            code,
            text
        }),
        some_bytes().prop_map(|metadata| Frame::MetadataPush { metadata }),
        (any::<(u16, u16)>(), some_bytes(), long.clone(), long.clone()).prop_map(
            |(version, token, received, available)| Frame::Resume { version, token, received, available }
        ),
        long.prop_map(|received| Frame::ResumeOk { received }),
        (n.clone(), flag, n.clone(), some_bytes())
            .prop_map(|(stream, ignorable, kind, rest)| Frame::Extension { stream, ignorable, kind, rest }),
        (n, flag, 0x0F..0x3F_u8).prop_map(|(stream, ignorable, kind)| Frame::Unknown {
            stream,
            ignorable,
            kind
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(frame in frame()) {
        prop_assert_eq!(decode(bytes_of(&frame)), Ok(frame));
    }

    #[test]
    fn a_frame_cut_short_is_read_or_refused(frame in frame(), end in any::<prop::sample::Index>()) {
        let bytes = bytes_of(&frame);
        let _ = decode(bytes.slice(..end.index(bytes.len())));
    }

    #[test]
    fn rubbish_is_read_or_refused(bytes in vec(any::<u8>(), 0..64)) {
        if let Ok(frame) = decode(bytes.into()) {
            prop_assert_eq!(decode(bytes_of(&frame)), Ok(frame));
        }
    }
}

/// The frames of Micrometer's client, with the length of TCP.
#[test]
fn golden_frames() {
    let mime = Bytes::from_static(b"application/binary");
    let setup = Setup {
        version: (1, 0),
        keepalive_ms: 20_000,
        lifetime_ms: 90_000,
        resume_token: None,
        lease: false,
        metadata_mime: mime.clone(),
        data_mime: mime,
        payload: Payload::default(),
    };
    let keepalive = |respond| Frame::Keepalive { respond, position: 0, data: Bytes::new() };
    for (text, frame) in [
        (
            "000038 00000000 0400 00010000 00004e20 00015f90 12 6170706c69636174696f6e2f62696e617279 12 6170706c69636174696f6e2f62696e617279",
            Frame::Setup(Box::new(setup)),
        ),
        ("00000e 00000000 0c80 0000000000000000", keepalive(true)),
        ("00000e 00000000 0c00 0000000000000000", keepalive(false)),
        ("000006 00000001 2860", Frame::acknowledgement(1)),
        ("000012 00000000 2c00 00000101 446973706f736564", Frame::error(0, 0x101, "Disposed")),
        ("000006 00000004 2400", Frame::Cancel { stream: 4 }),
    ] {
        let mut out = BytesMut::new();
        enframe(&frame, &mut out);
        assert_eq!(out, hex(text), "{frame:?}");
        assert_eq!(decode(hex(text).slice(3..)), Ok(frame));
    }
}

/// The recorder decoded each frame's head by code of its own.
#[test]
fn frames_between_real_clients_and_the_java_proxy() {
    let recorded = java_proxy();
    assert!(recorded.len() > 20);
    for (websocket, words, bytes) in recorded {
        let mut input = bytes.as_ref();
        let bytes = if websocket {
            bytes.clone()
        } else {
            let Some(Piece::Frame(frame)) = Deframer::new(1 << 20).next(&mut input) else {
                panic!("{words}")
            };
            assert!(input.is_empty());
            frame
        };
        let frame = decode(bytes.clone()).unwrap();
        assert_eq!(bytes_of(&frame), bytes, "{words}");
        assert!(words.contains(&format!(" stream={} ", frame.stream())), "{words}");
        let (kind, payload) = match &frame {
            Frame::Setup(_) => ("SETUP", None),
            Frame::Keepalive { .. } => ("KEEPALIVE", None),
            Frame::RequestFnf { payload, .. } => ("REQUEST_FNF", Some(payload)),
            Frame::RequestResponse { payload, .. } => ("REQUEST_RESPONSE", Some(payload)),
            Frame::Payload { payload, .. } => ("PAYLOAD", Some(payload)),
            Frame::Error { .. } => ("ERROR", None),
            _ => panic!("{words}"),
        };
        assert!(words.contains(kind), "{words}");
        let Some(payload) = payload else { continue };
        assert!(words.contains(&format!("data={}", payload.data.len())), "{words}");
        if let Some(metadata) = &payload.metadata {
            assert!(words.contains(&format!("meta={}", metadata.len())), "{words}");
        }
    }
}

#[test]
fn frames_of_every_client_version_are_written_as_they_were_read() {
    let mut count = 0;
    for (name, capture) in vectors() {
        for recorded in capture.frames.iter().filter(|f| !f.hex.is_empty()) {
            let bytes = hex(&recorded.hex);
            let frame = decode(bytes.clone()).unwrap();
            assert_eq!(bytes_of(&frame), bytes, "{name} {} {}", recorded.dir, recorded.note);
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
}

#[test]
fn a_bad_frame_tells_its_stream() {
    for (text, stream, wants_answer) in [
        ("", 0, false),
        ("00000005", 5, false),
        ("00000005 1100 00ffff 00", 5, true),
        ("00000000 0400 0001", 0, false),
    ] {
        let error = decode(hex(text)).unwrap_err();
        assert_eq!((error.stream, error.wants_answer()), (stream, wants_answer), "{error}");
    }
}
