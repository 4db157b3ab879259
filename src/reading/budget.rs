//! How many reads may still be sent where only so many shall be.
//!
//! Pure: a rate for reads that fall back to the master, a tenth for hedges. The rate lets through what is asked as long as
//! anything is left, and then waits until the debt is paid: a batch is never cut, and in the long run no more passes than may.

use std::time::{Duration, Instant};

/// So many a second.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: u64,
    /// In millionths; below zero: owed.
    left: i64,
    filled: Option<Instant>,
}

const MILLION: i64 = 1_000_000;

impl Rate {
    pub(crate) const fn new(per_second: u64) -> Self {
        Self { per_second, left: 0, filled: None }
    }

    pub(crate) const fn per_second(&self) -> u64 {
        self.per_second
    }

    /// `Err`: after how long it is worth asking again.
    pub(crate) fn may(&mut self, now: Instant) -> Result<(), Duration> {
        // What is not used within a tenth of a second is gone: a burst is what the limit is against.
        let most = self.per_million().saturating_div(10).max(MILLION);
        let since = self.filled.replace(now).map(|filled| now.saturating_duration_since(filled));
        let grown = since.map_or(most, |since| {
            i64::try_from(since.as_micros().saturating_mul(u128::from(self.per_second))).unwrap_or(most)
        });
        self.left = self.left.saturating_add(grown).min(most);
        if self.left >= MILLION {
            return Ok(());
        }
        let lacking = MILLION.saturating_sub(self.left).unsigned_abs();
        Err(Duration::from_micros(lacking / self.per_second.max(1) + 1))
    }

    pub(crate) fn take(&mut self, reads: u64) {
        let taken = i64::try_from(reads).unwrap_or(i64::MAX).saturating_mul(MILLION);
        self.left = self.left.saturating_sub(taken);
    }

    fn per_million(&self) -> i64 {
        i64::try_from(self.per_second).unwrap_or(i64::MAX).saturating_mul(MILLION)
    }
}

/// One for every ten.
#[derive(Debug, Default)]
pub(crate) struct Tenth {
    /// Reads that were sent and nothing was spent on yet.
    saved: u64,
}

/// As much as is saved: what was saved over a quiet day must not be spent in a bad minute.
const SAVED: u64 = 1000;

impl Tenth {
    pub(crate) fn save(&mut self, reads: u64) {
        self.saved = self.saved.saturating_add(reads).min(SAVED);
    }

    /// Whether so many more may be sent; then they are paid for.
    pub(crate) fn spend(&mut self, extra: u64) -> bool {
        let left = self.saved.checked_sub(extra.saturating_mul(10));
        self.saved = left.unwrap_or(self.saved);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_one_in_ten_is_extra() {
        let (mut budget, mut extra) = (Tenth::default(), 0);
        for _ in 0..1000 {
            budget.save(1);
            extra += u64::from(budget.spend(1));
        }
        assert_eq!(extra, 100);
        budget.save(1_000_000);
        let burst = (0..1000).take_while(|_| budget.spend(5)).count();
        assert_eq!(burst, 20, "no more than a hundred at once");
        assert!(!budget.spend(1));
    }

    /// Reads in batches of so many, as fast as they may be sent, for ten seconds of a virtual clock.
    fn sent(per_second: u64, batch: u64) -> u64 {
        let (mut rate, mut now, mut sent) = (Rate::new(per_second), Instant::now(), 0);
        let end = now + Duration::from_secs(10);
        while now < end {
            match rate.may(now) {
                Ok(()) => {
                    rate.take(batch);
                    sent += batch;
                }
                Err(after) => {
                    assert!(after > Duration::ZERO);
                    now += after;
                }
            }
        }
        sent
    }

    #[test]
    fn no_more_pass_than_may() {
        for (per_second, batch) in [(1, 1), (100, 1), (100, 16), (100_000, 1000), (10, 500)] {
            let (sent, may) = (sent(per_second, batch), per_second * 10);
            let burst = (per_second / 10).max(1) + batch;
            assert!(sent + batch >= may && sent <= may + burst, "{per_second} by {batch}: {sent}");
        }
    }

    #[test]
    fn what_is_not_used_is_not_saved() {
        let (mut rate, now) = (Rate::new(100), Instant::now());
        assert!(rate.may(now).is_ok());
        rate.take(10);
        let later = now + Duration::from_secs(3600);
        let passed = (0..100).take_while(|_| rate.may(later).inspect(|()| rate.take(1)).is_ok()).count();
        assert_eq!(passed, 10);
    }
}
