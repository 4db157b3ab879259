//! What clients met: counted by kind, and in sentences where it should never have been.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Errors that a client may get from Redan while the group is in trouble; `docs/errors.md` explains each.
const PERMITTED: &[&str] = &["LOADING", "INDOUBT", "NOTDURABLE", "NOREPLICAS", "EXECABORT"];

/// After a master was lost without a farewell, what only it had may be missing for so long.
const GRACE: Duration = Duration::from_secs(60);

/// A client with a turn a second and a megabyte to say notices within that that its connection has ended.
const NOTICED: Duration = Duration::from_secs(3);

/// Sentences that are kept; the others are only counted.
const KEPT: usize = 30;

#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Replies that were looked at, by what the client does.
    pub(crate) replies: BTreeMap<&'static str, u64>,
    /// Error replies by their first word.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Connections of well-behaved clients that ended under them, or could not be made.
    pub(crate) cut_off: u64,
    /// The same while a process is replaced, which ends TLS and subscriptions.
    pub(crate) moved: u64,
    /// Acknowledged writes, not durable ones, that were gone after the master was lost.
    pub(crate) lost: u64,
    /// Messages that a subscriber missed.
    pub(crate) missed: u64,
    pub(crate) wrong: u64,
    pub(crate) sentences: Vec<String>,
}

pub(crate) struct Tally {
    counts: Mutex<Counts>,
    /// When a master was lost last.
    loss: Mutex<Option<Instant>>,
    replacing: AtomicBool,
    /// When that was over last.
    replaced: Mutex<Option<Instant>>,
    began: Instant,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            counts: Mutex::default(),
            loss: Mutex::default(),
            replacing: AtomicBool::new(false),
            replaced: Mutex::default(),
            began: Instant::now(),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn replies(&self, kind: &'static str, count: u64) {
        *self.counts().replies.entry(kind).or_default() += count;
    }

    /// An error reply. Whatever is not permitted is a wrong reply as well.
    pub(crate) fn error(&self, kind: &str, text: &str) {
        let code = text.split(' ').next().unwrap_or_default();
        *self.counts().errors.entry(code.to_owned()).or_default() += 1;
        if !PERMITTED.contains(&code) {
            self.wrong(format!("{kind}: the error {text}"));
        }
    }

    pub(crate) fn cut_off(&self, kind: &str, why: &std::io::Error) {
        let mut counts = self.counts();
        if self.was_replaced() {
            counts.moved += 1;
            return;
        }
        counts.cut_off += 1;
        let sentence = format!("[{:.1} s] {kind}: cut off, {why}", self.began.elapsed().as_secs_f64());
        keep(&mut counts, sentence);
    }

    pub(crate) fn missed(&self, count: u64) {
        self.counts().missed += count;
    }

    /// An acknowledged write is gone: to be expected only where a master was lost.
    pub(crate) fn lost(&self, sentence: String) {
        let since = self.loss.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed());
        if since.is_some_and(|since| since < GRACE) {
            self.counts().lost += 1;
        } else {
            self.wrong(sentence);
        }
    }

    pub(crate) fn wrong(&self, sentence: String) {
        let sentence = format!("[{:.1} s] {sentence}", self.began.elapsed().as_secs_f64());
        let mut counts = self.counts();
        counts.wrong += 1;
        keep(&mut counts, sentence);
    }

    /// A master is lost now, and with it what nobody else has.
    pub(crate) fn master_is_lost(&self) {
        *self.loss.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// A Redan is being replaced by another process, or not any more.
    pub(crate) fn is_replacing(&self, now: bool) {
        let before = self.replacing.swap(now, Ordering::Relaxed);
        if before && !now {
            *self.replaced.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }

    /// Whether a connection may have ended with a process that was replaced.
    fn was_replaced(&self) -> bool {
        let replaced = *self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        self.replacing.load(Ordering::Relaxed) || replaced.is_some_and(|at| at.elapsed() < NOTICED)
    }

    pub(crate) fn take(&self) -> Counts {
        self.counts().clone()
    }
}

fn keep(counts: &mut Counts, sentence: String) {
    if counts.sentences.len() < KEPT {
        eprintln!("         {sentence}");
        counts.sentences.push(sentence);
    }
}
