//! Where a read may go: a pure function of the listener's policy, the session's sight, the marks, the snapshot, and how the nodes
//! have served.
//!
//! `session` asks, `backend` then picks one node of the set by load. Writes need no routing: they go to the master or
//! wait. A node that is not surely fit is never in the set; in doubt it is the master.

use std::time::Duration;

use crate::config::{Consistency, Reads};
use crate::mark::{Marks, Sight};
use crate::reading::Standing;
use crate::topology::{Node, NodeId, Snapshot};

/// Nodes that one decision can name. A group has a handful of nodes; more than 32 fit ones are not needed to spread.
const CHOICES: usize = 32;

/// A set of nodes, as indices into the snapshot they were chosen from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeSet {
    indices: [u16; CHOICES],
    len: usize,
}

impl NodeSet {
    const EMPTY: Self = Self { indices: [0; CHOICES], len: 0 };

    fn push(&mut self, index: usize) {
        if let (true, Ok(index)) = (self.len < CHOICES, u16::try_from(index)) {
            self.indices[self.len] = index;
            self.len += 1;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.indices[..self.len].iter().map(|&index| usize::from(index))
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn at(&self, position: usize) -> usize {
        usize::from(self.indices[..self.len][position])
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Any of these nodes; the master may be among them.
    Nodes(NodeSet),
    Master,
    /// No node may serve it now.
    Hold,
}

/// The nodes among which a read is to be routed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidates<'a> {
    pub(crate) snapshot: &'a Snapshot,
    /// Of its nodes, at its indices.
    pub(crate) standings: &'a [Standing],
    /// A node that this session had to give up waiting for.
    pub(crate) avoid: Option<NodeId>,
}

impl Candidates<'_> {
    fn is_to_be_spared(&self, index: usize) -> bool {
        let out = self.standings.get(index).is_some_and(|standing| standing.usage.is_out());
        out || self.avoid == Some(self.snapshot.nodes[index].id)
    }
}

/// Where a read may go, and what would widen the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadRoute {
    pub(crate) to: Read,
    /// Another replica could serve once a mark proves it, so marks should be asked for.
    pub(crate) wanted_mark: bool,
    /// A replica has all its writes already; only what the session read from the master meanwhile is unproven.
    pub(crate) only_sight: bool,
}

/// Decides where a read of a session may go.
pub(crate) fn read(
    reads: Reads,
    consistency: Consistency,
    sight: &Sight,
    marks: &Marks,
    nodes: &Candidates<'_>,
) -> ReadRoute {
    let snapshot = nodes.snapshot;
    let mut route = ReadRoute { to: Read::Hold, wanted_mark: false, only_sight: false };
    let mut set = NodeSet::EMPTY;
    // Nodes that would be in the set once a mark proves them.
    let mut later = NodeSet::EMPTY;
    // Nodes that could be in the set and serve badly: better than none.
    let mut spared = NodeSet::EMPTY;
    if reads != Reads::Master && consistency != Consistency::Strong {
        for (index, node) in snapshot.nodes.iter().enumerate() {
            if snapshot.master == Some(index) {
                if matches!(reads, Reads::Any | Reads::Nearest) && !nodes.is_to_be_spared(index) {
                    set.push(index);
                }
            } else if node.readable.is_ok() && !node.role_is_master() {
                match fit(node, consistency, sight, marks) {
                    Fit::Yes if nodes.is_to_be_spared(index) => spared.push(index),
                    Fit::Later { .. } if nodes.is_to_be_spared(index) => {}
                    // Without a master nothing can be proven. A session that has seen nothing itself is served then.
                    Fit::Later { .. } if snapshot.master.is_none() && sight.node.is_none() => set.push(index),
                    Fit::Yes => set.push(index),
                    Fit::Later { only_sight } => {
                        later.push(index);
                        route.wanted_mark = true;
                        route.only_sight |= only_sight;
                    }
                    Fit::No => {}
                }
            }
        }
        if reads == Reads::Any && later.len() > 0 {
            stay(&mut set, sight, snapshot);
        }
        if reads == Reads::Nearest && keep_nearest(&mut set, &later, snapshot) {
            // No mark would open a nearer way.
            route.wanted_mark = false;
            route.only_sight = false;
        }
    }
    route.to = match (set.len, snapshot.master) {
        (1.., _) => Read::Nodes(set),
        (0, Some(_)) => Read::Master,
        (0, None) if spared.len > 0 => Read::Nodes(spared),
        (0, None) => Read::Hold,
    };
    route
}

enum Fit {
    Yes,
    /// Once a mark proves it.
    Later {
        only_sight: bool,
    },
    No,
}

fn fit(node: &Node, consistency: Consistency, sight: &Sight, marks: &Marks) -> Fit {
    match consistency {
        Consistency::Strong => Fit::No,
        Consistency::Eventual { max_lag: None } => Fit::Yes,
        // Unknown lag is not small lag.
        Consistency::Eventual { max_lag: Some(max) } => {
            if node.lag.is_some_and(|lag| lag <= max) {
                Fit::Yes
            } else {
                Fit::No
            }
        }
        Consistency::Session if marks.covers(node.id, sight) => Fit::Yes,
        Consistency::Session if node.offsets_comparable => {
            Fit::Later { only_sight: marks.writes_caught(node.id, sight) }
        }
        Consistency::Session => Fit::No,
    }
}

/// A session that reads from a replica stays there until it may choose among all. At the master, which is always in the set, no
/// replica would be proven for it any more, so one visit would keep it there.
fn stay(set: &mut NodeSet, sight: &Sight, snapshot: &Snapshot) {
    let here = set.iter().find(|&index| sight.node == Some(snapshot.nodes[index].id));
    if let Some(index) = here.filter(|&index| snapshot.master != Some(index)) {
        *set = NodeSet::EMPTY;
        set.push(index);
    }
}

/// Nodes whose round trip is within a fifth and 100 µs of the best count as equally near: less is noise of a probe.
/// `true` when the nearest of the set are also the nearest of those that may join it.
fn keep_nearest(set: &mut NodeSet, later: &NodeSet, snapshot: &Snapshot) -> bool {
    let round_trip = |index: usize| snapshot.nodes[index].round_trip.unwrap_or(Duration::MAX);
    let Some(best) = set.iter().map(round_trip).min() else {
        return false;
    };
    let within = |best: Duration| best.saturating_add(best / 5).saturating_add(Duration::from_micros(100));
    let mut near = NodeSet::EMPTY;
    set.iter().filter(|&index| round_trip(index) <= within(best)).for_each(|index| near.push(index));
    *set = near;
    later.iter().map(round_trip).min().is_none_or(|best_later| best <= within(best_later))
}

#[cfg(test)]
mod tests;
