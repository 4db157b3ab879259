//! What a lane tells the sender of a command: its reply, or what became of it instead.
//!
//! Sessions implement it, and the questions for marks. The lane calls it while it works through a read, so an
//! implementation must never call the lane back; it takes the bytes, or notes what happened and wakes its own task.

use std::task::Waker;

use super::refusal::Refusal;
use crate::metrics::{Stamp, Tag};
use crate::topology::NodeId;

/// Whether sending a command twice could do harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Changes nothing: may be sent again.
    Read,
    /// May change something: sent again only when it is proven that it was not executed.
    Write,
}

/// What a lane must know of a command beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Errand {
    pub(crate) effect: Effect,
    /// A transaction has several, which are handed on together.
    pub(crate) replies: u32,
    pub(crate) tag: Tag,
}

impl Errand {
    /// A question of Redan's own.
    pub(crate) fn own(effect: Effect) -> Self {
        Self { effect, replies: 1, tag: Tag::OWN }
    }
}

/// Where a reply comes from, and to which generation of marks it belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) node: NodeId,
    pub(crate) generation: u64,
}

/// One reply with the command it answers, told apart because it, or one before it, was a refusal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged<'a> {
    pub(crate) sequence: u64,
    pub(crate) request: &'a [u8],
    pub(crate) effect: Effect,
    pub(crate) reply: &'a [u8],
    pub(crate) refusal: Option<Refusal>,
    pub(crate) tag: Tag,
}

/// What became of a command that will get no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate<'a> {
    /// Its last byte never left: it was not executed.
    NotSent,
    /// It was sent; nobody knows.
    Unanswered,
    /// A read whose answer did not come in time; if it still comes nobody gets it.
    Late,
    /// Part of its reply has already gone to the client.
    Torn,
    /// The node refused the connection it would have gone over, in these words.
    Refused(&'a str),
}

/// A command whose reply will not come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost<'a> {
    pub(crate) sequence: u64,
    pub(crate) request: &'a [u8],
    pub(crate) effect: Effect,
    pub(crate) fate: Fate<'a>,
    pub(crate) tag: Tag,
}

/// An answer that somebody may want to hear of: it took long, is large, or is one of those that are traced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noted<'a> {
    /// Its number in its session; over a pin it has none.
    pub(crate) sequence: Option<u64>,
    pub(crate) request: &'a [u8],
    pub(crate) tag: Tag,
    pub(crate) now: Stamp,
    /// Microseconds for which the client did not take it.
    pub(crate) stalled: u32,
    pub(crate) bytes: u64,
    /// Its code, if it is an error.
    pub(crate) error: Option<&'static str>,
    /// Whether the client gets it is not known yet: it is [judged](Recipient::judged) next.
    pub(crate) pending: bool,
}

pub(crate) trait Recipient {
    /// The replies to the commands `first .. first + count`, back to back.
    fn replies(&self, origin: Origin, first: u64, count: u32, bytes: &[u8]);

    /// A piece of the reply to `sequence`, which is too large to be gathered; `last` ends it.
    fn piece(&self, origin: Origin, sequence: u64, bytes: &[u8], last: bool);

    /// A refusal, or a reply to a command that was in flight on the same lane when another was refused.
    fn judged(&self, origin: Origin, judged: Judged<'_>);

    /// The reply will not come.
    fn lost(&self, lost: Lost<'_>);

    /// The answer that is being handed on is worth a note.
    fn noted(&self, _origin: Origin, _noted: &Noted<'_>) {}

    /// A read has been owed for as long as it takes to ask another node too.
    fn slow(&self) {}

    /// Bytes that wait for the client.
    fn backlog(&self) -> usize;

    /// A lane waits for this recipient to take its reply: wake it when the backlog is gone. `others`: replies to other
    /// recipients wait behind it.
    fn wake_when_drained(&self, waker: &Waker, others: bool);
}
