//! One connection of a program as its two ends see it: numbers, acknowledgements, what must be sent again, the end.
//!
//! Both ends run the same machine. It does no I/O and reads no clock: the shell (`pump`) gives it what came and asks what
//! to send. Every byte has a number, counted from 0 in each direction; the end of a direction takes one number more. What the
//! peer has not acknowledged stays in `replay`. When the network connection breaks, the machine is detached; a new
//! connection attaches it where both ends say that they stand.

mod carrying;
mod incoming;

use std::time::{Duration, Instant};

use super::buffer::Buffer;
use super::flight::Flight;
use super::frame::{Code, Control, Decoder, MAX_PAYLOAD, Malformed, Position, Reset, data_header};
use super::pack::{Packing, Shrunk, TAKES};
use crate::config::link::Codec;
use crate::limits::{LINK_ACK, LINK_AHEAD, LINK_DEAD, LINK_PING};

/// Delivered bytes are acknowledged when they are [`LINK_ACK`] or an eighth of the window, or this long after the first of
/// them, or with whatever is sent anyway.
const ACK_SHARE: u64 = 8;
const ACK_DELAY: Duration = Duration::from_millis(100);

/// Payloads that are handed to the local side with one call.
const GATHERED: usize = 64;

/// What the peer must not do. Its stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("it sent {0}")]
    Malformed(#[from] Malformed),
    #[error("it sent more than it was allowed to")]
    Window,
    #[error("it acknowledged what was never sent")]
    Ack,
    #[error("it sent bytes behind its end")]
    BehindEnd,
    #[error("it greeted twice")]
    Greeting,
    #[error("it wants to go on where this end has never been")]
    Position,
    #[error("it sent a compressed block that is none, or that this end does not take")]
    Packed,
}

/// A frame: its parts go one behind the other. A packed one has its header in front already.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    header: Option<[u8; 4]>,
    payload: [&'a [u8]; 2],
}

impl Outgoing<'_> {
    pub(crate) fn parts(&self) -> [&[u8]; 3] {
        let header = self.header.as_ref().map_or(&[][..], |header| header);
        [header, self.payload[0], self.payload[1]]
    }
}

#[derive(Debug)]
pub(crate) struct Stream {
    // From the local side to the peer.
    /// The numbers from `acknowledged` on.
    replay: Buffer,
    /// The peer has delivered everything below.
    acknowledged: u64,
    /// The next number to send over the present connection.
    sent: u64,
    /// The highest `sent` over any connection.
    ever_sent: u64,
    /// The number of the end, once the local side has ended.
    end: Option<u64>,
    /// How far beyond `acknowledged` the peer lets us send.
    window: u64,
    /// How far it makes sense to; `None` while there is no connection.
    flight: Option<Flight>,

    // From the peer to the local side.
    received: u64,
    delivered: u64,
    /// The last `delivered` that the peer was told.
    told: u64,
    /// `delivered` as it was when the peer was last told the position.
    positioned: u64,
    /// What was received and not delivered.
    pending: Buffer,
    peer_end: Option<u64>,
    own_window: u64,

    // The present connection.
    decoder: Decoder,
    /// At an end that compresses.
    packing: Option<Box<Packing>>,
    /// Frames that go before any data.
    control: Vec<u8>,
    reset: Option<Reset>,
    last_sent: Instant,
    last_received: Instant,
    /// The oldest delivered byte that was not acknowledged.
    owes_since: Option<Instant>,
    /// When a PING was sent whose PONG has not come.
    asked: Option<Instant>,
    round_trip: Option<Duration>,
}

impl Stream {
    /// `window`: bytes that either direction may have on its way. Detached.
    pub(crate) fn new(window: usize, now: Instant) -> Self {
        Self {
            replay: Buffer::default(),
            acknowledged: 0,
            sent: 0,
            ever_sent: 0,
            end: None,
            window: 0,
            flight: None,
            received: 0,
            delivered: 0,
            told: 0,
            positioned: 0,
            pending: Buffer::default(),
            peer_end: None,
            own_window: u64::from(u32::try_from(window).unwrap_or(u32::MAX)),
            decoder: Decoder::default(),
            packing: None,
            control: Vec::new(),
            reset: None,
            last_sent: now,
            last_received: now,
            owes_since: None,
            asked: None,
            round_trip: None,
        }
    }

    /// Sends compressed what shrinks, and takes what the peer has compressed, if it does so too.
    pub(crate) fn compressed(mut self, codec: Option<Codec>) -> Self {
        self.packing = codec.map(|codec| Box::new(Packing::new(codec)));
        self
    }

    /// What the peer is told when a connection begins.
    pub(crate) fn position(&mut self) -> Position {
        self.positioned = self.delivered;
        let window = u32::try_from(self.own_window).unwrap_or(u32::MAX);
        let takes = if self.packing.is_some() { TAKES } else { 0 };
        Position { received: self.received, delivered: self.delivered, window, takes }
    }

    /// A connection stands, and the peer said where it is.
    pub(crate) fn attach(&mut self, peer: Position, now: Instant) -> Result<(), Violation> {
        let known = self.acknowledged..=self.ever_sent;
        if !known.contains(&peer.delivered) || !known.contains(&peer.received) || peer.delivered > peer.received {
            return Err(Violation::Position);
        }
        self.acknowledge(peer.delivered, now)?;
        self.sent = peer.received;
        self.window = peer.window.into();
        self.flight = Some(Flight::new(now));
        if let Some(packing) = &mut self.packing {
            packing.agree(peer.takes);
        }
        // Acknowledgements may have been lost with the old connection; the position was not.
        self.told = self.positioned;
        self.owes_since = (self.delivered > self.told).then_some(now);
        self.decoder = Decoder::default();
        self.control.clear();
        self.asked = None;
        (self.last_sent, self.last_received) = (now, now);
        Ok(())
    }

    /// There is no connection: what the local side says is kept as far as the replay buffer goes.
    pub(crate) fn detach(&mut self) {
        self.flight = None;
    }

    // ---- From the local side ----

    /// Where bytes of the local side may be read into; `None` when no more fit, or it has ended.
    pub(crate) fn local_space(&mut self) -> Option<&mut [u8]> {
        // What cannot be sent yet is better left where it is.
        let ahead = self.flight.as_ref().map_or(self.own_window, |flight| flight.limit() + 2 * LINK_AHEAD as u64);
        let full = self.replay.len() as u64 >= self.own_window.min(ahead);
        if full || self.end.is_some() { None } else { Some(self.replay.space()) }
    }

    pub(crate) fn local_read(&mut self, bytes: usize) {
        self.replay.filled(bytes);
    }

    /// Bytes of the local side that were not read into [`Self::local_space`].
    pub(crate) fn local_extend(&mut self, bytes: &[u8]) {
        self.replay.extend(bytes);
    }

    pub(crate) fn local_ended(&mut self) {
        self.end = Some(self.acknowledged + self.replay.len() as u64);
    }

    // ---- To the peer ----

    /// Frames without data that are due.
    pub(crate) fn control(&mut self, now: Instant) -> Option<Vec<u8>> {
        let has_data = self.sendable() > 0;
        let owed = self.delivered - self.told;
        let old = self.owes_since.is_some_and(|since| now.saturating_duration_since(since) >= ACK_DELAY);
        let ends = self.peer_end.is_some_and(|end| self.delivered > end);
        let many = owed >= (self.own_window / ACK_SHARE).min(LINK_ACK);
        if owed > 0 && (has_data || old || ends || many || !self.control.is_empty()) {
            self.told = self.delivered;
            self.owes_since = None;
            Control::Ack(self.delivered).encode(&mut self.control);
        }
        if let Some(end) = self.end.filter(|end| self.sent == *end) {
            Control::Fin(end).encode(&mut self.control);
            self.moved(1);
        }
        if !has_data && self.control.is_empty() && now.saturating_duration_since(self.last_sent) >= LINK_PING {
            self.asked.get_or_insert(now);
            Control::Ping(self.sent).encode(&mut self.control);
            // Nothing was said for a while: an idle stream holds no memory.
            self.replay.release();
            self.pending.release();
            if let Some(packing) = &mut self.packing {
                packing.release();
            }
        }
        if self.control.is_empty() {
            return None;
        }
        self.last_sent = now;
        Some(std::mem::take(&mut self.control))
    }

    /// The next frame of data, which is taken as sent.
    pub(crate) fn data(&mut self, now: Instant) -> Option<Outgoing<'_>> {
        let mut length = self.sendable().min(MAX_PAYLOAD as u64) as usize;
        if length == 0 {
            let waits = self.acknowledged + self.replay.len() as u64 > self.sent;
            if let Some(flight) = self.flight.as_mut().filter(|flight| waits && flight.limit() < self.window) {
                flight.holds_back(self.acknowledged, self.sent, now);
            }
            return None;
        }
        self.last_sent = now;
        // Both fit: they are less than the replay buffer has.
        let mut payload = self.replay.slices((self.sent - self.acknowledged) as usize, length);
        let mut packed = None;
        if let Some(packing) = &mut self.packing
            && let Some(block) = packing.block(payload[0].len(), length)
        {
            // What stands behind it is the next frame's: blocks begin where pieces of the buffer do.
            payload = [&payload[0][..block], &[]];
            length = block;
            packed = packing.pack(payload[0]);
        }
        self.sent += length as u64;
        self.ever_sent = self.ever_sent.max(self.sent);
        Some(match packed {
            Some(frame) => Outgoing { header: None, payload: [frame, &[]] },
            None => Outgoing { header: Some(data_header(length)), payload },
        })
    }

    fn moved(&mut self, numbers: u64) {
        self.sent += numbers;
        self.ever_sent = self.ever_sent.max(self.sent);
    }

    /// Bytes that may be sent now.
    fn sendable(&self) -> u64 {
        let behind = self.acknowledged + self.replay.len() as u64;
        let limit = self.flight.as_ref().map_or(self.window, |flight| flight.limit().min(self.window));
        let allowed = self.acknowledged.saturating_add(limit);
        behind.min(allowed).saturating_sub(self.sent)
    }

    /// Ends both directions at once; whatever was not sent is not sent any more.
    pub(crate) fn give_up(&self, code: Code, reason: String) -> Vec<u8> {
        let mut frame = Vec::new();
        Control::Reset(Reset { code, reason }).encode(&mut frame);
        frame
    }

    // ---- To the local side ----

    /// What came and was not taken yet.
    pub(crate) fn pending(&self) -> [&[u8]; 2] {
        self.pending.slices(0, self.pending.len())
    }

    /// The local side took so much of [`Self::pending`].
    pub(crate) fn pending_delivered(&mut self, bytes: usize, now: Instant) {
        self.pending.consume(bytes);
        self.delivered(bytes, now);
    }

    fn delivered(&mut self, bytes: usize, now: Instant) {
        if bytes > 0 {
            self.delivered += bytes as u64;
            self.owes_since.get_or_insert(now);
        }
    }

    /// The peer has ended and everything before that is delivered: the local side must be told, once.
    pub(crate) fn end_is_due(&self) -> bool {
        self.peer_end == Some(self.delivered)
    }

    pub(crate) fn end_delivered(&mut self, now: Instant) {
        debug_assert!(self.end_is_due());
        self.delivered(1, now);
    }

    /// Nothing more comes of the peer.
    pub(crate) fn peer_has_ended(&self) -> bool {
        self.peer_end.is_some()
    }

    // ---- As a whole ----

    /// What the peer ended the stream with.
    pub(crate) fn was_reset(&self) -> Option<&Reset> {
        self.reset.as_ref()
    }

    /// Both directions have ended, and both ends know it.
    pub(crate) fn is_finished(&self) -> bool {
        self.has_arrived() && self.told == self.delivered
    }

    /// Everything of both directions has arrived; the peer may not know it, and has nothing to lose.
    pub(crate) fn has_arrived(&self) -> bool {
        let ours = self.end.is_some_and(|end| self.acknowledged > end);
        let theirs = self.peer_end.is_some_and(|end| self.delivered > end);
        ours && theirs
    }

    /// Everything of the peer was handed on, and everything of this side was sent, its end included. If the peer does not know
    /// the stream any more, it has taken all of it, or neither side has anything left to be told.
    pub(crate) fn has_given_all(&self) -> bool {
        let ours = self.end.is_some_and(|end| self.ever_sent > end);
        let theirs = self.peer_end.is_some_and(|end| self.delivered > end);
        ours && theirs
    }

    /// Nothing came for too long.
    pub(crate) fn is_dead(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_received) >= LINK_DEAD
    }

    /// Nothing was said by either end for a moment.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        let last = self.last_sent.max(self.last_received);
        self.replay.is_empty() && now.saturating_duration_since(last) >= ACK_DELAY
    }

    /// When [`Self::control`] or [`Self::is_dead`] should be asked again though nothing came.
    pub(crate) fn deadline(&self) -> Instant {
        let deadline = (self.last_sent + LINK_PING).min(self.last_received + LINK_DEAD);
        self.owes_since.map_or(deadline, |since| deadline.min(since + ACK_DELAY))
    }

    /// Bytes kept to be sent again.
    pub(crate) fn unacknowledged(&self) -> u64 {
        self.replay.len() as u64
    }

    /// What goes over the network a second time if the peer stands there.
    pub(crate) fn sent_again(&self, peer: Position) -> u64 {
        self.ever_sent.saturating_sub(peer.received)
    }

    /// What compression did since this was last asked: to what was sent, and what was received.
    pub(crate) fn shrunk(&mut self) -> Option<[Shrunk; 2]> {
        let packing = self.packing.as_mut()?;
        Some([std::mem::take(&mut packing.sent), std::mem::take(&mut packing.received)])
    }

    /// How long the last PING took, once.
    pub(crate) fn round_trip(&mut self) -> Option<Duration> {
        self.round_trip.take()
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
