//! What one replica's connection shows to others: how much of its data has come, how far it is behind.
//!
//! Written by the connection's thread alone, with plain stores; read when metrics are asked for.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A time that has not come.
const NEVER: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Progress {
    origin: Instant,
    /// Of the data, since it began to come; `NEVER` when none comes.
    rdb_bytes: AtomicU64,
    /// All of it; 0 when the master does not say.
    rdb_total: AtomicU64,
    sent: AtomicU64,
    acknowledged: AtomicU64,
    /// When the replica had everything, in milliseconds since `origin`; `NEVER` before the stream.
    level: AtomicU64,
    /// Bytes a second, and bytes.
    rate: AtomicU64,
    backlog: AtomicU64,
}

/// Of a replica that follows the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) lag_bytes: u64,
    /// Since it had everything.
    pub(crate) lag: Duration,
    /// How long it may be away before the backlog does not reach back to it; `None` when nothing is written, or the backlog's
    /// size is not known.
    pub(crate) headroom: Option<Duration>,
}

impl Progress {
    pub(super) fn new(origin: Instant) -> Self {
        Self {
            origin,
            rdb_bytes: AtomicU64::new(NEVER),
            rdb_total: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            level: AtomicU64::new(NEVER),
            rate: AtomicU64::new(0),
            backlog: AtomicU64::new(0),
        }
    }

    fn time(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_millis()).unwrap_or(NEVER - 1)
    }

    pub(super) fn rdb_begins(&self, total: Option<u64>) {
        self.rdb_total.store(total.unwrap_or(0), Relaxed);
        self.rdb_bytes.store(0, Relaxed);
    }

    pub(super) fn rdb_passed(&self, bytes: u64) {
        self.rdb_bytes.store(bytes, Relaxed);
    }

    pub(super) fn rdb_ends(&self) {
        self.rdb_bytes.store(NEVER, Relaxed);
    }

    /// Bytes that have come, and of how many, while data comes.
    pub(crate) fn rdb(&self) -> Option<(u64, u64)> {
        let bytes = self.rdb_bytes.load(Relaxed);
        (bytes != NEVER).then(|| (bytes, self.rdb_total.load(Relaxed)))
    }

    pub(super) fn follows(&self, offset: u64, now: Instant) {
        self.sent.store(offset, Relaxed);
        self.acknowledged.store(offset, Relaxed);
        self.level.store(self.time(now), Relaxed);
    }

    pub(super) fn sent(&self, offset: u64) {
        self.sent.store(offset, Relaxed);
    }

    pub(super) fn acknowledged(&self, offset: u64, level: Option<Instant>) {
        self.acknowledged.store(offset, Relaxed);
        if let Some(level) = level {
            self.level.store(self.time(level), Relaxed);
        }
    }

    pub(super) fn measured(&self, rate: f64, backlog: u64) {
        self.rate.store(rate as u64, Relaxed);
        self.backlog.store(backlog, Relaxed);
    }

    pub(crate) fn seen(&self, now: Instant) -> Option<Seen> {
        let level = self.level.load(Relaxed);
        if level == NEVER {
            return None;
        }
        let lag_bytes = self.sent.load(Relaxed).saturating_sub(self.acknowledged.load(Relaxed));
        let since = Duration::from_millis(self.time(now).saturating_sub(level));
        let (rate, backlog) = (self.rate.load(Relaxed), self.backlog.load(Relaxed));
        let headroom = (rate > 0 && backlog > 0)
            .then(|| Duration::from_secs_f64(backlog.saturating_sub(lag_bytes) as f64 / rate as f64));
        Some(Seen { lag_bytes, lag: if lag_bytes == 0 { Duration::ZERO } else { since }, headroom })
    }
}
