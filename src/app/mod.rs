//! Puts Redan together: files to settings, settings to threads. The only place that wires.
//!
//! Called by the command line. Whatever can be wrong with the machine or the files is found before the first thread
//! starts; after that the threads are on their own, and this one waits for a signal.

mod confine;
mod orders;
mod start;
mod thread;

#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::runtime::Builder;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::acceptor::descriptors;
use crate::admin::{AdminState, Crowd, Orders, PausedUntil, Resident, SetLevel, Since};
use crate::backend::acknowledged::Acknowledged;
use crate::backend::dial::Dialer;
use crate::backend::hub::registry::Registry;
use crate::backend::pool::GroupView;
use crate::backend::scripts::Scripts;
use crate::config::link::Link;
use crate::config::{Bind, Config, Group, Listener};
use crate::drain::{self, Running, Signals};
use crate::link::{self, LinkCounters};
use crate::memory::Memory;
use crate::metrics::{AcceptorCounters, WorkerCounters};
use crate::net::{self, BindError, Listening, Shortcuts};
use crate::renewal::Renewals;
use crate::session::switchboard::Switchboard;
use crate::throttle::Throttle;
use crate::tls::keyring::Keyring;
use crate::tls::{TlsError, client, server};
use crate::topology::{Snapshot, Testimony};
use crate::worker::{self, Door, Seats, mailbox};

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
}

/// Serves until a signal ends it.
pub(crate) fn run(config: Config, level: SetLevel) -> ExitCode {
    thread::log_panics();
    let limit = descriptors::raise_limit();
    if let Some(warning) = descriptors::shortage(&config, limit) {
        tracing::warn!("{warning}");
    }
    match run_until_ended(config, level) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run_until_ended(config: Config, level: SetLevel) -> Result<u8, StartError> {
    let refused = |what| move |error| StartError::System { what, error };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(refused("an event loop"))?;
    runtime.block_on(async {
        // Before anything runs, so that a signal during the start is not lost.
        let renew = Arc::default();
        let signals = Signals::new(Arc::clone(&renew)).map_err(refused("signal handlers"))?;
        let Bound { listeners, admin, admin_socket, running } = start(config, renew, level)?;
        tracing::debug!("bound {listeners:?}, admin {admin:?} and {admin_socket:?}");
        Ok(drain::until_ended(running, signals).await)
    })
}

/// Everything that can be refused, before anything runs.
struct Prepared {
    doors: Vec<Door>,
    keyrings: Vec<Arc<Keyring>>,
    sockets: Vec<Listening>,
    links: Vec<(Arc<link::Keyring>, Option<Listening>)>,
    admin: Option<Listening>,
    admin_socket: Option<(Listening, Bind)>,
    resident: Resident,
}

fn prepare(config: &Config) -> Result<Prepared, StartError> {
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
        net::bind(&listener.bind).map_err(failed)
    };
    let link = |link: &Arc<Link>| {
        let name = || link.name.clone();
        let keyring = link::Keyring::load(link).map_err(|error| StartError::LinkTls { link: name(), error })?;
        let socket = link.bind.as_ref().map(net::bind).transpose();
        let socket = socket.map_err(|error| StartError::BindLink { link: name(), error })?;
        Ok((Arc::new(keyring), socket))
    };
    Ok(Prepared {
        doors: config.listeners.iter().map(door).collect::<Result<_, _>>()?,
        keyrings: config.groups.iter().map(keyring).collect::<Result<_, _>>()?,
        sockets: config.listeners.iter().map(bound).collect::<Result<_, _>>()?,
        links: config.links.iter().map(link).collect::<Result<_, _>>()?,
        admin: config.admin.map(Bind::Tcp).as_ref().map(net::bind).transpose().map_err(StartError::BindAdmin)?,
        admin_socket: orders::bind(&config.admin_socket).map_err(StartError::BindAdminSocket)?,
        resident: Resident::open(),
    })
}

/// From settings to running threads, which end with the process or by the drain of what is returned.
/// `renew` is told when the files of TLS shall be read anew.
fn start(config: Config, renew: Arc<Notify>, level: SetLevel) -> Result<Bound, StartError> {
    let config = Arc::new(config);
    let Prepared { doors, keyrings, sockets, links, admin, admin_socket, resident } = prepare(&config)?;
    let listeners = sockets.iter().zip(&config.listeners).map(|(socket, listener)| place(socket, &listener.bind));
    let listeners = listeners.collect();
    let admin_at = admin.as_ref().zip(config.admin).map(|(socket, address)| place(socket, &Bind::Tcp(address)));
    let admin_socket_at = admin_socket.as_ref().map(|(_, at)| at.clone());
    confine(&config, &keyrings, admin_socket_at.as_ref())?;
    let shared = Shared::new(&config);
    let mut shortcuts = Shortcuts::default();
    let links = start::doors(links, &mut shortcuts);
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
    let orders = wires.orders(Arc::clone(&renew), level);
    let state = shared.admin_state(&config, &doors, resident, Arc::clone(&switchboard), orders);
    start::admin(admin, admin_socket.map(|(socket, _)| socket), state)?;
    let link_keyrings: Vec<Arc<link::Keyring>> = links.iter().map(|(keyring, _)| Arc::clone(keyring)).collect();
    let links = start::links(links, &shared.links)?;
    start::control(&config, &views, &keyrings, &shortcuts, &mailboxes, takers, &shared)?;
    let throttle = Arc::new(Mutex::new(Throttle::default()));
    for (index, letters) in letters.into_iter().enumerate() {
        let setup = worker::Setup {
            started: shared.started,
            counters: Arc::clone(&shared.counters[index]),
            groups: views.clone(),
            doors: doors.clone(),
            throttle: Arc::clone(&throttle),
            switchboard: Arc::clone(&switchboard),
            memory: Arc::clone(&shared.memory),
            number: index,
            seed: RandomState::new().hash_one(index),
        };
        start::worker(index, setup, letters, end.clone())?;
    }
    start::renewal(&config, &doors, (&keyrings, link_keyrings), &views, &mailboxes, renew, &shared)?;
    let (stop_accepting, stop) = oneshot::channel();
    let accepting_ended = start::acceptor(&config, sockets, &mailboxes, &shared, stop)?;
    let (draining, seats) = (shared.draining, shared.seats);
    let shutdown_timeout = config.shutdown_timeout;
    let running = Running {
        draining,
        stop_accepting: Some(stop_accepting),
        accepting_ended,
        workers: mailboxes,
        workers_ended,
        seats,
        links,
        shutdown_timeout,
    };
    Ok(Bound { listeners, admin: admin_at, admin_socket: admin_socket_at, running })
}

/// Gives up what the configuration says. No other thread runs yet.
fn confine(config: &Config, keyrings: &[Arc<Keyring>], admin_socket: Option<&Bind>) -> Result<(), StartError> {
    let binds: Vec<Bind> = config.listeners.iter().map(|listener| listener.bind.clone()).collect();
    if let Some(account) = &config.user {
        let owned: Vec<Bind> = binds.iter().chain(admin_socket).cloned().collect();
        confine::become_user(account, &owned).map_err(StartError::Confinement)?;
    }
    if config.sandbox {
        let of_listeners = config.listeners.iter().filter_map(|listener| listener.tls.as_ref()).flat_map(server::files);
        let of_nodes = keyrings.iter().flat_map(|keyring| keyring.settings()).flat_map(client::files);
        let of_sentinels = config.groups.iter().filter_map(|group| group.sentinel.as_ref()?.access.tls.as_ref());
        let of_sentinels = of_sentinels.flat_map(client::files);
        let of_links = config.links.iter().flat_map(|link| link::files(link));
        let files = of_listeners.chain(of_nodes).chain(of_sentinels).chain(of_links);
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
    memory: Arc<Memory>,
    seats: Arc<Seats>,
    snapshots: Vec<Arc<ArcSwap<Snapshot>>>,
    /// What Sentinels said last.
    witnesses: Vec<Arc<ArcSwap<Vec<Testimony>>>>,
    /// When the master of each group changed last.
    since: Vec<Arc<Since>>,
    links: Vec<(String, Arc<LinkCounters>)>,
    listening: Arc<AtomicBool>,
    draining: Arc<AtomicBool>,
}

impl Shared {
    fn new(config: &Config) -> Self {
        // Who has links alone needs no workers.
        let workers = if config.listeners.is_empty() { 0 } else { config.workers };
        let counters: Vec<Arc<WorkerCounters>> = (0..workers).map(|_| Arc::default()).collect();
        Self {
            started: Instant::now(),
            memory: Memory::new(config.max_memory, &counters),
            counters,
            accepts: Arc::new(AcceptorCounters::new(config.listeners.len())),
            renewals: Arc::default(),
            seats: Seats::new(config.listeners.len(), workers),
            snapshots: config.groups.iter().map(|_| Arc::new(ArcSwap::from_pointee(Snapshot::unknown()))).collect(),
            witnesses: config.groups.iter().map(|_| Arc::default()).collect(),
            since: config.groups.iter().map(|_| Arc::default()).collect(),
            links: config.links.iter().map(|link| (link.name.clone(), Arc::default())).collect(),
            listening: Arc::default(),
            draining: Arc::default(),
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
        resident: Resident,
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
            resident,
            workers: self.counters.clone(),
            acceptor: Arc::clone(&self.accepts),
            renewals: Arc::clone(&self.renewals),
            memory: Arc::clone(&self.memory),
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
