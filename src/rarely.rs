//! Keeps a log line that a stranger or a full machine can cause thousands of times a second to one a second.
//!
//! Pure: `now` is an argument. Used by the acceptor and by workers. It must never be used for what happens once: the
//! line that is left out is gone.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// One a second tells an operator as much as a thousand, and 86,400 lines a day fill no disk.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Rarely {
    last: Cell<Option<Instant>>,
    left_out: Cell<u64>,
}

impl Rarely {
    /// Whether to write the line now; if so, how many were left out since the last one.
    pub(crate) fn allow(&self, now: Instant) -> Option<u64> {
        if self.last.get().is_some_and(|last| now.saturating_duration_since(last) < INTERVAL) {
            self.left_out.set(self.left_out.get() + 1);
            return None;
        }
        self.last.set(Some(now));
        Some(self.left_out.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_and_it_says_how_many_were_left_out() {
        let rarely = Rarely::default();
        let start = Instant::now();
        assert_eq!(rarely.allow(start), Some(0));
        assert_eq!(rarely.allow(start), None);
        assert_eq!(rarely.allow(start + INTERVAL - Duration::from_nanos(1)), None);
        assert_eq!(rarely.allow(start + INTERVAL), Some(2));
        assert_eq!(rarely.allow(start + 2 * INTERVAL), Some(0));
    }
}
