//! Commands on their way into a transaction: what the node queues for each, and what Redan keeps of it until EXEC.
//!
//! Nothing takes effect here. What needs somebody else's word (a password, a subscription) is asked for now, as far as that
//! changes nothing, so that EXEC's reply need not wait. What cannot be done is refused, and the node is made to fail EXEC.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{self, Poll};

use super::login::{Turn, Verdict, permissions_of};
use super::pinned::{Expect, Pinned};
use super::pinned_forward::{Step, forward_miscounted, opens_or_ends, relay};
use super::plan::Arrived;
use super::special::database;
use super::stand_in::{self, Part};
use super::{Inner, Session, hello, local};
use crate::backend::hub::topic::Kind as Topic;
use crate::backend::login::Claim;
use crate::command::permissions::Permissions;
use crate::command::{Care, Kind, Local, Pin};
use crate::resp::encode;
use crate::resp::request::arguments;

/// What an AUTH in the transaction will make of the client, for the commands behind it.
pub(super) struct Becoming {
    permissions: Option<Arc<Permissions>>,
    /// The nodes know it by another name then.
    elsewhere: bool,
}

impl Session {
    /// A command while MULTI is open, EXEC and DISCARD among them.
    pub(super) fn queue(
        self: &Rc<Self>,
        inner: &mut Inner,
        pinned: &mut Pinned,
        arrived: &Arrived<'_>,
        cx: &mut task::Context<'_>,
    ) -> Step {
        let Arrived { raw, frame, kind, spec } = *arrived;
        let takes = spec.is_none_or(|spec| spec.takes(frame.arguments));
        match kind {
            Kind::Pin(pin) if opens_or_ends(pin) && !takes => forward_miscounted(pinned, pin, arrived),
            Kind::Pin(pin) if opens_or_ends(pin) => self.forward_pin(inner, pinned, pin, raw),
            Kind::Local(Local::Quit | Local::Reset) => self.forward_local(inner, pinned, arrived, cx),
            // At EXEC, when servers ask this again.
            _ if pinned.becomes.as_ref().is_some_and(|becoming| !becoming.permits(arrived)) => {
                pinned.stands_in(Part::Words(NOT_ALLOWED_ANY_MORE.to_owned()), raw, None, &[]);
                Step::Sent
            }
            Kind::Local(local) => self.queue_local(inner, pinned, local, arrived, cx),
            Kind::Pin(Pin::Subscribe | Pin::Tracking) if !takes => pinned.refuse(&wrong_arity(arrived)),
            Kind::Pin(Pin::Subscribe) => self.queue_subscription(inner, pinned, arrived, cx),
            Kind::Pin(Pin::Tracking) => queue_tracking(pinned, raw),
            Kind::Pin(pin) => self.forward_pin(inner, pinned, pin, raw),
            Kind::Admin(_) | Kind::Refused(_) => relay(pinned, raw),
            Kind::Read | Kind::MasterRead | Kind::Write | Kind::ReadUnlessBlock | Kind::WriteUnlessBlock => {
                self.queue_with_care(pinned, arrived.care(), raw)
            }
        }
    }

    fn queue_local(
        self: &Rc<Self>,
        inner: &mut Inner,
        pinned: &mut Pinned,
        local: Local,
        arrived: &Arrived<'_>,
        cx: &mut task::Context<'_>,
    ) -> Step {
        let Arrived { raw, frame, spec, .. } = *arrived;
        match local {
            local if local::is_unknown(local, || self.context.edition()) => {
                pinned.refuse(&local::unknown_subcommand(raw))
            }
            Local::Echo => relay(pinned, raw),
            // A client that only listens by then is answered otherwise.
            Local::Ping if !pinned.stand_ins.subscribe() && !inner.is_subscribed() => relay(pinned, raw),
            Local::Select => queue_select(pinned, raw),
            _ if spec.is_some_and(|spec| !spec.takes(frame.arguments)) => pinned.refuse(&wrong_arity(arrived)),
            _ if !pinned.has_room_for(raw.len()) => pinned.refuse(stand_in::TOO_MANY),
            Local::Auth | Local::Hello => self.queue_login(inner, pinned, local, raw, cx),
            local => {
                pinned.stands_in(Part::Own(local), raw, None, raw);
                Step::Sent
            }
        }
    }

    /// AUTH and HELLO: judged now, with the patience that guesses cost, and taken at EXEC.
    fn queue_login(
        self: &Rc<Self>,
        inner: &mut Inner,
        pinned: &mut Pinned,
        local: Local,
        raw: &[u8],
        cx: &mut task::Context<'_>,
    ) -> Step {
        if local == Local::Hello && !self.knows_hello() {
            return pinned.refuse(&hello::unknown(raw));
        }
        if inner.does_penance(cx) {
            return Step::NotYet;
        }
        let verdict = match local {
            Local::Auth => self.judge_auth(inner, raw, cx),
            _ => self.judge_hello(inner, raw, cx),
        };
        let turn = match verdict {
            Verdict::Wait(_) => return Step::NotYet,
            Verdict::Wrong(words) => {
                pinned.stands_in(Part::Words(words), raw, None, &[]);
                return Step::Sent;
            }
            Verdict::Right(turn) => turn,
        };
        let listener = &self.context.listener();
        if let Some(user) = turn.user(listener) {
            let permissions = permissions_of(user, listener);
            pinned.becomes = Some(Box::new(Becoming { permissions, elsewhere: false }));
        } else if turn.login().is_some() {
            let permissions = inner.permissions.clone();
            pinned.becomes = Some(Box::new(Becoming { permissions, elsewhere: true }));
        }
        let sent = for_the_node(&turn);
        pinned.stands_in(Part::Login(Box::new(turn)), raw, sent.as_deref(), &[]);
        Step::Sent
    }

    fn queue_subscription(
        self: &Rc<Self>,
        inner: &mut Inner,
        pinned: &mut Pinned,
        arrived: &Arrived<'_>,
        cx: &mut task::Context<'_>,
    ) -> Step {
        let raw = arrived.raw;
        let Some((kind, wants)) = arrived.spec.and_then(|spec| Topic::of_command(spec.name)) else {
            debug_assert!(false, "classified as a subscription");
            return Step::Done;
        };
        if !pinned.has_room_for(raw.len()) {
            return pinned.refuse(stand_in::TOO_MANY);
        }
        if wants && kind == Topic::Shard {
            pinned.stands_in(Part::Words(NO_SHARDS.to_owned()), raw, None, &[]);
            return Step::Sent;
        }
        // Whoever the client becomes before it subscribes, that user must do it.
        if wants && pinned.becomes.as_ref().is_none_or(|becoming| !becoming.elsewhere) {
            match self.join(inner, kind, raw, cx) {
                Poll::Pending => return Step::NotYet,
                Poll::Ready(Err(words)) => return pinned.refuse(&words),
                Poll::Ready(Ok(())) => {}
            }
        }
        pinned.stands_in(Part::Subscription, raw, None, raw);
        Step::Sent
    }

    fn queue_with_care(&self, pinned: &mut Pinned, care: Care, raw: &[u8]) -> Step {
        match care {
            Care::Publish | Care::Subscribers => {
                // Of a message only the channel counts.
                let kept = if care == Care::Publish { head(raw, 2) } else { raw.to_vec() };
                if !pinned.has_room_for(kept.len()) {
                    return relay(pinned, raw);
                }
                pinned.stands_in(Part::Care(care), raw, Some(raw), &kept);
                Step::Sent
            }
            Care::Cursor | Care::KeyCursor | Care::Flush => {
                if !pinned.has_room_for(raw.len()) {
                    return pinned.refuse(stand_in::TOO_MANY);
                }
                let adaptation = self.adaptation(care, raw, pinned.pin.node);
                let Some(adapter) = adaptation.adapter else {
                    return relay(pinned, raw);
                };
                let sent = adaptation.request.as_deref().unwrap_or(raw);
                // What the adapter keeps of a flush counts.
                let kept = if care == Care::Flush { raw } else { &[] };
                pinned.stands_in(Part::Adapted(adapter), raw, Some(sent), kept);
                Step::Sent
            }
            care => self.relay_with_care(pinned, care, raw),
        }
    }
}

impl Becoming {
    fn permits(&self, arrived: &Arrived<'_>) -> bool {
        self.permissions.as_ref().is_none_or(|permissions| permissions.permits(arrived.spec))
    }
}

impl Pinned {
    /// A command that is not carried into the transaction: the node must learn that it failed, so that EXEC does.
    pub(super) fn refuse(&mut self, words: &str) -> Step {
        let mut reply = Vec::new();
        encode::error(&mut reply, words);
        encode::command(&mut self.pin.output, &[b"REDAN.REFUSED"]);
        self.expected.push_back(Expect::Replace(reply));
        self.journal = None;
        Step::Sent
    }
}

/// The node judges it; the session follows when that said OK.
fn queue_select(pinned: &mut Pinned, raw: &[u8]) -> Step {
    let Ok(db) = database(raw) else {
        return relay(pinned, raw);
    };
    if !pinned.has_room_for(0) {
        return pinned.refuse(stand_in::TOO_MANY);
    }
    pinned.stands_in(Part::Select(db), raw, Some(raw), &[]);
    Step::Sent
}

/// CLIENT TRACKING and CACHING go to the node as they are: in a transaction it tracks from the very next command on.
fn queue_tracking(pinned: &mut Pinned, raw: &[u8]) -> Step {
    let mut words = arguments(raw).skip(1);
    if words.next().is_some_and(|word| word.eq_ignore_ascii_case(b"CACHING")) {
        return relay(pinned, raw);
    }
    if words.any(|word| word.eq_ignore_ascii_case(b"REDIRECT")) {
        return pinned.refuse(NO_REDIRECT);
    }
    if !pinned.has_room_for(raw.len()) {
        return pinned.refuse(stand_in::TOO_MANY);
    }
    pinned.stands_in(Part::Tracking, raw, Some(raw), raw);
    Step::Sent
}

/// In the words of servers since 6.2.
const NOT_ALLOWED_ANY_MORE: &str = "NOPERM ACLs rules changed between the moment the transaction was accumulated and the \
     EXEC call. This command is no longer allowed for the following reason: no permission to execute the command or \
     subcommand";

/// In the words of servers.
const NO_SHARDS: &str = "ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client";

const NO_REDIRECT: &str =
    "ERR Redan does not carry CLIENT TRACKING with REDIRECT inside a transaction: send it outside";

/// What changes the connection is told to its node; `None`: nothing does.
fn for_the_node(turn: &Turn) -> Option<Vec<u8>> {
    let mut words: Vec<&[u8]> = Vec::new();
    let claim = turn.login().map(|login| &login.claim);
    match (turn.version(), claim) {
        (Some(resp3), claim) => {
            words.extend([&b"HELLO"[..], if resp3 { b"3" } else { b"2" }]);
            if let Some(claim @ Claim::Password { password, .. }) = claim {
                words.extend([&b"AUTH"[..], claim.user(), &**password]);
            }
        }
        (None, Some(Claim::Password { user: Some(user), password })) => {
            words.extend([&b"AUTH"[..], &**user, &**password])
        }
        (None, Some(Claim::Password { user: None, password })) => words.extend([&b"AUTH"[..], &**password]),
        (None, Some(Claim::Nothing) | None) => return None,
    }
    let mut command = Vec::new();
    encode::command(&mut command, &words);
    Some(command)
}

/// A command of the first `count` words of `raw`.
fn head(raw: &[u8], count: usize) -> Vec<u8> {
    let words: Vec<&[u8]> = arguments(raw).take(count).collect();
    let mut command = Vec::new();
    encode::command(&mut command, &words);
    command
}

fn wrong_arity(arrived: &Arrived<'_>) -> String {
    local::wrong_arity(arrived.spec.map_or("", |spec| spec.name))
}
