//! Whom a hub hands messages to, and how it answers who wants to subscribe.
//!
//! Sessions implement [`Subscriber`]. The hub calls it in the middle of its read, so an implementation must never call the
//! hub back: it takes the bytes, or notes what happened and wakes its own task.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::topology::NodeId;

pub(crate) trait Subscriber {
    /// Whether it is to get messages as push frames.
    fn speaks_resp3(&self) -> bool;

    /// Complete messages, back to back, in its protocol, as `node` sent them.
    fn messages(&self, node: NodeId, bytes: &[u8]);

    /// A ticket of its was decided, or the connection that would decide it has come or gone.
    fn look(&self);

    /// It cannot be a subscriber any more, for this reason: it is closed, as a server closes it.
    fn revoked(&self, why: &str);
}

/// What has become of a wish to subscribe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Waiting,
    /// The node has confirmed all of it.
    Confirmed,
    /// The node's own words.
    Refused(Rc<str>),
}

pub(crate) struct Ticket {
    /// Of the session.
    pub(super) id: u64,
    /// Topics that are not confirmed.
    missing: Cell<usize>,
    refused: RefCell<Option<Rc<str>>>,
    to: Rc<dyn Subscriber>,
}

impl Ticket {
    pub(super) fn new(id: u64, to: Rc<dyn Subscriber>) -> Self {
        Self { id, missing: Cell::new(0), refused: RefCell::default(), to }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        match &*self.refused.borrow() {
            Some(words) => Outcome::Refused(Rc::clone(words)),
            None if self.missing.get() == 0 => Outcome::Confirmed,
            None => Outcome::Waiting,
        }
    }

    pub(super) fn misses_one_more(&self) {
        self.missing.set(self.missing.get() + 1);
    }

    pub(super) fn misses_one_less(&self) {
        self.missing.set(self.missing.get().saturating_sub(1));
        if self.missing.get() == 0 {
            self.wake();
        }
    }

    pub(super) fn refuse(&self, words: &str) {
        self.refused.replace(Some(words.into()));
        self.wake();
    }

    pub(super) fn wake(&self) {
        self.to.look();
    }
}
