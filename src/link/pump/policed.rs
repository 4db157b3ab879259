//! The pump of an exit that lets certain commands through: its program's words go by way of a conversation.
//!
//! What the policy lets through waits in a buffer of its own for the target; everything else is as without. It must never decide
//! what is let through.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use super::replicating::saw;
use super::{Pump, Stop};
use crate::config::link::{End, Link};
use crate::limits::LINK_DEAD;
use crate::link::counters::LinkCounters;
use crate::link::lock;
use crate::link::policy::Policy;
use crate::link::policy::conversation::Conversation;
use crate::link::replication::Replication;
use crate::net::Socket;
use crate::rarely::Rarely;

/// What all connections of one exit share.
pub(in crate::link) struct Refusals {
    link: String,
    policy: Policy,
    counters: Arc<LinkCounters>,
    /// Whoever is refused can send the next one at once.
    log: Mutex<Rarely>,
}

impl Refusals {
    /// `None` where every command passes.
    pub(in crate::link) fn new(link: &Link, counters: &Arc<LinkCounters>) -> Option<Arc<Self>> {
        let End::Exit { commands, .. } = &link.end else { return None };
        let policy = Policy::new(*commands)?;
        let (link, counters) = (link.name.clone(), Arc::clone(counters));
        Some(Arc::new(Self { link, policy, counters, log: Mutex::default() }))
    }

    fn tell(&self, refused: u64, last: &str, whom: &str) {
        self.counters.commands_refused(refused);
        let log = lock(&self.log);
        if let Some(more) = log.allow(Instant::now()) {
            let (link, policy) = (&self.link, self.policy.name());
            tracing::warn!(
                "link '{link}' refused '{last}' of {whom}: `commands = \"{policy}\"` does not let it through; \
                 others since the last such line: {}",
                more + refused - 1
            );
        }
    }
}

/// Between the stream and the target of one connection.
pub(in crate::link) struct Policed {
    refusals: Arc<Refusals>,
    whom: String,
    talk: Conversation,
    /// Passed, and not taken by the target's socket: from `sent` on.
    out: Vec<u8>,
    sent: usize,
    /// The program has ended while its words wait for the target.
    ends_since: Option<Instant>,
}

impl Policed {
    pub(in crate::link) fn new(refusals: &Arc<Refusals>, whom: &str) -> Box<Self> {
        let (refusals, talk) = (Arc::clone(refusals), Conversation::new(&refusals.link));
        Box::new(Self { refusals, whom: whom.to_owned(), talk, out: Vec::new(), sent: 0, ends_since: None })
    }

    /// Of a stream that has come from another process: nothing was said yet, or it is a replica's.
    pub(in crate::link) fn resumed(refusals: &Arc<Refusals>, whom: &str, is_untouched: bool) -> Box<Self> {
        let mut policed = Self::new(refusals, whom);
        if !is_untouched {
            policed.talk.become_replica();
        }
        policed
    }

    /// A replica's, of which nothing is under way.
    pub(super) fn is_replica(&self) -> bool {
        self.talk.is_idle_replica() && self.waiting().is_empty() && self.ends_since.is_none()
    }

    /// Judges what came over the wire; says how much of it was taken.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        let taken = self.talk.take(&self.refusals.policy, bytes, &mut self.out);
        self.judged()?;
        Ok(taken)
    }

    /// Passed, and not handed on yet.
    pub(super) fn waiting(&self) -> &[u8] {
        &self.out[self.sent..]
    }

    pub(super) fn went(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent == self.out.len() {
            self.sent = 0;
            self.out.clear();
        }
    }

    /// Nothing of the program's is still to be judged or handed on.
    pub(super) fn has_said_all(&self) -> bool {
        self.waiting().is_empty() && self.talk.is_through()
    }

    /// After anything was judged.
    fn judged(&mut self) -> Result<(), Stop> {
        if let Some((refused, last)) = self.talk.refused() {
            self.refusals.tell(refused, last, &self.whom);
        }
        self.talk.broken().map_or(Ok(()), |why| Err(Stop::Refused(why)))
    }

    /// Whether nothing waits for the target's socket.
    fn flush(&mut self, local: &Socket, replication: &mut Option<Replication>, now: Instant) -> Result<bool, Stop> {
        while !self.waiting().is_empty() {
            match local.try_write(self.waiting()) {
                Ok(written) => {
                    saw(replication, &[IoSlice::new(self.waiting())], written, now);
                    self.went(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(Stop::Local(error)),
            }
        }
        Ok(true)
    }

    /// What the target has said, or that it has ended.
    pub(super) fn hear(&mut self, read: &Poll<io::Result<usize>>, bytes: &[u8]) -> Result<(), Stop> {
        match read {
            Poll::Ready(Ok(0)) => {
                self.talk.ended();
                self.out.clear();
                self.sent = 0;
            }
            Poll::Ready(Ok(read)) => return self.heard(&bytes[..*read]),
            _ => return Ok(()),
        }
        self.judged()
    }

    /// So much the target has said to the program.
    pub(super) fn heard(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.talk.hear(bytes);
        self.talk.go_on(&self.refusals.policy, &mut self.out);
        self.judged()
    }
}

impl Pump {
    pub(in crate::link) fn police(&mut self, policed: Option<Box<Policed>>) {
        self.policed = policed;
    }

    /// As `write_local`, by way of the policy.
    pub(super) fn write_policed(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Stop> {
        let mut moved = false;
        loop {
            let (mediated, held) = self.mediate(cx, now)?;
            moved |= mediated;
            let Some(policed) = self.policed.as_mut().filter(|_| !held) else { return Ok(moved) };
            let mediates = self.replication.as_ref().is_some_and(Replication::mediates);
            if !mediates && !policed.flush(&self.local, &mut self.replication, now)? {
                match self.local.poll_write_ready(cx) {
                    Poll::Pending => return Ok(moved),
                    Poll::Ready(ready) => ready.map_err(Stop::Local)?,
                }
                continue;
            }
            let taken = policed.take(self.stream.pending()[0])?;
            if taken == 0 {
                break;
            }
            self.stream.pending_delivered(taken, now);
            moved = true;
        }
        let Some(policed) = &mut self.policed else { return Ok(moved) };
        if !policed.talk.is_through() {
            let ended = self.stream.peer_has_ended();
            let since = *policed.ends_since.get_or_insert(now);
            if ended && now.saturating_duration_since(since) >= LINK_DEAD {
                policed.talk.hurry();
                return Ok(true);
            }
            if !ended {
                policed.ends_since = None;
            }
            return Ok(moved);
        }
        policed.ends_since = None;
        if self.stream.end_is_due() {
            if !policed.talk.has_closed() {
                self.local.end().map_err(Stop::Local)?;
            }
            self.stream.end_delivered(now);
            moved = true;
        }
        Ok(moved)
    }

    /// Says what is said instead of the reply to a command that was refused, when its turn has come.
    pub(super) fn speak(&mut self) -> Result<bool, Stop> {
        let Some(policed) = &mut self.policed else { return Ok(false) };
        if self.stream.local_space().is_none() {
            return Ok(false);
        }
        let Some(refusal) = policed.talk.speak() else { return Ok(false) };
        self.stream.local_extend(&refusal.words);
        if refusal.closes {
            self.stream.local_ended();
            self.local.end().map_err(Stop::Local)?;
        }
        policed.talk.go_on(&policed.refusals.policy, &mut policed.out);
        policed.judged()?;
        Ok(true)
    }
}
