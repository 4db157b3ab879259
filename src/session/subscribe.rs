//! SUBSCRIBE and its kin, and what a client in RESP2's subscribed mode may still ask.
//!
//! A subscription is confirmed to the client once the node has confirmed it, so that a PUBLISH sent after that arrives; so is the
//! end of a topic that nobody else has, so that a PUBLISH sent after that does not count it.
//! Each command is handled alone, with nothing of the session in flight, so confirmations come in their turn. For what
//! stands in MULTI the hub is asked when it is queued (`queued`), and the client is told at its place in EXEC's reply (`exec`).

use std::collections::HashSet;
use std::rc::Rc;
use std::task::{self, Poll};

use super::plan::Arrived;
use super::subscriptions::{Pending, confirmation};
use super::{Flow, Inner, ReplyMode, Session};
use crate::backend::hub::subscriber::Outcome;
use crate::backend::hub::topic::{Kind as Topic, Name};
use crate::command::{self, Kind, Local, Pin, Refused, Spec};
use crate::limits;
use crate::resp::encode;
use crate::resp::request::arguments;

impl Session {
    /// `None`: it is done with. Otherwise it stays in the input and is handled again.
    pub(super) fn subscription(
        self: &Rc<Self>,
        inner: &mut Inner,
        arrived: &Arrived<'_>,
        cx: &mut task::Context<'_>,
    ) -> Option<Flow> {
        if let Some(flow) = inner.settled() {
            return Some(flow);
        }
        let Some((spec, (kind, wants))) = arrived.spec.and_then(|spec| Some((spec, Topic::of_command(spec.name)?)))
        else {
            debug_assert!(false, "classified as a subscription");
            return None;
        };
        if !spec.takes(arrived.frame.arguments) {
            self.answer_error(inner, &super::local::wrong_arity(spec.name));
            return None;
        }
        let mut out = self.context.workspace.buffer();
        match self.subscribe(inner, kind, wants, arrived.raw, &mut out, cx) {
            Poll::Pending => return Some(Flow::Wait),
            Poll::Ready(Ok(())) => self.tell(inner, out),
            Poll::Ready(Err(words)) => self.answer_error(inner, &words),
        }
        None
    }

    /// Appends what the client is told, or says why not.
    pub(super) fn subscribe(
        self: &Rc<Self>,
        inner: &mut Inner,
        kind: Topic,
        wants: bool,
        raw: &[u8],
        out: &mut Vec<u8>,
        cx: &mut task::Context<'_>,
    ) -> Poll<Result<(), String>> {
        if !wants {
            return self.unsubscribe(inner, kind, raw, out).map(Ok);
        }
        let joined = self.join(inner, kind, raw, cx);
        if let Poll::Ready(Ok(())) = joined {
            self.confirm(inner, kind, raw, out);
        }
        joined
    }

    /// Has the hub subscribe to what the session lacks of what the command names; the client is not told.
    pub(super) fn join(
        self: &Rc<Self>,
        inner: &mut Inner,
        kind: Topic,
        raw: &[u8],
        cx: &mut task::Context<'_>,
    ) -> Poll<Result<(), String>> {
        let pending = match inner.subscriptions.as_mut().and_then(|subscriptions| subscriptions.pending.take()) {
            Some(pending) => pending,
            None => match self.ask_hub(inner, kind, raw) {
                Ok(pending) => pending,
                Err(words) => return Poll::Ready(Err(words)),
            },
        };
        self.decide(inner, pending, cx)
    }

    /// Tells the hub what the session lacks of what the command names.
    fn ask_hub(self: &Rc<Self>, inner: &mut Inner, kind: Topic, raw: &[u8]) -> Result<Pending, String> {
        let mut words = arguments(raw);
        let verb = words.next().unwrap_or_default();
        let subscriptions = inner.subscriptions.get_or_insert_default();
        let mut named = HashSet::new();
        let names: Vec<&[u8]> =
            words.filter(|name| !subscriptions.has_or_will(kind, name) && named.insert(*name)).collect();
        let had = subscriptions.len_in_all();
        let all = self.context.workspace.counters.subscriptions.get();
        let refusal = if had + names.len() > limits::SUBSCRIPTIONS {
            Some(TOO_MANY)
        } else if all + names.len() as u64 > limits::WORKER_SUBSCRIPTIONS {
            Some(TOO_MANY_IN_ALL)
        } else {
            None
        };
        if let Some(words) = refusal {
            inner.tidy_subscriptions();
            return Err(words.to_owned());
        }
        let hub = self.context.pool.hub(inner.dialect);
        let (ticket, names) = hub.join(self.id, self, kind, verb, &names);
        Ok(Pending { ticket, hub, kind, names })
    }

    fn decide(&self, inner: &mut Inner, pending: Pending, cx: &mut task::Context<'_>) -> Poll<Result<(), String>> {
        match pending.ticket.outcome() {
            Outcome::Confirmed => {
                self.end_hold(inner);
                inner.subscriptions.get_or_insert_default().joined(&pending);
                Poll::Ready(Ok(()))
            }
            Outcome::Refused(words) => {
                self.end_hold(inner);
                pending.withdraw(self.id);
                inner.tidy_subscriptions();
                Poll::Ready(Err(words.to_string()))
            }
            Outcome::Waiting => {
                if pending.hub.is_hopeful() {
                    self.end_hold(inner);
                } else if self.hold(inner, cx) == Flow::Again {
                    pending.withdraw(self.id);
                    inner.tidy_subscriptions();
                    return Poll::Ready(Err(self.hold_error()));
                }
                inner.subscriptions.get_or_insert_default().pending = Some(pending);
                Poll::Pending
            }
        }
    }

    /// Tells the client, topic by topic and also of those it had, and lets messages through.
    fn confirm(&self, inner: &mut Inner, kind: Topic, raw: &[u8], out: &mut Vec<u8>) {
        let resp3 = inner.dialect.resp3;
        let subscriptions = inner.subscriptions.get_or_insert_default();
        for word in arguments(raw).skip(1) {
            subscriptions.begin(self.id, kind, word);
            confirmation(out, resp3, kind.subscribe(), Some(word), subscriptions.count(kind));
        }
    }

    /// Not ready: it is to be asked again once no message can come any more.
    fn unsubscribe(self: &Rc<Self>, inner: &mut Inner, kind: Topic, raw: &[u8], out: &mut Vec<u8>) -> Poll<()> {
        let mut named: Vec<Name> = arguments(raw).skip(1).map(Name::from).collect();
        if named.is_empty() {
            named = inner.subscriptions.as_ref().map(|subscriptions| subscriptions.names(kind)).unwrap_or_default();
        }
        if !self.has_parted(inner, named.iter().map(|name| (kind, Rc::clone(name)))) {
            return Poll::Pending;
        }
        let resp3 = inner.dialect.resp3;
        if named.is_empty() {
            confirmation(out, resp3, kind.unsubscribe(), None, inner.subscription_count(kind));
        }
        for name in named {
            if let Some(subscriptions) = &mut inner.subscriptions {
                subscriptions.remove(kind, &name);
            }
            confirmation(out, resp3, kind.unsubscribe(), Some(&name), inner.subscription_count(kind));
        }
        inner.tidy_subscriptions();
        Poll::Ready(())
    }

    /// Confirmations are messages, which CLIENT REPLY does not silence; SKIP is used up by them all the same.
    fn tell(&self, inner: &mut Inner, out: Vec<u8>) {
        let workspace = &self.context.workspace;
        workspace.counters.commands_local.increment();
        inner.apart += 1;
        if inner.reply_mode == ReplyMode::SkipNext {
            inner.reply_mode = ReplyMode::On;
        }
        if !inner.kept_back_unmuted(&out) {
            inner.output.append(&out, workspace);
        }
        workspace.give_back(out);
    }

    /// The session only listens. `true`: the command was answered; the others are those that it may still send.
    pub(super) fn answer_listener(&self, inner: &mut Inner, arrived: &Arrived<'_>) -> bool {
        let Arrived { raw, frame, kind, spec } = *arrived;
        match kind {
            Kind::Pin(Pin::Subscribe) | Kind::Local(Local::Quit | Local::Reset) | Kind::Refused(Refused::Http) => {
                return false;
            }
            Kind::Local(Local::Ping) if frame.arguments <= 2 => self.answer_with(inner, |out| pong(out, raw)),
            Kind::Local(Local::Ping) => self.answer_error(inner, &super::local::wrong_arity("ping")),
            _ => self.answer_error(inner, &only_listens(spec, Some(frame.arguments), raw)),
        }
        true
    }
}

/// What a listening client's PING is answered.
pub(super) fn pong(out: &mut Vec<u8>, raw: &[u8]) {
    encode::array(out, 2);
    encode::bulk(out, b"pong");
    encode::bulk(out, arguments(raw).nth(1).unwrap_or_default());
}

/// What a command is answered that a listening client may not send, in Redis's words and in the order of its checks.
pub(super) fn only_listens(spec: Option<&Spec>, given: Option<u32>, raw: &[u8]) -> String {
    let Some(spec) = spec else {
        return unknown(raw);
    };
    if given.is_some_and(|given| !spec.takes(given)) {
        return super::local::wrong_arity(spec.name);
    }
    let sub = arguments(raw).nth(1).filter(|_| !spec.name.contains('|'));
    // Every container has HELP.
    let contains = |name: &str| command::lookup(name.as_bytes(), Some(b"help")).is_some_and(|help| help.name != name);
    if let Some(sub) = sub.filter(|_| contains(spec.name)) {
        let (sub, container) = (String::from_utf8_lossy(sub), spec.name.to_uppercase());
        return format!("ERR unknown subcommand '{sub}'. Try {container} HELP.");
    }
    let code = if spec.name == "exec" { "EXECABORT Transaction discarded because of:" } else { "ERR" };
    format!(
        "{code} Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
         context",
        spec.name
    )
}

/// In the words of a server that does not know the command: it shows about 128 bytes of what came, as C strings.
pub(super) fn unknown(raw: &[u8]) -> String {
    let shown = |word: &[u8], most: usize| {
        let end = memchr::memchr(0, word).unwrap_or(word.len()).min(most);
        String::from_utf8_lossy(&word[..end]).into_owned()
    };
    let mut words = arguments(raw);
    let name = shown(words.next().unwrap_or_default(), SHOWN);
    let mut rest = String::new();
    for word in words {
        if rest.len() >= SHOWN {
            break;
        }
        let word = shown(word, SHOWN - rest.len());
        rest.extend(["'", &word, "' "]);
    }
    format!("ERR unknown command '{name}', with args beginning with: {rest}")
}

const SHOWN: usize = 128;

const TOO_MANY: &str = "ERR Redan: one connection may have at most 65536 subscriptions";
const TOO_MANY_IN_ALL: &str =
    "ERR Redan: this worker has as many subscriptions as it may have; connect again to get another";
