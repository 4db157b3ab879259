//! What a new session must see: everything that was acknowledged before it connected, by any worker of this process.
//!
//! An application that opens a connection per request writes over one and reads over the next. Each worker counts its
//! turns in which a write may have been acknowledged, in a counter of its own; only a new session adds the counters up.
//! When the sum has grown, the session's first sight is the current generation: its reads go to the master until one mark,
//! a few milliseconds, and all sessions that start after that share the same proof.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::metrics::Counter;

/// On a line of its own: the owner writes it with every batch of replies.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Turns(Counter);

impl Turns {
    /// A write may be acknowledged now; to be called before the client is told.
    pub(super) fn note(&self) {
        self.0.increment();
    }
}

/// The counters of all workers for one group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acknowledged(Arc<Mutex<Vec<Arc<Turns>>>>);

impl Acknowledged {
    /// A worker's own counter.
    pub(super) fn join(&self) -> Arc<Turns> {
        let turns = Arc::new(Turns::default());
        self.all().push(Arc::clone(&turns));
        turns
    }

    /// As if a write were acknowledged now: another process may have done so.
    pub(crate) fn stir(&self) {
        self.join().note();
    }

    /// Grows whenever a write may have been acknowledged. Locked by new sessions only.
    pub(super) fn sum(&self) -> u64 {
        self.all().iter().map(|turns| turns.0.get()).fold(0, u64::wrapping_add)
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Turns>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
