//! Puts Redan together: files to settings, settings to threads. The only place that wires.
//!
//! Called by the command line. Whatever can be wrong with the machine or the files is found before the first thread
//! starts; after that the threads are on their own, and this one waits for a signal.

mod confine;
mod group;
mod orders;
mod plant;
mod prepare;
mod reload;
mod shared;
mod start;
mod thread;
mod traces;
mod upgraded;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};

use self::group::NewGroup;
use self::plant::{InUse, Plant, Wires};
use self::prepare::{Prepared, confine, place, prepare};
use self::shared::Shared;
use self::upgraded::{Beginning, Heir};
use crate::acceptor::descriptors;
use crate::admin::{self, Orders, SetLevel};
use crate::chronicle::Chronicle;
use crate::config::{Bind, Config};
use crate::drain::{self, Running, Signals};
use crate::handover::{Inherited, Spares};
use crate::link;
use crate::metrics::WorkerCounters;
use crate::net::{BindError, Shortcuts};
use crate::notify;
use crate::reload::Reloads;
use crate::tls::TlsError;
use crate::upgrade::Predecessor;
use crate::worker::mailbox;

/// Why Redan did not start. The operator can do something about each.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("listener '{listener}': {error}")]
    ListenerTls { listener: String, error: TlsError },
    #[error("group '{group}': {error}")]
    GroupTls { group: String, error: TlsError },
    #[error("link '{link}': {error}")]
    LinkTls { link: String, error: TlsError },
    #[error("link '{link}': {error}")]
    BindLink { link: String, error: BindError },
    #[error("listener '{listener}': {error}")]
    Bind { listener: String, error: BindError },
    #[error("`admin`: {0}")]
    BindAdmin(BindError),
    #[error("`admin_socket`: {0}")]
    BindAdminSocket(BindError),
    #[error("{0}")]
    Confinement(String),
    #[error("the upgrade fails: {0}")]
    Upgrade(String),
    #[error("{0}")]
    Activation(String),
    #[error("the system refuses {what}: {error}; raise the limits of this process")]
    System { what: &'static str, error: io::Error },
}

impl StartError {
    /// As in sysexits.h: EX_CONFIG for what the operator corrects in files, EX_OSERR for what the system refuses.
    fn exit_code(&self) -> u8 {
        match self {
            Self::ListenerTls { .. } | Self::GroupTls { .. } | Self::LinkTls { .. } => 78,
            Self::Bind { .. }
            | Self::BindLink { .. }
            | Self::BindAdmin(_)
            | Self::BindAdminSocket(_)
            | Self::Confinement(_)
            | Self::Upgrade(_)
            | Self::Activation(_)
            | Self::System { .. } => 71,
        }
    }
}

/// A started Redan, and where it is: a port of 0 has become a real one.
struct Bound {
    listeners: Vec<Bind>,
    admin: Option<Bind>,
    admin_socket: Option<Bind>,
    running: Running,
    heir: Heir,
    pulse: Pulse,
    traces: traces::Ending,
}

/// By what it is known whether the workers run.
struct Pulse {
    started: Instant,
    workers: Vec<Arc<WorkerCounters>>,
}

impl Pulse {
    /// Feeds the service manager's watchdog for as long as all workers run. The death of a thread ends the process by itself.
    async fn keep_alive(self, interval: Option<Duration>, feed: impl Fn()) -> Infallible {
        let Some(interval) = interval else { return pending().await };
        loop {
            let stalled = admin::stalled(self.started, &self.workers);
            if stalled.is_empty() {
                feed();
            } else {
                tracing::error!("the service manager's watchdog is not fed: {}", stalled.join(", "));
            }
            tokio::time::sleep(interval).await;
        }
    }
}

/// The log as it was set up: how to change what it says, and where the events of it are.
pub(crate) struct Log {
    pub(crate) level: SetLevel,
    pub(crate) chronicle: Arc<Chronicle>,
}

/// Serves until a signal ends it.
pub(crate) fn run(config: Config, log: Log) -> ExitCode {
    thread::log_panics();
    let limit = descriptors::raise_limit();
    if let Some(warning) = descriptors::shortage(&config, limit) {
        tracing::warn!("{warning}");
    }
    match run_until_ended(config, log) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run_until_ended(config: Config, log: Log) -> Result<u8, StartError> {
    let refused = |what| move |error| StartError::System { what, error };
    // Before anybody else reads standard input.
    let (mut predecessor, inherited) = match Predecessor::meet().map_err(StartError::Upgrade)? {
        Some((predecessor, inherited)) => (Some(predecessor), inherited),
        None => (None, Inherited::from_system().map_err(StartError::Activation)?),
    };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(refused("an event loop"))?;
    runtime.block_on(async {
        // Before anything runs, so that a signal during the start is not lost.
        let (reloads, asks) = Reloads::new();
        let (upgrade, asked) = mpsc::unbounded_channel();
        let mut signals = Signals::new(Arc::clone(&reloads), asked).map_err(refused("signal handlers"))?;
        let (beginning, teller) = Beginning::new((reloads, asks), upgrade, inherited, predecessor.as_ref());
        let understood = predecessor.as_ref().map_or(Ok(()), Predecessor::judge).map_err(StartError::Upgrade);
        let started = understood.and_then(|()| start(config, beginning, log));
        let Bound { listeners, admin, admin_socket, running, heir, pulse, traces } = match started {
            Ok(bound) => bound,
            Err(error) => {
                if let Some(predecessor) = &mut predecessor {
                    predecessor.fail(&error.to_string());
                }
                return Err(error);
            }
        };
        tracing::debug!("bound {listeners:?}, admin {admin:?} and {admin_socket:?}");
        match predecessor {
            Some(predecessor) => upgraded::take_over(predecessor, heir, teller, &mut signals).await?,
            // By that links know that nothing will come of another process.
            None => drop(heir),
        }
        notify::ready();
        let code = tokio::select! {
            code = drain::until_ended(running, signals) => code,
            never = pulse.keep_alive(notify::watchdog(), notify::alive) => match never {},
        };
        traces.wait().await;
        Ok(code)
    })
}

/// From settings to running threads, which end with the process or by the drain of what is returned.
fn start(config: Config, beginning: Beginning, log: Log) -> Result<Bound, StartError> {
    let Beginning { reloads: (reloads, asks), upgrade, inherited, open, settled, sandboxed } = beginning;
    let config = Arc::new(config);
    let Prepared { doors, keyrings, sockets, links, admin, kept, admin_socket, seen } = prepare(&config, inherited)?;
    let listeners = sockets.iter().zip(&config.listeners).map(|(socket, listener)| place(socket, &listener.bind));
    let listeners = listeners.collect();
    let admin_at = admin.as_ref().zip(config.admin).map(|(socket, address)| place(socket, &Bind::Tcp(address)));
    let admin_socket_at = admin_socket.as_ref().map(|(_, at)| at.clone());
    confine(&config, &keyrings, admin_socket_at.as_ref(), sandboxed)?;
    let Log { level, chronicle } = log;
    let shared = Arc::new(Shared::new(&config, reloads, chronicle, (open, settled)));
    let shortcuts = Arc::new(Shortcuts::default());
    let (links, arrivals) = start::doors(links, &shortcuts);
    let (mailboxes, letters): (Vec<_>, Vec<_>) = shared.counters.iter().map(|_| mailbox()).unzip();
    let groups = config.groups.iter().zip(&keyrings).enumerate();
    let groups: Vec<NewGroup> = groups
        .map(|(number, (group, keyring))| NewGroup::make(number, group, keyring, &shortcuts, &mailboxes, &shared))
        .collect();
    let in_use = InUse::at_first(&groups, &doors, &links);
    shared.now.store(Arc::new(in_use.known(&config, &shared)));
    let switchboard = start::switchboard(&mailboxes);
    if let Some(at) = &admin_socket_at {
        tracing::info!("orders: {at}");
    }
    // Admin first, so that `/healthz` tells of a start that takes long; the acceptor last, when all else is ready.
    let state = shared.admin_state(seen, Arc::clone(&switchboard), Orders { level: Arc::clone(&level), upgrade });
    let admin = start::admin(admin, admin_socket.map(|(socket, _)| socket), state, shared.open.clone())?;
    let link_keyrings: Vec<Arc<link::Keyring>> = links.iter().map(|(keyring, ..)| Arc::clone(keyring)).collect();
    let link_threads = start::link_threads(if links.is_empty() { 0 } else { start::link_count() })?;
    for (keyring, doors, counters) in links {
        shared.open_link(keyring, doors, counters, &link_threads);
    }
    let (groups, controls): (Vec<_>, Vec<_>) = groups.into_iter().map(|group| (group.setup, group.control)).unzip();
    let control = start::control(controls)?;
    let (outlet, traces) = traces::start(&config, &shared.traces)?;
    let common = start::Common { config: &config, groups: &groups, doors: &doors, switchboard: &switchboard, outlet };
    let (end, workers_ended) = mpsc::unbounded_channel();
    start::workers(&common, letters, &end, &shared)?;
    let renewal = start::renewal(&doors, &keyrings, link_keyrings, &groups, &mailboxes, &shared)?;
    let (stop_accepting, stop) = oneshot::channel();
    let (acceptor, accepting_ended) = start::acceptor(&config, sockets, &mailboxes, &shared, stop)?;
    let heir = upgraded::heir(&config, &groups, &mailboxes, arrivals, &shared);
    let spares = Arc::new(Spares::new(kept));
    let running = Running {
        draining: Arc::clone(&shared.draining),
        stop_accepting: Some(stop_accepting),
        accepting_ended,
        working: mailboxes.len(),
        workers: mailboxes.clone(),
        workers_ended,
        seats: Arc::clone(&shared.seats),
        links: Arc::clone(&shared.links),
        linked: shared.linked(),
        patience: Arc::clone(&shared.patience),
        plan: shared.plan(&spares, config.sandbox || sandboxed),
        admin,
        settled: shared.settled.clone(),
    };
    let pulse = Pulse { started: shared.started, workers: shared.counters.clone() };
    let wires = Wires { acceptor, control, renewal, mailboxes, link_threads, level };
    let (next_group, next_listener) = (config.groups.len(), config.listeners.len());
    start::reload(Plant { config, shared, wires, shortcuts, spares, in_use, next_group, next_listener }, asks)?;
    Ok(Bound { listeners, admin: admin_at, admin_socket: admin_socket_at, running, heir, pulse, traces })
}
