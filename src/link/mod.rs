//! Links: encrypted tunnels between two Redans whose connections survive that the network breaks.
//!
//! A program connects to the entry, the entry to the exit over TLS, the exit to its target; every connection of a program has
//! a TLS connection of its own. `frame`, `buffer` and `stream` are the protocol (docs/link.md), pure; `pump` and `wire` move
//! the bytes; `entry` and `exit` are the two ends, `life` is what both do when something breaks. Links run on threads of
//! their own, which `app` starts, and must never touch a worker.

mod buffer;
mod counters;
mod entry;
mod exit;
pub(crate) mod frame;
mod life;
mod pack;
mod plain;
mod pump;
mod records;
mod replication;
mod stream;
mod threads;
mod traffic;
mod wire;

use std::io;
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};
use tokio::sync::watch;

pub(crate) use counters::{LinkCounters, LinkNumbers};
pub(crate) use threads::{Threads, work};

use crate::config::link::{End, Link, Trust};
use crate::identity::Identity;
use crate::net::Listening;
use crate::tls::{TlsError, identity, mutual, pinned};

/// How this end's TLS is set up.
#[derive(Clone)]
pub(crate) enum Tls {
    Dials(Arc<ClientConfig>),
    Answers(Arc<ServerConfig>),
}

/// A link whose files have been read and found good.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) link: Arc<Link>,
    pub(crate) tls: Tls,
    /// Of this end, where it has one.
    identity: Option<Identity>,
}

/// What every connection of a link needs.
#[derive(Clone)]
struct Context {
    link: Arc<Link>,
    counters: Arc<LinkCounters>,
    threads: Threads,
    /// Turns true when the process ends.
    stopping: watch::Receiver<bool>,
}

/// Reads the files of a link.
pub(crate) fn prepare(link: &Arc<Link>) -> Result<Prepared, TlsError> {
    let dials = matches!(link.end, End::Entry { .. });
    let (tls, identity) = match &link.trust {
        Trust::Link(pinned) | Trust::PinnedTls(pinned) => {
            let own = identity::load(&pinned.identity)?;
            let alpn = matches!(link.trust, Trust::Link(_));
            let tls = match dials {
                true => Tls::Dials(pinned::client_config(&own, &pinned.peers, alpn)?),
                false => Tls::Answers(pinned::server_config(&own, &pinned.peers, alpn)?),
            };
            (tls, Some(own.identity))
        }
        Trust::CaTls(files) => {
            let tls = match dials {
                true => Tls::Dials(mutual::client_config(files)?),
                false => Tls::Answers(mutual::server_config(files)?),
            };
            (tls, None)
        }
    };
    Ok(Prepared { link: Arc::clone(link), tls, identity })
}

/// Starts to accept on the socket of a link; to be called for each. Ends when `stopping` turns true.
pub(crate) fn open(
    prepared: Prepared,
    socket: Listening,
    counters: Arc<LinkCounters>,
    threads: &Threads,
    stopping: watch::Receiver<bool>,
) {
    let Prepared { link, tls, identity } = prepared;
    let context = Context { link, counters, threads: threads.clone(), stopping };
    let who = identity.map_or_else(String::new, |identity| format!(" as {identity}"));
    let name = context.link.name.clone();
    let bind = context.link.bind.clone();
    let at = match &socket {
        Listening::Tcp(socket) => socket.local_addr().map_or_else(|_| bind.to_string(), |at| at.to_string()),
        Listening::Unix(_) => bind.to_string(),
    };
    match (&context.link.end, tls) {
        (End::Entry { to, service, .. }, Tls::Dials(tls)) => {
            tracing::info!("link '{name}': entry on {at} to service '{service}' of {to}{who}");
            threads.spawn(Box::new(move |_| Box::pin(entry::accept(context, socket, tls))));
        }
        (End::Exit { services }, Tls::Answers(tls)) => {
            let services: Vec<String> =
                services.iter().map(|(service, target)| format!("'{service}' at {target}")).collect();
            tracing::info!("link '{name}': exit on {at}, with {}{who}", services.join(", "));
            threads.spawn(Box::new(move |_| Box::pin(exit::accept(context, socket, tls))));
        }
        // `prepare` makes no other pairs.
        _ => {}
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
