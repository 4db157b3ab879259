//! The beginning of a process that takes another's place: ready first, then in charge, then heir.
//!
//! Used by `app` alone. Until the old process says so nothing here accepts anybody, so that a process that fails leaves no trace.

use std::cell::Cell;
use std::collections::HashMap;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use super::thread::vital;
use super::{Shared, StartError, start};
use crate::acceptor::Adopter;
use crate::backend::acknowledged::Acknowledged;
use crate::backend::pool::GroupSetup;
use crate::config::Config;
use crate::config::link::Trust;
use crate::drain::Signals;
use crate::handover::{Inherited, Kept, Ready};
use crate::link::Moved;
use crate::net::{self, BindError, Listening};
use crate::reload::{Asks, Reloads};
use crate::topology::Snapshot;
use crate::upgrade::{Legacy, Predecessor, Told};
use crate::worker::Mailbox;

/// EX_UNAVAILABLE: there is nobody to take over from.
const ABANDONED: i32 = 69;

/// How a process begins.
pub(super) struct Beginning {
    /// By which the configuration is read again.
    pub(super) reloads: (Arc<Reloads>, Asks),
    /// Is told that it shall be replaced.
    pub(super) upgrade: mpsc::UnboundedSender<Told>,
    pub(super) inherited: Inherited,
    /// Nobody is accepted before this is true.
    pub(super) open: watch::Receiver<bool>,
    /// The process before this one, if any, has nothing left to hand over.
    pub(super) settled: watch::Receiver<bool>,
    /// Born in the sandbox of the process before.
    pub(super) sandboxed: bool,
}

/// What tells the rest of the process how far it is.
pub(super) struct Teller {
    open: watch::Sender<bool>,
    settled: watch::Sender<bool>,
}

impl Beginning {
    /// Of a process that is in charge from the first moment, or will be after `predecessor`.
    pub(super) fn new(
        reloads: (Arc<Reloads>, Asks),
        upgrade: mpsc::UnboundedSender<Told>,
        inherited: Inherited,
        predecessor: Option<&Predecessor>,
    ) -> (Self, Teller) {
        let alone = predecessor.is_none();
        let ((open_sender, open), (settled_sender, settled)) = (watch::channel(alone), watch::channel(alone));
        let sandboxed = predecessor.is_some_and(Predecessor::is_sandboxed);
        (
            Self { reloads, upgrade, inherited, open, settled, sandboxed },
            Teller { open: open_sender, settled: settled_sender },
        )
    }
}

/// A socket that was there already, or a new one; and a second handle of it, for the process after this one.
pub(super) fn listen(
    inherited: &mut Inherited,
    kept: &mut Vec<Kept>,
    name: &str,
    bind: &crate::config::Bind,
    failed: impl FnOnce(BindError) -> StartError,
) -> Result<Listening, StartError> {
    let (socket, by_name) = match inherited.take(name, bind) {
        Some(found) => found,
        None => (net::bind(bind).map_err(failed)?, false),
    };
    let second = Kept::new(name, bind, by_name, &socket);
    kept.push(second.map_err(|error| StartError::System { what: "a second handle of a socket", error })?);
    Ok(socket)
}

/// Where what comes from the process before belongs.
pub(super) struct Heir {
    pub(super) adopter: Adopter,
    /// By their names.
    pub(super) links: HashMap<String, mpsc::UnboundedSender<Moved>>,
    pub(super) groups: Vec<(String, Arc<ArcSwap<Snapshot>>)>,
    /// Of the same groups: what was acknowledged there must be seen here.
    pub(super) acknowledged: Vec<Acknowledged>,
    pub(super) next_id: Arc<AtomicU64>,
    pub(super) ready: Ready,
}

pub(super) fn heir(
    config: &Config,
    setups: &[GroupSetup],
    workers: &[Mailbox],
    links: start::Arrivals,
    shared: &Shared,
) -> Heir {
    let views = || setups.iter().map(|setup| &setup.view);
    let groups = views().map(|view| (view.name.to_string(), Arc::clone(&view.published)));
    Heir {
        adopter: Adopter {
            listeners: config.listeners.clone(),
            workers: workers.to_vec(),
            seats: Arc::clone(&shared.seats),
            last: Cell::new(0),
        },
        links: links.into_iter().collect(),
        groups: groups.collect(),
        acknowledged: views().map(|view| view.acknowledged.clone()).collect(),
        next_id: Arc::clone(&shared.next_id),
        ready: ready(config),
    }
}

/// Whose connections this process could go on with.
fn ready(config: &Config) -> Ready {
    let plain = config.listeners.iter().filter(|listener| listener.tls.is_none());
    let resuming = config.links.iter().filter(|link| matches!(link.trust, Trust::Link(_)));
    Ready {
        listeners: plain.map(|listener| listener.name.clone()).collect(),
        links: resuming.map(|link| link.name.clone()).collect(),
    }
}

/// Waits until this process could serve, says so, and has a thread take over when it is told to. `Err`: a signal ended it first.
pub(super) async fn take_over(
    mut predecessor: Predecessor,
    heir: Heir,
    teller: Teller,
    signals: &mut Signals,
) -> Result<(), StartError> {
    let found = tokio::select! {
        found = predecessor.masters(&heir.groups) => found,
        _ = signals.end("this process is only about to begin") => Err("a signal has ended it".to_owned()),
    };
    if let Err(why) = found {
        predecessor.fail(&why);
        return Err(StartError::Upgrade(why));
    }
    let body = move || {
        inherit(predecessor, heir, &teller);
        Ok(())
    };
    vital("redan-heir".to_owned(), body).map_err(|error| StartError::System { what: "a thread", error })
}

/// The whole life of the thread that talks to the process before.
fn inherit(mut predecessor: Predecessor, heir: Heir, teller: &Teller) {
    let id = predecessor.id();
    let Heir { adopter, links, acknowledged, next_id, ready, .. } = heir;
    let next = predecessor.ready(ready).ok().and_then(|()| predecessor.begins());
    let Some(next) = next else {
        tracing::error!("process {id}, which this one was to replace, has given it up or is gone; this one ends");
        process::exit(ABANDONED);
    };
    next_id.store(next, Relaxed);
    acknowledged.iter().for_each(|acknowledged| acknowledged.elsewhere(true));
    teller.open.send_replace(true);
    tracing::info!("took the place of process {id}");
    let (mut clients, mut streams) = (0_u64, 0_u64);
    let ended = predecessor.inherit(|legacy| match legacy {
        Legacy::Client(client, sent, socket) => {
            clients += 1;
            if let Err(why) = adopter.adopt(client, sent, socket) {
                tracing::warn!("closed a client of process {id}: {why}");
            }
        }
        Legacy::Stream(stream, buffers, socket) => {
            streams += 1;
            let name = stream.link.clone();
            let moved = Moved { stream, buffers, socket };
            if links.get(&name).is_none_or(|link| link.send(moved).is_err()) {
                tracing::warn!("closed a connection of process {id}: there is no link '{name}' any more");
            }
        }
    });
    // Those that stayed with the old process to its end come again now.
    acknowledged.iter().for_each(|acknowledged| acknowledged.elsewhere(false));
    teller.settled.send_replace(true);
    match ended {
        Ok(()) => tracing::info!(
            "process {id} has ended; it handed over {clients} clients and {streams} connections of links"
        ),
        Err(error) => tracing::error!("the talk with process {id} broke: {error}"),
    }
}
