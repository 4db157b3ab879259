//! What one worker says to a question about its sessions, on its own thread between two turns of its loop.
//!
//! Called by the worker, which knows its sessions. Nothing here may wait: an answer that a node must give comes later,
//! from a task.

use std::cell::RefMut;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::backend::pool::Pool;
use crate::session::clients::filter::Filter;
use crate::session::pinned::Mode;
use crate::session::rows::Wanted;
use crate::session::switchboard::{Answer, Ask, Question};
use crate::session::{Inner, Session};
use crate::topology::NodeId;

/// Who can end a session's wait.
pub(super) enum Unblocking {
    NotBlocked,
    /// The session itself: nothing of its command has been sent.
    Done,
    /// The node where it waits: only the node knows whether an element was given to it in this moment.
    Node {
        node: NodeId,
        connection: u64,
    },
}

/// `sessions` are those of the question's group on worker number `worker`; `one` finds one of them by its id.
pub(crate) fn answer<'a>(
    question: Question,
    worker: usize,
    pool: &Rc<Pool>,
    sessions: impl Iterator<Item = &'a Rc<Session>>,
    one: impl Fn(u64) -> Option<&'a Rc<Session>>,
) {
    let Question { ask, answers, .. } = question;
    let now = Instant::now();
    // Between two turns no session is at work, so each can be looked at. One that was killed is gone for everybody who asks
    // from then on, also before its own last turn: CLIENT KILL and CLIENT LIST may follow each other within one EXEC.
    let each = sessions.filter_map(|session| Some((session, session.inner.try_borrow_mut().ok()?)));
    let each = each.filter(|(_, inner)| !inner.dead);
    let said = match &*ask {
        Ask::List(filter) => list(each, filter, now),
        Ask::Kill { filter, by } => kill(each, filter, *by, now),
        Ask::Pause { until, all } => {
            Rc::clone(&pool.pause).begin(*until, *all);
            Answer::Done
        }
        Ask::Unpause => {
            pool.pause.end();
            Answer::Done
        }
        Ask::Suspend { until } => {
            Rc::clone(&pool.pause).suspend(*until);
            Answer::Done
        }
        Ask::Resume => {
            pool.pause.resume();
            Answer::Done
        }
        Ask::Busy => busy(pool, each),
        Ask::Sessions(wanted) => rows(each, wanted, worker, now),
        Ask::Lanes { node, limit } => lanes(pool, worker, *node, *limit),
        // The worker's own, which has answered.
        Ask::Insight(_) => Answer::Done,
        Ask::Reconnect { node } => Answer::Count(pool.reconnect(*node)),
        Ask::Exists(id) => one(*id).map_or(Answer::Done, |_| Answer::Here(worker)),
        Ask::Invalidate { to, keys } => match one(*to) {
            Some(session) => {
                keys.iter().for_each(|keys| session.deliver_invalidation(keys));
                Answer::Here(worker)
            }
            None => Answer::Done,
        },
        Ask::Unblock { id, with_error } => {
            let unblocking = one(*id).map_or(Unblocking::NotBlocked, |session| session.unblock(*with_error));
            match unblocking {
                Unblocking::NotBlocked => Answer::Count(0),
                Unblocking::Done => Answer::Count(1),
                Unblocking::Node { node, connection } => {
                    let (pool, with_error) = (Rc::clone(pool), *with_error);
                    tokio::task::spawn_local(async move {
                        // Nobody listens when the asker has lost its patience.
                        let _ = answers.send(unblock_at_node(pool, node, connection, with_error).await);
                    });
                    return;
                }
            }
        }
    };
    // As above.
    let _ = answers.send(said);
}

/// A session between two of its turns.
type AtRest<'a> = (&'a Rc<Session>, RefMut<'a, Inner>);

/// CLIENT LIST.
fn list<'a>(each: impl Iterator<Item = AtRest<'a>>, filter: &Filter, now: Instant) -> Answer {
    let meant = each.filter(|(session, inner)| session.is_meant_by(inner, filter, now));
    Answer::Lines(
        meant.map(|(session, inner)| (session.id, session.line(&inner, inner.own_connection(), now))).collect(),
    )
}

/// CLIENT KILL, asked by session `by`.
fn kill<'a>(each: impl Iterator<Item = AtRest<'a>>, filter: &Filter, by: u64, now: Instant) -> Answer {
    let meant = each.filter(|(session, inner)| session.id != by && session.is_meant_by(inner, filter, now));
    Answer::Count(meant.map(|(session, mut inner)| session.close_now(&mut inner)).count() as u64)
}

/// For the operator.
fn rows<'a>(each: impl Iterator<Item = AtRest<'a>>, wanted: &Wanted, worker: usize, now: Instant) -> Answer {
    let (mut meant, mut rows) = (0, Vec::new());
    for (session, inner) in each.filter(|(session, inner)| session.is_wanted(inner, wanted, now)) {
        meant += 1;
        // Ten thousand rows would keep the worker from its clients for milliseconds.
        if rows.len() < wanted.limit {
            rows.push(session.row(&inner, worker, now));
        }
    }
    Answer::Sessions(meant, rows)
}

/// For the operator; `node`: those to it alone.
fn lanes(pool: &Pool, worker: usize, node: Option<NodeId>, limit: usize) -> Answer {
    let lanes = pool.all_lanes();
    let meant = lanes.iter().filter(|lane| node.is_none_or(|node| lane.key.node == node));
    let rows = meant.clone().take(limit).map(|lane| lane.row(pool, worker)).collect();
    Answer::Lanes(meant.count() as u64, rows)
}

/// What is under way of the group's sessions on this worker.
fn busy<'a>(pool: &Pool, sessions: impl Iterator<Item = AtRest<'a>>) -> Answer {
    // A session that has gone may have left its commands behind.
    let lanes: usize = pool.lanes_of_clients().iter().map(|lane| lane.load()).sum();
    let (mut unanswered, mut blocked) = (0, 0);
    for (_, inner) in sessions {
        unanswered += inner.unanswered();
        blocked += u64::from(inner.waits_at_node());
    }
    Answer::Busy { unanswered: unanswered.max(lanes) as u64, blocked }
}

/// A node that does not say within this is asked in vain; the session that asks waits no longer than 5 s anyway.
const PATIENCE: Duration = Duration::from_secs(2);

async fn unblock_at_node(pool: Rc<Pool>, node: NodeId, connection: u64, with_error: bool) -> Answer {
    let connection = connection.to_string();
    let reason: &[u8] = if with_error { b"ERROR" } else { b"TIMEOUT" };
    let words: [&[u8]; 4] = [b"CLIENT", b"UNBLOCK", connection.as_bytes(), reason];
    match pool.ask_node(node, &words, PATIENCE).await.as_deref() {
        Some(b":1\r\n") => Answer::Count(1),
        Some([b'-', words @ ..]) => Answer::Refused(String::from_utf8_lossy(words).trim_end().to_owned()),
        // The node is gone: the session's wait begins again elsewhere.
        Some(_) | None => Answer::Count(0),
    }
}

impl Session {
    pub(crate) fn group(&self) -> usize {
        self.context.pool.group_index()
    }

    /// CLIENT KILL: without another word.
    pub(in crate::session) fn close_now(&self, inner: &mut Inner) {
        inner.dead = true;
        self.wake();
    }

    fn unblock(&self, with_error: bool) -> Unblocking {
        let Ok(mut inner) = self.inner.try_borrow_mut() else {
            return Unblocking::NotBlocked;
        };
        // WAIT is known to the node alone.
        if let Mode::Pinned(pinned) = &mut inner.mode
            && pinned.is_blocked()
        {
            // The node is told in a moment. By then the wait may be over, and another session must not meet the same number.
            pinned.spoiled = true;
            return match pinned.pin.number {
                Some(connection) => Unblocking::Node { node: pinned.pin.node, connection },
                // Its server is older than 5.0, and has no such command either.
                None => Unblocking::NotBlocked,
            };
        }
        match &mut inner.waiting {
            Some(waiting) if !waiting.is_sent() => {
                waiting.unblock(with_error);
                self.wake();
                Unblocking::Done
            }
            _ => Unblocking::NotBlocked,
        }
    }
}
