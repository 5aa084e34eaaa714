//! The store on a disk that crashes, fills up and lies.

mod clock;
mod crashes;
mod filters;
mod groups;
mod room;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use jiff::Timestamp;

use super::disk::{Append, Disk};
use super::log::{self, Log, Note, Packed};
use super::*;
use crate::proxy::exposition::identity::group_labels;
use crate::proxy::exposition::{Format, Merge};
use crate::proxy::intake::{Body, Door, Intake, IntakeError, Pushed};

#[derive(Default)]
struct SimFile {
    durable: Vec<u8>,
    /// Written and not synced.
    pending: Vec<u8>,
}

#[derive(Default)]
pub struct Sim {
    files: BTreeMap<String, SimFile>,
    /// Bytes and syncs until the power fails, if it does.
    power: Option<usize>,
    /// Bytes until the disk is full, if it gets full.
    room: Option<usize>,
    syncs: usize,
}

#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<Sim>>);

struct SimAppend(SimDisk, String);

fn no_power() -> io::Error {
    io::Error::other("no power")
}

impl Disk for SimDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().files.keys().cloned().collect())
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let sim = self.0.lock().unwrap();
        let file = sim.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok([file.durable.clone(), file.pending.clone()].concat())
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn Append>> {
        let mut sim = self.0.lock().unwrap();
        if sim.power == Some(0) {
            return Err(no_power());
        }
        sim.files.insert(name.to_owned(), SimFile::default());
        Ok(Box::new(SimAppend(self.clone(), name.to_owned())))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        let mut sim = self.0.lock().unwrap();
        if sim.power == Some(0) {
            return Err(no_power());
        }
        sim.files.remove(name);
        Ok(())
    }
}

impl Append for SimAppend {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut sim = self.0.0.lock().unwrap();
        let room = sim.room.unwrap_or(usize::MAX).min(sim.power.unwrap_or(usize::MAX)).min(bytes.len());
        let file = sim.files.get_mut(&self.1).ok_or(io::ErrorKind::NotFound)?;
        file.pending.extend_from_slice(&bytes[..room]);
        sim.room = sim.room.map(|left| left - room);
        sim.power = sim.power.map(|left| left - room);
        if room < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
    fn sync(&mut self) -> io::Result<()> {
        let mut sim = self.0.0.lock().unwrap();
        if sim.power == Some(0) {
            return Err(no_power());
        }
        sim.power = sim.power.map(|left| left - 1);
        sim.syncs += 1;
        let file = sim.files.get_mut(&self.1).ok_or(io::ErrorKind::NotFound)?;
        file.durable.append(&mut file.pending);
        Ok(())
    }
}

impl SimDisk {
    fn with_power(power: usize) -> Self {
        let disk = Self::default();
        disk.0.lock().unwrap().power = Some(power);
        disk
    }

    /// What is left after the power came back; `torn` says what became of bytes that were not synced.
    fn after_crash(&self, torn: Torn) -> Self {
        let mut sim = Sim::default();
        for (name, file) in &self.0.lock().unwrap().files {
            let durable = [file.durable.clone(), torn(&file.pending)].concat();
            sim.files.insert(name.clone(), SimFile { durable, pending: Vec::new() });
        }
        Self(Arc::new(Mutex::new(sim)))
    }
}

/// A body on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    note: Note,
    text: Vec<u8>,
}

impl Record {
    fn encode(&self) -> Vec<u8> {
        log::encode(&self.note, &log::pack(&self.text))
    }
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

/// What is left of bytes that were not synced.
type Torn = fn(&[u8]) -> Vec<u8>;

/// Groups of records, three files; returns those that were acknowledged.
fn write_all(disk: &SimDisk) -> Vec<Record> {
    let Ok((mut log, _)) = Log::open(Arc::new(disk.clone()), 400) else { return Vec::new() };
    let mut acknowledged = Vec::new();
    for group in [&[1, 2][..], &[3], &[4, 5, 6], &[7]] {
        let records: Vec<Record> = group.iter().map(|i| record(*i)).collect();
        let payloads: Vec<_> = records.iter().map(Record::encode).collect();
        if log.commit(&payloads).is_ok() {
            acknowledged.extend(records);
        }
    }
    acknowledged
}

/// The records of all files, and the damaged places.
fn found<D: Disk + Clone>(disk: &D) -> (Vec<Record>, usize) {
    let (_, files) = Log::open(Arc::new(disk.clone()), 400).unwrap();
    let (mut records, mut damaged) = (Vec::new(), 0);
    for file in files {
        let content = file.read().unwrap();
        let scan = file.scan(&content);
        damaged += scan.damaged;
        for packed in scan.payloads.into_iter().map(Packed::decode) {
            let packed = packed.unwrap();
            let text = packed.text().unwrap();
            records.push(Record { note: packed.note, text });
        }
    }
    (records, damaged)
}

#[test]
fn what_is_acknowledged_survives_a_crash_at_every_byte() {
    let torn: [Torn; 4] = [
        |_| Vec::new(),
        <[u8]>::to_vec,
        |pending| pending[..pending.len() / 2].to_vec(),
        // Its beginning was not written, its end was.
        |pending| {
            pending.iter().enumerate().map(|(i, b)| if i < pending.len() / 2 { 0 } else { *b }).collect()
        },
    ];
    let everything: Vec<Record> = (1..=7).map(record).collect();
    let mut complete = false;
    for power in 0.. {
        let disk = SimDisk::with_power(power);
        let acknowledged = write_all(&disk);
        for torn in torn {
            let after = disk.after_crash(torn);
            let (mut log, _) = Log::open(Arc::new(after.clone()), 400).unwrap();
            let records = found(&after).0;
            assert!(acknowledged.iter().all(|r| records.contains(r)), "power {power}");
            assert!(records.iter().all(|r| everything.contains(r)), "power {power}");
            // And it goes on.
            log.commit(&[record(9).encode()]).unwrap();
            assert_eq!(found(&after).0.len(), records.len() + 1);
        }
        complete = acknowledged.len() == everything.len();
        if complete {
            break;
        }
    }
    assert!(complete);
}

#[test]
fn damage_harms_only_the_record_it_hit() {
    let disk = SimDisk::default();
    let everything = write_all(&disk);
    let names: Vec<_> = disk.0.lock().unwrap().files.keys().cloned().collect();
    assert!(names.len() > 1);
    for name in names {
        let length = disk.0.lock().unwrap().files[&name].durable.len();
        for at in 0..length {
            disk.0.lock().unwrap().files.get_mut(&name).unwrap().durable[at] ^= 0x41;
            let (records, damaged) = found(&disk);
            assert_eq!((records.len(), damaged), (everything.len() - 1, 1), "{name} {at}");
            disk.0.lock().unwrap().files.get_mut(&name).unwrap().durable[at] ^= 0x41;
        }
    }
}

#[test]
fn a_full_disk_is_an_error_and_leaves_no_files_behind() {
    let disk = SimDisk::default();
    let (mut log, _) = Log::open(Arc::new(disk.clone()), 400).unwrap();
    log.commit(&[record(1).encode()]).unwrap();
    disk.0.lock().unwrap().room = Some(30);
    for i in 2..9 {
        log.commit(&[record(i).encode()]).unwrap_err();
    }
    assert_eq!(found(&disk).0, [record(1)]);
    assert!(disk.0.lock().unwrap().files.len() <= 2);
    disk.0.lock().unwrap().room = None;
    log.commit(&[record(9).encode()]).unwrap();
    assert_eq!(found(&disk).0, [record(1), record(9)]);
}

const NOW: i64 = 1_800_000_000_000;

fn open(disk: &SimDisk) -> Arc<Store> {
    let clock: Clock = Arc::new(|| Timestamp::from_millisecond(NOW).unwrap());
    Store::open(Arc::new(disk.clone()), Settings::default(), clock).unwrap()
}

fn origin(id: u64, door: Door) -> Origin {
    let since = Timestamp::from_millisecond(NOW - 1000).unwrap();
    Origin { id, door, peer: SocketAddr::from(([10, 0, 0, 1], 4000)), since }
}

fn body(id: u64, age_ms: i64, text: &str) -> Body {
    let taken_at = Timestamp::from_millisecond(NOW - age_ms).unwrap();
    Body { origin: origin(id, Door::Tcp), taken_at, text: text.to_owned() }
}

fn run(execution: &str, series: &str) -> String {
    let labels = format!("task_execution_id=\"{execution}\",task_external_execution_id=\"p\"");
    let lines: Vec<_> = series.split(' ').map(|name| format!("{name}{{{labels}}} 1\n")).collect();
    lines.concat()
}

fn push(execution: &str, text: &str, replace: bool) -> Push {
    let group = [("job", "t"), ("task_execution_id", execution), ("task_external_execution_id", "p")];
    let group: Vec<_> = group.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let at = Timestamp::from_millisecond(NOW).unwrap();
    Push { origin: origin(99, Door::Push), at, group: group_labels(&group), text: text.into(), replace }
}

impl Store {
    /// Reads and keeps a request of the push door.
    async fn pushed(self: &Arc<Self>, push: Push) -> Result<Pushed, IntakeError> {
        self.push(self.read_push(push)?).await
    }

    /// Reads and keeps a final body.
    async fn finished(self: &Arc<Self>, body: Body) -> Result<Pushed, IntakeError> {
        self.final_push(self.read(body)?).await
    }
}

fn exposition(store: &Store) -> String {
    let mut merge = Merge::new(store.exposed().0, Format::Text);
    let mut out = Vec::new();
    while merge.write(&mut out, 1000) {}
    String::from_utf8(out).unwrap()
}

/// Names of the series that are shown.
fn shown(store: &Store) -> Vec<String> {
    exposition(store)
        .lines()
        .filter(|l| !l.starts_with('#'))
        .map(|l| l.split('{').next().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_final_push_is_shown_again_after_a_restart() {
    let disk = SimDisk::default();
    let store = open(&disk);
    store.connected(origin(1, Door::Tcp));
    store.live_body(body(1, 500, &run("1", "a")));
    assert_eq!(shown(&store), ["a"]);
    store.finished(body(1, 100, &run("1", "a b"))).await.unwrap();
    store.closed(origin(1, Door::Tcp), Timestamp::UNIX_EPOCH).await;
    assert_eq!(shown(&store), ["a", "b"]);
    let again = open(&disk.after_crash(|_| Vec::new()));
    assert_eq!(shown(&again), ["a", "b"]);
    let facts = again.attempts("1");
    assert_eq!((facts.len(), facts[0].series, facts[0].snapshot_only), (1, 2, false));
    assert!(facts[0].final_push.is_some());
}

#[tokio::test]
async fn a_connection_that_dies_leaves_its_last_body() {
    let disk = SimDisk::default();
    let store = open(&disk);
    store.connected(origin(1, Door::Tcp));
    store.live_body(body(1, 500, &run("1", "a b")));
    store.live_body(body(1, 400, "not a metric"));
    store.closed(origin(1, Door::Tcp), Timestamp::UNIX_EPOCH).await;
    let again = open(&disk.after_crash(|_| Vec::new()));
    assert_eq!(shown(&again), ["a", "b"]);
    assert!(again.attempts("1")[0].snapshot_only);
}

#[tokio::test]
async fn a_failing_disk_refuses_pushes_and_keeps_snapshots() {
    let disk = SimDisk::default();
    let store = open(&disk);
    store.finished(body(1, 100, &run("1", "a"))).await.unwrap();
    disk.0.lock().unwrap().room = Some(10);
    assert!(matches!(store.finished(body(2, 100, &run("2", "b"))).await, Err(IntakeError::Store(_))));
    store.connected(origin(3, Door::Tcp));
    store.live_body(body(3, 100, &run("3", "c")));
    store.closed(origin(3, Door::Tcp), Timestamp::UNIX_EPOCH).await;
    assert_eq!(shown(&store), ["a", "c"]);
    assert_eq!(shown(&open(&disk.after_crash(|_| Vec::new()))), ["a"]);
}

#[tokio::test]
async fn an_empty_or_invalid_push_replaces_nothing() {
    let store = open(&SimDisk::default());
    store.pushed(push("1", "a 1\n", true)).await.unwrap();
    store.pushed(push("1", "", true)).await.unwrap();
    store.pushed(push("1", "# TYPE a gauge\n", false)).await.unwrap();
    assert!(matches!(store.pushed(push("1", "}{", true)).await, Err(IntakeError::Invalid(_))));
    store.end(push("1", "", true).group);
    assert_eq!(shown(&store), ["a"]);
    assert!(store.attempts("1")[0].deleted);
}

#[tokio::test]
async fn a_post_adds_families_and_a_put_replaces_all() {
    let disk = SimDisk::default();
    let store = open(&disk);
    store.pushed(push("1", "a 1\nb 1\n", false)).await.unwrap();
    store.pushed(push("1", "b 2\nc 2\n", false)).await.unwrap();
    assert_eq!(shown(&store), ["a", "b", "c"]);
    assert_eq!(shown(&open(&disk.after_crash(|_| Vec::new()))), ["a", "b", "c"]);
    store.pushed(push("1", "b 3\n", true)).await.unwrap();
    assert_eq!(shown(&store), ["b"]);
    store.end(push("1", "", true).group);
    store.pushed(push("1", "c 4\n", false)).await.unwrap();
    assert_eq!(shown(&store), ["c"]);
}

#[tokio::test]
async fn a_run_that_comes_through_both_doors_is_one() {
    let store = open(&SimDisk::default());
    store.connected(origin(1, Door::Tcp));
    store.live_body(body(1, 500, &run("1", "a b")));
    store.pushed(push("1", "a 1\n", true)).await.unwrap();
    assert_eq!(shown(&store), ["a"]);
    assert_eq!(store.attempts("1").len(), 1);
    // Two applications without identity are two.
    for id in [5, 6] {
        store.connected(origin(id, Door::Tcp));
        store.live_body(body(id, 10, &format!("x{{i=\"{id}\"}} 1\n")));
    }
    assert_eq!(shown(&store), ["a", "x", "x"]);
}

#[tokio::test]
async fn services_that_tell_no_pod_are_not_taken_for_each_other() {
    let store = open(&SimDisk::default());
    for (id, application) in [(1, "orders-2"), (2, "billing-2")] {
        store.connected(origin(id, Door::Tcp));
        store.live_body(body(id, 500, &format!("a{{application=\"{application}\"}} 1\n")));
    }
    assert_eq!(shown(&store), ["a", "a"]);
    assert_eq!(store.attempts("2").len(), 2);
    // Who agrees even in that is the same, and the newest body is shown.
    store.connected(origin(3, Door::Tcp));
    store.live_body(body(3, 100, "b{application=\"orders-2\"} 1\n"));
    assert_eq!(shown(&store), ["a", "b"]);
}

#[tokio::test]
async fn pushes_of_different_runs_share_a_sync() {
    let disk = SimDisk::default();
    let store = open(&disk);
    let pushes = (0..50).map(|i| {
        let (store, push) = (store.clone(), push(&i.to_string(), "a 1\n", false));
        async move { store.pushed(push).await }
    });
    let mut pushes = Box::pin(futures::future::join_all(pushes));
    // The first one that is written waits here, until all are on their way.
    let held = disk.0.lock().unwrap();
    assert!((&mut pushes).now_or_never().is_none());
    drop(held);
    assert!(pushes.await.iter().all(|pushed| *pushed == Ok(Pushed::Stored)));
    assert_eq!(shown(&store).len(), 50);
    let syncs = disk.0.lock().unwrap().syncs;
    assert!(syncs <= 2, "{syncs} syncs for 50 pushes");
}

#[tokio::test]
async fn posts_to_one_group_miss_nothing_of_each_other() {
    let store = open(&SimDisk::default());
    let pushes = (0..20).map(|i| {
        let (store, push) = (store.clone(), push("1", &format!("a{i:02} 1\n"), false));
        async move { store.pushed(push).await }
    });
    futures::future::join_all(pushes).await;
    assert_eq!(shown(&store).len(), 20);
}

#[tokio::test]
async fn a_post_keeps_the_labels_of_what_was_there() {
    let disk = SimDisk::default();
    let store = open(&disk);
    store.pushed(push("1", "a{x=\"1\"} 1\n", false)).await.unwrap();
    store.pushed(push("1", "b{y=\"2\"} 1\n", false)).await.unwrap();
    for store in [&store, &open(&disk.after_crash(|_| Vec::new()))] {
        let text = exposition(store);
        let line = |name: &str| text.lines().find(|l| l.starts_with(name)).unwrap_or_default().to_owned();
        assert!(line("a{").contains("x=\"1\"") && !line("a{").contains("y="), "{text}");
        assert!(line("b{").contains("y=\"2\"") && !line("b{").contains("x="), "{text}");
    }
}

#[tokio::test]
async fn an_application_that_pushed_and_lived_on_leaves_its_newest_body() {
    let store = open(&SimDisk::default());
    store.connected(origin(1, Door::Tcp));
    store.finished(body(1, 500, &run("1", "a"))).await.unwrap();
    store.live_body(body(1, 100, &run("1", "a b")));
    store.closed(origin(1, Door::Tcp), Timestamp::UNIX_EPOCH).await;
    assert_eq!(shown(&store), ["a", "b"]);
    // A body that was taken before the push is not newer.
    store.connected(origin(2, Door::Tcp));
    store.live_body(body(2, 100, &run("2", "c d")));
    store.finished(body(2, 50, &run("2", "c"))).await.unwrap();
    store.closed(origin(2, Door::Tcp), Timestamp::UNIX_EPOCH).await;
    assert_eq!(shown(&store), ["a", "b", "c"]);
}
