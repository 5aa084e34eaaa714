//! The log on a disk that does whatever a disk may do when the power fails: writes that were not synced are there in
//! part and in any order, names come and go, and a failed sync forgets.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use super::{Record, found};
use crate::proxy::store::disk::{Append, Disk};
use crate::proxy::store::log::{Log, Note};

/// Written at once, or not: small, so that a record has many.
const SECTOR: usize = 16;
const SEGMENT_BYTES: usize = 300;

#[derive(Clone, Default)]
struct SimFile {
    durable: Vec<u8>,
    /// Written and not synced: whole file as it would be.
    written: Vec<u8>,
    /// Whether its name survives.
    named: bool,
}

#[derive(Default)]
struct Sim {
    files: BTreeMap<String, SimFile>,
    /// Gone, but not yet from the disk itself.
    removed: BTreeMap<String, SimFile>,
    /// Bytes, names and syncs until the power fails.
    power: Option<usize>,
    room: Option<usize>,
    /// Syncs until one fails.
    sync_fails_in: Option<usize>,
    /// Names ever given.
    names: Vec<String>,
}

#[derive(Clone, Default)]
struct SimDisk(Arc<Mutex<Sim>>);

struct SimAppend(SimDisk, String);

impl Sim {
    /// Uses power; how much of `wanted` there was.
    fn drain(&mut self, wanted: usize) -> usize {
        let got = self.power.unwrap_or(usize::MAX).min(wanted);
        self.power = self.power.map(|left| left - got);
        got
    }
}

fn failed() -> io::Error {
    io::Error::other("no power")
}

impl Disk for SimDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().files.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let sim = self.0.lock().unwrap();
        sim.files.get(name).map(|file| file.written.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Append>> {
        let mut sim = self.0.lock().unwrap();
        assert!(!sim.names.contains(&name.to_owned()), "{name} again");
        sim.names.push(name.to_owned());
        // Two steps: the file is there, then its name survives. The power may fail between them.
        if sim.drain(1) == 1 {
            sim.files.insert(name.to_owned(), SimFile::default());
        }
        if sim.drain(1) == 0 {
            return Err(failed());
        }
        sim.files.get_mut(name).unwrap().named = true;
        Ok(Box::new(SimAppend(self.clone(), name.to_owned())))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut sim = self.0.lock().unwrap();
        if sim.drain(1) == 0 {
            return Err(failed());
        }
        let gone = sim.files.remove(name).ok_or(io::ErrorKind::NotFound)?;
        sim.removed.insert(name.to_owned(), gone);
        Ok(())
    }
}

impl Append for SimAppend {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut sim = self.0.0.lock().unwrap();
        let room = sim.room.unwrap_or(usize::MAX).min(bytes.len());
        let taken = sim.drain(room);
        sim.room = sim.room.map(|left| left - taken);
        let file = sim.files.get_mut(&self.1).ok_or(io::ErrorKind::NotFound)?;
        file.written.extend_from_slice(&bytes[..taken]);
        if taken < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut sim = self.0.0.lock().unwrap();
        if sim.drain(1) == 0 {
            return Err(failed());
        }
        let fails = sim.sync_fails_in == Some(0);
        sim.sync_fails_in = sim.sync_fails_in.and_then(|left| left.checked_sub(1));
        let file = sim.files.get_mut(&self.1).ok_or(io::ErrorKind::NotFound)?;
        if fails {
            // As Linux does it: the pages count as clean from now on, and the next sync finds nothing to do.
            file.durable.resize(file.written.len(), 0);
            file.written.clone_from(&file.durable);
            return Err(io::Error::other("the sync failed"));
        }
        file.durable.clone_from(&file.written);
        Ok(())
    }
}

/// A number from others, the same every time (splitmix64).
fn random(of: &[usize]) -> usize {
    let mut z = of.iter().fold(0x9E37_79B9_7F4A_7C15_usize, |sum, n| sum.rotate_left(9).wrapping_add(*n));
    for _ in 0..3 {
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    }
    z ^ (z >> 31)
}

impl SimDisk {
    /// The disk after the power came back; `seed` says what became of all that was not certain.
    fn after_crash(&self, seed: usize) -> Self {
        let sim = self.0.lock().unwrap();
        let mut after = Sim { names: sim.names.clone(), ..Sim::default() };
        let kept = sim
            .files
            .iter()
            .enumerate()
            .filter(|(i, (_, file))| file.named || random(&[seed, *i]).is_multiple_of(2));
        let back = sim.removed.iter().enumerate().filter(|(i, _)| random(&[seed, *i, 1]).is_multiple_of(2));
        for (i, (name, file)) in kept.chain(back) {
            let durable = torn(file, random(&[seed, i, 2]));
            after.files.insert(name.clone(), SimFile { written: durable.clone(), durable, named: true });
        }
        Self(Arc::new(Mutex::new(after)))
    }
}

/// Each sector that was not synced is there, or holds zeros, or what was there before; the file ends anywhere.
fn torn(file: &SimFile, seed: usize) -> Vec<u8> {
    let certain = file.durable.len();
    let end = certain + random(&[seed]) % (file.written.len().saturating_sub(certain) + 1);
    let mut left = file.written[..end].to_vec();
    for (at, byte) in left.iter_mut().enumerate().skip(certain) {
        match random(&[seed, at / SECTOR]) % 3 {
            0 => *byte = 0,
            1 => *byte = 0x5a,
            _ => {}
        }
    }
    left
}

fn record(i: u8) -> Record {
    let note = Note {
        door: "tcp".to_owned(),
        peer: "10.0.0.1:4000".to_owned(),
        connection: i.into(),
        since_ms: 0,
        taken_ms: i.into(),
        snapshot: false,
        group: None,
    };
    Record { note, text: format!("a{{i=\"{i}\"}} {i}\n").into() }
}

fn open(disk: &SimDisk) -> (Log, Vec<Record>, usize) {
    let (records, damaged) = found(disk);
    (Log::open(Arc::new(disk.clone()), SEGMENT_BYTES).unwrap().0, records, damaged)
}

/// Groups of records over several files, an old file removed in between; which were acknowledged, and of those which
/// were not removed.
fn write_all(disk: &SimDisk) -> Vec<Record> {
    let Ok((mut log, _)) = Log::open(Arc::new(disk.clone()), SEGMENT_BYTES) else { return Vec::new() };
    let mut kept: Vec<(u64, Record)> = Vec::new();
    for (turn, group) in [&[1, 2][..], &[3], &[4, 5, 6], &[7], &[8, 9]].into_iter().enumerate() {
        let records: Vec<Record> = group.iter().map(|i| record(*i)).collect();
        let payloads: Vec<_> = records.iter().map(Record::encode).collect();
        if let Ok((segment, _)) = log.commit(&payloads) {
            kept.extend(records.into_iter().map(|record| (segment, record)));
        }
        if turn == 3 {
            let _ = log.remove(0);
            kept.retain(|(segment, _)| *segment != 0);
        }
    }
    kept.into_iter().map(|(_, record)| record).collect()
}

fn everything() -> Vec<Record> {
    (1..=9).map(record).collect()
}

#[test]
fn what_is_acknowledged_survives_whatever_became_of_the_rest() {
    let mut complete = false;
    for power in 0.. {
        let disk = SimDisk::default();
        disk.0.lock().unwrap().power = Some(power);
        let acknowledged = write_all(&disk);
        for seed in 0..24 {
            let after = disk.after_crash(seed);
            let (mut log, found, _) = open(&after);
            assert!(acknowledged.iter().all(|r| found.contains(r)), "power {power}, seed {seed}");
            assert!(found.iter().all(|r| everything().contains(r)), "power {power}, seed {seed}");
            // And it goes on, in a file of its own, also if it crashes again.
            log.commit(&[record(99).encode()]).unwrap();
            let (_, again, _) = open(&after.after_crash(seed + 1));
            assert!(found.iter().all(|r| again.contains(r)) && again.contains(&record(99)));
        }
        complete = disk.0.lock().unwrap().power != Some(0);
        if complete {
            break;
        }
    }
    assert!(complete);
}

#[test]
fn nothing_is_acknowledged_by_a_file_whose_sync_failed() {
    for failing in 0..5 {
        let disk = SimDisk::default();
        disk.0.lock().unwrap().sync_fails_in = Some(failing);
        let acknowledged = write_all(&disk);
        assert!(acknowledged.len() < everything().len());
        for seed in 0..24 {
            let (_, found, _) = open(&disk.after_crash(seed));
            assert!(acknowledged.iter().all(|r| found.contains(r)), "sync {failing}, seed {seed}");
        }
    }
}

#[test]
fn a_disk_that_is_full_at_any_byte_refuses_and_then_goes_on() {
    let mut complete = false;
    for room in 0.. {
        let disk = SimDisk::default();
        disk.0.lock().unwrap().room = Some(room);
        let mut acknowledged = write_all(&disk);
        complete = disk.0.lock().unwrap().room.take() != Some(0);
        let (mut log, ..) = open(&disk);
        log.commit(&[record(99).encode()]).unwrap();
        acknowledged.push(record(99));
        let (_, found, _) = open(&disk.after_crash(room));
        assert!(acknowledged.iter().all(|r| found.contains(r)), "room {room}");
        if complete {
            break;
        }
    }
    assert!(complete);
}

#[test]
fn a_removed_file_that_comes_back_is_read_and_its_number_not_used_again() {
    let disk = SimDisk::default();
    write_all(&disk);
    assert!(!disk.0.lock().unwrap().removed.is_empty());
    let back = (0..1000).map(|seed| disk.after_crash(seed)).find(|after| open(after).1.contains(&record(1)));
    let (mut log, found, damaged) = open(&back.unwrap());
    assert_eq!((found.len(), damaged), (9, 0));
    // `create` sees to it that no name is given twice.
    log.commit(&[record(99).encode()]).unwrap();
}

#[test]
fn files_of_others_are_left_alone() {
    let disk = SimDisk::default();
    let acknowledged = write_all(&disk);
    let (mut log, ..) = open(&disk);
    let names =
        ["lost+found", "x.log", "1-.log", "-1-ff.log", "000000000000-0000000000000000.log.tmp", "0-zz.log"];
    let written = b"of somebody else".to_vec();
    for name in names {
        let file = SimFile { durable: written.clone(), written: written.clone(), named: true };
        disk.0.lock().unwrap().files.insert(name.to_owned(), file);
    }
    let (_, found, damaged) = open(&disk);
    assert_eq!((found.len(), damaged), (acknowledged.len(), 0));
    for segment in 0..20 {
        log.remove(segment).unwrap();
    }
    assert_eq!(disk.names().unwrap().len(), names.len());
}

/// Where the records stand in their files: name, begin, end, record.
fn places(disk: &SimDisk) -> Vec<(String, usize, usize, Record)> {
    let sim = disk.0.lock().unwrap();
    let mut places = Vec::new();
    for (name, file) in &sim.files {
        let mut at = 0;
        while at < file.durable.len() {
            let length: [u8; 4] = file.durable[at + 8..at + 12].try_into().unwrap();
            let end = at + 16 + usize::try_from(u32::from_le_bytes(length)).unwrap();
            let one = SimDisk::default();
            let bytes = file.durable[at..end].to_vec();
            let part = SimFile { durable: bytes.clone(), written: bytes, named: true };
            one.0.lock().unwrap().files.insert(name.clone(), part);
            let (_, found, damaged) = open(&one);
            assert_eq!((found.len(), damaged), (1, 0));
            places.push((name.clone(), at, end, found[0].clone()));
            at = end;
        }
    }
    places
}

#[test]
fn damage_of_any_kind_harms_only_the_records_it_hit_and_is_counted() {
    let disk = SimDisk::default();
    write_all(&disk);
    let places = places(&disk);
    assert!(places.len() >= 6);
    for seed in 0..1000 {
        let (name, begin, end, _) = &places[random(&[seed]) % places.len()];
        let from = begin + random(&[seed, 1]) % (end - begin);
        let damaged = disk.after_crash(0);
        let hit_end = {
            let mut sim = damaged.0.lock().unwrap();
            sim.files.retain(|name, _| disk.0.lock().unwrap().files.contains_key(name));
            let content = &mut sim.files.get_mut(name).unwrap().written;
            let to = (from + 1 + random(&[seed, 2]) % 300).min(content.len());
            match random(&[seed, 3]) % 4 {
                0 => content[from..to].fill(0),
                1 => content[from..to].iter_mut().for_each(|byte| *byte ^= 0x41),
                2 => {
                    content.drain(from..to);
                }
                _ => {
                    content.splice(from..from, vec![0x4d; to - from]);
                }
            }
            if random(&[seed, 3]) % 4 == 3 { from } else { to }
        };
        let (_, found, count) = open(&damaged);
        for (other, begin, end, record) in &places {
            // A piece put between two records hits neither.
            let hit = other == name && *begin < hit_end.max(from + 1) && from < *end;
            assert!(hit || found.contains(record), "seed {seed}: {name} {from}..{hit_end}, {begin}..{end}");
        }
        let lost = places.len() - found.len();
        assert!(
            lost == 0 || count > 0 || ends_cleanly(&places, name, from),
            "seed {seed}: {lost} lost, not counted"
        );
    }
}

/// Whole records taken out of a file's end leave no trace: no log can tell them from ones that were never written.
fn ends_cleanly(places: &[(String, usize, usize, Record)], name: &str, from: usize) -> bool {
    places.iter().any(|(other, begin, ..)| other == name && *begin == from)
}
