//! A question of Redan's own over a lane: one command, one reply, awaited.
//!
//! Used for marks, to learn commands, and to end a wait at its node. The lane for questions carries nothing else, so no client waits behind one.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::dial::Dialect;
use super::lane::Purpose;
use super::pool::Pool;
use super::recipient::{Effect, Errand, Judged, Lost, Origin, Recipient};
use crate::resp::encode;
use crate::topology::{Node, NodeId};

/// RESP2 and database 0, whatever the sessions speak: one lane per node is enough for questions.
const DIALECT: Dialect = Dialect::GROUP;

/// The node's reply, errors included. `None`: it has none within `patience`, or one too long to be gathered.
pub(super) async fn ask(pool: &Rc<Pool>, node: &Node, command: &[u8], patience: Duration) -> Option<Vec<u8>> {
    let lane = pool.lane(node, Purpose::Marks, DIALECT)?;
    let question = Rc::new(Question { state: RefCell::new(State::Waiting(None)) });
    lane.submit(&question, 0, command, Errand::own(Effect::Read));
    let answer = poll_fn(|cx| match &mut *question.state.borrow_mut() {
        State::Answered(reply) => Poll::Ready(reply.take()),
        State::Waiting(waker) => {
            *waker = Some(cx.waker().clone());
            Poll::Pending
        }
    });
    tokio::time::timeout(patience, answer).await.ok().flatten()
}

impl Pool {
    /// The same in words, for a session: the node's reply to a command that is sent once.
    pub(crate) async fn ask_node(
        self: &Rc<Self>,
        node: NodeId,
        words: &[&[u8]],
        patience: Duration,
    ) -> Option<Vec<u8>> {
        let node = self.snapshot().node(node)?.clone();
        let mut command = Vec::new();
        encode::command(&mut command, words);
        ask(self, &node, &command, patience).await
    }
}

struct Question {
    state: RefCell<State>,
}

enum State {
    Waiting(Option<Waker>),
    Answered(Option<Vec<u8>>),
}

impl Question {
    fn answer(&self, reply: Option<&[u8]>) {
        if let State::Waiting(Some(waker)) = self.state.replace(State::Answered(reply.map(<[u8]>::to_vec))) {
            waker.wake();
        }
    }
}

impl Recipient for Question {
    fn replies(&self, _: Origin, _: u64, _: u32, bytes: &[u8]) {
        self.answer(Some(bytes));
    }

    fn piece(&self, _: Origin, _: u64, _: &[u8], _: bool) {
        self.answer(None);
    }

    fn judged(&self, _: Origin, judged: Judged<'_>) {
        self.answer(Some(judged.reply));
    }

    fn lost(&self, _: Lost<'_>) {
        self.answer(None);
    }

    fn backlog(&self) -> usize {
        0
    }

    fn wake_when_drained(&self, waker: &Waker, _others: bool) {
        waker.wake_by_ref();
    }
}
