//! Which lanes may not go on when the group has changed.
//!
//! The pool asks it at every snapshot, and about once a second. It closes and retires; it must never open anything.

use std::time::{Duration, Instant};

use super::lane::Purpose;
use super::pool::Pool;
use crate::topology::{Node, Snapshot};

/// How long a replaced master may go on saying that it is one: two probes at the usual interval.
const RIVAL_GRACE: Duration = Duration::from_secs(1);

impl Pool {
    /// A lane to a node that is gone, or that is not the master and does not answer, is closed: its reads go elsewhere,
    /// its writes are in doubt. A lane for writes to a replaced node that answers finishes what it owes: the answers
    /// tell which writes were executed ([`Self::close_rivals`] ends its patience). A silent master keeps its lanes while no
    /// other is proven: it may be busy.
    pub(super) fn fence(&self, new: &Snapshot) {
        let master = new.master().map(|node| node.id);
        for lane in self.lanes.borrow().iter() {
            match new.node(lane.key.node) {
                None => lane.close("the node left the group"),
                Some(node) if Some(node.id) == master => {}
                Some(node) if node.silent && master.is_some() => lane.close("the node does not answer"),
                Some(_) if lane.key.purpose == Purpose::Ordered && master.is_some() => lane.retire(),
                Some(_) => {}
            }
        }
    }

    /// What is sent behind a script over the same connection waits until it ends, be it never. Whoever comes when the node says that
    /// it is busy gets another connection, on which it says so to them too, as it does to clients of its own.
    pub(super) fn leave_scripts_alone(&self, new: &Snapshot) {
        let was = self.snapshot();
        for node in new.nodes.iter().filter(|node| node.busy && was.node(node.id).is_none_or(|before| !before.busy)) {
            for lane in self.lanes.borrow().iter().filter(|lane| lane.key.node == node.id) {
                lane.retire();
            }
        }
    }

    /// A node that goes on saying that it is the master would acknowledge writes that are lost. Not at once: it may have been
    /// demoted since it was last asked, and then its answers prove that nothing was executed.
    pub(super) fn close_rivals(&self, now: Instant) {
        let snapshot = self.snapshot();
        let settled = now.saturating_duration_since(self.master_since.get()) >= RIVAL_GRACE;
        let Some(master) = snapshot.master().filter(|_| settled) else {
            return;
        };
        for lane in self.lanes.borrow().iter().filter(|lane| lane.key.node != master.id) {
            if snapshot.node(lane.key.node).is_some_and(Node::role_is_master) {
                lane.close("it says it is the master, and another node is");
            }
        }
    }
}
