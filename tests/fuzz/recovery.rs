//! Files of the store as they never were written: opened without an error, whole records found, and written on.
//!
//! An input is changes to real files: a byte that says which, where as two bytes, and what with its length before it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use millrace::proxy::store::disk::{Append, Disk};
use millrace::proxy::store::log::{Log, Note, encode, pack};
use millrace::proxy::store::{Settings, Store};

use crate::engine::{Target, fuzz, hash, size};

type Files = BTreeMap<String, Vec<u8>>;

/// A disk that forgets nothing.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Files>>);

struct Open(Memory, String);

impl Disk for Memory {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.0.lock().unwrap().get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Append>> {
        match self.0.lock().unwrap().insert(name.to_owned(), Vec::new()) {
            None => Ok(Box::new(Open(self.clone(), name.to_owned()))),
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().unwrap().remove(name);
        Ok(())
    }
}

impl Append for Open {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.0.lock().unwrap().entry(self.1.clone()).or_default().extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A record's payload.
fn record(i: u8) -> Vec<u8> {
    let note = Note {
        door: ["tcp", "websocket", "push"][usize::from(i) % 3].to_owned(),
        peer: "10.0.0.1:4000".to_owned(),
        connection: i.into(),
        since_ms: 0,
        taken_ms: i.into(),
        snapshot: i.is_multiple_of(4),
        group: (i % 3 == 2).then(|| [("job".to_owned(), "t".to_owned())].into()),
    };
    let text = format!("a{{task_execution_id=\"{i}\",task_external_execution_id=\"p\"}} {i}\n");
    encode(&note, &pack(text.as_bytes()))
}

/// Names with their content: two files of a log and one that nobody knows.
fn real() -> Vec<(String, Vec<u8>)> {
    let disk = Memory::default();
    let (mut log, _) = Log::open(Arc::new(disk.clone()), 300).unwrap();
    for group in [&[1, 2, 3][..], &[4], &[5, 6]] {
        log.commit(&group.iter().map(|i| record(*i)).collect::<Vec<_>>()).unwrap();
    }
    let mut files: Vec<_> = disk.0.lock().unwrap().clone().into_iter().collect();
    files.push(("lost+found".to_owned(), b"of somebody else".to_vec()));
    assert!(files.len() >= 3);
    files
}

#[test]
fn recovery() {
    let real = real();
    let seeds = vec![
        vec![],
        b"\x00\x10\x00\x04abcd".to_vec(),
        b"\x01\x08\x00\x04\xff\xff\xff\x7f".to_vec(),
        b"\x04\x40\x00\x00".to_vec(),
        b"\x08\x00\x00\x20000000000009-0000000000000000.log".to_vec(),
        b"\x08\x00\x00\x2918446744073709551615-0000000000000000.log".to_vec(),
        b"\x0c\x00\x00\x00\x10\x00\x00\x10abcdefghijklmnop".to_vec(),
    ];
    let run = |input: &[u8]| run(&real, input);
    fuzz(Target { name: "recovery", seeds, words: WORDS, longest: 1 << 10, run });
}

const WORDS: &[&[u8]] = &[
    b"000000000000-",
    b"18446744073709551615-ffffffffffffffff.log",
    b".log",
    b"{\"door\":\"tcp\"",
    b"\x00\x08\x00\x04\xff\xff\xff\x03",
    b"\x05\x10\x00\x00",
];

fn changed(real: &[(String, Vec<u8>)], mut input: &[u8]) -> Files {
    let mut files = real.to_vec();
    while let [what, low, high, length, rest @ ..] = input {
        let (bytes, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        input = rest;
        let which = usize::from(what % 4) % files.len();
        let (name, content) = &mut files[which];
        let at = usize::from(u16::from_le_bytes([*low, *high])) % (content.len() + 1);
        match (what / 4) % 6 {
            0 => content.iter_mut().skip(at).zip(bytes).for_each(|(old, new)| *old ^= new),
            1 => content.truncate(at),
            2 => *name = String::from_utf8_lossy(bytes).into_owned(),
            3 => {
                content.splice(at..at, bytes.iter().copied());
            }
            4 => {
                let again = content[at..].to_vec();
                content.extend_from_slice(&again);
            }
            _ => {
                let end = (at + bytes.len()).min(content.len());
                content.drain(at..end);
            }
        }
    }
    files.into_iter().collect()
}

/// The payloads of all records, and the damaged places.
fn found(disk: &Memory) -> (Vec<Vec<u8>>, usize) {
    let (_, files) = Log::open(Arc::new(disk.clone()), 300).unwrap();
    let (mut payloads, mut damaged) = (Vec::new(), 0);
    for file in files {
        let content = file.read().unwrap();
        let scan = file.scan(&content);
        damaged += scan.damaged;
        payloads.extend(scan.payloads.into_iter().map(<[u8]>::to_vec));
    }
    (payloads, damaged)
}

fn run(real: &[(String, Vec<u8>)], input: &[u8]) -> u64 {
    let files = changed(real, input);
    let disk = Memory(Arc::new(Mutex::new(files.clone())));
    let (mut log, _) = Log::open(Arc::new(disk.clone()), 300).unwrap();
    let (before, damaged) = found(&disk);
    log.commit(&[record(99)]).unwrap_or_else(|error| panic!("cannot go on: {error}"));
    drop(log);
    // What was there is untouched.
    for (name, content) in &files {
        assert_eq!(disk.0.lock().unwrap().get(name), Some(content), "{name}");
    }
    let (after, damaged_after) = found(&disk);
    assert!(after.contains(&record(99)), "what was acknowledged is lost");
    assert!(before.iter().all(|payload| after.contains(payload)));
    assert_eq!(damaged_after, damaged);
    let kind = (before.len().min(8), damaged.min(8), files.len());
    // Threads make it slow: once in a while, and always for the same inputs.
    if !hash(input).is_multiple_of(8) {
        return hash(kind);
    }
    let clock = Arc::new(|| Timestamp::from_millisecond(1000).unwrap());
    let store = Store::open(Arc::new(disk), Settings::default(), clock).unwrap();
    let (bodies, _) = store.exposed();
    assert!(!bodies.is_empty(), "what was acknowledged is not shown");
    hash((kind, size(bodies.len())))
}
