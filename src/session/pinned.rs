//! A session with a connection of its own to the master: transactions, blocking calls, subscriptions, large commands.
//!
//! The session's task drives the pin itself: commands in, replies out, no other task. It takes the pin when nothing of the
//! session is in flight and gives it back when it is clean, so order is kept on both sides. What was sent and can
//! be sent again is kept in a journal: a refused transaction begins again on the new master and the client sees nothing.

use std::collections::VecDeque;
use std::future::Future;
use std::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{self, Poll};

use super::adapted::Adapter;
use super::assured_pins::Assures;
use super::stand_in::StandIns;
use super::subscribe::only_listens;
use super::{Flow, Inner, ReplyMode, Session};
use crate::backend::dial::DialError;
use crate::backend::pin::Pin;
use crate::command;
use crate::config::ClientClass;
use crate::limits;
use crate::metrics::{PinReason, WorkerCounters};
use crate::resp::encode;

pub(super) enum Mode {
    Plain,
    Connecting(pin::Pin<Box<dyn Future<Output = Result<Pin, DialError>>>>),
    Pinned(Box<Pinned>),
}

impl Mode {
    pub(super) fn owes_nothing(&self) -> bool {
        match self {
            Self::Plain => true,
            Self::Connecting(_) => false,
            Self::Pinned(pinned) => pinned.expected.is_empty(),
        }
    }

    /// Nothing but its client's silence keeps it.
    pub(super) fn may_idle_out(&self) -> bool {
        match self {
            Self::Plain => true,
            Self::Connecting(_) => false,
            Self::Pinned(pinned) => pinned.expected.is_empty() && !pinned.subscribes && !pinned.monitors,
        }
    }
}

/// A transaction or watch that lost its connection: what the client must be told at its EXEC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severed {
    Watch,
    /// MULTI after that.
    WatchedTransaction,
    Transaction,
}

/// A reply to come, in the order of the commands.
pub(super) enum Expect {
    Reply,
    /// `+OK` to MULTI, `+QUEUED`: given again when a transaction begins again.
    Opening,
    /// To EXEC. Where keys were watched nil is an answer, on which the client begins again.
    Exec {
        watched: bool,
        stand_ins: StandIns,
    },
    /// To SELECT of this database.
    Select(u32),
    /// To a write in front of WAIT, which gives WAIT something to wait for; not shown.
    Barrier,
    /// To AUTH, by which the connection follows its session to another user; not shown.
    Login,
    /// Not shown.
    Drop,
    /// To SHUTDOWN, which a server answers only when it fails: its end is the answer, for the client too.
    Shutdown,
    /// The client gets this instead.
    Replace(Vec<u8>),
    /// To CLIENT TRACKING: whether the client is told.
    Tracking {
        announce: bool,
    },
    /// The client gets it rewritten.
    Adapted(Box<Adapter>),
}

pub(super) struct Pinned {
    pub(super) pin: Pin,
    pub(super) expected: VecDeque<Expect>,
    pub(super) in_multi: bool,
    pub(super) watching: bool,
    /// Which of `expected` tell of writes, where that matters.
    pub(super) assures: Assures,
    /// Kept until the session ends, and never lent again.
    pub(super) for_session: bool,
    /// What it is kept for is known and cannot be had again without the client: tracking, MONITOR, a database.
    pub(super) irreplaceable: bool,
    /// It has subscriptions, or had.
    pub(super) subscribes: bool,
    /// RESP2 with subscriptions: replies and messages cannot be told apart, so none is expected.
    pub(super) subscribed: bool,
    /// The node refused to queue a command of the transaction, and the client was told that it is queued.
    pub(super) doomed: bool,
    /// A SUBSCRIBE is queued in the transaction.
    pub(super) subscribes_at_exec: bool,
    /// SELECT is queued in the transaction.
    pub(super) selects_at_exec: Option<u32>,
    /// Commands of the transaction that the node was sent, and whether one of them writes.
    pub(super) queued: u32,
    pub(super) writes_queued: bool,
    /// Commands of the transaction that Redan answers itself.
    pub(super) stand_ins: StandIns,
    /// The session tracks over it, and must tell the node so first; it has told it before.
    pub(super) tracks: bool,
    pub(super) to_set_up: bool,
    pub(super) has_tracked: bool,
    /// Commands in the journal that may have changed something, outside transactions.
    pub(super) changes: u32,
    /// MONITOR.
    pub(super) monitors: bool,
    /// The command in front waits at the node by design.
    pub(super) blocking: bool,
    /// It asks XREAD for what comes after now, which no other node can know.
    pub(super) from_now: bool,
    /// Half a command has been sent on.
    pub(super) uploading: bool,
    /// All of it sent, it may wait at the node.
    pub(super) uploads_wait: bool,
    /// The node has some of it.
    pub(super) started: bool,
    /// Something was sent that must not meet the next borrower.
    pub(super) spoiled: bool,
    /// Everything sent on this pin, while all of it may be sent again.
    pub(super) journal: Option<Vec<u8>>,
    /// Replies to commands of the journal that the client has.
    pub(super) given: usize,
    /// Replies to commands of the journal that the client had before this pin.
    pub(super) to_skip: usize,
    /// Scanned bytes of `pin.input`.
    pub(super) scanned: usize,
    pub(super) in_piece: bool,
    pub(super) push_in_piece: bool,
    _open: Open,
}

/// Counts the pin while it lives.
struct Open(Arc<WorkerCounters>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.pins_open.decrement();
    }
}

/// What a turn with the pin came to.
pub(super) enum After {
    Keep(Flow),
    /// Nothing is open on it.
    Release,
    /// The node did not execute what it was sent: everything is sent again, elsewhere.
    Restart,
    /// RESET.
    Reset,
    Lost(String),
}

impl Pinned {
    fn new(pin: Pin, to_skip: usize, counters: &Arc<WorkerCounters>) -> Self {
        counters.pins_open.increment();
        Self {
            pin,
            expected: VecDeque::new(),
            in_multi: false,
            watching: false,
            assures: Assures::default(),
            for_session: false,
            irreplaceable: false,
            subscribes: false,
            subscribed: false,
            doomed: false,
            subscribes_at_exec: false,
            selects_at_exec: None,
            queued: 0,
            writes_queued: false,
            stand_ins: StandIns::default(),
            tracks: false,
            to_set_up: false,
            has_tracked: false,
            changes: 0,
            monitors: false,
            blocking: false,
            from_now: false,
            uploading: false,
            uploads_wait: false,
            started: false,
            spoiled: false,
            journal: Some(Vec::new()),
            given: 0,
            to_skip,
            scanned: 0,
            in_piece: false,
            push_in_piece: false,
            _open: Open(Arc::clone(counters)),
        }
    }

    /// Another command may go over this pin now.
    pub(super) fn takes_more(&self) -> bool {
        if matches!(self.expected.front(), Some(Expect::Login)) {
            // Until the node has said yes, the connection speaks as somebody else. Nothing was outstanding before it.
            return false;
        }
        let open = self.in_multi || self.watching || self.for_session || self.tracks || self.uploading;
        let room = self.expected.is_empty() || (open && self.expected.len() < limits::IN_FLIGHT);
        !self.is_blocked() && room
    }

    fn is_done(&self) -> bool {
        let used = self.journal.as_ref().is_none_or(|journal| !journal.is_empty());
        let kept = self.for_session || self.tracks || self.to_set_up;
        used && self.expected.is_empty() && !self.in_multi && !self.watching && !kept && !self.uploading
    }

    /// A command waits at the node.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocking && !self.expected.is_empty()
    }

    /// The session does not track over it any more.
    pub(super) fn ends_tracking(&mut self) {
        self.tracks = false;
        self.to_set_up = false;
        self.has_tracked = false;
        self.spoiled = true;
        self.journal = None;
    }

    /// Nothing is open on a connection that tracks: what comes now can be sent again as if it were a new one.
    pub(super) fn begin_journal(&mut self) {
        let open = self.in_multi || self.watching || self.uploading || !self.expected.is_empty();
        if self.tracks && !open && self.journal.is_none() {
            self.journal = Some(Vec::new());
            (self.given, self.to_skip, self.changes) = (0, 0, 0);
        }
    }

    /// EXEC or DISCARD was sent.
    pub(super) fn transaction_ends(&mut self) {
        self.in_multi = false;
        self.watching = false;
        self.queued = 0;
        self.writes_queued = false;
        self.stand_ins = StandIns::default();
    }

    /// EXEC may be answered with nil.
    pub(super) fn is_guarded(&self) -> bool {
        self.watching || self.expected.iter().any(|expect| matches!(expect, Expect::Exec { watched: true, .. }))
    }

    fn is_clean(&self) -> bool {
        !self.spoiled && self.pin.backlog() == 0 && self.pin.input.is_empty()
    }
}

impl Session {
    /// The command in front needs a pin. `None`: there is none within the hold, and the caller answers.
    pub(super) fn enter_pin(
        self: &Rc<Self>,
        inner: &mut Inner,
        reason: PinReason,
        cx: &mut task::Context<'_>,
    ) -> Option<Flow> {
        if let Some(flow) = inner.settled() {
            return Some(flow);
        }
        if self.pauses(inner, cx) == Flow::Wait {
            return Some(Flow::Wait);
        }
        let pool = &self.context.pool;
        let master = pool.snapshot().master().filter(|master| !pool.is_troubled(master.id)).cloned();
        let expired = inner.retrying_since.is_some_and(|since| since.elapsed() >= self.context.listener.hold);
        let Some(master) = master.filter(|_| !expired) else {
            if !expired && self.hold(inner, cx) == Flow::Wait {
                return Some(Flow::Wait);
            }
            inner.retrying_since = None;
            inner.attempts = 0;
            return None;
        };
        self.context.workspace.counters.pins.of(reason).increment();
        inner.mode = Mode::Connecting(Box::pin(Rc::clone(pool).pin(master, inner.dialect)));
        Some(Flow::Again)
    }

    /// The command in front is too long to be gathered: it is streamed over a pin, or discarded as it comes.
    pub(super) fn enter_large(self: &Rc<Self>, inner: &mut Inner, buf: &[u8], cx: &mut task::Context<'_>) -> Flow {
        if inner.is_in_severed_transaction() {
            inner.discarding = Some(NOT_EXECUTED.to_owned());
            return Flow::Again;
        }
        if inner.only_listens() {
            let name = inner.scanner.name();
            let spec = name.and_then(|name| command::lookup(name.of(buf), inner.scanner.second().map(|s| s.of(buf))));
            inner.discarding = Some(only_listens(spec, None, buf));
            return Flow::Again;
        }
        if let Err(words) = self.may_be_streamed(inner, buf) {
            inner.discarding = Some(words);
            return Flow::Again;
        }
        self.enter_pin(inner, PinReason::Large, cx).unwrap_or_else(|| {
            inner.discarding = Some(self.hold_error());
            Flow::Again
        })
    }

    pub(super) fn step_pinned(self: &Rc<Self>, inner: &mut Inner, cx: &mut task::Context<'_>) -> Flow {
        match std::mem::replace(&mut inner.mode, Mode::Plain) {
            Mode::Plain => Flow::Again,
            Mode::Connecting(mut future) => match future.as_mut().poll(cx) {
                Poll::Pending => {
                    inner.mode = Mode::Connecting(future);
                    Flow::Wait
                }
                Poll::Ready(Ok(pin)) => {
                    self.end_hold(inner);
                    inner.muted = inner.reply_mode == ReplyMode::Off;
                    let to_skip = std::mem::take(&mut inner.skip_replies);
                    let mut pinned = Pinned::new(pin, to_skip, &self.context.workspace.counters);
                    pinned.to_set_up = inner.tracking.is_some();
                    inner.mode = Mode::Pinned(Box::new(pinned));
                    Flow::Again
                }
                // The node is in trouble now, so the next try holds.
                Poll::Ready(Err(DialError::Unreachable(_))) => Flow::Again,
                // The session ends with its login; the word of a node that is not the master any more counts for nothing.
                Poll::Ready(Err(DialError::Login(_))) => Flow::Again,
                Poll::Ready(Err(DialError::Dialect(words))) => {
                    inner.discarding = Some(words);
                    Flow::Again
                }
            },
            Mode::Pinned(mut pinned) => {
                let after = self.turn(inner, &mut pinned, cx);
                inner.class = if pinned.subscribes { ClientClass::Pubsub } else { ClientClass::Normal };
                self.after_turn(inner, pinned, after)
            }
        }
    }

    fn after_turn(&self, inner: &mut Inner, mut pinned: Box<Pinned>, after: After) -> Flow {
        match after {
            After::Keep(flow) => {
                inner.mode = Mode::Pinned(pinned);
                return flow;
            }
            After::Release if pinned.is_clean() => self.context.pool.give_back(pinned.pin),
            After::Release => {}
            After::Restart => self.begin_again(inner, &mut pinned),
            After::Reset => {
                self.leave_all(inner);
                self.begin_anew(inner);
                self.answer_with(inner, |out| encode::simple(out, "RESET"));
            }
            After::Lost(words) => self.lost_pin(inner, &mut pinned, &words),
        }
        Flow::Again
    }

    /// Moves bytes both ways until both would wait.
    fn turn(self: &Rc<Self>, inner: &mut Inner, pinned: &mut Pinned, cx: &mut task::Context<'_>) -> After {
        if self.is_left_behind(pinned) {
            // A command that Redan does not know may have left nothing on the connection: then it is not missed.
            let missed = pinned.in_multi || pinned.watching || pinned.irreplaceable || !pinned.expected.is_empty();
            if pinned.for_session && !missed && !pinned.subscribed && !pinned.tracks {
                return After::Release;
            }
            return After::Lost("its node is not the master any more".to_owned());
        }
        for _ in 0..limits::ROUNDS_WITH_A_PIN {
            if self.redirect_is_lost(inner, pinned) {
                return After::Lost("the connection for redirected invalidations is lost".to_owned());
            }
            let mut moved = false;
            match send(&mut pinned.pin, cx) {
                Ok(sent) => pinned.started |= sent,
                Err(error) => return After::Lost(error.to_string()),
            }
            if inner.output.len() <= limits::OUTPUT_PAUSE {
                match self.read_pin(inner, pinned, cx) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(())) => moved = true,
                    Poll::Ready(Err(after)) => return after,
                }
            }
            if inner.dead {
                return After::Keep(Flow::Again);
            }
            if pinned.is_done() {
                return After::Release;
            }
            match self.forward(inner, pinned, cx) {
                Ok(forwarded) => moved |= forwarded,
                Err(after) => return after,
            }
            if inner.closing {
                if moved {
                    continue;
                }
                return After::Keep(Flow::Wait);
            }
            // Whoever does not take what it is sent is not read either.
            let room = inner.input.len() < limits::GATHERED_COMMAND
                && pinned.pin.backlog() < limits::OUTPUT_PAUSE
                && inner.output.len() <= limits::OUTPUT_PAUSE;
            if room && !inner.ended_input {
                moved |= self.read_client(inner, pinned, cx);
            }
            if inner.ended_input && (pinned.blocking || pinned.for_session) {
                // The client is gone: closing the pin ends what it was waiting for.
                inner.dead = true;
                return After::Keep(Flow::Again);
            }
            if !moved {
                if pinned.is_blocked() && self.is_at_rival(pinned) {
                    return After::Lost("its node says it is the master, and another node is".to_owned());
                }
                if inner.ended_input && pinned.pin.backlog() == 0 {
                    // Of a half-sent command the rest will not come; otherwise the client has its last reply.
                    inner.dead |= pinned.uploading;
                    inner.closing |= pinned.expected.is_empty();
                }
                return After::Keep(if inner.dead { Flow::Again } else { Flow::Wait });
            }
        }
        // Others have their turn after some of these.
        After::Keep(Flow::Again)
    }

    /// `true` when something came, the end included.
    fn read_client(&self, inner: &mut Inner, pinned: &Pinned, cx: &mut task::Context<'_>) -> bool {
        let workspace = &self.context.workspace;
        let mut scratch = workspace.scratch.borrow_mut();
        match inner.stream.poll_read(cx, &mut workspace.cipher.borrow_mut(), &mut scratch) {
            Poll::Pending => {
                // A drain waits for transactions, not for subscriptions and other waits without end.
                let kept = pinned.for_session || pinned.tracks;
                inner.closing |= workspace.draining.get() && kept && pinned.expected.is_empty();
                false
            }
            Poll::Ready(Ok(0) | Err(_)) => {
                inner.ended_input = true;
                true
            }
            Poll::Ready(Ok(n)) => {
                workspace.counters.bytes_in.add(n as u64);
                inner.last_active = std::time::Instant::now();
                inner.input.extend_from_slice(&scratch[..n]);
                true
            }
        }
    }
}

/// For the client of a command that the master's change got in the way of.
pub(super) const NOT_EXECUTED: &str =
    "LOADING Redan: the master has just changed; this command was not executed, send it again";

/// Sends what waits; `true` when some went.
fn send(pin: &mut Pin, cx: &mut task::Context<'_>) -> std::io::Result<bool> {
    let mut some = false;
    while pin.backlog() > 0 || pin.stream.wants_flush() {
        let result = if pin.backlog() > 0 {
            pin.stream.try_write(&pin.output[pin.sent..])
        } else {
            pin.stream.flush().map(|_| 0)
        };
        match result {
            Ok(n) => {
                some |= n > 0;
                pin.sent += n;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if (pin.backlog() > 0 || pin.stream.wants_flush()) && pin.stream.poll_write_ready(cx)?.is_pending() {
            return Ok(some);
        }
    }
    pin.output.clear();
    pin.output.shrink_to(limits::KEPT_BUFFER);
    pin.sent = 0;
    Ok(some)
}
