//! Commands on their way to a pin: what each does to the connection, and what reply it makes the session expect.

use std::rc::Rc;
use std::task;

use super::adapted::Adaptation;
use super::assured::TOO_FEW_REPLICAS;
use super::fanned::flush_elsewhere;
use super::local::{speaks_of_others, wrong_arity};
use super::pinned::{After, Expect, Pinned};
use super::plan::Arrived;
use super::special::{WAIT_IS_VOID, admin_refused, database, forbidden, is_endless};
use super::stand_in;
use super::subscribe::unknown;
use super::{Inner, ReplyMode, Session};
use crate::backend::login::Claim;
use crate::command::{Admin, Care, Kind, Lasts, Local, Pin, Refused, Spec};
use crate::limits;
use crate::resp::encode;
use crate::resp::request::{Bounds, Request, RequestError, RequestScanner};

/// What became of one command.
enum Step {
    Sent,
    /// Answered, or nothing to send.
    Done,
    /// Its turn comes when the replies before it are there.
    NotYet,
    After(After),
}

impl Session {
    /// Sends on what the client asked, as far as this pin takes it now. `true` when something went.
    pub(super) fn forward(
        self: &Rc<Self>,
        inner: &mut Inner,
        pinned: &mut Pinned,
        cx: &mut task::Context<'_>,
    ) -> Result<bool, After> {
        let mut input = std::mem::take(&mut inner.input);
        let mut used = 0;
        let mut moved = false;
        let result = loop {
            if !pinned.takes_more() || inner.takes_no_more() || pinned.pin.backlog() > limits::OUTPUT_PAUSE {
                break Ok(());
            }
            if pinned.to_set_up {
                if !self.set_up_tracking(inner, pinned, cx) {
                    break Ok(());
                }
                moved = true;
            }
            if inner.muted && inner.reply_mode == ReplyMode::On {
                // One reply is to be skipped: what comes behind its command waits until it came.
                if !pinned.expected.is_empty() {
                    break Ok(());
                }
                inner.muted = false;
            }
            let rest = &input[used..];
            match inner.scanner.scan(rest, &Bounds::AUTHENTICATED) {
                Ok(Request::Command(frame)) if pinned.uploading => {
                    pinned.pin.output.extend_from_slice(&rest[..frame.len]);
                    pinned.uploading = false;
                    pinned.blocking = std::mem::take(&mut pinned.uploads_wait);
                    used += frame.len;
                }
                Ok(Request::Command(frame)) => {
                    let arrived = Arrived::new(rest, frame, &self.context.pool.learned());
                    let arrived = arrived.under(inner.permissions.as_deref());
                    let before = (pinned.in_multi, pinned.expected.len());
                    match self.forward_command(inner, pinned, &arrived, cx) {
                        Step::Sent => {
                            self.sent_over_pin(pinned, &arrived, before);
                            if inner.reply_mode == ReplyMode::SkipNext {
                                inner.reply_mode = ReplyMode::On;
                                inner.muted = true;
                            }
                            self.context.workspace.counters.commands_pinned.increment();
                            used += frame.len;
                        }
                        Step::Done => used += frame.len,
                        Step::NotYet => break Ok(()),
                        Step::After(after) => {
                            used += frame.len;
                            break Err(after);
                        }
                    }
                }
                Ok(Request::Blank { len }) => used += len,
                Ok(Request::Inline { .. }) => {
                    if let Err(error) = self.inline(inner, rest) {
                        self.broken(inner, pinned, &error);
                        break Ok(());
                    }
                    moved |= used > 0;
                    input = std::mem::take(&mut inner.input);
                    used = 0;
                }
                Ok(Request::Incomplete) => break self.upload(inner, pinned, &input, &mut used),
                Err(error) => {
                    self.broken(inner, pinned, &error);
                    break Ok(());
                }
            }
        };
        moved |= used > 0;
        input.drain(..used);
        input.append(&mut inner.input);
        inner.input = input;
        result.map(|()| moved)
    }

    /// What stands in front cannot be understood. Everything before it is answered first, so until then it stays there.
    fn broken(&self, inner: &mut Inner, pinned: &mut Pinned, error: &RequestError) {
        inner.scanner = RequestScanner::new();
        if pinned.uploading {
            // Half of it has gone to the node, which would take whatever comes next for the rest.
            inner.dead = true;
        } else if pinned.expected.is_empty() {
            pinned.spoiled = true;
            self.protocol_error(inner, error);
        }
    }

    fn forward_command(
        self: &Rc<Self>,
        inner: &mut Inner,
        pinned: &mut Pinned,
        arrived: &Arrived<'_>,
        cx: &mut task::Context<'_>,
    ) -> Step {
        let Arrived { raw, frame, kind, spec } = *arrived;
        let pause = &self.context.pool.pause;
        let writes = pinned.in_multi && pinned.writes_queued && kind == Kind::Pin(Pin::Exec);
        if arrived.waits_for(pause.now()) || (writes && pause.is_active()) {
            pause.wait(cx.waker());
            return Step::NotYet;
        }
        if inner.severed.is_some() {
            // A transaction of a session that tracks, from before this connection.
            if !pinned.expected.is_empty() {
                return Step::NotYet;
            }
            if self.answer_severed(inner, kind) {
                return Step::Done;
            }
        }
        let leaves = matches!(kind, Kind::Local(Local::Quit | Local::Reset) | Kind::Refused(_));
        let on_pin = pinned.in_multi || pinned.subscribed || (pinned.subscribes && inner.dialect.resp3);
        let subscribes = kind == Kind::Pin(Pin::Subscribe) && !on_pin;
        if subscribes || (inner.only_listens() && !leaves) {
            // Through the hub, as without a pin.
            let waits = !pinned.expected.is_empty() || self.special(inner, arrived, cx).is_some();
            return if waits { Step::NotYet } else { Step::Done };
        }
        inner.last = spec;
        if pinned.tracks {
            pinned.begin_journal();
            let reads = matches!(kind, Kind::Read | Kind::MasterRead | Kind::ReadUnlessBlock | Kind::Local(_));
            let opens = matches!(kind, Kind::Pin(Pin::Multi | Pin::Tracking));
            pinned.changes += u32::from(!pinned.in_multi && !reads && !opens);
            if !opens && (!pinned.in_multi || kind == Kind::Pin(Pin::Exec)) && !of_client(spec) {
                inner.caching_ends();
            }
        }
        pinned.writes_queued |= pinned.in_multi && matches!(kind, Kind::Write | Kind::WriteUnlessBlock);
        match kind {
            _ if self.is_refused(inner, pinned, arrived) => self.refuse(inner, pinned, TOO_FEW_REPLICAS),
            Kind::Refused(Refused::Ambiguous) => self.refuse(inner, pinned, &unknown(raw)),
            Kind::Refused(Refused::Forbidden) => self.refuse(inner, pinned, &forbidden(spec, frame.name.of(raw))),
            Kind::Refused(Refused::Http | Refused::Replication) => {
                self.refuse(inner, pinned, "ERR this command is not carried")
            }
            Kind::Admin(_) if !self.context.listener.allow_admin_commands => {
                self.refuse(inner, pinned, &admin_refused(spec, arrived.frame.name.of(raw)))
            }
            Kind::Pin(Pin::Wait | Pin::WaitAof) if !pinned.in_multi && self.wait_is_void(inner) => {
                self.refuse(inner, pinned, WAIT_IS_VOID)
            }
            Kind::Pin(Pin::Tracking) if pinned.in_multi && !is_caching(spec) => {
                self.refuse(inner, pinned, "ERR this command is not carried inside a transaction")
            }
            Kind::Pin(Pin::Tracking) if !pinned.in_multi && !pinned.subscribed => {
                if !pinned.expected.is_empty() || !self.forward_tracking(inner, pinned, raw, cx) {
                    return Step::NotYet;
                }
                let answered = pinned.expected.is_empty() && !pinned.to_set_up;
                if answered { Step::Done } else { Step::Sent }
            }
            Kind::Pin(pin) if opens_or_ends(pin) && spec.is_some_and(|spec| !spec.takes(frame.arguments)) => {
                self.forward_miscounted(inner, pinned, pin, arrived)
            }
            Kind::Pin(Pin::Blocking) if !pinned.in_multi && !pinned.subscribed && !pinned.expected.is_empty() => {
                Step::NotYet
            }
            Kind::Pin(Pin::Blocking) if !pinned.in_multi && !pinned.subscribed => {
                if self.forward_blocking(inner, pinned, spec, raw) { Step::Sent } else { Step::Done }
            }
            Kind::Local(local) => self.forward_local(inner, pinned, local, arrived, cx),
            Kind::Pin(pin) => self.forward_pin(pinned, pin, raw),
            Kind::Admin(Admin::Shutdown) if !pinned.in_multi => {
                note(pinned, raw);
                pinned.expected.push_back(Expect::Shutdown);
                Step::Sent
            }
            Kind::Admin(admin) => {
                pinned.for_session |= is_endless(admin);
                pinned.irreplaceable |= is_endless(admin);
                pinned.monitors |= is_endless(admin);
                relay(pinned, raw)
            }
            Kind::Read | Kind::MasterRead | Kind::Write | Kind::ReadUnlessBlock | Kind::WriteUnlessBlock => {
                self.relay_with_care(pinned, arrived.care(), raw)
            }
        }
    }

    /// MULTI and its kin with a wrong number of arguments do nothing, except that EXEC, like any command refused in a
    /// transaction, makes that fail.
    fn forward_miscounted(&self, inner: &mut Inner, pinned: &mut Pinned, pin: Pin, arrived: &Arrived<'_>) -> Step {
        if pin == Pin::Exec && pinned.in_multi {
            // Servers before 6.2 leave the transaction open.
            pinned.spoiled = true;
            return self.forward_pin(pinned, pin, arrived.raw);
        }
        if pinned.in_multi {
            return self.refuse(inner, pinned, &wrong_arity(arrived.spec.map_or("", |spec| spec.name)));
        }
        relay(pinned, arrived.raw)
    }

    fn relay_with_care(&self, pinned: &mut Pinned, care: Care, raw: &[u8]) -> Step {
        if care == Care::None || pinned.subscribed {
            return relay(pinned, raw);
        }
        if care == Care::Flush && pinned.in_multi {
            flush_elsewhere(&self.context.pool, pinned.pin.dialect, pinned.pin.node, raw);
        }
        let Adaptation { adapter, request } = self.adaptation(care, raw, pinned.pin.node);
        pinned.pin.output.extend_from_slice(request.as_deref().unwrap_or(raw));
        pinned.keep(raw);
        pinned.queued += u32::from(pinned.in_multi);
        pinned.expected.push_back(match adapter {
            _ if pinned.in_multi => Expect::Opening,
            Some(adapter) => Expect::Adapted(Box::new(adapter)),
            None => Expect::Reply,
        });
        Step::Sent
    }

    /// A command that is not carried. In a transaction the node must still learn that it failed, so that EXEC does.
    fn refuse(&self, inner: &mut Inner, pinned: &mut Pinned, words: &str) -> Step {
        if pinned.in_multi {
            let mut reply = Vec::new();
            encode::error(&mut reply, words);
            encode::command(&mut pinned.pin.output, &[b"REDAN.REFUSED"]);
            pinned.expected.push_back(Expect::Replace(reply));
            pinned.journal = None;
            return Step::Sent;
        }
        self.when_quiet(inner, pinned, |session, inner| session.answer_error(inner, words))
    }

    /// Answers locally once every reply before is there.
    fn when_quiet(&self, inner: &mut Inner, pinned: &Pinned, answer: impl FnOnce(&Self, &mut Inner)) -> Step {
        if !pinned.expected.is_empty() {
            return Step::NotYet;
        }
        answer(self, inner);
        Step::Done
    }

    fn forward_local(
        self: &Rc<Self>,
        inner: &mut Inner,
        pinned: &mut Pinned,
        local: Local,
        arrived: &Arrived<'_>,
        cx: &mut task::Context<'_>,
    ) -> Step {
        let Arrived { raw, frame, spec, .. } = *arrived;
        match local {
            Local::Ping | Local::Echo => relay(pinned, raw),
            Local::Quit => self.when_quiet(inner, pinned, |session, inner| {
                session.answer_with(inner, |out| encode::simple(out, "OK"));
                inner.closing = true;
            }),
            Local::Reset if pinned.expected.is_empty() => Step::After(After::Reset),
            Local::Reset => Step::NotYet,
            Local::Auth | Local::Hello | Local::ClientReply if pinned.subscribed => {
                let name = spec.map_or("this command", |spec| spec.name);
                let words = format!(
                    "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are \
                     allowed in this context"
                );
                self.answer_error(inner, &words);
                Step::Done
            }
            Local::Auth | Local::Hello | Local::ClientReply if pinned.in_multi => {
                self.refuse(inner, pinned, "ERR this command is not carried inside a transaction")
            }
            Local::Select => forward_select(pinned, raw),
            local if pinned.in_multi && speaks_of_others(local) => {
                self.refuse(inner, pinned, "ERR this command is not carried inside a transaction")
            }
            _ if pinned.in_multi && spec.is_some_and(|spec| !spec.takes(frame.arguments)) => {
                self.refuse(inner, pinned, &wrong_arity(spec.map_or("", |spec| spec.name)))
            }
            _ if pinned.in_multi && !pinned.has_room_for(arrived) => self.refuse(inner, pinned, stand_in::TOO_MANY),
            local if pinned.in_multi => {
                pinned.stands_in(local, arrived);
                Step::Sent
            }
            _ if pinned.subscribed => {
                // The node refuses it.
                pinned.spoiled = true;
                relay(pinned, raw)
            }
            _ if !pinned.expected.is_empty() => Step::NotYet,
            local if speaks_of_others(local) => match self.client_command(inner, local, raw, cx) {
                None => Step::Done,
                Some(_) => Step::NotYet,
            },
            Local::Auth | Local::Hello | Local::ClientReply => self.identify_pinned(inner, pinned, arrived, cx),
            local => {
                self.answer_own(inner, local, &frame, raw, Some(pinned));
                Step::Done
            }
        }
    }

    /// AUTH, HELLO and CLIENT REPLY with nothing outstanding: as without a pin, and the pin follows the protocol version.
    fn identify_pinned(
        self: &Rc<Self>,
        inner: &mut Inner,
        pinned: &mut Pinned,
        arrived: &Arrived<'_>,
        cx: &mut task::Context<'_>,
    ) -> Step {
        if inner.does_penance(cx) || self.special(inner, arrived, cx).is_some() {
            return Step::NotYet;
        }
        inner.muted = inner.reply_mode == ReplyMode::Off;
        if let Some(login) = inner.login.as_ref().filter(|login| login.key != pinned.pin.dialect.user) {
            match &login.claim {
                Claim::Password { user: Some(user), password } => {
                    encode::command(&mut pinned.pin.output, &[b"AUTH", user, password]);
                }
                Claim::Password { user: None, password } => {
                    encode::command(&mut pinned.pin.output, &[b"AUTH", password]);
                }
                // A client becomes this only by RESET, with which the pin ends.
                Claim::Nothing => inner.dead = true,
            }
            pinned.expected.push_back(Expect::Login);
            pinned.pin.dialect.user = login.key;
            pinned.journal = None;
        }
        if inner.dialect.resp3 != pinned.pin.dialect.resp3 {
            let version: &[u8] = if inner.dialect.resp3 { b"3" } else { b"2" };
            encode::command(&mut pinned.pin.output, &[b"HELLO", version]);
            pinned.expected.push_back(Expect::Drop);
            pinned.pin.dialect.resp3 = inner.dialect.resp3;
            pinned.journal = None;
        }
        Step::Done
    }

    fn forward_pin(&self, pinned: &mut Pinned, pin: Pin, raw: &[u8]) -> Step {
        match pin {
            Pin::Multi => {
                note(pinned, raw);
                pinned.expected.push_back(if pinned.in_multi { Expect::Reply } else { Expect::Opening });
                pinned.in_multi = true;
                return Step::Sent;
            }
            // Refused, and what is watched stays watched.
            Pin::Exec | Pin::Discard if !pinned.in_multi => {}
            Pin::Exec => {
                note(pinned, raw);
                if std::mem::take(&mut pinned.subscribes_at_exec) {
                    pinned.for_session = true;
                    pinned.subscribes = true;
                    pinned.subscribed = !pinned.pin.dialect.resp3;
                }
                if !pinned.subscribed {
                    let stand_ins = std::mem::take(&mut pinned.stand_ins);
                    pinned.expected.push_back(Expect::Exec { watched: pinned.watching, stand_ins });
                }
                pinned.transaction_ends();
                return Step::Sent;
            }
            Pin::Discard => {
                pinned.transaction_ends();
                pinned.subscribes_at_exec = false;
                pinned.selects_at_exec = None;
            }
            Pin::Unwatch => pinned.watching &= pinned.in_multi,
            // Refused at once, and not queued.
            Pin::Watch if pinned.in_multi => {
                note(pinned, raw);
                pinned.expected.push_back(Expect::Opening);
                return Step::Sent;
            }
            Pin::Watch => {
                pinned.watching |= !pinned.in_multi;
                // What is watched is the state of this moment on this node.
                pinned.journal = None;
            }
            Pin::Subscribe if pinned.in_multi => {
                pinned.subscribes_at_exec = true;
                pinned.journal = None;
            }
            // Where EXEC has subscribed, the rest follows: the answers are messages, of which none is expected.
            Pin::Subscribe => {
                note(pinned, raw);
                return Step::Sent;
            }
            Pin::Wait | Pin::WaitAof if !pinned.in_multi && !pinned.subscribed => {
                self.forward_wait(pinned, pin, raw);
                return Step::Sent;
            }
            // Inside a transaction, where it does not wait.
            Pin::Blocking | Pin::Tracking | Pin::Wait | Pin::WaitAof | Pin::Script => {}
            Pin::Unknown => pinned.spoiled = true,
            Pin::Stateful => {
                debug_assert_eq!(pin.lasts(), Lasts::Session);
                pinned.for_session = true;
                pinned.irreplaceable = true;
            }
        }
        relay(pinned, raw)
    }
}

/// SELECT is the node's to judge; the session follows it when it said OK.
fn forward_select(pinned: &mut Pinned, raw: &[u8]) -> Step {
    let Ok(db) = database(raw) else {
        return relay(pinned, raw);
    };
    if pinned.subscribed {
        return relay(pinned, raw);
    }
    if pinned.in_multi {
        pinned.selects_at_exec = Some(db);
        return relay(pinned, raw);
    }
    note(pinned, raw);
    pinned.expected.push_back(Expect::Select(db));
    Step::Sent
}

fn relay(pinned: &mut Pinned, raw: &[u8]) -> Step {
    note(pinned, raw);
    pinned.queued += u32::from(pinned.in_multi);
    if !pinned.subscribed {
        pinned.expected.push_back(if pinned.in_multi { Expect::Opening } else { Expect::Reply });
    }
    Step::Sent
}

fn note(pinned: &mut Pinned, raw: &[u8]) {
    pinned.note_as(raw, raw);
}

impl Pinned {
    /// Sends `sent` for the client's command `raw`, and keeps that while everything on the pin may still be sent again.
    pub(super) fn note_as(&mut self, raw: &[u8], sent: &[u8]) {
        self.pin.output.extend_from_slice(sent);
        self.keep(raw);
    }

    /// Keeps a command while everything on the pin may still be sent again.
    fn keep(&mut self, raw: &[u8]) {
        if self.journal.as_ref().is_some_and(|journal| journal.len() + raw.len() > limits::GATHERED_COMMAND) {
            self.journal = None;
        }
        if let Some(journal) = &mut self.journal {
            journal.extend_from_slice(raw);
        }
    }
}

/// What only counts if its number of arguments is right; the node says so of the others itself, and nothing hangs on it.
fn opens_or_ends(pin: Pin) -> bool {
    matches!(pin, Pin::Multi | Pin::Exec | Pin::Discard | Pin::Watch | Pin::Unwatch)
}

fn is_caching(spec: Option<&Spec>) -> bool {
    spec.is_some_and(|spec| spec.name == "client|caching")
}

/// After these what CLIENT CACHING said still holds.
fn of_client(spec: Option<&Spec>) -> bool {
    spec.is_some_and(|spec| spec.name.starts_with("client|"))
}
