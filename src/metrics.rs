//! The numbers Redan keeps about itself: one block of counters per worker, summed when they are read.
//!
//! Each block has exactly one writing thread, its owner; admin and the acceptor only read. So an increment is a
//! plain load and store, no locked instruction, and no cache line moves between cores on the request path. What
//! a block must never get is a second writer: increments would be lost, silently.

use std::marker::PhantomData;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::limits;
use crate::topology::NodeId;

/// A number that only grows. One thread writes it, any thread reads it.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Load and store, not fetch_add: with one writer nothing can come between, and it costs no bus lock.
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn clear(&self) {
        self.0.store(0, Relaxed);
    }
}

/// A number that rises and falls. One thread writes it, any thread reads it.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn increment(&self) {
        self.set(self.get().saturating_add(1));
    }

    /// Stays at zero where it would go below: a wrong 2^64 - 1 would trip every alarm, a zero none.
    pub(crate) fn decrement(&self) {
        debug_assert!(self.get() > 0, "a gauge is decremented once for each increment");
        self.set(self.get().saturating_sub(1));
    }

    /// A part of it was `before` and is `now`.
    pub(crate) fn moved(&self, before: u64, now: u64) {
        debug_assert!(self.get() >= before, "what is taken away was added before");
        self.set(self.get().saturating_add(now).saturating_sub(before));
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What buffers of clients are for. `ALL` and `name` are the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryKind {
    /// Commands read from clients and not yet routed.
    Input,
    /// Replies and messages that clients have not taken.
    Output,
    /// Answers whose turn has not come, and commands to be sent again.
    Stash,
    /// What sessions with a connection of their own have for it, and from it.
    Pins,
    /// Unanswered commands and partial replies of shared connections.
    Lanes,
    /// Kept to be used again.
    Spare,
}

impl MemoryKind {
    pub(crate) const ALL: [Self; 6] = [Self::Input, Self::Output, Self::Stash, Self::Pins, Self::Lanes, Self::Spare];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Stash => "stash",
            Self::Pins => "pins",
            Self::Lanes => "lanes",
            Self::Spare => "spare",
        }
    }
}

/// Bytes that buffers of clients hold, by kind.
#[derive(Debug, Default)]
pub(crate) struct MemoryGauges([Gauge; MemoryKind::ALL.len()]);

impl MemoryGauges {
    pub(crate) fn of(&self, kind: MemoryKind) -> &Gauge {
        // `ALL` lists the variants in the order of their discriminants, which a test holds it to.
        &self.0[kind as usize]
    }

    pub(crate) fn sum(&self) -> u64 {
        self.0.iter().map(Gauge::get).sum()
    }
}

/// Why a session was lent a connection of its own. `ALL` and `name` are the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinReason {
    /// MULTI whose EXEC did not stand in the same buffer.
    Multi,
    Watch,
    Blocking,
    /// WAIT and WAITAOF.
    Wait,
    Tracking,
    /// A command that changes its connection in a way no other session may see.
    Stateful,
    /// SCRIPT KILL and the like, which must not queue behind what they end.
    Script,
    Admin,
    /// A command too long to gather, streamed as it comes.
    Large,
    /// A command Redan does not know.
    Unknown,
}

impl PinReason {
    pub(crate) const ALL: [Self; 10] = [
        Self::Multi,
        Self::Watch,
        Self::Blocking,
        Self::Wait,
        Self::Tracking,
        Self::Stateful,
        Self::Script,
        Self::Admin,
        Self::Large,
        Self::Unknown,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Multi => "multi",
            Self::Watch => "watch",
            Self::Blocking => "blocking",
            Self::Wait => "wait",
            Self::Tracking => "tracking",
            Self::Stateful => "stateful",
            Self::Script => "script",
            Self::Admin => "admin",
            Self::Large => "large",
            Self::Unknown => "unknown",
        }
    }
}

/// Pins taken, by reason.
#[derive(Debug, Default)]
pub(crate) struct PinCounters([Counter; PinReason::ALL.len()]);

impl PinCounters {
    pub(crate) fn of(&self, reason: PinReason) -> &Counter {
        // `ALL` lists the variants in the order of their discriminants, which a test holds it to.
        &self.0[reason as usize]
    }
}

/// What one worker counts. Written by that worker's thread only.
///
/// 128 bytes of alignment, not 64: the prefetcher of current x86 fetches lines in pairs, so two workers' blocks
/// in one pair would still disturb each other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkerCounters {
    /// Client connections this worker serves now.
    pub(crate) sessions_open: Gauge,
    /// Client connections this worker was given since it started.
    pub(crate) sessions_total: Counter,
    /// Client connections this worker was given and closed at once because of a limit.
    pub(crate) sessions_rejected: Counter,

    /// Commands routed as reads, over lanes.
    pub(crate) commands_read: Counter,
    /// Commands routed as writes, over lanes.
    pub(crate) commands_write: Counter,
    /// Commands Redan answered itself.
    pub(crate) commands_local: Counter,
    /// Commands sent over a pin.
    pub(crate) commands_pinned: Counter,
    /// Of `commands_read`: sent to a replica.
    pub(crate) reads_replica: Counter,
    /// Of `commands_read`: sent to the master.
    pub(crate) reads_master: Counter,
    /// Of `reads_master`: because no replica could serve them.
    pub(crate) reads_fallback: Counter,
    /// Times a session had to wait because of `master_reads_limit`.
    pub(crate) reads_capped: Counter,
    /// Reads that were also sent to a second node.
    pub(crate) hedges: Counter,
    /// Times the second node answered first.
    pub(crate) hedges_won: Counter,
    /// Bytes read from clients, after decryption.
    pub(crate) bytes_in: Counter,
    /// Bytes written to clients, before encryption.
    pub(crate) bytes_out: Counter,

    /// Sessions that wait for a master now.
    pub(crate) holds_now: Gauge,
    /// Waits for a master that began.
    pub(crate) holds_total: Counter,
    /// Of `holds_total`: ended by the listener's `hold` with an error.
    pub(crate) holds_expired: Counter,
    /// Waits that did not begin because of the listener's `hold_sessions`, and of its `hold_bytes`.
    pub(crate) holds_refused_sessions: Counter,
    pub(crate) holds_refused_bytes: Counter,
    /// How long the session that has waited longest has waited, when the worker's timer last ran.
    pub(crate) longest_hold_ms: Gauge,
    /// Commands sent again because their first sending was proven not executed, or were reads.
    pub(crate) replays: Counter,
    /// Scripts sent with their text to a node that did not know their digest.
    pub(crate) scripts_repaired: Counter,
    /// Commands whose outcome is unknown: written to a node that never answered.
    pub(crate) in_doubt: Counter,
    /// Sessions closed because of such a command.
    pub(crate) doubtful_clients_closed: Counter,
    /// Replies that said "not me" (`-READONLY`, `-LOADING`, …) and were not shown to the client.
    pub(crate) bounces: Counter,
    /// Writes whose clients were told of them when enough replicas had them.
    pub(crate) writes_assured: Counter,
    /// Writes that too few replicas confirmed in time.
    pub(crate) writes_not_durable: Counter,
    /// Writes over which the master changed before that.
    pub(crate) writes_lost: Counter,
    /// Writes refused, unexecuted, for want of replicas.
    pub(crate) writes_refused: Counter,
    /// Microseconds that replies to writes were kept back for it, in total.
    pub(crate) assurance_wait_us: Counter,
    /// Questions for a replication offset, asked to release sessions that wait for their own writes.
    pub(crate) marks_asked: Counter,

    /// Backend connections that sessions share, open now.
    pub(crate) lanes_open: Gauge,
    /// Backend connections lent to one session, open now.
    pub(crate) pins_open: Gauge,
    /// Pins taken, by reason.
    pub(crate) pins: PinCounters,

    /// Channels, patterns and shard channels of clients, through the hub.
    pub(crate) subscriptions: Gauge,
    /// Of hubs, at nodes: confirmed now.
    pub(crate) upstream_subscriptions: Gauge,
    /// Times a hub had all its subscriptions again after its connection was lost or moved.
    pub(crate) resubscriptions: Counter,
    /// Microseconds from there to here, in total.
    pub(crate) subscription_gap_us: Counter,
    /// Messages handed to clients.
    pub(crate) messages_delivered: Counter,

    /// AUTH and HELLO AUTH that named a wrong user or password.
    pub(crate) auth_failures: Counter,
    /// Sessions closed because what they sent was not the Redis protocol.
    pub(crate) protocol_errors: Counter,
    /// TLS handshakes with clients that succeeded.
    pub(crate) tls_handshakes: Counter,
    /// Clients closed because their certificates are not accepted any more.
    pub(crate) untrusted_clients_closed: Counter,
    /// TLS handshakes with clients that failed.
    pub(crate) tls_failures: Counter,
    /// Sessions closed because they read their replies too slowly.
    pub(crate) slow_clients_closed: Counter,
    /// Sessions closed because all together held more than `max_memory`.
    pub(crate) memory_clients_closed: Counter,
    /// What buffers of clients hold now, by kind.
    pub(crate) memory: MemoryGauges,
    /// Session tasks that panicked: a defect of Redan, each one worth a report.
    pub(crate) panics: Counter,

    /// The last topology epoch this worker routed by, per group.
    pub(crate) topology_epoch_seen: EpochsSeen,
    /// Milliseconds since the process started, written by the worker's timer at least once a second. A value
    /// that stands still is a worker that is stuck.
    pub(crate) heartbeat_ms: Gauge,
    /// Per node.
    pub(crate) nodes: NodeTable,
}

impl WorkerCounters {
    /// The counters of one node, for the lane or pool that talks to it. Look it up once and keep it.
    pub(crate) fn node(self: &Arc<Self>, group: usize, node: NodeId) -> NodeHandle {
        let slot = self.nodes.claim(group, node);
        self.nodes.slots[slot].holders.increment();
        NodeHandle { block: Arc::clone(self), slot, not_send: PhantomData }
    }
}

/// One epoch per group, by its number.
#[derive(Debug)]
pub(crate) struct EpochsSeen(Box<[Gauge]>);

impl EpochsSeen {
    pub(crate) fn of(&self, group: usize) -> &Gauge {
        debug_assert!(group < limits::GROUP_NUMBERS, "no other numbers are given");
        &self.0[group % limits::GROUP_NUMBERS]
    }
}

impl Default for EpochsSeen {
    fn default() -> Self {
        Self((0..limits::GROUP_NUMBERS).map(|_| Gauge::default()).collect())
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

/// What the acceptor counts. Written by the acceptor's thread only.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct AcceptorCounters {
    /// Connections accepted.
    pub(crate) accepted: Counter,
    /// Connections closed because the listener was at `max_clients`, or the process over `max_memory`.
    pub(crate) rejected: Counter,
    /// `accept` itself failed (out of file descriptors, for instance).
    pub(crate) accept_errors: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_and_gauges_follow() {
        let counters = WorkerCounters::default();
        counters.bytes_in.add(5);
        counters.bytes_in.increment();
        counters.sessions_open.increment();
        counters.sessions_open.increment();
        counters.sessions_open.decrement();
        assert_eq!((counters.bytes_in.get(), counters.sessions_open.get()), (6, 1));
    }

    #[test]
    fn every_pin_reason_has_its_own_counter_and_name() {
        let pins = PinCounters::default();
        for (index, reason) in PinReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            pins.of(reason).add(index as u64 + 1);
        }
        for (index, reason) in PinReason::ALL.into_iter().enumerate() {
            assert_eq!(pins.of(reason).get(), index as u64 + 1);
        }
        let names: std::collections::BTreeSet<_> = PinReason::ALL.map(PinReason::name).into();
        assert_eq!(names.len(), PinReason::ALL.len());
    }

    #[test]
    fn every_kind_of_memory_has_its_own_gauge_and_name() {
        let memory = MemoryGauges::default();
        for (index, kind) in MemoryKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            memory.of(kind).moved(0, index as u64 + 1);
        }
        assert_eq!(memory.sum(), 1 + 2 + 3 + 4 + 5 + 6);
        memory.of(MemoryKind::Spare).moved(6, 2);
        assert_eq!(memory.of(MemoryKind::Spare).get(), 2);
        let names: std::collections::BTreeSet<_> = MemoryKind::ALL.map(MemoryKind::name).into();
        assert_eq!(names.len(), MemoryKind::ALL.len());
    }

    #[test]
    fn blocks_of_two_workers_share_no_cache_line() {
        assert_eq!(align_of::<WorkerCounters>(), 128);
        assert_eq!(size_of::<WorkerCounters>() % 128, 0);
    }

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
