//! Fragments put together: a request or answer with FOLLOWS, then PAYLOAD frames on its stream until one without.
//!
//! Micrometer's clients never fragment; others may.

use std::collections::BTreeMap;

use bytes::BytesMut;

use super::frame::{Frame, Payload, StreamId};

/// Streams that one connection may have in fragments at the same time.
const STREAMS_MAX: usize = 16;

/// What is not yet complete on one connection.
#[derive(Debug)]
pub struct Reassembly {
    limit: usize,
    held: usize,
    partial: BTreeMap<StreamId, Partial>,
}

#[derive(Debug)]
struct Partial {
    /// The first frame, its payload taken out.
    first: Frame,
    metadata: Option<BytesMut>,
    data: BytesMut,
    /// Over the limit: the rest is thrown away, and told when the last fragment is there.
    dropped: bool,
}

/// What a frame led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A frame that is whole.
    Whole(Frame),
    /// More is to come.
    Waiting,
    /// All fragments were there, but were too many or too large together.
    Oversize {
        /// On which stream.
        stream: StreamId,
        /// Whether an answer is expected.
        answer: bool,
    },
}

impl Reassembly {
    /// All fragments of a connection together may hold `limit` bytes.
    pub const fn new(limit: usize) -> Self {
        Self { limit, held: 0, partial: BTreeMap::new() }
    }

    /// Bytes of all fragments.
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Whether fragments of this stream are there.
    pub fn has(&self, stream: StreamId) -> bool {
        self.partial.contains_key(&stream)
    }

    /// Takes the next frame of the connection.
    pub fn on_frame(&mut self, mut frame: Frame) -> Outcome {
        let stream = frame.stream();
        let (follows, payload) = match &mut frame {
            Frame::Payload { follows, payload, .. } if self.has(stream) => {
                let (last, payload) = (!*follows, std::mem::take(payload));
                return self.add(stream, &payload, last);
            }
            Frame::RequestResponse { follows, payload, .. }
            | Frame::RequestFnf { follows, payload, .. }
            | Frame::Payload { follows, payload, .. } => (follows, payload),
            Frame::Cancel { .. } | Frame::Error { .. } => {
                self.forget(stream);
                return Outcome::Whole(frame);
            }
            _ => return Outcome::Whole(frame),
        };
        if !*follows {
            return Outcome::Whole(frame);
        }
        *follows = false;
        let payload = std::mem::take(payload);
        self.forget(stream);
        if self.partial.len() >= STREAMS_MAX {
            let answer = matches!(frame, Frame::RequestResponse { .. });
            return Outcome::Oversize { stream, answer };
        }
        let metadata = payload.metadata.is_some().then(BytesMut::new);
        self.partial
            .insert(stream, Partial { first: frame, metadata, data: BytesMut::new(), dropped: false });
        self.add(stream, &payload, false)
    }

    fn add(&mut self, stream: StreamId, payload: &Payload, last: bool) -> Outcome {
        let Some(partial) = self.partial.get_mut(&stream) else { return Outcome::Waiting };
        if partial.dropped || self.held.saturating_add(payload.size()) > self.limit {
            self.held = self.held.saturating_sub(partial.size());
            partial.dropped = true;
            (partial.metadata, partial.data) = (None, BytesMut::new());
        } else {
            self.held += payload.size();
            if let Some(more) = &payload.metadata {
                partial.metadata.get_or_insert_default().extend_from_slice(more);
            }
            partial.data.extend_from_slice(&payload.data);
        }
        if !last {
            return Outcome::Waiting;
        }
        self.finish(stream)
    }

    fn finish(&mut self, stream: StreamId) -> Outcome {
        let Some(partial) = self.partial.remove(&stream) else { return Outcome::Waiting };
        if partial.dropped {
            let answer = matches!(partial.first, Frame::RequestResponse { .. });
            return Outcome::Oversize { stream, answer };
        }
        self.held = self.held.saturating_sub(partial.size());
        let whole = Payload { metadata: partial.metadata.map(BytesMut::freeze), data: partial.data.freeze() };
        let mut frame = partial.first;
        if let Frame::RequestResponse { payload, .. }
        | Frame::RequestFnf { payload, .. }
        | Frame::Payload { payload, .. } = &mut frame
        {
            *payload = whole;
        }
        Outcome::Whole(frame)
    }

    /// Throws away what is there of a stream.
    pub fn forget(&mut self, stream: StreamId) {
        if let Some(partial) = self.partial.remove(&stream) {
            self.held = self.held.saturating_sub(partial.size());
        }
    }
}

impl Partial {
    fn size(&self) -> usize {
        self.data.len().saturating_add(self.metadata.as_ref().map_or(0, BytesMut::len))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn payload(metadata: Option<&[u8]>, data: &[u8]) -> Payload {
        Payload { metadata: metadata.map(Bytes::copy_from_slice), data: Bytes::copy_from_slice(data) }
    }

    fn more(stream: u32, follows: bool, payload: Payload) -> Frame {
        Frame::Payload { stream, follows, complete: !follows, next: true, payload }
    }

    fn push(stream: u32, follows: bool, payload: Payload) -> Frame {
        Frame::RequestResponse { stream, follows, payload }
    }

    #[test]
    fn two_streams_may_be_interleaved() {
        let mut parts = Reassembly::new(100);
        for (frame, wanted) in [
            (push(1, true, payload(Some(b"a"), b"")), Outcome::Waiting),
            (push(3, true, payload(None, b"x")), Outcome::Waiting),
            (more(1, true, payload(Some(b"b"), b"c")), Outcome::Waiting),
            (more(3, false, payload(None, b"y")), Outcome::Whole(push(3, false, payload(None, b"xy")))),
            (
                more(1, false, payload(None, b"d")),
                Outcome::Whole(push(1, false, payload(Some(b"ab"), b"cd"))),
            ),
        ] {
            assert_eq!(parts.on_frame(frame), wanted);
        }
        assert_eq!((parts.held, parts.partial.len()), (0, 0));
    }

    #[test]
    fn too_much_is_dropped_and_told_once_at_its_end() {
        let mut parts = Reassembly::new(4);
        assert_eq!(parts.on_frame(push(1, true, payload(None, b"abc"))), Outcome::Waiting);
        assert_eq!(parts.on_frame(more(1, true, payload(None, b"de"))), Outcome::Waiting);
        assert_eq!(parts.held, 0, "nothing is kept of it");
        assert_eq!(parts.on_frame(more(1, true, payload(None, b"f"))), Outcome::Waiting);
        let end = more(1, false, payload(None, b""));
        assert_eq!(parts.on_frame(end), Outcome::Oversize { stream: 1, answer: true });
        let whole = push(3, false, payload(None, b"as ever"));
        assert_eq!(parts.on_frame(whole.clone()), Outcome::Whole(whole));
    }

    #[test]
    fn streams_that_never_end_are_few() {
        let mut parts = Reassembly::new(100);
        for n in 0..1000 {
            parts.on_frame(push(n * 2 + 1, true, payload(None, b"")));
        }
        assert_eq!(parts.partial.len(), STREAMS_MAX);
        parts.on_frame(Frame::Cancel { stream: 1 });
        assert_eq!(parts.partial.len(), STREAMS_MAX - 1);
    }

    proptest! {
        #[test]
        fn fragments_are_the_whole(data in prop::collection::vec(any::<u8>(), 0..300), size in 1..50_usize) {
            let mut parts = Reassembly::new(300);
            let mut outcome = parts.on_frame(push(1, true, payload(Some(b"key"), b"")));
            for chunk in data.chunks(size) {
                prop_assert_eq!(outcome, Outcome::Waiting);
                outcome = parts.on_frame(more(1, true, payload(None, chunk)));
            }
            prop_assert!(parts.held <= 303);
            outcome = parts.on_frame(more(1, false, payload(None, b"")));
            if data.len() + 3 <= 300 {
                prop_assert_eq!(outcome, Outcome::Whole(push(1, false, payload(Some(b"key"), &data))));
            } else {
                prop_assert_eq!(outcome, Outcome::Oversize { stream: 1, answer: true });
            }
            prop_assert_eq!(parts.held, 0);
        }
    }
}
