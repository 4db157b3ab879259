//! Pauses, as one worker keeps them for one group: until when its sessions wait, and whether readers do too.
//!
//! There are two of them: that of clients (CLIENT PAUSE) and that of the operator (REDAN PAUSE), which no client ends. Sessions
//! look once per batch, a load of one word while there is none. Each ends by itself.

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
    /// What both amount to.
    paused: Cell<Paused>,
    clients: Cell<Option<(Instant, Paused)>>,
    /// Stops everyone.
    operator: Cell<Option<Instant>>,
    waiting: RefCell<Vec<Waker>>,
    changed: Notify,
    /// A task waits for the end.
    watched: Cell<bool>,
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

    /// CLIENT PAUSE. One on top of another lasts as long as the longer one, and stops as much as the stronger one, as in Redis.
    pub(crate) fn begin(self: Rc<Self>, until: Instant, all: bool) {
        let wanted = if all { Paused::Everyone } else { Paused::Writers };
        let merged = match self.clients.get() {
            Some((longer, Paused::Everyone)) => (longer.max(until), Paused::Everyone),
            Some((longer, _)) => (longer.max(until), wanted),
            None => (until, wanted),
        };
        self.clients.set(Some(merged));
        self.settle();
        self.watch();
    }

    /// CLIENT UNPAUSE.
    pub(crate) fn end(&self) {
        self.clients.set(None);
        self.settle();
    }

    /// The operator's; a later one takes the place of an earlier one.
    pub(crate) fn suspend(self: Rc<Self>, until: Instant) {
        self.operator.set(Some(until));
        self.settle();
        self.watch();
    }

    pub(crate) fn resume(&self) {
        self.operator.set(None);
        self.settle();
    }

    fn is_suspended(&self) -> bool {
        self.operator.get().is_some()
    }

    /// The first moment at which one of them ends.
    fn next_end(&self) -> Option<Instant> {
        let clients = self.clients.get().map(|(until, _)| until);
        clients.into_iter().chain(self.operator.get()).min()
    }

    fn settle(&self) {
        let clients = self.clients.get().map_or(Paused::Nobody, |(_, paused)| paused);
        self.paused.set(if self.is_suspended() { Paused::Everyone } else { clients });
        // Whoever has to wait on finds that out itself.
        self.changed.notify_one();
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    fn watch(self: Rc<Self>) {
        if self.watched.replace(true) {
            return;
        }
        tokio::task::spawn_local(async move {
            while let Some(until) = self.next_end() {
                if tokio::time::timeout_at(until.into(), self.changed.notified()).await.is_ok() {
                    continue;
                }
                let now = Instant::now();
                if self.clients.get().is_some_and(|(until, _)| until <= now) {
                    self.clients.set(None);
                }
                if self.operator.get().is_some_and(|until| until <= now) {
                    self.operator.set(None);
                }
                self.settle();
            }
            self.watched.set(false);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn no_client_ends_the_operators_pause_and_each_ends_by_itself() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let pause = Rc::new(Pause::default());
                let now = Instant::now();
                Rc::clone(&pause).begin(now + Duration::from_secs(3600), false);
                assert_eq!(pause.now(), Paused::Writers);
                Rc::clone(&pause).suspend(now + Duration::from_secs(3600));
                assert_eq!(pause.now(), Paused::Everyone);
                pause.end();
                assert_eq!(pause.now(), Paused::Everyone);
                Rc::clone(&pause).begin(now + Duration::from_secs(3600), false);
                pause.resume();
                assert_eq!(pause.now(), Paused::Writers);
                pause.end();
                assert!(!pause.is_active());
                Rc::clone(&pause).suspend(Instant::now() + Duration::from_millis(5));
                tokio::time::timeout(
                    Duration::from_secs(20),
                    std::future::poll_fn(|cx| {
                        if !pause.is_active() {
                            return std::task::Poll::Ready(());
                        }
                        pause.wait(cx.waker());
                        std::task::Poll::Pending
                    }),
                )
                .await
                .expect("it ends by itself");
            })
            .await;
    }
}
