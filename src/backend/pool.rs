//! One worker's connections to one group: its lanes, its idle pins, its view of the topology, its marks.
//!
//! Sessions ask it for a lane or a pin to a node they were routed to, and to be woken when something changes. It
//! decides nothing about routing. It belongs to one thread and is never shared.

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::acknowledged::{Acknowledged, Turns};
use super::assure::{self, Assurer};
use super::dial::{DialError, Dialect, Dialer};
use super::hub::Hub;
use super::hub::registry::Registry;
use super::lane::{End, Lane, LaneKey, Purpose};
use super::learn::Learning;
use super::login::{Logins, UserKey};
use super::pause::Pause;
use super::pin::IdlePins;
use super::prove::Provers;
use super::scripts::{Scripts, Seen};
use super::watch::Watch;
use crate::mark::{Marks, Sight};
use crate::metrics::{NodeHandle, WorkerCounters};
use crate::topology::{Node, NodeId, Snapshot};
use crate::transport::CipherBuffer;

/// After a failed connection a node is left alone for 50 ms, doubled for each further failure up to 1 s: a restarted
/// server is found within the blink of an eye, and a dead one costs two attempts a second and worker.
const FIRST_BACK_OFF: Duration = Duration::from_millis(50);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);

/// What control and workers share about one group.
#[derive(Clone)]
pub(crate) struct GroupView {
    /// Its number.
    pub(crate) index: usize,
    pub(crate) name: Arc<str>,
    /// As it is configured at the beginning.
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) published: Arc<ArcSwap<Snapshot>>,
    /// Tells control to look at all nodes now.
    pub(crate) look: Arc<Notify>,
    /// What new sessions must see.
    pub(crate) acknowledged: Acknowledged,
    /// Who subscribes to what.
    pub(crate) registry: Registry,
    pub(crate) scripts: Scripts,
}

struct Trouble {
    node: NodeId,
    until: Instant,
    failures: u32,
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
    newest: RefCell<HashMap<LaneKey, Rc<Lane>>>,
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
    troubles: RefCell<Vec<Trouble>>,
    /// Why the last connection to a node could not be opened.
    pub(super) last_failure: RefCell<String>,
    /// Since when writes cannot be served.
    unserved_since: Cell<Option<Instant>>,
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
        view: GroupView,
        counters: Arc<WorkerCounters>,
        cipher: Rc<RefCell<CipherBuffer>>,
        seed: u64,
    ) -> Rc<Self> {
        let pool = Rc::new(Self {
            snapshot: RefCell::new(Arc::new(Snapshot::unknown())),
            turns: view.acknowledged.join(),
            scripts_seen: Seen::new(view.scripts.clone()),
            first_sight: Cell::new((0, 0)),
            dialer: RefCell::new(Arc::clone(&view.dialer)),
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
            troubles: RefCell::default(),
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
        tokio::task::spawn_local(drive(Rc::clone(self), Rc::clone(&lane), node.clone()));
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

    pub(crate) fn is_troubled(&self, node: NodeId) -> bool {
        let now = Instant::now();
        self.troubles.borrow().iter().any(|trouble| trouble.node == node && trouble.until > now)
    }

    /// The node cannot be used now: leave it alone for a while, tell control, and wake who waits when it may be tried again.
    pub(crate) fn trouble(self: &Rc<Self>, node: NodeId) {
        self.counters_of(node).failures.increment();
        if self.snapshot.borrow().master().is_some_and(|master| master.id == node) {
            self.mark_unserved();
        }
        let (already, back_off) = {
            let mut troubles = self.troubles.borrow_mut();
            let index = troubles.iter().position(|trouble| trouble.node == node).unwrap_or_else(|| {
                troubles.push(Trouble { node, until: Instant::now(), failures: 0 });
                troubles.len() - 1
            });
            let trouble = &mut troubles[index];
            let now = Instant::now();
            let already = trouble.until > now;
            let back_off = (FIRST_BACK_OFF * 2u32.pow(trouble.failures.min(5))).min(LONGEST_BACK_OFF);
            if !already {
                trouble.failures += 1;
                trouble.until = now + back_off;
            }
            (already, back_off)
        };
        self.look();
        if already {
            return;
        }
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
        self.troubles.borrow_mut().retain(|trouble| trouble.node != node);
        if self.snapshot.borrow().master().is_some_and(|master| master.id == node) {
            self.unserved_since.set(None);
        }
    }

    fn mark_unserved(&self) {
        if self.unserved_since.get().is_none() {
            self.unserved_since.set(Some(Instant::now()));
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

/// The life of one lane: connect, serve, tell everyone who still waits.
async fn drive(pool: Rc<Pool>, lane: Rc<Lane>, node: Node) {
    let address = Arc::clone(&node.address);
    let _fail_at_the_latest = FailOnDrop { pool: Rc::clone(&pool), lane: Rc::clone(&lane) };
    let dialed = tokio::select! {
        biased;
        dialed = pool.connect(&node, lane.key.dialect) => dialed,
        why = std::future::poll_fn(|cx| lane.poll_ordered_end(cx)) => Err(DialError::Unreachable(why.to_owned())),
    };
    let mut stream = match dialed.map(|opened| opened.stream) {
        Ok(stream) => stream,
        Err(DialError::Dialect(words)) => {
            tracing::warn!("{address} refuses connections of this kind: {words}");
            lane.fail(Some(&words));
            return;
        }
        // Its sessions end, or read elsewhere.
        Err(DialError::Login(_)) => return,
        Err(DialError::Unreachable(words)) => {
            tracing::warn!("no connection for commands: {words}");
            pool.last_failure.replace(words);
            pool.interrupted(lane.key.node);
            pool.trouble(lane.key.node);
            return;
        }
    };
    pool.reached(lane.key.node);
    pool.counters.lanes_open.increment();
    lane.counters().lanes.increment();
    let end = loop {
        let end = std::future::poll_fn(|cx| {
            if lane.key.purpose == Purpose::Ordered {
                pool.note_acknowledged();
            }
            let end = lane.poll(cx, &mut stream, &mut pool.cipher.borrow_mut(), pool.generation.get());
            if lane.load() > 0 {
                pool.keep_watch();
            }
            end
        })
        .await;
        if !matches!(end, End::Questioned) || pool.is_disbelieved(&address, &stream) {
            break end;
        }
    };
    pool.counters.lanes_open.decrement();
    lane.counters().lanes.decrement();
    match end {
        End::Finished => {}
        // The reason has been said.
        End::Questioned => {}
        End::Ordered(why) => tracing::info!("closed a connection to {address}: {why}"),
        End::Broken(words) => {
            tracing::warn!("lost a connection to {address} with {} commands unanswered: {words}", lane.load());
            // It may have been restarted, and be back before a probe sees it.
            pool.interrupted(lane.key.node);
            if lane.key.dialect.user != UserKey::GROUP {
                // The node closes the connections of a user that is deleted; it is well, and others need it.
                pool.counters_of(lane.key.node).failures.increment();
                pool.look();
                pool.suspect(lane.key.dialect.user);
            } else if lane.load() > 0 {
                // What is unanswered and may be asked again goes to another node first: this one accepts connections
                // and may break them over the same commands for ever.
                lane.usage().note_lost();
                pool.trouble(lane.key.node);
            } else {
                pool.counters_of(lane.key.node).failures.increment();
                pool.look();
            }
        }
    }
}

/// However a lane's task ends, also by a panic: nobody may wait for it for ever.
struct FailOnDrop {
    pool: Rc<Pool>,
    lane: Rc<Lane>,
}

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        self.pool.lanes.borrow_mut().retain(|lane| !Rc::ptr_eq(lane, &self.lane));
        let mut newest = self.pool.newest.borrow_mut();
        if newest.get(&self.lane.key).is_some_and(|lane| Rc::ptr_eq(lane, &self.lane)) {
            newest.remove(&self.lane.key);
        }
        // Whoever is told of the end may open another at once.
        drop(newest);
        self.lane.fail(None);
    }
}
