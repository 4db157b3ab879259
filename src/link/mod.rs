//! Links: encrypted tunnels between two Redans whose connections survive that the network breaks.
//!
//! A program connects to the entry, the entry to the exit over TLS, the exit to its target; every connection of a program has
//! a TLS connection of its own. `frame`, `buffer` and `stream` are the protocol (docs/link.md), pure; `pump` and `wire` move
//! the bytes; `entry` and `exit` are the two ends, `life` is what both do when something breaks. Links run on threads of
//! their own, which `app` starts, and must never touch a worker.

mod buffer;
mod counters;
mod desk;
mod entry;
mod exit;
mod flight;
pub(crate) mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod keyring;
mod life;
mod moving;
mod pace;
mod pack;
mod plain;
pub(crate) mod policy;
mod pump;
mod records;
mod repeats;
mod replication;
mod running;
mod stream;
mod threads;
mod traffic;
mod wire;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;

pub(crate) use counters::{LinkCounters, LinkNumbers};
pub(crate) use desk::Watched;
pub(crate) use keyring::{Keyring, Ring, files, own_certificate};
pub(crate) use moving::{Arrivals, Moved};
use moving::{Change, Fate};
pub(crate) use running::{Links, Reconfigured, Running};
pub(crate) use threads::{Threads, work};

use crate::config::link::{End, Link, Target};
use crate::net::{Callers, Listening, Shortcuts};

/// What every connection of a link needs.
#[derive(Clone)]
struct Context {
    link: Arc<Link>,
    keyring: Arc<Keyring>,
    counters: Arc<LinkCounters>,
    threads: Threads,
    change: Change,
}

/// What a link takes connections from.
#[derive(Debug)]
pub(crate) struct Doors {
    /// An exit has one; an entry may do without.
    pub(crate) socket: Option<Listening>,
    /// Groups of this process; an entry has them.
    pub(crate) callers: Option<Callers>,
    /// Streams of the process that this one has replaced.
    pub(crate) arrivals: Arrivals,
}

/// Starts to accept what comes to a link, as soon as `open` says so; to be called for each.
pub(crate) fn open(
    keyring: Arc<Keyring>,
    doors: Doors,
    counters: Arc<LinkCounters>,
    threads: &Threads,
    open: watch::Receiver<bool>,
) -> Running {
    let ((decide, fate), (news, changes)) = (watch::channel(Fate::Stays), mpsc::unbounded_channel());
    let change = Change { fate, open };
    let link = keyring.link();
    let who = keyring.identity().map_or_else(String::new, |identity| format!(" as {identity}"));
    let context = Context { link, keyring, counters, threads: threads.clone(), change };
    let name = context.link.name.clone();
    let Doors { socket, callers, arrivals } = doors;
    let bind = || context.link.bind.as_ref().map_or_else(String::new, ToString::to_string);
    let at = match &socket {
        Some(Listening::Tcp(socket)) => socket.local_addr().map_or_else(|_| bind(), |at| at.to_string()),
        Some(Listening::Unix(_)) => bind(),
        None => "no address, for groups of this process,".to_owned(),
    };
    match (&context.link.end, socket, callers) {
        (End::Entry { to, service, .. }, socket, Some(callers)) => {
            tracing::info!("link '{name}': entry on {at} to service '{service}' of {to}{who}");
            threads.spawn(Box::new(move |_| Box::pin(entry::accept(context, socket, callers, arrivals, changes))));
        }
        (End::Exit { services, .. }, Some(socket), _) => {
            let at_targets = |(service, targets): (&String, &Vec<Target>)| {
                let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
                format!("'{service}' at {}", targets.join(", else "))
            };
            let services: Vec<String> = services.iter().map(at_targets).collect();
            tracing::info!("link '{name}': exit on {at}, with {}{who}", services.join(", "));
            threads.spawn(Box::new(move |_| Box::pin(exit::accept(context, socket, arrivals, changes))));
        }
        // The configuration makes no other pairs.
        _ => {}
    }
    Running { decide, news }
}

/// Entries for whoever asks nodes and is not `redan run`: on the calling thread, whose event loop must be one for tasks that
/// stay on it, and without sockets that listen. They end with the event loop.
pub(crate) fn lend(links: Vec<Arc<Keyring>>) -> (Shortcuts, Links) {
    let lent = Links::default();
    let shortcuts = Shortcuts::default();
    let (threads, letters) = Threads::new(1);
    let any = !links.is_empty();
    // What was true once stays so without a sender.
    let always = watch::channel(true).1;
    for keyring in links {
        let name = keyring.link().name.clone();
        let callers = shortcuts.lead_to(&name);
        let doors = Doors { socket: None, callers: Some(callers), arrivals: mpsc::unbounded_channel().1 };
        lent.add(&name, open(keyring, doors, Arc::default(), &threads, always.clone()));
    }
    for letters in letters.into_iter().filter(|_| any) {
        spawn_local(threads::serve(letters));
    }
    (shortcuts, lent)
}

/// For what never panics halfway while it is held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// After `accept` failed for want of descriptors: the connection that could not be accepted stays in the queue.
async fn accept_failed(name: &str, error: &io::Error) {
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) {
        return;
    }
    tracing::error!("link '{name}' cannot accept connections: {error}; raise the limit of open files");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
}
