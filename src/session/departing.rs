//! How a session goes to another process, and goes on there, without its client noticing: its socket, and what the client is.
//!
//! It goes when nothing is owed to its client and nothing of it is held anywhere but here. What the client has sent meanwhile lies
//! in the socket or goes along, so no command is lost and none is executed twice. Sessions that are bound to something of this
//! process stay: TLS, subscriptions, transactions, blocking commands, tracking, MONITOR.

use std::os::fd::OwnedFd;
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use super::login::Who;
use super::pinned::Mode;
use super::{Flow, Inner, ReplyMode, Session};
use crate::backend::login::Claim;
use crate::handover::{Client, Departure, Hidden, Login};
use crate::mark::Sight;

impl Session {
    /// Called where it would read its client next. `None`: it reads on, because it stays.
    pub(super) fn departs(&self, inner: &mut Inner, cx: &mut task::Context<'_>) -> Option<Flow> {
        if !self.will_depart(inner) {
            return None;
        }
        let workspace = &self.context.workspace;
        let outbox = workspace.outbox.borrow();
        let outbox = outbox.as_ref()?;
        if !inner.owes_nothing() || inner.in_lane > 0 || inner.is_keeping_back() {
            // It reads nothing more, so that this comes soon.
            return Some(inner.wait_until_at_most(0));
        }
        match inner.output.poll_flush(cx, &mut inner.stream, workspace) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => {
                inner.dead = true;
                return Some(Flow::Again);
            }
            Poll::Pending => return Some(Flow::Wait),
        }
        // Where the system gives no descriptor the session stays, and is drained like others.
        let socket = inner.stream.socket().ok()?;
        let client = inner.client(&self.context.listener().name);
        outbox.put(Departure::Client(Box::new(client), std::mem::take(&mut inner.input), socket));
        inner.dead = true;
        Some(Flow::Again)
    }

    /// It goes to the next process at its next turn, which may not have come yet when the worker looks at all of its sessions.
    pub(super) fn will_depart(&self, inner: &Inner) -> bool {
        let outbox = self.context.workspace.outbox.borrow();
        let taken = outbox.as_ref().is_some_and(|outbox| outbox.takes_clients(&self.context.listener().name));
        // Under the name of a listener that is gone another one may be configured by now, with another group or other users.
        taken && inner.may_depart() && !self.context.is_gone()
    }

    /// Its client is to be told that the connection ends, and has not ended it itself: what it may still send must be read, or the
    /// system would tell it by a reset, which takes replies with it that the client has not read yet.
    pub(crate) fn lingers(&self) -> Option<OwnedFd> {
        let inner = self.inner.borrow();
        let told = self.context.workspace.draining.get() && inner.closing && !inner.dead && !inner.ended_input;
        if !told || inner.stream.end().is_err() {
            return None;
        }
        inner.stream.socket().ok()
    }

    /// What it was in another process it is here.
    pub(crate) fn goes_on(&self, client: Client, sent: Vec<u8>) {
        let inner = &mut *self.inner.borrow_mut();
        let (listener, pool) = (&self.context.listener(), &self.context.pool);
        (inner.dialect.resp3, inner.dialect.db) = (client.resp3, client.db);
        inner.stranger = client.stranger;
        match (&listener.users, client.authenticated) {
            (Some(users), true) => match users.named(&client.user) {
                Some(user) => inner.become_user(user, listener),
                // As a client that has not logged in yet, which it is told at its next command.
                None => inner.authenticated = false,
            },
            (None, true) if listener.passthrough => self.logs_in_again(inner, client.login),
            // Whether it needs to log in at all the listener says.
            _ => {}
        }
        let now = Instant::now();
        let ago = |ms| now.checked_sub(Duration::from_millis(ms)).unwrap_or(now);
        inner.identity.name = client.name.into();
        inner.identity.library = client.library.into();
        inner.identity.library_version = client.library_version.into();
        inner.identity.no_evict = client.no_evict;
        inner.identity.no_touch = client.no_touch;
        inner.identity.takes_redirects = client.takes_redirects;
        inner.identity.since = ago(client.age_ms);
        inner.last_active = ago(client.idle_ms);
        inner.received = client.received;
        inner.apart = client.commands;
        inner.input = sent;
        // What it has written and read there it must see here: everything up to now.
        let generation = pool.generation();
        inner.sight = Sight { node: None, generation, write: generation };
        inner.write_epoch = pool.snapshot().epoch;
        pool.note_acknowledged();
    }

    /// The other process has had the word of a node for it.
    fn logs_in_again(&self, inner: &mut Inner, login: Option<Login>) {
        let claim = match login {
            None => return,
            Some(Login::Nobody) => Claim::Nothing,
            Some(Login::Password { user, password }) => {
                Claim::Password { user: user.map(Into::into), password: password.0.into() }
            }
        };
        // Where there are too many of them here, it has not logged in.
        if let Some(login) = self.context.pool.log_in(&claim) {
            self.becomes(inner, Who::Login(login));
        }
    }
}

impl Inner {
    /// Nothing binds it to this process, or will not in a moment.
    fn may_depart(&self) -> bool {
        matches!(self.mode, Mode::Plain)
            && self.stream.is_plain()
            && self.subscriptions.is_none()
            && self.tracking.is_none()
            && self.severed.is_none()
            && self.hold.is_none()
            && self.waiting.is_none()
            && self.asking.is_none()
            && self.asked.is_none()
            && self.penance.is_none()
            && self.discarding.is_none()
            && self.skip_replies == 0
            && self.reply_mode == ReplyMode::On
            && !self.muted
            && !self.is_revoked()
            && !self.ended_input
            && !self.closing
    }

    fn client(&self, listener: &str) -> Client {
        let ms = |since: Instant| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let identity = &self.identity;
        Client {
            listener: listener.to_owned(),
            unix: identity.peer.is_local(),
            id: identity.id,
            resp3: self.dialect.resp3,
            db: self.dialect.db,
            authenticated: self.authenticated,
            user: identity.user.to_string(),
            login: self.login.as_ref().map(|login| match &login.claim {
                Claim::Nothing => Login::Nobody,
                Claim::Password { user, password } => Login::Password {
                    user: user.as_ref().map(|user| user.to_vec()),
                    password: Hidden(password.to_vec()),
                },
            }),
            stranger: self.stranger,
            name: identity.name.to_string(),
            library: identity.library.to_string(),
            library_version: identity.library_version.to_string(),
            no_evict: identity.no_evict,
            no_touch: identity.no_touch,
            takes_redirects: identity.takes_redirects,
            age_ms: ms(identity.since),
            idle_ms: ms(self.last_active),
            received: self.received,
            commands: self.front + self.apart,
        }
    }
}
