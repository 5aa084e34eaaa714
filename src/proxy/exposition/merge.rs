//! Many bodies as one exposition: which families there are, of which type, and from where their series come.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
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

/// Where the series of a written family come from.
#[derive(Debug)]
pub(super) struct Source {
    /// Family of the bodies.
    pub(super) family: Arc<str>,
    /// Only the series of this name.
    pub(super) only: Option<Arc<str>>,
}

/// A family as it is written.
#[derive(Debug)]
pub(super) struct Out {
    /// Name of text 0.0.4.
    pub(super) name: Arc<str>,
    pub(super) kind: Kind,
    pub(super) help: Box<str>,
    pub(super) sources: Vec<Source>,
}

/// One exposition, written piece by piece: its memory grows with the number of families and of bodies, not with what
/// is written.
pub struct Merge {
    pub(super) format: Format,
    pub(super) bodies: Vec<Exposed>,
    /// Of each body.
    pub(super) tails: Vec<Tail>,
    pub(super) outs: Vec<Out>,
    pub(super) cursor: Cursor,
    pub(super) counts: Counts,
    /// Series of bodies without identity that the present family has already.
    pub(super) seen: HashSet<u64>,
    pub(super) check_seen: bool,
}

/// What the bodies say about a family.
#[derive(Default)]
struct Tally {
    kinds: BTreeMap<Kind, usize>,
    helps: BTreeMap<Box<str>, usize>,
    strict: bool,
    names: BTreeSet<Box<str>>,
}

impl Merge {
    /// Decides about every family.
    pub fn new(mut bodies: Vec<Exposed>, format: Format) -> Self {
        // The newest first: of the same series of bodies without identity the first is written.
        bodies.sort_by_key(|b| (b.identified, std::cmp::Reverse(b.taken_ms)));
        let tallies = tally(&bodies);
        let (split, conflicts) = split(&tallies, format);
        let outs = outs(&tallies, &split, format);
        let check_seen = bodies.iter().filter(|b| !b.identified).count() > 1;
        Self {
            format,
            cursor: Cursor::new(bodies.len()),
            tails: bodies.iter().map(|body| Tail::new(body, format)).collect(),
            bodies,
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

fn tally(bodies: &[Exposed]) -> BTreeMap<Arc<str>, Tally> {
    // Most bodies share their families: count those first.
    let mut shared: HashMap<*const Family, (&Family, usize)> = HashMap::new();
    for (family, _) in bodies.iter().flat_map(|b| &b.body.families) {
        shared.entry(Arc::as_ptr(family)).or_insert((family, 0)).1 += 1;
    }
    let mut tallies: BTreeMap<Arc<str>, Tally> = BTreeMap::new();
    for (family, bodies) in shared.into_values() {
        let tally = match tallies.get_mut(family.name()) {
            Some(tally) => tally,
            None => tallies.entry(family.name().into()).or_insert(Tally { strict: true, ..Tally::default() }),
        };
        *tally.kinds.entry(family.kind()).or_default() += bodies;
        *tally.helps.entry(family.help().into()).or_default() += bodies;
        tally.strict &= family.strict();
        if family.kind().is_compound() {
            for suffix in family.kind().suffixes() {
                tally.names.insert(format!("{}{suffix}", family.name()).into());
            }
        } else {
            tally.names.insert(family.name().into());
        }
    }
    tallies
}

fn most<K: Ord + Clone>(of: &BTreeMap<K, usize>) -> Option<K> {
    // Of equally many the first in order.
    of.iter().rev().max_by_key(|(_, count)| **count).map(|(key, _)| key.clone())
}

/// Families that are written as untyped, a family for each series name; and how many are in conflict.
fn split(tallies: &BTreeMap<Arc<str>, Tally>, format: Format) -> (BTreeSet<Arc<str>>, u64) {
    let openmetrics = format != Format::Text;
    let known = |t: &Tally| t.kinds.keys().filter(|k| **k != Kind::Untyped).count();
    let mut conflicts: BTreeSet<Arc<str>> =
        tallies.iter().filter(|(_, t)| known(t) > 1).map(|(name, _)| name.clone()).collect();
    let mut split: BTreeSet<Arc<str>> = BTreeSet::new();
    for (name, tally) in tallies {
        let compound = tally.kinds.keys().any(|k| k.is_compound());
        if (compound && tally.kinds.len() > 1) || (openmetrics && !tally.strict) {
            split.insert(name.clone());
        }
    }
    // A name that becomes a family of its own may make another family give way.
    loop {
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        for (name, tally) in tallies {
            if split.contains(name) {
                taken.extend(tally.names.iter().map(|n| &**n));
            } else {
                taken.insert(written_name(name, most(&tally.kinds), openmetrics));
            }
        }
        let clashes = |name: &Arc<str>, tally: &Tally| {
            let kind = most(&tally.kinds);
            reserved(name, kind, openmetrics).iter().any(|r| taken.contains(r.as_str()))
                || (openmetrics
                    && kind == Some(Kind::Counter)
                    && tallies.contains_key(written_name(name, kind, true)))
        };
        let more: Vec<Arc<str>> = tallies
            .iter()
            .filter(|(name, tally)| !split.contains(*name) && clashes(name, tally))
            .map(|(name, _)| name.clone())
            .collect();
        if more.is_empty() {
            break;
        }
        conflicts.extend(more.iter().cloned());
        split.extend(more);
    }
    (split, conflicts.len() as u64)
}

/// The name in the family's TYPE line.
pub(super) fn written_name(name: &str, kind: Option<Kind>, openmetrics: bool) -> &str {
    match kind {
        Some(Kind::Counter) if openmetrics => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    }
}

/// Names that no other family may have.
fn reserved(name: &str, kind: Option<Kind>, openmetrics: bool) -> Vec<String> {
    let suffixes: &[&str] = match kind {
        Some(Kind::Histogram | Kind::Summary) if openmetrics => &["_bucket", "_count", "_sum", "_created"],
        Some(Kind::Histogram | Kind::Summary) => &["_bucket", "_count", "_sum"],
        Some(Kind::Counter) if openmetrics => &["_total", "_created"],
        _ => &[],
    };
    let base = written_name(name, kind, openmetrics);
    suffixes.iter().map(|suffix| format!("{base}{suffix}")).collect()
}

fn outs(tallies: &BTreeMap<Arc<str>, Tally>, split: &BTreeSet<Arc<str>>, format: Format) -> Vec<Out> {
    let mut outs: BTreeMap<Arc<str>, Out> = BTreeMap::new();
    for (name, tally) in tallies {
        let help = most(&tally.helps).unwrap_or_default();
        let kind = most(&tally.kinds).unwrap_or(Kind::Untyped);
        if !split.contains(name) {
            let out = outs.entry(name.clone()).or_insert_with(|| Out::new(name.clone(), kind, help));
            out.sources.push(Source { family: name.clone(), only: None });
            continue;
        }
        for sample in &tally.names {
            let sample: Arc<str> = (**sample).into();
            // To text 0.0.4 a counter stays one whatever its name.
            let kind = if format == Format::Text && !kind.is_compound() { kind } else { Kind::Untyped };
            let out =
                outs.entry(sample.clone()).or_insert_with(|| Out::new(sample.clone(), kind, help.clone()));
            out.sources.push(Source { family: name.clone(), only: Some(sample) });
        }
    }
    outs.into_values().collect()
}

impl Out {
    fn new(name: Arc<str>, kind: Kind, help: Box<str>) -> Self {
        Self { name, kind, help, sources: Vec::new() }
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
