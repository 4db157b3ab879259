//! Where a read may go: a pure function of the listener's policy, the session's sight, the marks, the snapshot, and how the nodes
//! have served.
//!
//! `session` asks, `backend` then picks one node of the set by load. Writes need no routing: they go to the master or
//! wait. A node that is not surely fit is never in the set; in doubt it is the master.

use std::time::Duration;

use crate::config::{Consistency, Reads};
use crate::mark::{Marks, Sight};
use crate::reading::Standing;
use crate::reading::lag::LagGate;
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
    pub(crate) lag: &'a LagGate,
    /// A node that this session had to give up waiting for.
    pub(crate) avoid: Option<NodeId>,
}

impl Candidates<'_> {
    fn is_to_be_spared(&self, index: usize) -> bool {
        self.standings[index].usage.is_out() || self.avoid == Some(self.snapshot.nodes[index].id)
    }

    /// By policy and weight: while a node of a lower rank can serve, none of a higher one does.
    fn rank(&self, reads: Reads, index: usize) -> u8 {
        let standing = &self.standings[index];
        let master = self.snapshot.master == Some(index);
        let tier = match reads {
            Reads::Replica | Reads::Master | Reads::Any | Reads::Nearest => 0,
            Reads::Zone => u8::from(!standing.serves_locally()),
            Reads::ZoneAny if standing.serves_locally() => u8::from(master),
            Reads::ZoneAny => 2,
        };
        if standing.weight == 0 { tier + UNWEIGHTED } else { tier }
    }
}

/// Above every tier of a policy.
const UNWEIGHTED: u8 = 3;

/// Those of the lowest rank among the nodes that were offered.
struct Best {
    set: NodeSet,
    rank: u8,
}

impl Best {
    const NONE: Self = Self { set: NodeSet::EMPTY, rank: u8::MAX };

    fn offer(&mut self, index: usize, rank: u8) {
        if rank < self.rank {
            (self.set, self.rank) = (NodeSet::EMPTY, rank);
        }
        if rank == self.rank {
            self.set.push(index);
        }
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
    /// It goes to the master, or to a node that serves badly, because no other can serve, now or after a mark.
    pub(crate) fallback: bool,
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
    let mut only_sight = false;
    let mut best = Best::NONE;
    // Nodes that would be among them once a mark proves them.
    let mut later = Best::NONE;
    // Nodes that could be among them and serve badly: better than none.
    let mut spared = NodeSet::EMPTY;
    let from_replicas = reads != Reads::Master && consistency != Consistency::Strong;
    for (index, node) in snapshot.nodes.iter().enumerate().filter(|_| from_replicas) {
        if snapshot.master == Some(index) {
            if allows_master(reads) && !nodes.is_to_be_spared(index) {
                best.offer(index, nodes.rank(reads, index));
            }
        } else if node.readable.is_ok() && !node.role_is_master() && nodes.lag.admits(index) {
            match fit(node, consistency, sight, marks) {
                Fit::Yes if nodes.is_to_be_spared(index) => spared.push(index),
                Fit::Later { .. } if nodes.is_to_be_spared(index) => {}
                // Without a master nothing can be proven. A session that has seen nothing itself is served then.
                Fit::Later { .. } if snapshot.master.is_none() && sight.node.is_none() => {
                    best.offer(index, nodes.rank(reads, index));
                }
                Fit::Yes => best.offer(index, nodes.rank(reads, index)),
                Fit::Later { only_sight: only } => {
                    later.offer(index, nodes.rank(reads, index));
                    only_sight |= only;
                }
                Fit::No => {}
            }
        }
    }
    let mut set = best.set;
    // A mark for a node of a higher rank would open no better way.
    let mut wanted_mark = later.set.len > 0 && later.rank <= best.rank;
    if allows_master(reads) && reads != Reads::Nearest && wanted_mark {
        stay(&mut set, sight, snapshot);
    }
    if reads == Reads::Nearest && keep_nearest(&mut set, &later.set, nodes.standings) {
        wanted_mark = false;
    }
    let to = match (set.len, snapshot.master) {
        (1.., _) => Read::Nodes(set),
        (0, Some(_)) => Read::Master,
        (0, None) if spared.len > 0 => Read::Nodes(spared),
        (0, None) => Read::Hold,
    };
    let fallback = from_replicas && !allows_master(reads) && to == Read::Master && !wanted_mark;
    ReadRoute { to, wanted_mark, only_sight: only_sight && wanted_mark, fallback }
}

/// Not only when nobody else can serve.
pub(crate) const fn allows_master(reads: Reads) -> bool {
    matches!(reads, Reads::Any | Reads::Nearest | Reads::ZoneAny)
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
        Consistency::Eventual => Fit::Yes,
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

/// Nodes whose round trip is within a fifth and 100 µs of the best count as equally near: less is noise, and among equals the
/// load decides, so that they do not all run to the one that was the nearest last.
/// `true` when the nearest of the set are also the nearest of those that may join it.
fn keep_nearest(set: &mut NodeSet, later: &NodeSet, standings: &[Standing]) -> bool {
    let round_trip = |index: usize| standings[index].usage.round_trip().unwrap_or(Duration::MAX);
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
