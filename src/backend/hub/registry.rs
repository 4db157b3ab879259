//! Who subscribes to what in this process: so that PUBLISH can say how many clients a message reached.
//!
//! A node counts its own subscribers, and of this process it sees one for each worker and backend user. The registry
//! holds both sides for every topic: the subscriptions that hubs have at a node and the clients behind them. Written by
//! SUBSCRIBE and its kin, and by hubs when a node confirms; read by PUBLISH, and by that only while anybody in the process
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

#[derive(Debug, Default)]
struct Count {
    clients: u32,
    /// Confirmed subscriptions of hubs, by node: two nodes only while the master changes.
    upstream: Vec<(NodeId, u32)>,
}

impl Count {
    fn at(&self, node: NodeId) -> u32 {
        self.upstream.iter().find(|(at, _)| *at == node).map_or(0, |(_, count)| *count)
    }

    /// What has to be added to the number of `node`.
    fn difference(&self, node: NodeId) -> i64 {
        i64::from(self.clients) - i64::from(self.at(node))
    }
}

impl Registry {
    /// Nobody in the process subscribes to anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.topics.load(Ordering::Acquire) == 0
    }

    pub(super) fn client_came(&self, kind: Kind, name: &[u8]) {
        self.change(kind, name, |count| count.clients += 1);
    }

    pub(super) fn client_left(&self, kind: Kind, name: &[u8]) {
        self.change(kind, name, |count| count.clients = count.clients.saturating_sub(1));
    }

    pub(super) fn confirmed(&self, kind: Kind, name: &[u8], node: NodeId) {
        self.change(kind, name, |count| match count.upstream.iter_mut().find(|(at, _)| *at == node) {
            Some((_, upstream)) => *upstream += 1,
            None => count.upstream.push((node, 1)),
        });
    }

    pub(super) fn ended(&self, kind: Kind, name: &[u8], node: NodeId) {
        self.change(kind, name, |count| {
            if let Some((_, upstream)) = count.upstream.iter_mut().find(|(at, _)| *at == node) {
                *upstream = upstream.saturating_sub(1);
            }
            count.upstream.retain(|(_, upstream)| *upstream > 0);
        });
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

    fn change(&self, kind: Kind, name: &[u8], change: impl FnOnce(&mut Count)) {
        let mut tables = self.tables();
        let table = &mut tables[kind as usize];
        let empty = |count: &Count| count.clients == 0 && count.upstream.is_empty();
        match table.get_mut(name) {
            Some(count) => {
                change(count);
                if empty(count) {
                    table.remove(name);
                    self.0.topics.fetch_sub(1, Ordering::AcqRel);
                }
            }
            None => {
                let mut count = Count::default();
                change(&mut count);
                if !empty(&count) {
                    table.insert(name.into(), count);
                    self.0.topics.fetch_add(1, Ordering::AcqRel);
                }
            }
        }
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
        for _ in 0..2 {
            registry.confirmed(Kind::Channel, b"news", A);
        }
        registry.confirmed(Kind::Pattern, b"n*", A);
        (0..5).for_each(|_| registry.client_came(Kind::Channel, b"news"));
        (0..3).for_each(|_| registry.client_came(Kind::Pattern, b"n*"));
        registry.client_came(Kind::Pattern, b"x*");
        // Two workers, one pattern, and one foreign subscriber at the node.
        assert_eq!(registry.reached(b"news", A, 4), 1 + 5 + 3);
        assert_eq!(registry.reached(b"nothing", A, 1), 3);
        assert_eq!(registry.subscribers(Kind::Channel, b"news", A, 3), 6);
        assert_eq!(registry.subscribers(Kind::Shard, b"news", A, 3), 3, "another name space");
        // A hub at another node is not in this node's number.
        assert_eq!(registry.subscribers(Kind::Channel, b"news", B, 0), 5);
    }

    #[test]
    fn what_nobody_wants_any_more_is_forgotten() {
        let registry = Registry::default();
        registry.confirmed(Kind::Shard, b"s", A);
        registry.client_came(Kind::Shard, b"s");
        registry.client_left(Kind::Shard, b"s");
        assert!(!registry.is_empty());
        registry.ended(Kind::Shard, b"s", A);
        assert!(registry.is_empty());
        // Never below zero, and never an entry of nothing.
        registry.ended(Kind::Shard, b"s", A);
        registry.client_left(Kind::Shard, b"s");
        assert!(registry.is_empty());
        assert_eq!(registry.subscribers(Kind::Shard, b"s", A, 0), 0);
    }
}
