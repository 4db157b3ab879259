//! AUTH, HELLO and RESET: who the session's client is, and what it may send from then on.
//!
//! Who a client is, the listener's users file says, or a node where the listener passes logins through. Whatever changes how
//! commands are carried waits here until everything before it is answered: what must be sent again is sent as it was.

use std::future::Future;
use std::pin;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::task::{self, Poll};
use std::time::Instant;

use super::hello;
use super::{Flow, Inner, ReplyMode, Session};
use crate::backend::dial::{DialError, Dialect};
use crate::backend::login::{Claim, LoggedIn, UserKey};
use crate::backend::prove::Proof;
use crate::command::permissions::Permissions;
use crate::config::{Listener, User};
use crate::resp::encode;
use crate::resp::request::arguments;

/// A node is being asked whether a claim is right.
pub(super) struct Asked {
    claim: Claim,
    answer: pin::Pin<Box<dyn Future<Output = Result<Proof, DialError>>>>,
}

/// Whom a client has proven to be.
pub(super) enum Who {
    /// Nobody else than before.
    Same,
    /// A user of the listener's.
    User(Box<str>),
    /// A user of the nodes'.
    Login(LoggedIn),
}

/// An AUTH or HELLO that was found right and takes effect later, at its place in a transaction.
pub(super) struct Turn {
    who: Who,
    /// HELLO's other arguments. `None`: it is AUTH.
    hello: Option<Rest>,
}

struct Rest {
    /// `None` keeps the version.
    resp3: Option<bool>,
    name: Option<Box<[u8]>>,
}

pub(super) enum Verdict<T> {
    Right(T),
    /// In these words.
    Wrong(String),
    /// The attempt is verified later.
    Wait(Flow),
}

/// What asking came to.
enum Told {
    Right,
    Wrong(String),
    /// Nobody could be asked within the hold.
    Nothing,
    Wait(Flow),
}

impl Session {
    pub(super) fn auth(self: &Rc<Self>, inner: &mut Inner, raw: &[u8], cx: &mut task::Context<'_>) -> Option<Flow> {
        let verdict = self.judge_auth(inner, raw, cx);
        self.answer_verdict(inner, verdict)
    }

    pub(super) fn hello(self: &Rc<Self>, inner: &mut Inner, raw: &[u8], cx: &mut task::Context<'_>) -> Option<Flow> {
        // The answer speaks of the master, so a master must be known, or have been.
        if hello::parse(raw).is_ok()
            && self.context.pool.snapshot().nodes.iter().all(|node| node.version.is_none() && node.trouble.is_some())
            && self.context.pool.snapshot().master.is_none()
        {
            if self.hold(inner, cx) == Flow::Wait {
                return Some(Flow::Wait);
            }
            self.answer_error(inner, &self.hold_error());
            return None;
        }
        let verdict = self.judge_hello(inner, raw, cx);
        self.answer_verdict(inner, verdict)
    }

    fn answer_verdict(&self, inner: &mut Inner, verdict: Verdict<Turn>) -> Option<Flow> {
        match verdict {
            Verdict::Wait(flow) => return Some(flow),
            Verdict::Right(turn) => {
                let mut reply = Vec::new();
                self.take_turn(inner, turn, &mut reply);
                self.answer_with(inner, |out| out.extend_from_slice(&reply));
            }
            Verdict::Wrong(words) => self.answer_error(inner, &words),
        }
        None
    }

    /// Whether an AUTH is right. Nothing is changed by it.
    pub(super) fn judge_auth(
        self: &Rc<Self>,
        inner: &mut Inner,
        raw: &[u8],
        cx: &mut task::Context<'_>,
    ) -> Verdict<Turn> {
        let (user, password) = match hello::parse_auth(raw) {
            Ok(parsed) => parsed,
            Err(words) => return Verdict::Wrong(words),
        };
        let alone = arguments(raw).count() == 2;
        if self.context.listener().lets_anyone_in() && alone {
            return Verdict::Wrong(hello::NO_PASSWORD_CONFIGURED.to_owned());
        }
        self.verify(inner, (!alone).then_some(user), password, cx).map(|who| Turn { who, hello: None })
    }

    /// Whether a HELLO is right. Nothing is changed by it, save that a client that has named nobody is let in where it may be.
    pub(super) fn judge_hello(
        self: &Rc<Self>,
        inner: &mut Inner,
        raw: &[u8],
        cx: &mut task::Context<'_>,
    ) -> Verdict<Turn> {
        let asked = match hello::parse(raw) {
            Ok(asked) => asked,
            Err(words) => return Verdict::Wrong(words),
        };
        self.end_hold(inner);
        if !self.knows_hello() {
            return Verdict::Wrong(hello::unknown(raw));
        }
        let verdict = match asked.auth {
            Some((user, password)) => self.verify(inner, Some(user), password, cx),
            None => match self.admit_unnamed(inner, cx) {
                Verdict::Wrong(words) if words.starts_with("NOAUTH") => {
                    Verdict::Wrong(hello::HELLO_NOT_AUTHENTICATED.to_owned())
                }
                verdict => verdict.map(|()| Who::Same),
            },
        };
        verdict.map(|who| Turn { who, hello: Some(Rest { resp3: asked.resp3, name: asked.name.map(Into::into) }) })
    }

    /// Servers before 6.0 do not.
    pub(super) fn knows_hello(&self) -> bool {
        let snapshot = self.context.pool.snapshot();
        snapshot.spokesman().is_none_or(|node| node.speaks_resp3())
    }

    /// What was found right takes effect; appends the reply.
    pub(super) fn take_turn(&self, inner: &mut Inner, turn: Turn, out: &mut Vec<u8>) {
        self.becomes(inner, turn.who);
        let Some(Rest { resp3, name }) = turn.hello else {
            return encode::simple(out, "OK");
        };
        if let Some(resp3) = resp3 {
            inner.dialect.resp3 = resp3;
        }
        if let Some(name) = name {
            inner.identity.name = String::from_utf8_lossy(&name).into();
        }
        hello::reply(out, inner.dialect.resp3, self.id, self.context.pool.snapshot().spokesman());
    }

    pub(super) fn becomes(&self, inner: &mut Inner, who: Who) {
        match who {
            Who::Same => {}
            Who::User(name) => {
                let listener = &self.context.listener();
                if let Some(user) = listener.users.as_ref().and_then(|users| users.named(&name)) {
                    inner.become_user(user, listener);
                }
            }
            Who::Login(login) => {
                inner.authenticated = true;
                inner.dialect.user = login.key;
                inner.identity.user = String::from_utf8_lossy(login.claim.user()).into_owned().into();
                inner.login = Some(login);
            }
        }
    }

    /// For a command of a client that has not logged in. `None`: it may not send it, and was told so.
    pub(super) fn unnamed(self: &Rc<Self>, inner: &mut Inner, cx: &mut task::Context<'_>) -> Option<Flow> {
        match self.admit_unnamed(inner, cx) {
            Verdict::Wait(flow) => Some(flow),
            // It stays in the input and is looked at with other eyes.
            Verdict::Right(()) => Some(Flow::Again),
            Verdict::Wrong(words) => {
                self.answer_error(inner, &words);
                None
            }
        }
    }

    /// Finds out whether a client that has named nobody may send what a stranger may not; it is looked at again then.
    pub(super) fn examine(self: &Rc<Self>, inner: &mut Inner, cx: &mut task::Context<'_>) -> Flow {
        match self.admit_unnamed(inner, cx) {
            Verdict::Wait(flow) => flow,
            Verdict::Right(()) => Flow::Again,
            Verdict::Wrong(_) => {
                inner.stranger = true;
                Flow::Again
            }
        }
    }

    /// Whether a client may go on that has named nobody. It is asked of a node once in a session, and after RESET.
    fn admit_unnamed(self: &Rc<Self>, inner: &mut Inner, cx: &mut task::Context<'_>) -> Verdict<()> {
        if inner.authenticated {
            return Verdict::Right(());
        }
        if !self.context.listener().passthrough || inner.stranger {
            return Verdict::Wrong(hello::NOT_AUTHENTICATED.to_owned());
        }
        match self.ask(inner, Claim::Nothing, cx) {
            Told::Right => {}
            Told::Wrong(words) => {
                inner.stranger = true;
                return Verdict::Wrong(words);
            }
            Told::Nothing => return Verdict::Wrong(self.hold_error()),
            Told::Wait(flow) => return Verdict::Wait(flow),
        }
        self.log_in(&Claim::Nothing).map(|who| self.becomes(inner, who))
    }

    /// Decides on a user and password, and changes nothing. A source that failed before waits first, whether it is right this time or not.
    /// Without a user it is a password alone, that of `default`.
    fn verify(
        self: &Rc<Self>,
        inner: &mut Inner,
        user: Option<&[u8]>,
        password: &[u8],
        cx: &mut task::Context<'_>,
    ) -> Verdict<Who> {
        let name = user.unwrap_or(b"default");
        if self.context.listener().lets_anyone_in() {
            // As Redis with `default` and no password: any password of `default` is right.
            return if name == b"default" {
                Verdict::Right(Who::Same)
            } else {
                Verdict::Wrong(hello::WRONG_PASSWORD.to_owned())
            };
        }
        if let Some(flow) = self.slowed(inner, cx) {
            return Verdict::Wait(flow);
        }
        let verdict = match &self.context.listener().users {
            Some(users) => match users.verify(name, password) {
                Some(user) => Verdict::Right(Who::User(user.name.as_str().into())),
                None => Verdict::Wrong(hello::WRONG_PASSWORD.to_owned()),
            },
            None => {
                let claim = Claim::Password { user: user.map(Into::into), password: password.into() };
                match self.ask(inner, claim.clone(), cx) {
                    Told::Right => self.log_in(&claim),
                    Told::Wrong(words) => Verdict::Wrong(words),
                    Told::Nothing => return Verdict::Wrong(self.hold_error()),
                    Told::Wait(flow) => return Verdict::Wait(flow),
                }
            }
        };
        self.note_attempt(inner, &verdict);
        verdict
    }

    /// `Some` while the attempt has to wait because wrong ones came from the same source.
    fn slowed(&self, inner: &mut Inner, cx: &mut task::Context<'_>) -> Option<Flow> {
        if std::mem::take(&mut inner.penance_done) || inner.asked.is_some() {
            return None;
        }
        let source = inner.identity.peer.source();
        let delay = {
            let throttle = &self.context.workspace.throttle;
            throttle.lock().unwrap_or_else(PoisonError::into_inner).delay(source, Instant::now())
        };
        if delay.is_zero() {
            return None;
        }
        let mut timer = Box::pin(tokio::time::sleep(delay));
        // Polled once so that it wakes the task.
        let _ = timer.as_mut().poll(cx);
        inner.penance = Some(timer);
        Some(Flow::Wait)
    }

    fn note_attempt<T>(&self, inner: &Inner, verdict: &Verdict<T>) {
        let source = inner.identity.peer.source();
        let throttle = || self.context.workspace.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        match verdict {
            Verdict::Right(_) => throttle().succeeded(source),
            // Other words speak of something else than a wrong password.
            Verdict::Wrong(words) if GUESSED_WRONG.iter().any(|start| words.starts_with(start)) => {
                throttle().failed(source, Instant::now());
                self.context.workspace.counters.auth_failures.increment();
                tracing::info!(
                    "client {} named a wrong user or password on listener '{}'",
                    inner.identity.peer.remote(),
                    self.context.listener().name
                );
            }
            Verdict::Wrong(_) | Verdict::Wait(_) => {}
        }
    }

    /// Asks a node about a claim, anew for each attempt.
    fn ask(self: &Rc<Self>, inner: &mut Inner, claim: Claim, cx: &mut task::Context<'_>) -> Told {
        let pool = &self.context.pool;
        loop {
            if let Some(mut asked) = inner.asked.take().filter(|asked| asked.claim == claim) {
                match asked.answer.as_mut().poll(cx) {
                    Poll::Pending => {
                        inner.asked = Some(asked);
                        return Told::Wait(Flow::Wait);
                    }
                    Poll::Ready(Ok(Proof::Right)) => return Told::Right,
                    Poll::Ready(Ok(Proof::Wrong(words))) => return Told::Wrong(words),
                    // That node is in trouble now, so this ends with another node or with a hold.
                    Poll::Ready(Err(_)) => {}
                }
            }
            let Some(node) = pool.witness() else {
                return if self.hold(inner, cx) == Flow::Wait { Told::Wait(Flow::Wait) } else { Told::Nothing };
            };
            self.end_hold(inner);
            let answer = Box::pin(Rc::clone(pool).prove(node, claim.clone()));
            inner.asked = Some(Box::new(Asked { claim: claim.clone(), answer }));
        }
    }

    /// A node has accepted the claim.
    fn log_in(&self, claim: &Claim) -> Verdict<Who> {
        let Some(login) = self.context.pool.log_in(claim) else {
            tracing::warn!("refused a login on listener '{}': {TOO_MANY_LOGINS}", self.context.listener().name);
            return Verdict::Wrong(TOO_MANY_LOGINS.to_owned());
        };
        Verdict::Right(Who::Login(login))
    }

    /// RESET: the session is as if it had just connected.
    pub(super) fn begin_anew(&self, inner: &mut Inner) {
        let listener = &self.context.listener();
        inner.dialect = Dialect::of(first_user(listener));
        inner.authenticated = listener.lets_anyone_in();
        inner.permissions = listener.permissions.clone();
        inner.login = None;
        inner.asked = None;
        inner.stranger = false;
        inner.identity.user = "default".into();
        inner.identity.name = "".into();
        inner.reply_mode = ReplyMode::On;
        inner.severed = None;
        inner.tracking = None;
        let shown = inner.identity.by_certificate.as_deref();
        if let Some(user) = shown.and_then(|name| listener.users.as_ref()?.named(name)) {
            inner.become_user(user, listener);
        }
    }

    /// The client has shown a certificate that names this user of the listener; called before its first byte.
    pub(crate) fn recognise(&self, user: &User) {
        let inner = &mut *self.inner.borrow_mut();
        inner.identity.by_certificate = Some(user.name.as_str().into());
        inner.become_user(user, &self.context.listener());
    }
}

impl<T> Verdict<T> {
    fn map<U>(self, right: impl FnOnce(T) -> U) -> Verdict<U> {
        match self {
            Self::Right(what) => Verdict::Right(right(what)),
            Self::Wrong(words) => Verdict::Wrong(words),
            Self::Wait(flow) => Verdict::Wait(flow),
        }
    }
}

impl Turn {
    /// The login that the connection must follow.
    pub(super) fn login(&self) -> Option<&LoggedIn> {
        if let Who::Login(login) = &self.who { Some(login) } else { None }
    }

    /// The protocol's version that it must speak: RESP3 or not.
    pub(super) fn version(&self) -> Option<bool> {
        self.hello.as_ref()?.resp3
    }

    /// The node has a say in it.
    pub(super) fn is_told_to_the_node(&self) -> bool {
        self.login().is_some() || self.version().is_some()
    }

    /// The user of the listener's that the client becomes.
    pub(super) fn user<'a>(&self, listener: &'a Listener) -> Option<&'a User> {
        let Who::User(name) = &self.who else {
            return None;
        };
        listener.users.as_ref()?.named(name)
    }
}

/// What a user of the listener's may send.
pub(super) fn permissions_of(user: &User, listener: &Listener) -> Option<Arc<Permissions>> {
    match (&listener.permissions, &user.permissions) {
        (Some(of_listener), Some(of_user)) => Some(Arc::new(of_listener.and(of_user))),
        (one, other) => one.as_ref().or(other.as_ref()).map(Arc::clone),
    }
}

/// As whom a session speaks that has just connected.
pub(super) fn first_user(listener: &Listener) -> UserKey {
    if listener.passthrough { UserKey::NOBODY } else { UserKey::GROUP }
}

/// Servers before 6.0 know only the second.
const GUESSED_WRONG: [&str; 2] = ["WRONGPASS", "ERR invalid password"];

/// Over `limits::LOGINS`.
const TOO_MANY_LOGINS: &str = "ERR too many different users are connected through this Redan; try again later";

impl Inner {
    /// Whether a password still waits to be verified, because wrong ones came from the same source before.
    pub(super) fn does_penance(&mut self, cx: &mut task::Context<'_>) -> bool {
        let Some(penance) = &mut self.penance else {
            return false;
        };
        let over = penance.as_mut().poll(cx).is_ready();
        if over {
            self.penance = None;
            self.penance_done = true;
        }
        !over
    }

    /// One of the listener's own users, which has proven who it is.
    pub(super) fn become_user(&mut self, user: &User, listener: &Listener) {
        self.authenticated = true;
        self.identity.user = user.name.clone().into();
        self.permissions = permissions_of(user, listener);
    }

    /// Its user may not log in any more, or is gone.
    pub(super) fn is_revoked(&self) -> bool {
        self.login.as_ref().is_some_and(|login| login.is_revoked())
    }
}
