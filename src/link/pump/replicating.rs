//! What the pump does besides for a connection that may be a replica's: takes both sides' bytes through `Replication` until
//! that has seen enough, shows it afterwards what passes, and lets the data of a full sync wait for the link's rate.
//!
//! For any other connection none of this costs more than a look at an `Option`.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};
use std::time::Instant;

use super::{Policed, Pump, Stop};
use crate::link::counters::LinkCounters;
use crate::link::replication::Replication;
use crate::link::stream::Stream;

/// Read at a time while the beginning of a connection is looked at.
const HANDSHAKE: usize = 4096;

/// Where bytes come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Local,
    Wire,
}

impl Pump {
    /// Takes what came over the wire through the replication, and hands on what that has for either side. Whether anything
    /// moved, and whether nothing else may be written to the local side now.
    pub(super) fn mediate(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(bool, bool), Stop> {
        let Some(replication) = self.replication.as_mut().filter(|replication| !replication.is_over()) else {
            self.replication = None;
            return Ok((false, false));
        };
        let mut moved = false;
        while replication.mediates() {
            let first = incoming(&self.stream, self.policed.as_deref());
            let taken = if first.is_empty() { 0 } else { replication.wire_said(first, now) };
            if taken == 0 {
                break;
            }
            match &mut self.policed {
                Some(policed) => policed.went(taken),
                None => self.stream.pending_delivered(taken, now),
            }
            moved = true;
        }
        let said_all = self.policed.as_ref().is_none_or(|policed| policed.has_said_all());
        if replication.mediates() && self.stream.end_is_due() && said_all {
            replication.wire_ended();
        }
        let for_wire = replication.take_for_wire();
        if !for_wire.is_empty() {
            if let Some(policed) = &mut self.policed {
                policed.heard(&for_wire)?;
            }
            self.stream.local_extend(&for_wire);
            moved = true;
        }
        while !replication.for_local().is_empty() {
            match self.local.try_write_vectored(&[IoSlice::new(replication.for_local())]) {
                Ok(written) => {
                    replication.local_took(written);
                    moved = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self.local.poll_write_ready(cx) {
                    Poll::Pending => return Ok((moved, true)),
                    Poll::Ready(ready) => ready.map_err(Stop::Local)?,
                },
                Err(error) => return Err(Stop::Local(error)),
            }
        }
        // What came while the master is asked waits.
        let held = replication.mediates() && !incoming(&self.stream, self.policed.as_deref()).is_empty();
        Ok((moved, held))
    }

    pub(super) fn read_handshake(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Stop> {
        let Some(replication) = self.replication.as_mut().filter(|replication| replication.reads_local()) else {
            return Ok(false);
        };
        if self.stream.local_space().is_none() {
            return Ok(false);
        }
        let mut scratch = self.scratch.borrow_mut();
        let buffer = &mut scratch.bytes()[..HANDSHAKE];
        let read = self.local.poll_read(cx, buffer);
        match read {
            Poll::Ready(Ok(0)) => replication.local_ended(),
            Poll::Ready(Ok(read)) => replication.local_said(&buffer[..read], now),
            _ => {}
        }
        drop(scratch);
        let for_wire = replication.take_for_wire();
        if let Some(policed) = &mut self.policed {
            policed.heard(&for_wire)?;
            if matches!(read, Poll::Ready(Ok(0))) {
                policed.hear(&read, &[])?;
            }
        }
        self.stream.local_extend(&for_wire);
        match read {
            Poll::Ready(Ok(1..)) => Ok(true),
            read => self.local_said(read),
        }
    }

    /// How much of what comes from this side may go on now.
    pub(super) fn room(&mut self, side: Side, now: Instant) -> usize {
        let Some((rate, of_local)) = self.replication.as_ref().and_then(Replication::paced) else {
            self.paused = None;
            return usize::MAX;
        };
        if of_local != (side == Side::Local) {
            return usize::MAX;
        }
        let desk = &self.counters.desk;
        let room = desk.pace.room(now.saturating_duration_since(desk.origin), rate);
        self.paused = room.err().map(|until| desk.origin + until);
        room.unwrap_or(0)
    }
}

/// What came over the wire and is next: as it is, or what the commands of an exit let through of it.
fn incoming<'a>(stream: &'a Stream, policed: Option<&'a Policed>) -> &'a [u8] {
    policed.map_or_else(|| stream.pending()[0], Policed::waiting)
}

/// So much of what comes from this side has gone on. To be called before it is looked at, by which the data may end.
pub(super) fn paid(counters: &LinkCounters, replication: &Replication, side: Side, bytes: usize, now: Instant) {
    if let Some(rate) = rate(replication, side) {
        let desk = &counters.desk;
        desk.pace.passed(now.saturating_duration_since(desk.origin), rate, bytes);
    }
}

fn rate(replication: &Replication, side: Side) -> Option<u64> {
    let (rate, of_local) = replication.paced()?;
    (of_local == (side == Side::Local)).then_some(rate)
}

/// Whether what comes over the wire must not be handed to the local side at once.
pub(super) fn holds_back(replication: &Replication) -> bool {
    replication.stands_between() || rate(replication, Side::Wire).is_some()
}

/// Shows what the local side took.
pub(super) fn saw(replication: &mut Option<Replication>, slices: &[IoSlice<'_>], mut taken: usize, now: Instant) {
    let Some(replication) = replication else { return };
    for slice in slices {
        let part = taken.min(slice.len());
        if part == 0 {
            return;
        }
        replication.saw_from_wire(&slice[..part], now);
        taken -= part;
    }
}
