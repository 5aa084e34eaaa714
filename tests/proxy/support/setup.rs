//! How a Java client begins. The fuzz targets read this file too, so it needs nothing but the codec.

use bytes::Bytes;
use millrace::proxy::wire::{Frame, Payload, Setup};

/// The first frame of every Java client (`captures` of this project: the same 56 bytes in all versions).
pub fn setup() -> Frame {
    let mime = || Bytes::from_static(b"application/binary");
    Frame::Setup(Box::new(Setup {
        version: (1, 0),
        keepalive_ms: 20_000,
        lifetime_ms: 90_000,
        resume_token: None,
        lease: false,
        metadata_mime: mime(),
        data_mime: mime(),
        payload: Payload::default(),
    }))
}
