//! Which finished launches go: beyond the definition's limits, oldest first, and after their time.

use std::time::Duration;

use jiff::Timestamp;

use super::{elapsed, rest};
use crate::api::task_definition::History;

/// A finished launch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finished {
    /// When it ended.
    pub at: Timestamp,
    /// Its name.
    pub name: String,
    /// Its UID: what is deleted must be what was seen.
    pub uid: String,
    /// When its end was written.
    pub written: Timestamp,
}

/// What to delete now, and when to look again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionPlan {
    /// These, in this order.
    pub delete: Vec<Finished>,
    /// The next one's time comes after this.
    pub next: Option<Duration>,
}

/// How long a finished launch stays in any case. A second operator that still sees it unfinished (for
/// [`super::SHORT`] without asking) may have its Job's creation under way (for 30 s): that must find the Job that was
/// there, not the room which a deleted one left.
pub const GRACE: Duration = Duration::from_secs(40);

/// Deletions of one pass: a lowered limit must not keep one definition's pass busy for long.
pub const PASS: usize = 100;

/// Decides over the finished launches of one definition, given oldest first: `succeeded` and `failed` (which
/// includes stopped ones). Only as many are looked at as are deleted, however long the history is.
pub fn decide<'a>(
    history: &History,
    succeeded: impl ExactSizeIterator<Item = &'a Finished>,
    failed: impl ExactSizeIterator<Item = &'a Finished>,
    now: Timestamp,
) -> RetentionPlan {
    let mut plan = RetentionPlan::default();
    let ttl = history.ttl_seconds_after_finished.and_then(|s| u64::try_from(s).ok()).map(Duration::from_secs);
    surplus(&mut plan, history.succeeded, succeeded, ttl, now);
    surplus(&mut plan, history.failed, failed, ttl, now);
    if plan.delete.len() > PASS {
        plan.delete.truncate(PASS);
        plan.next = Some(Duration::ZERO);
    }
    plan
}

fn surplus<'a>(
    plan: &mut RetentionPlan,
    limit: i64,
    oldest_first: impl ExactSizeIterator<Item = &'a Finished>,
    ttl: Option<Duration>,
    now: Timestamp,
) {
    let limit = usize::try_from(limit).unwrap_or_default();
    let beyond = oldest_first.len().saturating_sub(limit);
    for (index, launch) in oldest_first.enumerate() {
        let age = elapsed(launch.at, now);
        if index < beyond || ttl.is_some_and(|ttl| age >= ttl) {
            let grace = rest(GRACE, launch.written, now);
            if !grace.is_zero() {
                // Those after it ended later.
                plan.next = [plan.next, Some(grace)].into_iter().flatten().min();
                return;
            }
            plan.delete.push(launch.clone());
            if plan.delete.len() > PASS {
                return;
            }
            continue;
        }
        let rest = ttl.map(|ttl| ttl.saturating_sub(age));
        plan.next = [plan.next, rest].into_iter().flatten().min();
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launches(ends: &[i64]) -> Vec<Finished> {
        let at = |s| Timestamp::from_second(s).unwrap();
        let written = at(-100);
        ends.iter()
            .map(|s| Finished { at: at(*s), name: format!("l{s}"), uid: format!("u{s}"), written })
            .collect()
    }

    fn names(history: &History, succeeded: &[i64], failed: &[i64], now: i64) -> (Vec<String>, Option<u64>) {
        let (s, f) = (launches(succeeded), launches(failed));
        let plan = decide(history, s.iter(), f.iter(), Timestamp::from_second(now).unwrap());
        (plan.delete.into_iter().map(|l| l.name).collect(), plan.next.map(|d| d.as_secs()))
    }

    fn history(succeeded: i64, failed: i64, ttl: Option<i64>) -> History {
        History { succeeded, failed, ttl_seconds_after_finished: ttl }
    }

    #[test]
    fn the_oldest_beyond_each_limit_go() {
        assert_eq!(
            names(&history(2, 1, None), &[1, 2, 3], &[4, 5], 9),
            (vec!["l1".into(), "l4".into()], None)
        );
        assert_eq!(names(&history(5, 5, None), &[1, 2, 3], &[4, 5], 9), (vec![], None));
        assert_eq!(names(&history(0, 0, None), &[1], &[2], 9), (vec!["l1".into(), "l2".into()], None));
    }

    #[test]
    fn time_to_live_counts_from_the_end_and_says_when_to_look_again() {
        assert_eq!(names(&history(50, 50, Some(10)), &[1, 5], &[3], 12), (vec!["l1".into()], Some(1)));
        assert_eq!(names(&history(50, 50, Some(0)), &[12], &[], 12), (vec!["l12".into()], None));
    }

    #[test]
    fn what_has_just_ended_stays_until_nobody_can_take_it_for_unfinished() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let mut ended = launches(&[1, 2, 3]);
        ended[0].written = at(50);
        ended[1].written = at(70);
        ended[2].written = at(71);
        let plan = |now, ttl| decide(&history(0, 0, ttl), ended.iter(), [].iter(), at(now));
        assert_eq!(plan(80, None), RetentionPlan { delete: vec![], next: Some(Duration::from_secs(10)) });
        assert_eq!(plan(80, Some(0)).delete, []);
        let one = RetentionPlan { delete: vec![ended[0].clone()], next: Some(Duration::from_secs(20)) };
        assert_eq!(plan(90, None), one);
        assert_eq!(plan(111, None).delete.len(), 3);
        // Another operator's clock was an hour ahead.
        assert_eq!(plan(-3600, None).delete.len(), 3);
    }

    #[test]
    fn one_pass_is_bounded_and_asks_for_another() {
        let many: Vec<i64> = (0..1000).collect();
        let (gone, next) = names(&history(0, 0, None), &many, &[], 2000);
        assert_eq!((gone.len(), next), (PASS, Some(0)));
    }
}
