//! Puts Redan together: files to settings, settings to threads. The only place that wires.
//!
//! Called by the command line. Whatever can be wrong with the machine or the files is found before the first thread
//! starts; after that the threads are on their own, and this one waits for a signal.

mod confine;
mod plant;
mod reload;
mod start;
mod thread;

#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::runtime::Builder;
use tokio::sync::{Notify, mpsc, oneshot};

use self::plant::{NewGroup, Plant, Wires};
use crate::acceptor::descriptors;
use crate::admin::{AdminState, KnownGroup, KnownLinks};
use crate::config::link::Link;
use crate::config::{Bind, Config, Group, Listener};
use crate::drain::{self, Running, Signals};
use crate::link::{self, Doors, LinkCounters, Links};
use crate::memory::Memory;
use crate::metrics::{AcceptorCounters, WorkerCounters};
use crate::net::{self, BindError, Listening, Shortcuts};
use crate::reload::{Asks, Reloads};
use crate::renewal::Renewals;
use crate::throttle::Throttle;
use crate::tls::keyring::Keyring;
use crate::tls::{TlsError, client, server};
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
            | Self::Confinement(_)
            | Self::System { .. } => 71,
        }
    }
}

/// A started Redan, and where it is: a port of 0 has become a real one.
struct Bound {
    listeners: Vec<Bind>,
    admin: Option<Bind>,
    running: Running,
}

/// Sets the level of the log.
pub(crate) type SetFilter = fn(&str) -> Result<(), String>;

/// What comes from outside while Redan runs, its end aside.
struct Orders {
    reloads: Arc<Reloads>,
    asks: Asks,
    set_filter: SetFilter,
}

impl Orders {
    fn new(set_filter: SetFilter) -> Self {
        let (reloads, asks) = Reloads::new();
        Self { reloads, asks, set_filter }
    }
}

/// Serves until a signal ends it.
pub(crate) fn run(config: Config, set_filter: SetFilter) -> ExitCode {
    thread::log_panics();
    let limit = descriptors::raise_limit();
    if let Some(warning) = descriptors::shortage(&config, limit) {
        tracing::warn!("{warning}");
    }
    match run_until_ended(config, set_filter) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run_until_ended(config: Config, set_filter: SetFilter) -> Result<u8, StartError> {
    let refused = |what| move |error| StartError::System { what, error };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(refused("an event loop"))?;
    runtime.block_on(async {
        // Before anything runs, so that a signal during the start is not lost.
        let orders = Orders::new(set_filter);
        let signals = Signals::new(Arc::clone(&orders.reloads)).map_err(refused("signal handlers"))?;
        let Bound { listeners, admin, running } = start(config, orders)?;
        tracing::debug!("bound {listeners:?}, admin {admin:?}");
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
    })
}

/// From settings to running threads, which end with the process or by the drain of what is returned.
fn start(config: Config, orders: Orders) -> Result<Bound, StartError> {
    let Orders { reloads, asks, set_filter } = orders;
    let Prepared { doors, keyrings, sockets, links, admin } = prepare(&config)?;
    let listeners = sockets.iter().zip(&config.listeners).map(|(socket, listener)| place(socket, &listener.bind));
    let listeners = listeners.collect();
    let admin_at = admin.as_ref().zip(config.admin).map(|(socket, address)| place(socket, &Bind::Tcp(address)));
    confine(&config, &keyrings)?;
    let shared = Shared::new(&config, reloads);
    let shortcuts = Arc::new(Shortcuts::default());
    let links = start::doors(links, &shortcuts);
    let (mailboxes, letters): (Vec<_>, Vec<_>) = shared.counters.iter().map(|_| mailbox()).unzip();
    let groups = config.groups.iter().zip(&keyrings).enumerate();
    let groups: Vec<NewGroup> = groups
        .map(|(number, (group, keyring))| NewGroup::make(number, group, keyring, &shortcuts, &mailboxes))
        .collect();
    groups.iter().for_each(|group| shared.publish(group));
    let (end, workers_ended) = mpsc::unbounded_channel();
    // Admin first, so that `/healthz` tells of a start that takes long; the acceptor last, when all else is ready.
    if let Some(socket) = admin {
        start::admin(socket, shared.admin_state())?;
    }
    let link_keyrings: Vec<Arc<link::Keyring>> = links.iter().map(|(keyring, _)| Arc::clone(keyring)).collect();
    let link_threads = start::link_threads(if links.is_empty() { 0 } else { start::link_count() })?;
    links.into_iter().for_each(|(keyring, doors)| shared.open_link(keyring, doors, &link_threads));
    let (views, controls): (Vec<_>, Vec<_>) = groups.into_iter().map(|group| (group.view, group.control)).unzip();
    let control = start::control(controls)?;
    let throttle = Arc::new(Mutex::new(Throttle::default()));
    let switchboard = start::switchboard(&mailboxes);
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
    let renewal = start::renewal(&doors, &keyrings, link_keyrings.clone(), &views, &mailboxes, &shared)?;
    let (stop_accepting, stop) = oneshot::channel();
    let (acceptor, accepting_ended) = start::acceptor(&config, sockets, &mailboxes, &shared, stop)?;
    let running = Running {
        draining: Arc::clone(&shared.draining),
        stop_accepting: Some(stop_accepting),
        accepting_ended,
        workers: mailboxes.clone(),
        workers_ended,
        seats: Arc::clone(&shared.seats),
        links: Arc::clone(&shared.running_links),
        shutdown_timeout: Arc::clone(&shared.shutdown_timeout),
    };
    let wires = Wires { acceptor, control, renewal, mailboxes, link_threads };
    start::reload(Plant::new(config, shared, wires, (views, link_keyrings), shortcuts, set_filter), asks)?;
    Ok(Bound { listeners, admin: admin_at, running })
}

/// Gives up what the configuration says. No other thread runs yet.
fn confine(config: &Config, keyrings: &[Arc<Keyring>]) -> Result<(), StartError> {
    let binds: Vec<Bind> = config.listeners.iter().map(|listener| listener.bind.clone()).collect();
    if let Some(account) = &config.user {
        confine::become_user(account, &binds).map_err(StartError::Confinement)?;
    }
    if config.sandbox {
        let of_listeners = config.listeners.iter().filter_map(|listener| listener.tls.as_ref()).flat_map(server::files);
        let of_nodes = keyrings.iter().flat_map(|keyring| keyring.settings()).flat_map(client::files);
        let of_sentinels = config.groups.iter().filter_map(|group| group.sentinel.as_ref()?.access.tls.as_ref());
        let of_sentinels = of_sentinels.flat_map(client::files);
        let of_links = config.links.iter().flat_map(|link| link::files(link));
        let files = of_listeners.chain(of_nodes).chain(of_sentinels).chain(of_links).chain(config.sheet.files());
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
    renew: Arc<Notify>,
    reloads: Arc<Reloads>,
    memory: Arc<Memory>,
    seats: Arc<Seats>,
    groups: Arc<ArcSwap<Vec<KnownGroup>>>,
    /// By the names of groups: who takes a promotion.
    promotions: start::Promotions,
    links: KnownLinks,
    running_links: Arc<Links>,
    listening: Arc<AtomicBool>,
    draining: Arc<AtomicBool>,
    /// In milliseconds.
    shutdown_timeout: Arc<AtomicU64>,
}

impl Shared {
    fn new(config: &Config, reloads: Arc<Reloads>) -> Self {
        // Who has links alone needs no workers.
        let workers = if config.listeners.is_empty() { 0 } else { config.workers };
        let counters: Vec<Arc<WorkerCounters>> = (0..workers).map(|_| Arc::default()).collect();
        let shared = Self {
            started: Instant::now(),
            memory: Memory::new(config.max_memory, &counters),
            counters,
            accepts: Arc::default(),
            renewals: Arc::default(),
            renew: Arc::default(),
            reloads,
            seats: Seats::new(workers),
            groups: Arc::default(),
            promotions: start::Promotions::default(),
            links: Arc::default(),
            running_links: Arc::default(),
            listening: Arc::default(),
            draining: Arc::default(),
            shutdown_timeout: Arc::default(),
        };
        shared.patient_for(config.shutdown_timeout);
        shared
    }

    fn patient_for(&self, shutdown_timeout: Duration) {
        self.shutdown_timeout.store(u64::try_from(shutdown_timeout.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Lets admin know of a group.
    fn publish(&self, group: &NewGroup) {
        let (name, ask) = group.ask.clone();
        self.promotions.lock().unwrap_or_else(PoisonError::into_inner).insert(name, ask);
        self.groups.rcu(|known| known.iter().chain([&group.known]).cloned().collect::<Vec<_>>());
    }

    /// A link begins to accept, and admin knows of it.
    fn open_link(&self, keyring: Arc<link::Keyring>, doors: Doors, threads: &link::Threads) {
        let (name, counters) = (keyring.link().name.clone(), Arc::<LinkCounters>::default());
        let known = (name.clone(), Arc::clone(&counters));
        self.links.rcu(|links| links.iter().chain([&known]).cloned().collect::<Vec<_>>());
        self.running_links.add(&name, link::open(keyring, doors, counters, threads));
    }

    fn admin_state(&self) -> AdminState {
        AdminState {
            started: self.started,
            started_at: SystemTime::now(),
            workers: self.counters.clone(),
            acceptor: Arc::clone(&self.accepts),
            renewals: Arc::clone(&self.renewals),
            memory: Arc::clone(&self.memory),
            groups: Arc::clone(&self.groups),
            links: Arc::clone(&self.links),
            reloads: Arc::clone(&self.reloads),
            listening: Arc::clone(&self.listening),
            draining: Arc::clone(&self.draining),
            promote: start::promote(Arc::clone(&self.promotions)),
        }
    }
}
