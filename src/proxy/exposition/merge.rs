//! Many bodies as one exposition: which families there are, of which type, and from where their series come.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::model::{Body, Family};
use super::parse::Kind;
use super::write::{Cursor, Tail};

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`
    Text,
    /// `application/openmetrics-text; version=1.0.0`
    OpenMetrics {
        /// With `_created` series: when the counting began.
        start: bool,
    },
}

impl Format {
    /// Prometheus 3 refuses a body without it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics { .. } => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A body that is shown.
#[derive(Clone, Debug)]
pub struct Exposed {
    /// The series.
    pub body: Arc<Body>,
    /// When they were taken, milliseconds since 1970. No time is written without it.
    pub taken_ms: Option<i64>,
    /// When counting began at the latest, seconds since 1970.
    pub since: f64,
    /// Whether no other body can have the same series.
    pub identified: bool,
}

/// What a merge found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Series written.
    pub series: u64,
    /// Families about whose type the bodies disagree.
    pub conflicts: u64,
    /// Series left out because a newer body has them.
    pub duplicates: u64,
}

/// A family of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holder {
    /// In [`Merge::bodies`].
    pub(super) body: u32,
    /// In its families.
    pub(super) place: u32,
}

/// Where the series of a written family come from.
#[derive(Debug)]
pub(super) struct Source {
    /// Who has a family of the bodies, in [`Merge::holders`].
    pub(super) holders: Range<usize>,
    /// Only the series that are named as the written family.
    pub(super) in_part: bool,
}

/// A family as it is written.
#[derive(Debug)]
pub(super) struct Out {
    /// Name of text 0.0.4.
    pub(super) name: Box<str>,
    pub(super) kind: Kind,
    pub(super) help: Box<str>,
    pub(super) sources: Vec<Source>,
}

/// One exposition, written piece by piece: its memory grows with the number of bodies and of their families, 8 bytes
/// for each family of each body, not with what is written. Its work grows with what there is: a body costs nothing
/// where a family is written that it does not have.
pub struct Merge {
    pub(super) format: Format,
    pub(super) bodies: Vec<Exposed>,
    /// Of each body.
    pub(super) tails: Vec<Tail>,
    /// Each family of each body, those of one name together, the first body first.
    pub(super) holders: Box<[Holder]>,
    pub(super) outs: Vec<Out>,
    pub(super) cursor: Cursor,
    pub(super) counts: Counts,
    /// Series of bodies without identity that the present family has already.
    pub(super) seen: HashSet<u64>,
    pub(super) check_seen: bool,
}

impl Merge {
    /// Decides about every family.
    pub fn new(mut bodies: Vec<Exposed>, format: Format) -> Self {
        // The newest first: of the same series of bodies without identity the first is written.
        bodies.sort_by_key(|b| (b.identified, std::cmp::Reverse(b.taken_ms)));
        let (tallies, holders) = tally(&bodies);
        let (split, conflicts) = split(&tallies, format);
        let outs = outs(&tallies, &split, format);
        let check_seen = bodies.iter().filter(|b| !b.identified).count() > 1;
        Self {
            format,
            cursor: Cursor::default(),
            tails: bodies.iter().map(|body| Tail::new(body, format)).collect(),
            bodies,
            holders,
            outs,
            counts: Counts { conflicts, ..Counts::default() },
            seen: HashSet::new(),
            check_seen,
        }
    }

    /// What was found so far; complete when all is written.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

/// What the bodies say about a family.
struct Tally<'a> {
    name: &'a str,
    kinds: BTreeMap<Kind, usize>,
    helps: BTreeMap<&'a str, usize>,
    strict: bool,
    /// Who has it.
    holders: Range<usize>,
}

impl<'a> Tally<'a> {
    fn new(name: &'a str, from: usize) -> Self {
        Self { name, kinds: BTreeMap::new(), helps: BTreeMap::new(), strict: true, holders: from..from }
    }

    fn add(&mut self, shared: &Shared<'a>) {
        *self.kinds.entry(shared.family.kind()).or_default() += shared.bodies;
        *self.helps.entry(shared.family.help()).or_default() += shared.bodies;
        self.strict &= shared.family.strict();
    }

    /// The type that most bodies have.
    fn kind(&self) -> Option<Kind> {
        most(&self.kinds).copied()
    }

    /// Whether series of a histogram or a summary are among it.
    fn is_compound(&self) -> bool {
        self.kinds.keys().any(|kind| kind.is_compound())
    }

    /// Of its series, each a family if it is split.
    fn names(&self) -> BTreeSet<String> {
        let suffixes = self.kinds.keys().flat_map(|kind| kind.suffixes());
        suffixes.map(|suffix| format!("{}{suffix}", self.name)).collect()
    }
}

fn most<K: Ord>(of: &BTreeMap<K, usize>) -> Option<&K> {
    // Of equally many the first in order.
    of.iter().rev().max_by_key(|(_, count)| **count).map(|(key, _)| key)
}

/// A family that many bodies have alike.
struct Shared<'a> {
    family: &'a Family,
    bodies: usize,
    /// Place of its name.
    tally: usize,
}

/// What all bodies say, in the order of names, and who has each family.
fn tally(bodies: &[Exposed]) -> (Vec<Tally<'_>>, Box<[Holder]>) {
    // Most bodies share their families: each of these is looked at once.
    let mut shared: HashMap<*const Family, Shared<'_>> = HashMap::new();
    for (family, _) in bodies.iter().flat_map(|b| &b.body.families) {
        shared.entry(Arc::as_ptr(family)).or_insert(Shared { family, bodies: 0, tally: 0 }).bodies += 1;
    }
    let mut by_name: Vec<&mut Shared<'_>> = shared.values_mut().collect();
    by_name.sort_unstable_by_key(|shared| shared.family.name());
    let (mut tallies, mut from) = (Vec::new(), 0);
    for alike in by_name.chunk_by_mut(|a, b| a.family.name() == b.family.name()) {
        let Some(first) = alike.first() else { continue };
        let mut tally = Tally::new(first.family.name(), from);
        for shared in alike {
            shared.tally = tallies.len();
            tally.add(shared);
            from += shared.bodies;
        }
        tallies.push(tally);
    }
    let holders = holders(bodies, &shared, &mut tallies, from);
    (tallies, holders)
}

/// Puts every family of every body where its tally begins, one behind the other.
fn holders(
    bodies: &[Exposed],
    shared: &HashMap<*const Family, Shared<'_>>,
    tallies: &mut [Tally<'_>],
    all: usize,
) -> Box<[Holder]> {
    let mut holders = vec![Holder::default(); all];
    for (body, exposed) in (0..).zip(bodies) {
        for (place, (family, _)) in (0..).zip(&exposed.body.families) {
            let tally = shared.get(&Arc::as_ptr(family)).and_then(|shared| tallies.get_mut(shared.tally));
            let Some(tally) = tally else { continue };
            if let Some(holder) = holders.get_mut(tally.holders.end) {
                *holder = Holder { body, place };
            }
            tally.holders.end += 1;
        }
    }
    holders.into()
}

/// Families that are written as untyped, a family for each series name; and how many are in conflict.
fn split<'a>(tallies: &[Tally<'a>], format: Format) -> (BTreeSet<&'a str>, u64) {
    let openmetrics = format != Format::Text;
    let (mut split, mut conflicts) = (BTreeSet::new(), BTreeSet::new());
    for tally in tallies {
        if tally.kinds.keys().filter(|kind| **kind != Kind::Untyped).count() > 1 {
            conflicts.insert(tally.name);
        }
        if (tally.is_compound() && tally.kinds.len() > 1) || (openmetrics && !tally.strict) {
            split.insert(tally.name);
        }
    }
    let mut taken: HashSet<Cow<'_, str>> = HashSet::new();
    for tally in tallies {
        if split.contains(tally.name) {
            taken.extend(tally.names().into_iter().map(Cow::Owned));
        } else {
            taken.insert(written_name(tally.name, tally.kind(), openmetrics).into());
        }
    }
    // A name that becomes a family of its own may make another family give way, and that one a third. Once through is
    // enough: the names of a family that is split begin with its own, so they come later in this order, and no other
    // family reserves them.
    let mut parts: HashSet<String> = HashSet::new();
    for tally in tallies {
        if !split.contains(tally.name) && clashes(tally, tallies, &taken, &parts, openmetrics) {
            conflicts.insert(tally.name);
            split.insert(tally.name);
        }
        if split.contains(tally.name) {
            parts.extend(tally.names());
        }
    }
    (split, conflicts.len() as u64)
}

/// Whether names of its series are taken. `parts` are the families that came of those that are split.
fn clashes(
    tally: &Tally<'_>,
    tallies: &[Tally<'_>],
    taken: &HashSet<Cow<'_, str>>,
    parts: &HashSet<String>,
    openmetrics: bool,
) -> bool {
    let kind = tally.kind();
    let written = written_name(tally.name, kind, openmetrics);
    reserved(written, kind, openmetrics).iter().any(|name| taken.contains(name.as_str()))
        // An untyped family of this name has no room for the series of a histogram.
        || (tally.is_compound() && parts.contains(tally.name))
        || (openmetrics
            && kind == Some(Kind::Counter)
            && tallies.binary_search_by(|other| other.name.cmp(written)).is_ok())
}

/// The name in the family's TYPE line.
pub(super) fn written_name(name: &str, kind: Option<Kind>, openmetrics: bool) -> &str {
    match kind {
        Some(Kind::Counter) if openmetrics => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    }
}

/// Names that no other family may have beside one that is written as `base`.
fn reserved(base: &str, kind: Option<Kind>, openmetrics: bool) -> Vec<String> {
    let suffixes: &[&str] = match kind {
        Some(Kind::Histogram | Kind::Summary) if openmetrics => &["_bucket", "_count", "_sum", "_created"],
        Some(Kind::Histogram | Kind::Summary) => &["_bucket", "_count", "_sum"],
        Some(Kind::Counter) if openmetrics => &["_total", "_created"],
        _ => &[],
    };
    suffixes.iter().map(|suffix| format!("{base}{suffix}")).collect()
}

fn outs(tallies: &[Tally<'_>], split: &BTreeSet<&str>, format: Format) -> Vec<Out> {
    let mut outs: BTreeMap<String, Out> = BTreeMap::new();
    let mut add = |name: String, kind: Kind, help: &str, source: Source| {
        let out = outs.entry(name).or_insert_with_key(|name| Out::new(name, kind, help));
        out.sources.push(source);
    };
    for tally in tallies {
        let help = most(&tally.helps).copied().unwrap_or_default();
        let kind = tally.kind().unwrap_or(Kind::Untyped);
        if !split.contains(tally.name) {
            let source = Source { holders: tally.holders.clone(), in_part: false };
            add(tally.name.to_owned(), kind, help, source);
            continue;
        }
        for name in tally.names() {
            // To text 0.0.4 a counter stays one whatever its name.
            let kind = if format == Format::Text && !kind.is_compound() { kind } else { Kind::Untyped };
            add(name, kind, help, Source { holders: tally.holders.clone(), in_part: true });
        }
    }
    outs.into_values().collect()
}

impl Out {
    fn new(name: &str, kind: Kind, help: &str) -> Self {
        Self { name: name.into(), kind, help: help.into(), sources: Vec::new() }
    }
}

impl Body {
    /// The body as text 0.0.4 without times, from which the same body is built again.
    pub fn to_text(self: &Arc<Self>) -> String {
        let alone = Exposed { body: self.clone(), taken_ms: None, since: 0.0, identified: true };
        let mut merge = Merge::new(vec![alone], Format::Text);
        let mut out = Vec::new();
        while merge.write(&mut out, usize::MAX) {}
        String::from_utf8(out).unwrap_or_default()
    }
}
