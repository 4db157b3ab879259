//! What one worker knows of the nodes it reads from, beside what control publishes: how they have served it.
//!
//! Pure: no I/O, no clock, no randomness. `backend` notes what happens and asks for judgements; `route` and the choice of one
//! node go by them. Each worker judges for itself: what is between it and a node may be what is bad, and nothing has to cross
//! threads for it.

pub(crate) mod age;
pub(crate) mod budget;
pub(crate) mod choice;
pub(crate) mod lag;
pub(crate) mod outlier;
pub(crate) mod tail;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use outlier::Seen;
use tail::{Percentile, Tail};

/// Samples of its answers' time that a node gives in one tick at most: enough to judge, and no clock is read for the rest.
const SAMPLES_A_TICK: u32 = 32;

/// All of its ordinary share of reads, in percent.
const WHOLE_SHARE: u32 = 100;

/// What a node has done for this worker. Shared with the lanes to it.
#[derive(Debug)]
pub(crate) struct Usage {
    /// Unanswered commands of all lanes to it.
    load: Cell<usize>,
    /// Percent of its ordinary share of reads that it gets now; 0: it is out.
    share: Cell<u32>,
    /// Samples that are still wanted in this tick.
    wanted: Cell<u32>,
    /// Since the last tick.
    samples: Cell<u32>,
    total_us: Cell<u64>,
    tail: Cell<Tail>,
    late: Cell<bool>,
    refused: Cell<bool>,
    lost: Cell<u32>,
    /// Smoothed, of answers and of probes; 0: unknown.
    round_trip_us: Cell<u64>,
    /// Of probes, as the last snapshot has it; 0: unknown.
    probed_us: Cell<u64>,
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            load: Cell::new(0),
            share: Cell::new(WHOLE_SHARE),
            wanted: Cell::new(SAMPLES_A_TICK),
            samples: Cell::new(0),
            total_us: Cell::new(0),
            tail: Cell::default(),
            late: Cell::new(false),
            refused: Cell::new(false),
            lost: Cell::new(0),
            round_trip_us: Cell::new(0),
            probed_us: Cell::new(0),
        }
    }
}

impl Usage {
    pub(crate) fn load(&self) -> usize {
        self.load.get()
    }

    /// One lane had `before` unanswered commands and has `now`.
    pub(crate) fn load_moved(&self, before: usize, now: usize) {
        debug_assert!(self.load.get() >= before, "what is taken away was added before");
        self.load.set(self.load.get().saturating_sub(before) + now);
    }

    pub(crate) fn is_out(&self) -> bool {
        self.share.get() == 0
    }

    pub(crate) fn share(&self) -> u32 {
        self.share.get()
    }

    pub(crate) fn set_share(&self, share: u32) {
        self.share.set(share);
    }

    pub(crate) fn wants_sample(&self) -> bool {
        self.wanted.get() > 0
    }

    /// An answer came after so long.
    pub(crate) fn sample(&self, after: Duration) {
        self.wanted.set(self.wanted.get().saturating_sub(1));
        self.samples.set(self.samples.get() + 1);
        self.total_us.set(self.total_us.get().saturating_add(micros(after)));
        let mut tail = self.tail.get();
        tail.sample(micros(after));
        self.tail.set(tail);
    }

    /// Within what time it answers so many of a hundred reads.
    pub(crate) fn slowest_but(&self, percentile: Percentile) -> Option<Duration> {
        self.tail.get().of(percentile)
    }

    /// It has owed a read for longer than reads may take.
    pub(crate) fn note_late(&self) {
        self.late.set(true);
    }

    /// It has said that it cannot serve now. It is out at once.
    pub(crate) fn note_refused(&self) {
        self.refused.set(true);
        self.share.set(0);
    }

    /// A connection that owed answers broke.
    pub(crate) fn note_lost(&self) {
        self.lost.set(self.lost.get() + 1);
    }

    /// How far away it is: by its answers, and where there are none by its probes.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        Some(self.round_trip_us.get()).filter(|us| *us > 0).map(Duration::from_micros)
    }

    /// A snapshot says how long probes take. Without answers since the last one its distance goes there by and by: what was
    /// slow once, and is not asked since, is not slow for ever.
    pub(crate) fn probed(&self, round_trip: Option<Duration>) {
        self.probed_us.set(round_trip.map_or(0, |round_trip| micros(round_trip).max(1)));
        if self.samples.get() == 0 {
            self.smooth(self.probed_us.get());
        }
    }

    fn smooth(&self, us: u64) {
        let old = self.round_trip_us.get();
        if us > 0 {
            // About eight of them, as TCP does it.
            self.round_trip_us.set(if old == 0 { us } else { (old * 7 + us).div_ceil(8) });
        }
    }

    /// What was noted since the last call.
    pub(crate) fn take(&self) -> Seen {
        self.wanted.set(SAMPLES_A_TICK);
        if let Some(mean) = self.total_us.get().checked_div(u64::from(self.samples.get())) {
            self.smooth(mean.max(1));
        }
        Seen {
            late: self.late.take(),
            refused: self.refused.take(),
            lost: self.lost.take(),
            samples: self.samples.take(),
            total_us: self.total_us.take(),
        }
    }
}

fn micros(time: Duration) -> u64 {
    // A year is as good as for ever, and can be added up.
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(365 * 86_400_000_000)
}

/// A node of which its worker has more unanswered commands than this is overloaded: some 5 ms of what a server does.
const OVERLOADED: usize = 512;

/// One node of the snapshot, at the same index.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) usage: Rc<Usage>,
    /// As the operator has it; 0: no reads while another can serve.
    pub(crate) weight: u32,
    /// In the zone that Redan is in.
    pub(crate) local: bool,
}

impl Standing {
    /// Its part of what is shared out.
    pub(crate) fn part(&self) -> u64 {
        u64::from(self.weight) * u64::from(self.usage.share())
    }

    /// Local, and not so busy that a node elsewhere would answer sooner.
    pub(crate) fn serves_locally(&self) -> bool {
        self.local && self.usage.load() < OVERLOADED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_round_trip_follows_answers_and_falls_back_to_probes() {
        let usage = Usage::default();
        assert_eq!(usage.round_trip(), None);
        usage.probed(Some(Duration::from_micros(800)));
        assert_eq!(usage.round_trip(), Some(Duration::from_micros(800)));
        for _ in 0..60 {
            usage.sample(Duration::from_micros(200));
            usage.probed(Some(Duration::from_micros(800)));
            usage.take();
        }
        let near = usage.round_trip().expect("known");
        assert!(near < Duration::from_micros(220), "answers say so: {near:?}");
        for _ in 0..60 {
            usage.probed(Some(Duration::from_micros(800)));
        }
        let far = usage.round_trip().expect("known");
        assert!(far > Duration::from_micros(780), "nothing else is known any more: {far:?}");
    }

    #[test]
    fn only_so_many_samples_are_wanted_in_a_tick() {
        let usage = Usage::default();
        for _ in 0..SAMPLES_A_TICK {
            assert!(usage.wants_sample());
            usage.sample(Duration::from_micros(10));
        }
        assert!(!usage.wants_sample());
        assert_eq!(usage.take().samples, SAMPLES_A_TICK);
        assert!(usage.wants_sample());
    }
}
