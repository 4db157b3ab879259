//! What a new session must see: everything that was acknowledged before it connected, by any worker of this process.
//!
//! An application that opens a connection per request writes over one and reads over the next. Each worker counts its
//! turns in which a write may have been acknowledged, in a counter of its own; only a new session adds the counters up.
//! When the sum has grown, the session's first sight is the current generation: its reads go to the master until one mark,
//! a few milliseconds, and all sessions that start after that share the same proof.
//!
//! While another process serves the same clients, the one that this one replaces, nobody here can know what it acknowledges: as long
//! as it may, every new session's first sight is the generation that it starts in.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
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
pub(crate) struct Acknowledged(Arc<All>);

#[derive(Debug, Default)]
struct All {
    turns: Mutex<Vec<Arc<Turns>>>,
    elsewhere: AtomicBool,
}

impl Acknowledged {
    /// A worker's own counter.
    pub(super) fn join(&self) -> Arc<Turns> {
        let turns = Arc::new(Turns::default());
        self.all().push(Arc::clone(&turns));
        turns
    }

    /// Another process may acknowledge writes from now on, or has acknowledged its last one.
    pub(crate) fn elsewhere(&self, begins: bool) {
        // Whoever starts after the last one must see it, however long ago the sum has grown.
        self.join().note();
        self.0.elsewhere.store(begins, SeqCst);
    }

    /// The sum tells all that there is to know.
    pub(super) fn is_complete(&self) -> bool {
        !self.0.elsewhere.load(SeqCst)
    }

    /// Grows whenever a write may have been acknowledged. Locked by new sessions only.
    pub(super) fn sum(&self) -> u64 {
        self.all().iter().map(|turns| turns.0.get()).fold(0, u64::wrapping_add)
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Turns>>> {
        self.0.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
