//! What a session does when its listener's policy has changed: what it has taken from it for itself it takes again.
//!
//! Called by its worker between two of the session's turns. Everything else of the policy a session looks up when it needs
//! it. As in Redis, a user that is gone loses its connections; other passwords are for the next login.

use super::login::permissions_of;
use super::{Inner, Session};
use crate::config::Listener;

impl Session {
    /// `false`: the listener does not know its user any more, and the session is closed.
    pub(crate) fn policy_changed(&self) -> bool {
        let listener = self.context.listener();
        let inner = &mut *self.inner.borrow_mut();
        if inner.may_stay(&listener) {
            // It may wait for something that it need not wait for any more.
            self.wake();
            return true;
        }
        self.close_now(inner);
        false
    }
}

impl Inner {
    /// Takes its rights anew. `false`: the listener does not know its user.
    fn may_stay(&mut self, listener: &Listener) -> bool {
        self.permissions = listener.permissions.clone();
        let Some(users) = &listener.users else {
            self.authenticated |= listener.lets_anyone_in();
            return true;
        };
        if !self.authenticated {
            return true;
        }
        // Also one that is not enabled any more: it keeps what it has, and does not come in again.
        let user = users.users.iter().find(|user| *user.name == *self.identity.user);
        self.permissions = user.and_then(|user| permissions_of(user, listener));
        user.is_some()
    }
}
