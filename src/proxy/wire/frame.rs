//! The frames of RSocket 1.0 (`Protocol.md` of the rsocket project, "Framing").

use bytes::Bytes;

/// A stream's number: 31 bits; 0 is the connection itself, odd ones are the client's, even ones ours.
pub type StreamId = u32;

/// Codes of ERROR frames ("Error Codes").
pub mod error {
    /// Stream 0: the SETUP is wrong.
    pub const INVALID_SETUP: u32 = 0x001;
    /// Stream 0: the SETUP wants what the server cannot do.
    pub const UNSUPPORTED_SETUP: u32 = 0x002;
    /// Stream 0: there is nothing to resume.
    pub const REJECTED_RESUME: u32 = 0x004;
    /// Stream 0: the connection ends at once.
    pub const CONNECTION_ERROR: u32 = 0x101;
    /// A request failed.
    pub const APPLICATION_ERROR: u32 = 0x201;
    /// A request was not begun.
    pub const REJECTED: u32 = 0x202;
    /// A request cannot be understood.
    pub const INVALID: u32 = 0x204;
}

/// What a request or an answer carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// Absent and empty differ.
    pub metadata: Option<Bytes>,
    /// All the rest of the frame.
    pub data: Bytes,
}

impl Payload {
    /// A payload without metadata.
    pub const fn of(data: Bytes) -> Self {
        Self { metadata: None, data }
    }

    /// Bytes that it holds.
    pub fn size(&self) -> usize {
        self.data.len().saturating_add(self.metadata.as_ref().map_or(0, Bytes::len))
    }
}

/// The first frame of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Major and minor version.
    pub version: (u16, u16),
    /// Time between the client's KEEPALIVE frames, in milliseconds.
    pub keepalive_ms: u32,
    /// After this time without a KEEPALIVE the client gives up, in milliseconds.
    pub lifetime_ms: u32,
    /// With it the client wants to resume later.
    pub resume_token: Option<Bytes>,
    /// The client waits for a LEASE.
    pub lease: bool,
    /// Of metadata.
    pub metadata_mime: Bytes,
    /// Of data.
    pub data_mime: Bytes,
    /// Set-up data.
    pub payload: Payload,
}

/// One frame.
#[allow(missing_docs, reason = "fields are named as in the protocol")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// 0x01
    Setup(Box<Setup>),
    /// 0x02: so many requests may be sent in so much time.
    Lease { ttl_ms: u32, requests: u32, metadata: Option<Bytes> },
    /// 0x03
    Keepalive { respond: bool, position: u64, data: Bytes },
    /// 0x04: one answer is wanted.
    RequestResponse { stream: StreamId, follows: bool, payload: Payload },
    /// 0x05: no answer is wanted.
    RequestFnf { stream: StreamId, follows: bool, payload: Payload },
    /// 0x06
    RequestStream { stream: StreamId, follows: bool, initial: u32, payload: Payload },
    /// 0x07
    RequestChannel { stream: StreamId, follows: bool, complete: bool, initial: u32, payload: Payload },
    /// 0x08
    RequestN { stream: StreamId, n: u32 },
    /// 0x09
    Cancel { stream: StreamId },
    /// 0x0A: an answer, or a further fragment of whatever began on this stream.
    Payload { stream: StreamId, follows: bool, complete: bool, next: bool, payload: Payload },
    /// 0x0B
    Error { stream: StreamId, code: u32, text: Bytes },
    /// 0x0C
    MetadataPush { metadata: Bytes },
    /// 0x0D
    Resume { version: (u16, u16), token: Bytes, received: u64, available: u64 },
    /// 0x0E
    ResumeOk { received: u64 },
    /// 0x3F
    Extension { stream: StreamId, ignorable: bool, kind: u32, rest: Bytes },
    /// A type that version 1.0 does not know.
    Unknown { stream: StreamId, ignorable: bool, kind: u8 },
}

impl Frame {
    /// An ERROR frame.
    pub fn error(stream: StreamId, code: u32, text: impl Into<Bytes>) -> Self {
        Self::Error { stream, code, text: text.into() }
    }

    /// The acknowledgement of a push: complete, and nothing in it. NEXT is set although nothing comes, as rsocket-java
    /// does and its clients have always seen it.
    pub fn acknowledgement(stream: StreamId) -> Self {
        Self::Payload { stream, follows: false, complete: true, next: true, payload: Payload::default() }
    }

    /// The stream it belongs to.
    pub const fn stream(&self) -> StreamId {
        match self {
            Self::Setup(_)
            | Self::Lease { .. }
            | Self::Keepalive { .. }
            | Self::MetadataPush { .. }
            | Self::Resume { .. }
            | Self::ResumeOk { .. } => 0,
            Self::RequestResponse { stream, .. }
            | Self::RequestFnf { stream, .. }
            | Self::RequestStream { stream, .. }
            | Self::RequestChannel { stream, .. }
            | Self::RequestN { stream, .. }
            | Self::Cancel { stream }
            | Self::Payload { stream, .. }
            | Self::Error { stream, .. }
            | Self::Extension { stream, .. }
            | Self::Unknown { stream, .. } => *stream,
        }
    }
}
