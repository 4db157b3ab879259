//! Starts one thread of each kind: gives it its parts, and its runtime where it has none of its own.
//!
//! Used by `app` alone, which makes the parts.

use std::future::{Future, pending};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};

use super::plant::Plant;
use super::thread::vital;
use super::{Shared, StartError};
use crate::acceptor::{self, Entrance, Origin};
use crate::admin::{self, AdminState};
use crate::backend::pool::GroupSetup;
use crate::config::{Config, Listener};
use crate::control::{self, GroupControl};
use crate::insight::trace::Outlet;
use crate::limits::LINK_THREADS;
use crate::link::{self, Doors, LinkCounters};
use crate::net::{Listening, Shortcuts};
use crate::reload::Asks;
use crate::renewal;
use crate::session::switchboard::{Question, Switchboard};
use crate::throttle::Throttle;
use crate::tls::keyring::Keyring;
use crate::worker::{self, Door, Letters, Mailbox};

pub(super) fn refused(error: io::Error) -> StartError {
    StartError::System { what: "a thread", error }
}

/// The whole life of a thread that does nothing but drive one future.
pub(super) fn drive(future: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("it gets no event loop: {error}"))?.block_on(future)
}

/// Serves metrics and orders, also during a drain, until the process ends or what is returned is dropped.
pub(super) fn admin(
    http: Option<Listening>,
    orders: Option<Listening>,
    state: AdminState,
    mut open: watch::Receiver<bool>,
) -> Result<Option<watch::Sender<()>>, StartError> {
    if http.is_none() && orders.is_none() {
        return Ok(None);
    }
    let (stop, stopped) = watch::channel(());
    let serve = move || {
        drive(async move {
            // Before that another process answers. Without a sender nobody will ever ask this one.
            if open.wait_for(|open| *open).await.is_err() {
                return Ok(());
            }
            let state = Arc::new(state);
            let dropped = |mut stopped: watch::Receiver<()>| async move { while stopped.changed().await.is_ok() {} };
            let metrics = async {
                match http {
                    // `Config` has only TCP addresses for it.
                    Some(Listening::Tcp(socket)) => {
                        let socket = tokio::net::TcpListener::from_std(socket)?;
                        tracing::info!("metrics: http://{}/metrics", socket.local_addr()?);
                        admin::serve(socket, Arc::clone(&state), dropped(stopped.clone())).await;
                        Ok(())
                    }
                    _ => Ok::<_, io::Error>(()),
                }
            };
            let orders = async {
                match orders {
                    Some(socket) => admin::socket::serve(socket, Arc::clone(&state), dropped(stopped.clone())).await,
                    None => Ok(()),
                }
            };
            tokio::try_join!(metrics, orders).map_err(|error| error.to_string())?;
            Ok(())
        })
    };
    vital("redan-admin".to_owned(), serve).map_err(refused)?;
    Ok(Some(stop))
}

/// Where streams of another process go, by the names of their links.
pub(super) type Arrivals = Vec<(String, mpsc::UnboundedSender<link::Moved>)>;

/// A link that is about to begin.
pub(super) type NewLink = (Arc<link::Keyring>, Doors, Arc<LinkCounters>);

/// Gives groups a way into each entry, and streams of another process one to each end.
pub(super) fn doors(
    links: Vec<(Arc<link::Keyring>, Option<Listening>)>,
    shortcuts: &Shortcuts,
) -> (Vec<NewLink>, Arrivals) {
    let doors = |(keyring, socket): (Arc<link::Keyring>, Option<Listening>)| {
        let link = keyring.link();
        let callers = (!link.is_exit()).then(|| shortcuts.lead_to(&link.name));
        let (sender, arrivals) = mpsc::unbounded_channel();
        ((keyring, Doors { socket, callers, arrivals }, Arc::default()), (link.name.clone(), sender))
    };
    links.into_iter().map(doors).unzip()
}

/// How many threads carry links, where there are any.
pub(super) fn link_count() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(LINK_THREADS)
}

/// Starts the threads of links.
pub(super) fn link_threads(count: usize) -> Result<link::Threads, StartError> {
    let (threads, letters) = link::Threads::new(count);
    for (index, letters) in letters.into_iter().enumerate() {
        let serve = move || link::work(letters).map_err(|error| format!("it gets no event loop: {error}"));
        vital(format!("redan-link-{index}"), serve).map_err(refused)?;
    }
    Ok(threads)
}

/// Watches the groups until the process ends: a failover during a drain must not cost answers. Where there are none nobody
/// listens to what is returned.
pub(super) fn control(
    groups: Vec<(usize, GroupControl)>,
) -> Result<mpsc::UnboundedSender<control::Change>, StartError> {
    let (changes, news) = mpsc::unbounded_channel();
    if groups.is_empty() {
        return Ok(changes);
    }
    let watch = move || {
        drive(async {
            control::run(groups, news, pending()).await;
            Err("it stopped watching a group".to_owned())
        })
    };
    vital("redan-control".to_owned(), watch).map_err(refused)?;
    Ok(changes)
}

/// Looks at the files of TLS until the process ends.
pub(super) fn renewal(
    doors: &[Door],
    keyrings: &[Arc<Keyring>],
    links: Vec<Arc<link::Keyring>>,
    groups: &[GroupSetup],
    workers: &[Mailbox],
    shared: &Shared,
) -> Result<mpsc::UnboundedSender<renewal::Change>, StartError> {
    let doors = doors.iter().enumerate();
    let listeners =
        doors.filter_map(|(index, door)| Some((index, Arc::clone(&door.listener), Arc::clone(door.tls.as_ref()?))));
    let groups = groups.iter().map(|group| &group.view).zip(keyrings);
    let groups =
        groups.map(|(view, keyring)| (view.index, view.name.to_string(), Arc::clone(keyring), Arc::clone(&view.look)));
    let (news, changes) = mpsc::unbounded_channel();
    let setup = renewal::Setup {
        listeners: listeners.collect(),
        groups: groups.collect(),
        links,
        workers: workers.to_vec(),
        now: Arc::clone(&shared.renew),
        changes,
        renewals: Arc::clone(&shared.renewals),
    };
    let watch = move || {
        drive(async {
            renewal::run(setup).await;
            Err("it stopped looking at the files of TLS".to_owned())
        })
    };
    vital("redan-renewal".to_owned(), watch).map_err(refused)?;
    Ok(news)
}

/// Reads the configuration again whenever somebody asks, until nobody can.
pub(super) fn reload(plant: Plant, asks: Asks) -> Result<(), StartError> {
    let serve = move || {
        drive(async {
            super::reload::run(plant, asks).await;
            Ok(())
        })
    };
    vital("redan-reload".to_owned(), serve).map_err(refused)
}

/// The way by which a session of one worker asks all of them.
pub(super) fn switchboard(workers: &[Mailbox]) -> Arc<Switchboard> {
    let desk = |worker: &Mailbox| {
        let worker = worker.clone();
        Box::new(move |question| worker.ask(question)) as Box<dyn Fn(Question) + Send + Sync>
    };
    Arc::new(Switchboard::new(workers.iter().map(desk).collect()))
}

/// What all workers are made of.
pub(super) struct Common<'a> {
    pub(super) config: &'a Config,
    pub(super) groups: &'a [GroupSetup],
    pub(super) doors: &'a [Door],
    pub(super) switchboard: &'a Arc<Switchboard>,
    pub(super) outlet: Option<Outlet>,
}

/// One for each of these letters. `ended` is told how many sessions each cut off.
pub(super) fn workers(
    common: &Common<'_>,
    letters: Vec<Letters>,
    ended: &mpsc::UnboundedSender<usize>,
    shared: &Shared,
) -> Result<(), StartError> {
    let throttle = Arc::new(Mutex::new(Throttle::default()));
    for (index, letters) in letters.into_iter().enumerate() {
        let setup = worker::Setup {
            started: shared.started,
            counters: Arc::clone(&shared.counters[index]),
            groups: common.groups.to_vec(),
            doors: common.doors.to_vec(),
            throttle: Arc::clone(&throttle),
            switchboard: Arc::clone(common.switchboard),
            memory: Arc::clone(&shared.memory),
            insight: common.config.insight,
            outlet: common.outlet.clone(),
            number: index,
            workers: shared.counters.len(),
            seed: RandomState::new().hash_one(index),
        };
        worker(index, setup, letters, ended.clone())?;
    }
    Ok(())
}

fn worker(
    index: usize,
    setup: worker::Setup,
    letters: Letters,
    ended: mpsc::UnboundedSender<usize>,
) -> Result<(), StartError> {
    let serve = move || {
        let closed = worker::run(setup, letters).map_err(|error| format!("it gets no event loop: {error}"))?;
        // Nobody listens when a second signal has ended the drain.
        let _ = ended.send(closed);
        Ok(())
    };
    vital(format!("redan-worker-{index}"), serve).map_err(refused)
}

/// Accepts until `stop`; the second that it returns completes when the listeners are closed.
pub(super) fn acceptor(
    config: &Config,
    sockets: Vec<Listening>,
    workers: &[Mailbox],
    shared: &Shared,
    stop: oneshot::Receiver<()>,
) -> Result<(mpsc::UnboundedSender<acceptor::Change>, oneshot::Receiver<()>), StartError> {
    let entrance = |(number, (socket, listener)): (usize, (Listening, &Arc<Listener>))| Entrance {
        number,
        socket: Origin::Bound(socket),
        listener: Arc::clone(listener),
        group: config.groups[listener.group].name.clone(),
    };
    let (news, changes) = mpsc::unbounded_channel();
    let setup = acceptor::Setup {
        entrances: sockets.into_iter().zip(&config.listeners).enumerate().map(entrance).collect(),
        changes,
        workers: workers.to_vec(),
        seats: Arc::clone(&shared.seats),
        counters: Arc::clone(&shared.accepts),
        memory: Arc::clone(&shared.memory),
        listening: Arc::clone(&shared.listening),
        next_id: Arc::clone(&shared.next_id),
        open: shared.open.clone(),
    };
    let (ended, accepting_ended) = oneshot::channel();
    let accept = move || {
        let stop = async {
            // A sender that was dropped wants it to stop as well.
            let _ = stop.await;
        };
        acceptor::run(setup, stop).map_err(|error| format!("the system refuses a listener: {error}"))?;
        // Nobody listens when a second signal has ended the drain.
        let _ = ended.send(());
        Ok(())
    };
    vital("redan-acceptor".to_owned(), accept).map_err(refused)?;
    Ok((news, accepting_ended))
}
