//! How fast the data of full syncs may pass: one rate for all connections of a link, whichever thread they are on.
//!
//! A token bucket of one number, the time at which what was let through will have been paid for. The past is credit, up to
//! `BURST`; the future is debt, for which everybody waits. No lock, and nothing is kept of who waits. Pure.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What may pass at once after a pause: at 50 MB/s these are 5 MB.
const BURST: u64 = 100_000_000;

/// Nothing passes before there is credit for so long, so that a paused connection is woken fifty times a second and not for
/// every few bytes: at 50 MB/s for 1 MB, at 100 kB/s for 2 kB.
const QUANTUM: u64 = 20_000_000;

#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Nanoseconds since the beginning.
    paid: AtomicU64,
}

impl Pace {
    /// Bytes that may pass `at` this time with `rate` bytes a second. `Err`: none, until then.
    pub(super) fn room(&self, at: Duration, rate: u64) -> Result<usize, Duration> {
        let at = nanoseconds(at);
        let paid = self.paid.load(Relaxed);
        let credit = at.saturating_sub(paid).min(BURST);
        if paid > at || credit < QUANTUM {
            return Err(Duration::from_nanos(paid + QUANTUM));
        }
        // At most a tenth of a second of 2^53 bytes a second.
        let bytes = u128::from(credit) * u128::from(rate) / 1_000_000_000;
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX).max(1))
    }

    /// So many have passed.
    pub(super) fn passed(&self, at: Duration, rate: u64, bytes: usize) {
        let cost = bytes as u128 * 1_000_000_000 / u128::from(rate.max(1));
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        let earliest = nanoseconds(at).saturating_sub(BURST);
        let _ = self.paid.fetch_update(Relaxed, Relaxed, |paid| Some(paid.max(earliest).saturating_add(cost)));
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_that_take_turns_pass_no_more_than_the_rate_together() {
        let (pace, rate) = (Pace::default(), 10_000_000);
        let start = Duration::from_secs(5);
        let (mut now, mut passed) = (start, 0);
        while now < start + Duration::from_secs(10) {
            for _ in 0..3 {
                if let Ok(room) = pace.room(now, rate) {
                    let bytes = room.min(64 * 1024);
                    pace.passed(now, rate, bytes);
                    passed += bytes;
                }
            }
            now += Duration::from_millis(1);
        }
        // Ten seconds, and the tenth of one that was saved before.
        assert!((100_000_000..=101_100_000).contains(&passed), "{passed}");
        let wait = loop {
            match pace.room(now, rate) {
                Ok(room) => pace.passed(now, rate, room),
                Err(until) => break until,
            }
        };
        assert!(wait > now && wait <= now + Duration::from_millis(21), "{now:?} {wait:?}");
        assert!(pace.room(wait, rate).is_ok());
    }

    #[test]
    fn a_pause_is_no_credit_for_long() {
        let pace = Pace::default();
        assert_eq!(pace.room(Duration::from_secs(3600), 1_000_000), Ok(100_000));
    }
}
