//! CLIENT PAUSE, as one worker keeps it for one group: until when its sessions wait, and whether readers do too.
//!
//! Sessions look at it once per batch, a load of one word while there is no pause. It ends by itself.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

use tokio::sync::Notify;

/// Whose commands wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Paused {
    #[default]
    Nobody,
    Writers,
    Everyone,
}

#[derive(Default)]
pub(crate) struct Pause {
    paused: Cell<Paused>,
    until: Cell<Option<Instant>>,
    waiting: RefCell<Vec<Waker>>,
    changed: Notify,
}

impl Pause {
    #[inline]
    pub(crate) fn now(&self) -> Paused {
        self.paused.get()
    }

    pub(crate) fn is_active(&self) -> bool {
        self.now() != Paused::Nobody
    }

    /// The caller is woken when the pause is over.
    pub(crate) fn wait(&self, waker: &Waker) {
        self.waiting.borrow_mut().push(waker.clone());
    }

    /// A pause on top of another lasts as long as the longer one, and stops as much as the stronger one, as in Redis.
    pub(crate) fn begin(self: Rc<Self>, until: Instant, all: bool) {
        let begun = self.until.get().is_some();
        self.until.set(self.until.get().max(Some(until)));
        if all || self.now() == Paused::Nobody {
            self.paused.set(if all { Paused::Everyone } else { Paused::Writers });
        }
        if !begun {
            tokio::task::spawn_local(async move {
                while let Some(until) = self.until.get() {
                    let over = tokio::time::timeout_at(until.into(), self.changed.notified()).await.is_err();
                    if over && self.until.get().is_some_and(|until| until <= Instant::now()) {
                        self.end();
                    }
                }
            });
        }
    }

    pub(crate) fn end(&self) {
        self.until.set(None);
        self.paused.set(Paused::Nobody);
        // The task that waits for the end has nothing more to wait for.
        self.changed.notify_one();
        self.waiting.take().into_iter().for_each(Waker::wake);
    }
}
