//! Cuts what a lane reads into replies and hands them to their senders, in runs.
//!
//! Consecutive replies to one session go to it as one slice of the read buffer, so an ordinary reply is never copied
//! between the node's socket and the client's. Refusals go one by one, with the command they answer.

use std::cell::Cell;
use std::rc::Rc;

use super::lane::{Flight, Inner};
use super::recipient::{Effect, Fate, Judged, Lost, Noted, Origin, Recipient};
use super::refusal::{Refusal, refusal};
use crate::limits;
use crate::metrics::{NodeHandle, Stamp, Tag, error_of};
use crate::resp::reply::ReplyScanner;

/// The read buffer of a lane: `| done | scanned part of a reply | not scanned | free |`.
pub(super) struct Replies {
    buf: Vec<u8>,
    /// First byte of the reply (or of a transaction's replies) being scanned that was not handed on.
    /// `start <= value <= at <= end`.
    start: usize,
    /// First byte of the value being scanned.
    value: usize,
    at: usize,
    end: usize,
    scanner: ReplyScanner,
    /// The reply being scanned passes in pieces, and at least one has gone.
    in_piece: bool,
    /// Bytes of it that have gone, and microseconds for which its client did not take more.
    gone: u64,
    pub(super) stalled: u32,
    /// Why a command of the transaction being answered was refused.
    refused: Option<Refusal>,
    /// Replies still to be told one by one: those that were in flight when one was refused.
    watched: usize,
}

/// One read of a lane: from whom, for whose count, and when. The clock is read once for all that came with it.
pub(super) struct Scene<'a> {
    pub(super) origin: Origin,
    counters: &'a NodeHandle,
    now: Stamp,
    /// Answers that are not counted yet, because those of a pipeline can be counted together.
    alike: Cell<Option<(Tag, u64)>>,
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        self.settle();
    }
}

impl<'a> Scene<'a> {
    pub(super) fn new(origin: Origin, counters: &'a NodeHandle, now: Stamp) -> Self {
        Self { origin, counters, now, alike: Cell::new(None) }
    }

    /// Counts what is not counted yet: before a client sees the answer.
    fn settle(&self) {
        if let Some((tag, count)) = self.alike.take() {
            self.counters.worker().answered(&tag, count, self.counters, self.now);
        }
    }

    /// One command was answered by so many bytes, of which `reply` are the last.
    #[inline]
    fn answered(&self, tag: &Tag, reply: &[u8], bytes: u64) -> bool {
        if !tag.counts() {
            return false;
        }
        let worker = self.counters.worker();
        match self.alike.get() {
            Some((other, count)) if tag.is_like(&other) => self.alike.set(Some((other, count + 1))),
            _ => {
                self.settle();
                self.alike.set(Some((*tag, 1)));
            }
        }
        if reply.first() == Some(&b'-') {
            worker.answered_with_error(tag, self.counters, reply);
        }
        tag.traced || worker.notable.is_slow(self.now.since(tag.arrived)) || worker.notable.is_big(bytes)
    }
}

/// Replies to one sender that stand back to back in the buffer.
struct Run {
    to: Rc<dyn Recipient>,
    first: u64,
    count: u32,
    start: usize,
    end: usize,
}

/// What became of a value.
enum Handed {
    /// It, and all of its command's replies before it, are done with.
    Whole,
    /// It waits for the rest of its transaction's replies.
    Part,
}

impl Run {
    fn deliver(self, origin: Origin, buf: &[u8]) {
        self.to.replies(origin, self.first, self.count, &buf[self.start..self.end]);
    }
}

impl Replies {
    pub(super) fn new() -> Self {
        Self {
            buf: Vec::new(),
            start: 0,
            value: 0,
            at: 0,
            end: 0,
            scanner: ReplyScanner::new(),
            in_piece: false,
            gone: 0,
            stalled: 0,
            refused: None,
            watched: 0,
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.buf.capacity()
    }

    pub(super) fn in_piece(&self) -> bool {
        self.in_piece
    }

    /// Where to read into: at least `limits::CLIENT_READ` bytes.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.buf.is_empty() {
            self.buf.resize(limits::LANE_READ, 0);
        }
        if self.start == self.end {
            (self.start, self.value, self.at, self.end) = (0, 0, 0, 0);
        } else if self.buf.len() - self.end < limits::CLIENT_READ {
            self.buf.copy_within(self.start..self.end, 0);
            self.value -= self.start;
            self.at -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.buf[self.end..]
    }
}

impl Inner {
    /// `n` bytes were read into `replies.room()`. An error means that the stream cannot be understood any more.
    pub(super) fn deliver(&mut self, n: usize, scene: &Scene<'_>) -> Result<(), String> {
        let origin = scene.origin;
        self.replies.end += n;
        let mut run: Option<Run> = None;
        let result = loop {
            let replies = &mut self.replies;
            if replies.at == replies.end {
                break Ok(());
            }
            let scanned = match replies.scanner.advance(&replies.buf[replies.at..replies.end]) {
                Ok(scanned) => scanned,
                Err(error) => break Err(format!("the node does not speak RESP: {error}")),
            };
            replies.at += scanned.consumed;
            if !scanned.done {
                let so_far = replies.at - replies.start;
                if so_far as u64 + replies.scanner.outstanding() > limits::GATHERED_REPLY as u64 {
                    if let Some(run) = run.take() {
                        run.deliver(origin, &replies.buf);
                    }
                    self.hand_piece(scene, false);
                }
                break Ok(());
            }
            match self.hand(&mut run, scene) {
                Ok(Handed::Whole) => self.replies.start = self.replies.at,
                Ok(Handed::Part) => {}
                Err(words) => break Err(words),
            }
            self.replies.value = self.replies.at;
        };
        scene.settle();
        if let Some(run) = run {
            run.deliver(origin, &self.replies.buf);
        }
        result
    }

    /// One complete value stands at `value..at`.
    fn hand(&mut self, run: &mut Option<Run>, scene: &Scene<'_>) -> Result<Handed, String> {
        let replies = &mut self.replies;
        let value = &replies.buf[replies.value..replies.at];
        if !replies.in_piece && value[0] == b'>' {
            // Nobody asked for push messages on a lane; they answer no command.
            return Ok(Handed::Whole);
        }
        let Some(front) = self.flights.front_mut() else {
            return Err(format!("the node sent what nobody asked for: {}", String::from_utf8_lossy(value).trim_end()));
        };
        if !self.log.has_sent(front.len as usize) {
            return Err("the node answered a command that it does not have".to_owned());
        }
        front.replies -= 1;
        let last = front.replies == 0;
        if replies.in_piece {
            self.hand_piece(scene, last);
            return Ok(Handed::Whole);
        }
        if value[0] == b'-' {
            replies.refused = replies.refused.or_else(|| refusal(value));
        }
        if last { Ok(self.hand_whole(run, scene)) } else { Ok(Handed::Part) }
    }

    /// All that answers the oldest command stands at `start..at`.
    fn hand_whole(&mut self, run: &mut Option<Run>, scene: &Scene<'_>) -> Handed {
        let origin = scene.origin;
        let replies = &mut self.replies;
        let reply = &replies.buf[replies.start..replies.at];
        let Some(Flight { to, sequence, len, effect, tag, .. }) = self.flights.pop_front() else {
            return Handed::Whole;
        };
        let refused = replies.refused.take();
        if refused.is_some() {
            // Later commands of the same session were sent in the belief that this one would be executed.
            replies.watched = self.flights.len() + 1;
        }
        let Some(to) = to else {
            self.log.release(len as usize);
            replies.watched = replies.watched.saturating_sub(1);
            return Handed::Whole;
        };
        if scene.answered(&tag, reply, reply.len() as u64) {
            let (request, bytes) = (self.log.oldest(len as usize), reply.len() as u64);
            let (sequence, error, pending) = (Some(sequence), error_of(reply), replies.watched > 0);
            to.noted(origin, &Noted { sequence, request, tag, now: scene.now, stalled: 0, bytes, error, pending });
        }
        if replies.watched > 0 {
            replies.watched -= 1;
            scene.settle();
            if let Some(run) = run.take() {
                run.deliver(origin, &replies.buf);
            }
            let request = self.log.oldest(len as usize);
            to.judged(origin, Judged { sequence, request, effect, reply, refusal: refused, tag });
            self.log.release(len as usize);
            return Handed::Whole;
        }
        self.log.release(len as usize);
        match run {
            Some(run) if Rc::ptr_eq(&run.to, &to) && sequence == run.first + u64::from(run.count) => {
                run.count += 1;
                run.end = replies.at;
            }
            _ => {
                let next = Run { to, first: sequence, count: 1, start: replies.start, end: replies.at };
                if let Some(run) = run.replace(next) {
                    scene.settle();
                    run.deliver(origin, &replies.buf);
                }
            }
        }
        Handed::Whole
    }

    /// Hands on what was scanned of a reply that is too large to be gathered.
    fn hand_piece(&mut self, scene: &Scene<'_>, last: bool) {
        let origin = scene.origin;
        let replies = &mut self.replies;
        let piece = &replies.buf[replies.start..replies.at];
        replies.gone += piece.len() as u64;
        replies.start = replies.at;
        replies.value = replies.at;
        replies.in_piece = !last;
        // What the client has begun to get cannot be sent again.
        replies.refused = None;
        let Some(flight) = self.flights.front() else {
            return;
        };
        if flight.to.is_none() && last {
            (replies.gone, replies.stalled) = (0, 0);
        }
        let (to, sequence, len, tag) = (flight.to.clone(), flight.sequence, flight.len as usize, flight.tag);
        if let Some(to) = &to {
            if last {
                let (bytes, stalled) = (std::mem::take(&mut replies.gone), std::mem::take(&mut replies.stalled));
                if scene.answered(&tag, &[], bytes) {
                    let request = self.log.oldest(len);
                    let (sequence, error, pending) = (Some(sequence), None, false);
                    to.noted(origin, &Noted { sequence, request, tag, now: scene.now, stalled, bytes, error, pending });
                }
                scene.settle();
            }
            to.piece(origin, sequence, piece, last);
        }
        if last {
            self.flights.pop_front();
            self.log.release(len);
            replies.watched = replies.watched.saturating_sub(1);
        } else if let Some(to) = to.filter(|to| to.backlog() > limits::OUTPUT_PAUSE) {
            self.let_others_pass(&to);
            self.clogged = Some(to);
            self.clogged_since = Some(scene.now);
        }
    }

    /// A slow client is in the way: reads behind its reply are given back, to be sent over another lane. Where writes
    /// wait too nobody is let past: a session's read must not overtake the write it was sent before.
    fn let_others_pass(&mut self, slow: &Rc<dyn Recipient>) {
        if self.flights.iter().any(|flight| flight.effect == Effect::Write) {
            return;
        }
        let mut offset = 0;
        for flight in &mut self.flights {
            let len = flight.len as usize;
            let other = flight.to.take_if(|to| !Rc::ptr_eq(to, slow));
            if let Some(to) = other {
                let request = self.log.at(offset, len);
                let (sequence, tag, fate) = (flight.sequence, flight.tag, Fate::NotSent);
                to.lost(Lost { sequence, request, effect: Effect::Read, fate, tag });
            }
            offset += len;
        }
    }
}
