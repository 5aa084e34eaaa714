//! Open files: each connection is one. The kernel lets a process begin with fewer than it may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections of the two HTTP ports.
const HTTP: u64 = 2 * 1024;
/// The log, the key, what listens, the runtime's own, and probes of whoever looks.
const OTHERS: u64 = 256;

/// Files that so many applications need: as many again are held while they wait.
fn needed(connections_max: usize) -> u64 {
    u64::try_from(connections_max).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(HTTP + OTHERS)
}

/// Allows as many open files as the process may have, and tells if they are too few. What is beyond waits in the
/// kernel's queues, so this is no error.
pub fn allow(connections_max: usize) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
        if let Err(error) = raised {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
    if let Some(sentence) = too_few(getrlimit(Resource::Nofile).current, connections_max) {
        tracing::warn!("{sentence}");
    }
}

/// What to tell of a limit; nothing if it is enough, or there is none.
fn too_few(limit: Option<u64>, connections_max: usize) -> Option<String> {
    let (limit, needed) = (limit?, needed(connections_max));
    (limit < needed).then(|| {
        format!(
            "{limit} files may be open, but --connections-max {connections_max} takes {needed} with those that wait \
             and with HTTP; raise the hard limit of open files (ulimit -Hn), or lower --connections-max"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = getrlimit(Resource::Nofile);
        let Some(hard) = limit.maximum else { return };
        // One less disturbs no other test.
        setrlimit(Resource::Nofile, Rlimit { current: Some(hard - 1), ..limit }).unwrap();
        allow(1);
        assert_eq!(getrlimit(Resource::Nofile).current, Some(hard));
    }

    #[test]
    fn a_limit_that_is_too_low_is_told_with_what_to_do() {
        assert_eq!(too_few(Some(42_304), 20_000), None);
        assert_eq!(too_few(None, 1_000_000), None);
        let told = too_few(Some(42_303), 20_000).unwrap();
        assert!(told.starts_with("42303 files may be open"), "{told}");
        assert!(
            told.contains("--connections-max 20000 takes 42304") && told.contains("ulimit -Hn"),
            "{told}"
        );
        assert!(too_few(Some(u64::MAX - 1), usize::MAX).is_some(), "no overflow");
    }
}
