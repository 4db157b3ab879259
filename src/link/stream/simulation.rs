//! Two ends, two programs and a network that cuts, loses and breaks, all from one seed: every byte comes once and in order.

use std::io::IoSlice;
use std::time::{Duration, Instant};

use super::super::frame::Position;
use super::*;

/// xorshift: the same seed is the same run.
pub(super) struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// One end with the program beside it.
struct End {
    stream: Stream,
    /// What the program has to say in all, and how much of it the stream has read.
    says: Vec<u8>,
    read: usize,
    /// The program ends before it has heard everything (half-close), or only then.
    waits: bool,
    heard: Vec<u8>,
    heard_end: bool,
    /// Bytes on the network towards the other end.
    wire: Vec<u8>,
}

impl End {
    fn new(dice: &mut Dice, window: usize, now: Instant) -> Self {
        let length = dice.below(60_000) as usize;
        let codec = [None, Some(Codec::Lz4), Some(Codec::Zstd)][dice.below(3) as usize];
        // From a byte that repeats to noise, which does not shrink.
        let letters = 1 << dice.below(9);
        Self {
            stream: Stream::new(window, now).compressed(codec),
            says: (0..length).map(|_| dice.below(letters) as u8).collect(),
            read: 0,
            waits: dice.chance(30),
            heard: Vec::new(),
            heard_end: false,
            wire: Vec::new(),
        }
    }

    fn program(&mut self, dice: &mut Dice, now: Instant) {
        let left = self.says.len() - self.read;
        if left > 0 {
            let wanted = (dice.below(9000) as usize).min(left);
            let from = self.read;
            if let Some(space) = self.stream.local_space() {
                let taken = wanted.min(space.len());
                space[..taken].copy_from_slice(&self.says[from..from + taken]);
                self.stream.local_read(taken);
                self.read += taken;
            }
        } else if self.stream.end.is_none() && (!self.waits || self.heard_end) {
            self.stream.local_ended();
        }
        let [first, second] = self.stream.pending();
        let both = [first, second].concat();
        let taken = (dice.below(5000) as usize).min(both.len());
        self.heard.extend(&both[..taken]);
        self.stream.pending_delivered(taken, now);
        self.hear_end(now);
    }

    fn hear_end(&mut self, now: Instant) {
        if self.stream.end_is_due() {
            assert!(!self.heard_end, "the end came twice");
            self.heard_end = true;
            self.stream.end_delivered(now);
        }
    }

    fn send(&mut self, dice: &mut Dice, now: Instant) {
        if let Some(control) = self.stream.control(now) {
            self.wire.extend(control);
        }
        for _ in 0..dice.below(3) {
            let Some(outgoing) = self.stream.data(now) else { break };
            self.wire.extend(outgoing.parts().concat());
        }
    }

    fn receive(&mut self, bytes: &[u8], dice: &mut Dice, now: Instant) {
        let (heard, mut room) = (&mut self.heard, dice.below(20_000) as usize);
        let mut deliver = |slices: &[IoSlice<'_>]| {
            let before = heard.len();
            for slice in slices {
                let taken = room.min(slice.len());
                heard.extend(&slice[..taken]);
                room -= taken;
            }
            heard.len() - before
        };
        self.stream.incoming([bytes], now, &mut deliver).expect("both keep to the protocol");
        self.hear_end(now);
    }
}

/// Moves some of what is on the network, in pieces.
fn carry(from: &mut End, to: &mut End, dice: &mut Dice, now: Instant) {
    let moved = (dice.below(30_000) as usize).min(from.wire.len());
    let bytes: Vec<u8> = from.wire.drain(..moved).collect();
    if !bytes.is_empty() {
        let piece = 1 + dice.below(bytes.len() as u64) as usize;
        for part in bytes.chunks(piece) {
            to.receive(part, dice, now);
        }
    }
}

/// Whether at some moment one end had finished and the other did not know it.
fn run(seed: u64) -> bool {
    let mut dice = Dice::new(seed);
    let mut now = Instant::now();
    let window = 1 << (8 + dice.below(10));
    let (mut one, mut two) = (End::new(&mut dice, window, now), End::new(&mut dice, window, now));
    // Not both may wait for the other's end.
    two.waits &= !one.waits;
    let breaks = dice.chance(80);
    let mut attached = false;
    let mut one_knows = false;
    for step in 0.. {
        assert!(step < 200_000, "seed {seed} does not come to an end");
        now += Duration::from_millis(dice.below(40));
        if !attached {
            let positions: [Position; 2] = [&mut one, &mut two].map(|end| end.stream.position());
            one.stream.attach(positions[1], now).expect("they agree");
            // The program may have taken something meanwhile, of which the other end knows nothing.
            two.program(&mut dice, now);
            two.stream.attach(positions[0], now).expect("they agree");
            attached = true;
        }
        for end in [&mut one, &mut two] {
            end.program(&mut dice, now);
            end.send(&mut dice, now);
        }
        if one.stream.is_finished() != two.stream.is_finished() {
            // Were the acknowledgement on its way lost, the other would ask for a stream that is gone, and must know that it has
            // ended.
            one_knows = true;
            for end in [&one, &two] {
                assert!(end.stream.has_given_all() && end.heard_end, "seed {seed}: something is left to give");
            }
        }
        carry(&mut one, &mut two, &mut dice, now);
        carry(&mut two, &mut one, &mut dice, now);
        if one.stream.is_finished() && two.stream.is_finished() {
            break;
        }
        // An end that has finished closes; the other is told by the last acknowledgement, on the same connection.
        let closing = one.stream.is_finished() || two.stream.is_finished();
        if breaks && !closing && dice.chance(3) {
            // Some of what is on its way still comes, some does not.
            for (from, to) in [(0, 1), (1, 0)] {
                let ends = [&mut one, &mut two];
                let lost = ends[from].wire.split_off(dice.below(ends[from].wire.len() as u64 + 1) as usize);
                drop(lost);
                let came = std::mem::take(&mut ends[from].wire);
                ends[to].receive(&came, &mut dice, now);
            }
            attached = false;
        }
    }
    assert!(one.heard == two.says && two.heard == one.says, "seed {seed}: bytes differ");
    assert!(one.heard_end && two.heard_end);
    assert_eq!((one.stream.unacknowledged(), two.stream.unacknowledged()), (0, 0));
    one_knows
}

#[test]
fn every_byte_comes_once_and_in_order_whatever_breaks() {
    for seed in 0..150 {
        run(seed);
    }
}

#[test]
fn when_the_last_acknowledgement_is_lost_there_is_nothing_left_to_wait_for() {
    let seen = (0..150).filter(|seed| run(*seed)).count();
    assert!(seen > 20, "{seen} runs came to it");
}
