//! What comes from the peer: frames in, bytes to the local side, acknowledgements to the replay buffer.
//!
//! A part of the stream's machine; it trusts no number that the peer says. Pure.

use std::io::IoSlice;
use std::time::Instant;

use super::super::frame::{Control, Event};
use super::{GATHERED, Stream, Violation};

impl Stream {
    /// Takes what came. `deliver` hands payloads to the local side and says how many bytes it took; what it did not is kept.
    pub(crate) fn incoming<'a>(
        &mut self,
        pieces: impl IntoIterator<Item = &'a [u8]>,
        now: Instant,
        deliver: &mut dyn FnMut(&[IoSlice<'_>]) -> usize,
    ) -> Result<(), Violation> {
        self.last_received = now;
        let mut gathered = [IoSlice::new(&[]); GATHERED];
        let mut count = 0;
        let mut decoder = std::mem::take(&mut self.decoder);
        for mut bytes in pieces {
            while let Some(event) = decoder.next(&mut bytes)? {
                match event {
                    Event::Data(data) => {
                        if count == GATHERED {
                            self.hand_on(&gathered, now, deliver);
                            count = 0;
                        }
                        self.came(data.len())?;
                        gathered[count] = IoSlice::new(data);
                        count += 1;
                    }
                    Event::Packed(some, left) => {
                        self.hand_on(&gathered[..count], now, deliver);
                        count = 0;
                        self.unpack(some, left, now, deliver)?;
                    }
                    Event::Control(control) => {
                        // What came before the end must be handed on before it.
                        if matches!(control, Control::Fin(_)) {
                            self.hand_on(&gathered[..count], now, deliver);
                            count = 0;
                        }
                        self.take(control, now)?;
                    }
                }
            }
        }
        self.decoder = decoder;
        self.hand_on(&gathered[..count], now, deliver);
        Ok(())
    }

    /// So many bytes of the local side have come.
    fn came(&mut self, bytes: usize) -> Result<(), Violation> {
        if self.peer_end.is_some() {
            return Err(Violation::BehindEnd);
        }
        self.received += bytes as u64;
        if self.received - self.delivered > self.own_window { Err(Violation::Window) } else { Ok(()) }
    }

    /// Takes some of a PACKED frame; where it is whole it is handed on at once, for the next one takes its place.
    fn unpack(
        &mut self,
        some: &[u8],
        left: usize,
        now: Instant,
        deliver: &mut dyn FnMut(&[IoSlice<'_>]) -> usize,
    ) -> Result<(), Violation> {
        // An end that does not compress has offered to take nothing.
        let mut packing = self.packing.take().ok_or(Violation::Packed)?;
        if let Some(plain) = packing.unpack(some, left).map_err(|()| Violation::Packed)? {
            self.came(plain.len())?;
            self.hand_on(&[IoSlice::new(plain)], now, deliver);
        }
        self.packing = Some(packing);
        Ok(())
    }

    fn hand_on(&mut self, mut slices: &[IoSlice<'_>], now: Instant, deliver: &mut dyn FnMut(&[IoSlice<'_>]) -> usize) {
        if slices.is_empty() {
            return;
        }
        let mut taken = if self.pending.is_empty() { deliver(slices) } else { 0 };
        self.delivered(taken, now);
        while let Some((first, rest)) = slices.split_first() {
            let skipped = taken.min(first.len());
            self.pending.extend(&first[skipped..]);
            taken -= skipped;
            slices = rest;
        }
    }

    fn take(&mut self, control: Control, now: Instant) -> Result<(), Violation> {
        match control {
            Control::Hello(_) | Control::Welcome(_) => return Err(Violation::Greeting),
            Control::Ack(number) => self.acknowledge(number, now)?,
            Control::Ping(number) => Control::Pong(number).encode(&mut self.control),
            Control::Pong(_) => {
                if let Some(asked) = self.asked.take() {
                    self.round_trip = Some(now.saturating_duration_since(asked));
                }
            }
            Control::Fin(number) => {
                if number != self.received || self.peer_end.is_some() {
                    return Err(Violation::BehindEnd);
                }
                self.peer_end = Some(number);
                self.received += 1;
            }
            Control::Reset(reset) => self.reset = Some(reset),
        }
        Ok(())
    }

    pub(super) fn acknowledge(&mut self, number: u64, now: Instant) -> Result<(), Violation> {
        if number > self.ever_sent || number < self.acknowledged {
            return Err(Violation::Ack);
        }
        // The end has a number and no byte.
        let gone = (number - self.acknowledged).min(self.replay.len() as u64);
        self.replay.consume(gone as usize);
        self.acknowledged = number;
        if let Some(flight) = &mut self.flight {
            flight.acknowledged(number, now);
        }
        Ok(())
    }
}
