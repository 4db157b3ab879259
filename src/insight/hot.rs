//! Keys that are asked for often: heavy hitters by Space-Saving (Metwally, Agrawal, El Abbadi, 2005), over a sample of the commands.
//!
//! A fixed number of counters. A key without one takes over that of the least, with its count as the bound of the error: a key that
//! is truly hot cannot be missed, and each count says by how much it may be too high.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::Sampler;

/// Counters of a worker: whatever makes up more than 1/128 of the sample is among them.
const COUNTERS: usize = 128;
/// One in so many commands is looked at: 64 ns every sixteenth time are 4 ns a command.
const ONE_IN: u64 = 16;
/// Of a longer key the beginning is shown; it is told apart by all of it.
const SHOWN: usize = 128;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HotKey {
    pub(crate) key: Vec<u8>,
    /// Of the whole key, of which `key` may be the beginning.
    hash: u64,
    /// Commands since counting began, estimated.
    pub(crate) commands: u64,
    /// Of these: writes.
    pub(crate) writes: u64,
    /// By so much `commands` may be too high.
    pub(crate) over: u64,
}

#[derive(Debug)]
struct Counter {
    hash: u64,
    key: Vec<u8>,
    hits: u64,
    writes: u64,
    over: u64,
}

#[derive(Debug)]
pub(crate) struct HotKeys {
    counters: Vec<Counter>,
    sampler: Sampler,
}

impl HotKeys {
    pub(crate) fn new(seed: u64) -> Self {
        Self { counters: Vec::with_capacity(COUNTERS), sampler: Sampler::new(ONE_IN as f64, seed) }
    }

    /// Whether the next command is looked at; asked before anybody looks for its key.
    #[inline]
    pub(crate) fn samples(&mut self) -> bool {
        self.sampler.takes()
    }

    /// A command of the sample has this key.
    pub(crate) fn count(&mut self, key: &[u8], writes: bool) {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let hash = hasher.finish();
        let shown = &key[..key.len().min(SHOWN)];
        // 128 hashes side by side are searched faster than a table is kept.
        let counter = match self.counters.iter().position(|counter| counter.hash == hash && counter.key == shown) {
            Some(at) => &mut self.counters[at],
            None => self.take_over(hash, shown),
        };
        counter.hits += 1;
        counter.writes += u64::from(writes);
    }

    fn take_over(&mut self, hash: u64, key: &[u8]) -> &mut Counter {
        if self.counters.len() < COUNTERS {
            self.counters.push(Counter { hash, key: key.to_vec(), hits: 0, writes: 0, over: 0 });
            let last = self.counters.len() - 1;
            return &mut self.counters[last];
        }
        let least = self.counters.iter().enumerate().min_by_key(|(_, counter)| counter.hits).map_or(0, |(at, _)| at);
        let counter = &mut self.counters[least];
        // The buffer stays: a stream of new keys must not allocate for each.
        counter.key.clear();
        counter.key.extend_from_slice(key);
        (counter.hash, counter.writes, counter.over) = (hash, 0, counter.hits);
        counter
    }

    #[cfg(test)]
    pub(crate) fn offer(&mut self, key: &[u8], writes: bool) {
        if self.samples() {
            self.count(key, writes);
        }
    }

    /// The hottest first.
    pub(crate) fn report(&self) -> Vec<HotKey> {
        let key = |counter: &Counter| HotKey {
            key: counter.key.clone(),
            hash: counter.hash,
            commands: counter.hits * ONE_IN,
            writes: counter.writes * ONE_IN,
            over: counter.over * ONE_IN,
        };
        let mut all: Vec<HotKey> = self.counters.iter().map(key).collect();
        sort(&mut all);
        all
    }
}

fn sort(keys: &mut [HotKey]) {
    keys.sort_by(|a, b| b.commands.cmp(&a.commands).then_with(|| a.key.cmp(&b.key)));
}

/// Adds another worker's keys. A key that only one of them has counted may have been asked for at the other less often than the
/// least of those that it counts, which is not added: the sum is what was seen.
pub(super) fn merge(all: &mut Vec<HotKey>, others: Vec<HotKey>) {
    for other in others {
        match all.iter_mut().find(|key| key.hash == other.hash && key.key == other.key) {
            Some(key) => {
                key.commands += other.commands;
                key.writes += other.writes;
                key.over += other.over;
            }
            None => all.push(other),
        }
    }
    sort(all);
    all.truncate(COUNTERS);
}

#[cfg(test)]
mod tests {
    use super::super::{Answer, all_hot};
    use super::*;

    #[test]
    fn hot_keys_are_found_among_many_cold_ones() {
        let mut workers = [HotKeys::new(1), HotKeys::new(2)];
        for round in 0_u64..400_000 {
            let hot = &mut workers[(round % 2) as usize];
            match round % 20 {
                0..5 => hot.offer(b"hottest", false),
                5..7 => hot.offer(b"second", true),
                _ => hot.offer(format!("cold:{}", round % 7919).as_bytes(), false),
            }
        }
        let keys = all_hot(workers.iter().map(|hot| Answer::Hot(Some(hot.report()))).collect()).expect("counted");
        let [first, second, ..] = &keys[..] else { panic!("{keys:?}") };
        assert_eq!((&first.key[..], &second.key[..]), (&b"hottest"[..], &b"second"[..]));
        for (key, share) in [(first, 0.25), (second, 0.1)] {
            let truth = 400_000.0 * share;
            assert!(key.commands as f64 > truth * 0.85, "{key:?}");
            assert!(((key.commands - key.over) as f64) < truth * 1.15, "{key:?}");
        }
        assert_eq!(first.writes, 0);
        assert!(second.writes > 0);
        assert!(keys.len() <= COUNTERS);
    }

    #[test]
    fn long_keys_with_one_beginning_are_two() {
        let mut hot = HotKeys::new(1);
        let [a, b] = ["a", "b"].map(|end| "x".repeat(500) + end);
        hot.count(a.as_bytes(), false);
        hot.count(b.as_bytes(), false);
        hot.count(b.as_bytes(), false);
        let report = hot.report();
        assert_eq!(report.iter().map(|key| (key.key.len(), key.commands)).collect::<Vec<_>>(), [(128, 32), (128, 16)]);
    }
}
