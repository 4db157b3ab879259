//! Waiting for a condition with a deadline. Used by the benchmarks that break what they measure.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Waits until `ready`, asking every 5 ms, for `patience` at most.
pub(crate) fn wait(what: &str, patience: Duration, mut ready: impl FnMut() -> bool) -> Result<(), String> {
    let began = Instant::now();
    while !ready() {
        if began.elapsed() > patience {
            return Err(format!("not within {patience:?}: {what}"));
        }
        sleep(Duration::from_millis(5));
    }
    Ok(())
}
