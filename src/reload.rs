//! The order to read the configuration again, and what came of it: between whoever asks and `app`, which does it.
//!
//! SIGHUP gives it without waiting for an answer; other callers get one in words. The numbers are for `/metrics`. Nothing in
//! here may know what a configuration is.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot};

use crate::metrics::{Counter, Gauge};

/// What came of reading the configuration again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// `false`: nothing has changed.
    pub(crate) accepted: bool,
    /// A line for each difference, or for each reason why not.
    pub(crate) lines: Vec<String>,
}

/// By which anybody may ask. Its numbers are written by the thread that reloads.
#[derive(Debug)]
pub(crate) struct Reloads {
    asks: mpsc::UnboundedSender<Ask>,
    /// Configurations used so far: 1 is that of the start.
    pub(crate) generation: Gauge,
    pub(crate) accepted: Counter,
    pub(crate) refused: Counter,
    /// Whether the last one was accepted.
    pub(crate) last_accepted: Gauge,
    /// When a configuration was last accepted, in seconds since 1970.
    pub(crate) accepted_at: Gauge,
}

/// Whom to tell, if anybody.
type Ask = Option<oneshot::Sender<Outcome>>;

/// The end at which it is done.
#[derive(Debug)]
pub(crate) struct Asks(mpsc::UnboundedReceiver<Ask>);

impl Reloads {
    pub(crate) fn new() -> (Arc<Self>, Asks) {
        let (asks, asked) = mpsc::unbounded_channel();
        let reloads = Self {
            asks,
            generation: Gauge::default(),
            accepted: Counter::default(),
            refused: Counter::default(),
            last_accepted: Gauge::default(),
            accepted_at: Gauge::default(),
        };
        reloads.begins();
        (Arc::new(reloads), Asks(asked))
    }

    /// The file is in use.
    fn begins(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.generation.set(self.generation.get() + 1);
        self.last_accepted.set(1);
        self.accepted_at.set(now.as_secs());
    }

    /// Without waiting for what comes of it.
    pub(crate) fn signal(&self) {
        // Nobody reloads any more when the process ends.
        let _ = self.asks.send(None);
    }

    /// Completes with what came of it.
    pub(crate) async fn ask(&self) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        let ending = || Outcome { accepted: false, lines: vec!["Redan is ending; nothing was read".to_owned()] };
        if self.asks.send(Some(answer)).is_err() {
            return ending();
        }
        outcome.await.unwrap_or_else(|_| ending())
    }

    /// Counts it.
    pub(crate) fn note(&self, outcome: &Outcome) {
        if outcome.accepted {
            self.accepted.increment();
            self.begins();
        } else {
            self.refused.increment();
            self.last_accepted.set(0);
        }
    }
}

impl Asks {
    /// Everybody who has asked since the last time: one reading is enough for all. `None`: nobody can ask any more.
    pub(crate) async fn next(&mut self) -> Option<Vec<oneshot::Sender<Outcome>>> {
        let mut all = vec![self.0.recv().await?];
        while let Ok(more) = self.0.try_recv() {
            all.push(more);
        }
        Some(all.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_reading_answers_all_who_have_asked() {
        let (reloads, mut asks) = Reloads::new();
        reloads.signal();
        let outcome = Outcome { accepted: true, lines: vec!["hold".to_owned()] };
        let answering = async {
            let mut answered = 0;
            while answered < 2 {
                let all = asks.next().await.expect("somebody asks");
                reloads.note(&outcome);
                answered += all.len();
                all.into_iter().for_each(|ask| ask.send(outcome.clone()).expect("it waits"));
            }
        };
        let ((), first, second) = tokio::join!(answering, reloads.ask(), reloads.ask());
        assert_eq!((&first, &second), (&outcome, &outcome));
        assert_eq!((reloads.refused.get(), reloads.last_accepted.get()), (0, 1));
        assert!(reloads.generation.get() >= 2);
        drop(asks);
        assert!(!reloads.ask().await.accepted);
    }
}
