//! What a worker counts about each command and each listener.
//!
//! A command is known by its row in the command table, so a client cannot make new ones: whatever has no row shares the last
//! cell.

use super::cell::{Counter, Histogram};
use crate::command::NO_ROW;
use crate::limits;

/// The name of what has no row.
pub(crate) const OTHERS: &str = "other";

#[derive(Debug, Default)]
pub(crate) struct CommandCounters {
    /// Answered.
    pub(crate) calls: Counter,
    /// Microseconds that nodes took for them, in total.
    pub(crate) micros: Counter,
    /// Of `calls`: with an error.
    pub(crate) errors: Counter,
}

#[derive(Debug)]
pub(crate) struct CommandTable([CommandCounters; limits::COMMANDS]);

impl CommandTable {
    /// `row` is the command's number in the table, or [`NO_ROW`].
    #[inline]
    pub(crate) fn of(&self, row: u16) -> &CommandCounters {
        debug_assert!(
            row == NO_ROW || usize::from(row) < limits::COMMANDS - 1,
            "limits::COMMANDS has room for every row"
        );
        &self.0[usize::from(row).min(limits::COMMANDS - 1)]
    }
}

impl Default for CommandTable {
    fn default() -> Self {
        Self(std::array::from_fn(|_| CommandCounters::default()))
    }
}

/// Of one listener's clients.
#[derive(Debug, Default)]
pub(crate) struct ServedCounters {
    /// Commands of its clients.
    pub(crate) commands: Counter,
    /// From the read that brought the end of a command to its answer, where a node gave it.
    pub(crate) latency: Histogram,
}

/// By the listeners' order in the configuration; those beyond the table share its last place.
#[derive(Debug)]
pub(crate) struct ServedTable([ServedCounters; limits::LISTENER_COUNTERS]);

impl ServedTable {
    #[inline]
    pub(crate) fn of(&self, listener: u8) -> &ServedCounters {
        &self.0[usize::from(listener).min(limits::LISTENER_COUNTERS - 1)]
    }
}

impl Default for ServedTable {
    fn default() -> Self {
        Self(std::array::from_fn(|_| ServedCounters::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;

    #[test]
    fn every_command_has_a_cell_and_none_is_that_of_unknown_ones() {
        let last = table::rows().map(|row| row.row).max().expect("there are rows");
        assert!(usize::from(last) < limits::COMMANDS - 1, "raise limits::COMMANDS above {last}");
        let cells = CommandTable::default();
        cells.of(NO_ROW).calls.increment();
        assert!(table::rows().all(|row| cells.of(row.row).calls.get() == 0));
    }
}
