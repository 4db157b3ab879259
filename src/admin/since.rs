//! When each group's master last changed. Snapshots have no clock: `app` notes it where control publishes them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Of one group. Written by control's thread alone.
#[derive(Debug, Default)]
pub(crate) struct Since {
    epoch: AtomicU64,
    /// Milliseconds after the start of the process.
    at: AtomicU64,
}

impl Since {
    /// A snapshot of this epoch is published, so long after the start of the process.
    pub(crate) fn note(&self, epoch: u64, uptime: Duration) {
        if self.epoch.swap(epoch, Relaxed) != epoch {
            self.at.store(u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX), Relaxed);
        }
    }

    pub(super) fn age(&self, started: Instant) -> Duration {
        started.elapsed().saturating_sub(Duration::from_millis(self.at.load(Relaxed)))
    }
}
