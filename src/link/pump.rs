//! Moves bytes between a program's socket and the wire, as the stream's machine says.
//!
//! One pump is one connection, at either end. Where there is no wire it goes on reading the program, as far as the replay
//! buffer holds, and handing on what had come. It must never decide what happens when one of the two breaks: it says so and
//! stops.

mod policed;
mod replicating;

pub(super) use policed::{Policed, Refusals};

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use self::replicating::{Side, paid, saw};
use super::counters::LinkCounters;
use super::frame::Reset;
use super::replication::Replication;
use super::stream::{Stream, Violation};
use super::wire::{Scratch, Wire};
use crate::handover::Replica;
use crate::limits::{LINK_AHEAD, LINK_CHUNK};
use crate::net::Socket;
use crate::tls::pinned;

/// Turns before others of the thread have theirs: some 2 MiB.
const TURNS: u32 = 4;

/// Reads of the local side before what they gave is sent: as much as is encrypted ahead. A read that did not fill its piece is not
/// followed by another system call.
const READS: usize = LINK_AHEAD / LINK_CHUNK;

/// Before something that is due and cannot be done is tried again.
const PATIENCE: Duration = Duration::from_millis(20);

/// Why the pump stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// Both directions have ended, and both ends know.
    Finished,
    /// The wire broke. The stream may go on over another one.
    Broken(String),
    /// The program's connection broke.
    Local(io::Error),
    /// The other end gave the stream up.
    Reset(Reset),
    /// The other end does not keep to the protocol.
    Violation(Violation),
    /// The program said what must not pass.
    Refused(String),
}

pub(super) struct Pump {
    pub(super) stream: Stream,
    pub(super) local: Socket,
    counters: Arc<LinkCounters>,
    scratch: Rc<RefCell<Scratch>>,
    timer: Pin<Box<Sleep>>,
    /// What a replica says first, and is told.
    replication: Option<Replication>,
    /// When data that has to wait for the link's rate may go on.
    paused: Option<Instant>,
    /// At an exit that does not let every command through.
    policed: Option<Box<Policed>>,
    /// What of the stream's replay buffer the counters know.
    counted: u64,
}

impl Pump {
    pub(super) fn new(
        stream: Stream,
        local: Socket,
        counters: Arc<LinkCounters>,
        scratch: Rc<RefCell<Scratch>>,
        replication: Option<Replication>,
    ) -> Self {
        let timer = Box::pin(tokio::time::sleep_until(stream.deadline().into()));
        Self { stream, local, counters, scratch, timer, replication, paused: None, policed: None, counted: 0 }
    }

    /// Whether all that is known of it can be told to another process now.
    pub(super) fn may_move(&self) -> bool {
        let replica = self.replication.as_ref();
        let known = replica.is_some_and(|replica| replica.carried().is_some());
        let told = self.stream.is_untouched() || known || !replica.is_some_and(Replication::stands_between);
        let policed = self.policed.as_ref();
        let judged = self.stream.is_untouched() || policed.is_none_or(|policed| policed.is_replica() && known);
        told && judged && !self.stream.is_over()
    }

    /// What is known of the program as a replica.
    pub(super) fn replica(&self) -> Option<Replica> {
        self.replication.as_ref().and_then(Replication::carried)
    }

    /// Goes on until something ends it. It may be dropped and called again.
    pub(super) async fn run(&mut self, mut wire: Option<&mut Wire>) -> Stop {
        poll_fn(|cx| self.poll(cx, wire.as_deref_mut())).await
    }

    fn poll(&mut self, cx: &mut Context<'_>, mut wire: Option<&mut Wire>) -> Poll<Stop> {
        for _ in 0..TURNS {
            match self.turn(cx, wire.as_deref_mut()) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(stop) => {
                    self.count();
                    return Poll::Ready(stop);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Everything once; `false` when nothing could be done and whatever may change that will wake the task.
    fn turn(&mut self, cx: &mut Context<'_>, mut wire: Option<&mut Wire>) -> Result<bool, Stop> {
        let now = Instant::now();
        let mut moved = false;
        match wire.as_deref_mut() {
            Some(wire) => moved |= self.read_wire(cx, wire, now)?,
            None => self.stream.detach(),
        }
        moved |= self.write_local(cx, now)?;
        for _ in 0..READS {
            if !self.read_local(cx, now)? {
                break;
            }
            moved = true;
        }
        moved |= self.speak()?;
        if let Some(wire) = wire {
            moved |= self.write_wire(cx, wire, now)?;
            if self.stream.is_dead(now) {
                return Err(Stop::Broken("nothing came from the other end for 5 s".to_owned()));
            }
            moved |= self.poll_timer(cx, now);
        }
        self.count();
        Ok(moved)
    }

    fn read_wire(&mut self, cx: &mut Context<'_>, wire: &mut Wire, now: Instant) -> Result<bool, Stop> {
        let scratch = &mut *self.scratch.borrow_mut();
        let read = match wire.poll_read(cx, scratch) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(0)) => return Err(Stop::Broken("the other end closed it".to_owned())),
            Poll::Ready(Ok(read)) => read,
            Poll::Ready(Err(error)) => return Err(Stop::Broken(words(&error))),
        };
        self.counters.received(read);
        let direct = self.policed.is_none();
        take(&mut self.stream, &self.local, scratch.plain(), now, &mut self.replication, direct)?;
        Ok(true)
    }

    /// What came over the wire before the pump had it.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.counters.received(bytes.len());
        let direct = self.policed.is_none();
        take(&mut self.stream, &self.local, [bytes], Instant::now(), &mut self.replication, direct)
    }

    fn write_local(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Stop> {
        if self.policed.is_some() {
            return self.write_policed(cx, now);
        }
        let (mut moved, held) = self.mediate(cx, now)?;
        if held {
            return Ok(moved);
        }
        loop {
            let room = self.room(Side::Wire, now);
            let [first, second] = self.stream.pending().map(|part| &part[..part.len().min(room)]);
            if first.is_empty() {
                break;
            }
            // A first part that was cut short is not followed by the second.
            let second = &second[..second.len().min(room - first.len())];
            match self.local.try_write_vectored(&[IoSlice::new(first), IoSlice::new(second)]) {
                Ok(written) => {
                    if let Some(replication) = &self.replication {
                        paid(&self.counters, replication, Side::Wire, written, now);
                    }
                    saw(&mut self.replication, &[IoSlice::new(first), IoSlice::new(second)], written, now);
                    self.stream.pending_delivered(written, now);
                    moved = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self.local.poll_write_ready(cx) {
                    Poll::Pending => return Ok(moved),
                    Poll::Ready(ready) => ready.map_err(Stop::Local)?,
                },
                Err(error) => return Err(Stop::Local(error)),
            }
        }
        if self.stream.end_is_due() {
            self.local.end().map_err(Stop::Local)?;
            self.stream.end_delivered(now);
            moved = true;
        }
        Ok(moved)
    }

    fn read_local(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Stop> {
        if self.replication.as_ref().is_some_and(Replication::mediates) {
            return self.read_handshake(cx, now);
        }
        let room = self.room(Side::Local, now);
        let Some(space) = self.stream.local_space().filter(|_| room > 0) else {
            return Ok(false);
        };
        let most = space.len().min(room);
        let read = self.local.poll_read(cx, &mut space[..most]);
        if let (Some(replication), Poll::Ready(Ok(read @ 1..))) = (&mut self.replication, &read) {
            paid(&self.counters, replication, Side::Local, *read, now);
            replication.saw_from_local(&space[..*read], now);
        }
        if let Some(policed) = &mut self.policed {
            policed.hear(&read, &space[..most])?;
        }
        self.local_said(read)
    }

    fn local_said(&mut self, read: Poll<io::Result<usize>>) -> Result<bool, Stop> {
        match read {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(0)) => self.stream.local_ended(),
            Poll::Ready(Ok(read)) => self.stream.local_read(read),
            Poll::Ready(Err(error)) => return Err(Stop::Local(error)),
        }
        Ok(true)
    }

    fn write_wire(&mut self, cx: &mut Context<'_>, wire: &mut Wire, now: Instant) -> Result<bool, Stop> {
        let broken = |error: io::Error| Stop::Broken(words(&error));
        let mut moved = false;
        loop {
            match wire.poll_flush(cx) {
                Poll::Pending => return Ok(moved),
                Poll::Ready(sent) => sent.map_err(broken)?,
            }
            if self.stream.is_finished() {
                return Err(Stop::Finished);
            }
            // An acknowledgement travels in the record of the data that follows it: a request and its reply are a record each.
            let control = self.stream.control(now).unwrap_or_default();
            let mut encrypted = match self.stream.data(now) {
                Some(outgoing) => {
                    let [header, first, second] = outgoing.parts();
                    wire.encrypt(&[&control, header, first, second]).map_err(broken)?
                }
                None if control.is_empty() => 0,
                None => wire.encrypt(&[&control]).map_err(broken)?,
            };
            while encrypted < LINK_AHEAD
                && let Some(outgoing) = self.stream.data(now)
            {
                encrypted += wire.encrypt(&outgoing.parts()).map_err(broken)?;
            }
            if encrypted == 0 {
                if self.stream.is_idle(now) {
                    wire.release();
                }
                return Ok(moved);
            }
            self.counters.sent(encrypted);
            moved = true;
        }
    }

    /// Wakes the task when something is due. Moved only when it has fired or is too late: a deadline that has gone up
    /// meanwhile costs one idle turn and not a change of the timer for every message.
    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        // Something may be due that cannot be done, because the wire takes nothing: that must not spin.
        let deadline = self.stream.deadline().max(now + PATIENCE);
        let deadline = self.paused.map_or(deadline, |until| until.min(deadline)).into();
        if self.timer.is_elapsed() || deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(cx).is_ready()
    }

    fn count(&mut self) {
        if let Some(time) = self.stream.round_trip() {
            self.counters.round_trip(time);
        }
        if let Some(shrunk) = self.stream.shrunk() {
            self.counters.shrunk(shrunk);
        }
        let now = self.stream.unacknowledged();
        if now != self.counted {
            self.counters.unacknowledged(self.counted, now);
            self.counted = now;
        }
    }
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it was closed without a goodbye".to_owned(),
        io::ErrorKind::ConnectionReset => "it was reset".to_owned(),
        _ => pinned::trouble(error),
    }
}

/// Not `direct`: what comes waits for [`Pump::write_local`], which has more to do with it.
fn take<'a>(
    stream: &mut Stream,
    local: &Socket,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    now: Instant,
    replication: &mut Option<Replication>,
    direct: bool,
) -> Result<(), Stop> {
    let mut failed = None;
    let mut deliver = |slices: &[IoSlice<'_>]| {
        if !direct || replication.as_ref().is_some_and(replicating::holds_back) {
            return 0;
        }
        match local.try_write_vectored(slices) {
            Ok(written) => {
                saw(replication, slices, written, now);
                written
            }
            Err(error) => {
                failed = Some(error).filter(|error| error.kind() != io::ErrorKind::WouldBlock);
                0
            }
        }
    };
    let taken = stream.incoming(pieces, now, &mut deliver);
    if let Some(reset) = stream.was_reset() {
        return Err(Stop::Reset(reset.clone()));
    }
    taken.map_err(Stop::Violation)?;
    failed.map_or(Ok(()), |error| Err(Stop::Local(error)))
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.counters.unacknowledged(self.counted, 0);
    }
}
