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
pub(crate) mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod keyring;
mod life;
mod pace;
mod pack;
mod plain;
pub(crate) mod policy;
mod pump;
mod records;
mod replication;
mod stream;
mod threads;
mod traffic;
mod wire;

use std::io;
use std::sync::Arc;

use tokio::sync::watch;

pub(crate) use counters::{LinkCounters, LinkNumbers};
pub(crate) use desk::Watched;
pub(crate) use keyring::{Keyring, Ring, files, own_certificate};
pub(crate) use threads::{Threads, work};

use crate::config::link::{End, Link};
use crate::net::Listening;

/// What every connection of a link needs.
#[derive(Clone)]
struct Context {
    link: Arc<Link>,
    keyring: Arc<Keyring>,
    counters: Arc<LinkCounters>,
    threads: Threads,
    /// Turns true when the process ends.
    stopping: watch::Receiver<bool>,
}

/// Starts to accept on the socket of a link; to be called for each. Ends when `stopping` turns true.
pub(crate) fn open(
    keyring: Arc<Keyring>,
    socket: Listening,
    counters: Arc<LinkCounters>,
    threads: &Threads,
    stopping: watch::Receiver<bool>,
) {
    let link = Arc::clone(&keyring.link);
    let who = keyring.identity().map_or_else(String::new, |identity| format!(" as {identity}"));
    let context = Context { link, keyring, counters, threads: threads.clone(), stopping };
    let name = context.link.name.clone();
    let bind = context.link.bind.clone();
    let at = match &socket {
        Listening::Tcp(socket) => socket.local_addr().map_or_else(|_| bind.to_string(), |at| at.to_string()),
        Listening::Unix(_) => bind.to_string(),
    };
    match &context.link.end {
        End::Entry { to, service, .. } => {
            tracing::info!("link '{name}': entry on {at} to service '{service}' of {to}{who}");
            threads.spawn(Box::new(move |_| Box::pin(entry::accept(context, socket))));
        }
        End::Exit { services, .. } => {
            let services: Vec<String> =
                services.iter().map(|(service, target)| format!("'{service}' at {target}")).collect();
            tracing::info!("link '{name}': exit on {at}, with {}{who}", services.join(", "));
            threads.spawn(Box::new(move |_| Box::pin(exit::accept(context, socket))));
        }
    }
}

/// After `accept` failed for want of descriptors: the connection that could not be accepted stays in the queue.
async fn accept_failed(name: &str, error: &io::Error) {
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) {
        return;
    }
    tracing::error!("link '{name}' cannot accept connections: {error}; raise the limit of open files");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
}
