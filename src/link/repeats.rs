//! Refusals in the log: one line for each reason, and one a second while it repeats.
//!
//! Replicas and probes try again many times a second while the other side is down; the operator needs to read it once. Used by
//! both ends.

use std::sync::Mutex;
use std::time::Instant;

use super::lock;
use crate::rarely::Rarely;

#[derive(Debug, Default)]
pub(super) struct Repeats(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    why: String,
    rarely: Rarely,
}

impl Repeats {
    /// Whether this is to be written now; if so, what to put behind it.
    pub(super) fn allow(&self, why: &str, now: Instant) -> Option<String> {
        let mut last = lock(&self.0);
        if last.why != why {
            *last = Last { why: why.to_owned(), rarely: Rarely::default() };
        }
        let more = last.rarely.allow(now)?;
        Some(if more == 0 { String::new() } else { format!(" ({more} more times since the last line)") })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_repeats_comes_once_a_second_and_another_reason_at_once() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(repeats.allow("down", at(0)).as_deref(), Some(""));
        assert_eq!(repeats.allow("down", at(100)), None);
        assert_eq!(repeats.allow("down", at(200)), None);
        assert_eq!(repeats.allow("down", at(1000)).as_deref(), Some(" (2 more times since the last line)"));
        assert_eq!(repeats.allow("gone", at(1001)).as_deref(), Some(""));
    }
}
