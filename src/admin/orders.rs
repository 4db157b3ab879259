//! What the operator's commands set in motion elsewhere in the process, and how long groups are paused.
//!
//! `app` wires each order to the thread that carries it out; admin changes nothing itself.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::resp::value::Value;
use crate::upgrade::Told;

/// A wish, on its way to control.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) node: String,
    pub(crate) timeout: Duration,
    /// Each step, a line; the last one begins with how it ended.
    pub(crate) progress: mpsc::UnboundedSender<String>,
}

/// Hands it on; `false`: nobody takes it.
pub(crate) type Promote = Box<dyn Fn(Ask) -> bool + Send + Sync>;

/// Takes a node out of reads (`true`) or puts it back, and tells when that holds. `false`: nobody takes it.
pub(crate) type Steer = Box<dyn Fn(String, bool, oneshot::Sender<Result<(), String>>) -> bool + Send + Sync>;

/// The reply of a node to a command, or a sentence.
pub(crate) type Reply = Pin<Box<dyn Future<Output = Result<Value, String>> + Send>>;
pub(crate) type Speak = Box<dyn Fn(Arc<str>, Vec<Vec<u8>>) -> Reply + Send + Sync>;

/// Changes what is logged; an error is a sentence.
pub(crate) type SetLevel = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// To who watches a group, or to its nodes.
pub(crate) struct GroupOrders {
    pub(crate) promote: Promote,
    pub(crate) steer: Steer,
    pub(crate) speak: Speak,
}

impl fmt::Debug for GroupOrders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupOrders")
    }
}

/// To the process.
pub(crate) struct Orders {
    pub(crate) level: SetLevel,
    /// What SIGUSR2 does.
    pub(crate) upgrade: mpsc::UnboundedSender<Told>,
}

impl fmt::Debug for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Orders")
    }
}

/// Until when the operator has paused a group, as admin remembers it; the workers end it at the same moment.
#[derive(Debug, Default)]
pub(crate) struct PausedUntil(AtomicU64);

impl PausedUntil {
    /// `None`: it is not paused any more.
    pub(super) fn set(&self, until: Option<Instant>, started: Instant) {
        let ms = until.map_or(0, |until| until.saturating_duration_since(started).as_millis());
        self.0.store(u64::try_from(ms).unwrap_or(u64::MAX), Relaxed);
    }

    /// How much longer; `None`: it is not paused.
    pub(super) fn left(&self, started: Instant) -> Option<Duration> {
        let until = Duration::from_millis(self.0.load(Relaxed));
        until.checked_sub(started.elapsed()).filter(|left| !left.is_zero())
    }
}
