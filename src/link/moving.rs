//! How a stream goes to another process, and goes on there: its program's socket and the machine's numbers and bytes.
//!
//! The old process lets the wire fall as if the network had broken, the new one makes another: the entry dials, the exit is
//! called. Neither program notices. It must never move a stream of which more is known here than can be told.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::sync::{mpsc, watch};

use super::Context;
use super::frame::StreamId;
use super::life::{self, PackedLocal};
use super::pump::Pump;
use super::replication::Replication;
use super::stream::Stream;
use crate::handover::{self, Departure, Outbox, ReplicaPhase};
use crate::identity::Identity;
use crate::net::Socket;

/// A stream that cannot move is looked at again after so long: a replica's handshake takes some round trips.
const AGAIN: Duration = Duration::from_millis(20);

/// What becomes of a link.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    Stays,
    /// Another process takes its place.
    Moves(Outbox),
    Ends {
        /// After that.
        replaced: bool,
    },
}

/// Where a link is on its way from its beginning to its end.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) fate: watch::Receiver<Fate>,
    /// Nobody is accepted before this is true: another process may still be in charge.
    pub(super) open: watch::Receiver<bool>,
}

impl Change {
    /// Until whoever listens may accept; `false` when it never will.
    pub(super) async fn opens(&mut self) -> bool {
        self.open.wait_for(|open| *open).await.is_ok()
    }

    /// Until the end.
    pub(super) async fn ends(&mut self) {
        // A link that was taken out of the hands of who decides ends too.
        let _ = self.fate.wait_for(|fate| matches!(fate, Fate::Ends { .. })).await;
    }

    /// Until nobody may be accepted any more.
    pub(super) async fn closes(&mut self) {
        let _ = self.fate.wait_for(|fate| !matches!(fate, Fate::Stays)).await;
    }

    /// A stream that this process does not know may be one that has gone to the next one.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(*self.fate.borrow(), Fate::Moves(_) | Fate::Ends { replaced: true })
    }
}

/// A stream that has come from another process.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) stream: Box<handover::Stream>,
    /// Its two buffers.
    pub(crate) buffers: Vec<u8>,
    pub(crate) socket: OwnedFd,
}

pub(crate) type Arrivals = mpsc::UnboundedReceiver<Moved>;

/// Who a stream is.
pub(super) struct Who<'a> {
    pub(super) id: StreamId,
    /// The key that the other end has shown first.
    pub(super) peer: Identity,
    /// For the log.
    pub(super) from: &'a str,
    /// Its program is another than this one.
    pub(super) has_program: bool,
}

/// When a stream may go.
pub(super) struct Leave {
    change: Change,
    possible: bool,
    asked_before: bool,
}

impl Leave {
    pub(super) fn of(context: &Context, stream: &Who<'_>) -> Self {
        // An other end that does not wait would reset the program.
        let possible = stream.has_program && !context.link.resume.is_zero();
        Self { change: context.change.clone(), possible, asked_before: false }
    }

    /// Completes when it is time to ask the pump, the second time and later after a moment.
    pub(super) async fn is_due(&mut self, link: &str) -> Outbox {
        if !self.possible {
            return std::future::pending().await;
        }
        if self.asked_before {
            tokio::time::sleep(AGAIN).await;
        }
        let fate = match self.change.fate.wait_for(|fate| matches!(fate, Fate::Moves(_))).await {
            Ok(fate) => fate.clone(),
            Err(_) => return std::future::pending().await,
        };
        self.asked_before = true;
        match fate {
            Fate::Moves(outbox) if outbox.takes_streams(link) => outbox,
            _ => std::future::pending().await,
        }
    }
}

/// Puts the stream into the outbox. `peer` is the key that was shown last. `false`: the system gives no descriptor for it.
pub(super) fn depart(context: &Context, stream: &Who<'_>, peer: Identity, pump: &Pump, outbox: &Outbox) -> bool {
    let Ok(socket) = pump.local.as_fd().try_clone_to_owned() else { return false };
    let (numbers, buffers) = pump.stream.standing();
    let state = handover::Stream {
        link: context.link.name.clone(),
        id: stream.id.0,
        peer: peer.0,
        from: stream.from.to_owned(),
        unix: matches!(pump.local, Socket::Unix(_)),
        numbers,
        replica: pump.replica(),
    };
    outbox.put(Departure::Stream(Box::new(state), buffers, socket));
    true
}

impl Moved {
    /// The program must try again.
    pub(super) fn refuse(self, context: &Context, why: &str) {
        let Self { stream, socket, .. } = self;
        context.counters.refused();
        tracing::warn!("link '{}': the connection of {} is reset: {why}", context.link.name, stream.from);
        // Where it fails the connection is gone already. A Unix socket knows only the end.
        let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
    }

    /// The program's socket. To be called on the thread that the stream will live on.
    pub(super) fn unpack(self, context: &Context) -> std::io::Result<(Stream, Socket, Box<handover::Stream>)> {
        let Self { stream: state, buffers, socket } = self;
        let local = life::unpack(match state.unix {
            true => PackedLocal::Unix(socket.into()),
            false => PackedLocal::Tcp(socket.into()),
        })?;
        let stream = Stream::restored(&state.numbers, &buffers, Instant::now());
        Ok((stream.compressed(context.link.compression), local, state))
    }
}

/// What is known of the program as a replica.
pub(super) fn replication(context: &Context, state: &handover::Stream, who: String) -> Option<Replication> {
    let (link, counters) = (&context.link, &context.counters);
    match &state.replica {
        Some(replica) if !matches!(replica.phase, ReplicaPhase::Greeting) => {
            Some(Replication::resumed(link, counters, state.from.clone(), replica, Instant::now()))
        }
        // Nothing was said yet that counts.
        Some(_) => Some(Replication::new(link, counters, state.from.clone(), who)),
        None if state.numbers.is_untouched() => Some(Replication::new(link, counters, state.from.clone(), who)),
        None => None,
    }
}
