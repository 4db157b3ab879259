//! A pin: a backend connection lent to one session, and the idle ones that wait to be lent again.
//!
//! The session drives the pin itself. A pin comes back only clean: no transaction, watch, subscription or reply is open
//! on it and it speaks what it was opened for. Otherwise it is closed, which is always right.

use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use super::dial::{DialError, Dialect, Opened};
use super::login::UserKey;
use super::pool::Pool;
use crate::resp::reply::ReplyScanner;
use crate::topology::{Node, NodeId};
use crate::transport::{CipherBuffer, Stream};

/// Idle pins kept per worker and group. A burst of more transactions at once opens connections for the rest.
const KEPT: usize = 64;
const KEPT_BYTES: usize = 4096;
/// Redis closes idle clients after `timeout`, off by default; 60 s is below what people set.
const KEPT_FOR: Duration = Duration::from_secs(60);

pub(crate) struct Pin {
    pub(crate) node: NodeId,
    pub(crate) dialect: Dialect,
    /// The pool's turn in which it was opened.
    turn: u64,
    /// What CLIENT ID says on it; servers before 5.0 do not know.
    pub(crate) number: Option<u64>,
    pub(crate) stream: Stream,
    pub(crate) scanner: ReplyScanner,
    /// Read from the node and not yet handed on: part of a line.
    pub(crate) input: Vec<u8>,
    /// For the node; the first `sent` bytes are gone.
    pub(crate) output: Vec<u8>,
    pub(crate) sent: usize,
}

impl Pin {
    fn new(node: NodeId, dialect: Dialect, stream: Stream, number: Option<u64>, turn: u64) -> Self {
        let scanner = ReplyScanner::new();
        Self { node, dialect, turn, number, stream, scanner, input: Vec::new(), output: Vec::new(), sent: 0 }
    }

    /// Bytes that wait for the node.
    pub(crate) fn backlog(&self) -> usize {
        self.output.len() - self.sent
    }
}

#[derive(Default)]
pub(crate) struct IdlePins(Vec<(Instant, Pin)>);

impl IdlePins {
    fn take(&mut self, node: NodeId, dialect: Dialect, cipher: &mut CipherBuffer) -> Option<Pin> {
        loop {
            let index = self.0.iter().rposition(|(_, pin)| pin.node == node && pin.dialect == dialect)?;
            let (_, mut pin) = self.0.swap_remove(index);
            // A healthy idle connection has nothing to say; anything else, the end included, and it is not used.
            let mut cx = Context::from_waker(Waker::noop());
            if pin.stream.poll_read(&mut cx, cipher, &mut [0; 16]).is_pending() {
                return Some(pin);
            }
        }
    }

    fn put(&mut self, pin: Pin) {
        if self.0.len() == KEPT {
            self.0.remove(0);
        }
        self.0.push((Instant::now(), pin));
    }

    pub(super) fn drop_older_than(&mut self, now: Instant) {
        self.0.retain(|(since, _)| now.saturating_duration_since(*since) < KEPT_FOR);
    }

    pub(super) fn drop_of(&mut self, user: UserKey) {
        self.0.retain(|(_, pin)| pin.dialect.user != user);
    }

    /// Those to one node, or all; how many.
    pub(super) fn drop_to(&mut self, node: Option<NodeId>) -> usize {
        let before = self.0.len();
        self.0.retain(|(_, pin)| node.is_some_and(|node| pin.node != node));
        before - self.0.len()
    }

    pub(super) fn has_of(&self, user: UserKey) -> bool {
        self.0.iter().any(|(_, pin)| pin.dialect.user == user)
    }

    /// Pins go to the master only.
    pub(super) fn keep_only(&mut self, master: Option<NodeId>) {
        self.0.retain(|(_, pin)| Some(pin.node) == master);
    }
}

impl Pool {
    /// A clean connection to the node, from the idle ones or a new one.
    pub(crate) async fn pin(self: std::rc::Rc<Self>, node: Node, dialect: Dialect) -> Result<Pin, DialError> {
        let idle = self.idle_pins.borrow_mut().take(node.id, dialect, &mut self.cipher.borrow_mut());
        if let Some(pin) = idle {
            return Ok(pin);
        }
        let turn = self.pins_from.get();
        let dialed = self.connect(&node, dialect).await;
        match &dialed {
            Ok(_) => self.reached(node.id),
            Err(DialError::Unreachable(words)) => {
                tracing::warn!("no connection for a session of its own: {words}");
                self.last_failure.replace(words.clone());
                self.trouble(node.id);
            }
            Err(DialError::Dialect(_) | DialError::Login(_)) => {}
        }
        let Opened { stream, number, .. } = dialed?;
        Ok(Pin::new(node.id, dialect, stream, number, turn))
    }

    /// Takes back a clean pin.
    pub(crate) fn give_back(&self, mut pin: Pin) {
        // Idle ones belong to no client that they could be counted for: 64 of them keep 256 KiB.
        pin.output.shrink_to(KEPT_BYTES);
        if pin.turn == self.pins_from.get() && self.is_master(pin.node) && self.knows(pin.dialect.user) {
            self.idle_pins.borrow_mut().put(pin);
        }
    }
}
