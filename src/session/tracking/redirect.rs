//! What is redirected: a second connection to the node, whose invalidations are handed to another session.
//!
//! A task of its own reads the connection and sends what comes to the worker of that session, one delivery at a time, so
//! that nothing piles up where that worker is slow. It ends with its [`Redirect`], or when the connection breaks.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{self, Poll, Waker};

use tokio::task::AbortHandle;

use crate::backend::dial::Dialect;
use crate::backend::login::UserKey;
use crate::backend::pin::Pin;
use crate::limits;
use crate::resp::reply::ReplyScanner;
use crate::session::Session;
use crate::session::switchboard::{Answer, Ask};
use crate::topology::NodeId;

/// What the task and its session share.
#[derive(Default)]
struct State {
    /// What CLIENT ID says on the connection, once it is open.
    number: Cell<Option<u64>>,
    lost: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

/// Lives as long as the connection is wanted.
pub(super) struct Redirect {
    state: Rc<State>,
    task: AbortHandle,
}

impl Drop for Redirect {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const INVALIDATE: &[u8] = b">2\r\n$10\r\ninvalidate\r\n";

impl Redirect {
    /// `to` is the session that gets what comes, `home` its worker.
    pub(super) fn open(session: &Rc<Session>, node: NodeId, user: UserKey, to: u64, home: usize) -> Self {
        let state = Rc::new(State::default());
        let task = tokio::task::spawn_local(run(Rc::downgrade(session), Rc::clone(&state), node, user, to, home));
        Self { state, task: task.abort_handle() }
    }

    /// The connection's number at the node, to be named in its place.
    pub(super) fn poll_number(&self, cx: &task::Context<'_>) -> Option<u64> {
        if self.state.number.get().is_none() {
            self.state.waker.set(Some(cx.waker().clone()));
        }
        self.state.number.get()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.state.lost.get()
    }
}

async fn run(session: Weak<Session>, state: Rc<State>, node: NodeId, user: UserKey, to: u64, home: usize) {
    let opened = open(&session, node, user).await;
    if let Some(pin) = opened {
        state.number.set(pin.number);
        wake(&state);
        if pin.number.is_some() {
            hand_on(&session, pin, to, home).await;
        }
    }
    // The session sets everything up anew.
    state.lost.set(true);
    wake(&state);
    if let Some(session) = session.upgrade() {
        session.wake();
    }
}

fn wake(state: &State) {
    if let Some(waker) = state.waker.take() {
        waker.wake();
    }
}

async fn open(session: &Weak<Session>, node: NodeId, user: UserKey) -> Option<Pin> {
    let pool = Rc::clone(&session.upgrade()?.context.pool);
    let node = pool.snapshot().node(node)?.clone();
    pool.pin(node, Dialect { resp3: true, ..Dialect::of(user) }).await.ok()
}

/// Until the connection breaks, or says what it should not.
async fn hand_on(session: &Weak<Session>, mut pin: Pin, to: u64, home: usize) {
    let Some(context) = session.upgrade().map(|session| Rc::clone(&session.context)) else {
        return;
    };
    let (mut input, mut at) = (Vec::new(), 0);
    let mut scanner = ReplyScanner::new();
    loop {
        let read = poll_fn(|cx| {
            let mut scratch = context.workspace.scratch.borrow_mut();
            match pin.stream.poll_read(cx, &mut context.workspace.cipher.borrow_mut(), &mut scratch) {
                Poll::Ready(Ok(n)) => {
                    input.extend_from_slice(&scratch[..n]);
                    Poll::Ready(n)
                }
                Poll::Ready(Err(_)) => Poll::Ready(0),
                Poll::Pending => Poll::Pending,
            }
        });
        // A message about a key with a name of such a length is not worth to be kept.
        if read.await == 0 || input.len() > limits::ADAPTED_REPLY {
            return;
        }
        let (mut start, mut keys) = (0, Vec::new());
        while at < input.len() {
            let Ok(scanned) = scanner.advance(&input[at..]) else {
                return;
            };
            at += scanned.consumed;
            if !scanned.done {
                break;
            }
            keys.extend(input[start..at].strip_prefix(INVALIDATE).map(<[u8]>::to_vec));
            start = at;
        }
        input.drain(..start);
        at -= start;
        if keys.is_empty() {
            continue;
        }
        let ask = Ask::Invalidate { to, keys };
        let answers = context.workspace.switchboard.ask_one(home, context.pool.group_index(), ask).await;
        let arrived = answers.is_none_or(|answers| answers.iter().any(|answer| matches!(answer, Answer::Here(_))));
        if let (false, Some(session)) = (arrived, session.upgrade()) {
            session.redirect_broke();
        }
    }
}
