//! The numbers Redan keeps about itself: one block of counters per worker, summed when they are read.
//!
//! Each block has exactly one writing thread, its owner; admin and the acceptor only read. So an increment is a
//! plain load and store, no locked instruction, and no cache line moves between cores on the request path. What
//! a block must never get is a second writer: increments would be lost, silently.

mod cell;
mod command;
mod group;
mod label;
mod node;
mod time;

use crate::limits;

pub(crate) use cell::{BUCKETS, Counter, Gauge, Histogram, Times};
pub(crate) use command::{CommandTable, OTHERS, ServedCounters, ServedTable};
pub(crate) use group::{GroupCounters, LastMaster, MasterEvent};
pub(crate) use label::{
    ERROR_CODES, ErrorCounters, MemoryGauges, MemoryKind, PinCounters, PinReason, error_code, error_of,
};
pub(crate) use node::{NodeCounters, NodeHandle, NodeTable};
pub(crate) use time::{Notable, Stamp, Tag};

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
    /// Microseconds that sessions have waited for a master, in total.
    pub(crate) hold_us: Counter,
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
    /// Errors that nodes answered clients' commands with, and that Redan did.
    pub(crate) node_errors: ErrorCounters,
    pub(crate) own_errors: ErrorCounters,
    /// Answers that took longer than the threshold of the slow log.
    pub(crate) slow_commands: Counter,
    /// Answers of more bytes than `big_reply`.
    pub(crate) big_replies: Counter,
    /// Sampled commands that were not told of, because nobody had fetched those before them.
    pub(crate) traces_dropped: Counter,
    /// Which answers those are. Nothing is counted here: the worker keeps it where its lanes read it anyway.
    pub(crate) notable: Notable,
    /// Session tasks that panicked: a defect of Redan, each one worth a report.
    pub(crate) panics: Counter,

    /// The last topology epoch this worker routed by, per group.
    pub(crate) topology_epoch_seen: EpochsSeen,
    /// Milliseconds since the process started, written by the worker's timer at least once a second. A value
    /// that stands still is a worker that is stuck.
    pub(crate) heartbeat_ms: Gauge,
    /// Per command, per listener and per node.
    pub(crate) commands: CommandTable,
    pub(crate) listeners: ServedTable,
    pub(crate) nodes: NodeTable,
}

impl WorkerCounters {
    /// A node has answered a command of a client. Inlined into the one place where lanes take an answer: six stores into this
    /// worker's own lines and no clock, for the lane reads that once for everything that came with one read.
    #[inline]
    pub(crate) fn answered(&self, tag: &Tag, count: u64, node: &NodeCounters, now: Stamp) {
        let at_node = now.since(tag.submitted);
        let command = self.commands.of(tag.row);
        command.calls.add(count);
        command.micros.add(u64::from(at_node) * count);
        node.latency.record(at_node, count);
        self.listeners.of(tag.listener).latency.record(now.since(tag.arrived), count);
    }

    /// The answer was an error.
    #[cold]
    pub(crate) fn answered_with_error(&self, tag: &Tag, node: &NodeCounters, reply: &[u8]) {
        self.node_errors.note(reply);
        self.commands.of(tag.row).errors.increment();
        node.errors.increment();
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

/// What becomes of sampled commands that are told of outside. Written by the thread that sends them only.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct TraceCounters {
    pub(crate) exported: Counter,
    /// Given up, because the collector was not there or did not want them.
    pub(crate) failed: Counter,
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
    /// The first two of each listener, by its number.
    listeners: ListenerTable,
}

/// What the acceptor counts of one listener.
#[derive(Debug, Default)]
pub(crate) struct ListenerCounters {
    pub(crate) accepted: Counter,
    pub(crate) rejected: Counter,
}

#[derive(Debug)]
struct ListenerTable(Box<[ListenerCounters]>);

impl Default for ListenerTable {
    fn default() -> Self {
        Self((0..limits::LISTENER_COUNTERS).map(|_| ListenerCounters::default()).collect())
    }
}

impl AcceptorCounters {
    /// `None`: more listeners have come and gone than are counted one by one.
    pub(crate) fn listener(&self, number: usize) -> Option<&ListenerCounters> {
        self.listeners.0.get(number)
    }

    pub(crate) fn accepted(&self, listener: usize) {
        self.accepted.increment();
        if let Some(of_listener) = self.listener(listener) {
            of_listener.accepted.increment();
        }
    }

    pub(crate) fn rejected(&self, listener: usize) {
        self.rejected.increment();
        if let Some(of_listener) = self.listener(listener) {
            of_listener.rejected.increment();
        }
    }
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
    fn blocks_of_two_workers_share_no_cache_line() {
        assert_eq!(align_of::<WorkerCounters>(), 128);
        assert_eq!(size_of::<WorkerCounters>() % 128, 0);
    }

    #[test]
    fn an_answer_is_counted_for_its_command_its_node_and_its_listener() {
        let block = std::sync::Arc::new(WorkerCounters::default());
        let node = block.node(0, crate::topology::NodeId(1));
        let start = Stamp::now();
        let tag = Tag { row: 7, listener: 2, arrived: start, submitted: start.later(100), traced: false };
        block.answered(&tag, 1, &node, start.later(5_100));
        block.answered_with_error(&tag, &node, b"-WRONGTYPE no\r\n");
        let command = block.commands.of(7);
        assert_eq!((command.calls.get(), command.micros.get(), command.errors.get()), (1, 5_000, 1));
        let (mut at_node, mut seen) = (Times::default(), Times::default());
        node.latency.add_to(&mut at_node);
        block.listeners.of(2).latency.add_to(&mut seen);
        assert_eq!((at_node.micros, seen.micros), (5_000, 5_100));
        assert_eq!(node.errors.get(), 1);
    }
}
