//! Where sessions and streams of links put themselves when the process is being replaced. `upgrade` empties it.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::{Client, Ready, Stream};

#[derive(Debug)]
pub(crate) enum Departure {
    /// With what it sent and nobody has looked at.
    Client(Box<Client>, Vec<u8>, OwnedFd),
    /// With its buffers.
    Stream(Box<Stream>, Vec<u8>, OwnedFd),
    /// Nobody will follow.
    End,
}

#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    sender: Sender<Departure>,
    listeners: Arc<HashSet<String>>,
    links: Arc<HashSet<String>>,
}

impl Outbox {
    pub(crate) fn new(sender: Sender<Departure>, ready: Ready) -> Self {
        let Ready { listeners, links } = ready;
        Self {
            sender,
            listeners: Arc::new(listeners.into_iter().collect()),
            links: Arc::new(links.into_iter().collect()),
        }
    }

    /// Whether the next process takes clients of this listener.
    pub(crate) fn takes_clients(&self, listener: &str) -> bool {
        self.listeners.contains(listener)
    }

    pub(crate) fn takes_streams(&self, link: &str) -> bool {
        self.links.contains(link)
    }

    /// Never waits.
    pub(crate) fn put(&self, departure: Departure) {
        // Whoever empties it lives until nobody is left to fill it; without it the connection ends with its socket.
        let _ = self.sender.send(departure);
    }
}
