//! How many bytes of a direction may be on their way at a time: as many as the path and the program behind it take, not more.
//!
//! Used by the stream. The window says what a peer would keep; filling it on a fast path only lets megabytes lie in the
//! system's queues, where every copy has to fetch them from memory again, and where a later answer waits behind them. A round
//! is what passes between sending a byte and the acknowledgement of it while the limit, and nothing else, holds bytes
//! back. What a round has moved, over the shortest round known, is what the path holds; half as much more is let go, and three
//! times as much after a round that was as short as any, so that a path that holds more is found out within a few rounds. Pure.

use std::time::{Duration, Instant};

use crate::limits::LINK_FLIGHT;

/// How often the shortest round is measured anew, with no more on the way than [`LINK_FLIGHT`]: a path may have become longer.
const AGAIN: Duration = Duration::from_secs(10);

/// One network connection's, in one direction.
#[derive(Debug)]
pub(super) struct Flight {
    limit: u64,
    shortest: Option<Duration>,
    round: Option<Round>,
    measure_at: Instant,
    /// What the limit was before it was lowered to measure.
    measuring: Option<u64>,
}

#[derive(Debug)]
struct Round {
    began: Instant,
    /// What was acknowledged when it began.
    from: u64,
    /// With this it ends.
    to: u64,
}

impl Flight {
    pub(super) fn new(now: Instant) -> Self {
        Self { limit: LINK_FLIGHT, shortest: None, round: None, measure_at: now + AGAIN, measuring: None }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// There is more to send, and the limit holds it back.
    pub(super) fn holds_back(&mut self, acknowledged: u64, sent: u64, now: Instant) {
        // After it was lowered more may be on the way than it allows; a round would measure that.
        if self.round.is_none() && sent - acknowledged <= self.limit {
            self.round = Some(Round { began: now, from: acknowledged, to: sent });
        }
    }

    pub(super) fn acknowledged(&mut self, number: u64, now: Instant) {
        let Some(round) = self.round.take_if(|round| round.to <= number) else { return };
        let took = now.saturating_duration_since(round.began).max(Duration::from_micros(1));
        let shortest = match self.shortest {
            Some(shortest) if self.measuring.is_none() => shortest.min(took),
            _ => took,
        };
        self.shortest = Some(shortest);
        if let Some(before) = self.measuring.take() {
            self.limit = before;
        } else {
            let moved = (number - round.from) as f64;
            let longer = took.as_secs_f64() / shortest.as_secs_f64();
            // A round that takes as long as the shortest has waited behind nothing: the path may hold much more.
            let more = if longer < 1.25 { moved * 3.0 } else { moved / longer * 1.5 };
            self.limit = (more as u64).max(LINK_FLIGHT);
        }
        if now >= self.measure_at {
            self.measure_at = now + AGAIN;
            self.measuring = Some(std::mem::replace(&mut self.limit, LINK_FLIGHT));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that moves `rate` bytes a second and takes `trip` there and back; `until` passes. What moves in the last second.
    fn moves(flight: &mut Flight, start: Instant, until: Duration, rate: impl Fn(Duration) -> (u64, Duration)) -> u64 {
        const STEP: Duration = Duration::from_micros(250);
        let (mut sent, mut acknowledged) = (0, 0);
        // Number and when its acknowledgement comes.
        let mut coming = std::collections::VecDeque::new();
        let mut time = Duration::ZERO;
        let mut a_second_ago = 0;
        while time < until {
            time += STEP;
            let now = start + time;
            let (rate, trip) = rate(time);
            while coming.front().is_some_and(|(_, at)| *at <= time) {
                let (number, _) = coming.pop_front().expect("there is one");
                acknowledged = number;
                flight.acknowledged(number, now);
            }
            // What is sent lies in the queue in front of the path, which passes it on as fast as it goes.
            sent = sent.max(acknowledged + flight.limit());
            flight.holds_back(acknowledged, sent, now);
            let passed = coming.back().map_or(acknowledged, |(number, _)| *number);
            let passes = passed + ((rate as f64 * STEP.as_secs_f64()) as u64).min(sent - passed);
            if passes > passed {
                coming.push_back((passes, time + trip));
            }
            if time + Duration::from_secs(1) <= until {
                a_second_ago = acknowledged;
            }
        }
        acknowledged - a_second_ago
    }

    #[test]
    fn a_short_path_has_little_on_its_way() {
        let start = Instant::now();
        let mut flight = Flight::new(start);
        let moved = moves(&mut flight, start, Duration::from_secs(5), |_| (500_000_000, Duration::from_micros(100)));
        assert!(moved > 480_000_000, "{moved} bytes a second");
        assert!(flight.limit() <= 2 * LINK_FLIGHT, "{} on the way", flight.limit());
    }

    #[test]
    fn a_long_path_is_filled() {
        let start = Instant::now();
        let mut flight = Flight::new(start);
        let moved = moves(&mut flight, start, Duration::from_secs(5), |_| (100_000_000, Duration::from_millis(80)));
        assert!(moved > 90_000_000, "{moved} bytes a second");
    }

    #[test]
    fn a_path_that_becomes_longer_is_found_out() {
        let start = Instant::now();
        let mut flight = Flight::new(start);
        let path = |time| {
            let trip = if time < Duration::from_secs(5) { 2 } else { 80 };
            (100_000_000, Duration::from_millis(trip))
        };
        let moved = moves(&mut flight, start, Duration::from_secs(30), path);
        assert!(moved > 80_000_000, "{moved} bytes a second");
    }
}
