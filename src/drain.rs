//! The end of the process: a signal, no new clients, time for the others to finish, then the end in any case. Or another
//! process takes its place, and its clients with it.
//!
//! Called by `app` on the main thread, which does nothing else. Control goes on meanwhile, because a failover during a
//! drain must not cost answers. Nothing in here may wait without a limit.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::config::Config;
use crate::link::Links;
use crate::notify;
use crate::reload::Reloads;
use crate::upgrade::{Leaving, Plan, Told};
use crate::worker::{Mailbox, Seats};

/// A worker closes its sessions in milliseconds. One that does not answer for so long is stuck, and ends with the process.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often it is looked whether anything still comes over links, once they are all that is left.
const LOOK: Duration = Duration::from_millis(50);

/// How long whoever has not finished is waited for, as it is configured now. In milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    shutdown: AtomicU64,
    drain: AtomicU64,
    upgrade: AtomicU64,
}

impl Patience {
    pub(crate) fn follow(&self, config: &Config) {
        let pairs = [
            (&self.shutdown, config.shutdown_timeout),
            (&self.drain, config.drain_timeout),
            (&self.upgrade, config.upgrade_timeout),
        ];
        for (now, limit) in pairs {
            now.store(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX), Relaxed);
        }
    }

    fn shutdown(&self) -> Duration {
        Duration::from_millis(self.shutdown.load(Relaxed))
    }

    /// Where another process has taken the place.
    fn drain(&self) -> Duration {
        Duration::from_millis(self.drain.load(Relaxed))
    }

    /// How long another process may take to be ready.
    fn upgrade(&self) -> Duration {
        Duration::from_millis(self.upgrade.load(Relaxed))
    }
}

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
    /// Workers that have not.
    pub(crate) working: usize,
    pub(crate) seats: Arc<Seats>,
    pub(crate) links: Arc<Links>,
    /// Connections over links.
    pub(crate) linked: Box<dyn Fn() -> u64>,
    pub(crate) patience: Arc<Patience>,
    pub(crate) plan: Plan,
    /// Closes the admin endpoint, when dropped.
    pub(crate) admin: Option<watch::Sender<()>>,
    /// True when the process that this one has replaced, if any, has nothing left to hand over.
    pub(crate) settled: watch::Receiver<bool>,
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

/// What a signal asks for.
enum Request {
    End(Signal),
    /// By a signal, or by somebody who waits for the outcome.
    Upgrade(Option<Told>),
}

/// The signals of the process. From its making on they no longer kill.
pub(crate) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    upgrade: tokio::signal::unix::Signal,
    /// Told of SIGHUP.
    reloads: Arc<Reloads>,
    /// Whoever asks for an upgrade in another way.
    asked: mpsc::UnboundedReceiver<Told>,
}

impl Signals {
    /// Must be called on a runtime.
    pub(crate) fn new(reloads: Arc<Reloads>, asked: mpsc::UnboundedReceiver<Told>) -> io::Result<Self> {
        Ok(Self {
            reloads,
            asked,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Request {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Request::End(Signal::Terminate),
                _ = self.interrupt.recv() => return Request::End(Signal::Interrupt),
                _ = self.upgrade.recv() => return Request::Upgrade(None),
                Some(told) = self.asked.recv() => return Request::Upgrade(Some(told)),
                _ = self.hangup.recv() => self.reloads.signal(),
            }
        }
    }

    /// The next request to end. Others are answered with `why` they are not followed.
    pub(crate) async fn end(&mut self, why: &str) -> Signal {
        loop {
            match self.next().await {
                Request::End(signal) => return signal,
                Request::Upgrade(None) => tracing::info!("SIGUSR2: {why}"),
                // Whoever does not wait any more does not need it.
                Request::Upgrade(Some(told)) => drop(told.send(Err(why.to_owned()))),
            }
        }
    }
}

/// Waits for a signal, ends what runs, returns the exit code of the process.
pub(crate) async fn until_ended(mut running: Running, mut signals: Signals) -> u8 {
    let first = loop {
        match signals.next().await {
            Request::End(signal) => break signal,
            Request::Upgrade(told) => match replace(&mut running, &mut signals, told).await {
                Ok(leaving) => return leave(running, signals, leaving).await,
                Err(Stays::Refused) => {}
                Err(Stays::Ends(signal)) => break signal,
            },
        }
    };
    notify::stopping();
    let limit = running.patience.shutdown().as_secs_f64();
    let clients = running.seats.taken();
    tracing::info!(
        "{}: no new clients from now on; {clients} clients may finish within {limit:.1} s; a second signal ends them",
        first.name()
    );
    let seats = Arc::clone(&running.seats);
    tokio::select! {
        biased;
        second = signals.end("this process is ending") => cut_off(second, &seats),
        closed = drain(running) => {
            match closed {
                0 => tracing::info!("stopped; every client had finished"),
                _ => tracing::warn!("stopped; closed {closed} sessions that had not finished within {limit:.1} s"),
            }
            0
        }
    }
}

fn cut_off(signal: Signal, seats: &Seats) -> u8 {
    tracing::warn!("{}: stopped at once, with {} clients cut off", signal.name(), seats.taken());
    signal.exit_code()
}

/// Why the process was not replaced.
enum Stays {
    /// And goes on.
    Refused,
    Ends(Signal),
}

/// Starts another process, until that is in charge.
async fn replace(running: &mut Running, signals: &mut Signals, told: Option<Told>) -> Result<Leaving, Stays> {
    if !*running.settled.borrow() {
        tracing::info!("upgrade: it begins when the process before this one has handed over its last client");
        tokio::select! {
            // Whoever sends it keeps it for as long as the process lives.
            _ = running.settled.wait_for(|settled| *settled) => {}
            signal = signals.end("an upgrade is waiting already") => return Err(Stays::Ends(signal)),
        }
    }
    let started = tokio::select! {
        started = running.plan.start(running.patience.upgrade()) => started,
        signal = signals.end("an upgrade is under way already") => {
            tracing::info!("{}: the upgrade is given up, its process is killed", signal.name());
            return Err(Stays::Ends(signal));
        }
    };
    let begun = started.and_then(|successor| successor.begin(&running.plan));
    // Whoever waits for the outcome finds it in the log when it is told.
    match &begun {
        Ok(leaving) => announce(running, leaving.successor),
        Err(why) => tracing::error!("the upgrade is given up, and this process goes on as before: {why}"),
    }
    if let Some(told) = told {
        // As in `Signals::end`.
        let _ = told.send(begun.as_ref().map(|leaving| leaving.successor).map_err(Clone::clone));
    }
    begun.map_err(|_| Stays::Refused)
}

fn announce(running: &Running, successor: u32) {
    tracing::info!(
        "upgrade: process {successor} is in charge; {} clients and {} connections over links are handed over, or may finish here \
         within {:.1} s",
        running.seats.taken(),
        (running.linked)(),
        running.patience.drain().as_secs_f64()
    );
}

/// Hands over whoever can be handed over, and lets the others finish.
async fn leave(mut running: Running, mut signals: Signals, leaving: Leaving) -> u8 {
    let (successor, limit) = (leaving.successor, running.patience.drain());
    let seats = Arc::clone(&running.seats);
    let left = async {
        let until = Instant::now() + limit;
        let closed = hand_over(&mut running, &leaving, limit).await;
        while (running.linked)() > 0 && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
        let cut = (running.linked)();
        end_links(&running, true).await;
        (closed, cut, leaving.end().await)
    };
    tokio::select! {
        biased;
        signal = signals.end("this process has been replaced and is ending; ask the one that is in charge") => {
            cut_off(signal, &seats)
        }
        (closed, cut, (clients, streams, trouble)) = left => {
            let handed = format!("handed over {clients} clients and {streams} connections over links");
            if let Err(error) = trouble {
                tracing::error!("process {successor} broke off the talk ({error}): some clients were closed instead");
            }
            match closed + usize::try_from(cut).unwrap_or(usize::MAX) {
                0 => tracing::info!("replaced: {handed}, all others had finished"),
                _ => tracing::warn!("replaced: {handed}, closed {closed} clients and {cut} connections that had not finished"),
            }
            0
        }
    }
}

/// Returns how many sessions were cut off.
async fn hand_over(running: &mut Running, leaving: &Leaving, limit: Duration) -> usize {
    stop_accepting(running).await;
    running.links.hand_over(&leaving.outbox);
    for worker in &running.workers {
        worker.hand_over(leaving.outbox.clone());
    }
    // Whoever has asked for this is still to be answered.
    tokio::time::sleep(LOOK).await;
    drop(running.admin.take());
    // In the first half clients that stay are closed when they have been silent for a moment, in the second between two commands.
    let patience = limit / 2;
    match wait_for_workers(running, patience).await {
        Ok(closed) => closed,
        Err(so_far) => {
            for worker in &running.workers {
                worker.drain();
            }
            so_far + end_workers(running, limit.saturating_sub(patience)).await
        }
    }
}

/// Ends what runs; returns how many sessions were cut off.
pub(crate) async fn drain(mut running: Running) -> usize {
    stop_accepting(&mut running).await;
    for worker in &running.workers {
        worker.drain();
    }
    let limit = running.patience.shutdown();
    let closed = end_workers(&mut running, limit).await;
    // Links last: sessions may be using them. Those at the other ends learn of it instead of waiting for this one.
    end_links(&running, false).await;
    closed
}

async fn stop_accepting(running: &mut Running) {
    running.draining.store(true, Relaxed);
    // Each of the two fails only when the acceptor has ended already, which is what they are for.
    if let Some(stop) = running.stop_accepting.take() {
        let _ = stop.send(());
    }
    let _ = (&mut running.accepting_ended).await;
    // A socket listens until its last handle is closed, and nobody would take whom it lets in.
    running.plan.kept.close();
}

async fn end_links(running: &Running, replaced: bool) {
    let _ = tokio::time::timeout(LAST_WORDS, running.links.end(replaced)).await;
}

/// Until all have ended, or `limit`; how many sessions those that ended cut off. Those that ended are forgotten.
async fn wait_for_workers(running: &mut Running, limit: Duration) -> Result<usize, usize> {
    let mut closed = 0;
    let all_ended = async {
        while running.working > 0 {
            closed += running.workers_ended.recv().await.unwrap_or_default();
            running.working -= 1;
        }
    };
    match tokio::time::timeout(limit, all_ended).await {
        Ok(()) => Ok(closed),
        Err(_) => Err(closed),
    }
}

/// The same, and stops them then.
async fn end_workers(running: &mut Running, limit: Duration) -> usize {
    let mut closed = 0;
    for limit in [limit, LAST_WORDS] {
        match wait_for_workers(running, limit).await {
            Ok(more) => return closed + more,
            Err(more) => closed += more,
        }
        for worker in &running.workers {
            worker.stop();
        }
    }
    let working = running.working;
    tracing::error!("{working} workers did not stop within {LAST_WORDS:?}: a defect of Redan");
    closed
}
