//! Who subscribes to what in this process: so that PUBLISH can say how many clients a message reached.
//!
//! A node counts its own subscribers, and of this process it sees one for each worker and backend user. The registry
//! holds both sides for every topic: the subscriptions that hubs have at a node and the clients behind them. Clients
//! whose hub has no connection now are not counted, for nothing reaches them. Written by hubs, when a client comes or goes
//! and when a node confirms; read by PUBLISH, and by that only while anybody in the process
//! subscribes to anything. Shared by the workers, behind a lock that no other command touches.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::glob;
use super::topic::Kind;
use crate::topology::NodeId;

#[derive(Clone, Debug, Default)]
pub(crate) struct Registry(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Topics in the tables: zero while the process has no subscription.
    topics: AtomicUsize,
    tables: Mutex<Tables>,
}

/// By `Kind`.
type Tables = [HashMap<Box<[u8]>, Count>; 3];

/// One topic: by node, for there are two only while the master changes.
#[derive(Debug, Default)]
struct Count(Vec<At>);

#[derive(Debug)]
struct At {
    node: NodeId,
    /// Confirmed subscriptions of hubs, and the clients behind them.
    upstream: i64,
    clients: i64,
}

impl Count {
    /// What has to be added to the number of `node`.
    fn difference(&self, node: NodeId) -> i64 {
        self.0.iter().find(|at| at.node == node).map_or(0, |at| at.clients - at.upstream)
    }

    fn change(&mut self, node: NodeId, upstream: i64, clients: i64) {
        match self.0.iter_mut().find(|at| at.node == node) {
            Some(at) => {
                at.upstream += upstream;
                at.clients += clients;
            }
            None => self.0.push(At { node, upstream, clients }),
        }
        self.0.retain(|at| at.upstream != 0 || at.clients != 0);
    }
}

impl Registry {
    /// Nobody in the process subscribes to anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.topics.load(Ordering::Acquire) == 0
    }

    /// A hub that is subscribed at `node`, or was, has so many more subscriptions there, and clients behind them.
    pub(super) fn change(&self, kind: Kind, name: &[u8], node: NodeId, upstream: i64, clients: i64) {
        let mut tables = self.tables();
        let table = &mut tables[kind as usize];
        if let Some(count) = table.get_mut(name) {
            count.change(node, upstream, clients);
            if count.0.is_empty() {
                table.remove(name);
                self.0.topics.fetch_sub(1, Ordering::AcqRel);
            }
        } else if upstream != 0 || clients != 0 {
            let mut count = Count::default();
            count.change(node, upstream, clients);
            table.insert(name.into(), count);
            self.0.topics.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// How many clients a PUBLISH reached, of which `node` counted `counted`. Clients with both the channel and a
    /// matching pattern count twice, as servers count them.
    pub(crate) fn reached(&self, channel: &[u8], node: NodeId, counted: i64) -> i64 {
        let tables = self.tables();
        let direct = tables[Kind::Channel as usize].get(channel).map_or(0, |count| count.difference(node));
        let patterns = &tables[Kind::Pattern as usize];
        let matching = patterns.iter().filter(|(pattern, _)| glob::matches(pattern, channel));
        let by_pattern: i64 = matching.map(|(_, count)| count.difference(node)).sum();
        (counted + direct + by_pattern).max(0)
    }

    /// How many subscribe to this channel or shard channel, of which `node` counted `counted`: PUBSUB NUMSUB, SPUBLISH.
    pub(crate) fn subscribers(&self, kind: Kind, name: &[u8], node: NodeId, counted: i64) -> i64 {
        let tables = self.tables();
        (counted + tables[kind as usize].get(name).map_or(0, |count| count.difference(node))).max(0)
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    #[test]
    fn a_reply_counts_clients_in_place_of_upstream_subscriptions() {
        let registry = Registry::default();
        assert!(registry.is_empty());
        registry.change(Kind::Channel, b"news", A, 1, 3);
        registry.change(Kind::Channel, b"news", A, 1, 2);
        registry.change(Kind::Pattern, b"n*", A, 1, 3);
        registry.change(Kind::Pattern, b"x*", A, 1, 1);
        // Two workers, one pattern, and one foreign subscriber at the node.
        assert_eq!(registry.reached(b"news", A, 4), 1 + 5 + 3);
        assert_eq!(registry.reached(b"nothing", A, 1), 3);
        assert_eq!(registry.subscribers(Kind::Channel, b"news", A, 3), 6);
        assert_eq!(registry.subscribers(Kind::Shard, b"news", A, 3), 3, "another name space");
        // Clients behind a hub at another node got nothing from this one.
        assert_eq!(registry.subscribers(Kind::Channel, b"news", B, 1), 1);
    }

    #[test]
    fn what_nobody_wants_any_more_is_forgotten() {
        let registry = Registry::default();
        registry.change(Kind::Shard, b"s", A, 1, 0);
        registry.change(Kind::Shard, b"s", A, 0, 1);
        registry.change(Kind::Shard, b"s", B, 1, 0);
        registry.change(Kind::Shard, b"s", A, -1, -1);
        assert!(!registry.is_empty());
        registry.change(Kind::Shard, b"s", B, -1, 0);
        assert!(registry.is_empty());
        registry.change(Kind::Shard, b"s", B, 0, 0);
        assert!(registry.is_empty());
        assert_eq!(registry.subscribers(Kind::Shard, b"s", A, 0), 0);
    }
}
