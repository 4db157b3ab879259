//! The part of the report that is about Redan itself: the process, its clients, listeners and workers.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::UNIX_EPOCH;

use super::{Clients, Holds, ListenerReport, Process, Traffic, WorkerReport};
use crate::admin::{AdminState, KnownListener, health};
use crate::metrics::{MemoryKind, WorkerCounters};

impl AdminState {
    fn sum(&self, reading: fn(&WorkerCounters) -> u64) -> u64 {
        self.workers.iter().map(|worker| reading(worker)).fold(0, u64::wrapping_add)
    }

    pub(super) fn process(&self) -> Process {
        let state = match (self.draining.load(Relaxed), self.listening.load(Relaxed)) {
            (true, _) => "draining",
            (false, true) => "serving",
            (false, false) => "starting",
        };
        let buffers = MemoryKind::ALL.into_iter().map(|kind| {
            let held = self.workers.iter().map(|worker| worker.memory.of(kind).get()).sum();
            (kind.name(), held)
        });
        Process {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            started_at: self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            state,
            problems: health::unready(self),
            resident_bytes: self.resident.bytes(),
            buffers_bytes: self.memory.held(),
            buffers_limit_bytes: self.memory.bound(),
            buffers: buffers.collect(),
        }
    }

    pub(super) fn clients(&self) -> Clients {
        Clients {
            open: self.sum(|w| w.sessions_open.get()),
            total: self.sum(|w| w.sessions_total.get()),
            rejected: self.sum(|w| w.sessions_rejected.get()).wrapping_add(self.acceptor.rejected.get()),
            auth_failures: self.sum(|w| w.auth_failures.get()),
            closed_slow: self.sum(|w| w.slow_clients_closed.get()),
            closed_memory: self.sum(|w| w.memory_clients_closed.get()),
            subscriptions: self.sum(|w| w.subscriptions.get()),
        }
    }

    pub(super) fn holds(&self) -> Holds {
        let longest = self.workers.iter().map(|worker| worker.longest_hold_ms.get()).max().unwrap_or(0);
        Holds {
            now: self.sum(|w| w.holds_now.get()),
            longest_seconds: longest as f64 / 1000.0,
            total: self.sum(|w| w.holds_total.get()),
            expired: self.sum(|w| w.holds_expired.get()),
        }
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            commands_read: self.sum(|w| w.commands_read.get()),
            commands_write: self.sum(|w| w.commands_write.get()),
            commands_local: self.sum(|w| w.commands_local.get()),
            commands_pinned: self.sum(|w| w.commands_pinned.get()),
            reads_replica: self.sum(|w| w.reads_replica.get()),
            reads_master: self.sum(|w| w.reads_master.get()),
            bytes_in: self.sum(|w| w.bytes_in.get()),
            bytes_out: self.sum(|w| w.bytes_out.get()),
            replays: self.sum(|w| w.replays.get()),
            in_doubt: self.sum(|w| w.in_doubt.get()),
            messages: self.sum(|w| w.messages_delivered.get()),
            lanes: self.sum(|w| w.lanes_open.get()),
            pins: self.sum(|w| w.pins_open.get()),
        }
    }

    pub(super) fn listener(&self, known: &KnownListener) -> ListenerReport {
        let (listener, crowd) = (&*known.config, (known.crowd)());
        let counted = self.acceptor.listener(known.number);
        ListenerReport {
            name: listener.name.clone(),
            bind: listener.bind.to_string(),
            group: known.group.clone(),
            tls: listener.tls.is_some(),
            auth: match (listener.passthrough, &listener.users) {
                (true, _) => "passthrough",
                (false, Some(_)) => "users",
                (false, None) => "none",
            },
            reads: listener.reads.word(),
            consistency: listener.consistency.word(),
            clients: crowd.clients,
            max_clients: listener.max_clients as u64,
            accepted: counted.map_or(0, |counters| counters.accepted.get()),
            rejected: counted.map_or(0, |counters| counters.rejected.get()),
            held: crowd.held,
        }
    }

    pub(super) fn worker_reports(&self) -> Vec<WorkerReport> {
        let each = self.workers.iter().enumerate();
        each.map(|(number, worker)| WorkerReport {
            number,
            clients: worker.sessions_open.get(),
            lanes: worker.lanes_open.get(),
            pins: worker.pins_open.get(),
            held: worker.holds_now.get(),
            buffers_bytes: worker.memory.sum(),
            heartbeat_age_seconds: self.heartbeat_age(number).as_secs_f64(),
        })
        .collect()
    }
}

/// Clients of one listener.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Crowd {
    pub(crate) clients: u64,
    /// Those that wait for a master.
    pub(crate) held: u64,
}

/// How much memory the process has, by the kernel's account. Opened before Redan gives up its view of other files.
#[derive(Debug)]
pub(crate) struct Resident(Option<File>);

impl Resident {
    pub(crate) fn open() -> Self {
        Self(File::open("/proc/self/statm").ok())
    }

    /// `None` on systems without `/proc`.
    pub(crate) fn bytes(&self) -> Option<u64> {
        let mut text = [0; 128];
        let read = self.0.as_ref()?.read_at(&mut text, 0).ok()?;
        let pages: u64 = std::str::from_utf8(&text[..read]).ok()?.split(' ').nth(1)?.parse().ok()?;
        Some(pages * rustix::param::page_size() as u64)
    }
}
