//! How long something took, as numbers of times in buckets.

use std::time::Duration;

use super::words::{Words, sum};

/// The upper bounds of the buckets, in microseconds; one more bucket has all that took longer.
pub(crate) const BOUNDS: [u64; 18] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

pub(crate) const BUCKETS: usize = BOUNDS.len() + 1;

/// How many words one takes: a bucket each, and the sum in microseconds.
pub(crate) const WORDS: usize = BUCKETS + 1;

/// Counts one that took so long. Only one thread does this for these words.
pub(crate) fn count(words: Words, took: Duration) {
    let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    words.add_alone(BOUNDS.partition_point(|bound| *bound < microseconds), 1);
    words.add_alone(BUCKETS, microseconds);
}

/// What has been counted, by one process or by several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    pub(crate) buckets: [u64; BUCKETS],
    /// In microseconds.
    pub(crate) sum: u64,
}

impl Histogram {
    /// Adds what has been counted in those words.
    pub(crate) fn add(&mut self, words: Words) {
        for (at, bucket) in self.buckets.iter_mut().enumerate() {
            *bucket = bucket.saturating_add(words.get(at));
        }
        self.sum = self.sum.wrapping_add(words.get(BUCKETS));
    }

    /// Adds what another one has counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (own, other) in self.buckets.iter_mut().zip(&other.buckets) {
            *own = own.saturating_add(*other);
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    pub(crate) fn count(&self) -> u64 {
        sum(self.buckets)
    }

    /// The bounds, and how many took no longer than each. The last bound is `None`: all.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = BOUNDS.iter().map(|bound| Some(Duration::from_micros(*bound))).chain([None]);
        bounds.zip(self.buckets.iter().scan(0_u64, |sum, bucket| {
            *sum = sum.saturating_add(*bucket);
            Some(*sum)
        }))
    }

    /// What that part of all (0 to 1) took no longer than, as exactly as the buckets say; `None` if nothing was
    /// counted.
    pub(crate) fn quantile(&self, part: f64) -> Option<Duration> {
        let count = self.count();
        let wanted = part * count as f64;
        let mut below = (Duration::ZERO, 0);
        if count == 0 {
            return None;
        }
        for (bound, sum) in self.cumulative() {
            // What is beyond all bounds took at least the last one.
            let Some(bound) = bound else { break };
            if sum as f64 >= wanted && sum > below.1 {
                let share = (wanted - below.1 as f64) / (sum - below.1) as f64;
                return Some(below.0 + (bound - below.0).mul_f64(share.clamp(0.0, 1.0)));
            }
            below = (bound, sum);
        }
        Some(below.0)
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::super::words::leaked;
    use super::*;

    fn histogram(took: &[u64]) -> Histogram {
        let words = Words::new(leaked(WORDS));
        for microseconds in took {
            count(words, Duration::from_micros(*microseconds));
        }
        let mut histogram = Histogram::default();
        histogram.add(words);
        histogram
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let found = histogram(&[0, 100, 101, 60_000_000, 60_000_001]);
        assert_eq!((found.buckets[0], found.buckets[1]), (2, 1));
        assert_eq!((found.buckets[BUCKETS - 2], found.buckets[BUCKETS - 1]), (1, 1));
        assert_eq!((found.count(), found.sum), (5, 120_000_202));
        let last = found.cumulative().last().unwrap();
        assert_eq!(last, (None, 5));
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        assert_eq!(histogram(&[]).quantile(0.5), None);
        let found = histogram(&[2_000; 100]);
        let median = found.quantile(0.5).unwrap();
        assert!((1_000..=2_500).contains(&median.as_micros()), "{median:?}");
        assert_eq!(histogram(&[90_000_000]).quantile(0.99), Some(Duration::from_secs(60)));
        let mixed = histogram(&[[50; 99].as_slice(), &[40_000]].concat());
        assert!(mixed.quantile(0.5).unwrap() <= Duration::from_micros(100));
        assert!(mixed.quantile(0.999).unwrap() > Duration::from_millis(25));
    }

    #[test]
    fn several_processes_add_up() {
        let words = Words::new(leaked(WORDS));
        count(words, Duration::from_millis(3));
        let mut sum = Histogram::default();
        sum.add(words);
        sum.add(words);
        assert_eq!((sum.count(), sum.sum), (2, 6_000));
    }
}
