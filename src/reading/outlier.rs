//! Takes a replica out of reads when it serves this worker badly, and lets it back in by and by.
//!
//! Pure; the pool's watch tells it what was seen and does what it says. Bad is: an answer that did not come in time, its own
//! word that it cannot serve, connections that break over commands, or answers that take far longer than those of its
//! peers. It must never take out the master, nor, unless a replica says itself that it cannot serve, more than half of the
//! nodes: then the rest would get what they cannot carry.

use std::time::{Duration, Instant};

use super::WHOLE_SHARE;
use crate::topology::NodeId;

/// Out for so long at first, then twice as long each time, up to the most. Who has served well for the time of
/// forgiveness begins anew.
const FIRST_OUT: Duration = Duration::from_secs(5);
const LONGEST_OUT: Duration = Duration::from_secs(300);
const FORGIVEN_AFTER: Duration = Duration::from_secs(300);

/// Out for so long when it says itself that it cannot serve; after that its probes say how it is.
const REFUSED_OUT: Duration = Duration::from_secs(1);

/// Its share of reads grows from this to all of it in this time: its caches are cold, and it may still be bad.
const FIRST_SHARE: u32 = 10;
const RETURN: Duration = Duration::from_secs(10);

/// So many connections that broke over commands, within this time: one is a restart or a network that hiccuped.
const LOST: u32 = 3;
const LOST_WITHIN: Duration = Duration::from_secs(10);

/// Answers are compared over windows of this length, where there are so many of them, and must be bad in so many windows
/// in a row: one slow command is no slow node.
const WINDOW: Duration = Duration::from_secs(1);
const SAMPLES: u32 = 4;
const BAD_WINDOWS: u8 = 3;

/// Bad is so many times the median of its peers, and by so much: below that no client would thank for it.
const SLOW_TIMES: u64 = 3;
const SLOW_BY_US: u64 = 10_000;

/// Nodes whose answers are compared; a group has at most that many.
const COMPARED: usize = 64;

/// What a worker saw of a node since the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// It owed a read for longer than reads may take.
    pub(crate) late: bool,
    /// It said that it cannot serve.
    pub(crate) refused: bool,
    /// Connections that broke over commands.
    pub(crate) lost: u32,
    /// Answers whose time was taken, and those times together.
    pub(crate) samples: u32,
    pub(crate) total_us: u64,
}

/// Why a node is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Late,
    Refused,
    Lost,
    Slow,
}

impl Cause {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Late => "it did not answer a read in time",
            Self::Refused => "it says that it cannot serve now",
            Self::Lost => "its connections broke over commands",
            Self::Slow => "its answers take far longer than those of its peers",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    In,
    Out { until: Instant },
    Returning { since: Instant },
}

#[derive(Debug)]
struct Record {
    node: NodeId,
    /// It may be taken out: a replica that could serve.
    judged: bool,
    state: State,
    /// Times in a row that it was taken out.
    strikes: u32,
    /// When it was last found bad.
    blamed: Option<Instant>,
    lost: u32,
    lost_since: Option<Instant>,
    samples: u32,
    total_us: u64,
    bad_windows: u8,
    /// The way to it: the shortest round trip of probes so far.
    distance_us: u64,
    /// Found bad since the last judgement.
    accused: Option<Cause>,
}

impl Record {
    const fn new(node: NodeId) -> Self {
        Self {
            node,
            judged: false,
            state: State::In,
            strikes: 0,
            blamed: None,
            lost: 0,
            lost_since: None,
            samples: 0,
            total_us: 0,
            bad_windows: 0,
            distance_us: u64::MAX,
            accused: None,
        }
    }

    const fn is_out(&self) -> bool {
        matches!(self.state, State::Out { .. })
    }

    /// What time alone changes.
    fn progress(&mut self, now: Instant) {
        match self.state {
            State::Out { until } if until <= now => self.state = State::Returning { since: now },
            State::Returning { since } if now.saturating_duration_since(since) >= RETURN => self.state = State::In,
            _ => {}
        }
        if self.state == State::In && self.blamed.is_some_and(|at| now.saturating_duration_since(at) >= FORGIVEN_AFTER)
        {
            (self.strikes, self.blamed) = (0, None);
        }
    }

    fn take_out(&mut self, cause: Cause, now: Instant) -> Duration {
        let length = if cause == Cause::Refused {
            REFUSED_OUT
        } else {
            let length = (FIRST_OUT * 2u32.pow(self.strikes.min(10))).min(LONGEST_OUT);
            self.strikes += 1;
            length
        };
        self.state = State::Out { until: now + length };
        self.blamed = Some(now);
        (self.bad_windows, self.lost) = (0, 0);
        length
    }
}

/// The nodes of a snapshot, at its indices.
#[derive(Debug, Default)]
pub(crate) struct Outliers {
    records: Vec<Record>,
    /// That can serve, the master among them.
    serving: usize,
    window_began: Option<Instant>,
}

/// A node of a new snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) node: NodeId,
    pub(crate) readable: bool,
    pub(crate) master: bool,
    pub(crate) round_trip: Option<Duration>,
}

impl Outliers {
    /// Another snapshot: what is known of a node it keeps, unless it is the master now.
    pub(crate) fn follow(&mut self, members: impl Iterator<Item = Member>) {
        let mut before = std::mem::take(&mut self.records);
        self.serving = 0;
        for member in members {
            self.serving += usize::from(member.readable);
            let known = before.iter().position(|record| record.node == member.node).filter(|_| !member.master);
            let mut record = known.map_or_else(|| Record::new(member.node), |at| before.swap_remove(at));
            record.judged = member.readable && !member.master;
            if let Some(round_trip) = member.round_trip {
                let us = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
                record.distance_us = record.distance_us.min(us);
            }
            self.records.push(record);
        }
    }

    /// Adds what was seen of the node at `index` since the last judgement.
    pub(crate) fn note(&mut self, now: Instant, index: usize, seen: &Seen) {
        let Some(record) = self.records.get_mut(index) else { return };
        record.samples += seen.samples;
        record.total_us = record.total_us.saturating_add(seen.total_us);
        if seen.lost > 0 {
            if record.lost_since.is_none_or(|since| now.saturating_duration_since(since) > LOST_WITHIN) {
                (record.lost, record.lost_since) = (0, Some(now));
            }
            record.lost += seen.lost;
        }
        let cause = match seen {
            Seen { refused: true, .. } => Some(Cause::Refused),
            Seen { late: true, .. } => Some(Cause::Late),
            _ if record.lost >= LOST => Some(Cause::Lost),
            _ => None,
        };
        if let Some(cause) = cause {
            record.accused = Some(cause);
        }
    }

    /// Judges all. `out` is told who is taken out, why, and for how long.
    pub(crate) fn judge(&mut self, now: Instant, mut out: impl FnMut(usize, Cause, Duration)) {
        for record in &mut self.records {
            record.progress(now);
        }
        let began = *self.window_began.get_or_insert(now);
        if now.saturating_duration_since(began) >= WINDOW {
            self.window_began = Some(now);
            self.compare();
        }
        let mut room =
            (self.serving / 2).saturating_sub(self.records.iter().filter(|r| r.judged && r.is_out()).count());
        for (index, record) in self.records.iter_mut().enumerate() {
            let Some(cause) = record.accused.take() else { continue };
            if !record.judged || record.is_out() {
                continue;
            }
            if cause != Cause::Refused {
                if room == 0 {
                    continue;
                }
                room -= 1;
            }
            out(index, cause, record.take_out(cause, now));
        }
    }

    /// Percent of its ordinary share of reads.
    pub(crate) fn share(&self, index: usize, now: Instant) -> u32 {
        match self.records.get(index).map(|record| record.state) {
            None | Some(State::In) => WHOLE_SHARE,
            Some(State::Out { .. }) => 0,
            Some(State::Returning { since }) => {
                let grown = now.saturating_duration_since(since).min(RETURN).as_millis() / (RETURN.as_millis() / 90);
                FIRST_SHARE + u32::try_from(grown).unwrap_or(90)
            }
        }
    }

    /// Nobody is out or on the way back, so nothing changes by itself.
    pub(crate) fn is_settled(&self) -> bool {
        self.records.iter().all(|record| record.state == State::In)
    }

    /// The end of a window: who was far slower than the others?
    fn compare(&mut self) {
        let mut excess = [None; COMPARED];
        for (excess, record) in excess.iter_mut().zip(&mut self.records) {
            let (samples, total) = (std::mem::take(&mut record.samples), std::mem::take(&mut record.total_us));
            if samples >= SAMPLES {
                // A node that is further away is not a slow one.
                *excess = Some((total / u64::from(samples)).saturating_sub(record.distance_us));
            }
        }
        for index in 0..self.records.len().min(COMPARED) {
            let Some(own) = excess[index] else { continue };
            let Some(median) = median_of_others(&excess, index) else { continue };
            let record = &mut self.records[index];
            let bad = own > median.saturating_mul(SLOW_TIMES) && own > median + SLOW_BY_US;
            record.bad_windows = if bad { record.bad_windows.saturating_add(1) } else { 0 };
            if record.bad_windows >= BAD_WINDOWS {
                record.accused.get_or_insert(Cause::Slow);
            }
        }
    }
}

fn median_of_others(values: &[Option<u64>; COMPARED], but: usize) -> Option<u64> {
    let mut others = [0; COMPARED];
    let mut count = 0;
    for value in values.iter().enumerate().filter(|(index, _)| *index != but).filter_map(|(_, value)| *value) {
        others[count] = value;
        count += 1;
    }
    let others = &mut others[..count];
    others.sort_unstable();
    // Of an even number the lower one: with two peers, of which one is bad, the good one is the measure.
    others.get(count.saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests;
