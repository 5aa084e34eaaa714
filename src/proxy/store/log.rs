//! The log: files of records that are only appended to and removed whole.
//!
//! A record is `mark (8) | length (4) | CRC-32 of length and payload (4) | payload`. The mark is random for each file
//! and stands in the file's name, so that after damage the next record is found, and nobody can put a record of his own
//! into a body. A file is never written again by another process: a torn end stays where it is.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::disk::{Append, Disk};
use crate::proxy::exposition::Labels;

/// What is told about a body on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Door: `tcp`, `websocket`, `push`.
    pub door: String,
    /// Who handed it in.
    pub peer: String,
    /// Number of the connection in the process that wrote it.
    pub connection: u64,
    /// When the connection began, milliseconds since 1970.
    pub since_ms: i64,
    /// When the body was taken.
    pub taken_ms: i64,
    /// Whether it is the last body before a connection died, not a push.
    pub snapshot: bool,
    /// Grouping of a push: labels that are set on every series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Labels>,
}

const HEAD: usize = 16;
/// A length over this is damage: no door takes so large a body.
const LONGEST: usize = 64 << 20;
/// Bytes of the longest text that may be written: it fits a record even where it cannot be compressed (snappy adds a
/// sixth at most).
pub const TEXT_MAX: usize = 48 << 20;

/// An exposition as it stands in a record. It may have [`TEXT_MAX`] bytes at most.
pub fn pack(text: &[u8]) -> Vec<u8> {
    // Only what is longer than four gigabytes fails.
    snap::raw::Encoder::new().compress_vec(text).unwrap_or_default()
}

/// The payload of a record.
pub fn encode(note: &Note, packed: &[u8]) -> Vec<u8> {
    // No Note can fail.
    let note = serde_json::to_vec(note).unwrap_or_default();
    [&u32::try_from(note.len()).unwrap_or(0).to_le_bytes(), &*note, packed].concat()
}

/// A record whose text is not unpacked yet: one that is too old need not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed<'a> {
    /// About it.
    pub note: Note,
    text: &'a [u8],
}

impl<'a> Packed<'a> {
    /// Reads a payload; none if it is damaged.
    pub fn decode(payload: &'a [u8]) -> Option<Self> {
        let (length, rest) = payload.split_first_chunk::<4>()?;
        let (note, text) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        Some(Self { note: serde_json::from_slice(note).ok()?, text })
    }

    /// The exposition; none if it is damaged.
    pub fn text(&self) -> Option<Vec<u8>> {
        if snap::raw::decompress_len(self.text).ok()? > LONGEST {
            return None;
        }
        snap::raw::Decoder::new().decompress_vec(self.text).ok()
    }
}

/// Number of a file; they grow.
pub type Segment = u64;

fn file_name(segment: Segment, mark: [u8; 8]) -> String {
    format!("{segment:012}-{:016x}.log", u64::from_be_bytes(mark))
}

fn parse_name(name: &str) -> Option<(Segment, [u8; 8])> {
    let (segment, mark) = name.strip_suffix(".log")?.split_once('-')?;
    Some((segment.parse().ok()?, u64::from_str_radix(mark, 16).ok()?.to_be_bytes()))
}

/// Eight bytes that no client can know.
fn new_mark() -> [u8; 8] {
    use std::hash::{BuildHasher, RandomState};
    // The keys of a RandomState come from the system's random source.
    RandomState::new().hash_one(0).to_be_bytes()
}

fn framed(mark: [u8; 8], payload: &[u8], to: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    to.extend_from_slice(&mark);
    to.extend_from_slice(&length);
    to.extend_from_slice(&checksum(length, payload).to_le_bytes());
    to.extend_from_slice(payload);
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length);
    crc.update(payload);
    crc.finalize()
}

/// The payload of the record that begins `bytes`.
fn first(bytes: &[u8], mark: [u8; 8]) -> Option<&[u8]> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let (begin, head) = head.split_first_chunk::<8>()?;
    let (length, head) = head.split_first_chunk::<4>()?;
    let crc = head.first_chunk::<4>()?;
    let size = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|size| *size <= LONGEST)?;
    let payload = rest.get(..size)?;
    (*begin == mark && u32::from_le_bytes(*crc) == checksum(*length, payload)).then_some(payload)
}

/// What a file holds.
#[derive(Debug, Default)]
pub struct Scan<'a> {
    /// Payloads of its records, in order.
    pub payloads: Vec<&'a [u8]>,
    /// Stretches of bytes that are no record.
    pub damaged: usize,
}

fn scan(mut bytes: &[u8], mark: [u8; 8]) -> Scan<'_> {
    let mut found = Scan::default();
    while !bytes.is_empty() {
        if let Some(payload) = first(bytes, mark) {
            found.payloads.push(payload);
            bytes = bytes.get(HEAD + payload.len()..).unwrap_or_default();
            continue;
        }
        found.damaged += 1;
        // On to the next mark that begins a whole record.
        let rest = bytes.get(1..).unwrap_or_default();
        let next = memchr::memmem::find_iter(rest, &mark)
            .find(|at| rest.get(*at..).is_some_and(|from| first(from, mark).is_some()));
        bytes = next.and_then(|at| rest.get(at..)).unwrap_or_default();
    }
    found
}

/// A file that was there at the start.
pub struct OldFile {
    /// Its number.
    pub segment: Segment,
    mark: [u8; 8],
    name: String,
    disk: Arc<dyn Disk>,
}

impl OldFile {
    /// Its content.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        self.disk.read(&self.name)
    }

    /// The records in its content.
    pub fn scan<'a>(&self, content: &'a [u8]) -> Scan<'a> {
        scan(content, self.mark)
    }
}

/// The log, open for writing.
pub struct Log {
    disk: Arc<dyn Disk>,
    current: Option<Current>,
    next: Segment,
    segment_bytes: usize,
}

struct Current {
    segment: Segment,
    name: String,
    mark: [u8; 8],
    file: Box<dyn Append>,
    size: usize,
    /// Whether anything in it was acknowledged.
    used: bool,
}

impl Log {
    /// Tells which files are there, oldest first. A new one is begun with the first commit.
    pub fn open(disk: Arc<dyn Disk>, segment_bytes: usize) -> io::Result<(Self, Vec<OldFile>)> {
        let old = |name: String| {
            let (segment, mark) = parse_name(&name)?;
            Some(OldFile { segment, mark, name, disk: disk.clone() })
        };
        let mut files: Vec<_> = disk.names()?.into_iter().filter_map(old).collect();
        files.sort_by(|a, b| (a.segment, &a.name).cmp(&(b.segment, &b.name)));
        let next = files.last().map_or(0, |newest| newest.segment.saturating_add(1));
        Ok((Self { disk, current: None, next, segment_bytes }, files))
    }

    /// Writes all and syncs once. An error means that none is acknowledged; whatever of them reached the disk may be
    /// found again.
    pub fn commit(&mut self, payloads: &[Vec<u8>]) -> io::Result<(Segment, usize)> {
        let result = self.try_commit(payloads);
        if result.is_err()
            && let Some(failed) = self.current.take()
            && !failed.used
        {
            // Nothing of worth is in it, and files must not pile up while the disk is full.
            let _ = self.disk.remove(&failed.name);
        }
        result
    }

    fn try_commit(&mut self, payloads: &[Vec<u8>]) -> io::Result<(Segment, usize)> {
        if self.current.as_ref().is_some_and(|current| current.size >= self.segment_bytes) {
            self.current = None;
        }
        if self.current.is_none() {
            self.current = Some(self.begin()?);
        }
        let Some(current) = &mut self.current else { return Err(io::ErrorKind::NotFound.into()) };
        let mut bytes = Vec::with_capacity(payloads.iter().map(|p| p.len() + HEAD).sum());
        for payload in payloads {
            framed(current.mark, payload, &mut bytes);
        }
        current.file.append(&bytes)?;
        current.file.sync()?;
        current.size += bytes.len();
        current.used = true;
        Ok((current.segment, bytes.len()))
    }

    fn begin(&mut self) -> io::Result<Current> {
        let (segment, mark) = (self.next, new_mark());
        // Never the same number twice, whatever becomes of the file.
        self.next = self.next.saturating_add(1);
        let name = file_name(segment, mark);
        let file = self.disk.create(&name)?;
        Ok(Current { segment, name, mark, file, size: 0, used: false })
    }

    /// Removes a file; one that is still written to is ended first.
    pub fn remove(&mut self, segment: Segment) -> io::Result<()> {
        if self.current.as_ref().is_some_and(|current| current.segment == segment) {
            self.current = None;
        }
        for name in self.disk.names()? {
            if parse_name(&name).is_some_and(|(found, _)| found == segment) {
                self.disk.remove(&name)?;
            }
        }
        Ok(())
    }
}
