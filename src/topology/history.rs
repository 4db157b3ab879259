//! Samples of the master's offset over time: what turns a replica's offset into a lag in seconds.
//!
//! Pure. The tracker adds a sample with each answer of the proven master and starts anew with each history.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Samples kept. At two probes a second and one sample each, 1024 cover at least eight minutes in 24 KiB; a
/// replica further behind than that has no lag in seconds any more.
const SAMPLES: usize = 1024;

/// Probes may come every 10 ms while something looks wrong; samples closer than this are merged, so that the
/// window never shrinks below 1024 × 100 ms = 102 s.
const SPACING: Duration = Duration::from_millis(100);

/// How far before the oldest sample a promoted replica may have been cut off and still count as its
/// successor: 1 MiB, the default replication backlog, beyond which it could not have resumed either.
const BACKLOG: u64 = 1024 * 1024;

/// The offsets of one master in one history.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Ascending in both parts.
    samples: VecDeque<(Instant, u64)>,
}

impl History {
    /// The master's history had reached `offset` when it was asked at `asked`.
    pub(super) fn add(&mut self, asked: Instant, offset: u64) {
        if self.latest().is_some_and(|latest| offset < latest) {
            // Offsets of one history never shrink: this is another one.
            self.samples.clear();
        }
        // Of two samples with one offset the later says more; of two close ones, one is enough.
        let merge = match self.samples.len() {
            0 => false,
            len => {
                let (_, last) = self.samples[len - 1];
                last == offset || (len > 1 && asked < self.samples[len - 2].0 + SPACING)
            }
        };
        if merge {
            self.samples.pop_back();
        } else if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((asked, offset));
    }

    pub(super) fn latest(&self) -> Option<u64> {
        self.samples.back().map(|&(_, offset)| offset)
    }

    /// How old the data is of whoever had applied `applied` at `when`: `when − max{t : X(t) ≤ applied}`.
    /// `None` when that lies before the oldest sample.
    pub(super) fn lag(&self, applied: u64, when: Instant) -> Option<Duration> {
        let covered = self.samples.partition_point(|&(_, offset)| offset <= applied);
        let (asked, _) = self.samples.get(covered.checked_sub(1)?)?;
        Some(when.saturating_duration_since(*asked))
    }

    /// Whether a history that branched off at `offset` left this one recently enough to be its continuation,
    /// and not a fork that somebody made long ago.
    pub(super) fn branches_recently(&self, offset: u64) -> bool {
        self.samples.front().is_none_or(|&(_, oldest)| offset.saturating_add(BACKLOG) >= oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_the_age_of_the_newest_sample_that_was_applied() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut history = History::default();
        for (ms, offset) in [(0, 100), (500, 200), (1000, 200), (1500, 300)] {
            history.add(at(ms), offset);
        }
        for (applied, want_ms) in
            [(300, Some(100)), (1000, Some(100)), (299, Some(600)), (200, Some(600)), (199, Some(1600)), (99, None)]
        {
            assert_eq!(history.lag(applied, at(1600)), want_ms.map(Duration::from_millis), "applied {applied}");
        }
    }

    #[test]
    fn the_window_is_bounded_and_close_samples_are_merged() {
        let start = Instant::now();
        let mut history = History::default();
        for n in 0..100_000_u64 {
            history.add(start + Duration::from_millis(n * 10), n);
        }
        assert!(history.samples.len() <= SAMPLES);
        let span = history.samples[history.samples.len() - 1].0 - history.samples[0].0;
        assert!(span >= Duration::from_secs(90), "{span:?}");
    }

    #[test]
    fn a_shrinking_offset_starts_anew() {
        let start = Instant::now();
        let mut history = History::default();
        history.add(start, 1000);
        history.add(start + Duration::from_secs(1), 10);
        assert_eq!((history.latest(), history.samples.len()), (Some(10), 1));
    }

    #[test]
    fn an_old_fork_is_no_continuation() {
        let mut history = History::default();
        assert!(history.branches_recently(1), "nothing sampled, nothing to compare with");
        history.add(Instant::now(), 10 * BACKLOG);
        assert!(history.branches_recently(9 * BACKLOG));
        assert!(!history.branches_recently(9 * BACKLOG - 1));
    }
}
