//! How old the oldest unanswered command is, without noting the time of any: by counting commands at ticks.
//!
//! Lanes have one each. A tick that comes late makes commands seem younger, never older, so a worker that was itself stopped
//! for a while blames no node for it.

/// A command counts as old after `TICKS` ticks, and is found before one more has passed.
#[derive(Debug)]
pub(crate) struct Age<const TICKS: usize> {
    /// Commands submitted up to each of the last ticks.
    marks: [u64; TICKS],
    at: usize,
}

impl<const TICKS: usize> Default for Age<TICKS> {
    fn default() -> Self {
        Self { marks: [0; TICKS], at: 0 }
    }
}

impl<const TICKS: usize> Age<TICKS> {
    /// Called once a tick with all commands so far. How many of the unanswered ones are old.
    pub(crate) fn tick(&mut self, submitted: u64, answered: u64) -> u64 {
        let old = std::mem::replace(&mut self.marks[self.at], submitted);
        self.at = (self.at + 1) % self.marks.len();
        old.saturating_sub(answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_old_after_so_many_ticks_and_not_before() {
        let mut age = Age::<8>::default();
        assert_eq!(age.tick(3, 3), 0);
        // One is submitted behind that tick and stays unanswered.
        for tick in 1..=8 {
            assert_eq!(age.tick(4, 3), 0, "tick {tick}");
        }
        assert_eq!(age.tick(4, 3), 1);
        assert_eq!(age.tick(9, 4), 0, "answered");
    }

    /// Each command is answered after three ticks, for ever: there is always one unanswered, and none is old.
    #[test]
    fn a_queue_that_moves_is_not_old() {
        let mut age = Age::<8>::default();
        for tick in 0..100u64 {
            assert_eq!(age.tick(tick * 10, tick.saturating_sub(3) * 10), 0);
        }
        // It slows down until they take nine.
        let mut old = 0;
        for tick in 100..120u64 {
            old += age.tick(tick * 10, (tick - 9) * 10);
        }
        assert!(old > 0, "though answers never stopped coming");
    }
}
