//! Nodes that could not be reached, or broke their connection: each is left alone for a while.
//!
//! Whoever opens connections of the pool tells of both, and asks before it tries. The sessions that wait are woken when a node
//! may be tried again. Nothing here dials.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::pool::Pool;
use crate::topology::NodeId;

/// After a failed connection a node is left alone for 50 ms, doubled for each further failure up to 1 s: a restarted
/// server is found within the blink of an eye, and a dead one costs two attempts a second and worker.
const FIRST_BACK_OFF: Duration = Duration::from_millis(50);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);

struct Trouble {
    node: NodeId,
    until: Instant,
    failures: u32,
}

#[derive(Default)]
pub(super) struct Troubles(RefCell<Vec<Trouble>>);

impl Troubles {
    fn has(&self, node: NodeId) -> bool {
        let now = Instant::now();
        self.0.borrow().iter().any(|trouble| trouble.node == node && trouble.until > now)
    }

    /// How long the node is left alone from now on. `None`: it is already.
    fn note(&self, node: NodeId) -> Option<Duration> {
        let mut troubles = self.0.borrow_mut();
        let index = troubles.iter().position(|trouble| trouble.node == node).unwrap_or_else(|| {
            troubles.push(Trouble { node, until: Instant::now(), failures: 0 });
            troubles.len() - 1
        });
        let trouble = &mut troubles[index];
        let now = Instant::now();
        if trouble.until > now {
            return None;
        }
        let back_off = (FIRST_BACK_OFF * 2u32.pow(trouble.failures.min(5))).min(LONGEST_BACK_OFF);
        trouble.failures += 1;
        trouble.until = now + back_off;
        Some(back_off)
    }

    fn forget(&self, node: NodeId) {
        self.0.borrow_mut().retain(|trouble| trouble.node != node);
    }
}

impl Pool {
    pub(crate) fn is_troubled(&self, node: NodeId) -> bool {
        self.troubles.has(node)
    }

    /// The node cannot be used now: leave it alone for a while, tell control, and wake who waits when it may be tried again.
    pub(crate) fn trouble(self: &Rc<Self>, node: NodeId) {
        self.counters_of(node).failures.increment();
        if self.is_master(node) {
            self.mark_unserved();
        }
        let back_off = self.troubles.note(node);
        self.look();
        let Some(back_off) = back_off else {
            return;
        };
        let pool = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(back_off + Duration::from_millis(1)).await;
            if let Some(pool) = pool.upgrade() {
                pool.wake_waiting();
            }
        });
    }

    /// A connection to the node was opened.
    pub(super) fn reached(&self, node: NodeId) {
        self.troubles.forget(node);
        if self.is_master(node) {
            self.unserved_since.set(None);
        }
    }

    /// Writes cannot be served from now on, if they could before.
    pub(super) fn mark_unserved(&self) {
        if self.unserved_since.get().is_none() {
            self.unserved_since.set(Some(Instant::now()));
        }
    }
}
