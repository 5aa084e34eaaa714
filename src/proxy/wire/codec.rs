//! Frames to bytes and back. Header: `u32` stream, then `u16` of 6 bits type and 10 bits flags; all big endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::frame::{Frame, Payload, Setup, StreamId};

mod kind {
    pub const SETUP: u8 = 0x01;
    pub const LEASE: u8 = 0x02;
    pub const KEEPALIVE: u8 = 0x03;
    pub const REQUEST_RESPONSE: u8 = 0x04;
    pub const REQUEST_FNF: u8 = 0x05;
    pub const REQUEST_STREAM: u8 = 0x06;
    pub const REQUEST_CHANNEL: u8 = 0x07;
    pub const REQUEST_N: u8 = 0x08;
    pub const CANCEL: u8 = 0x09;
    pub const PAYLOAD: u8 = 0x0A;
    pub const ERROR: u8 = 0x0B;
    pub const METADATA_PUSH: u8 = 0x0C;
    pub const RESUME: u8 = 0x0D;
    pub const RESUME_OK: u8 = 0x0E;
    pub const EXTENSION: u8 = 0x3F;
}

/// May be ignored by who does not know it.
const IGNORE: u16 = 0x200;
const METADATA: u16 = 0x100;
/// Also RESUME in SETUP and RESPOND in KEEPALIVE.
const FOLLOWS: u16 = 0x80;
/// Also LEASE in SETUP.
const COMPLETE: u16 = 0x40;
const NEXT: u16 = 0x20;

/// The highest bit of stream ids and 31-bit numbers is reserved.
const BITS_31: u32 = 0x7FFF_FFFF;
const BITS_63: u64 = 0x7FFF_FFFF_FFFF_FFFF;

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} of a frame of type {kind:#04x} on stream {stream}")]
pub struct Malformed {
    /// As far as it could be read.
    pub stream: StreamId,
    /// As far as it could be read.
    pub kind: u8,
    /// What is missing or too long.
    pub what: &'static str,
}

impl Malformed {
    /// A frame that is too long to be read; `head` is its beginning.
    pub fn too_long(head: &Bytes) -> Self {
        let mut rest = Rest(head.clone());
        let stream = rest.u31().unwrap_or_default();
        let kind = u8::try_from(rest.u16().unwrap_or_default() >> 10).unwrap_or_default();
        Self { stream, kind, what: "the length" }
    }

    /// Whether it was meant as a request that waits for an answer.
    pub const fn wants_answer(&self) -> bool {
        matches!(self.kind, kind::REQUEST_RESPONSE | kind::REQUEST_STREAM | kind::REQUEST_CHANNEL)
    }
}

/// Reads the rest of a frame; every length is checked against what is there.
struct Rest(Bytes);

type Part<T> = Result<T, &'static str>;

impl Rest {
    fn u8(&mut self) -> Part<u8> {
        self.0.try_get_u8().map_err(|_| "the end")
    }

    fn u16(&mut self) -> Part<u16> {
        self.0.try_get_u16().map_err(|_| "the end")
    }

    fn u31(&mut self) -> Part<u32> {
        self.0.try_get_u32().map(|n| n & BITS_31).map_err(|_| "the end")
    }

    fn u63(&mut self) -> Part<u64> {
        self.0.try_get_u64().map(|n| n & BITS_63).map_err(|_| "the end")
    }

    fn take(&mut self, length: usize) -> Part<Bytes> {
        if length > self.0.len() {
            return Err("a length beyond the end");
        }
        Ok(self.0.split_to(length))
    }

    fn all(&mut self) -> Bytes {
        std::mem::take(&mut self.0)
    }

    fn payload(&mut self, flags: u16) -> Part<Payload> {
        let metadata = if flags & METADATA == 0 {
            None
        } else {
            let high = u32::from(self.u8()?) << 16;
            let length = high | u32::from(self.u16()?);
            Some(self.take(usize::try_from(length).map_err(|_| "a length beyond the end")?)?)
        };
        Ok(Payload { metadata, data: self.all() })
    }

    fn setup(&mut self, flags: u16) -> Part<Setup> {
        let version = (self.u16()?, self.u16()?);
        let (keepalive_ms, lifetime_ms) = (self.u31()?, self.u31()?);
        let resume_token = if flags & FOLLOWS == 0 {
            None
        } else {
            let length = self.u16()?;
            Some(self.take(length.into())?)
        };
        let length = self.u8()?;
        let metadata_mime = self.take(length.into())?;
        let length = self.u8()?;
        let data_mime = self.take(length.into())?;
        let payload = self.payload(flags)?;
        let lease = flags & COMPLETE != 0;
        Ok(Setup {
            version,
            keepalive_ms,
            lifetime_ms,
            resume_token,
            lease,
            metadata_mime,
            data_mime,
            payload,
        })
    }

    fn resume(&mut self) -> Part<Frame> {
        let version = (self.u16()?, self.u16()?);
        let length = self.u16()?;
        let token = self.take(length.into())?;
        Ok(Frame::Resume { version, token, received: self.u63()?, available: self.u63()? })
    }
}

/// Reads one frame, given without the length before it. Payloads are slices of `bytes`, not copies.
pub fn decode(bytes: Bytes) -> Result<Frame, Malformed> {
    let mut rest = Rest(bytes);
    let bad = |stream, kind| move |what| Malformed { stream, kind, what };
    let stream = rest.u31().map_err(bad(0, 0))?;
    let word = rest.u16().map_err(bad(stream, 0))?;
    // Six bits are left.
    let kind = u8::try_from(word >> 10).unwrap_or_default();
    decode_body(stream, kind, word & 0x3FF, rest).map_err(bad(stream, kind))
}

fn decode_body(stream: StreamId, kind: u8, flags: u16, mut rest: Rest) -> Part<Frame> {
    let follows = flags & FOLLOWS != 0;
    let complete = flags & COMPLETE != 0;
    let ignorable = flags & IGNORE != 0;
    let has_metadata = flags & METADATA != 0;
    Ok(match kind {
        kind::SETUP => Frame::Setup(Box::new(rest.setup(flags)?)),
        kind::LEASE => {
            let (ttl_ms, requests) = (rest.u31()?, rest.u31()?);
            Frame::Lease { ttl_ms, requests, metadata: has_metadata.then(|| rest.all()) }
        }
        kind::KEEPALIVE => Frame::Keepalive { respond: follows, position: rest.u63()?, data: rest.all() },
        kind::REQUEST_RESPONSE => Frame::RequestResponse { stream, follows, payload: rest.payload(flags)? },
        kind::REQUEST_FNF => Frame::RequestFnf { stream, follows, payload: rest.payload(flags)? },
        kind::REQUEST_STREAM => {
            Frame::RequestStream { stream, follows, initial: rest.u31()?, payload: rest.payload(flags)? }
        }
        kind::REQUEST_CHANNEL => {
            let initial = rest.u31()?;
            Frame::RequestChannel { stream, follows, complete, initial, payload: rest.payload(flags)? }
        }
        kind::REQUEST_N => Frame::RequestN { stream, n: rest.u31()? },
        kind::CANCEL => Frame::Cancel { stream },
        kind::PAYLOAD => {
            // Both together make no sense; the end is the safer reading.
            let follows = follows && !complete;
            let next = flags & NEXT != 0;
            Frame::Payload { stream, follows, complete, next, payload: rest.payload(flags)? }
        }
        kind::ERROR => {
            let code = rest.0.try_get_u32().map_err(|_| "the end")?;
            Frame::Error { stream, code, text: rest.all() }
        }
        kind::METADATA_PUSH => Frame::MetadataPush { metadata: rest.all() },
        kind::RESUME => rest.resume()?,
        kind::RESUME_OK => Frame::ResumeOk { received: rest.u63()? },
        kind::EXTENSION => Frame::Extension { stream, ignorable, kind: rest.u31()?, rest: rest.all() },
        _ => Frame::Unknown { stream, ignorable, kind },
    })
}

/// Writes one frame, without the length before it. What does not fit its length field is cut off; we send nothing so
/// long.
pub fn encode(frame: &Frame, out: &mut BytesMut) {
    match frame {
        Frame::Setup(setup) => encode_setup(setup, out),
        Frame::Lease { ttl_ms, requests, metadata } => {
            head(out, 0, kind::LEASE, flag(metadata.is_some(), METADATA));
            out.put_u32(ttl_ms & BITS_31);
            out.put_u32(requests & BITS_31);
            out.extend_from_slice(metadata.as_deref().unwrap_or_default());
        }
        Frame::Keepalive { respond, position, data } => {
            head(out, 0, kind::KEEPALIVE, flag(*respond, FOLLOWS));
            out.put_u64(position & BITS_63);
            out.extend_from_slice(data);
        }
        Frame::RequestResponse { stream, follows, payload } => {
            body(out, *stream, kind::REQUEST_RESPONSE, flag(*follows, FOLLOWS), None, payload);
        }
        Frame::RequestFnf { stream, follows, payload } => {
            body(out, *stream, kind::REQUEST_FNF, flag(*follows, FOLLOWS), None, payload);
        }
        Frame::RequestStream { stream, follows, initial, payload } => {
            body(out, *stream, kind::REQUEST_STREAM, flag(*follows, FOLLOWS), Some(*initial), payload);
        }
        Frame::RequestChannel { stream, follows, complete, initial, payload } => {
            let flags = flag(*follows, FOLLOWS) | flag(*complete, COMPLETE);
            body(out, *stream, kind::REQUEST_CHANNEL, flags, Some(*initial), payload);
        }
        Frame::RequestN { stream, n } => {
            head(out, *stream, kind::REQUEST_N, 0);
            out.put_u32(n & BITS_31);
        }
        Frame::Cancel { stream } => head(out, *stream, kind::CANCEL, 0),
        Frame::Payload { stream, follows, complete, next, payload } => {
            let flags = flag(*follows, FOLLOWS) | flag(*complete, COMPLETE) | flag(*next, NEXT);
            body(out, *stream, kind::PAYLOAD, flags, None, payload);
        }
        Frame::Error { stream, code, text } => {
            head(out, *stream, kind::ERROR, 0);
            out.put_u32(*code);
            out.extend_from_slice(text);
        }
        Frame::MetadataPush { metadata } => {
            head(out, 0, kind::METADATA_PUSH, METADATA);
            out.extend_from_slice(metadata);
        }
        Frame::Resume { version, token, received, available } => {
            head(out, 0, kind::RESUME, 0);
            put_version(out, *version);
            put_short(out, token);
            out.put_u64(received & BITS_63);
            out.put_u64(available & BITS_63);
        }
        Frame::ResumeOk { received } => {
            head(out, 0, kind::RESUME_OK, 0);
            out.put_u64(received & BITS_63);
        }
        Frame::Extension { stream, ignorable, kind, rest } => {
            head(out, *stream, kind::EXTENSION, flag(*ignorable, IGNORE));
            out.put_u32(kind & BITS_31);
            out.extend_from_slice(rest);
        }
        Frame::Unknown { stream, ignorable, kind } => head(out, *stream, *kind, flag(*ignorable, IGNORE)),
    }
}

fn encode_setup(setup: &Setup, out: &mut BytesMut) {
    let resume = flag(setup.resume_token.is_some(), FOLLOWS);
    let metadata = flag(setup.payload.metadata.is_some(), METADATA);
    head(out, 0, kind::SETUP, resume | flag(setup.lease, COMPLETE) | metadata);
    put_version(out, setup.version);
    out.put_u32(setup.keepalive_ms & BITS_31);
    out.put_u32(setup.lifetime_ms & BITS_31);
    if let Some(token) = &setup.resume_token {
        put_short(out, token);
    }
    for mime in [&setup.metadata_mime, &setup.data_mime] {
        let length = u8::try_from(mime.len()).unwrap_or(u8::MAX);
        out.put_u8(length);
        out.extend(mime.iter().take(length.into()));
    }
    put_payload(out, &setup.payload);
}

const fn flag(set: bool, flag: u16) -> u16 {
    if set { flag } else { 0 }
}

fn head(out: &mut BytesMut, stream: StreamId, kind: u8, flags: u16) {
    out.put_u32(stream & BITS_31);
    out.put_u16(u16::from(kind) << 10 | flags);
}

fn body(out: &mut BytesMut, stream: StreamId, kind: u8, flags: u16, initial: Option<u32>, payload: &Payload) {
    head(out, stream, kind, flags | flag(payload.metadata.is_some(), METADATA));
    if let Some(initial) = initial {
        out.put_u32(initial & BITS_31);
    }
    put_payload(out, payload);
}

fn put_version(out: &mut BytesMut, (major, minor): (u16, u16)) {
    out.put_u16(major);
    out.put_u16(minor);
}

fn put_short(out: &mut BytesMut, bytes: &Bytes) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.put_u16(length);
    out.extend(bytes.iter().take(length.into()));
}

fn put_payload(out: &mut BytesMut, payload: &Payload) {
    if let Some(metadata) = &payload.metadata {
        let length = metadata.len().min(0xFF_FFFF);
        out.put_uint(u64::try_from(length).unwrap_or_default(), 3);
        out.extend_from_slice(metadata.get(..length).unwrap_or_default());
    }
    out.extend_from_slice(&payload.data);
}

#[cfg(test)]
mod tests;
