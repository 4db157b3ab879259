//! What several threads read, and what of it a reload writes.
//!
//! Made by `start` before the first thread, and kept by whoever gives the process another configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use crate::admin::{AdminState, Known, OpenFiles, Orders, Resident, Visitors};
use crate::chronicle::Chronicle;
use crate::config::Config;
use crate::drain::Patience;
use crate::handover::Spares;
use crate::link::{self, Doors, LinkCounters, Links};
use crate::memory::Memory;
use crate::metrics::{AcceptorCounters, TraceCounters, WorkerCounters};
use crate::reload::Reloads;
use crate::renewal::Renewals;
use crate::session::switchboard::Switchboard;
use crate::upgrade::Plan;
use crate::worker::Seats;

pub(super) struct Shared {
    pub(super) started: Instant,
    pub(super) counters: Vec<Arc<WorkerCounters>>,
    pub(super) accepts: Arc<AcceptorCounters>,
    pub(super) renewals: Arc<Renewals>,
    pub(super) traces: Arc<TraceCounters>,
    /// Told when the files of TLS shall be read anew.
    pub(super) renew: Arc<Notify>,
    pub(super) reloads: Arc<Reloads>,
    pub(super) chronicle: Arc<Chronicle>,
    pub(super) memory: Arc<Memory>,
    pub(super) seats: Arc<Seats>,
    /// What is configured, and what runs by it.
    pub(super) now: Arc<ArcSwap<Known>>,
    pub(super) links: Arc<Links>,
    pub(super) listening: Arc<AtomicBool>,
    pub(super) draining: Arc<AtomicBool>,
    /// Another process is being started that shall take the place of this one.
    pub(super) replacing: Arc<AtomicBool>,
    /// Nobody is accepted before this is true.
    pub(super) open: watch::Receiver<bool>,
    /// The process before this one, if any, has nothing left to hand over.
    pub(super) settled: watch::Receiver<bool>,
    pub(super) patience: Arc<Patience>,
    /// What CLIENT ID answers the next client.
    pub(super) next_id: Arc<AtomicU64>,
}

impl Shared {
    pub(super) fn new(
        config: &Arc<Config>,
        reloads: Arc<Reloads>,
        chronicle: Arc<Chronicle>,
        (open, settled): (watch::Receiver<bool>, watch::Receiver<bool>),
    ) -> Self {
        // Who has links alone needs no workers.
        let workers = if config.listeners.is_empty() { 0 } else { config.workers };
        let counters: Vec<Arc<WorkerCounters>> = (0..workers).map(|_| Arc::default()).collect();
        let nothing = Known { config: Arc::clone(config), groups: vec![], listeners: vec![], links: vec![] };
        let patience = Patience::default();
        patience.follow(config);
        Self {
            started: Instant::now(),
            memory: Memory::new(config.max_memory, &counters),
            counters,
            accepts: Arc::default(),
            renewals: Arc::default(),
            traces: Arc::default(),
            renew: Arc::default(),
            reloads,
            chronicle,
            seats: Seats::new(workers),
            now: Arc::new(ArcSwap::from_pointee(nothing)),
            links: Arc::default(),
            listening: Arc::default(),
            draining: Arc::default(),
            replacing: Arc::default(),
            open,
            settled,
            patience: Arc::new(patience),
            next_id: Arc::new(AtomicU64::new(1)),
        }
    }

    /// A link begins to accept.
    pub(super) fn open_link(
        &self,
        keyring: Arc<link::Keyring>,
        doors: Doors,
        counters: Arc<LinkCounters>,
        threads: &link::Threads,
    ) {
        let name = keyring.link().name.clone();
        self.links.add(&name, link::open(keyring, doors, counters, threads, self.open.clone()));
    }

    /// How many connections there are over links.
    pub(super) fn linked(&self) -> Box<dyn Fn() -> u64> {
        let now = Arc::clone(&self.now);
        Box::new(move || now.load().links.iter().map(|link| link.counters.numbers().open).sum())
    }

    /// What it takes to be replaced by another process.
    pub(super) fn plan(&self, spares: &Arc<Spares>, sandboxed: bool) -> Plan {
        let now = Arc::clone(&self.now);
        let mastered = move || {
            let now = now.load();
            let mastered = now.groups.iter().filter(|group| group.snapshot.load().master.is_some());
            mastered.map(|group| group.config.name.clone()).collect()
        };
        Plan {
            kept: Arc::clone(spares),
            mastered: Box::new(mastered),
            sandboxed,
            under_way: Arc::clone(&self.replacing),
            next_id: Arc::clone(&self.next_id),
        }
    }

    pub(super) fn admin_state(
        &self,
        (resident, open_files): (Resident, OpenFiles),
        switchboard: Arc<Switchboard>,
        orders: Orders,
    ) -> AdminState {
        AdminState {
            started: self.started,
            started_at: SystemTime::now(),
            now: Arc::clone(&self.now),
            resident,
            open_files,
            workers: self.counters.clone(),
            acceptor: Arc::clone(&self.accepts),
            renewals: Arc::clone(&self.renewals),
            traces: Arc::clone(&self.traces),
            reloads: Arc::clone(&self.reloads),
            chronicle: Arc::clone(&self.chronicle),
            visitors: Visitors::default(),
            memory: Arc::clone(&self.memory),
            listening: Arc::clone(&self.listening),
            draining: Arc::clone(&self.draining),
            switchboard,
            orders,
        }
    }
}
