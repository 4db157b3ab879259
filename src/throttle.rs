//! Slows down whoever guesses passwords: a delay per source address that grows with each failure.
//!
//! Pure: `now` is an argument and nothing waits in here. A session asks `delay` before it verifies an attempt,
//! waits so long without verifying, then reports `failed` or `succeeded`. It must never refuse: a wrong password
//! in one client of an address must not lock out the others behind the same address.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Whom attempts are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    V4(u32),
    /// The first 64 bits: whoever has an IPv6 address usually has the 2^64 of its network.
    V6(u64),
    /// A user of this machine, over a Unix socket.
    Unix {
        uid: u32,
    },
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        // A listener on [::] sees IPv4 clients as ::ffff:a.b.c.d, which all share their first 64 bits.
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.to_bits()),
            IpAddr::V6(v6) => Self::V6((v6.to_bits() >> 64) as u64),
        }
    }
}

/// Failures that cost nothing: people mistype, and a client with an old password tries it once per connection.
const FREE_FAILURES: u32 = 3;
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// At one attempt in 10 s a connection makes 8,640 guesses a day; a longer wait would only hold up operators
/// who have just corrected a password.
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// A source that failed last before so long starts anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// 10,000 sources of about 100 bytes are 1 MB. Whoever has more addresses than this is not slowed by delays.
const SOURCES: usize = 10_000;

#[derive(Debug)]
struct Record {
    failures: u32,
    last_failure: Instant,
    /// Key into `Throttle::oldest`.
    age: u64,
}

/// The failures of recent sources. One per worker is enough: it delays, it does not count exactly.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    records: HashMap<Source, Record>,
    /// The sources by the order of their last failure, the longest ago first. Invariant: one entry per record.
    oldest: BTreeMap<u64, Source>,
    next_age: u64,
}

impl Throttle {
    /// How long to wait before an attempt from `source` is verified.
    pub(crate) fn delay(&mut self, source: Source, now: Instant) -> Duration {
        self.forget_quiet(now);
        let failures = self.records.get(&source).map_or(0, |record| record.failures);
        match failures.checked_sub(FREE_FAILURES + 1) {
            None => Duration::ZERO,
            // 100 ms doubled seven times is 12.8 s, so seven is as good as any larger number.
            Some(doublings) => (FIRST_DELAY * (1 << doublings.min(7))).min(LONGEST_DELAY),
        }
    }

    /// An attempt from `source` named a wrong user or password.
    pub(crate) fn failed(&mut self, source: Source, now: Instant) {
        self.forget_quiet(now);
        let failures = self.remove(source).map_or(0, |record| record.failures).saturating_add(1);
        if self.records.len() >= SOURCES
            && let Some((_, longest_ago)) = self.oldest.pop_first()
        {
            self.records.remove(&longest_ago);
        }
        let age = self.next_age;
        self.next_age += 1;
        self.records.insert(source, Record { failures, last_failure: now, age });
        self.oldest.insert(age, source);
    }

    /// An attempt from `source` was right. It is forgiven at once: behind one address there may be a hundred
    /// good clients and one with an old password, and the good ones must not pay for it.
    pub(crate) fn succeeded(&mut self, source: Source) {
        self.remove(source);
    }

    fn remove(&mut self, source: Source) -> Option<Record> {
        let record = self.records.remove(&source)?;
        self.oldest.remove(&record.age);
        Some(record)
    }

    /// Removes what is forgotten. Each record is removed once, so this costs nothing on average.
    fn forget_quiet(&mut self, now: Instant) {
        while let Some(entry) = self.oldest.first_entry() {
            let quiet = self
                .records
                .get(entry.get())
                .is_none_or(|record| now.saturating_duration_since(record.last_failure) >= FORGOTTEN_AFTER);
            if !quiet {
                return;
            }
            let source = entry.remove();
            self.records.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn the_delay_grows_with_failures_up_to_ten_seconds() {
        let now = Instant::now();
        let mut throttle = Throttle::default();
        let source = source("192.0.2.1");
        for (failures, expected_ms) in
            [0, 0, 0, 0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000].into_iter().enumerate()
        {
            assert_eq!(throttle.delay(source, now), Duration::from_millis(expected_ms), "after {failures} failures");
            throttle.failed(source, now);
        }
        for _ in 0..100 {
            throttle.failed(source, now);
        }
        assert_eq!(throttle.delay(source, now), LONGEST_DELAY);
    }

    #[test]
    fn sources_are_told_apart_as_an_attacker_can_choose_them() {
        let rows = [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
        ];
        for (guessing, other, same) in rows {
            let now = Instant::now();
            let mut throttle = Throttle::default();
            for _ in 0..=FREE_FAILURES {
                throttle.failed(source(guessing), now);
            }
            assert_eq!(throttle.delay(source(other), now) > Duration::ZERO, same, "{guessing} {other}");
            assert_eq!(throttle.delay(Source::Unix { uid: 0 }, now), Duration::ZERO);
        }
    }

    #[test]
    fn a_minute_of_quiet_or_a_success_is_a_new_start() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut throttle = Throttle::default();
        let source = source("192.0.2.1");
        for _ in 0..5 {
            throttle.failed(source, at(0));
        }
        throttle.failed(source, at(59));
        assert_eq!(throttle.delay(source, at(118)), Duration::from_millis(400), "quiet counts from the last failure");
        assert_eq!(throttle.delay(source, at(119)), Duration::ZERO);
        assert!(throttle.records.is_empty() && throttle.oldest.is_empty());
        for _ in 0..5 {
            throttle.failed(source, at(200));
        }
        throttle.succeeded(source);
        assert_eq!(throttle.delay(source, at(200)), Duration::ZERO);
        assert!(throttle.records.is_empty() && throttle.oldest.is_empty());
    }

    #[test]
    fn the_source_that_failed_longest_ago_makes_room() {
        let now = Instant::now();
        let mut throttle = Throttle::default();
        let address = |number: u32| Source::V4(number);
        for round in 0..=FREE_FAILURES {
            // The first source fails before all others in each round but the last, when it fails after them.
            let last_round = round == FREE_FAILURES;
            let first = std::iter::once(0);
            let rest = 1..SOURCES as u32;
            let order: Vec<u32> = if last_round { rest.chain(first).collect() } else { first.chain(rest).collect() };
            for number in order {
                throttle.failed(address(number), now);
            }
        }
        throttle.failed(address(1_000_000), now);
        assert_eq!((throttle.records.len(), throttle.oldest.len()), (SOURCES, SOURCES));
        assert_eq!(throttle.delay(address(1), now), Duration::ZERO, "the one that failed longest ago is forgotten");
        assert_eq!(throttle.delay(address(0), now), FIRST_DELAY);
        assert_eq!(throttle.delay(address(2), now), FIRST_DELAY);
    }
}
