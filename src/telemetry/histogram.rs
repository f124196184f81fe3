//! A histogram with fixed buckets: constant memory however many samples it takes.

use std::time::Duration;

/// Upper bounds in seconds; one more bucket takes the rest. From half a kernel round trip on
/// loopback to the longest timeout that is usual at an edge.
pub const BOUNDS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 5.0, 30.0,
];

const BOUNDS_NS: [u64; 16] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    30_000_000_000,
];

/// Durations, counted by size.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// Samples by bucket, not cumulated; the last is beyond all bounds.
    pub buckets: [u64; 17],
    /// The sum of all samples, in nanoseconds.
    pub sum_ns: u64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&mut self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let place = BOUNDS_NS.partition_point(|&bound| bound < ns);
        if let Some(bucket) = self.buckets.get_mut(place) {
            *bucket += 1;
        }
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// Adds what another worker counted.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in self.buckets.iter_mut().zip(other.buckets) {
            *sum += more;
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }

    /// How many samples there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_in_seconds_and_nanoseconds_are_the_same() {
        for (seconds, ns) in BOUNDS.iter().zip(BOUNDS_NS) {
            assert_eq!(Duration::from_secs_f64(*seconds).as_nanos(), u128::from(ns));
        }
    }

    #[test]
    fn a_sample_on_a_bound_counts_below_it() {
        let mut histogram = Histogram::default();
        histogram.observe(Duration::from_millis(1));
        histogram.observe(Duration::from_secs(100));
        assert_eq!(histogram.buckets[4], 1);
        assert_eq!(histogram.buckets[16], 1);
        assert_eq!(histogram.count(), 2);
    }
}
