//! What is known of a connection of the session's own to the master: transactions, blocking calls, large commands.
//!
//! What was sent and can be sent again is kept in a journal: a refused transaction begins again on the new master and the
//! client sees nothing. `pinned_turn` moves the bytes, `pinned_forward` and `queued` send commands, `pinned_replies` and
//! `exec` take what comes back, `loss` says what becomes of it all when the connection ends.

use std::collections::VecDeque;
use std::future::Future;
use std::pin;

use super::adapted::Adapter;
use super::assured_pins::Assures;
use super::exec::Settling;
use super::metered::Meters;
use super::queued::Becoming;
use super::stand_in::StandIns;
use super::watched::Watched;
use super::{Flow, Inner};
use crate::backend::dial::DialError;
use crate::backend::pin::Pin;
use crate::limits;
use crate::metrics::NodeHandle;

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
            Self::Pinned(pinned) => pinned.owes_nothing(),
        }
    }

    /// WATCH, and no transaction yet.
    pub(super) fn only_watches(&self) -> bool {
        matches!(self, Self::Pinned(pinned) if pinned.is_watching() && !pinned.in_multi && pinned.owes_nothing())
    }

    /// Nothing but its client's silence keeps it.
    pub(super) fn may_idle_out(&self) -> bool {
        match self {
            Self::Plain => true,
            Self::Connecting(_) => false,
            Self::Pinned(pinned) => pinned.owes_nothing() && !pinned.monitors,
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
    pub(super) watched: Watched,
    /// Which of `expected` tell of writes, where that matters.
    pub(super) assures: Assures,
    /// Kept until the session ends, and never lent again.
    pub(super) for_session: bool,
    /// What it is kept for is known and cannot be had again without the client: tracking, MONITOR, a database.
    pub(super) irreplaceable: bool,
    /// The node refused to queue a command of the transaction, and the client was told that it is queued.
    pub(super) doomed: bool,
    /// Commands of the transaction that the node was sent, and whether one of them writes.
    pub(super) queued: u32,
    pub(super) writes_queued: bool,
    /// Commands of the transaction that Redan has a word in.
    pub(super) stand_ins: StandIns,
    /// Whom an AUTH in the transaction makes of the client.
    pub(super) becomes: Option<Box<Becoming>>,
    /// EXEC's reply, while Redan's words are put into it.
    pub(super) settling: Option<Box<Settling>>,
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
    /// When what is outstanding went out.
    pub(super) meters: Meters,
    _open: Open,
}

/// Counts the pin while it lives.
struct Open(NodeHandle);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.worker().pins_open.decrement();
        self.0.pins.decrement();
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
    pub(super) fn new(pin: Pin, to_skip: usize, counters: NodeHandle) -> Self {
        counters.worker().pins_open.increment();
        counters.pins.increment();
        Self {
            pin,
            expected: VecDeque::new(),
            in_multi: false,
            watched: Watched::default(),
            assures: Assures::default(),
            for_session: false,
            irreplaceable: false,
            doomed: false,
            queued: 0,
            writes_queued: false,
            stand_ins: StandIns::default(),
            becomes: None,
            settling: None,
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
            meters: Meters::default(),
            _open: Open(counters),
        }
    }

    /// Another command may go over this pin now.
    pub(super) fn takes_more(&self) -> bool {
        if matches!(self.expected.front(), Some(Expect::Login)) {
            // Until the node has said yes, the connection speaks as somebody else. Nothing was outstanding before it.
            return false;
        }
        if self.settling.is_some()
            || matches!(self.expected.back(), Some(Expect::Exec { stand_ins, .. }) if stand_ins.change_what_follows())
        {
            return false;
        }
        let open = self.in_multi || self.is_watching() || self.for_session || self.tracks || self.uploading;
        let room = self.expected.is_empty() || (open && self.expected.len() < limits::IN_FLIGHT);
        !self.is_blocked() && room
    }

    pub(super) fn is_done(&self) -> bool {
        let used = self.journal.as_ref().is_none_or(|journal| !journal.is_empty());
        let kept = self.for_session || self.tracks || self.to_set_up;
        used && self.owes_nothing() && !self.in_multi && !self.is_watching() && !kept && !self.uploading
    }

    /// Everything that went over it was answered.
    pub(super) fn owes_nothing(&self) -> bool {
        self.expected.is_empty() && self.settling.is_none()
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
        let open = self.in_multi || self.is_watching() || self.uploading || !self.expected.is_empty();
        if self.tracks && !open && self.journal.is_none() {
            self.journal = Some(Vec::new());
            (self.given, self.to_skip, self.changes) = (0, 0, 0);
        }
    }

    /// EXEC or DISCARD was sent.
    pub(super) fn transaction_ends(&mut self) {
        self.in_multi = false;
        self.watched = Watched::default();
        self.queued = 0;
        self.writes_queued = false;
        self.stand_ins = StandIns::default();
        self.becomes = None;
    }

    /// EXEC was answered: nothing of this connection may be sent again.
    pub(super) fn is_answered_for_good(&mut self, inner: &mut Inner) {
        self.journal = None;
        inner.retrying_since = None;
        inner.attempts = 0;
    }

    /// EXEC may be answered with nil.
    pub(super) fn is_guarded(&self) -> bool {
        self.is_watching() || self.expected.iter().any(|expect| matches!(expect, Expect::Exec { watched: true, .. }))
    }

    pub(super) fn is_clean(&self) -> bool {
        !self.spoiled && self.pin.backlog() == 0 && self.pin.input.is_empty()
    }
}

/// For the client of a command that the master's change got in the way of.
pub(super) const NOT_EXECUTED: &str =
    "LOADING Redan: the master has just changed; this command was not executed, send it again";
