//! What one worker knows of the nodes it reads from, beside what control publishes: how they have served it.
//!
//! Pure: no I/O, no clock, no randomness. `backend` notes what happens and asks for judgements; `route` and the choice of one
//! node go by them. Each worker judges for itself: what is between it and a node may be what is bad, and nothing has to cross
//! threads for it.

pub(crate) mod age;
pub(crate) mod choice;
pub(crate) mod outlier;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use outlier::Seen;

/// Samples of its answers' time that a node gives in one tick at most: enough to judge, and no clock is read for the rest.
const SAMPLES_A_TICK: u32 = 32;

/// All of its ordinary share of reads, in percent.
pub(crate) const WHOLE_SHARE: u32 = 100;

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
    late: Cell<bool>,
    refused: Cell<bool>,
    lost: Cell<u32>,
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            load: Cell::new(0),
            share: Cell::new(WHOLE_SHARE),
            wanted: Cell::new(SAMPLES_A_TICK),
            samples: Cell::new(0),
            total_us: Cell::new(0),
            late: Cell::new(false),
            refused: Cell::new(false),
            lost: Cell::new(0),
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
        self.total_us.set(self.total_us.get() + u64::try_from(after.as_micros()).unwrap_or(u64::MAX / 64));
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

    /// What was noted since the last call.
    pub(crate) fn take(&self) -> Seen {
        self.wanted.set(SAMPLES_A_TICK);
        Seen {
            late: self.late.take(),
            refused: self.refused.take(),
            lost: self.lost.take(),
            samples: self.samples.take(),
            total_us: self.total_us.take(),
        }
    }
}

/// One node of the snapshot, at the same index.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) usage: Rc<Usage>,
}

impl Standing {
    /// Of all that is shared out.
    pub(crate) fn weight(&self) -> u64 {
        u64::from(self.usage.share())
    }
}
