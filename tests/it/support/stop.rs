//! Ends the clients of a test, also when the test fails: whoever waits for their threads would wait for ever.

use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) struct StopOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
