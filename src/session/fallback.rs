//! Reads that fall back to the master because no replica can serve, and the operator's bound on them.
//!
//! `batch` asks before it routes such a read and counts it when it is sent. Beyond the bound the session waits as it does for
//! a master, up to the listener's `hold`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task;
use std::time::{Duration, Instant};

use super::{Inner, Session};
use crate::reading::budget::Rate;

/// Sessions that wait are woken together, and not more often than this.
const LEAST_WAIT: Duration = Duration::from_millis(5);

/// Of one listener on one worker.
pub(super) struct Fallbacks {
    /// `None`: as many as come.
    rate: Option<RefCell<Rate>>,
    /// Somebody will wake those who wait.
    waking: Rc<Cell<bool>>,
}

impl Fallbacks {
    pub(super) fn new(per_second: Option<u64>) -> Self {
        let rate = per_second.map(|per_second| RefCell::new(Rate::new(per_second)));
        Self { rate, waking: Rc::default() }
    }
}

impl Session {
    /// Whether a read may go to the master for want of a replica. If not, the session's task is woken when it is worth
    /// trying again.
    pub(super) fn may_fall_back(&self, inner: &mut Inner, cx: &task::Context<'_>) -> bool {
        let fallbacks = self.context.fallbacks.borrow();
        let Some(Err(after)) = fallbacks.rate.as_ref().map(|rate| rate.borrow_mut().may(Instant::now())) else {
            return true;
        };
        inner.reading.capped = true;
        self.context.pool.wait_for_change(cx.waker());
        if !fallbacks.waking.replace(true) {
            let (pool, waking) = (Rc::clone(&self.context.pool), Rc::clone(&fallbacks.waking));
            tokio::task::spawn_local(async move {
                tokio::time::sleep(after.max(LEAST_WAIT)).await;
                waking.set(false);
                pool.wake_waiting();
            });
        }
        false
    }

    /// So many reads go to the master for want of a replica.
    pub(super) fn note_fallback(&self, reads: u64) {
        self.context.workspace.counters.reads_fallback.add(reads);
        if let Some(rate) = &self.context.fallbacks.borrow().rate {
            rate.borrow_mut().take(reads);
        }
    }

    /// What a command is answered that found no lane within `hold`.
    pub(super) fn unserved_error(&self, inner: &Inner) -> String {
        let fallbacks = self.context.fallbacks.borrow();
        let rate = fallbacks.rate.as_ref().filter(|_| inner.reading.capped);
        let most = rate.map(|rate| rate.borrow().per_second());
        let Some(most) = most else {
            return self.hold_error();
        };
        let snapshot = self.context.pool.snapshot();
        let why =
            snapshot.nodes.iter().find_map(|node| Some(format!("{}: {}", node.address, node.readable.as_ref().err()?)));
        let why = why.unwrap_or_else(|| "those there are serve badly or are too far behind".to_owned());
        let group = self.context.pool.group_name();
        format!(
            "LOADING Redan sends the master of group '{group}' at most {most} reads a second on each worker while no replica \
             can serve, and this one has waited too long: {why}"
        )
    }
}
