//! What the buffers of all clients hold together, against the bound of the process (`max_memory`).
//!
//! Each worker keeps its own sum in its counters, without a locked instruction. Whoever makes a buffer grow asks its
//! worker's [`Account`], which compares all workers' sums with the bound whenever its own has grown by [`STEP`]: so the
//! answer comes after so many bytes, not after so many seconds. Which client is closed is the session's business; this
//! module says whether one must be, and in which worker. It must never touch a client.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::Notify;

use crate::metrics::{Gauge, WorkerCounters};

/// A worker compares after so many new bytes. 64 KiB are one read: at 64 workers the sum is at most 4 MiB off, and
/// comparing costs nothing beside filling 64 KiB.
const STEP: u64 = 64 * 1024;

/// All workers' sums and the bound. Shared by workers, acceptor and admin.
#[derive(Debug)]
pub(crate) struct Memory {
    /// `u64::MAX` is none.
    bound: AtomicU64,
    workers: Box<[Place]>,
}

#[derive(Debug)]
struct Place {
    counters: Arc<WorkerCounters>,
    /// What its largest client held when it was last looked at. Written by the worker alone.
    largest: Gauge,
    /// Another worker found that this one shall close its largest client.
    called: Notify,
}

impl Memory {
    pub(crate) fn new(bound: Option<u64>, workers: &[Arc<WorkerCounters>]) -> Arc<Self> {
        let place = |counters: &Arc<WorkerCounters>| Place {
            counters: Arc::clone(counters),
            largest: Gauge::default(),
            called: Notify::new(),
        };
        let bound = AtomicU64::new(bound.unwrap_or(u64::MAX));
        Arc::new(Self { bound, workers: workers.iter().map(place).collect() })
    }

    pub(crate) fn bound(&self) -> Option<u64> {
        Some(self.bound.load(Relaxed)).filter(|bound| *bound != u64::MAX)
    }

    /// Another one from now on.
    pub(crate) fn rebound(&self, bound: Option<u64>) {
        self.bound.store(bound.unwrap_or(u64::MAX), Relaxed);
    }

    /// Bytes that buffers of clients hold now.
    pub(crate) fn held(&self) -> u64 {
        self.workers.iter().map(|place| place.counters.memory.sum()).sum()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.bound().is_some_and(|bound| self.held() > bound)
    }
}

/// One worker's part in it.
#[derive(Debug)]
pub(crate) struct Account {
    memory: Arc<Memory>,
    worker: usize,
    /// The worker's sum when it was last compared, or since then if that was less.
    compared: Cell<u64>,
}

impl Account {
    pub(crate) fn new(memory: Arc<Memory>, worker: usize) -> Self {
        Self { memory, worker, compared: Cell::new(0) }
    }

    fn place(&self) -> &Place {
        &self.memory.workers[self.worker]
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The worker's sum has changed, by a client that now holds `client` bytes. `true`: this worker must close clients
    /// now. Where another worker has the largest it is called, unless the bound is passed by an eighth: then the nearest
    /// client must do, because no other thread can be waited for.
    pub(crate) fn changed(&self, client: u64) -> bool {
        let (mine, compared) = (self.place().counters.memory.sum(), self.compared.get());
        if mine < compared.saturating_add(STEP) {
            self.compared.set(compared.min(mine));
            return false;
        }
        self.compared.set(mine);
        let largest = &self.place().largest;
        largest.set(largest.get().max(client));
        self.memory.is_over() && self.is_up_to_me()
    }

    /// Whether this worker shall close its largest client; if not, the worker that shall is called.
    pub(crate) fn is_up_to_me(&self) -> bool {
        let Some(bound) = self.memory.bound() else {
            return false;
        };
        let mine = self.place().largest.get();
        let other = self.memory.workers.iter().max_by_key(|place| place.largest.get());
        match other.filter(|other| other.largest.get() > mine) {
            Some(other) if self.memory.held() <= bound + bound / 8 => {
                other.called.notify_one();
                false
            }
            _ => true,
        }
    }

    /// What the largest client of this worker holds, as just found out.
    pub(crate) fn largest_is(&self, bytes: u64) {
        self.place().largest.set(bytes);
    }

    /// How far the sum is above what shall remain: a sixteenth below the bound, so that the next client to be closed is not
    /// looked for after every piece.
    pub(crate) fn excess(&self) -> u64 {
        let goal = self.memory.bound().map_or(u64::MAX, |bound| bound - bound / 16);
        self.memory.held().saturating_sub(goal)
    }

    /// Completes when another worker has called. Cancel safe.
    pub(crate) async fn called(&self) {
        self.place().called.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::MemoryKind::Output;

    fn two(bound: u64) -> (Vec<Arc<WorkerCounters>>, Account, Account) {
        let counters: Vec<Arc<WorkerCounters>> = vec![Arc::default(), Arc::default()];
        let memory = Memory::new(Some(bound), &counters);
        let account = |worker| Account::new(Arc::clone(&memory), worker);
        (counters, account(0), account(1))
    }

    #[test]
    fn it_is_compared_after_every_step_of_growth_and_not_before() {
        let (counters, account, _) = two(3 * STEP);
        let output = counters[0].memory.of(Output);
        output.set(4 * STEP);
        assert!(account.changed(4 * STEP));
        output.set(5 * STEP - 1);
        assert!(!account.changed(5 * STEP - 1), "less than a step since");
        output.set(5 * STEP);
        assert!(account.changed(5 * STEP));
        output.set(STEP);
        assert!(!account.changed(STEP));
        output.set(2 * STEP);
        assert!(!account.changed(2 * STEP), "within the bound");
        output.set(4 * STEP);
        assert!(account.changed(4 * STEP), "growth counts from the lowest");
    }

    #[tokio::test]
    async fn the_worker_with_the_largest_client_closes_it_and_in_need_whoever_notices() {
        let (counters, small, large) = two(160 * STEP);
        counters[1].memory.of(Output).set(150 * STEP);
        assert!(!large.changed(150 * STEP));
        counters[0].memory.of(Output).set(20 * STEP);
        assert!(!small.changed(20 * STEP), "the other has a larger one");
        large.called().await;
        assert!(large.is_up_to_me());
        assert_eq!(large.excess(), 20 * STEP);
        counters[0].memory.of(Output).set(31 * STEP);
        assert!(small.changed(31 * STEP), "an eighth over the bound nobody waits for another thread");
        large.largest_is(0);
        counters[1].memory.of(Output).set(0);
        assert_eq!((small.excess(), small.memory().is_over()), (0, false));
    }

    #[test]
    fn without_a_bound_nothing_is_over() {
        let counters: Vec<Arc<WorkerCounters>> = vec![Arc::default()];
        counters[0].memory.of(Output).set(u64::MAX / 2);
        let account = Account::new(Memory::new(None, &counters), 0);
        assert!(!account.changed(u64::MAX / 2) && account.excess() == 0);
    }
}
