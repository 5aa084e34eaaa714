//! The file with the patterns of tasks: read again when it says something else.

use std::collections::BTreeSet;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::exposition::TaskFilters;
use super::exposition::task_filters::BYTES_MAX;
use super::metrics::{FilterRead, Metrics};

/// Complaints about one file that are written to the log.
const COMPLAINTS_MAX: usize = 10;

/// The file, and what was found in it.
pub struct FilterFile {
    path: PathBuf,
    /// Of its content, or why there is none.
    seen: Option<Result<u64, String>>,
    hashes: RandomState,
    /// What was wrong with entries when it was read last: told once, not whenever another entry changes.
    told: BTreeSet<String>,
    metrics: Arc<Metrics>,
}

impl FilterFile {
    /// A file that was not looked at yet.
    pub fn new(path: PathBuf, metrics: Arc<Metrics>) -> Self {
        Self { path, seen: None, hashes: RandomState::new(), told: BTreeSet::new(), metrics }
    }

    /// What it says, if that is something else than at the last look and can be used. Blocks.
    pub fn look(&mut self) -> Option<TaskFilters> {
        // By its content: a ConfigMap's file is a symbolic link to another one after each change.
        let text = read(&self.path).map_err(|error| format!("it cannot be read: {error}"));
        let seen = text.as_ref().map(|text| self.hashes.hash_one(text)).map_err(Clone::clone);
        if self.seen.as_ref() == Some(&seen) {
            return None;
        }
        self.seen = Some(seen);
        let file = self.path.display();
        match text.and_then(|text| TaskFilters::parse(&text)) {
            Ok((filters, wrong)) => {
                let tasks = filters.tasks();
                let read = if wrong.is_empty() { FilterRead::Applied } else { FilterRead::Partly };
                self.metrics.task_filters(read, Some(tasks));
                tracing::info!(%file, tasks, left_out = wrong.len(), "the patterns of tasks are applied");
                self.complain(wrong);
                Some(filters)
            }
            Err(why) => {
                self.metrics.task_filters(FilterRead::Refused, None);
                tracing::warn!(%file, why, "the patterns of tasks stay what they were; correct the file");
                None
            }
        }
    }

    fn complain(&mut self, wrong: Vec<String>) {
        let new = wrong.iter().filter(|why| !self.told.contains(*why));
        for why in new.take(COMPLAINTS_MAX) {
            tracing::warn!(file = %self.path.display(), why, "an entry is left out; all metrics of its task are kept");
        }
        self.told = wrong.into_iter().collect();
    }
}

/// What is in a file, as far as it is wanted.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Others may never end, or never begin.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = Vec::new();
    File::open(path)?.take(BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Lines of the own metrics about the file, without their prefix.
    fn counts(registry: &Registry) -> Vec<String> {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("millrace_proxy_task_filter"));
        let mut lines: Vec<_> = lines.map(str::to_owned).collect();
        lines.sort();
        lines
    }

    #[test]
    fn a_file_is_read_when_it_changes_and_a_wrong_one_changes_nothing() {
        let folder = Folder(std::env::temp_dir().join(format!("millrace-filters-{}", std::process::id())));
        fs::create_dir_all(&folder.0).unwrap();
        let (metrics, mut registry) = (Arc::new(Metrics::default()), Registry::default());
        metrics.register(&mut registry);
        // As a ConfigMap is mounted.
        let (path, link) = (folder.0.join("filters.json"), folder.0.join("..data"));
        std::os::unix::fs::symlink("..data/filters.json", &path).unwrap();
        let write = |version: &str, text: &str| {
            fs::create_dir_all(folder.0.join(version)).unwrap();
            fs::write(folder.0.join(version).join("filters.json"), text).unwrap();
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(version, &link).unwrap();
        };
        let mut file = FilterFile::new(path.clone(), metrics);
        assert!(file.look().is_none() && file.look().is_none(), "there is none");
        assert_eq!(counts(&registry), ["_reads_total{outcome=\"refused\"} 1", "s 0"]);
        let entry = |task: &str, pattern: &str| {
            format!("{{\"namespace\":\"a\",\"task\":\"{task}\",\"drop\":[\"{pattern}\"]}}")
        };
        write("1", &format!("[{}]", entry("t", "x")));
        assert_eq!(file.look().map(|filters| filters.tasks()), Some(1));
        assert!(file.look().is_none(), "it says the same");
        write("2", &format!("[{}]", entry("t", "x")));
        assert!(file.look().is_none(), "another file says the same");
        write("3", &format!("[{},{}]", entry("t", "x"), entry("u", "(")));
        assert_eq!(file.look().map(|filters| filters.tasks()), Some(1));
        assert_eq!(file.told.len(), 1);
        write("4", "[");
        assert!(file.look().is_none());
        let of = |outcome: &str, count: u32| format!("_reads_total{{outcome=\"{outcome}\"}} {count}");
        assert_eq!(
            counts(&registry),
            [of("applied", 1), of("partly", 1), of("refused", 2), "s 1".to_owned()]
        );
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(file.look().is_none());
        assert!(file.seen.unwrap().unwrap_err().contains("no file"));
    }
}
