//! Sees to it that writes are assured while sessions wait for that, and wakes each when something is known of its own.
//!
//! One task per worker and group. It asks only while somebody waits, at most once per [`INTERVAL`] and node, however many
//! wait. Its questions are those for marks (`marker.rs`), put so that the answers name the history.

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::marker::{self, Question};
use super::pool::Pool;
use crate::assurance::{Assurance, Place, Verdict};
use crate::topology::{NodeId, Snapshot};

/// Clients wait for it with every write, so it is shorter than that for marks: a thousand questions a second cost a server
/// about 1 % of its time, and less than as many WAITs.
const INTERVAL: Duration = Duration::from_millis(1);

/// How soon a master is asked again that nobody waits for.
const HEARING: Duration = Duration::from_millis(50);

/// How late somebody is told that his time is over, while a node does not answer.
const TICK: Duration = Duration::from_millis(10);

/// A write whose client waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// Who answered it, and in which generation.
    pub(crate) node: NodeId,
    pub(crate) generation: u64,
    /// When the client is told, whatever is known then.
    pub(crate) deadline: Instant,
}

struct Waiting {
    wait: Wait,
    wanted: usize,
    waker: Waker,
}

pub(super) struct Assurer {
    state: RefCell<Assurance>,
    /// By the session's id.
    waiting: RefCell<HashMap<u64, Waiting>>,
    called: Notify,
    /// Sessions will wait: each master is heard at once, so that the first write already has a history to belong to.
    expected: Cell<bool>,
}

impl Assurer {
    pub(super) fn new() -> Self {
        Self {
            state: RefCell::new(Assurance::new()),
            waiting: RefCell::default(),
            called: Notify::new(),
            expected: Cell::new(false),
        }
    }

    /// `current` is the generation that begins with the snapshot.
    pub(super) fn topology_changed(&self, new: &Snapshot, current: u64) {
        let mut state = self.state.borrow_mut();
        state.reset(new.epoch, current);
        state.retain(|id| new.node(id).is_some());
        self.called.notify_one();
    }
}

pub(super) async fn run(pool: Weak<Pool>) {
    loop {
        let Some(pool) = pool.upgrade() else {
            return;
        };
        let assurer = &pool.assurer;
        let unheard = assurer.expected.get() && pool.snapshot().master.is_some() && !pool.assurance().has_heard();
        let idle = assurer.waiting.borrow().is_empty();
        if idle && !unheard {
            // Looked at again now and then, so that the task ends with its worker.
            let _ = tokio::time::timeout(Duration::from_secs(5), assurer.called.notified()).await;
            continue;
        }
        let started = Instant::now();
        let mut round = pin!(marker::round(&pool, Question::Histories));
        loop {
            tokio::select! {
                () = &mut round => break,
                () = tokio::time::sleep(TICK) => pool.wake_overdue(),
            }
        }
        if idle {
            // Whoever begins to wait does not wait for this.
            let _ = tokio::time::timeout_at(started + HEARING, assurer.called.notified()).await;
        }
        tokio::time::sleep_until(started + INTERVAL).await;
        pool.wake_overdue();
    }
}

impl Pool {
    /// Sessions of this group will wait for assurance.
    pub(crate) fn expect_assurance(&self) {
        self.assurer.expected.set(true);
        self.assurer.called.notify_one();
    }

    /// Wakes the session when its write is assured, never will be, or its time is over. Its place is taken by its next wait.
    pub(crate) fn wait_for_assurance(&self, session: u64, wait: Wait, wanted: usize, waker: &Waker) {
        let waiting = Waiting { wait, wanted, waker: waker.clone() };
        self.assurer.waiting.borrow_mut().insert(session, waiting);
        self.assurer.called.notify_one();
    }

    /// The node's data may have gone back in time.
    pub(super) fn interrupted(&self, node: NodeId) {
        self.marks.borrow_mut().interrupt(node);
        self.assurer.state.borrow_mut().interrupt(node);
    }

    pub(crate) fn stop_waiting_for_assurance(&self, session: u64) {
        self.assurer.waiting.borrow_mut().remove(&session);
    }

    pub(crate) fn verdict(&self, wait: &Wait, wanted: usize) -> Verdict {
        self.assurance().verdict(wait.node, wait.generation, wanted)
    }

    fn assurance(&self) -> Ref<'_, Assurance> {
        self.assurer.state.borrow()
    }

    /// Fewer than `wanted` replicas could assure a write now, as far as is known.
    pub(crate) fn lacks_replicas(&self, wanted: usize) -> bool {
        marker::witnesses(&self.snapshot()).count() < wanted
    }

    pub(super) fn assured_master_at(&self, epoch: u64, node: NodeId, generation: u64, place: &Place) {
        self.assurer.state.borrow_mut().master_at(epoch, node, generation, place);
        self.wake_decided();
    }

    pub(super) fn assured_replica_at(&self, epoch: u64, node: NodeId, place: &Place) {
        let news = self.assurer.state.borrow_mut().replica_at(epoch, node, place);
        if news {
            self.wake_decided();
        }
    }

    fn wake_decided(&self) {
        self.wake_where(|pool, waiting| !matches!(pool.verdict(&waiting.wait, waiting.wanted), Verdict::Pending(_)));
    }

    fn wake_overdue(self: &Rc<Self>) {
        let now = Instant::now();
        self.wake_where(|_, waiting| waiting.wait.deadline <= now);
    }

    fn wake_where(&self, is_over: impl Fn(&Self, &Waiting) -> bool) {
        self.assurer.waiting.borrow_mut().retain(|_, waiting| {
            let over = is_over(self, waiting);
            if over {
                waiting.waker.wake_by_ref();
            }
            !over
        });
    }
}
