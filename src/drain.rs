//! The end of the process: a signal, no new clients, time for the others to finish, then the end in any case.
//!
//! Called by `app` on the main thread, which does nothing else. Control goes on meanwhile, because a failover during a
//! drain must not cost answers. Nothing in here may wait without a limit.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::link::Links;
use crate::reload::Reloads;
use crate::worker::{Mailbox, Seats};

/// A worker closes its sessions in milliseconds. One that does not answer for so long is stuck, and ends with the process.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a drain needs of a running process.
pub(crate) struct Running {
    /// Read by admin: `/readyz` says no from the first moment.
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) stop_accepting: Option<oneshot::Sender<()>>,
    /// Completes, by a message or by being dropped, when the listeners are closed.
    pub(crate) accepting_ended: oneshot::Receiver<()>,
    pub(crate) workers: Vec<Mailbox>,
    /// One message from each worker when it ends: how many sessions it cut off.
    pub(crate) workers_ended: mpsc::UnboundedReceiver<usize>,
    pub(crate) seats: Arc<Seats>,
    pub(crate) links: Arc<Links>,
    /// In milliseconds, as it is configured now.
    pub(crate) shutdown_timeout: Arc<AtomicU64>,
}

impl Running {
    fn shutdown_timeout(&self) -> Duration {
        Duration::from_millis(self.shutdown_timeout.load(Relaxed))
    }
}

/// A request to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Terminate,
    Interrupt,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        }
    }

    /// What a shell reports of a process that such a signal killed: 128 and its number.
    fn exit_code(self) -> u8 {
        match self {
            Self::Terminate => 143,
            Self::Interrupt => 130,
        }
    }
}

/// The signals of the process. From its making on they no longer kill.
pub(crate) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    /// Told of SIGHUP.
    reloads: Arc<Reloads>,
}

impl Signals {
    /// Must be called on a runtime.
    pub(crate) fn new(reloads: Arc<Reloads>) -> io::Result<Self> {
        Ok(Self {
            reloads,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next request to end.
    pub(crate) async fn next(&mut self) -> Signal {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Signal::Terminate,
                _ = self.interrupt.recv() => return Signal::Interrupt,
                _ = self.hangup.recv() => self.reloads.signal(),
            }
        }
    }
}

/// Waits for a signal, ends what runs, returns the exit code of the process.
pub(crate) async fn until_ended(running: Running, mut signals: Signals) -> u8 {
    let first = signals.next().await;
    let limit = running.shutdown_timeout().as_secs_f64();
    let clients = running.seats.taken();
    tracing::info!(
        "{}: no new clients from now on; {clients} clients may finish within {limit:.1} s; a second signal ends them",
        first.name()
    );
    let seats = Arc::clone(&running.seats);
    tokio::select! {
        biased;
        second = signals.next() => {
            tracing::warn!("{}: stopped at once, with {} clients cut off", second.name(), seats.taken());
            second.exit_code()
        }
        closed = drain(running) => {
            match closed {
                0 => tracing::info!("stopped; every client had finished"),
                _ => tracing::warn!("stopped; closed {closed} sessions that had not finished within {limit:.1} s"),
            }
            0
        }
    }
}

/// Ends what runs; returns how many sessions were cut off.
pub(crate) async fn drain(mut running: Running) -> usize {
    let closed = end_sessions(&mut running).await;
    // Links last: sessions may be using them. Those at the other ends learn of it instead of waiting for this one.
    let _ = tokio::time::timeout(LAST_WORDS, running.links.end()).await;
    closed
}

async fn end_sessions(running: &mut Running) -> usize {
    running.draining.store(true, Relaxed);
    // Each of the two fails only when the acceptor has ended already, which is what they are for.
    if let Some(stop) = running.stop_accepting.take() {
        let _ = stop.send(());
    }
    let _ = (&mut running.accepting_ended).await;
    for worker in &running.workers {
        worker.drain();
    }
    let mut working = running.workers.len();
    let mut closed = 0;
    let limits = [running.shutdown_timeout(), LAST_WORDS];
    for limit in limits {
        let all_ended = async {
            while working > 0 {
                closed += running.workers_ended.recv().await.unwrap_or_default();
                working -= 1;
            }
        };
        if tokio::time::timeout(limit, all_ended).await.is_ok() {
            return closed;
        }
        for worker in &running.workers {
            worker.stop();
        }
    }
    tracing::error!("{working} workers did not stop within {LAST_WORDS:?}: a defect of Redan");
    closed
}
