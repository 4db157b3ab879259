//! Accepts clients on every listener and gives each socket to the worker with the fewest.
//!
//! Runs on a thread of its own, so that a storm of new clients delays neither commands nor probes. It must never read
//! from a client or wait for one.

mod adopter;
pub(crate) mod descriptors;

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, spawn_local};

pub(crate) use self::adopter::Adopter;
use crate::config::{Bind, Listener};
use crate::memory::Memory;
use crate::metrics::AcceptorCounters;
use crate::net::{self, Listening};
use crate::rarely::Rarely;
use crate::session::Peer;
use crate::throttle::Source;
use crate::worker::{Arrival, Mailbox, Refused, Seats, Socket, Tickets};

/// What Redis says; clients know it.
const FULL: &[u8] = b"-ERR max number of clients reached\r\n";

/// Redis evicts clients over its `maxmemory-clients` and has no words for this.
const OUT_OF_MEMORY: &[u8] = b"-ERR Redan's clients hold all of its max_memory: connect again later\r\n";

/// After `accept` failed for want of file descriptors or memory, which does not pass sooner. Without a pause the loop
/// would spin, because the client that could not be accepted stays in the queue.
const PAUSE: Duration = Duration::from_millis(100);

/// What the acceptor is made of.
pub(crate) struct Setup {
    pub(crate) entrances: Vec<Entrance>,
    pub(crate) changes: mpsc::UnboundedReceiver<Change>,
    pub(crate) workers: Vec<Mailbox>,
    pub(crate) seats: Arc<Seats>,
    pub(crate) counters: Arc<AcceptorCounters>,
    pub(crate) memory: Arc<Memory>,
    /// Set once every listener accepts.
    pub(crate) listening: Arc<AtomicBool>,
    /// What CLIENT ID answers the next client.
    pub(crate) next_id: Arc<AtomicU64>,
    /// Nobody is accepted before this is true: another process may still be in charge.
    pub(crate) open: watch::Receiver<bool>,
}

/// A listener that accepts.
pub(crate) struct Entrance {
    pub(crate) number: usize,
    pub(crate) socket: Origin,
    pub(crate) listener: Arc<Listener>,
    pub(crate) group: String,
}

/// Where an entrance gets its socket from.
pub(crate) enum Origin {
    Bound(Listening),
    /// From the listener with this number, which gives it up, or is the same in another configuration.
    Of(usize),
}

/// Another configuration. Nobody who connects meanwhile is refused: a socket is closed only if nobody takes it over.
pub(crate) struct Change {
    /// The numbers of listeners that end.
    pub(crate) close: Vec<usize>,
    /// New ones, and those that accept otherwise.
    pub(crate) open: Vec<Entrance>,
    /// Is told when all is done.
    pub(crate) done: oneshot::Sender<io::Result<()>>,
}

/// Accepts until `stop` completes; the listeners are closed when this returns. To be called on a thread of its own.
pub(crate) fn run(setup: Setup, stop: impl Future<Output = ()>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let Setup { entrances, mut changes, workers, seats, counters, memory, listening, next_id, mut open } = setup;
        tokio::pin!(stop);
        tokio::select! {
            () = &mut stop => return Ok(()),
            opened = open.wait_for(|open| *open) => {
                if opened.is_err() {
                    return Ok(());
                }
            }
        }
        let (last, tickets) = (Cell::new(0), Tickets::default());
        let desk = Rc::new(Desk { workers, seats, counters, memory, tickets, last, next_id });
        let mut hall = Hall { desk, open: HashMap::new() };
        for entrance in entrances {
            hall.admit(entrance, &mut HashMap::new())?;
        }
        listening.store(true, Relaxed);
        loop {
            tokio::select! {
                () = &mut stop => return Ok(()),
                Some(change) = changes.recv() => hall.change(change),
            }
        }
    })
}

/// The listeners that accept, by their numbers.
struct Hall {
    desk: Rc<Desk>,
    open: HashMap<usize, Accepting>,
}

/// A socket, and the task that accepts from it.
struct Accepting {
    socket: Door,
    task: AbortHandle,
}

#[derive(Clone)]
enum Door {
    Tcp(Rc<TcpListener>),
    Unix(Rc<UnixListener>),
}

impl Hall {
    fn change(&mut self, change: Change) {
        let Change { close, open, done } = change;
        // Whoever takes a socket over takes it from here; what is left is closed at the end.
        let mut given_up = HashMap::new();
        for number in close.into_iter().chain(open.iter().map(|entrance| entrance.number)) {
            if let Some(accepting) = self.open.remove(&number) {
                accepting.task.abort();
                given_up.insert(number, accepting.socket);
            }
        }
        let opened = open.into_iter().try_for_each(|entrance| self.admit(entrance, &mut given_up));
        // Nobody waits for it when the process ends.
        let _ = done.send(opened);
    }

    /// Starts to accept on one listener, and says so: from here on a client gets through.
    fn admit(&mut self, entrance: Entrance, given_up: &mut HashMap<usize, Door>) -> io::Result<()> {
        let Entrance { number, socket, listener, group } = entrance;
        let (name, kind) = (&listener.name, if listener.tls.is_some() { "TLS" } else { "plaintext" });
        let socket = match socket {
            Origin::Of(other) => given_up.remove(&other).ok_or_else(|| io::Error::other("its socket is gone"))?,
            Origin::Bound(Listening::Tcp(socket)) => {
                let socket = TcpListener::from_std(socket)?;
                let at = socket.local_addr()?;
                tracing::info!("listening on {at} ({kind}) for group '{group}', listener '{name}'");
                Door::Tcp(Rc::new(socket))
            }
            Origin::Bound(Listening::Unix(socket)) => {
                let socket = UnixListener::from_std(socket)?;
                tracing::info!("listening on {} for group '{group}', listener '{name}'", listener.bind);
                Door::Unix(Rc::new(socket))
            }
        };
        let gate = Gate::new(number, listener, Rc::clone(&self.desk));
        let task = match socket.clone() {
            Door::Tcp(socket) => spawn_local(accept_tcp(socket, gate)),
            Door::Unix(socket) => spawn_local(accept_unix(socket, gate)),
        };
        self.open.insert(number, Accepting { socket, task: task.abort_handle() });
        Ok(())
    }
}

async fn accept_tcp(socket: Rc<TcpListener>, gate: Gate) {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => gate.tcp(stream),
            Err(error) => gate.failed(&error).await,
        }
    }
}

async fn accept_unix(socket: Rc<UnixListener>, gate: Gate) {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => gate.unix(stream),
            Err(error) => gate.failed(&error).await,
        }
    }
}

/// What all listeners share.
struct Desk {
    workers: Vec<Mailbox>,
    seats: Arc<Seats>,
    counters: Arc<AcceptorCounters>,
    memory: Arc<Memory>,
    tickets: Tickets,
    /// The worker that got the last socket.
    last: Cell<usize>,
    next_id: Arc<AtomicU64>,
}

/// One listener's rules.
struct Gate {
    index: usize,
    listener: Arc<Listener>,
    desk: Rc<Desk>,
    full: Rarely,
    failures: Rarely,
}

impl Gate {
    fn new(index: usize, listener: Arc<Listener>, desk: Rc<Desk>) -> Self {
        Self { index, listener, desk, full: Rarely::default(), failures: Rarely::default() }
    }

    fn tcp(&self, stream: TcpStream) {
        // Where it fails the client has left already.
        let Ok(remote) = stream.peer_addr() else { return };
        let source = remote.ip().into();
        if let Some(words) = self.refusal(source, &remote) {
            self.turn_away(stream, words);
            return;
        }
        let taken = net::tune_client(&stream, self.listener.tcp_keepalive).and_then(|()| {
            let peer = Peer::Tcp { remote, local: stream.local_addr()? };
            Ok((peer, Socket::Tcp(stream.into_std()?)))
        });
        self.hand_over(taken, source);
    }

    fn unix(&self, stream: UnixStream) {
        let Ok(uid) = stream.peer_cred().map(|credentials| credentials.uid()) else { return };
        let source = Source::Unix { uid };
        if let Some(words) = self.refusal(source, &format_args!("user {uid}")) {
            // What does not fit an empty send buffer has no reader worth waiting for.
            let _ = stream.try_write(words);
            return;
        }
        let path = match &self.listener.bind {
            Bind::Unix { path, .. } => path.display().to_string().into_boxed_str(),
            Bind::Tcp(address) => address.to_string().into_boxed_str(),
        };
        let taken = stream.into_std().map(|stream| (Peer::Unix { path, uid }, Socket::Unix(stream)));
        self.hand_over(taken, source);
    }

    /// Over TLS the words need a handshake, which a worker does.
    fn turn_away(&self, stream: TcpStream, words: &'static [u8]) {
        if self.listener.tls.is_none() {
            // As for Unix sockets.
            let _ = stream.try_write(words);
            return;
        }
        let desk = &self.desk;
        if let Some(ticket) = desk.tickets.take()
            && let Ok(socket) = stream.into_std()
        {
            let worker = desk.last.get();
            desk.workers[worker].refused(Refused { socket, listener: self.index, words, ticket });
        }
    }

    /// Why one more client is not served, in the words that it is told.
    fn refusal(&self, source: Source, client: &dyn fmt::Display) -> Option<&'static [u8]> {
        let counters = &self.desk.counters;
        counters.accepted(self.index);
        let limit = self.listener.max_clients;
        let full = self.desk.seats.of_listener(self.index) >= limit;
        let greedy =
            self.listener.max_clients_per_source.filter(|most| self.desk.seats.of_source(self.index, source) >= *most);
        if !full && greedy.is_none() && !self.desk.memory.is_over() {
            return None;
        }
        counters.rejected(self.index);
        if let Some(more) = self.full.allow(Instant::now()) {
            let (name, refused) = (&self.listener.name, more + 1);
            let why = if full {
                format!("it has {limit}, its `max_clients`; raise it, or find out who keeps so many connections")
            } else if let Some(most) = greedy {
                format!(
                    "{client} for instance, whose address has {most} already, its `max_clients_per_source`; raise it, or \
                     find out what keeps so many connections there"
                )
            } else {
                "buffers of clients hold more than `max_memory`; raise it, or find out who takes no replies".to_owned()
            };
            tracing::warn!("listener '{name}' refused {refused} clients: {why}");
        }
        Some(if full || greedy.is_some() { FULL } else { OUT_OF_MEMORY })
    }

    fn hand_over(&self, taken: io::Result<(Peer, Socket)>, source: Source) {
        // What fails here is a client that has left already.
        let Ok((peer, socket)) = taken else { return };
        let desk = &self.desk;
        let loads = (0..desk.workers.len()).map(|worker| desk.seats.of_worker(worker)).collect::<Vec<_>>();
        let worker = least_loaded(&loads, desk.last.get());
        desk.last.set(worker);
        let id = desk.next_id.fetch_add(1, Relaxed);
        let source = self.listener.max_clients_per_source.map(|_| source);
        let seat = desk.seats.take(self.index, worker, source);
        desk.workers[worker].accepted(Arrival { id, socket, peer, listener: self.index, seat, was: None });
    }

    async fn failed(&self, error: &io::Error) {
        // The client left before it was accepted; the next one is fine.
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) {
            return;
        }
        self.desk.counters.accept_errors.increment();
        if self.failures.allow(Instant::now()).is_some() {
            let name = &self.listener.name;
            tracing::error!("listener '{name}' cannot accept clients: {error}; {}", descriptors::advice());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The worker with the fewest clients; of several the first one behind `last`, so that equals take turns.
fn least_loaded(loads: &[usize], last: usize) -> usize {
    let workers = loads.len();
    (1..=workers).map(|step| (last + step) % workers).min_by_key(|&worker| loads[worker]).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_loaded_worker_gets_the_client_and_equals_take_turns() {
        assert_eq!(least_loaded(&[3, 1, 2], 0), 1);
        assert_eq!(least_loaded(&[3, 1, 2], 1), 1);
        assert_eq!(least_loaded(&[0], 0), 0);
        let mut last = 0;
        let turns: Vec<usize> = (0..5)
            .map(|_| {
                last = least_loaded(&[7, 7, 7], last);
                last
            })
            .collect();
        assert_eq!(turns, [1, 2, 0, 1, 2]);
    }
}
