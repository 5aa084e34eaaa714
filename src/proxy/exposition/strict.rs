//! Whether OpenMetrics 1.0 lets series have their type. The strictest readers refuse a whole exposition for one counter that
//! is negative, so a family that is not allowed its type is `unknown` there.

use super::parse::Kind;

/// The series of one family with the same labels but `le` and `quantile`, in the order of [`Kind::suffixes`], buckets in
/// theirs.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Value of the last bucket.
    bucket: Option<f64>,
    /// Bound of the last bucket or quantile: one may be written in two ways, `1.0` and `1.00`.
    bound: Option<f64>,
    infinite: bool,
    negative: bool,
    count: Option<f64>,
    sum: bool,
}

fn is_count(value: f64) -> bool {
    value >= 0.0 && value.fract() == 0.0
}

impl Group {
    /// Whether the next series may be one of `kind`. `rank` is its place in the suffixes, `bound` that of a bucket.
    pub(super) fn allows(&mut self, kind: Kind, rank: usize, bound: f64, value: f64) -> bool {
        match (kind, rank) {
            (Kind::Gauge | Kind::Untyped, _) => true,
            (Kind::Histogram | Kind::Summary, 0) if self.bound.replace(bound) == Some(bound) => false,
            (Kind::Histogram, 0) => {
                let grows = self.bucket.replace(value).is_none_or(|before| value >= before);
                self.infinite |= bound == f64::INFINITY;
                self.negative |= bound < 0.0;
                grows && is_count(value)
            }
            // NaN is a quantile of nothing.
            (Kind::Summary, 0) => value >= 0.0 || value.is_nan(),
            (Kind::Histogram | Kind::Summary, 1) => {
                self.count = Some(value);
                is_count(value)
            }
            (Kind::Histogram | Kind::Summary, _) => {
                self.sum = true;
                value >= 0.0
            }
            (Kind::Counter, _) => value >= 0.0,
        }
    }

    /// Whether these were all.
    pub(super) fn is_whole(&self, kind: Kind) -> bool {
        let counted = self.count.is_none_or(|count| self.bucket == Some(count));
        kind != Kind::Histogram
            || (self.infinite && counted && self.sum == self.count.is_some() && !(self.sum && self.negative))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f64 = f64::INFINITY;

    fn whole(kind: Kind, series: &[(usize, f64, f64)]) -> bool {
        let mut group = Group::default();
        let allowed = series.iter().all(|(rank, bound, value)| group.allows(kind, *rank, *bound, *value));
        allowed && group.is_whole(kind)
    }

    #[test]
    fn histograms() {
        assert!(
            !whole(Kind::Histogram, &[(0, 1.0, 1.0), (0, 1.0, 1.0), (0, INF, 2.0)]),
            "twice the same bound"
        );
        assert!(!whole(Kind::Summary, &[(0, 0.5, 1.0), (0, 0.5, 1.0)]), "twice the same quantile");
        let right: [&[_]; 3] = [
            &[(0, 1.0, 1.0), (0, INF, 2.0), (1, 0.0, 2.0), (2, 0.0, 3.0)],
            &[(0, INF, 2.0)],
            &[(0, -1.0, 0.0), (0, INF, 2.0)],
        ];
        assert!(right.iter().all(|series| whole(Kind::Histogram, series)));
        let wrong: [&[_]; 9] = [
            &[(0, 1.0, 1.0)],
            &[(0, 1.0, 3.0), (0, INF, 2.0)],
            &[(0, INF, -1.0)],
            &[(0, INF, 0.5)],
            &[(0, INF, 2.0), (1, 0.0, 3.0), (2, 0.0, 1.0)],
            &[(0, INF, 2.0), (1, 0.0, 2.0)],
            &[(0, INF, 2.0), (2, 0.0, 2.0)],
            &[(0, INF, 2.0), (1, 0.0, 2.0), (2, 0.0, f64::NAN)],
            &[(0, -1.0, 2.0), (0, INF, 2.0), (1, 0.0, 2.0), (2, 0.0, 1.0)],
        ];
        for series in wrong {
            assert!(!whole(Kind::Histogram, series), "{series:?}");
        }
    }

    #[test]
    fn other_types() {
        for (kind, rank, value, right) in [
            (Kind::Counter, 0, INF, true),
            (Kind::Counter, 0, -1.0, false),
            (Kind::Counter, 0, f64::NAN, false),
            (Kind::Gauge, 0, -1.0, true),
            (Kind::Untyped, 0, f64::NAN, true),
            (Kind::Summary, 0, f64::NAN, true),
            (Kind::Summary, 0, -1.0, false),
            (Kind::Summary, 1, 0.5, false),
            (Kind::Summary, 1, INF, false),
            (Kind::Summary, 2, 0.5, true),
            (Kind::Summary, 2, -0.5, false),
        ] {
            assert_eq!(whole(kind, &[(rank, 0.5, value)]), right, "{kind:?} {rank} {value}");
        }
    }
}
