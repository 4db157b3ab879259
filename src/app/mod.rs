//! Puts Redan together: files to settings, settings to threads. The only place that wires.
//!
//! Called by the command line. Whatever can be wrong with the machine or the files is found before the first thread
//! starts; after that the threads are on their own, and this one waits for a signal.

mod confine;
mod orders;
mod start;
mod thread;
mod traces;
mod upgraded;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::runtime::Builder;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use self::upgraded::{Beginning, Heir, listen};
use crate::acceptor::{Adopter, descriptors};
use crate::admin::{self, AdminState, Crowd, OpenFiles, Orders, PausedUntil, Resident, SetLevel, Since, Visitors};
use crate::backend::acknowledged::Acknowledged;
use crate::backend::dial::Dialer;
use crate::backend::hub::registry::Registry;
use crate::backend::pool::GroupView;
use crate::backend::scripts::Scripts;
use crate::chronicle::Chronicle;
use crate::config::link::Link;
use crate::config::{Bind, Config, Group, Listener};
use crate::drain::{self, Running, Signals};
use crate::handover::{Inherited, Kept};
use crate::link::{self, Change, LinkCounters};
use crate::memory::Memory;
use crate::metrics::{AcceptorCounters, GroupCounters, TraceCounters, WorkerCounters};
use crate::net::{BindError, Listening, Shortcuts};
use crate::notify;
use crate::renewal::Renewals;
use crate::session::switchboard::Switchboard;
use crate::tls::keyring::Keyring;
use crate::tls::{TlsError, client, server};
use crate::topology::{Snapshot, Testimony};
use crate::upgrade::{self, Plan, Predecessor};
use crate::worker::{Door, Mailbox, Seats, mailbox};

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
        let renew = Arc::default();
        let (upgrade, asked) = mpsc::unbounded_channel();
        let mut signals = Signals::new(Arc::clone(&renew), asked).map_err(refused("signal handlers"))?;
        let (beginning, teller) = Beginning::new(renew, upgrade, inherited, predecessor.as_ref());
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

/// Everything that can be refused, before anything runs.
struct Prepared {
    doors: Vec<Door>,
    keyrings: Vec<Arc<Keyring>>,
    sockets: Vec<Listening>,
    links: Vec<(Arc<link::Keyring>, Option<Listening>)>,
    admin: Option<Listening>,
    kept: Vec<Kept>,
    admin_socket: Option<(Listening, Bind)>,
    seen: (Resident, OpenFiles),
}

fn prepare(config: &Config, mut inherited: Inherited) -> Result<Prepared, StartError> {
    let mut kept = Vec::new();
    let mut listen = |name: &str, bind: &Bind, failed: &dyn Fn(BindError) -> StartError| {
        listen(&mut inherited, &mut kept, name, bind, failed)
    };
    let door = |listener: &Arc<Listener>| {
        let tls = listener.tls.as_ref().map(server::load).transpose();
        let failed = |error| StartError::ListenerTls { listener: listener.name.clone(), error };
        let tls = tls.map_err(failed)?.map(Arc::new);
        Ok(Door { listener: Arc::clone(listener), tls, holding: Arc::default() })
    };
    let keyring = |group: &Arc<Group>| {
        let failed = |error| StartError::GroupTls { group: group.name.clone(), error };
        Keyring::load(group).map(Arc::new).map_err(failed)
    };
    let bound = |listener: &Arc<Listener>| {
        let failed = |error| StartError::Bind { listener: listener.name.clone(), error };
        listen(&listener.name, &listener.bind, &failed)
    };
    let sockets = config.listeners.iter().map(bound).collect::<Result<_, _>>()?;
    let link = |link: &Arc<Link>| {
        let name = || link.name.clone();
        let keyring = link::Keyring::load(link).map_err(|error| StartError::LinkTls { link: name(), error })?;
        let failed = |error| StartError::BindLink { link: name(), error };
        let socket = link.bind.as_ref().map(|bind| listen(&link.name, bind, &failed)).transpose()?;
        Ok((Arc::new(keyring), socket))
    };
    let links = config.links.iter().map(link).collect::<Result<_, _>>()?;
    let admin = config.admin.map(Bind::Tcp);
    let admin = admin.map(|bind| listen("admin", &bind, &StartError::BindAdmin)).transpose()?;
    let bind = |at: &Bind| listen("admin_socket", at, &StartError::BindAdminSocket);
    let admin_socket = orders::bind(&config.admin_socket, bind)?;
    for socket in inherited.rest() {
        tracing::warn!(
            "closed a socket that was given to this process: {socket} is the `bind` or the name of nothing here"
        );
    }
    Ok(Prepared {
        doors: config.listeners.iter().map(door).collect::<Result<_, _>>()?,
        keyrings: config.groups.iter().map(keyring).collect::<Result<_, _>>()?,
        sockets,
        links,
        admin,
        kept,
        admin_socket,
        seen: (Resident::open(), OpenFiles::open()),
    })
}

/// From settings to running threads, which end with the process or by the drain of what is returned.
fn start(config: Config, beginning: Beginning, log: Log) -> Result<Bound, StartError> {
    let Beginning { renew, upgrade, inherited, open, settled, sandboxed } = beginning;
    let config = Arc::new(config);
    let Prepared { doors, keyrings, sockets, links, admin, kept, admin_socket, seen } = prepare(&config, inherited)?;
    let listeners = sockets.iter().zip(&config.listeners).map(|(socket, listener)| place(socket, &listener.bind));
    let listeners = listeners.collect();
    let admin_at = admin.as_ref().zip(config.admin).map(|(socket, address)| place(socket, &Bind::Tcp(address)));
    let admin_socket_at = admin_socket.as_ref().map(|(_, at)| at.clone());
    confine(&config, &keyrings, admin_socket_at.as_ref(), sandboxed)?;
    let Log { level, chronicle } = log;
    let shared = Shared::new(&config, chronicle);
    let mut shortcuts = Shortcuts::default();
    let (links, arrivals) = start::doors(links, &mut shortcuts);
    let shortcuts = Arc::new(shortcuts);
    let views = shared.views(&config, &keyrings, &shortcuts);
    let (mailboxes, letters): (Vec<_>, Vec<_>) = shared.counters.iter().map(|_| mailbox(views.len())).unzip();
    let (end, workers_ended) = mpsc::unbounded_channel();
    let switchboard = start::switchboard(&mailboxes);
    let (wires, takers) = orders::wires(&config, &keyrings, &shortcuts);
    if let Some(at) = &admin_socket_at {
        tracing::info!("orders: {at}");
    }
    // Admin first, so that `/healthz` tells of a start that takes long; the acceptor last, when all else is ready.
    let orders = wires.orders(Arc::clone(&renew), level, upgrade);
    let state = shared.admin_state(&config, &doors, seen, Arc::clone(&switchboard), orders);
    let admin = start::admin(admin, admin_socket.map(|(socket, _)| socket), state, open.clone())?;
    let of_links = links;
    let link_keyrings: Vec<Arc<link::Keyring>> = of_links.iter().map(|(keyring, _)| Arc::clone(keyring)).collect();
    let (links, fate) = watch::channel(link::Fate::Stays);
    let change = Change { fate, open: open.clone() };
    start::links(of_links, &shared.links, &change)?;
    drop(change);
    start::control(&config, &views, &keyrings, &shortcuts, &mailboxes, takers, &shared)?;
    let (outlet, traces) = traces::start(&config, &shared.traces)?;
    let common = start::Common { config: &config, views: &views, doors: &doors, switchboard: &switchboard, outlet };
    start::workers(&common, letters, &end, &shared)?;
    start::renewal(&config, &doors, (&keyrings, link_keyrings), &views, &mailboxes, renew, &shared)?;
    let (stop_accepting, stop) = oneshot::channel();
    let accepting_ended = start::acceptor(&config, sockets, &mailboxes, &shared, stop, open)?;
    let heir = shared.heir(&config, &views, &mailboxes, arrivals);
    let plan = Plan {
        kept: kept.into(),
        groups: heir.groups.clone(),
        sandboxed: config.sandbox || sandboxed,
        patience: config.upgrade_timeout,
        next_id: Arc::clone(&shared.next_id),
    };
    let of_links = shared.links.clone();
    let linked = Box::new(move || of_links.iter().map(|(_, counters)| counters.numbers().open).sum());
    let pulse = Pulse { started: shared.started, workers: shared.counters.clone() };
    let (draining, seats) = (shared.draining, shared.seats);
    let (shutdown_timeout, drain_timeout) = (config.shutdown_timeout, config.drain_timeout);
    let running = Running {
        working: mailboxes.len(),
        linked,
        drain_timeout,
        plan,
        admin,
        settled,
        draining,
        stop_accepting: Some(stop_accepting),
        accepting_ended,
        workers: mailboxes,
        workers_ended,
        seats,
        links,
        shutdown_timeout,
    };
    Ok(Bound { listeners, admin: admin_at, admin_socket: admin_socket_at, running, heir, pulse, traces })
}

/// Gives up what the configuration says. No other thread runs yet.
fn confine(
    config: &Config,
    keyrings: &[Arc<Keyring>],
    admin_socket: Option<&Bind>,
    sandboxed: bool,
) -> Result<(), StartError> {
    let binds: Vec<Bind> = config.listeners.iter().map(|listener| listener.bind.clone()).collect();
    if let Some(account) = &config.user {
        let owned: Vec<Bind> = binds.iter().chain(admin_socket).cloned().collect();
        confine::become_user(account, &owned).map_err(StartError::Confinement)?;
    }
    // Rules are for good, and the number of their layers is bounded: who was born with them has them.
    if config.sandbox && !sandboxed {
        let of_listeners = config.listeners.iter().filter_map(|listener| listener.tls.as_ref()).flat_map(server::files);
        let of_nodes = keyrings.iter().flat_map(|keyring| keyring.settings()).flat_map(client::files);
        let of_sentinels = config.groups.iter().filter_map(|group| group.sentinel.as_ref()?.access.tls.as_ref());
        let of_sentinels = of_sentinels.flat_map(client::files);
        let of_links = config.links.iter().flat_map(|link| link::files(link));
        let of_an_upgrade = upgrade::files();
        let files = of_listeners.chain(of_nodes).chain(of_sentinels).chain(of_links);
        let files = files.chain(of_an_upgrade.iter().map(|file| file.as_path()));
        confine::sandbox(files, &binds).map_err(StartError::Confinement)?;
    }
    Ok(())
}

/// Where a socket listens, which the configuration leaves open with port 0.
fn place(socket: &Listening, configured: &Bind) -> Bind {
    match socket {
        Listening::Tcp(socket) => socket.local_addr().map_or_else(|_| configured.clone(), Bind::Tcp),
        Listening::Unix(_) => configured.clone(),
    }
}

/// What several threads read.
struct Shared {
    started: Instant,
    counters: Vec<Arc<WorkerCounters>>,
    accepts: Arc<AcceptorCounters>,
    renewals: Arc<Renewals>,
    traces: Arc<TraceCounters>,
    chronicle: Arc<Chronicle>,
    memory: Arc<Memory>,
    seats: Arc<Seats>,
    snapshots: Vec<Arc<ArcSwap<Snapshot>>>,
    /// What Sentinels said last.
    witnesses: Vec<Arc<ArcSwap<Vec<Testimony>>>>,
    /// When the master of each group changed last, and how often.
    since: Vec<Arc<Since>>,
    masters: Vec<Arc<GroupCounters>>,
    links: Vec<(String, Arc<LinkCounters>)>,
    listening: Arc<AtomicBool>,
    draining: Arc<AtomicBool>,
    /// What CLIENT ID answers the next client.
    next_id: Arc<AtomicU64>,
}

impl Shared {
    fn new(config: &Config, chronicle: Arc<Chronicle>) -> Self {
        // Who has links alone needs no workers.
        let workers = if config.listeners.is_empty() { 0 } else { config.workers };
        let counters: Vec<Arc<WorkerCounters>> = (0..workers).map(|_| Arc::default()).collect();
        Self {
            started: Instant::now(),
            memory: Memory::new(config.max_memory, &counters),
            counters,
            accepts: Arc::new(AcceptorCounters::new(config.listeners.len())),
            renewals: Arc::default(),
            traces: Arc::default(),
            chronicle,
            seats: Seats::new(config.listeners.len(), workers),
            snapshots: config.groups.iter().map(|_| Arc::new(ArcSwap::from_pointee(Snapshot::unknown()))).collect(),
            witnesses: config.groups.iter().map(|_| Arc::default()).collect(),
            since: config.groups.iter().map(|_| Arc::default()).collect(),
            masters: config.groups.iter().map(|_| Arc::default()).collect(),
            links: config.links.iter().map(|link| (link.name.clone(), Arc::default())).collect(),
            listening: Arc::default(),
            draining: Arc::default(),
            next_id: Arc::new(AtomicU64::new(1)),
        }
    }

    fn heir(&self, config: &Config, views: &[GroupView], workers: &[Mailbox], links: start::Arrivals) -> Heir {
        let groups = config.groups.iter().zip(&self.snapshots);
        Heir {
            adopter: Adopter {
                listeners: config.listeners.clone(),
                workers: workers.to_vec(),
                seats: Arc::clone(&self.seats),
                last: Cell::new(0),
            },
            links: links.into_iter().collect(),
            groups: groups.map(|(group, snapshot)| (group.name.clone(), Arc::clone(snapshot))).collect(),
            acknowledged: views.iter().map(|view| view.acknowledged.clone()).collect(),
            next_id: Arc::clone(&self.next_id),
            ready: upgraded::ready(config),
        }
    }

    fn views(&self, config: &Config, keyrings: &[Arc<Keyring>], shortcuts: &Arc<Shortcuts>) -> Vec<GroupView> {
        let view = |(index, (group, keyring)): (usize, (&Arc<Group>, &Arc<Keyring>))| GroupView {
            index,
            dialer: Arc::new(Dialer::new(Arc::clone(group), Arc::clone(keyring), Arc::clone(shortcuts))),
            published: Arc::clone(&self.snapshots[index]),
            look: Arc::new(Notify::new()),
            acknowledged: Acknowledged::default(),
            registry: Registry::default(),
            scripts: Scripts::default(),
        };
        config.groups.iter().zip(keyrings).enumerate().map(view).collect()
    }

    fn admin_state(
        &self,
        config: &Arc<Config>,
        doors: &[Door],
        seen: (Resident, OpenFiles),
        switchboard: Arc<Switchboard>,
        orders: Orders,
    ) -> AdminState {
        let groups = config.groups.iter().zip(&self.snapshots);
        let (seats, holdings) = (Arc::clone(&self.seats), doors.iter().map(|door| Arc::clone(&door.holding)));
        let holdings: Vec<_> = holdings.collect();
        let crowd = move |listener: usize| Crowd {
            clients: seats.of_listener(listener) as u64,
            held: holdings[listener].sessions(),
        };
        AdminState {
            started: self.started,
            started_at: SystemTime::now(),
            config: Arc::clone(config),
            resident: seen.0,
            open_files: seen.1,
            workers: self.counters.clone(),
            acceptor: Arc::clone(&self.accepts),
            renewals: Arc::clone(&self.renewals),
            traces: Arc::clone(&self.traces),
            chronicle: Arc::clone(&self.chronicle),
            visitors: Visitors::default(),
            memory: Arc::clone(&self.memory),
            masters: self.masters.clone(),
            groups: groups.map(|(group, snapshot)| (group.name.clone(), Arc::clone(snapshot))).collect(),
            witnesses: self.witnesses.clone(),
            since: self.since.clone(),
            crowd: Box::new(crowd),
            links: self.links.clone(),
            listening: Arc::clone(&self.listening),
            draining: Arc::clone(&self.draining),
            paused: config.groups.iter().map(|_| PausedUntil::default()).collect(),
            switchboard,
            orders,
        }
    }
}
