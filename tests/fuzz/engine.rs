//! Runs a target for a while: takes an input that is kept, changes it, and keeps it if it led somewhere new.

use std::any::Any;
use std::collections::HashSet;
use std::fmt::Write;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::mutate::{Mutator, Random};

/// What is fuzzed.
pub struct Target<F> {
    /// Also the folder of its corpus.
    pub name: &'static str,
    /// Inputs to begin with, besides the kept ones.
    pub seeds: Vec<Vec<u8>>,
    /// Words that its inputs are made of.
    pub words: &'static [&'static [u8]],
    /// Longest input, bytes.
    pub longest: usize,
    /// Tries one input; panics if something is wrong, else tells of what kind the outcome was.
    pub run: F,
}

/// No input of the lengths used here takes so long, even in a build without optimisation on a busy machine.
const SLOWEST: Duration = Duration::from_secs(10);
/// What the whole process may take, with all inputs that are kept.
const MEMORY_MAX: usize = 1 << 30;
/// Inputs kept in memory.
const KEPT_MAX: usize = 4096;
/// Inputs written to the corpus are no longer.
const WRITTEN_MAX: usize = 2048;

/// Runs `target` for the time that is set.
pub fn fuzz<F: FnMut(&[u8]) -> u64>(mut target: Target<F>) {
    let seed = setting("FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(target.name));
    let time = Duration::from_secs(setting("FUZZ_SECONDS").unwrap_or(5));
    eprintln!("{}: seed {seed}, {time:?}", target.name);
    let mut kept = [corpus(target.name), std::mem::take(&mut target.seeds)].concat();
    let mut known = HashSet::new();
    let begin = Instant::now();
    for input in &kept {
        known.insert(attempt(&mut target, input, seed));
    }
    let (begun_with, kinds_before) = (kept.len(), known.len());
    if kept.is_empty() {
        kept.push(Vec::new());
    }
    let mut mutator = Mutator { random: Random(seed), words: target.words, longest: target.longest };
    let mut runs = begun_with;
    while begin.elapsed() < time {
        let input = mutator.next(&kept);
        runs += 1;
        if known.insert(attempt(&mut target, &input, seed)) {
            if setting("FUZZ_KEEP").is_some_and(|keep| keep > 0) && input.len() <= WRITTEN_MAX {
                write(target.name, &input);
            }
            if kept.len() < KEPT_MAX {
                kept.push(input);
            }
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = runs as f64 / seconds;
    eprintln!(
        "{}: {runs} runs in {seconds:.0} s, {rate:.0} per second; {begun_with} inputs of {kinds_before} kinds to begin \
         with, {} kinds at the end; {} MiB resident at most",
        target.name,
        known.len(),
        memory() >> 20
    );
}

/// One run. An input that fails is written to the corpus.
fn attempt<F: FnMut(&[u8]) -> u64>(target: &mut Target<F>, input: &[u8], seed: u64) -> u64 {
    let begin = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let slow = begin.elapsed() > SLOWEST;
    match outcome {
        Ok(kind) if !slow && memory() < MEMORY_MAX => kind,
        Ok(_) => {
            let path = write(target.name, input);
            let (time, path) = (begin.elapsed(), path.display());
            panic!("{}: seed {seed}: {time:?} and {} bytes for {path}", target.name, memory())
        }
        Err(panic) => {
            let path = write(target.name, input);
            let (why, path) = (words(&*panic), path.display());
            panic!("{}: seed {seed}: {why} with {path}: {input:02x?}", target.name)
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic")
}

#[allow(clippy::disallowed_methods, reason = "how long and from where: settings of these tests alone")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|value| value.parse().unwrap_or_else(|_| panic!("{name}: not a number: {value}")))
}

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target)
}

/// The kept inputs, in the same order everywhere.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder(target)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn write(target: &str, input: &[u8]) -> PathBuf {
    let folder = folder(target);
    std::fs::create_dir_all(&folder).unwrap();
    let mut name = String::new();
    write!(name, "{:016x}", hash(input)).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, input).unwrap();
    path
}

/// The same for equal values, in every process.
pub fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// How large a number is, roughly: kinds of outcomes must not be as many as numbers.
pub fn size(n: usize) -> u32 {
    n.checked_ilog2().map_or(0, |log| log / 2 + 1)
}

/// The most memory that this process ever had resident, bytes.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap_or_default() << 10
}
