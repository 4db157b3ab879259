//! How far a replica is behind the stream that passes here, and how long the link could be cut before it needs everything again.
//!
//! Used by `replication` once the stream runs. Numbers of replies and of bytes alone: it never sees what the stream says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::progress::Progress;

/// Between two points in time that are remembered. A replica says once a second where it is.
const STEP: Duration = Duration::from_millis(250);

/// 16 s at one point each `STEP`; of a replica that is further behind every second point is forgotten, so the time is then
/// known to within a part of itself.
const POINTS: usize = 64;

/// The rate of writes is an average over so long: a burst of a second is not taken for what goes on.
const AVERAGE: f64 = 10.0;

/// A cut that is shorter than this is outlived by `resume`'s default; the backlog should cover what is not.
const LEAST_HEADROOM: Duration = Duration::from_secs(30);

/// Between two warnings for one replica.
const AGAIN: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Lag {
    progress: Arc<Progress>,
    /// The number of the byte that follows in the stream.
    sent: u64,
    /// What `sent` was, and when; what the replica has is left out.
    points: VecDeque<(Instant, u64)>,
    /// `sent` at the last point, for the rate.
    measured: (Instant, u64),
    /// Bytes a second.
    rate: f64,
    /// What the master keeps; 0 when it was not asked.
    backlog: u64,
    warned: Option<Instant>,
}

impl Lag {
    /// The stream begins behind `offset`.
    pub(super) fn new(progress: Arc<Progress>, offset: u64, backlog: u64, now: Instant) -> Self {
        progress.follows(offset, now);
        Self {
            progress,
            sent: offset,
            points: VecDeque::new(),
            measured: (now, offset),
            rate: 0.0,
            backlog,
            warned: None,
        }
    }

    /// The number of the byte that follows, and what the master keeps.
    pub(super) fn standing(&self) -> (u64, u64) {
        (self.sent, self.backlog)
    }

    /// So many bytes of the stream have passed.
    pub(super) fn passed(&mut self, bytes: usize, now: Instant) {
        self.sent += bytes as u64;
        self.progress.sent(self.sent);
        if now.saturating_duration_since(self.measured.0) >= STEP {
            self.mark(now);
        }
    }

    /// The stream began further on than was known.
    pub(super) fn moved(&mut self, offset: u64) {
        self.sent += offset;
        self.measured.1 += offset;
        self.points.clear();
    }

    /// The replica says that it has everything up to `offset`. A warning, if one is due.
    pub(super) fn acknowledged(&mut self, offset: u64, now: Instant) -> Option<String> {
        self.mark(now);
        let mut level = None;
        while let Some((when, _)) = self.points.front().filter(|(_, sent)| *sent <= offset) {
            level = Some(*when);
            self.points.pop_front();
        }
        if offset >= self.sent {
            level = Some(now);
        }
        self.progress.acknowledged(offset, level);
        // After that, so that no reading finds the new number of the one and the old of the other, after `moved`.
        self.progress.sent(self.sent);
        self.warning(now)
    }

    fn mark(&mut self, now: Instant) {
        let (when, sent) = self.measured;
        let time = now.saturating_duration_since(when).as_secs_f64();
        if time > 0.0 {
            let rate = (self.sent - sent) as f64 / time;
            // An exponential average: what is AVERAGE old counts 1/e.
            self.rate += (rate - self.rate) * (1.0 - (-time / AVERAGE).exp());
            self.measured = (now, self.sent);
        }
        self.progress.measured(self.rate, self.backlog);
        if self.points.back().is_none_or(|(_, last)| *last < self.sent) {
            if self.points.len() == POINTS {
                let mut keep = false;
                self.points.retain(|_| {
                    keep = !keep;
                    keep
                });
            }
            self.points.push_back((now, self.sent));
        }
    }

    fn warning(&mut self, now: Instant) -> Option<String> {
        let seen = self.progress.seen(now)?;
        let headroom = seen.headroom.filter(|headroom| *headroom < LEAST_HEADROOM)?;
        if self.warned.is_some_and(|last| now.saturating_duration_since(last) < AGAIN) {
            return None;
        }
        self.warned = Some(now);
        let (backlog, rate, lag) = (self.backlog, self.rate, seen.lag_bytes);
        Some(match lag > backlog {
            true => format!(
                "is {lag} bytes behind and the master's backlog holds {backlog}: if this connection is lost, all data must be \
                 sent again; raise repl-backlog-size above {}",
                lag.saturating_mul(2)
            ),
            false => format!(
                "can be away for {headroom:.1?} before all data must be sent again: it is {lag} bytes behind, {rate:.0} \
                 bytes a second are written, and the master's backlog holds {backlog}; raise repl-backlog-size"
            ),
        })
    }
}

/// What a replica acknowledges, if `bytes` say so as a whole: `REPLCONF ACK offset`, perhaps with `FACK` behind it. What comes
/// in pieces is not put together; the next one comes in a second.
pub(super) fn acknowledgement(bytes: &[u8]) -> Option<u64> {
    const MARK: &[u8] = b"\r\n$3\r\nACK\r\n$";
    let at = memchr::memmem::rfind(bytes, MARK)? + MARK.len();
    let rest = bytes.get(at..)?;
    let line = rest.iter().position(|byte| *byte == b'\n')? + 1;
    let digits = rest.get(line..)?;
    let end = digits.iter().position(|byte| *byte == b'\r')?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn acknowledgements_are_read_where_they_are_whole() {
        let one = b"*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$4\r\n1234\r\n";
        let both = b"*5\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$2\r\n70\r\n$4\r\nFACK\r\n$2\r\n50\r\n";
        assert_eq!(acknowledgement(one), Some(1234));
        assert_eq!(acknowledgement(both), Some(70));
        assert_eq!(acknowledgement(&[&one[..], &both[..]].concat()), Some(70));
        for end in 0..one.len() - 2 {
            assert_eq!(acknowledgement(&one[..end]), None, "{end}");
        }
        assert_eq!(acknowledgement(b"\n"), None);
        assert_eq!(acknowledgement(b"\r\n$3\r\nACK\r\n$99999999999999999999\r\n99999999999999999999\r\n"), None);
    }

    #[test]
    fn a_replica_that_falls_behind_is_seen_in_bytes_and_in_time() {
        let start = Instant::now();
        let progress = Arc::new(Progress::new(start));
        let mut lag = Lag::new(Arc::clone(&progress), 100, 0, start);
        for second in 1..=100_u32 {
            lag.passed(1000, start + SECOND * second);
            // From the tenth second on it takes nothing any more.
            let has = 100 + 1000 * u64::from(second.min(10));
            assert_eq!(lag.acknowledged(has, start + SECOND * second), None);
        }
        let seen = progress.seen(start + SECOND * 100).expect("it follows");
        assert_eq!(seen.lag_bytes, 90_000);
        assert_eq!(seen.lag, SECOND * 90);
        assert_eq!(seen.headroom, None);
        // It takes half of it: it has what had passed at about the 55th second.
        lag.acknowledged(100 + 55_000, start + SECOND * 100);
        let seen = progress.seen(start + SECOND * 100).expect("it follows");
        assert_eq!(seen.lag_bytes, 45_000);
        assert!((SECOND * 44..SECOND * 50).contains(&seen.lag), "{:?}", seen.lag);
        lag.acknowledged(100 + 100_000, start + SECOND * 101);
        let seen = progress.seen(start + SECOND * 105).expect("it follows");
        assert_eq!((seen.lag_bytes, seen.lag), (0, Duration::ZERO));
    }

    #[test]
    fn a_backlog_that_is_too_small_is_said_once() {
        let start = Instant::now();
        let progress = Arc::new(Progress::new(start));
        let mut lag = Lag::new(Arc::clone(&progress), 0, 1_000_000, start);
        let mut warnings = Vec::new();
        for second in 1..=60_u32 {
            lag.passed(100_000, start + SECOND * second);
            warnings.extend(lag.acknowledged(100_000 * u64::from(second), start + SECOND * second));
        }
        let headroom = progress.seen(start + SECOND * 60).expect("it follows").headroom.expect("known");
        assert!((SECOND * 9..SECOND * 11).contains(&headroom), "{headroom:?}");
        assert!(warnings.len() == 1 && warnings[0].contains("raise repl-backlog-size"), "{warnings:?}");
        lag.passed(2_000_000, start + SECOND * 660);
        let said = lag.acknowledged(6_000_000, start + SECOND * 660).expect("a warning");
        assert!(said.contains("is 2000000 bytes behind"), "{said}");
    }

    #[test]
    fn a_stream_whose_beginning_is_told_later_is_moved() {
        let start = Instant::now();
        let progress = Arc::new(Progress::new(start));
        let mut lag = Lag::new(Arc::clone(&progress), 0, 0, start);
        lag.passed(50, start);
        lag.moved(1000);
        lag.acknowledged(1020, start + SECOND);
        assert_eq!(progress.seen(start + SECOND).expect("it follows").lag_bytes, 30);
    }
}
