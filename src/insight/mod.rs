//! What a worker remembers of single commands: slow ones, keys that are asked for often, large replies.
//!
//! Pure: whoever notes something says when it was. Sessions note, one [`Insight`] per worker; the admin endpoint asks each worker
//! and puts the answers together. It must never keep a password, nor more than its bounds, whatever clients send.

pub(crate) mod hot;
pub(crate) mod large;
pub(crate) mod slow;
// Whoever sends spans, and the tests of what they say.
#[cfg(any(test, feature = "otel"))]
pub(crate) mod spans;
pub(crate) mod trace;
pub(crate) mod words;

use std::time::Duration;

use self::hot::{HotKey, HotKeys};
use self::large::{Large, LargeReplies};
use self::slow::{Slow, SlowLog};
use self::trace::Ids;

/// What the operator wants to know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Commands that take longer are in the slow log; `None`: none are.
    pub(crate) slow: Option<Duration>,
    /// Replies of at least so many bytes are noted; `None`: none are.
    pub(crate) big: Option<u64>,
    pub(crate) hot_keys: bool,
    /// Which part of all commands is traced, from 0 to 1.
    pub(crate) trace: f64,
}

impl Default for Settings {
    fn default() -> Self {
        // 10 ms is what servers have for their own slow log. 1 MiB is what a session may have waiting before others notice.
        Self { slow: Some(Duration::from_millis(10)), big: Some(1024 * 1024), hot_keys: false, trace: 0.0 }
    }
}

impl Settings {
    pub(crate) fn slow_micros(&self) -> Option<u64> {
        self.slow.map(|slow| u64::try_from(slow.as_micros()).unwrap_or(u64::MAX))
    }
}

/// Of one worker.
#[derive(Debug)]
pub(crate) struct Insight {
    pub(crate) slow: SlowLog,
    /// `None` while nobody wants to know: then a command costs one look at this.
    hot: Option<Box<HotKeys>>,
    pub(crate) large: LargeReplies,
    tracer: Option<Sampler>,
    /// Traces of commands that have no number of their own in their session.
    unnumbered: u64,
    seed: u64,
}

impl Insight {
    /// For worker `number` of so many. `seed` spreads what is sampled.
    pub(crate) fn new(settings: &Settings, number: usize, workers: usize, seed: u64) -> Self {
        let mut insight = Self {
            slow: SlowLog::new(number as u64, workers as u64),
            hot: None,
            large: LargeReplies::default(),
            tracer: None,
            unnumbered: 0,
            seed,
        };
        insight.follow(settings);
        insight
    }

    /// As it is configured now. What was remembered stays.
    pub(crate) fn follow(&mut self, settings: &Settings) {
        self.tracer = (settings.trace > 0.0).then(|| Sampler::new(1.0 / settings.trace, self.seed));
        self.watch_keys(settings.hot_keys);
    }

    fn watch_keys(&mut self, on: bool) {
        match on {
            true if self.hot.is_none() => self.hot = Some(Box::new(HotKeys::new(self.seed))),
            true => {}
            false => self.hot = None,
        }
    }

    /// Where commands are counted by their keys, if they are.
    pub(crate) fn hot(&mut self) -> Option<&mut HotKeys> {
        self.hot.as_deref_mut()
    }

    pub(crate) fn is_tracing(&self) -> bool {
        self.tracer.is_some()
    }

    /// Whether the next command is one of those that are traced.
    pub(crate) fn traces(&mut self) -> bool {
        self.tracer.as_mut().is_some_and(Sampler::takes)
    }

    /// Of a command by its number in its session, the same for each of its attempts; of one without a number new ones.
    pub(crate) fn ids(&mut self, session: u64, number: Option<u64>) -> Ids {
        match number {
            Some(number) => Ids::of(self.seed, session, number),
            None => {
                self.unnumbered += 1;
                // Sessions are numbered from 1.
                Ids::of(self.seed, 0, self.unnumbered)
            }
        }
    }

    pub(crate) fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Slow => return Answer::Slow(self.slow.entries().cloned().collect()),
            Ask::Hot => return Answer::Hot(self.hot.as_ref().map(|hot| hot.report())),
            Ask::Large => return Answer::Large(self.large.report()),
            Ask::ForgetSlow => self.slow.reset(),
            Ask::ForgetLarge => self.large = LargeReplies::default(),
            Ask::WatchKeys(on) => self.watch_keys(on),
            Ask::ForgetKeys => {
                let on = self.hot.take().is_some();
                self.watch_keys(on);
            }
        }
        Answer::Done
    }
}

/// What somebody wants to know of a worker, or to happen there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Slow,
    ForgetSlow,
    Hot,
    WatchKeys(bool),
    ForgetKeys,
    Large,
    ForgetLarge,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Slow(Vec<Slow>),
    /// `None`: nobody counts keys.
    Hot(Option<Vec<HotKey>>),
    Large(Vec<Large>),
    Done,
}

/// Slow commands of all workers, the newest first, at most `count`.
pub(crate) fn all_slow(answers: Vec<Answer>, count: usize) -> Vec<Slow> {
    let mut all: Vec<Slow> = Vec::new();
    for answer in answers {
        if let Answer::Slow(entries) = answer {
            all.extend(entries);
        }
    }
    all.sort_by_key(|slow| std::cmp::Reverse((slow.at_ms, slow.id)));
    all.truncate(count);
    all
}

/// Keys of all workers, the hottest first; `None`: they are not counted.
pub(crate) fn all_hot(answers: Vec<Answer>) -> Option<Vec<HotKey>> {
    let mut all: Option<Vec<HotKey>> = None;
    for answer in answers {
        if let Answer::Hot(Some(keys)) = answer {
            hot::merge(all.get_or_insert_default(), keys);
        }
    }
    all
}

/// Replies of all workers, the largest first.
pub(crate) fn all_large(answers: Vec<Answer>) -> Vec<Large> {
    let mut all: Vec<Large> = Vec::new();
    for answer in answers {
        if let Answer::Large(replies) = answer {
            large::merge(&mut all, replies);
        }
    }
    all
}

/// Takes one of so many at random: what is taken every so often would always be the same command of a client that repeats
/// itself.
#[derive(Debug)]
pub(crate) struct Sampler {
    left: u64,
    /// Twice the mean of what is passed over.
    spread: u64,
    random: u64,
}

impl Sampler {
    pub(crate) fn new(mean: f64, seed: u64) -> Self {
        // From 1 to this, evenly, is `mean` on average.
        let spread = (2.0 * mean - 1.0).max(1.0) as u64;
        let mut sampler = Self { left: 0, spread, random: seed | 1 };
        sampler.left = sampler.next_gap();
        sampler
    }

    fn next_gap(&mut self) -> u64 {
        // xorshift
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        1 + self.random % self.spread
    }

    #[inline]
    pub(crate) fn takes(&mut self) -> bool {
        self.left -= 1;
        if self.left > 0 {
            return false;
        }
        self.left = self.next_gap();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sampler_takes_its_part_and_not_every_so_often() {
        for mean in [1.0, 4.0, 1000.0] {
            let mut sampler = Sampler::new(mean, 42);
            let taken: Vec<u32> = (0..1_000_000).filter(|_| sampler.takes()).collect();
            let expected = 1_000_000.0 / mean;
            assert!((taken.len() as f64 - expected).abs() < expected * 0.2 + 1.0, "{mean}: {}", taken.len());
            let gaps: std::collections::BTreeSet<u32> = taken.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(mean == 1.0 || gaps.len() > 3, "{mean}: {gaps:?}");
        }
    }

    #[test]
    fn keys_are_counted_only_while_somebody_wants_it() {
        let mut insight = Insight::new(&Settings::default(), 0, 1, 7);
        assert!(insight.hot().is_none());
        assert_eq!(insight.answer(Ask::Hot), Answer::Hot(None));
        assert_eq!(insight.answer(Ask::WatchKeys(true)), Answer::Done);
        for _ in 0..10_000 {
            insight.hot().expect("on").offer(b"k", false);
        }
        let Answer::Hot(Some(keys)) = insight.answer(Ask::Hot) else { panic!("it counts") };
        assert_eq!(keys.len(), 1);
        insight.answer(Ask::ForgetKeys);
        assert_eq!(insight.answer(Ask::Hot), Answer::Hot(Some(Vec::new())));
        insight.answer(Ask::WatchKeys(false));
        assert_eq!(all_hot(vec![insight.answer(Ask::Hot)]), None);
        assert!(!insight.traces(), "nothing is traced unless somebody wants it");
    }
}
