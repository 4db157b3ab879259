//! What a session finds around it: its listener's policy, its worker's shared buffers and counters, its group's pool.
//!
//! Made by the worker, one per listener, which gives it another policy when the configuration changes; everything in it belongs to
//! the worker's thread.

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use super::Session;
use super::fallback::Fallbacks;
use super::holding::Holding;
use super::switchboard::Switchboard;
use crate::backend::pool::Pool;
use crate::config;
use crate::handover::Outbox;
use crate::insight::trace::Outlet;
use crate::insight::{self, Insight};
use crate::limits;
use crate::memory::Account;
use crate::metrics::{MemoryKind, ServedCounters, WorkerCounters};
use crate::rarely::Rarely;
use crate::reading::lag::LagGate;
use crate::throttle::Throttle;
use crate::topology::edition::Edition;
use crate::transport::CipherBuffer;

/// What all sessions of one worker share.
pub(crate) struct Workspace {
    pub(crate) counters: Arc<WorkerCounters>,
    pub(super) cipher: Rc<RefCell<CipherBuffer>>,
    /// Clients are read into this, one at a time, so an idle session holds no buffer.
    pub(super) scratch: RefCell<Vec<u8>>,
    /// The commands of the batch being routed.
    pub(super) plan: RefCell<Vec<super::plan::Item>>,
    /// Buffers that sessions gave back: a session with something to keep takes one instead of allocating.
    spare: RefCell<Vec<Vec<u8>>>,
    /// Capacity of all spare buffers.
    spare_bytes: Cell<usize>,
    /// Shared by all workers, so that a guesser gains nothing by reconnecting. Taken for AUTH alone.
    pub(super) throttle: Arc<Mutex<Throttle>>,
    /// To all workers' sessions. Used by CLIENT LIST and the like alone.
    pub(super) switchboard: Arc<Switchboard>,
    /// Sessions end when they have nothing in flight.
    pub(crate) draining: Cell<bool>,
    /// Or go to another process; those that cannot may wait until their clients are silent, for as long as this is patient.
    pub(super) outbox: RefCell<Option<Outbox>>,
    pub(super) patient: Cell<bool>,
    /// The worker's sessions past their handshake, by id.
    pub(crate) live: Live,
    /// What all buffers hold, against the bound of the process.
    pub(crate) account: Account,
    /// What is remembered of single commands; whether some are traced, beside it because every command asks.
    pub(crate) insight: RefCell<Insight>,
    pub(super) traces: Cell<bool>,
    /// Who is told of them; `None`: the log.
    pub(super) outlet: Option<Outlet>,
    /// For the log line about a client that was closed because of that bound.
    pub(super) relieved: Rarely,
}

pub(crate) type Live = Rc<RefCell<HashMap<u64, Rc<Session>>>>;

/// Spare capacity a worker keeps while it is busy: 16 MiB are 64 clients with sixteen replies of 16 KB each on their way.
const SPARE: usize = 16 * 1024 * 1024;
/// A larger buffer is not kept: whoever got it next would seem to hold that much for a few bytes.
const LARGEST_SPARE: usize = 512 * 1024;
/// What remains of it when nobody needs it.
const SPARE_AT_REST: usize = 1024 * 1024;

impl Workspace {
    pub(crate) fn new(
        counters: Arc<WorkerCounters>,
        cipher: Rc<RefCell<CipherBuffer>>,
        throttle: Arc<Mutex<Throttle>>,
        switchboard: Arc<Switchboard>,
        account: Account,
        insight: Insight,
        outlet: Option<Outlet>,
    ) -> Self {
        Self {
            counters,
            cipher,
            scratch: RefCell::new(vec![0; limits::HALF_COMMAND + limits::CLIENT_READ]),
            plan: RefCell::default(),
            spare: RefCell::default(),
            spare_bytes: Cell::new(0),
            throttle,
            switchboard,
            draining: Cell::new(false),
            outbox: RefCell::default(),
            patient: Cell::new(false),
            live: Live::default(),
            account,
            traces: Cell::new(insight.is_tracing()),
            insight: RefCell::new(insight),
            outlet,
            relieved: Rarely::default(),
        }
    }

    /// Another process has taken the place of this one.
    pub(crate) fn hand_over(&self, outbox: Outbox) {
        *self.outbox.borrow_mut() = Some(outbox);
        self.draining.set(true);
        self.patient.set(true);
    }

    /// What is remembered of single commands from now on.
    pub(crate) fn follow(&self, settings: &insight::Settings) {
        let mut insight = self.insight.borrow_mut();
        insight.follow(settings);
        self.traces.set(insight.is_tracing());
    }

    pub(crate) fn is_patient(&self) -> bool {
        self.patient.get()
    }

    pub(crate) fn drain(&self) {
        self.draining.set(true);
        self.patient.set(false);
    }

    /// An empty buffer.
    pub(super) fn buffer(&self) -> Vec<u8> {
        let buffer = self.spare.borrow_mut().pop().unwrap_or_default();
        self.spare_is(self.spare_bytes.get() - buffer.capacity());
        buffer
    }

    fn spare_is(&self, bytes: usize) {
        self.spare_bytes.set(bytes);
        self.counters.memory.of(MemoryKind::Spare).set(bytes as u64);
    }

    /// Every byte counts now.
    pub(super) fn drop_spare(&self) {
        self.spare.borrow_mut().clear();
        self.spare_is(0);
    }

    pub(super) fn give_back(&self, mut buffer: Vec<u8>) {
        let total = self.spare_bytes.get() + buffer.capacity();
        if (1..=LARGEST_SPARE).contains(&buffer.capacity()) && total <= SPARE {
            buffer.clear();
            self.spare_is(total);
            self.spare.borrow_mut().push(buffer);
        }
    }

    /// Called about once a second: half of what is spare goes, so that a burst's memory is gone after some seconds.
    pub(crate) fn tick(&self) {
        let mut spare = self.spare.borrow_mut();
        let goal = (self.spare_bytes.get() / 2).max(SPARE_AT_REST);
        while self.spare_bytes.get() > goal
            && let Some(buffer) = spare.pop()
        {
            self.spare_is(self.spare_bytes.get() - buffer.capacity());
        }
    }
}

/// One listener, as one worker sees it.
pub(crate) struct Context {
    /// As it is configured now.
    listener: RefCell<Arc<config::Listener>>,
    /// Its number, as counters know it.
    pub(super) number: u8,
    /// The listener is no more: its sessions end when they have nothing in flight.
    leaving: Cell<bool>,
    pub(crate) pool: Rc<Pool>,
    pub(crate) workspace: Rc<Workspace>,
    /// Of all workers: what the listener's sessions take that wait for a master.
    pub(super) holding: Arc<Holding>,
    /// Which replicas are near enough behind for this listener.
    lag: RefCell<LagGate>,
    pub(super) fallbacks: RefCell<Fallbacks>,
}

impl Context {
    pub(crate) fn new(
        number: usize,
        listener: Arc<config::Listener>,
        pool: Rc<Pool>,
        workspace: Rc<Workspace>,
        holding: Arc<Holding>,
    ) -> Self {
        // Those beyond the table share its last place, which is before the one that stands for nobody.
        let number = number.min(limits::LISTENER_COUNTERS - 1) as u8;
        let lag = RefCell::new(LagGate::new(listener.max_lag));
        let fallbacks = RefCell::new(Fallbacks::new(listener.master_reads_limit));
        let (listener, leaving) = (RefCell::new(listener), Cell::new(false));
        Self { listener, number, leaving, pool, workspace, holding, lag, fallbacks }
    }

    /// What this worker counts of the listener.
    pub(crate) fn counters(&self) -> &ServedCounters {
        self.workspace.counters.listeners.of(self.number)
    }

    /// Redan has answered a command itself, or sent it on its own way.
    pub(super) fn counted_here(&self, row: u16) {
        self.workspace.counters.commands.of(row).calls.increment();
    }

    /// Never kept over a turn: it may be another one in the next.
    pub(crate) fn listener(&self) -> Ref<'_, Arc<config::Listener>> {
        self.listener.borrow()
    }

    /// Another policy from now on. Its group is the same, and so is who judges logins.
    pub(crate) fn take(&self, listener: Arc<config::Listener>) {
        let before = self.listener.replace(Arc::clone(&listener));
        if before.max_lag != listener.max_lag {
            *self.lag.borrow_mut() = LagGate::new(listener.max_lag);
        }
        if before.master_reads_limit != listener.master_reads_limit {
            *self.fallbacks.borrow_mut() = Fallbacks::new(listener.master_reads_limit);
            // Whoever waits because of the old limit asks again.
            self.pool.wake_waiting();
        }
    }

    pub(crate) fn leave(&self) {
        self.leaving.set(true);
    }

    /// The listener is no more.
    pub(super) fn is_gone(&self) -> bool {
        self.leaving.get()
    }

    /// Its sessions end when they have nothing in flight: the listener is no more, or the process is ending.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.get() || self.workspace.draining.get()
    }

    /// Which replicas of the present snapshot are near enough behind.
    pub(super) fn lag(&self) -> Ref<'_, LagGate> {
        let changes = self.pool.changes();
        if !self.lag.borrow().knows(changes) {
            self.lag.borrow_mut().follow(changes, &self.pool.snapshot());
        }
        self.lag.borrow()
    }

    /// The program whose words and options count: the master's.
    pub(super) fn edition(&self) -> Edition {
        Edition::of(self.pool.snapshot().spokesman())
    }
}
