//! `[[listener]]`: what becomes of writes when their master fails, and of commands that wait for the next one.

use std::ops::RangeInclusive;

use super::section::Section;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Writes {
    pub(crate) in_doubt: InDoubt,
    pub(crate) retry: Retry,
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
    Writes { in_doubt: in_doubt.unwrap_or(default.in_doubt), retry: retry.unwrap_or(default.retry) }
}
