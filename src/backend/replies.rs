//! Cuts what a lane reads into replies and hands them to their senders, in runs.
//!
//! Consecutive replies to one session go to it as one slice of the read buffer, so an ordinary reply is never copied
//! between the node's socket and the client's. Refusals go one by one, with the command they answer.

use std::rc::Rc;

use super::lane::{Flight, Inner};
use super::recipient::{Effect, Fate, Judged, Lost, Origin, Recipient};
use super::refusal::refusal;
use crate::limits;
use crate::resp::reply::ReplyScanner;

/// The read buffer of a lane: `| done | scanned part of a reply | not scanned | free |`.
pub(super) struct Replies {
    buf: Vec<u8>,
    /// First byte of the reply being scanned that was not handed on. `start <= at <= end`.
    start: usize,
    at: usize,
    end: usize,
    scanner: ReplyScanner,
    /// The reply being scanned passes in pieces, and at least one has gone.
    in_piece: bool,
    /// Replies still to be told one by one: those that were in flight when one was refused.
    watched: usize,
}

/// Replies to one sender that stand back to back in the buffer.
struct Run {
    to: Rc<dyn Recipient>,
    first: u64,
    count: u32,
    start: usize,
    end: usize,
}

impl Run {
    fn deliver(self, origin: Origin, buf: &[u8]) {
        self.to.replies(origin, self.first, self.count, &buf[self.start..self.end]);
    }
}

impl Replies {
    pub(super) fn new() -> Self {
        Self { buf: Vec::new(), start: 0, at: 0, end: 0, scanner: ReplyScanner::new(), in_piece: false, watched: 0 }
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
            (self.start, self.at, self.end) = (0, 0, 0);
        } else if self.buf.len() - self.end < limits::CLIENT_READ {
            self.buf.copy_within(self.start..self.end, 0);
            self.at -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.buf[self.end..]
    }
}

impl Inner {
    /// `n` bytes were read into `replies.room()`. An error means that the stream cannot be understood any more.
    pub(super) fn deliver(&mut self, n: usize, origin: Origin) -> Result<(), String> {
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
                    self.hand_piece(origin, false);
                }
                break Ok(());
            }
            if let Err(words) = self.hand(&mut run, origin) {
                break Err(words);
            }
            self.replies.start = self.replies.at;
        };
        if let Some(run) = run {
            run.deliver(origin, &self.replies.buf);
        }
        result
    }

    /// One complete reply stands at `start..at`.
    fn hand(&mut self, run: &mut Option<Run>, origin: Origin) -> Result<(), String> {
        let replies = &mut self.replies;
        if replies.in_piece {
            self.hand_piece(origin, true);
            return Ok(());
        }
        let reply = &replies.buf[replies.start..replies.at];
        if reply[0] == b'>' {
            // Nobody asked for push messages on a lane; they answer no command.
            return Ok(());
        }
        let Some(flight) = self.flights.pop_front() else {
            return Err(format!("the node sent what nobody asked for: {}", String::from_utf8_lossy(reply).trim_end()));
        };
        let Flight { to, sequence, len, effect } = flight;
        let refused = if reply[0] == b'-' { refusal(reply) } else { None };
        if refused.is_some() {
            // Later commands of the same session were sent in the belief that this one would be executed.
            replies.watched = self.flights.len() + 1;
        }
        let Some(to) = to else {
            self.log.release(len as usize);
            replies.watched = replies.watched.saturating_sub(1);
            return Ok(());
        };
        if replies.watched > 0 {
            replies.watched -= 1;
            if let Some(run) = run.take() {
                run.deliver(origin, &replies.buf);
            }
            let request = self.log.oldest(len as usize);
            to.judged(origin, Judged { sequence, request, effect, reply, refusal: refused });
            self.log.release(len as usize);
            return Ok(());
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
                    run.deliver(origin, &replies.buf);
                }
            }
        }
        Ok(())
    }

    /// Hands on what was scanned of a reply that is too large to be gathered.
    fn hand_piece(&mut self, origin: Origin, last: bool) {
        let replies = &mut self.replies;
        let piece = &replies.buf[replies.start..replies.at];
        replies.start = replies.at;
        replies.in_piece = !last;
        let Some(flight) = self.flights.front() else {
            return;
        };
        let (to, sequence, len) = (flight.to.clone(), flight.sequence, flight.len as usize);
        if let Some(to) = &to {
            to.piece(origin, sequence, piece, last);
        }
        if last {
            self.flights.pop_front();
            self.log.release(len);
            replies.watched = replies.watched.saturating_sub(1);
        } else if let Some(to) = to.filter(|to| to.backlog() > limits::OUTPUT_PAUSE) {
            self.let_others_pass(&to);
            self.clogged = Some(to);
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
                to.lost(Lost { sequence: flight.sequence, request, effect: Effect::Read, fate: Fate::NotSent });
            }
            offset += len;
        }
    }
}
