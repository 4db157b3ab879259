//! Chooses one of the nodes that a read may go to: the less busy of two random ones.
//!
//! Sessions call it with the set that `route` found. It must never choose a node outside of that set.

use std::cell::Cell;
use std::rc::Rc;

use super::dial::Dialect;
use super::lane::{Lane, Purpose};
use super::pool::Pool;
use crate::route::NodeSet;
use crate::topology::{NodeId, Snapshot};

impl Pool {
    /// The better of two random nodes of the set: the one with fewer commands in flight. If it cannot be used, any other.
    pub(crate) fn read_lane(self: &Rc<Self>, set: &NodeSet, snapshot: &Snapshot, dialect: Dialect) -> Option<Rc<Lane>> {
        let first = self.better_of_two(set, snapshot);
        let others = set.iter().filter(|&index| index != first);
        std::iter::once(first)
            .chain(others)
            .find_map(|index| self.lane(&snapshot.nodes[index], Purpose::Reads, dialect))
    }

    fn better_of_two(&self, set: &NodeSet, snapshot: &Snapshot) -> usize {
        if set.len() == 1 {
            return set.at(0);
        }
        let random = self.random();
        let first = (random % set.len() as u64) as usize;
        // One of the others, so that the two differ.
        let second = (first + 1 + ((random >> 32) % (set.len() as u64 - 1)) as usize) % set.len();
        let load = |position: usize| self.load_of(snapshot.nodes[set.at(position)].id).get();
        set.at(if load(second) < load(first) { second } else { first })
    }

    pub(super) fn load_of(&self, node: NodeId) -> Rc<Cell<usize>> {
        let mut loads = self.loads.borrow_mut();
        if let Some((_, load)) = loads.iter().find(|(id, _)| *id == node) {
            return Rc::clone(load);
        }
        let load = Rc::default();
        loads.push((node, Rc::clone(&load)));
        load
    }

    /// xorshift64: good enough to spread load, and the same sequence for the same seed.
    fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        x
    }
}
