//! What is counted of each link. Several threads write: additions are atomic, and come once for many kilobytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::desk::{Desk, Watched};
use super::pack::Shrunk;
use super::replication::Sync;

/// One link's.
#[derive(Debug, Default)]
pub(crate) struct LinkCounters {
    open: AtomicU64,
    detached: AtomicU64,
    opened: AtomicU64,
    refused: AtomicU64,
    broken: AtomicU64,
    resumed: AtomicU64,
    lost: AtomicU64,
    untrusted: AtomicU64,
    commands_refused: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    unacknowledged: AtomicU64,
    /// Bytes as they were and as they went over the link, of what was sent and received.
    shrunk: [[AtomicU64; 2]; 2],
    round_trip_us: AtomicU64,
    full_syncs: AtomicU64,
    partial_syncs: AtomicU64,
    /// What its connections know together of replicas.
    pub(crate) desk: Desk,
}

/// A reading, in the words of the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkNumbers {
    pub(crate) open: u64,
    pub(crate) detached: u64,
    pub(crate) opened: u64,
    pub(crate) refused: u64,
    pub(crate) broken: u64,
    pub(crate) resumed: u64,
    pub(crate) lost: u64,
    pub(crate) untrusted: u64,
    pub(crate) commands_refused: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) unacknowledged: u64,
    /// Sent and received in compressed form: how many bytes they were, and how many went over the link.
    pub(crate) shrunk: [[u64; 2]; 2],
    pub(crate) full_syncs: u64,
    pub(crate) partial_syncs: u64,
    /// The last that was measured, on any connection; `None` before.
    pub(crate) round_trip: Option<Duration>,
    pub(crate) replicas: Watched,
}

impl LinkCounters {
    pub(crate) fn numbers(&self) -> LinkNumbers {
        LinkNumbers {
            open: self.open.load(Relaxed),
            detached: self.detached.load(Relaxed),
            opened: self.opened.load(Relaxed),
            refused: self.refused.load(Relaxed),
            broken: self.broken.load(Relaxed),
            resumed: self.resumed.load(Relaxed),
            lost: self.lost.load(Relaxed),
            untrusted: self.untrusted.load(Relaxed),
            commands_refused: self.commands_refused.load(Relaxed),
            sent: self.sent.load(Relaxed),
            received: self.received.load(Relaxed),
            unacknowledged: self.unacknowledged.load(Relaxed),
            shrunk: self.shrunk.each_ref().map(|both| both.each_ref().map(|count| count.load(Relaxed))),
            full_syncs: self.full_syncs.load(Relaxed),
            partial_syncs: self.partial_syncs.load(Relaxed),
            round_trip: Some(self.round_trip_us.load(Relaxed)).filter(|us| *us > 0).map(Duration::from_micros),
            replicas: self.desk.watched(),
        }
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(super) fn resumed(&self) {
        self.resumed.fetch_add(1, Relaxed);
    }

    pub(super) fn lost(&self) {
        self.lost.fetch_add(1, Relaxed);
    }

    /// A connection was closed because the other end is not believed any more.
    pub(super) fn untrusted(&self) {
        self.untrusted.fetch_add(1, Relaxed);
    }

    /// By `commands` of an exit.
    pub(super) fn commands_refused(&self, commands: u64) {
        self.commands_refused.fetch_add(commands, Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn shrunk(&self, shrunk: [Shrunk; 2]) {
        for (counts, shrunk) in self.shrunk.iter().zip(shrunk).filter(|(_, shrunk)| shrunk.plain > 0) {
            counts[0].fetch_add(shrunk.plain, Relaxed);
            counts[1].fetch_add(shrunk.packed, Relaxed);
        }
    }

    /// A master has answered a replica.
    pub(super) fn sync(&self, sync: Sync) {
        match sync {
            Sync::Full => &self.full_syncs,
            Sync::Partial => &self.partial_syncs,
        }
        .fetch_add(1, Relaxed);
    }

    pub(super) fn round_trip(&self, time: Duration) {
        self.round_trip_us.store(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1), Relaxed);
    }

    /// A part of it was `before` and is `now`.
    pub(super) fn unacknowledged(&self, before: u64, now: u64) {
        // Wraps on its way and comes out right.
        self.unacknowledged.fetch_add(now.wrapping_sub(before), Relaxed);
    }

    /// Counts a connection for as long as what is returned lives; `None` when there are `most` already.
    pub(super) fn open(self: &Arc<Self>, most: usize) -> Option<Open> {
        let room = |open: u64| (open < most as u64).then_some(open + 1);
        self.open.fetch_update(Relaxed, Relaxed, room).ok()?;
        self.opened.fetch_add(1, Relaxed);
        Some(Open(Arc::clone(self)))
    }

    /// Counts a stream without a wire for as long as what is returned lives.
    pub(super) fn detached(self: &Arc<Self>) -> Detached {
        self.broken.fetch_add(1, Relaxed);
        self.detached.fetch_add(1, Relaxed);
        Detached(Arc::clone(self))
    }
}

/// One open connection.
#[derive(Debug)]
pub(super) struct Open(Arc<LinkCounters>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

#[derive(Debug)]
pub(super) struct Detached(Arc<LinkCounters>);

impl Drop for Detached {
    fn drop(&mut self) {
        self.0.detached.fetch_sub(1, Relaxed);
    }
}
