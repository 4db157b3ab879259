//! A stream's machine as numbers and bytes, for another process. What belongs to the present connection is left behind.

use std::time::Instant;

use super::Stream;
use crate::handover::Numbers;

impl Stream {
    /// And what is in its two buffers, one behind the other.
    pub(crate) fn standing(&self) -> (Numbers, Vec<u8>) {
        let mut bytes = Vec::with_capacity(self.replay.len() + self.pending.len());
        self.replay.copy_to(&mut bytes);
        self.pending.copy_to(&mut bytes);
        let numbers = Numbers {
            acknowledged: self.acknowledged,
            ever_sent: self.ever_sent,
            end: self.end,
            replay: self.replay.len() as u64,
            received: self.received,
            delivered: self.delivered,
            peer_end: self.peer_end,
            window: self.own_window,
        };
        (numbers, bytes)
    }

    /// The same machine. Detached.
    pub(crate) fn restored(numbers: &Numbers, bytes: &[u8], now: Instant) -> Self {
        let mut stream = Self::new(0, now);
        let (replay, pending) = bytes.split_at(bytes.len().min(usize::try_from(numbers.replay).unwrap_or(usize::MAX)));
        stream.replay.extend(replay);
        stream.pending.extend(pending);
        (stream.acknowledged, stream.sent, stream.ever_sent) =
            (numbers.acknowledged, numbers.acknowledged, numbers.ever_sent);
        stream.end = numbers.end;
        (stream.received, stream.delivered) = (numbers.received, numbers.delivered);
        stream.peer_end = numbers.peer_end;
        stream.own_window = numbers.window;
        stream
    }

    /// Nothing has come of either side.
    pub(crate) fn is_untouched(&self) -> bool {
        self.standing().0.is_untouched()
    }

    /// It has come to its end, or nearly: there is nothing to go on with.
    pub(crate) fn is_over(&self) -> bool {
        self.reset.is_some() || self.has_arrived()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Both ends of a stream, of which one is carried between any two steps.
    #[test]
    fn a_stream_that_is_carried_goes_on_where_it_was() {
        let now = Instant::now();
        let (mut here, mut there) = (Stream::new(1 << 20, now), Stream::new(1 << 20, now));
        let (mut said, mut heard) = (Vec::new(), Vec::new());
        for round in 0..50_u8 {
            let now = now + Duration::from_millis(200) * u32::from(round);
            let more: Vec<u8> = (0..usize::from(round) * 577).map(|at| at as u8 ^ round).collect();
            here.local_extend(&more);
            said.extend_from_slice(&more);
            if round == 49 {
                here.local_ended();
            }
            let (ours, theirs) = (here.position(), there.position());
            here.attach(theirs, now).expect("it fits");
            there.attach(ours, now).expect("it fits");
            for turn in 0..4 {
                let mut frames = here.control(now).unwrap_or_default();
                // The network breaks within a frame, now and then.
                if let Some(outgoing) = here.data(now) {
                    frames.extend(outgoing.parts().concat());
                }
                let cut = if turn == 3 && round < 49 { frames.len() / 2 } else { frames.len() };
                let mut deliver = |slices: &[std::io::IoSlice<'_>]| {
                    let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
                    let before = heard.len();
                    // Some of it waits.
                    heard.extend(bytes.take(3000));
                    heard.len() - before
                };
                there.incoming([&frames[..cut]], now, &mut deliver).expect("it keeps to the protocol");
                let waits = there.pending().concat();
                heard.extend_from_slice(&waits);
                there.pending_delivered(waits.len(), now);
                if there.end_is_due() {
                    there.end_delivered(now);
                }
                if let Some(back) = there.control(now) {
                    here.incoming([&back[..]], now, &mut |_| 0).expect("it keeps to the protocol");
                }
            }
            for stream in [&mut here, &mut there] {
                let (numbers, bytes) = stream.standing();
                *stream = Stream::restored(&numbers, &bytes, now);
            }
        }
        assert_eq!(heard, said);
        assert!(there.peer_has_ended());
    }
}
