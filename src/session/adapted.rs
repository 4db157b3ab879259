//! Commands whose reply speaks of one server where the client means the endpoint: Redan puts the reply right.
//!
//! Such a command rides its lane like any other, with an [`Adapted`] between the lane and the session that rewrites the
//! reply, and sometimes the request. Where a command is sent again it is the client's own request that is, so that it is
//! rewritten anew for the node it goes to then. Inside MULTI only cursors and the numbers of clients that a message reached are
//! put right; what a script is answered is the server's alone.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use super::audience::Audience;
use super::cursor::Mark;
use super::fanned::flush_elsewhere;
use super::info;
use super::scripts::Shown;
use super::{Session, elements};
use crate::backend::dial::Dialect;
use crate::backend::lane::Lane;
use crate::backend::pool::Pool;
use crate::backend::recipient::{Errand, Judged, Lost, Noted, Origin, Recipient};
use crate::command::{Care, lookup};
use crate::limits;
use crate::resp::request::{Bounds, Request, RequestScanner};
use crate::topology::NodeId;

/// How a reply is rewritten.
pub(super) enum Adapter {
    /// A cursor gets its node's mark.
    Cursor(Mark),
    /// INFO gets this section behind its own.
    Section(String),
    /// Clients are counted in place of Redan's own connections.
    Audience(Audience),
    /// So they are in the reply to EXEC, behind this many others, at these places.
    Block(u32, Vec<(u32, Audience)>),
    /// It stays as it is; a script that was executed is remembered.
    Shown(Shown),
    /// It stays as it is; when the master's scripts are flushed, so are everyone's.
    Flush { pool: Rc<Pool>, node: NodeId, request: Box<[u8]> },
}

/// What has become of a reply, or of what there is of it.
enum Rewritten {
    /// The rest follows as it is.
    As(Vec<u8>),
    /// More of the reply is needed to say.
    NeedsMore,
}

impl Adapter {
    /// `whole`: all of the reply is there.
    fn rewrite(&self, reply: &[u8], whole: bool) -> Rewritten {
        match self {
            Self::Cursor(mark) => mark.reply(reply).map_or(Rewritten::NeedsMore, Rewritten::As),
            Self::Section(_) | Self::Audience(_) | Self::Block(..) if !whole => Rewritten::NeedsMore,
            Self::Section(section) => Rewritten::As(info::with_section(reply, section)),
            Self::Audience(audience) => Rewritten::As(audience.reply(reply)),
            Self::Block(before, places) => {
                Rewritten::As(with_audiences(reply, *before, places).unwrap_or_else(|| reply.to_vec()))
            }
            Self::Shown(shown) => {
                shown.answered(reply);
                Rewritten::As(reply.to_vec())
            }
            Self::Flush { pool, node, request } => {
                if reply.starts_with(b"+") {
                    flush_elsewhere(pool, Dialect::GROUP, *node, request);
                }
                Rewritten::As(reply.to_vec())
            }
        }
    }

    /// The beginning of a reply that is too large to be gathered, rewritten; `None`: more of it is needed to say. The rest
    /// follows as it is.
    pub(super) fn begin(&self, reply: &[u8]) -> Option<Vec<u8>> {
        match self.rewrite(reply, false) {
            Rewritten::As(bytes) => Some(bytes),
            Rewritten::NeedsMore => (reply.len() > limits::ADAPTED_REPLY).then(|| reply.to_vec()),
        }
    }

    /// A whole reply.
    pub(super) fn adapt(&self, reply: &[u8]) -> Vec<u8> {
        match self.rewrite(reply, true) {
            Rewritten::As(bytes) => bytes,
            Rewritten::NeedsMore => reply.to_vec(),
        }
    }
}

/// A command as it goes to one node.
#[derive(Default)]
pub(super) struct Adaptation {
    /// `None`: the reply stays as it is.
    pub(super) adapter: Option<Adapter>,
    /// `None`: the request does.
    pub(super) request: Option<Vec<u8>>,
}

impl Session {
    /// What is to be done about a command that goes to this node now.
    pub(super) fn adaptation(&self, care: Care, raw: &[u8], node: NodeId) -> Adaptation {
        match care {
            Care::Cursor | Care::KeyCursor => {
                let run = self.context.pool.snapshot().node(node).map_or(0, |node| node.run);
                let mark = Mark::of(run);
                Adaptation { adapter: Some(Adapter::Cursor(mark)), request: mark.request(care, raw) }
            }
            Care::Info if info::wants_section(raw) => {
                Adaptation { adapter: Some(Adapter::Section(info::section(&self.context, self.id))), request: None }
            }
            Care::Body => {
                Adaptation { adapter: Shown::script(raw, &self.context.pool, node).map(Adapter::Shown), request: None }
            }
            // Over a pin; on a lane it is fanned out.
            Care::Flush => {
                let flush = Adapter::Flush { pool: Rc::clone(&self.context.pool), node, request: raw.into() };
                Adaptation { adapter: Some(flush), request: None }
            }
            Care::Publish | Care::Subscribers => {
                let audience = Audience::of(care, raw, self.context.pool.registry(), node);
                Adaptation { adapter: audience.map(Adapter::Audience), request: None }
            }
            _ => Adaptation::default(),
        }
    }

    /// For a whole transaction that publishes.
    fn for_block(&self, raw: &[u8], replies: u32, node: NodeId) -> Option<Adapter> {
        let registry = self.context.pool.registry();
        if registry.is_empty() {
            return None;
        }
        let (mut at, mut places) = (0, Vec::new());
        // MULTI has no place, and EXEC is not among its own.
        for place in 0..replies {
            let Ok(Request::Command(frame)) = RequestScanner::new().scan(&raw[at..], &Bounds::AUTHENTICATED) else {
                return None;
            };
            let command = &raw[at..at + frame.len];
            let care = lookup(frame.name.of(command), frame.second.map(|second| second.of(command)));
            let audience = Audience::of(care.map_or(Care::None, |spec| spec.care), command, registry, node);
            places.extend(audience.map(|audience| (place.saturating_sub(1), audience)));
            at += frame.len;
        }
        (!places.is_empty()).then(|| Adapter::Block(replies - 1, places))
    }

    /// Appends a command that needs care to the lane.
    pub(super) fn submit_adapted(
        self: &Rc<Self>,
        lane: &Rc<Lane>,
        sequence: u64,
        care: Care,
        raw: &[u8],
        errand: Errand,
    ) {
        if care == Care::Flush {
            return self.flush_scripts(lane, sequence, raw, errand);
        }
        let Adaptation { adapter, request } = if errand.replies == 1 {
            self.adaptation(care, raw, lane.key.node)
        } else {
            Adaptation { adapter: self.for_block(raw, errand.replies, lane.key.node), request: None }
        };
        let Some(adapter) = adapter else {
            self.hand_over(lane, self, sequence, request.as_deref().unwrap_or(raw), errand);
            return;
        };
        let original = request.is_some().then(|| raw.to_vec());
        let adapted = Adapted {
            session: Rc::clone(self),
            adapter,
            original,
            gathered: RefCell::default(),
            passing: Cell::new(false),
        };
        self.hand_over(lane, &Rc::new(adapted), sequence, request.as_deref().unwrap_or(raw), errand);
    }
}

/// The replies to a whole transaction with the numbers in its last one put right; `None`: that is no array.
fn with_audiences(replies: &[u8], before: u32, places: &[(u32, Audience)]) -> Option<Vec<u8>> {
    let exec = (0..before).try_fold(0, |at, _| elements::end_of(replies, at))?;
    let mut at = exec + elements::first_of(&replies[exec..])?;
    let mut out = replies[..at].to_vec();
    let (mut place, mut places) = (0, places.iter().peekable());
    while let Some(end) = elements::end_of(replies, at) {
        match places.next_if(|(audience_at, _)| *audience_at == place) {
            Some((_, audience)) => out.extend_from_slice(&audience.reply(&replies[at..end])),
            None => out.extend_from_slice(&replies[at..end]),
        }
        (at, place) = (end, place + 1);
    }
    Some(out)
}

/// Stands between a lane and a session for one command.
struct Adapted {
    session: Rc<Session>,
    adapter: Adapter,
    /// What the client sent, where the node was sent something else.
    original: Option<Vec<u8>>,
    /// What has come of a reply in pieces, while more of it is needed.
    gathered: RefCell<Vec<u8>>,
    /// The rest of a reply in pieces goes on as it comes.
    passing: Cell<bool>,
}

impl Recipient for Adapted {
    fn replies(&self, origin: Origin, first: u64, count: u32, bytes: &[u8]) {
        self.session.replies(origin, first, count, &self.adapter.adapt(bytes));
    }

    fn piece(&self, origin: Origin, sequence: u64, bytes: &[u8], last: bool) {
        if self.passing.get() {
            self.session.piece(origin, sequence, bytes, last);
            return;
        }
        let mut gathered = self.gathered.borrow_mut();
        gathered.extend_from_slice(bytes);
        let rewritten = if last { Some(self.adapter.adapt(&gathered)) } else { self.adapter.begin(&gathered) };
        let Some(rewritten) = rewritten else {
            return;
        };
        self.passing.set(true);
        *gathered = Vec::new();
        drop(gathered);
        self.session.piece(origin, sequence, &rewritten, last);
    }

    fn judged(&self, origin: Origin, judged: Judged<'_>) {
        let request = self.original.as_deref().unwrap_or(judged.request);
        let adapted = judged.refusal.is_none().then(|| self.adapter.adapt(judged.reply));
        let reply = adapted.as_deref().unwrap_or(judged.reply);
        self.session.judged(origin, Judged { request, reply, ..judged });
    }

    fn lost(&self, lost: Lost<'_>) {
        let request = self.original.as_deref().unwrap_or(lost.request);
        self.session.lost(Lost { request, ..lost });
    }

    fn noted(&self, origin: Origin, noted: &Noted<'_>) {
        let request = self.original.as_deref().unwrap_or(noted.request);
        self.session.noted(origin, &Noted { request, ..*noted });
    }

    fn backlog(&self) -> usize {
        self.session.backlog()
    }

    fn wake_when_drained(&self, waker: &Waker, others: bool) {
        self.session.wake_when_drained(waker, others);
    }
}
