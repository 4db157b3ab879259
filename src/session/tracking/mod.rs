//! Tracking: a session whose client caches what it reads, and is told when that changes.
//!
//! The node that serves a read is the one that tells of its change, so all commands of such a session go to the master
//! over one pin. When the pin is lost or the master moves, the client is told to forget everything, as a server tells it
//! after FLUSHALL, and tracking is set up on the new master before any command goes there. What is redirected comes over a
//! second connection ([`redirect`]).

mod options;
mod redirect;

use std::future::Future;
use std::rc::Rc;
use std::task;
use std::time::Duration;

pub(super) use self::options::Options;
use self::redirect::Redirect;
use super::clients::Outcome;
use super::hold::Sleeping;
use super::pinned::{Expect, Mode, NOT_EXECUTED, Pinned};
use super::subscriptions::INVALIDATE;
use super::switchboard::Ask;
use super::{Flow, Inner, Session};
use crate::metrics::PinReason;
use crate::resp::encode;
use crate::resp::request::arguments;

/// Of a session that tracks.
pub(super) struct Tracking {
    pub(super) options: Options,
    /// CLIENT CACHING, until the next command.
    caching: bool,
    /// The session that gets the invalidations has gone.
    broken: bool,
    /// The worker of that session.
    home: usize,
    /// The connection over which what is redirected comes.
    redirect: Option<Redirect>,
    /// What was redirected before the last CLIENT TRACKING, with its worker and session, until that is answered.
    former: Option<(Redirect, usize, u64)>,
    /// The client has not been answered yet.
    announce: bool,
    /// It tracked before that.
    changes: bool,
    /// Until it looks for a master again.
    retry: Option<Sleeping>,
}

/// A session without a connection looks for a master so often. A change of the master wakes it sooner.
const RETRY: Duration = Duration::from_millis(100);

/// Forget everything. `_`, or under RESP2, where it is read behind a channel's name, `$-1`.
fn everything(resp3: bool) -> Vec<u8> {
    let mut keys = Vec::new();
    encode::null(&mut keys, resp3);
    keys
}

impl Tracking {
    /// A CLIENT TRACKING ON; `before`: how the session tracks already.
    fn begin(options: Options, home: usize, before: Option<Box<Self>>) -> Self {
        let changes = before.is_some();
        let (mut redirect, mut former) = (None, None);
        if let Some(before) = before {
            let alive = before.redirect.as_ref().is_none_or(|redirect| !redirect.is_lost());
            if before.options.redirect == options.redirect && alive {
                redirect = before.redirect;
                former = before.former;
            } else {
                former = before.redirect.map(|old| (old, before.home, before.options.redirect)).or(before.former);
            }
        }
        Self { options, caching: false, broken: false, home, redirect, former, announce: true, changes, retry: None }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    fn redirects(&self) -> bool {
        self.options.redirect != 0
    }

    /// The connection for what is redirected broke.
    fn has_lost_redirect(&self) -> bool {
        self.redirect.as_ref().is_some_and(Redirect::is_lost)
    }
}

impl Inner {
    /// As in CLIENT LIST and CLIENT GETREDIR.
    pub(super) fn redirection(&self) -> i64 {
        let id = self.tracking.as_ref().map(|tracking| tracking.options.redirect);
        id.map_or(-1, |id| i64::try_from(id).unwrap_or(i64::MAX))
    }

    pub(super) fn tracking_info(&self, out: &mut Vec<u8>) {
        match &self.tracking {
            None => super::local::no_tracking(self.dialect.resp3, out),
            Some(tracking) => tracking.options.info(out, tracking.caching, tracking.broken, self.dialect.resp3),
        }
    }

    /// A command went over the session's connection: what CLIENT CACHING said does not hold for the next.
    pub(super) fn caching_ends(&mut self) {
        if let Some(tracking) = &mut self.tracking {
            tracking.caching = false;
        }
    }
}

impl Session {
    /// CLIENT TRACKING or CLIENT CACHING without a connection of its own. `None`: it is answered.
    pub(super) fn enter_tracking(
        self: &Rc<Self>,
        inner: &mut Inner,
        raw: &[u8],
        cx: &mut task::Context<'_>,
    ) -> Option<Flow> {
        match self.wish(inner, raw, cx) {
            Wish::Wait(flow) => return Some(flow),
            Wish::Refused(words) => self.answer_error(inner, &words),
            Wish::Off => {
                inner.tracking = None;
                self.answer_with(inner, |out| encode::simple(out, "OK"));
            }
            Wish::On(..) | Wish::Caching => {
                // Handled when there is a connection.
                let entered = self.enter_pin(inner, PinReason::Tracking, cx);
                if entered.is_none() {
                    let words = self.hold_error();
                    self.answer_unless_given(inner, |out| encode::error(out, &words));
                }
                return entered;
            }
        }
        None
    }

    /// The same with one, on which nothing is outstanding. `false`: it is handled again.
    pub(super) fn forward_tracking(
        self: &Rc<Self>,
        inner: &mut Inner,
        pinned: &mut Pinned,
        raw: &[u8],
        cx: &mut task::Context<'_>,
    ) -> bool {
        match self.wish(inner, raw, cx) {
            Wish::Wait(_) => return false,
            Wish::Refused(words) => {
                self.answer_error(inner, &words);
                // It may have been taken for this alone.
                if !pinned.tracks {
                    pinned.journal.take_if(|journal| journal.is_empty());
                }
            }
            Wish::Off => {
                inner.tracking = None;
                pinned.ends_tracking();
                encode::command(&mut pinned.pin.output, &[b"CLIENT", b"TRACKING", b"OFF"]);
                pinned.expected.push_back(Expect::Reply);
            }
            Wish::On(options, home) => {
                inner.tracking = Some(Box::new(Tracking::begin(options, home, inner.tracking.take())));
                pinned.tracks = true;
                pinned.to_set_up = true;
            }
            Wish::Caching => {
                if let Some(tracking) = &mut inner.tracking {
                    tracking.caching = true;
                }
                // If the next command begins again elsewhere, this must go in front of it.
                pinned.note_as(raw, raw);
                pinned.expected.push_back(Expect::Opening);
            }
        }
        true
    }

    fn wish(&self, inner: &mut Inner, raw: &[u8], cx: &mut task::Context<'_>) -> Wish {
        let words: Vec<&[u8]> = arguments(raw).skip(1).collect();
        let now = inner.tracking.as_ref().map(|tracking| &tracking.options);
        if words.first().is_some_and(|word| word.eq_ignore_ascii_case(b"CACHING")) {
            let answer = words.get(1).copied().unwrap_or_default();
            if words.len() != 2 {
                return Wish::Refused(super::local::wrong_arity("client|caching"));
            }
            return options::caching(answer, now).map_or_else(Wish::Refused, |()| Wish::Caching);
        }
        if words.len() < 2 {
            return Wish::Refused(super::local::wrong_arity("client|tracking"));
        }
        let asked = options::tracking(&words[1..], now);
        let mut home = 0;
        if let Some(id) = asked.redirect {
            let Some(id) = u64::try_from(id).ok().filter(|id| *id > 0) else {
                return Wish::Refused(options::NO_SUCH_CLIENT.to_owned());
            };
            if inner.asking.is_none() {
                inner.asking = Some(self.ask_for_home(id));
            }
            match self.asked(inner, cx) {
                Some(Ok(Outcome::Home(Some(worker)))) => home = worker,
                Some(Err(flow)) => return Wish::Wait(flow),
                _ => return Wish::Refused(options::NO_SUCH_CLIENT.to_owned()),
            }
        }
        match asked.wish {
            Err(words) => Wish::Refused(words),
            Ok(None) => Wish::Off,
            Ok(Some(options)) => Wish::On(options, home),
        }
    }

    /// Makes the node track as the client asked, before anything else goes there. `false`: it waits for the second
    /// connection.
    pub(super) fn set_up_tracking(
        self: &Rc<Self>,
        inner: &mut Inner,
        pinned: &mut Pinned,
        cx: &mut task::Context<'_>,
    ) -> bool {
        let Some(tracking) = &mut inner.tracking else {
            pinned.to_set_up = false;
            return true;
        };
        let mut target = None;
        if tracking.redirects() {
            let redirect = tracking.redirect.get_or_insert_with(|| {
                Redirect::open(self, pinned.pin.node, pinned.pin.dialect.user, tracking.options.redirect, tracking.home)
            });
            target = redirect.poll_number(cx);
            if target.is_none() {
                return false;
            }
        }
        let commands = tracking.options.commands(&mut pinned.pin.output, target, pinned.has_tracked);
        pinned.expected.extend((1..commands).map(|_| Expect::Drop));
        let announce = std::mem::take(&mut tracking.announce);
        pinned.expected.push_back(Expect::Tracking { announce });
        pinned.to_set_up = false;
        pinned.tracks = true;
        pinned.has_tracked = true;
        true
    }

    /// The node's reply to that.
    pub(super) fn tracking_came(&self, inner: &mut Inner, pinned: &mut Pinned, reply: &[u8], announce: bool) {
        let refused = reply[0] == b'-';
        self.leave_former(inner);
        if announce {
            inner.emit(reply, &self.context);
            if refused {
                self.tracking_failed(inner, pinned);
            }
        } else if refused {
            // The client believes that it is told of changes.
            tracing::warn!(
                "closed client {}: its tracking could not be set up again: {}",
                inner.identity.peer.remote(),
                String::from_utf8_lossy(reply).trim_end()
            );
            inner.dead = true;
        }
    }

    /// A CLIENT TRACKING in a transaction, to which the node has said OK.
    pub(super) fn tracking_turned(&self, inner: &mut Inner, pinned: &mut Pinned, raw: &[u8]) {
        let words: Vec<&[u8]> = arguments(raw).skip(2).collect();
        match options::tracking(&words, inner.tracking.as_ref().map(|tracking| &tracking.options)).wish {
            Ok(None) => {
                inner.tracking = None;
                pinned.ends_tracking();
            }
            Ok(Some(options)) => {
                let mut tracking = Tracking::begin(options, 0, inner.tracking.take());
                tracking.announce = false;
                inner.tracking = Some(Box::new(tracking));
                self.leave_former(inner);
                pinned.tracks = true;
                pinned.has_tracked = true;
            }
            // In words that Redan does not know, so it must not be lent to others.
            Err(_) => pinned.spoiled = true,
        }
    }

    /// What is redirected goes elsewhere now. What was on its way there nobody will read any more.
    fn leave_former(&self, inner: &mut Inner) {
        let resp3 = inner.dialect.resp3;
        let former = inner.tracking.as_mut().and_then(|tracking| tracking.former.take());
        if let Some((redirect, home, to)) = former {
            drop(redirect);
            self.tell_to_forget(home, to, resp3);
        }
    }

    fn tell_to_forget(&self, home: usize, to: u64, resp3: bool) {
        let ask = Ask::Invalidate { to, keys: vec![everything(resp3)] };
        let (switchboard, group) = (self.context.workspace.switchboard.clone(), self.context.pool.group_index());
        // Whether it arrives the next invalidation will tell.
        tokio::task::spawn_local(async move { drop(switchboard.ask_one(home, group, ask).await) });
    }

    /// A CLIENT TRACKING ON that could not be done, and of which the client is told. What it had before is gone with it:
    /// then it must begin anew, or it would go on to believe that it is told of changes.
    fn tracking_failed(&self, inner: &mut Inner, pinned: &mut Pinned) {
        let before = inner.tracking.take();
        inner.closing |= before.is_some_and(|tracking| tracking.changes);
        pinned.ends_tracking();
    }

    /// The connection that tracked is lost. Nobody knows what has changed since, or will.
    pub(super) fn lost_tracking(&self, inner: &mut Inner, announced_later: bool) {
        self.leave_former(inner);
        let resp3 = inner.dialect.resp3;
        let Some(tracking) = &mut inner.tracking else {
            return;
        };
        tracking.redirect = None;
        // The client does not know yet that it is told.
        tracking.announce |= announced_later;
        if tracking.announce && !tracking.changes {
            return;
        }
        if !tracking.redirects() {
            if resp3 {
                let message = invalidation(&everything(true), true);
                let muted = std::mem::take(&mut inner.muted);
                inner.emit(&message, &self.context);
                inner.muted = muted;
            }
            return;
        }
        self.tell_to_forget(tracking.home, tracking.options.redirect, resp3);
    }

    /// The connection for what is redirected is lost. `true`: everything must be set up anew.
    pub(super) fn redirect_is_lost(&self, inner: &mut Inner, pinned: &mut Pinned) -> bool {
        if !inner.tracking.as_ref().is_some_and(|tracking| tracking.has_lost_redirect()) {
            return false;
        }
        if inner.tracking.as_ref().is_some_and(|tracking| tracking.announce) {
            // It was not to be had for the first time either.
            self.answer_error(inner, NOT_EXECUTED);
            self.tracking_failed(inner, pinned);
            return false;
        }
        true
    }

    /// A session that tracks takes a connection as soon as there is a master, not only for its next command: its client
    /// may just wait to be told. `true`: it is on its way.
    pub(super) fn tracks_again(self: &Rc<Self>, inner: &mut Inner, cx: &mut task::Context<'_>) -> bool {
        if inner.tracking.is_none() || !inner.owes_nothing() || inner.in_lane > 0 {
            return false;
        }
        let pool = &self.context.pool;
        let master = pool.snapshot().master().filter(|master| !pool.is_troubled(master.id)).cloned();
        if let Some(master) = master {
            self.context.workspace.counters.pins.of(PinReason::Tracking).increment();
            inner.mode = Mode::Connecting(Box::pin(Rc::clone(pool).pin(master, inner.dialect)));
            return true;
        }
        if let Some(tracking) = &mut inner.tracking {
            let timer = tracking.retry.get_or_insert_with(|| Box::pin(tokio::time::sleep(RETRY)));
            if timer.as_mut().poll(cx).is_ready() {
                tracking.retry = None;
                self.wake();
            }
        }
        false
    }

    /// Keys that changed, for this session, which another one redirected them to. To be called by another task than its own.
    pub(super) fn deliver_invalidation(&self, keys: &[u8]) {
        let (resp3, listens) = {
            let inner = self.inner.borrow();
            (inner.dialect.resp3, inner.is_subscriber())
        };
        // Under RESP2 servers tell it to whoever subscribes to anything, and else to nobody.
        if resp3 || listens {
            self.deliver(&invalidation(keys, resp3));
        }
    }

    /// The session that gets the invalidations has gone.
    fn redirect_broke(&self) {
        let message = {
            let Ok(mut inner) = self.inner.try_borrow_mut() else {
                return;
            };
            let resp3 = inner.dialect.resp3;
            let Some(tracking) = &mut inner.tracking else {
                return;
            };
            tracking.broken = true;
            if !resp3 {
                return;
            }
            let mut message = b">2\r\n".to_vec();
            encode::bulk(&mut message, b"tracking-redir-broken");
            encode::integer(&mut message, i64::try_from(tracking.options.redirect).unwrap_or(i64::MAX));
            message
        };
        self.deliver(&message);
    }
}

/// As a server tells it: a push, or a message on a channel of this name.
fn invalidation(keys: &[u8], resp3: bool) -> Vec<u8> {
    let mut message = Vec::new();
    if resp3 {
        message.extend_from_slice(b">2\r\n");
        encode::bulk(&mut message, b"invalidate");
    } else {
        encode::array(&mut message, 3);
        encode::bulk(&mut message, b"message");
        encode::bulk(&mut message, INVALIDATE);
    }
    message.extend_from_slice(keys);
    message
}

/// What a CLIENT TRACKING or CACHING comes to.
enum Wish {
    Wait(Flow),
    Refused(String),
    Off,
    /// With the worker of the session that gets what is redirected.
    On(Options, usize),
    Caching,
}
