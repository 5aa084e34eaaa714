//! What was measured, against what is wanted.

use std::path::Path;

use serde_json::{Value, json};

/// What is wanted of a figure: first what must be, then what is aimed at.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// It only tells more about the others.
    Nothing,
    /// Not more.
    AtMost(f64, f64),
    /// Not less.
    AtLeast(f64, f64),
}

/// One row.
#[derive(Clone, Debug)]
pub struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    wanted: Wanted,
}

impl Figure {
    /// A row with a wish.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str, wanted: Wanted) -> Self {
        Self { name: name.into(), value, unit, wanted }
    }

    /// A row without.
    pub fn note(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self::new(name, value, unit, Wanted::Nothing)
    }

    /// `aim`, `must` or `no`: the best that it meets.
    fn met(&self) -> Option<&'static str> {
        let met = |reaches: &dyn Fn(f64) -> bool, must, aim| match (reaches(aim), reaches(must)) {
            (true, _) => "aim",
            (false, true) => "must",
            (false, false) => "no",
        };
        match self.wanted {
            Wanted::Nothing => None,
            Wanted::AtMost(must, aim) => Some(met(&|limit| self.value <= limit, must, aim)),
            Wanted::AtLeast(must, aim) => Some(met(&|limit| self.value >= limit, must, aim)),
        }
    }

    fn limits(&self) -> Option<(String, String)> {
        match self.wanted {
            Wanted::Nothing => None,
            Wanted::AtMost(must, aim) => Some((format!("≤ {}", short(must)), format!("≤ {}", short(aim)))),
            Wanted::AtLeast(must, aim) => Some((format!("≥ {}", short(must)), format!("≥ {}", short(aim)))),
        }
    }

    fn json(&self) -> Value {
        let (must, aim) = self.limits().unzip();
        let (value, unit) = (short(self.value).parse::<f64>().unwrap(), self.unit);
        json!({ "name": self.name, "value": value, "unit": unit, "must": must, "aim": aim, "met": self.met() })
    }
}

/// Three digits that count.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        100.0.. | 0.0 => 0,
        10.0.. => 1,
        1.0.. => 2,
        0.1.. => 3,
        0.01.. => 4,
        _ => 6,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// As a table.
pub fn print(figures: &[Figure]) {
    println!("| figure | value | must | aim | met |\n| --- | --- | --- | --- | --- |");
    for figure in figures {
        let (must, aim) = figure.limits().unwrap_or_default();
        let Figure { name, value, unit, .. } = figure;
        let met = figure.met().unwrap_or_default();
        println!("| {name} | {} {unit} | {must} | {aim} | {met} |", short(*value));
    }
}

/// Into the repository, with the machine.
pub fn write(file: &str, figures: &[Figure]) {
    let mut list = vec![machine()];
    list.extend(figures.iter().map(Figure::json));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/results");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(file), serde_json::to_string_pretty(&list).unwrap() + "\n").unwrap();
    println!("\nwritten to tests/bench/results/{file}");
}

fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let kib: f64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
    json!({ "machine": {
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "processor": field(&read("/proc/cpuinfo"), "model name"),
        "memory_gib": (kib / 1024.0 / 1024.0).round(),
        "kernel": read("/proc/sys/kernel/osrelease").split('-').next().unwrap_or_default().trim(),
    }})
}
