//! `/healthz` and `/readyz`: two questions an orchestrator asks, answered from what is known. No I/O.
//!
//! Healthy: the process works, restarting it would not help. Ready: sending it clients makes sense now. A group
//! without a master is not ready and not unhealthy: killing Redan would not bring the master back.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::AdminState;
use crate::metrics::WorkerCounters;

/// Workers beat once a second; one that was silent for five seconds stalled its clients for as long.
const STALLED_AFTER: Duration = Duration::from_secs(5);

/// What keeps the process from being healthy, one sentence each; none when it is.
pub(super) fn unhealthy(state: &AdminState) -> Vec<String> {
    stalled(state.started, &state.workers)
}

/// The workers that stand still, one sentence each. `started` is when the process started.
pub(crate) fn stalled(started: Instant, workers: &[Arc<WorkerCounters>]) -> Vec<String> {
    let ages = workers.iter().map(|worker| age(started, worker)).enumerate();
    ages.filter(|(_, age)| *age > STALLED_AFTER)
        .map(|(index, age)| format!("worker {index} has not run for {:.1} s: a defect of Redan", age.as_secs_f64()))
        .collect()
}

/// How long ago the worker's timer last ran.
pub(super) fn age(started: Instant, worker: &WorkerCounters) -> Duration {
    started.elapsed().saturating_sub(Duration::from_millis(worker.heartbeat_ms.get()))
}

/// What keeps the process from being ready, one sentence each; none when it is.
pub(super) fn unready(state: &AdminState) -> Vec<String> {
    let mut reasons = unhealthy(state);
    if state.draining.load(Relaxed) {
        reasons.push("Redan is shutting down and takes no new clients".to_owned());
    } else if !state.listening.load(Relaxed) {
        reasons.push("the listeners are not bound yet".to_owned());
    }
    for group in &state.now.load().groups {
        let (name, snapshot) = (group.name(), group.snapshot.load());
        if snapshot.master.is_none() {
            reasons.push(format!("group '{name}' has no master: {}", snapshot.reason));
        }
    }
    reasons
}
