//! `[[listener]] output_limit`: how many bytes of replies or messages may wait for a client before it is closed.
//!
//! The one place where a limit is looked up by the class of a client, as Redis's `client-output-buffer-limit` has it.
//! Whoever appends to a client's output asks [`OutputLimit::is_over`]; nothing else may hold limits of output.

use std::time::{Duration, Instant};

use super::keys;
use super::section::Section;

const MB: usize = 1024 * 1024;
const DAY: Duration = Duration::from_secs(86400);

/// Redis's classes; replicas are no clients of Redan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientClass {
    Normal,
    /// Has a subscription.
    Pubsub,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutputLimits {
    pub(crate) normal: OutputLimit,
    pub(crate) pubsub: OutputLimit,
}

/// `usize::MAX` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutputLimit {
    /// Over it a client is closed at once.
    pub(crate) hard: usize,
    /// Over it for `soft_for` without a break a client is closed.
    pub(crate) soft: usize,
    pub(crate) soft_for: Duration,
}

impl Default for OutputLimits {
    /// Redis has no limit for normal clients, and could not keep many at that: one reply of 512 MB takes as much. Here
    /// large replies pass in pieces, so 64 MiB is what the 1024 commands that may be in flight answer with at most 64 KiB
    /// each. Subscribers have the limits of Redis.
    fn default() -> Self {
        Self {
            normal: OutputLimit { hard: 64 * MB, soft: usize::MAX, soft_for: Duration::ZERO },
            pubsub: OutputLimit { hard: 32 * MB, soft: 8 * MB, soft_for: Duration::from_secs(60) },
        }
    }
}

impl OutputLimits {
    pub(crate) fn of(&self, class: ClientClass) -> &OutputLimit {
        match class {
            ClientClass::Normal => &self.normal,
            ClientClass::Pubsub => &self.pubsub,
        }
    }
}

impl OutputLimit {
    /// Whether a client with `waiting` bytes must be closed. `since` remembers when it went over the soft limit.
    pub(crate) fn is_over(&self, waiting: usize, since: &mut Option<Instant>, now: impl Fn() -> Instant) -> bool {
        if waiting <= self.soft {
            *since = None;
            return waiting > self.hard;
        }
        let now = now();
        let since = *since.get_or_insert(now);
        waiting > self.hard || now.saturating_duration_since(since) >= self.soft_for
    }
}

pub(super) fn read(section: &Section<'_>) -> OutputLimits {
    let default = OutputLimits::default();
    let Some(table) = section.section("output_limit", &keys::OUTPUT_LIMIT) else {
        return default;
    };
    let limits = OutputLimits {
        normal: class(&table, ["normal", "normal_soft", "normal_soft_for"], default.normal),
        pubsub: class(&table, ["pubsub", "pubsub_soft", "pubsub_soft_for"], default.pubsub),
    };
    table.close();
    limits
}

fn class(table: &Section<'_>, [hard, soft, soft_for]: [&str; 3], default: OutputLimit) -> OutputLimit {
    // Less than the socket takes in one piece would close clients that read.
    let size = |key, default| match table.size(key, MB as u64 / 16..=1 << 40) {
        None => default,
        Some(0) => usize::MAX,
        Some(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
    };
    let limit = OutputLimit {
        hard: size(hard, default.hard),
        soft: size(soft, default.soft),
        soft_for: table.duration(soft_for, Duration::ZERO..=DAY).unwrap_or(default.soft_for),
    };
    if table.has(soft_for) && limit.soft == usize::MAX {
        table.error(soft_for, format!("`{soft_for}` has a meaning only with `{soft}`; add that, or remove this"));
    }
    if table.has(soft) && limit.soft != usize::MAX && limit.soft >= limit.hard {
        table.error(soft, format!("`{soft}` is not below `{hard}`, so it has no effect; lower it, or remove it"));
    }
    limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soft_limit_counts_from_the_moment_it_was_passed_and_a_hard_one_at_once() {
        let limit = OutputLimit { hard: 100, soft: 10, soft_for: Duration::from_secs(60) };
        let start = Instant::now();
        let mut since = None;
        let mut over = |waiting, after| limit.is_over(waiting, &mut since, || start + Duration::from_secs(after));
        assert!(!over(10, 0));
        assert!(!over(11, 0));
        assert!(!over(100, 59));
        // A break, and the time begins anew.
        assert!(!over(10, 60));
        assert!(!over(11, 61));
        assert!(!over(11, 120));
        assert!(over(11, 121));
        assert!(over(101, 121));
        let none = OutputLimit { hard: usize::MAX, soft: usize::MAX, soft_for: Duration::ZERO };
        assert!(!none.is_over(usize::MAX, &mut None, || start));
    }
}
