//! The hub: one connection per worker, group and backend user that carries the subscriptions of all its sessions.
//!
//! Sessions say what they want and are told when the node has confirmed it; messages go from the hub's task straight to
//! every subscriber's socket. The hub follows the master and asks for everything again when its connection breaks, without
//! its clients' doing. It has at most one connection that delivers, so no message comes twice. It must never wait for a
//! client, nor send a client's own credentials.

mod drive;
mod entry;
mod feed;
pub(crate) mod glob;
pub(crate) mod registry;
pub(crate) mod subscriber;
mod table;
#[cfg(test)]
mod tests;
pub(crate) mod topic;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use self::entry::Sums;
use self::feed::Feed;
use self::registry::Registry;
use self::subscriber::{Subscriber, Ticket};
use self::table::Table;
use self::topic::{Kind, Name};
use super::dial::Dialect;
use super::pool::Pool;
use crate::limits;
use crate::metrics::WorkerCounters;

pub(crate) struct Hub {
    /// What its connection is opened as: RESP2, whose messages differ from RESP3's in their first byte, and database 0.
    pub(super) dialect: Dialect,
    table: RefCell<Table>,
    feed: RefCell<Feed>,
    waker: RefCell<Option<Waker>>,
    /// Ticks, a second apart, since the node said anything, and since anybody wanted anything.
    silent_ticks: Cell<u32>,
    idle_ticks: Cell<u32>,
    /// Its connection's node is to be believed anew.
    questioned: Cell<bool>,
    /// No node could be reached when one was last looked for.
    failing: Cell<bool>,
    /// Since when subscriptions that were confirmed are not.
    broken_since: Cell<Option<Instant>>,
    counters: Arc<WorkerCounters>,
}

impl Hub {
    fn new(dialect: Dialect, registry: Registry, counters: Arc<WorkerCounters>) -> Rc<Self> {
        Rc::new(Self {
            dialect,
            table: RefCell::new(Table::new(Sums { registry, counters: Arc::clone(&counters) })),
            feed: RefCell::default(),
            waker: RefCell::default(),
            silent_ticks: Cell::new(0),
            idle_ticks: Cell::new(0),
            questioned: Cell::new(false),
            failing: Cell::new(false),
            broken_since: Cell::new(None),
            counters,
        })
    }

    /// A session wants these topics, each named once. `verb` is its own word for the command.
    pub(crate) fn join(
        &self,
        id: u64,
        to: &Rc<impl Subscriber + 'static>,
        kind: Kind,
        verb: &[u8],
        names: &[&[u8]],
    ) -> (Rc<Ticket>, Vec<Name>) {
        let to = Rc::clone(to) as Rc<dyn Subscriber>;
        self.idle_ticks.set(0);
        let joined = self.table.borrow_mut().join(id, &to, kind, verb, names);
        self.wake();
        joined
    }

    /// The session gets the topic's messages from now on. Returns the name as the table keeps it; `None`: the session has not
    /// joined.
    pub(crate) fn activate(&self, id: u64, kind: Kind, name: &[u8]) -> Option<Name> {
        self.table.borrow_mut().activate(id, kind, name)
    }

    /// The session wants these topics no more, which it has: confirmed when nothing more comes for them.
    pub(crate) fn part(&self, id: u64, to: &Rc<impl Subscriber + 'static>, topics: &[(Kind, Name)]) -> Rc<Ticket> {
        let to = Rc::clone(to) as Rc<dyn Subscriber>;
        let ticket = self.table.borrow_mut().part(id, &to, topics);
        self.wake();
        ticket
    }

    /// The session does not want the topic any more, whether it was confirmed or not.
    pub(crate) fn leave(&self, id: u64, kind: Kind, name: &[u8]) {
        self.table.borrow_mut().leave(id, kind, name);
        self.wake();
    }

    /// Has a node to ask, or is about to have one. Who waits is woken when that changes.
    pub(crate) fn is_hopeful(&self) -> bool {
        !self.failing.get() || self.is_connected()
    }

    fn is_connected(&self) -> bool {
        self.table.borrow().node().is_some()
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Other nodes may be believed now than when its connection was opened.
    pub(super) fn question(&self) {
        self.questioned.set(true);
        self.wake();
    }

    /// Called about once a second. A node that says nothing is asked whether it is there; a hub that nobody needs ends.
    pub(super) fn tick(&self) {
        let mut table = self.table.borrow_mut();
        let idle = if table.is_empty() { self.idle_ticks.get() + 1 } else { 0 };
        self.idle_ticks.set(idle);
        if table.node().is_some() {
            self.silent_ticks.set(self.silent_ticks.get() + 1);
            if self.silent_ticks.get() == limits::HUB_ASKS_AFTER_S {
                table.ping();
            }
        }
        drop(table);
        self.feed.borrow_mut().trim();
        self.wake();
    }

    /// Nobody will want anything any more.
    pub(super) fn end(&self) {
        self.idle_ticks.set(limits::HUB_LINGERS_S);
        self.wake();
    }

    fn is_over(&self) -> bool {
        self.idle_ticks.get() >= limits::HUB_LINGERS_S && self.table.borrow().is_empty()
    }

    fn remember(&self, cx: &Context<'_>) {
        let mut slot = self.waker.borrow_mut();
        if !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *slot = Some(cx.waker().clone());
        }
    }
}

impl Pool {
    /// The hub for sessions of this dialect's user; made when it is first wanted.
    pub(crate) fn hub(self: &Rc<Self>, dialect: Dialect) -> Rc<Hub> {
        let mut dialect = dialect;
        (dialect.resp3, dialect.db) = (false, 0);
        let known = self.hubs.borrow().iter().find(|hub| hub.dialect == dialect).map(Rc::clone);
        known.unwrap_or_else(|| {
            let hub = Hub::new(dialect, self.registry().clone(), Arc::clone(&self.counters));
            self.hubs.borrow_mut().push(Rc::clone(&hub));
            tokio::task::spawn_local(drive::run(Rc::clone(self), Rc::clone(&hub)));
            hub
        })
    }
}
