//! The slow log: what took long, with where the time went, in a ring of the newest.

use std::collections::VecDeque;

/// Entries a worker keeps, as servers do by default; and that it takes within a second. When everything is slow, telling of it must
/// not make it slower: what comes beyond is counted and not described.
const KEPT: usize = 128;
const A_SECOND: u32 = 128;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slow {
    /// Unique in the process; grows within a worker.
    pub(crate) id: u64,
    /// When it was answered, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// From its arrival to its answer. The three that follow are its parts.
    pub(crate) micros: u64,
    /// In Redan: for a master, a mark, its turn, or another try.
    pub(crate) waited_us: u64,
    /// At the node, and on the way there and back.
    pub(crate) node_us: u64,
    /// Because the client did not take its reply.
    pub(crate) client_us: u64,
    pub(crate) words: Vec<Vec<u8>>,
    pub(crate) node: String,
    pub(crate) listener: String,
    pub(crate) user: String,
    pub(crate) client: String,
    pub(crate) client_name: String,
    /// Of the reply.
    pub(crate) bytes: u64,
}

#[derive(Debug)]
pub(crate) struct SlowLog {
    entries: VecDeque<Slow>,
    next: u64,
    stride: u64,
    left: u32,
}

impl SlowLog {
    /// Worker `number` of so many gives every so-manieth id.
    pub(crate) fn new(number: u64, workers: u64) -> Self {
        Self { entries: VecDeque::new(), next: number, stride: workers.max(1), left: A_SECOND }
    }

    /// Whether there is room for another in this second.
    pub(crate) fn takes(&mut self) -> bool {
        let takes = self.left > 0;
        self.left = self.left.saturating_sub(1);
        takes
    }

    /// The id is given here.
    pub(crate) fn push(&mut self, slow: Slow) {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(Slow { id: self.next, ..slow });
        self.next += self.stride;
    }

    /// Called once a second.
    pub(crate) fn tick(&mut self) {
        self.left = A_SECOND;
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Slow> {
        self.entries.iter()
    }

    pub(crate) fn reset(&mut self) {
        self.entries = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Answer, all_slow};
    use super::*;

    #[test]
    fn the_newest_are_kept_and_ids_of_two_workers_differ() {
        let mut logs = [SlowLog::new(0, 2), SlowLog::new(1, 2)];
        for at_ms in 0..300 {
            logs[at_ms as usize % 2].push(Slow { at_ms, ..Slow::default() });
        }
        assert!(logs.iter().all(|log| log.entries().count() == KEPT));
        let answers =
            |logs: &[SlowLog; 2]| logs.each_ref().map(|log| Answer::Slow(log.entries().cloned().collect())).into();
        let all = all_slow(answers(&logs), 10);
        assert_eq!(all.iter().map(|slow| slow.at_ms).collect::<Vec<_>>(), (290..300).rev().collect::<Vec<_>>());
        let ids: std::collections::BTreeSet<u64> = all_slow(answers(&logs), 1000).iter().map(|slow| slow.id).collect();
        assert_eq!(ids.len(), 2 * KEPT);
        logs[0].reset();
        assert_eq!(logs[0].entries().count(), 0);
        logs[0].push(Slow::default());
        assert_eq!(logs[0].entries().next().map(|slow| slow.id), Some(300), "ids are never given again");
    }

    #[test]
    fn a_second_takes_so_many() {
        let mut log = SlowLog::new(0, 1);
        assert_eq!((0..1000).filter(|_| log.takes()).count(), A_SECOND as usize);
        log.tick();
        assert!(log.takes());
    }
}
