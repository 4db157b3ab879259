//! What the operator orders about a pool's connections: to replace them, and to leave a node alone.
//!
//! Called by the worker, for a question of admin. Nothing is cut: a lane that is retired finishes what it owes and its sessions
//! go on over a new one; a pin is not lent again. Hubs are left: a message that comes while one moves would be lost.

use std::rc::Rc;

use super::lane::{Lane, Purpose};
use super::pool::Pool;
use crate::topology::NodeId;

impl Pool {
    /// Replaces the connections to one node, or to all, each when it owes nothing. How many.
    pub(crate) fn reconnect(&self, node: Option<NodeId>) -> u64 {
        let meant = |lane: &&Rc<Lane>| lane.serves() && node.is_none_or(|node| lane.key.node == node);
        let retired = self.lanes.borrow().iter().filter(meant).map(|lane| lane.retire()).count();
        let mut pins = self.idle_pins.borrow_mut();
        let dropped = pins.drop_to(node);
        drop(pins);
        // Those that are lent are not taken back.
        self.pins_from.set(self.pins_from.get() + 1);
        (retired + dropped) as u64
    }

    /// Shared connections of a kind that carries clients' commands.
    pub(crate) fn lanes_of_clients(&self) -> Vec<Rc<Lane>> {
        let lanes = self.lanes.borrow();
        lanes.iter().filter(|lane| lane.key.purpose != Purpose::Marks).map(Rc::clone).collect()
    }

    pub(crate) fn all_lanes(&self) -> Vec<Rc<Lane>> {
        self.lanes.borrow().clone()
    }
}
