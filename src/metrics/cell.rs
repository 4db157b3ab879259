//! One number with one writing thread: a counter that grows, a gauge that moves, a histogram of times.
//!
//! An increment is a plain load and store, no locked instruction. What must never be is a second writer: increments would be
//! lost, silently.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows. One thread writes it, any thread reads it.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Load and store, not fetch_add: with one writer nothing can come between, and it costs no bus lock.
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(super) fn clear(&self) {
        self.0.store(0, Relaxed);
    }
}

/// A number that rises and falls. One thread writes it, any thread reads it.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn increment(&self) {
        self.set(self.get().saturating_add(1));
    }

    /// Stays at zero where it would go below: a wrong 2^64 - 1 would trip every alarm, a zero none.
    pub(crate) fn decrement(&self) {
        debug_assert!(self.get() > 0, "a gauge is decremented once for each increment");
        self.set(self.get().saturating_sub(1));
    }

    /// A part of it was `before` and is `now`.
    pub(crate) fn moved(&self, before: u64, now: u64) {
        debug_assert!(self.get() >= before, "what is taken away was added before");
        self.set(self.get().saturating_add(now).saturating_sub(before));
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Buckets of a histogram: 32 µs, doubled up to 8.4 s, and what takes longer.
pub(crate) const BUCKETS: usize = 20;
const FIRST_BIT: u32 = 5;

/// How often something took how long. One thread writes it, any thread reads it.
///
/// The bounds are powers of two so that the bucket is found by counting leading zeros: no table, no branch, and two stores
/// a time.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [Counter; BUCKETS],
    micros: Counter,
}

impl Histogram {
    #[inline]
    pub(crate) fn record(&self, micros: u32, count: u64) {
        let bucket = (u32::BITS - (micros >> FIRST_BIT).leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].add(count);
        self.micros.add(u64::from(micros) * count);
    }

    /// The upper end of a bucket in seconds; the last has none.
    pub(crate) fn bound(bucket: usize) -> f64 {
        if bucket == BUCKETS - 1 { f64::MAX } else { (1_u64 << (FIRST_BIT as usize + bucket)) as f64 / 1e6 }
    }

    /// Adds what it holds to a sum over several.
    pub(crate) fn add_to(&self, sum: &mut Times) {
        for (into, bucket) in sum.buckets.iter_mut().zip(&self.buckets) {
            *into = into.wrapping_add(bucket.get());
        }
        sum.micros = sum.micros.wrapping_add(self.micros.get());
    }

    pub(super) fn clear(&self) {
        self.buckets.iter().for_each(Counter::clear);
        self.micros.clear();
    }
}

/// Histograms of several workers, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) buckets: [u64; BUCKETS],
    pub(crate) micros: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_lies_below_the_bound_of_its_bucket_and_not_of_the_one_before() {
        for micros in [0, 1, 31, 32, 33, 63, 64, 1000, 999_999, 8_388_607, 8_388_608, u32::MAX] {
            let histogram = Histogram::default();
            histogram.record(micros, 1);
            let mut sum = Times::default();
            histogram.add_to(&mut sum);
            let at = sum.buckets.iter().position(|count| *count == 1).expect("in one bucket");
            let seconds = f64::from(micros) / 1e6;
            assert!(seconds < Histogram::bound(at), "{micros} in bucket {at}");
            assert!(at == 0 || seconds >= Histogram::bound(at - 1), "{micros} in bucket {at}");
            assert_eq!((sum.buckets.iter().sum::<u64>(), sum.micros), (1, micros.into()));
        }
    }

    #[test]
    fn sums_are_of_all() {
        let (a, b, mut sum) = (Histogram::default(), Histogram::default(), Times::default());
        a.record(10, 1);
        b.record(20, 2);
        b.record(5000, 1);
        a.add_to(&mut sum);
        b.add_to(&mut sum);
        assert_eq!((sum.buckets[0], sum.buckets.iter().sum::<u64>(), sum.micros), (3, 4, 5050));
    }
}
