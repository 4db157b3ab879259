//! One worker's connections to one group: its lanes, its idle pins, its view of the topology, its marks.
//!
//! Sessions ask it for a lane or a pin to a node they were routed to, and to be woken when something changes. It
//! decides nothing about routing. It belongs to one thread and is never shared.

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::acknowledged::{Acknowledged, Turns};
use super::assure::{self, Assurer};
use super::dial::{Dialect, Dialer};
use super::hub::Hub;
use super::hub::registry::Registry;
use super::lane::{Lane, LaneKey, Purpose, life};
use super::learn::Learning;
use super::login::{Logins, UserKey};
use super::pause::Pause;
use super::pin::IdlePins;
use super::prove::Provers;
use super::scripts::{Scripts, Seen};
use super::trouble::Troubles;
use super::watch::Watch;
use crate::mark::{Marks, Sight};
use crate::metrics::{NodeHandle, WorkerCounters};
use crate::topology::{Node, NodeId, Snapshot};
use crate::transport::CipherBuffer;

/// What control and workers share about one group.
#[derive(Clone)]
pub(crate) struct GroupView {
    /// Its number.
    pub(crate) index: usize,
    pub(crate) name: Arc<str>,
    pub(crate) published: Arc<ArcSwap<Snapshot>>,
    /// Tells control to look at all nodes now.
    pub(crate) look: Arc<Notify>,
    /// What new sessions must see.
    pub(crate) acknowledged: Acknowledged,
    /// Who subscribes to what.
    pub(crate) registry: Registry,
    pub(crate) scripts: Scripts,
}

/// What a pool of a group is made of.
#[derive(Clone)]
pub(crate) struct GroupSetup {
    pub(crate) view: GroupView,
    pub(crate) dialer: Arc<Dialer>,
}

pub(crate) struct Pool {
    pub(super) view: GroupView,
    /// As it is configured now.
    pub(super) dialer: RefCell<Arc<Dialer>>,
    turns: Arc<Turns>,
    /// The last sum of `view.acknowledged` a session started with, and the generation in which it was first seen.
    first_sight: Cell<(u64, u64)>,
    pub(super) counters: Arc<WorkerCounters>,
    pub(super) cipher: Rc<RefCell<CipherBuffer>>,
    snapshot: RefCell<Arc<Snapshot>>,
    pub(super) lanes: RefCell<Vec<Rc<Lane>>>,
    /// The newest lane of each key: with users of their own there may be thousands.
    pub(super) newest: RefCell<HashMap<LaneKey, Rc<Lane>>>,
    /// How nodes serve this worker.
    pub(super) watch: Watch,
    pub(super) idle_pins: RefCell<IdlePins>,
    /// Pins of an earlier turn are not lent again: their connections shall be replaced.
    pub(super) pins_from: Cell<u64>,
    /// Of clients whom the nodes know; none where Redan has users of its own.
    pub(super) logins: RefCell<Logins>,
    pub(super) provers: Provers,
    pub(super) hubs: RefCell<Vec<Rc<Hub>>>,
    pub(super) marks: RefCell<Marks>,
    /// `marks.current()`, where lanes can read it without a borrow.
    pub(super) generation: Cell<u64>,
    pub(super) mark_wanted: Notify,
    /// Asked for since the last round began.
    pub(super) mark_request: Cell<bool>,
    pub(super) waiting_for_mark: RefCell<Vec<Waker>>,
    pub(super) assurer: Assurer,
    /// When the epoch changed last.
    pub(super) master_since: Cell<Instant>,
    /// Snapshots taken over so far.
    changes: Cell<u64>,
    /// Sessions that wait for a change: another snapshot, or a node that may be dialled again.
    waiting_for_change: RefCell<Vec<Waker>>,
    pub(super) troubles: Troubles,
    /// Why the last connection to a node could not be opened.
    pub(super) last_failure: RefCell<String>,
    /// Since when writes cannot be served.
    pub(super) unserved_since: Cell<Option<Instant>>,
    node_counters: RefCell<Vec<(NodeId, NodeHandle)>>,
    pub(super) random: Cell<u64>,
    /// SELECT of this and every lower database has succeeded here.
    known_databases: Cell<u32>,
    /// CLIENT PAUSE.
    pub(crate) pause: Rc<Pause>,
    scripts_seen: Seen,
    pub(super) learning: Learning,
}

impl Pool {
    /// Must be called on the worker's runtime: it spawns the task that asks for marks.
    pub(crate) fn new(
        setup: GroupSetup,
        counters: Arc<WorkerCounters>,
        cipher: Rc<RefCell<CipherBuffer>>,
        seed: u64,
    ) -> Rc<Self> {
        let GroupSetup { view, dialer } = setup;
        let pool = Rc::new(Self {
            snapshot: RefCell::new(Arc::new(Snapshot::unknown())),
            turns: view.acknowledged.join(),
            scripts_seen: Seen::new(view.scripts.clone()),
            first_sight: Cell::new((0, 0)),
            dialer: RefCell::new(dialer),
            view,
            counters,
            cipher,
            lanes: RefCell::default(),
            newest: RefCell::default(),
            watch: Watch::default(),
            idle_pins: RefCell::default(),
            pins_from: Cell::new(0),
            logins: RefCell::default(),
            provers: Provers::default(),
            hubs: RefCell::default(),
            marks: RefCell::new(Marks::new()),
            generation: Cell::new(1),
            mark_wanted: Notify::new(),
            mark_request: Cell::new(false),
            waiting_for_mark: RefCell::default(),
            assurer: Assurer::new(),
            master_since: Cell::new(Instant::now()),
            changes: Cell::new(0),
            waiting_for_change: RefCell::default(),
            troubles: Troubles::default(),
            last_failure: RefCell::default(),
            unserved_since: Cell::new(Some(Instant::now())),
            node_counters: RefCell::default(),
            // xorshift stops at zero.
            random: Cell::new(seed | 1),
            known_databases: Cell::new(0),
            pause: Rc::default(),
            learning: Learning::default(),
        });
        pool.topology_changed();
        tokio::task::spawn_local(super::marker::run(Rc::downgrade(&pool)));
        tokio::task::spawn_local(super::watch::run(Rc::downgrade(&pool)));
        tokio::task::spawn_local(assure::run(Rc::downgrade(&pool)));
        pool
    }

    pub(crate) fn snapshot(&self) -> Ref<'_, Arc<Snapshot>> {
        self.snapshot.borrow()
    }

    pub(crate) fn marks(&self) -> Ref<'_, Marks> {
        self.marks.borrow()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// What a session that starts now must see: see [`super::acknowledged`].
    pub(crate) fn first_sight(&self) -> Sight {
        // Asked first: it is complete from a sum on that has grown once more.
        let complete = self.view.acknowledged.is_complete();
        let sum = self.view.acknowledged.sum();
        let (known, mut generation) = self.first_sight.get();
        if known != sum || !complete {
            generation = self.generation.get();
            self.first_sight.set((sum, generation));
        }
        Sight { node: None, generation, write: 0 }
    }

    /// A write may be acknowledged now; to be called before the client is told.
    pub(crate) fn note_acknowledged(&self) {
        self.turns.note();
    }

    pub(crate) fn group_name(&self) -> &str {
        &self.view.name
    }

    pub(crate) fn group_index(&self) -> usize {
        self.view.index
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.view.registry
    }

    pub(crate) fn unserved_since(&self) -> Option<Instant> {
        self.unserved_since.get()
    }

    pub(crate) fn last_failure(&self) -> Ref<'_, String> {
        self.last_failure.borrow()
    }

    pub(crate) fn scripts(&self) -> &Scripts {
        &self.view.scripts
    }

    /// Whether the script is remembered already, as far as this worker knows.
    pub(crate) fn has_seen_script(&self, text: &[u8]) -> bool {
        self.scripts_seen.has(text)
    }

    /// This node has executed a script.
    pub(crate) fn note_script(&self, text: &[u8], node: NodeId) {
        let run = self.snapshot().node(node).map_or(0, |node| node.run);
        self.scripts_seen.note(text, run);
    }

    pub(crate) fn known_databases(&self) -> u32 {
        self.known_databases.get()
    }

    pub(crate) fn database_exists(&self, db: u32) {
        self.known_databases.set(self.known_databases.get().max(db));
    }

    /// Something on the data path hints at a change: control shall look now, not at its next round.
    pub(crate) fn look(&self) {
        self.view.look.notify_one();
    }

    /// Takes over what control published, closes what must not be used any more, wakes who waits.
    pub(crate) fn topology_changed(&self) {
        let new = self.view.published.load_full();
        self.marks.borrow_mut().reset(new.epoch);
        for node in &new.nodes {
            let known = self.snapshot.borrow().node(node.id).map(|before| before.interruptions);
            if known.is_some_and(|known| known != node.interruptions) {
                self.interrupted(node.id);
            }
        }
        self.marks.borrow_mut().retain(|id| new.node(id).is_some());
        self.generation.set(self.marks.borrow().current());
        self.assurer.topology_changed(&new, self.generation.get());
        if new.epoch != self.snapshot.borrow().epoch {
            self.master_since.set(Instant::now());
            self.learning.learned.borrow_mut().forget_all();
        }
        if new.master.is_none() {
            if self.snapshot.borrow().master.is_some() {
                // Whatever trouble there was before is another story: this outage gets a whole hold.
                self.unserved_since.set(None);
            }
            self.mark_unserved();
        } else if new.epoch != self.snapshot.borrow().epoch {
            self.unserved_since.set(None);
        }
        self.leave_scripts_alone(&new);
        self.fence(&new);
        self.follow(&new);
        self.node_counters.borrow_mut().retain(|(id, _)| new.node(*id).is_some());
        self.idle_pins.borrow_mut().keep_only(new.master().map(|master| master.id));
        self.counters.topology_epoch_seen.of(self.view.index).set(new.epoch);
        *self.snapshot.borrow_mut() = new;
        self.changes.set(self.changes.get() + 1);
        self.hubs.borrow().iter().for_each(|hub| hub.wake());
        self.wake_waiting();
    }

    /// The lane for this purpose, opened if there is none. `None` while the node is left alone after a failure.
    pub(crate) fn lane(self: &Rc<Self>, node: &Node, purpose: Purpose, dialect: Dialect) -> Option<Rc<Lane>> {
        let key = LaneKey { node: node.id, purpose, dialect };
        let open = self.newest.borrow().get(&key).filter(|lane| lane.serves()).map(Rc::clone);
        if open.is_some() || self.is_troubled(node.id) {
            return open;
        }
        if dialect.user != UserKey::GROUP
            && self.login(dialect.user).is_none_or(|login| login.is_unknown_at(node.id, Instant::now()))
        {
            return None;
        }
        let lane = Lane::new(key, self.counters_of(node.id), self.usage_of(node.id));
        self.lanes.borrow_mut().push(Rc::clone(&lane));
        self.newest.borrow_mut().insert(key, Rc::clone(&lane));
        self.keep_watch();
        tokio::task::spawn_local(life::drive(Rc::clone(self), Rc::clone(&lane), node.clone()));
        Some(lane)
    }

    pub(super) fn is_master(&self, node: NodeId) -> bool {
        self.snapshot.borrow().master().is_some_and(|master| master.id == node)
    }

    pub(crate) fn counters_of(&self, node: NodeId) -> NodeHandle {
        let mut table = self.node_counters.borrow_mut();
        if let Some((_, handle)) = table.iter().find(|(id, _)| *id == node) {
            return handle.clone();
        }
        let handle = self.counters.node(self.view.index, node);
        table.push((node, handle.clone()));
        handle
    }

    /// Grows with every snapshot.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.get()
    }

    pub(crate) fn wait_for_change(&self, waker: &Waker) {
        self.waiting_for_change.borrow_mut().push(waker.clone());
    }

    pub(crate) fn wake_waiting(&self) {
        for waker in self.waiting_for_change.take() {
            waker.wake();
        }
    }

    /// Called about once a second.
    pub(crate) fn tick(&self, now: Instant) {
        self.idle_pins.borrow_mut().drop_older_than(now);
        self.lanes.borrow().iter().for_each(|lane| lane.tick());
        self.hubs.borrow().iter().for_each(|hub| hub.tick());
        self.close_rivals(now);
        self.provers.tick(now);
        self.logins.borrow_mut().tick(|key| self.is_spoken(key));
        self.learning.learned.borrow_mut().tick();
    }
}
