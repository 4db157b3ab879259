//! A worker's mailbox: the only way by which other threads reach it.
//!
//! Unbounded on purpose, because control must never wait for a worker and an accepted socket must not be lost; what can
//! lie in it is bounded all the same: sockets by their listener's `max_clients` (each holds a [`Seat`]) or their tickets, news of the
//! topology by one per group, changes of the configuration by who reloads it, news of certificates by one for each listener and
//! group in two seconds; the rest comes once.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use super::change::Change;
use super::farewell::Refused;
use super::seat::Seat;
use crate::handover::{Client, Outbox};
use crate::session::Peer;
use crate::session::switchboard::Question;
use crate::tls::server::Serving;

/// An accepted connection on its way to a worker.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Unique in the process; what CLIENT ID answers.
    pub(crate) id: u64,
    pub(crate) socket: Socket,
    pub(crate) peer: Peer,
    /// Its number.
    pub(crate) listener: usize,
    pub(crate) seat: Seat,
    /// What it was in the process that this one has replaced, and what it had sent.
    pub(crate) was: Option<Box<(Client, Vec<u8>)>>,
}

/// Non-blocking, and registered with no runtime.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

#[derive(Debug)]
pub(crate) enum Mail {
    Accepted(Arrival),
    /// Not served; to be told so over TLS.
    Refused(Refused),
    /// Control published a snapshot of this group. The flag is taken back before the snapshot is read.
    Topology(usize, Arc<AtomicBool>),
    /// A session on some worker, or the operator, wants to know something of all sessions. At most one of each session and of
    /// each of the operator's connections lies here, since whoever asks waits for the answer.
    Ask(Question),
    /// What this listener presents and whom it believes from now on.
    Serving(usize, Arc<Serving>),
    /// Other nodes of this group are believed now.
    Keyring(usize),
    /// Put each session into the outbox when nothing is owed to its client, or end it when that is silent, then end.
    HandOver(Outbox),
    /// The configuration is another one now.
    Change(Change),
    /// End each session when nothing is owed to its client, then end.
    Drain,
    /// Close every session and end.
    Stop,
}

/// The sending end.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox {
    sender: mpsc::UnboundedSender<Mail>,
}

/// The worker's end.
#[derive(Debug)]
pub(crate) struct Letters {
    receiver: mpsc::UnboundedReceiver<Mail>,
}

/// By which a worker is told of new snapshots of one group.
#[derive(Debug)]
pub(crate) struct Bell {
    group: usize,
    sender: mpsc::UnboundedSender<Mail>,
    /// News of it lies in the mailbox.
    waits: Arc<AtomicBool>,
}

pub(crate) fn mailbox() -> (Mailbox, Letters) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Mailbox { sender }, Letters { receiver })
}

impl Bell {
    /// The worker shall take over the newest snapshot. Cheap to repeat.
    pub(crate) fn ring(&self) {
        if !self.waits.swap(true, Ordering::AcqRel) {
            // As in `Mailbox::send`.
            let _ = self.sender.send(Mail::Topology(self.group, Arc::clone(&self.waits)));
        }
    }
}

impl Mailbox {
    pub(crate) fn accepted(&self, arrival: Arrival) {
        self.send(Mail::Accepted(arrival));
    }

    pub(crate) fn refused(&self, refused: Refused) {
        self.send(Mail::Refused(refused));
    }

    /// To be made once for each group.
    pub(crate) fn bell(&self, group: usize) -> Bell {
        Bell { group, sender: self.sender.clone(), waits: Arc::default() }
    }

    pub(crate) fn change(&self, change: Change) {
        self.send(Mail::Change(change));
    }

    pub(crate) fn ask(&self, question: Question) {
        self.send(Mail::Ask(question));
    }

    pub(crate) fn serving(&self, listener: usize, serving: Arc<Serving>) {
        self.send(Mail::Serving(listener, serving));
    }

    pub(crate) fn keyring(&self, group: usize) {
        self.send(Mail::Keyring(group));
    }

    pub(crate) fn hand_over(&self, outbox: Outbox) {
        self.send(Mail::HandOver(outbox));
    }

    pub(crate) fn drain(&self) {
        self.send(Mail::Drain);
    }

    pub(crate) fn stop(&self) {
        self.send(Mail::Stop);
    }

    fn send(&self, mail: Mail) {
        // A worker without a receiving end has drained already; the process is ending, and so does a late socket.
        let _ = self.sender.send(mail);
    }
}

impl Letters {
    /// Cancel safe. `None` when nobody can send any more.
    pub(super) async fn next(&mut self) -> Option<Mail> {
        let mail = self.receiver.recv().await;
        if let Some(Mail::Topology(_, waits)) = &mail {
            // Before the snapshot is read: one published after that sends again.
            waits.store(false, Ordering::Release);
        }
        mail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn news_of_a_group_lies_in_the_mailbox_once_and_comes_again_after_it_was_read() {
        let (mailbox, mut letters) = mailbox();
        let bells = [mailbox.bell(0), mailbox.bell(1)];
        for _ in 0..3 {
            bells[1].ring();
            bells[0].ring();
        }
        assert!(matches!(letters.next().await, Some(Mail::Topology(1, _))));
        bells[1].ring();
        assert!(matches!(letters.next().await, Some(Mail::Topology(0, _))));
        assert!(matches!(letters.next().await, Some(Mail::Topology(1, _))));
        drop((mailbox, bells));
        assert!(letters.next().await.is_none());
    }
}
