//! What one process hands to the process that replaces it, and how: sockets that listen, clients, streams of links.
//!
//! The two talk over a pair of Unix sockets, one message at a time; descriptors travel with them (`SCM_RIGHTS`). Both may be of
//! other versions: a message is JSON, whose unknown fields are ignored and whose missing ones have defaults. `upgrade` leads the
//! talk; sessions and streams fill in what they are. It must never decide who is handed over.

mod channel;
mod inherited;
mod message;
mod outbox;
mod spares;

pub(crate) use channel::{Channel, Received};
pub(crate) use inherited::{Inherited, Kept};
pub(crate) use message::{
    Client, Given, Hello, Hidden, Login, Message, Numbers, PROTOCOL, Ready, Replica, ReplicaPhase, Stream,
};
pub(crate) use outbox::{Departure, Outbox};
pub(crate) use spares::Spares;
