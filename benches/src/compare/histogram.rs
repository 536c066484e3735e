//! Durations in buckets whose width grows with them: three per cent wide, a few KiB in all.
//!
//! Each power of two of nanoseconds is cut into `STEPS` buckets of equal width; a percentile answers the upper end of its bucket.

/// Buckets of one power of two.
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Enough for every `u64`.
const BUCKETS: usize = (64 * STEPS) as usize;

/// Counts of durations.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; BUCKETS], total: 0 }
    }
}

fn bucket(ns: u64) -> usize {
    if ns < STEPS {
        return ns as usize;
    }
    let power = ns.ilog2() - STEP_BITS;
    (u64::from(power + 1) * STEPS + ((ns >> power) - STEPS)) as usize
}

/// The largest duration of a bucket.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let power = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS + 1) << power) - 1
}

impl Histogram {
    /// Counts a duration.
    pub fn add(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.total += 1;
    }

    /// Counts all of another.
    pub fn merge(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, other)| *count += other);
        self.total += other.total;
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The duration that `share` of all do not exceed.
    pub fn percentile(&self, share: f64) -> u64 {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(bucket);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_hold_what_they_say() {
        for ns in (0..2000).chain([1 << 20, (1 << 20) + 12345, u64::MAX >> 8]) {
            let bucket = bucket(ns);
            assert!(upper(bucket) >= ns && (bucket == 0 || upper(bucket - 1) < ns), "{ns} in {bucket}");
            assert!(upper(bucket) as f64 <= ns as f64 * (1.0 + 1.0 / STEPS as f64) + 1.0);
        }
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_list() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|ns| histogram.add(ns * 1000));
        for (share, exact) in [(0.5, 500_000.0), (0.99, 990_000.0), (0.999, 999_000.0)] {
            let found = histogram.percentile(share) as f64;
            assert!((found / exact - 1.0).abs() < 0.04, "{share}: {found}");
        }
    }
}
