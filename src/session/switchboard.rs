//! Lets a session ask all workers something about their sessions, and gathers the answers.
//!
//! CLIENT LIST, KILL, PAUSE and the like speak of clients that other workers serve; the operator's commands do too, which admin
//! asks here. A question goes into every worker's
//! mailbox, each worker answers for its own sessions on its own thread, and the asking session waits for the last
//! answer as it waits for a connection. No lock is held anywhere, and a worker that is stuck costs an error, not a hang.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::clients::filter::Filter;
use super::rows::{LaneRow, SessionRow, Wanted};
use crate::insight;
use crate::topology::NodeId;

/// A worker answers within a turn of its loop, well under a millisecond; one that needs 5 s is stuck, and its
/// heartbeat says so to the operator as well.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one session wants to know of the sessions of its group, or to happen to them.
#[derive(Debug)]
pub(crate) enum Ask {
    List(Filter),
    /// Close them, save `by`, which closes itself once it is answered.
    Kill {
        filter: Filter,
        by: u64,
    },
    Pause {
        until: Instant,
        all: bool,
    },
    Unpause,
    /// The operator's pause: everybody waits, until then at the latest.
    Suspend {
        until: Instant,
    },
    Resume,
    /// How much is under way.
    Busy,
    /// Rows for the operator.
    Sessions(Wanted),
    Lanes {
        node: Option<NodeId>,
        limit: usize,
    },
    /// Connections to a node, or to all, are to be replaced as soon as they owe nothing.
    Reconnect {
        node: Option<NodeId>,
    },
    Unblock {
        id: u64,
        with_error: bool,
    },
    /// About single commands. Meant for the worker, whatever the group.
    Insight(insight::Ask),
    /// Which worker serves it.
    Exists(u64),
    /// Keys that are no longer what they were, for the session they were redirected to: complete RESP arrays, or nulls.
    Invalidate {
        to: u64,
        keys: Vec<Vec<u8>>,
    },
}

/// What one worker says.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Clients with their ids.
    Lines(Vec<(u64, String)>),
    Count(u64),
    Busy {
        /// Commands that are not answered.
        unanswered: u64,
        /// Clients that wait at a node by design.
        blocked: u64,
    },
    /// How many are meant, and rows of some of them.
    Sessions(u64, Vec<SessionRow>),
    Lanes(u64, Vec<LaneRow>),
    Insight(insight::Answer),
    /// The node's own error.
    Refused(String),
    /// It serves the session.
    Here(usize),
    Done,
}

/// A question on its way to one worker. A worker that ends without an answer drops it, which the asker notices.
#[derive(Debug)]
pub(crate) struct Question {
    /// Index of the group whose sessions are meant.
    pub(crate) group: usize,
    pub(crate) ask: Arc<Ask>,
    /// One answer from each worker at most, so what lies in the channel is bounded by their number.
    pub(crate) answers: mpsc::UnboundedSender<Answer>,
}

type Desk = Box<dyn Fn(Question) + Send + Sync>;

/// The way to all workers. Made by `app`, since the mailboxes are above this module.
pub(crate) struct Switchboard {
    desks: Vec<Desk>,
    patience: Duration,
}

impl Switchboard {
    /// One function per worker, in their order; each must only drop the question into a mailbox.
    pub(crate) fn new(desks: Vec<Desk>) -> Self {
        Self { desks, patience: PATIENCE }
    }

    /// Asks all workers. `None`: one of them did not answer in time.
    pub(crate) async fn ask(&self, group: usize, ask: Ask) -> Option<Vec<Answer>> {
        self.gather(self.desks.iter(), group, ask).await
    }

    /// Asks one worker.
    pub(super) async fn ask_one(&self, worker: usize, group: usize, ask: Ask) -> Option<Vec<Answer>> {
        self.gather(self.desks.get(worker).into_iter(), group, ask).await
    }

    async fn gather(&self, desks: impl Iterator<Item = &Desk>, group: usize, ask: Ask) -> Option<Vec<Answer>> {
        let (answers, mut answered) = mpsc::unbounded_channel();
        let ask = Arc::new(ask);
        for desk in desks {
            desk(Question { group, ask: Arc::clone(&ask), answers: answers.clone() });
        }
        // The channel ends when the last question is answered or dropped.
        drop(answers);
        let all = async {
            let mut gathered = Vec::new();
            while let Some(answer) = answered.recv().await {
                gathered.push(answer);
            }
            gathered
        };
        tokio::time::timeout(self.patience, all).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(answer: u64) -> Desk {
        Box::new(move |question| drop(question.answers.send(Answer::Count(answer))))
    }

    #[tokio::test]
    async fn every_worker_is_asked_and_one_that_has_ended_is_not_missed() {
        let ended: Desk = Box::new(drop);
        let switchboard = Switchboard::new(vec![count(1), ended, count(2)]);
        let answers = switchboard.ask(0, Ask::Unpause).await.expect("all answered");
        assert_eq!(answers.iter().map(|a| if let Answer::Count(n) = a { *n } else { 0 }).sum::<u64>(), 3);
        assert_eq!(switchboard.ask_one(2, 0, Ask::Unpause).await.expect("answered").len(), 1);
    }

    #[tokio::test]
    async fn a_worker_that_is_stuck_costs_no_more_than_its_patience() {
        let (kept, _keep) = std::sync::mpsc::channel();
        let stuck: Desk = Box::new(move |question| drop(kept.send(question)));
        let mut switchboard = Switchboard::new(vec![count(1), stuck]);
        switchboard.patience = Duration::from_millis(20);
        assert!(switchboard.ask(0, Ask::Unpause).await.is_none());
    }
}
