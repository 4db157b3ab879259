//! One topic of a hub: who has it, and how it stands at the node. The table keeps them; nothing here asks the node.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::registry::Registry;
use super::subscriber::{Subscriber, Ticket};
use super::topic::Kind;
use crate::metrics::WorkerCounters;
use crate::topology::NodeId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The node was not asked for it on this connection.
    Absent,
    Asked,
    Confirmed,
    Leaving,
}

pub(super) struct Member {
    pub(super) to: Rc<dyn Subscriber>,
    /// The client was told that it is subscribed.
    pub(super) active: bool,
    /// It wants to leave, and stays until the node has said that nothing more comes: then this is done.
    pub(super) parting: Option<Rc<Ticket>>,
}

pub(super) struct Entry {
    /// By the session's id.
    pub(super) members: HashMap<u64, Member>,
    /// Of them, those that are active.
    pub(super) active: i64,
    /// Those that went without a word as the last ones, and that the registry has until the node knows it.
    pub(super) gone: i64,
    /// Those of the members that wait for the node's word.
    pub(super) waiting: Vec<Rc<Ticket>>,
    pub(super) state: State,
    /// Questions about it that the node has not answered.
    pub(super) unanswered: u32,
    /// The registry has it as confirmed at this node.
    pub(super) counted: Option<NodeId>,
}

/// What changes outside the table when the table changes.
pub(super) struct Sums {
    pub(super) registry: Registry,
    pub(super) counters: Arc<WorkerCounters>,
}

impl Entry {
    pub(super) fn new() -> Self {
        Self {
            members: HashMap::new(),
            active: 0,
            gone: 0,
            waiting: Vec::new(),
            state: State::Absent,
            unanswered: 0,
            counted: None,
        }
    }

    /// Nobody has it but who waits for its end.
    pub(super) fn is_unwanted(&self) -> bool {
        self.members.values().all(|member| member.parting.is_some())
    }

    pub(super) fn ask(&mut self, state: State) {
        self.state = state;
        self.unanswered += 1;
    }
}

pub(super) fn uncount(sums: &Sums, kind: Kind, name: &[u8], entry: &mut Entry) {
    if let Some(node) = entry.counted.take() {
        sums.registry.change(kind, name, node, -1, -(entry.active + std::mem::take(&mut entry.gone)));
        sums.counters.upstream_subscriptions.decrement();
    }
}

/// Lets those go that wait for it; how many. The registry must know already, or be told.
pub(super) fn release(sums: &Sums, entry: &mut Entry) -> i64 {
    let mut released = 0;
    entry.members.retain(|_, member| {
        let Some(ticket) = member.parting.take() else {
            return true;
        };
        ticket.misses_one_less();
        released += i64::from(member.active);
        false
    });
    entry.active -= released;
    (0..released).for_each(|_| sums.counters.subscriptions.decrement());
    released
}
