//! `[[listener]]`: what becomes of writes when their master fails, and of commands that wait for the next one.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::section::Section;

const MINUTE: Duration = Duration::from_secs(60);

/// At most as many replicas as anybody would wait for; a group has a handful.
const REPLICAS: usize = 16;

/// What a client is told of a command that may or may not have been executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum InDoubt {
    /// `-INDOUBT …`, and its connection goes on.
    #[default]
    Error,
    /// Nothing: it is disconnected, as by a server that dies.
    Disconnect,
}

/// Which commands are sent again although the first sending may have been executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Retry {
    #[default]
    Reads,
    /// Also writes that do no harm twice.
    Idempotent,
}

/// A listener's settings about writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Writes {
    pub(crate) in_doubt: InDoubt,
    pub(crate) retry: Retry,
    /// Replicas that must have a write before its client is told of it.
    pub(crate) durable: usize,
    pub(crate) durable_timeout: Duration,
}

impl Default for Writes {
    fn default() -> Self {
        let (in_doubt, retry) = (InDoubt::default(), Retry::default());
        Self { in_doubt, retry, durable: 0, durable_timeout: Duration::from_secs(1) }
    }
}

/// What may wait for a master at once; `None` is no limit but that of clients, or of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HoldBudget {
    pub(crate) sessions: Option<u64>,
    pub(crate) bytes: Option<u64>,
}

pub(super) fn hold_budget(section: &Section<'_>) -> HoldBudget {
    const BYTES: RangeInclusive<u64> = 1024..=1 << 40;
    HoldBudget {
        sessions: section.integer("hold_sessions", 1..=1_000_000).map(|sessions| sessions as u64),
        bytes: section.size("hold_bytes", BYTES).filter(|bytes| *bytes > 0),
    }
}

pub(super) fn read(section: &Section<'_>) -> Writes {
    let default = Writes::default();
    let in_doubt = section.choice("in_doubt", &[("error", InDoubt::Error), ("disconnect", InDoubt::Disconnect)]);
    let retry = section.choice("retry", &[("reads", Retry::Reads), ("idempotent", Retry::Idempotent)]);
    let durable = section.integer("durable", 0..=REPLICAS);
    let durable_timeout = section.duration("durable_timeout", Duration::from_millis(10)..=MINUTE);
    Writes {
        in_doubt: in_doubt.unwrap_or(default.in_doubt),
        retry: retry.unwrap_or(default.retry),
        durable: durable.unwrap_or(default.durable),
        durable_timeout: durable_timeout.unwrap_or(default.durable_timeout),
    }
}
