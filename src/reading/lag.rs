//! Which replicas are near enough behind the master for a listener, with hysteresis.
//!
//! Pure; a listener's context on each worker has one. Unknown lag is not small lag. How far behind a replica is comes from
//! probes, so it is judged once for each snapshot.

use std::time::Duration;

use crate::topology::{Node, NodeId, Snapshot};

/// How far behind a replica may be; `None` is however far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LagLimit {
    pub(crate) time: Option<Duration>,
    pub(crate) bytes: Option<u64>,
}

/// A replica that was too far behind comes back when it is within this part of the limit, in so many snapshots in a row:
/// at the edge it would come and go with every probe.
const BACK_WITHIN: (u32, u32) = (3, 4);
const BACK_AFTER: u32 = 3;

impl LagLimit {
    const NONE: Self = Self { time: None, bytes: None };

    /// Within `part.0 / part.1` of it.
    fn admits(&self, node: &Node, part: (u32, u32)) -> bool {
        let in_time = |limit: Duration| node.lag.is_some_and(|lag| lag <= limit * part.0 / part.1);
        let in_bytes = |limit: u64| {
            let limit = u128::from(limit) * u128::from(part.0) / u128::from(part.1);
            node.lag_bytes.is_some_and(|bytes| u128::from(bytes) <= limit)
        };
        self.time.is_none_or(in_time) && self.bytes.is_none_or(in_bytes)
    }

    /// How many more snapshots it is out; it was for `out` more.
    fn judge(&self, node: &Node, out: u32) -> u32 {
        match out {
            0 if self.admits(node, (1, 1)) => 0,
            0 => BACK_AFTER,
            _ if self.admits(node, BACK_WITHIN) => out - 1,
            _ => BACK_AFTER,
        }
    }
}

#[derive(Debug)]
struct Admitted {
    node: NodeId,
    /// Snapshots until it is in again; 0: it is in.
    out: u32,
}

/// The judgement of a snapshot's nodes, at its indices.
#[derive(Debug)]
pub(crate) struct LagGate {
    limit: LagLimit,
    /// The last snapshot, by its number.
    followed: Option<u64>,
    nodes: Vec<Admitted>,
}

impl LagGate {
    pub(crate) const fn new(limit: LagLimit) -> Self {
        Self { limit, followed: None, nodes: Vec::new() }
    }

    /// Whether there is nothing to learn from the snapshot with this number.
    pub(crate) fn knows(&self, number: u64) -> bool {
        self.limit == LagLimit::NONE || self.followed == Some(number)
    }

    /// Takes over the snapshot with this number, unless it is the one known.
    pub(crate) fn follow(&mut self, number: u64, snapshot: &Snapshot) {
        if self.knows(number) {
            return;
        }
        self.followed = Some(number);
        let (limit, before) = (self.limit, std::mem::take(&mut self.nodes));
        self.nodes.extend(snapshot.nodes.iter().map(|node| {
            let out = before.iter().find(|known| known.node == node.id).map_or(0, |known| known.out);
            Admitted { node: node.id, out: limit.judge(node, out) }
        }));
    }

    /// Of a replica. Without a limit, all of them.
    pub(crate) fn admits(&self, index: usize) -> bool {
        self.limit == LagLimit::NONE || self.nodes.get(index).is_some_and(|known| known.out == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Role;

    fn replica(lag_ms: Option<u64>, bytes: Option<u64>) -> Snapshot {
        let node = Node { lag: lag_ms.map(Duration::from_millis), lag_bytes: bytes, ..Node::example(1, Role::Replica) };
        Snapshot { epoch: 1, master: None, nodes: vec![node], reason: "a test".into(), sentinels: None, busy: false }
    }

    /// Lag in milliseconds and bytes, snapshot by snapshot, and who is in.
    type Steps = &'static [(Option<u64>, Option<u64>, bool)];

    fn run(limit: LagLimit, steps: Steps) {
        let mut gate = LagGate::new(limit);
        for (number, (lag, bytes, expected)) in steps.iter().enumerate() {
            let snapshot = replica(*lag, *bytes);
            gate.follow(number as u64, &snapshot);
            gate.follow(number as u64, &snapshot);
            assert_eq!(gate.admits(0), *expected, "{limit:?}, step {number}: {lag:?} {bytes:?}");
        }
    }

    const SECOND: LagLimit = LagLimit { time: Some(Duration::from_secs(1)), bytes: None };
    const KILOBYTE: LagLimit = LagLimit { time: None, bytes: Some(1000) };
    const BOTH: LagLimit = LagLimit { time: SECOND.time, bytes: KILOBYTE.bytes };

    #[test]
    fn a_replica_is_in_up_to_the_limit_and_unknown_is_beyond_it() {
        run(LagLimit::NONE, &[(None, None, true), (Some(100_000), None, true)]);
        run(SECOND, &[(Some(1000), None, true), (Some(1001), Some(0), false)]);
        run(SECOND, &[(None, Some(0), false)]);
        run(KILOBYTE, &[(Some(5000), Some(1000), true), (Some(0), Some(1001), false)]);
        run(KILOBYTE, &[(Some(0), None, false)]);
        run(BOTH, &[(Some(0), Some(0), true), (Some(0), None, false)]);
        run(BOTH, &[(Some(1001), Some(0), false)]);
    }

    #[test]
    fn at_the_edge_it_does_not_flap() {
        run(
            SECOND,
            &[
                (Some(900), None, true),
                (Some(1100), None, false),
                (Some(900), None, false),
                (Some(1100), None, false),
                (Some(700), None, false),
                (Some(900), None, false),
                (Some(700), None, false),
                (Some(700), None, false),
                (Some(750), None, true),
                (Some(900), None, true),
            ],
        );
    }
}
