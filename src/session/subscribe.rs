//! SUBSCRIBE and its kin, and what a client in RESP2's subscribed mode may still ask.
//!
//! A subscription is confirmed to the client once the node has confirmed it, so that a PUBLISH sent after that arrives.
//! Each command is handled alone, with nothing of the session in flight, so confirmations come in their turn. What stands
//! in MULTI never comes here: it takes a pin (`pinned_forward`).

use std::collections::HashSet;
use std::rc::Rc;
use std::task;

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
        if !wants {
            self.unsubscribe(inner, kind, arrived.raw);
            return None;
        }
        let pending = match inner.subscriptions.as_mut().and_then(|subscriptions| subscriptions.pending.take()) {
            Some(pending) => pending,
            None => match self.ask_hub(inner, kind, arrived.raw) {
                Ok(pending) => pending,
                Err(words) => {
                    self.answer_error(inner, &words);
                    return None;
                }
            },
        };
        self.decide(inner, pending, arrived.raw, cx)
    }

    /// Tells the hub what the session lacks of what the command names.
    fn ask_hub(self: &Rc<Self>, inner: &mut Inner, kind: Topic, raw: &[u8]) -> Result<Pending, String> {
        let mut words = arguments(raw);
        let verb = words.next().unwrap_or_default();
        let subscriptions = inner.subscriptions.get_or_insert_default();
        let mut named = HashSet::new();
        let names: Vec<&[u8]> = words.filter(|name| !subscriptions.has(kind, name) && named.insert(*name)).collect();
        let had = subscriptions.len();
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

    fn decide(&self, inner: &mut Inner, pending: Pending, raw: &[u8], cx: &mut task::Context<'_>) -> Option<Flow> {
        match pending.ticket.outcome() {
            Outcome::Confirmed => {
                self.end_hold(inner);
                self.confirm(inner, pending, raw);
                None
            }
            Outcome::Refused(words) => {
                self.end_hold(inner);
                pending.withdraw(self.id);
                inner.tidy_subscriptions();
                self.answer_error(inner, &words);
                None
            }
            Outcome::Waiting => {
                if pending.hub.is_hopeful() {
                    self.end_hold(inner);
                } else if self.hold(inner, cx) == Flow::Again {
                    pending.withdraw(self.id);
                    inner.tidy_subscriptions();
                    self.answer_error(inner, &self.hold_error());
                    return None;
                }
                inner.subscriptions.get_or_insert_default().pending = Some(pending);
                Some(Flow::Wait)
            }
        }
    }

    /// Tells the client, topic by topic and also of those it had, and lets messages through.
    fn confirm(&self, inner: &mut Inner, pending: Pending, raw: &[u8]) {
        let Pending { hub, kind, names, .. } = pending;
        let mut added: HashSet<Name> = names.into_iter().collect();
        let resp3 = inner.dialect.resp3;
        let mut out = self.context.workspace.buffer();
        let subscriptions = inner.subscriptions.get_or_insert_default();
        for word in arguments(raw).skip(1) {
            if let Some(name) = added.take(word) {
                hub.activate(self.id, kind, &name);
                subscriptions.insert(kind, name, Rc::clone(&hub));
            }
            confirmation(&mut out, resp3, kind.subscribe(), Some(word), subscriptions.count(kind));
        }
        self.tell(inner, out);
    }

    fn unsubscribe(&self, inner: &mut Inner, kind: Topic, raw: &[u8]) {
        let resp3 = inner.dialect.resp3;
        let mut out = self.context.workspace.buffer();
        let mut named: Vec<Name> = arguments(raw).skip(1).map(Name::from).collect();
        if named.is_empty() {
            named = inner.subscriptions.as_ref().map(|subscriptions| subscriptions.names(kind)).unwrap_or_default();
            if named.is_empty() {
                confirmation(&mut out, resp3, kind.unsubscribe(), None, inner.subscription_count(kind));
            }
        }
        for name in named {
            let hub = inner.subscriptions.as_mut().and_then(|subscriptions| subscriptions.remove(kind, &name));
            if let Some(hub) = hub {
                hub.leave(self.id, kind, &name);
            }
            confirmation(&mut out, resp3, kind.unsubscribe(), Some(&name), inner.subscription_count(kind));
        }
        inner.tidy_subscriptions();
        self.tell(inner, out);
    }

    /// Confirmations are messages, which CLIENT REPLY does not silence; SKIP is used up by them all the same.
    fn tell(&self, inner: &mut Inner, out: Vec<u8>) {
        let workspace = &self.context.workspace;
        workspace.counters.commands_local.increment();
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
            Kind::Local(Local::Ping) if frame.arguments <= 2 => {
                let text = arguments(raw).nth(1).unwrap_or_default();
                self.answer_with(inner, |out| {
                    encode::array(out, 2);
                    encode::bulk(out, b"pong");
                    encode::bulk(out, text);
                });
            }
            Kind::Local(Local::Ping) => self.answer_error(inner, &super::local::wrong_arity("ping")),
            _ => self.answer_error(inner, &only_listens(spec, Some(frame.arguments), raw)),
        }
        true
    }
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
