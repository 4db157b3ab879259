//! Watches the servers that are not the master when a drill begins: when does one first say that it is?
//!
//! That is the moment from which writes could be accepted; what is later is the proxy's doing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::resp::{Reply, ask};

pub(crate) struct Watcher {
    stop: Arc<AtomicBool>,
    /// Microseconds from the event; `u64::MAX`: not yet.
    first: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Watcher {
    pub(crate) fn start(addresses: impl Iterator<Item = String>, event_at: Instant) -> Self {
        let (stop, first) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(u64::MAX)));
        let watch = |address: String| {
            let (stop, first) = (Arc::clone(&stop), Arc::clone(&first));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let reply = ask(&address, &["ROLE"], Duration::from_millis(200)).ok();
                    let role = reply.as_ref().and_then(|reply| reply.items().first().and_then(Reply::text));
                    if role == Some("master") {
                        let after = Instant::now().saturating_duration_since(event_at);
                        first.fetch_min(u64::try_from(after.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
                        return;
                    }
                    thread::sleep(Duration::from_millis(5));
                }
            })
        };
        let threads = addresses.map(watch).collect();
        Self { stop, first, threads }
    }

    /// When there was a new master, if there was one.
    pub(crate) fn stop(self) -> Option<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // It has nothing that could fail.
            let _ = thread.join();
        }
        Some(self.first.load(Ordering::Relaxed)).filter(|&first| first != u64::MAX).map(Duration::from_micros)
    }
}
