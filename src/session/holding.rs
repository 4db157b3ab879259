//! What all of a listener's sessions that wait for a master take together, against the listener's budgets.
//!
//! Shared by the workers. Touched when a session begins to wait, when what it holds changes meanwhile, and when it ends:
//! never by a command that finds its node. `hold.rs` uses it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::config::HoldBudget;

/// One listener's sums.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    sessions: AtomicU64,
    bytes: AtomicU64,
}

/// The budget that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exhausted {
    Sessions(u64),
    Bytes(u64),
}

/// One session's share, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    holding: Arc<Holding>,
    bytes: u64,
}

impl Holding {
    /// Clients that wait now.
    pub(crate) fn sessions(&self) -> u64 {
        self.sessions.load(Relaxed)
    }

    /// Takes in one more session, unless that is more than may wait. Its bytes are told when they are known.
    pub(super) fn enter(self: &Arc<Self>, budget: &HoldBudget) -> Result<Share, Exhausted> {
        if let Some(limit) = budget.bytes.filter(|limit| self.bytes.load(Relaxed) >= *limit) {
            return Err(Exhausted::Bytes(limit));
        }
        // Counted first, so that two workers cannot both take the last place.
        let before = self.sessions.fetch_add(1, Relaxed);
        let share = Share { holding: Arc::clone(self), bytes: 0 };
        match budget.sessions.filter(|limit| before >= *limit) {
            Some(limit) => Err(Exhausted::Sessions(limit)),
            None => Ok(share),
        }
    }
}

impl Share {
    /// The session's buffers hold so many bytes now.
    pub(super) fn holds(&mut self, bytes: u64) {
        if bytes != self.bytes {
            // Wraps where it shrinks, which adds up to the same.
            self.holding.bytes.fetch_add(bytes.wrapping_sub(self.bytes), Relaxed);
            self.bytes = bytes;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.holds(0);
        self.holding.sessions.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_sessions_wait_than_may() {
        let holding = Arc::<Holding>::default();
        let budget = HoldBudget { sessions: Some(2), bytes: None };
        let first = holding.enter(&budget).expect("room");
        let _second = holding.enter(&budget).expect("room");
        assert_eq!(holding.enter(&budget).expect_err("full"), Exhausted::Sessions(2));
        drop(first);
        let _third = holding.enter(&budget).expect("the refused one left nothing behind");
    }

    #[test]
    fn nobody_begins_to_wait_while_the_others_hold_all_bytes() {
        let holding = Arc::<Holding>::default();
        let budget = HoldBudget { sessions: None, bytes: Some(100) };
        let mut first = holding.enter(&budget).expect("room");
        let mut second = holding.enter(&budget).expect("nothing is held yet");
        first.holds(60);
        second.holds(40);
        assert_eq!(holding.enter(&budget).expect_err("full"), Exhausted::Bytes(100));
        second.holds(39);
        let third = holding.enter(&budget).expect("one byte is free");
        drop((first, second, third));
        assert_eq!((holding.sessions.load(Relaxed), holding.bytes.load(Relaxed)), (0, 0));
    }
}
