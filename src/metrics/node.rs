//! What a worker counts about each node: a bounded table of slots, held by whoever talks to the node.
//!
//! Lanes, pools and pins keep a [`NodeHandle`]; admin looks a node up by its number. A slot has one writing thread.

use std::marker::PhantomData;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use super::WorkerCounters;
use super::cell::{Counter, Gauge, Histogram};
use crate::limits;
use crate::topology::NodeId;

impl WorkerCounters {
    /// The counters of one node, for the lane or pool that talks to it. Look it up once and keep it.
    pub(crate) fn node(self: &Arc<Self>, group: usize, node: NodeId) -> NodeHandle {
        let slot = self.nodes.claim(group, node);
        self.nodes.slots[slot].holders.increment();
        NodeHandle { block: Arc::clone(self), slot, not_send: PhantomData }
    }
}

/// What one worker counts about one node.
#[derive(Debug, Default)]
pub(crate) struct NodeCounters {
    /// Commands written to the node, over lanes and pins.
    pub(crate) commands: Counter,
    /// Connections to the node that could not be opened, or broke.
    pub(crate) failures: Counter,
    /// Reads of clients sent to the node over lanes.
    pub(crate) reads: Counter,
    /// Reads that the node owed for too long, asked elsewhere.
    pub(crate) late_reads: Counter,
    /// Times the node was taken out of this worker's reads.
    pub(crate) ejections: Counter,
    /// Replies to commands of clients that were errors.
    pub(crate) errors: Counter,
    /// Connections to it that clients share, open now.
    pub(crate) lanes: Gauge,
    /// Connections to it that are lent to one client now.
    pub(crate) pins: Gauge,
    /// Commands over lanes that it has not answered.
    pub(crate) in_flight: Gauge,
    /// From a command's way to a lane to its answer.
    pub(crate) latency: Histogram,
    /// Which node: `NodeTable::key`, or 0 while nobody has claimed the slot.
    key: Gauge,
    /// Handles alive.
    holders: Gauge,
}

/// A bounded table of nodes, claimed and written by one worker, read by admin.
///
/// Nodes come and go for as long as the process lives (a container platform gives each restart a new address),
/// so a slot without holders is given to the next newcomer when no slot is free. When all are held, the last
/// slot is shared by whoever is left over, and is reported for no node.
#[derive(Debug)]
pub(crate) struct NodeTable {
    slots: [NodeCounters; limits::NODE_COUNTERS],
}

impl Default for NodeTable {
    fn default() -> Self {
        Self { slots: std::array::from_fn(|_| NodeCounters::default()) }
    }
}

impl NodeTable {
    const OVERFLOW: usize = limits::NODE_COUNTERS - 1;

    /// Never 0, which marks a free slot. Groups number their nodes independently, so both are in the key.
    fn key(group: usize, node: NodeId) -> u64 {
        (group as u64 + 1) << 32 | u64::from(node.0)
    }

    fn claim(&self, group: usize, node: NodeId) -> usize {
        let key = Self::key(group, node);
        let ordinary = &self.slots[..Self::OVERFLOW];
        let of_key = |wanted| ordinary.iter().position(|slot| slot.key.get() == wanted);
        if let Some(mine) = of_key(key) {
            return mine;
        }
        let free = of_key(0).or_else(|| ordinary.iter().position(|slot| slot.holders.get() == 0));
        let Some(free) = free else { return Self::OVERFLOW };
        let slot = &self.slots[free];
        // A reader between these stores may see the old numbers under the new key once; it asks again later.
        slot.key.set(0);
        slot.commands.clear();
        slot.failures.clear();
        slot.reads.clear();
        slot.late_reads.clear();
        slot.ejections.clear();
        slot.errors.clear();
        slot.latency.clear();
        slot.key.set(key);
        free
    }

    /// The node's counters, if this worker has talked to it.
    pub(crate) fn find(&self, group: usize, node: NodeId) -> Option<&NodeCounters> {
        let key = Self::key(group, node);
        self.slots[..Self::OVERFLOW].iter().find(|slot| slot.key.get() == key)
    }
}

/// A node's counters, held by whoever talks to the node. It cannot leave the thread that made it, which keeps
/// the block's one-writer rule.
#[derive(Debug)]
pub(crate) struct NodeHandle {
    block: Arc<WorkerCounters>,
    slot: usize,
    not_send: PhantomData<Rc<()>>,
}

impl NodeHandle {
    /// Of the worker that the handle belongs to.
    pub(crate) fn worker(&self) -> &WorkerCounters {
        &self.block
    }
}

impl Deref for NodeHandle {
    type Target = NodeCounters;

    fn deref(&self) -> &NodeCounters {
        &self.block.nodes.slots[self.slot]
    }
}

impl Clone for NodeHandle {
    fn clone(&self) -> Self {
        self.holders.increment();
        Self { block: Arc::clone(&self.block), slot: self.slot, not_send: PhantomData }
    }
}

impl Drop for NodeHandle {
    fn drop(&mut self) {
        self.holders.decrement();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_two_groups_are_kept_apart() {
        let block = Arc::new(WorkerCounters::default());
        block.node(0, NodeId(7)).commands.add(3);
        block.node(1, NodeId(7)).commands.add(4);
        assert_eq!(block.nodes.find(0, NodeId(7)).map(|node| node.commands.get()), Some(3));
        assert_eq!(block.nodes.find(1, NodeId(7)).map(|node| node.commands.get()), Some(4));
        assert!(block.nodes.find(2, NodeId(7)).is_none());
    }

    #[test]
    fn a_full_table_reuses_what_nobody_holds_and_never_what_somebody_does() {
        let block = Arc::new(WorkerCounters::default());
        let mut held: Vec<_> = (0..NodeTable::OVERFLOW as u32).map(|id| block.node(0, NodeId(id))).collect();
        block.node(0, NodeId(1000)).commands.add(9);
        assert!(block.nodes.find(0, NodeId(1000)).is_none(), "the overflow slot is reported for no node");
        held[5].commands.add(2);
        let gone = held.remove(5);
        drop(gone);
        let newcomer = block.node(0, NodeId(1001));
        assert_eq!(newcomer.commands.get(), 0, "a reused slot starts at zero");
        assert!(block.nodes.find(0, NodeId(5)).is_none());
        assert!(block.nodes.find(0, NodeId(1001)).is_some());
    }
}
