//! Clients of the process that this one has replaced: each comes with its socket and goes to the worker with the fewest.
//!
//! Called on a thread of its own while the acceptor accepts. They were let in before, so no limit is asked; they count in all.

use std::cell::Cell;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::net::sockopt::socket_peercred;

use super::least_loaded;
use crate::config::{Bind, Listener};
use crate::handover::Client;
use crate::net;
use crate::session::Peer;
use crate::throttle::Source;
use crate::worker::{Arrival, Mailbox, Seats, Socket};

pub(crate) struct Adopter {
    pub(crate) listeners: Vec<Arc<Listener>>,
    pub(crate) workers: Vec<Mailbox>,
    pub(crate) seats: Arc<Seats>,
    pub(crate) last: Cell<usize>,
}

impl Adopter {
    /// A client that has left meanwhile is none any more.
    pub(crate) fn adopt(&self, client: Box<Client>, sent: Vec<u8>, socket: OwnedFd) -> Result<(), String> {
        let index = self.listeners.iter().position(|listener| listener.name == client.listener);
        let index = index.ok_or_else(|| format!("there is no listener '{}' any more", client.listener))?;
        let listener = &self.listeners[index];
        let Ok((peer, source, socket)) = recognise(listener, client.unix, socket) else { return Ok(()) };
        let loads: Vec<usize> = (0..self.workers.len()).map(|worker| self.seats.of_worker(worker)).collect();
        let worker = least_loaded(&loads, self.last.get());
        self.last.set(worker);
        let source = listener.max_clients_per_source.map(|_| source);
        let seat = self.seats.take(index, worker, source);
        let (id, was) = (client.id, Some(Box::new((*client, sent))));
        self.workers[worker].accepted(Arrival { id, socket, peer, listener: index, seat, was });
        Ok(())
    }
}

fn recognise(listener: &Listener, unix: bool, socket: OwnedFd) -> io::Result<(Peer, Source, Socket)> {
    if unix {
        let uid = socket_peercred(socket.as_fd())?.uid.as_raw();
        let stream = UnixStream::from(socket);
        stream.set_nonblocking(true)?;
        let path = match &listener.bind {
            Bind::Unix { path, .. } => path.display().to_string(),
            Bind::Tcp(address) => address.to_string(),
        };
        return Ok((Peer::Unix { path: path.into(), uid }, Source::Unix { uid }, Socket::Unix(stream)));
    }
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    net::tune_client(&stream, listener.tcp_keepalive)?;
    let (remote, local) = (stream.peer_addr()?, stream.local_addr()?);
    Ok((Peer::Tcp { remote, local }, remote.ip().into(), Socket::Tcp(stream)))
}
