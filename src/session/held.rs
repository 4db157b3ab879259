//! What a session's buffers hold, and closing the largest session when all together hold too much.
//!
//! A session brings its account up to date whenever its buffers may have grown: at the end of its turn, and when a lane
//! hands it what its client does not take. It runs in the middle of a lane's work, so it must never call a lane.

use std::rc::Rc;
use std::time::Instant;

use super::context::{Context, Workspace};
use super::output::Output;
use super::pinned::{Expect, Mode, Pinned};
use super::{Inner, Session};
use crate::metrics::MemoryKind;

/// Whoever holds less is not closed for it: that many bytes are a command on its way, and its end would free nothing
/// that counts.
const LEAST: u64 = 1024;

/// Bytes, as far as they fit: nobody holds 4 GiB, because limits of output and `max_memory` are passed long before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    input: u32,
    output: u32,
    stash: u32,
    pins: u32,
}

impl Held {
    fn total(self) -> u64 {
        [self.input, self.output, self.stash, self.pins].into_iter().map(u64::from).sum()
    }
}

impl Inner {
    fn holds(&self) -> Held {
        let bytes = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let pins = match &self.mode {
            Mode::Plain | Mode::Connecting(_) => 0,
            Mode::Pinned(pinned) => bytes(pinned.holds()),
        };
        Held {
            input: bytes(self.input.capacity()),
            output: bytes(self.output.capacity() + self.deferred() + self.gate.as_ref().map_or(0, |gate| gate.bytes())),
            stash: bytes(self.stash.bytes()),
            pins,
        }
    }

    /// Notes what the session holds now. When that is too much for the process sessions are closed, this one among them if
    /// it is one of the largest: then it is dead.
    pub(super) fn account(&mut self, context: &Context) {
        let (now, before) = (self.holds(), self.held);
        if let Some(hold) = &mut self.hold {
            hold.share.holds(now.total());
        }
        if now == before {
            return;
        }
        self.held = now;
        let workspace = &context.workspace;
        let memory = &workspace.counters.memory;
        memory.of(MemoryKind::Input).moved(before.input.into(), now.input.into());
        memory.of(MemoryKind::Output).moved(before.output.into(), now.output.into());
        memory.of(MemoryKind::Stash).moved(before.stash.into(), now.stash.into());
        memory.of(MemoryKind::Pins).moved(before.pins.into(), now.pins.into());
        if workspace.account.changed(now.total()) {
            relieve_within(workspace, Some((self, context)));
        }
    }

    /// Gives back everything: the client is gone, or is about to be.
    pub(super) fn let_go(&mut self, context: &Context) {
        self.dead = true;
        self.mode = Mode::Plain;
        self.output = Output::default();
        self.input = Vec::new();
        self.stash.clear();
        self.drop_deferred();
        self.gate = None;
        self.account(context);
    }

    fn close_as_largest(&mut self, context: &Context) {
        let workspace = &context.workspace;
        workspace.counters.memory_clients_closed.increment();
        if let Some(more) = workspace.relieved.allow(Instant::now()) {
            let memory = workspace.account.memory();
            tracing::warn!(
                "closed client {}, the largest: it held {} KiB of the {} KiB that buffers of clients hold, more than \
                 `max_memory` ({} KiB) allows; {more} others were closed for it before",
                self.identity.peer.remote(),
                self.held.total() >> 10,
                memory.held() >> 10,
                memory.bound().unwrap_or(u64::MAX) >> 10,
            );
        }
        self.let_go(context);
    }
}

impl Pinned {
    fn holds(&self) -> usize {
        let journal = self.journal.as_ref().map_or(0, Vec::capacity);
        let expected = self.expected.capacity() * size_of::<Expect>();
        let in_flight = self.expected.iter().map(|expect| match expect {
            Expect::Exec { stand_ins, .. } => stand_ins.bytes(),
            _ => 0,
        });
        let stand_ins = self.stand_ins.bytes() + in_flight.sum::<usize>();
        let settling = self.settling.as_ref().map_or(0, |settling| settling.bytes());
        journal
            + expected
            + self.meters.bytes()
            + stand_ins
            + settling
            + self.pin.input.capacity()
            + self.pin.output.capacity()
    }
}

/// Closes sessions of this worker, the largest first, until the process holds less than it may.
pub(crate) fn relieve(workspace: &Workspace) {
    relieve_within(workspace, None);
}

/// `current` is the session whose turn it is, which cannot be borrowed again.
fn relieve_within(workspace: &Workspace, mut current: Option<(&mut Inner, &Context)>) {
    workspace.drop_spare();
    let mut sessions: Vec<(u64, Option<Rc<Session>>)> = Vec::new();
    for session in workspace.live.borrow().values() {
        if let Ok(inner) = session.inner.try_borrow()
            && inner.held.total() >= LEAST
        {
            sessions.push((inner.held.total(), Some(Rc::clone(session))));
        }
    }
    sessions.extend(current.as_ref().map(|(inner, _)| (inner.held.total(), None)));
    sessions.sort_unstable_by_key(|(held, _)| std::cmp::Reverse(*held));
    let mut sessions = sessions.into_iter();
    let remaining = loop {
        let Some((held, session)) = sessions.next().filter(|(held, _)| *held >= LEAST) else {
            break 0;
        };
        workspace.account.largest_is(held);
        if workspace.account.excess() == 0 || !workspace.account.is_up_to_me() {
            break held;
        }
        match (session, &mut current) {
            (Some(session), _) => session.close_for_memory(),
            (None, Some((inner, context))) => inner.close_as_largest(context),
            (None, None) => {}
        }
    };
    workspace.account.largest_is(remaining);
}

impl Session {
    fn close_for_memory(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.close_as_largest(&self.context);
        self.end_hold(&mut inner);
        drop(inner);
        self.wake();
    }
}
