//! On TCP each frame has its length before it: 24 bits, big endian, not counting itself.

use bytes::{BufMut, Bytes, BytesMut};

use super::codec::encode;
use super::frame::Frame;

/// Bytes of a frame's header: what is still read of a frame that is too long, to know which stream it was for.
const HEADER: usize = 6;
const LENGTH: usize = 3;
/// Room made for a frame before its bytes are there: enough for the answers of most applications (5 KB).
const ROOM: usize = 8 << 10;

/// What came out of a stream of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A frame without its length.
    Frame(Bytes),
    /// A frame over the limit. Its body is skipped.
    Oversize {
        /// Its header, as far as there is one.
        head: Bytes,
        /// Its length.
        length: usize,
    },
}

/// Cuts a stream of bytes into frames. Holds only bytes that arrived, none between frames.
#[derive(Debug)]
pub struct Deframer {
    limit: usize,
    /// The bytes of the length that were read so far.
    length: usize,
    length_bytes: usize,
    frame: BytesMut,
    skipped: usize,
}

impl Deframer {
    /// Frames over `limit` bytes are skipped.
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(HEADER), length: 0, length_bytes: 0, frame: BytesMut::new(), skipped: 0 }
    }

    /// Takes from the front of `input` until something is complete; `None` when `input` is used up.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Piece> {
        while self.length_bytes < LENGTH {
            let (first, rest) = input.split_first()?;
            *input = rest;
            self.length = self.length << 8 | usize::from(*first);
            self.length_bytes += 1;
        }
        let keep = if self.length > self.limit { HEADER } else { self.length };
        let missing = keep.saturating_sub(self.frame.len());
        let (now, rest) = input.split_at_checked(missing).unwrap_or((*input, &[]));
        if self.frame.capacity() == 0 {
            self.frame.reserve(keep.min(ROOM));
        }
        self.frame.extend_from_slice(now);
        *input = rest;
        if self.frame.len() < keep {
            return None;
        }
        let skip = self.length.saturating_sub(keep).saturating_sub(self.skipped);
        let rest = input.get(skip..).unwrap_or_default();
        self.skipped += input.len() - rest.len();
        *input = rest;
        if self.skipped + keep < self.length {
            return None;
        }
        let (length, frame) = (self.length, std::mem::take(&mut self.frame).freeze());
        *self = Self::new(self.limit);
        Some(if length > keep { Piece::Oversize { head: frame, length } } else { Piece::Frame(frame) })
    }

    /// Bytes of a frame that is not whole.
    pub fn held(&self) -> usize {
        self.frame.len()
    }

    /// Whether it is between two frames.
    pub const fn is_idle(&self) -> bool {
        self.length_bytes == 0
    }
}

/// Writes `frame` with its length.
pub fn enframe(frame: &Frame, out: &mut BytesMut) {
    let start = out.len();
    out.put_bytes(0, LENGTH);
    encode(frame, out);
    let length = out.len() - start - LENGTH;
    if let Some(field) = out.get_mut(start..start + LENGTH) {
        // Nothing that we send comes near 2^24 bytes.
        let [_, high, middle, low] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        field.copy_from_slice(&[high, middle, low]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(deframer: &mut Deframer, chunks: &[&[u8]]) -> Vec<Piece> {
        let mut found = Vec::new();
        for mut chunk in chunks.iter().copied() {
            while let Some(piece) = deframer.next(&mut chunk) {
                found.push(piece);
            }
            assert!(chunk.is_empty(), "everything is taken");
        }
        found
    }

    #[test]
    fn a_frame_over_the_limit_is_skipped_and_the_next_one_read() {
        let mut bytes = vec![0, 0, 20];
        bytes.extend([7; 20]);
        bytes.extend([0, 0, 2, 1, 2, 0, 0, 0]);
        let head = Bytes::from_static(&[7; 6]);
        let wanted = [
            Piece::Oversize { head, length: 20 },
            Piece::Frame(Bytes::from_static(&[1, 2])),
            Piece::Frame(Bytes::new()),
        ];
        assert_eq!(all(&mut Deframer::new(10), &[&bytes]), wanted);
    }

    #[test]
    fn a_length_alone_takes_no_memory() {
        let mut deframer = Deframer::new(16 << 20);
        assert_eq!(all(&mut deframer, &[&[0xFF, 0xFF, 0xFF]]), []);
        assert!(deframer.frame.capacity() <= 2 * ROOM);
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_does_not_matter(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            cuts in prop::collection::vec(1..9_usize, 1..200),
        ) {
            let mut bytes = Vec::new();
            for frame in &frames {
                bytes.extend([0, 0, u8::try_from(frame.len()).unwrap()]);
                bytes.extend(frame);
            }
            let mut chunks = Vec::new();
            let mut rest = bytes.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (chunk, after) = rest.split_at((*cut).min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            let mut deframer = Deframer::new(30);
            let found = all(&mut deframer, &chunks);
            let wanted: Vec<_> = frames.into_iter().map(|f| match f.len() {
                0..=30 => Piece::Frame(f.into()),
                length => Piece::Oversize { head: Bytes::copy_from_slice(&f[..6]), length },
            }).collect();
            prop_assert_eq!(found, wanted);
            prop_assert!(deframer.is_idle() && deframer.frame.capacity() == 0);
        }
    }
}
