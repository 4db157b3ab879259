//! The fence: a master whose writes nobody acknowledges any more is not written to.
//!
//! Pure. The tracker asks with every event while a master is proven. What is written to a master that has lost its replicas
//! is lost with it; a fence bounds that to `after`, at the price of writes that wait.

use std::time::{Duration, Instant};

use super::NodeId;
use super::member::Member;

/// Replicas acknowledge once a second. Two whole seconds without a word are one that was missed.
const ACKNOWLEDGED_WITHIN_S: u64 = 2;

/// As an operator sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FenceSettings {
    pub(crate) after: Duration,
    /// Fewer than these are too few.
    pub(crate) replicas: usize,
}

#[derive(Debug)]
pub(super) struct Fence {
    settings: Option<FenceSettings>,
    /// Since when which master has had too few.
    lonely: Option<(NodeId, Instant)>,
}

impl Fence {
    pub(super) fn new(settings: Option<FenceSettings>) -> Self {
        Self { settings, lonely: None }
    }

    /// Why the proven master must not be written to now.
    pub(super) fn holds(&mut self, now: Instant, master: Option<&Member>) -> Option<String> {
        let settings = self.settings?;
        let acknowledging = master.and_then(acknowledging);
        let (Some(master), Some(have)) = (master, acknowledging) else {
            // No master, or one that does not tell of its replicas: nothing to judge by.
            self.lonely = None;
            return None;
        };
        if have >= settings.replicas {
            self.lonely = None;
            return None;
        }
        let since = match self.lonely {
            Some((id, since)) if id == master.id => since,
            _ => now,
        };
        self.lonely = Some((master.id, since));
        (now.saturating_duration_since(since) >= settings.after).then(|| {
            format!(
                "the fence is closed: for {:?} fewer than {} replicas of {} have acknowledged its writes; bring them back, or set \
                 `fence = false`",
                settings.after, settings.replicas, master.address
            )
        })
    }
}

fn acknowledging(master: &Member) -> Option<usize> {
    let listed = master.said.as_ref()?.replicas.as_ref()?;
    // ROLE lists only replicas that are online, without saying when they spoke last.
    let fresh = listed
        .iter()
        .filter(|replica| replica.online && replica.lag.is_none_or(|seconds| seconds < ACKNOWLEDGED_WITHIN_S));
    Some(fresh.count())
}
