//! Replies that wait until replicas have what they tell of: the gate between a session's replies and its client.
//!
//! On a listener with `durable` the reply to a write is kept back, and whatever comes behind it, until so many replicas have
//! the write, or its time is over: then the client gets an error in its place. Everything that goes to the client goes
//! through the gate while there is one, so the order stays. A session without such a write has no gate.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::replay::failure_of;
use super::{Inner, Session};
use crate::assurance::Verdict;
use crate::backend::assure::Wait;
use crate::backend::lane::Lane;
use crate::backend::recipient::{Effect, Errand, Judged, Lost, Noted, Origin, Recipient};
use crate::command;
use crate::limits;
use crate::resp::reply::ReplyScanner;
use crate::resp::request::arguments;
use crate::topology::NodeId;

/// A write's reply, not yet given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    wait: Wait,
    since: Instant,
    /// As many as the transaction has commands.
    replies: u32,
}

#[derive(Debug)]
struct Piece {
    len: usize,
    /// `None`: it only stands behind one that waits.
    written: Option<Written>,
}

#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Replies to writes that have come, and are not yet in their turn.
    early: Vec<(u64, Written)>,
    /// What is about to be emitted is this.
    pub(super) next: Option<Written>,
    /// `bytes[head..]` are the pieces' bytes, back to back.
    bytes: Vec<u8>,
    head: usize,
    pieces: VecDeque<Piece>,
    /// The last piece is part of a reply of which more comes.
    open: bool,
    /// The pool wakes the session.
    armed: bool,
}

impl Gate {
    pub(super) fn bytes(&self) -> usize {
        let pieces = self.pieces.capacity() * size_of::<Piece>();
        self.bytes.capacity() + pieces + self.early.capacity() * size_of::<(u64, Written)>()
    }

    fn is_idle(&self) -> bool {
        self.pieces.is_empty() && self.early.is_empty() && self.next.is_none() && !self.open
    }

    fn push(&mut self, bytes: &[u8], written: Option<Written>) {
        self.bytes.extend_from_slice(bytes);
        match self.pieces.back_mut() {
            // Of a reply that comes in pieces the client gets all or nothing; what waits for nothing itself needs no seams.
            Some(last) if self.open || (last.written.is_none() && written.is_none()) => last.len += bytes.len(),
            _ => self.pieces.push_back(Piece { len: bytes.len(), written }),
        }
    }

    fn take(&mut self) -> (usize, usize, Option<Written>) {
        let Some(Piece { len, written }) = self.pieces.pop_front() else {
            return (self.head, self.head, None);
        };
        let start = self.head;
        self.head += len;
        (start, self.head, written)
    }

    fn tidy(&mut self) {
        if self.head == self.bytes.len() {
            self.bytes.clear();
            self.head = 0;
        } else if self.head > limits::KEPT_BUFFER && self.head * 2 > self.bytes.len() {
            // Moves at most as many bytes as were taken since the last move.
            self.bytes.drain(..self.head);
            self.head = 0;
        }
    }
}

impl Inner {
    /// A reply to a write has come, over a lane.
    fn note_written(&mut self, sequence: u64, written: Written) {
        self.gate.get_or_insert_default().early.push((sequence, written));
    }

    /// What is emitted next is the reply to this command.
    pub(super) fn in_turn(&mut self, sequence: u64) {
        if let Some(gate) = &mut self.gate {
            let at = gate.early.iter().position(|(early, _)| *early == sequence);
            gate.next = at.map(|at| gate.early.swap_remove(at).1);
        }
    }

    /// Keeps back what the client may not have yet; `true`: it is kept.
    pub(super) fn kept_back(&mut self, bytes: &[u8]) -> bool {
        let Some(gate) = &mut self.gate else {
            return false;
        };
        let written = gate.next.take();
        if self.muted || self.dead {
            // Nobody is told of it.
            return true;
        }
        let keeps = written.is_some() || !gate.pieces.is_empty();
        if keeps {
            gate.push(bytes, written);
        }
        keeps
    }

    /// A message, or an answer that CLIENT REPLY does not silence.
    pub(super) fn kept_back_unmuted(&mut self, bytes: &[u8]) -> bool {
        let gate = self.gate.as_mut().filter(|gate| !gate.pieces.is_empty());
        gate.map(|gate| gate.push(bytes, None)).is_some()
    }

    /// Of the reply that was just emitted more comes, or does not.
    pub(super) fn more_comes(&mut self, more: bool) {
        if let Some(gate) = &mut self.gate {
            gate.open = more && gate.pieces.back().is_some_and(|piece| piece.written.is_some());
        }
    }

    pub(super) fn is_keeping_back(&self) -> bool {
        self.gate.as_ref().is_some_and(|gate| !gate.pieces.is_empty())
    }

    /// No more shall be asked for: it is about to end, or so much is kept back.
    pub(super) fn takes_no_more(&self) -> bool {
        let full =
            |gate: &Gate| gate.pieces.len() >= limits::IN_FLIGHT || gate.bytes.len() - gate.head > limits::OUTPUT_PAUSE;
        self.closing || self.gate.as_ref().is_some_and(|gate| full(gate))
    }

    /// Bytes of a single reply that is longer than what is asked for at once.
    pub(super) fn kept_of_one(&self) -> usize {
        self.gate.as_ref().filter(|gate| gate.open).map_or(0, |gate| gate.bytes.len() - gate.head)
    }
}

impl Session {
    /// How many replicas shall have this client's writes.
    pub(super) fn durable(&self) -> usize {
        self.context.listener().writes.durable
    }

    /// Fewer replicas than that are there: writes are refused before they are sent.
    pub(super) fn lacks_replicas(&self) -> bool {
        self.durable() > 0 && self.context.pool.lacks_replicas(self.durable())
    }

    /// Where that is so: whether this is a write, which is refused then.
    pub(super) fn refuses_write(&self, raw: &[u8]) -> bool {
        self.refuses_name(arguments(raw).next().unwrap_or_default())
    }

    pub(super) fn refuses_name(&self, name: &[u8]) -> bool {
        let refused = command::leaves_data(name);
        if refused {
            self.context.workspace.counters.writes_refused.increment();
        }
        refused
    }

    pub(super) fn written(&self, node: NodeId, generation: u64, replies: u32) -> Written {
        let since = Instant::now();
        let deadline = since + self.context.listener().writes.durable_timeout;
        Written { wait: Wait { node, generation, deadline }, since, replies }
    }

    /// Sees to it that the session is woken when the reply in front may be given.
    pub(super) fn arm(&self, inner: &mut Inner) {
        if let Some(gate) = &mut inner.gate
            && !gate.armed
            && let Some(Piece { written: Some(written), .. }) = gate.pieces.front()
            && let Some(waker) = &*self.waker.borrow()
        {
            gate.armed = true;
            self.context.pool.wait_for_assurance(self.id, written.wait, self.durable(), waker);
        }
    }

    /// Gives the client what it may have now.
    pub(super) fn release(&self, inner: &mut Inner) {
        let Some(mut gate) = inner.gate.take() else {
            return;
        };
        gate.armed = false;
        let mut ready = self.context.workspace.buffer();
        while let Some(Piece { written, .. }) = gate.pieces.front() {
            if gate.open && gate.pieces.len() == 1 {
                break;
            }
            let error = match written.map(|written| self.judge_written(&written)) {
                None | Some(Told::Reply) => None,
                Some(Told::Error(words)) => Some(words),
                Some(Told::NotYet) => break,
            };
            let (start, end, written) = gate.take();
            match (error, written) {
                (Some(words), Some(written)) => ready.extend(failure_of(written.replies, &words)),
                _ => ready.extend_from_slice(&gate.bytes[start..end]),
            }
        }
        gate.tidy();
        if !gate.is_idle() {
            inner.gate = Some(gate);
            self.arm(inner);
        } else {
            // It may have been woken for something else.
            self.context.pool.stop_waiting_for_assurance(self.id);
        }
        inner.send_now(&ready, &self.context);
        self.context.workspace.give_back(ready);
    }

    fn judge_written(&self, written: &Written) -> Told {
        let counters = &self.context.workspace.counters;
        let Written { wait, since, .. } = written;
        let told = match self.context.pool.verdict(wait, self.durable()) {
            Verdict::Assured => {
                counters.writes_assured.increment();
                Told::Reply
            }
            Verdict::Unknown => {
                counters.writes_lost.increment();
                Told::Error(self.unknown_error(wait.node))
            }
            Verdict::Pending(having) if wait.deadline <= Instant::now() => {
                counters.writes_not_durable.increment();
                Told::Error(self.not_durable_error(wait.node, having))
            }
            Verdict::Pending(_) => return Told::NotYet,
        };
        counters.assurance_wait_us.add(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX));
        told
    }

    fn not_durable_error(&self, node: NodeId, having: usize) -> String {
        let (address, wanted) = (self.address_of(node), self.durable());
        let within: Duration = self.context.listener().writes.durable_timeout;
        let seconds = within.as_secs_f64();
        format!(
            "NOTDURABLE written on {address}, but only {having} of {wanted} replicas confirmed it within {seconds} s"
        )
    }

    fn unknown_error(&self, node: NodeId) -> String {
        let (address, wanted) = (self.address_of(node), self.durable());
        format!(
            "NOTDURABLE written on {address}, but the master changed before {wanted} replicas confirmed it: nobody can \
             say whether the new one has it"
        )
    }

    fn address_of(&self, node: NodeId) -> String {
        let snapshot = self.context.pool.snapshot();
        snapshot.node(node).map_or_else(|| "a node that has left".to_owned(), |node| node.address.to_string())
    }

    /// Appends a command to a lane; the reply to a write is given when the write is assured. `to` is the session, or stands
    /// before it.
    #[inline]
    pub(super) fn hand_over<R: Recipient + 'static>(
        self: &Rc<Self>,
        lane: &Lane,
        to: &Rc<R>,
        sequence: u64,
        raw: &[u8],
        errand: Errand,
    ) {
        if errand.effect == Effect::Write && self.durable() > 0 && leaves_data(raw) {
            let to = Rc::clone(to) as Rc<dyn Recipient>;
            let replies = errand.replies;
            let assured = Assured { session: Rc::clone(self), to, replies, begun: std::cell::Cell::new(false) };
            lane.submit(&Rc::new(assured), sequence, raw, errand);
        } else {
            lane.submit(to, sequence, raw, errand);
        }
    }
}

/// What a client is told of its write.
enum Told {
    NotYet,
    Reply,
    Error(String),
}

/// Of a command that may change something.
fn leaves_data(raw: &[u8]) -> bool {
    arguments(raw).next().is_none_or(command::leaves_data)
}

/// In the words of servers with `min-replicas-to-write`: on some of their clients this works like "try again".
pub(super) const TOO_FEW_REPLICAS: &str = "NOREPLICAS Not enough good replicas to write.";

/// Stands between a lane and a session for one write.
struct Assured {
    session: Rc<Session>,
    to: Rc<dyn Recipient>,
    replies: u32,
    /// Part of its reply has come.
    begun: std::cell::Cell<bool>,
}

impl Assured {
    /// Its reply is about to be handed on. An error needs no assurance: of a transaction, EXEC's.
    fn came(&self, origin: Origin, sequence: u64, reply: &[u8]) {
        if !last_value(reply, self.replies).starts_with(b"-") {
            let inner = &mut *self.session.inner.borrow_mut();
            inner.note_written(sequence, self.session.written(origin.node, origin.generation, self.replies));
        }
    }

    fn arm(&self) {
        self.session.arm(&mut self.session.inner.borrow_mut());
    }
}

/// The last of so many values; all there is when it is not complete.
fn last_value(bytes: &[u8], count: u32) -> &[u8] {
    let mut rest = bytes;
    for _ in 1..count {
        match ReplyScanner::new().advance(rest) {
            Ok(scanned) if scanned.done => rest = &rest[scanned.consumed..],
            _ => return rest,
        }
    }
    rest
}

impl Recipient for Assured {
    fn replies(&self, origin: Origin, first: u64, count: u32, bytes: &[u8]) {
        self.came(origin, first, bytes);
        self.to.replies(origin, first, count, bytes);
        self.arm();
    }

    fn piece(&self, origin: Origin, sequence: u64, bytes: &[u8], last: bool) {
        if !self.begun.replace(true) {
            self.came(origin, sequence, bytes);
        }
        self.to.piece(origin, sequence, bytes, last);
        self.arm();
    }

    fn judged(&self, origin: Origin, judged: Judged<'_>) {
        if judged.refusal.is_none() {
            self.came(origin, judged.sequence, judged.reply);
        }
        self.to.judged(origin, judged);
        self.arm();
    }

    fn lost(&self, lost: Lost<'_>) {
        self.to.lost(lost);
    }

    fn noted(&self, origin: Origin, noted: &Noted<'_>) {
        self.to.noted(origin, noted);
    }

    fn backlog(&self) -> usize {
        self.to.backlog()
    }

    fn wake_when_drained(&self, waker: &Waker, others: bool) {
        self.to.wake_when_drained(waker, others);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_several_replies() {
        let replies = b"+OK\r\n+QUEUED\r\n*1\r\n:1\r\n";
        assert_eq!(last_value(replies, 3), b"*1\r\n:1\r\n");
        assert_eq!(last_value(b"+OK\r\n+QUEUED\r\n-EXECABORT no\r\n", 3), b"-EXECABORT no\r\n");
        assert_eq!(last_value(b":1\r\n", 1), b":1\r\n");
        assert_eq!(last_value(b"+OK\r\n*2\r\n:1", 2), b"*2\r\n:1");
    }
}
