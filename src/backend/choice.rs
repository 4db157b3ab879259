//! Takes a lane to one of the nodes that a read may go to.
//!
//! Sessions call it with the set that `route` found; `reading::choice` picks. It must never choose a node outside of that set.

use std::rc::Rc;

use super::dial::Dialect;
use super::lane::{Lane, Purpose};
use super::pool::Pool;
use crate::reading::choice::pick;
use crate::route::NodeSet;
use crate::topology::Snapshot;

impl Pool {
    /// To the better of two random nodes of the set. If it cannot be used, to any other.
    pub(crate) fn read_lane(self: &Rc<Self>, set: &NodeSet, snapshot: &Snapshot, dialect: Dialect) -> Option<Rc<Lane>> {
        let first = {
            let standings = self.standings();
            let random = if set.len() > 1 { self.random() } else { 0 };
            set.at(pick(set.len(), random, |position| &standings[set.at(position)]))
        };
        let others = set.iter().filter(|&index| index != first);
        std::iter::once(first)
            .chain(others)
            .find_map(|index| self.lane(&snapshot.nodes[index], Purpose::Reads, dialect))
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
