//! Commands on their way to a pin: what each does to the connection, and what reply it makes the session expect.

use std::rc::Rc;
use std::task;

use super::adapted::Adaptation;
use super::assured::TOO_FEW_REPLICAS;
use super::local::{is_unknown, speaks_of_others, unknown_subcommand, wrong_arity};
use super::pinned::{After, Expect, Pinned};
use super::plan::Arrived;
use super::special::{WAIT_IS_VOID, admin_refused, database, forbidden, is_endless};
use super::stand_in::StandIns;
use super::subscribe::unknown;
use super::watched::Watched;
use super::{Inner, ReplyMode, Session};
use crate::backend::login::Claim;
use crate::command::{Admin, Care, Kind, Lasts, Local, Pin, Refused, Spec};
use crate::limits;
use crate::resp::encode;
use crate::resp::request::{Bounds, Frame, Request, RequestError, RequestScanner};

/// What became of one command.
pub(super) enum Step {
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
                Ok(Request::Command(frame)) => {
                    let step = self.forward_frame(inner, pinned, rest, frame, cx);
                    used += if matches!(step, Step::NotYet) { 0 } else { frame.len };
                    match step {
                        Step::Sent | Step::Done => {}
                        Step::NotYet => break Ok(()),
                        Step::After(after) => break Err(after),
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

    /// A complete command, or the rest of one that is sent on as it comes, at the beginning of `rest`.
    fn forward_frame(
        self: &Rc<Self>,
        inner: &mut Inner,
        pinned: &mut Pinned,
        rest: &[u8],
        frame: Frame,
        cx: &mut task::Context<'_>,
    ) -> Step {
        if pinned.uploading {
            pinned.pin.output.extend_from_slice(&rest[..frame.len]);
            pinned.uploading = false;
            pinned.blocking = std::mem::take(&mut pinned.uploads_wait);
            return Step::Done;
        }
        let arrived = Arrived::new(rest, frame, &self.context.pool.learned());
        let arrived = arrived.under(inner.permissions.as_deref());
        let before = (pinned.in_multi, pinned.expected.len());
        let step = self.forward_command(inner, pinned, &arrived, cx);
        if matches!(step, Step::Done) {
            self.count_alone(&arrived);
        }
        if matches!(step, Step::Sent) {
            self.meter(inner, pinned, &arrived);
            self.sent_over_pin(pinned, &arrived, before);
            if inner.reply_mode == ReplyMode::SkipNext {
                inner.reply_mode = ReplyMode::On;
                inner.muted = true;
            }
            self.context.workspace.counters.commands_pinned.increment();
            inner.apart += 1;
        }
        step
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
        let Arrived { kind, spec, .. } = *arrived;
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
        let subscribes = kind == Kind::Pin(Pin::Subscribe) && !pinned.in_multi;
        if subscribes || (inner.only_listens() && !leaves) {
            // Through the hub, as without a pin.
            let waits = !pinned.expected.is_empty() || self.special(inner, arrived, cx).is_some();
            return if waits { Step::NotYet } else { Step::Done };
        }
        inner.last = spec;
        if pinned.tracks {
            self.note_for_tracking(inner, pinned, arrived);
        }
        let refused = match self.is_refused(inner, pinned, arrived) {
            true => Some(TOO_FEW_REPLICAS.to_owned()),
            false => self.not_carried(arrived),
        };
        if pinned.in_multi {
            pinned.writes_queued |= matches!(kind, Kind::Write | Kind::WriteUnlessBlock);
            return match refused {
                Some(words) => pinned.refuse(&words),
                None => self.queue(inner, pinned, arrived, cx),
            };
        }
        match refused {
            Some(words) => self.when_quiet(inner, pinned, |session, inner| session.answer_error(inner, &words)),
            None => self.forward_alone(inner, pinned, arrived, cx),
        }
    }

    /// A pin that tracks can begin anew with what is noted here.
    fn note_for_tracking(&self, inner: &mut Inner, pinned: &mut Pinned, arrived: &Arrived<'_>) {
        let Arrived { kind, spec, .. } = *arrived;
        pinned.begin_journal();
        let reads = matches!(kind, Kind::Read | Kind::MasterRead | Kind::ReadUnlessBlock | Kind::Local(_));
        let opens = matches!(kind, Kind::Pin(Pin::Multi | Pin::Tracking));
        pinned.changes += u32::from(!pinned.in_multi && !reads && !opens);
        if !opens && (!pinned.in_multi || kind == Kind::Pin(Pin::Exec)) && !of_client(spec) {
            inner.caching_ends();
        }
    }

    /// Why a command is not carried over a pin; `None`: it is.
    fn not_carried(&self, arrived: &Arrived<'_>) -> Option<String> {
        let Arrived { raw, frame, kind, spec } = *arrived;
        match kind {
            Kind::Refused(Refused::Ambiguous) => Some(unknown(raw)),
            Kind::Refused(Refused::Forbidden) => Some(forbidden(spec, frame.name.of(raw))),
            Kind::Refused(Refused::Http | Refused::Replication) => Some("ERR this command is not carried".to_owned()),
            Kind::Admin(_) if !self.context.listener().allow_admin_commands => {
                Some(admin_refused(spec, frame.name.of(raw)))
            }
            _ => None,
        }
    }

    /// A command outside a transaction.
    fn forward_alone(
        self: &Rc<Self>,
        inner: &mut Inner,
        pinned: &mut Pinned,
        arrived: &Arrived<'_>,
        cx: &mut task::Context<'_>,
    ) -> Step {
        let Arrived { raw, frame, kind, spec } = *arrived;
        match kind {
            Kind::Pin(Pin::Wait | Pin::WaitAof) if self.wait_is_void(inner) => {
                self.when_quiet(inner, pinned, |session, inner| session.answer_error(inner, WAIT_IS_VOID))
            }
            Kind::Pin(Pin::Tracking) => {
                if !pinned.expected.is_empty() || !self.forward_tracking(inner, pinned, raw, cx) {
                    return Step::NotYet;
                }
                let answered = pinned.expected.is_empty() && !pinned.to_set_up;
                if answered { Step::Done } else { Step::Sent }
            }
            Kind::Pin(pin) if opens_or_ends(pin) && spec.is_some_and(|spec| !spec.takes(frame.arguments)) => {
                relay(pinned, raw)
            }
            Kind::Pin(Pin::Blocking) if !pinned.expected.is_empty() => Step::NotYet,
            Kind::Pin(Pin::Blocking) => {
                if self.forward_blocking(inner, pinned, spec, raw) {
                    Step::Sent
                } else {
                    Step::Done
                }
            }
            Kind::Local(_) => self.forward_local(inner, pinned, arrived, cx),
            Kind::Pin(pin) => self.forward_pin(inner, pinned, pin, raw),
            Kind::Admin(Admin::Shutdown) => {
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
            Kind::Refused(_) => {
                debug_assert!(false, "refused before");
                Step::Done
            }
        }
    }

    pub(super) fn relay_with_care(&self, pinned: &mut Pinned, care: Care, raw: &[u8]) -> Step {
        if care == Care::None {
            return relay(pinned, raw);
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

    /// Answers locally once every reply before is there.
    fn when_quiet(&self, inner: &mut Inner, pinned: &Pinned, answer: impl FnOnce(&Self, &mut Inner)) -> Step {
        if !pinned.expected.is_empty() {
            return Step::NotYet;
        }
        answer(self, inner);
        Step::Done
    }

    /// Outside a transaction, save QUIT and RESET, which end one.
    pub(super) fn forward_local(
        self: &Rc<Self>,
        inner: &mut Inner,
        pinned: &mut Pinned,
        arrived: &Arrived<'_>,
        cx: &mut task::Context<'_>,
    ) -> Step {
        let Arrived { raw, frame, kind, .. } = *arrived;
        let Kind::Local(local) = kind else {
            debug_assert!(false, "answered by Redan");
            return Step::Done;
        };
        match local {
            local if is_unknown(local, || self.context.edition()) => pinned.refuse(&unknown_subcommand(raw)),
            Local::Ping | Local::Echo => relay(pinned, raw),
            Local::Select => forward_select(pinned, raw),
            _ if !pinned.expected.is_empty() => Step::NotYet,
            Local::Quit => {
                self.answer_with(inner, |out| encode::simple(out, "OK"));
                inner.closing = true;
                Step::Done
            }
            Local::Reset if self.has_parted_from_all(inner) => Step::After(After::Reset),
            Local::Reset => Step::NotYet,
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

    pub(super) fn forward_pin(&self, inner: &mut Inner, pinned: &mut Pinned, pin: Pin, raw: &[u8]) -> Step {
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
                let stand_ins = std::mem::take(&mut pinned.stand_ins);
                if stand_ins.subscribe() {
                    self.subscribe_at_exec(inner);
                }
                pinned.expected.push_back(Expect::Exec { watched: pinned.is_watching(), stand_ins });
                pinned.transaction_ends();
                return Step::Sent;
            }
            Pin::Discard => {
                pinned.transaction_ends();
                self.transaction_is_over(inner);
            }
            Pin::Unwatch if !pinned.in_multi => pinned.watched = Watched::default(),
            Pin::Unwatch => {}
            // Refused at once, and not queued.
            Pin::Watch if pinned.in_multi => {
                note(pinned, raw);
                pinned.expected.push_back(Expect::Opening);
                return Step::Sent;
            }
            Pin::Watch => {
                pinned.watched.add(pinned.pin.dialect.db, raw);
                // What is watched is the state of this moment on this node.
                pinned.journal = None;
            }
            Pin::Wait | Pin::WaitAof if !pinned.in_multi => {
                self.forward_wait(pinned, pin, raw);
                return Step::Sent;
            }
            // The first three inside a transaction, where they do not wait.
            Pin::Blocking | Pin::Wait | Pin::WaitAof | Pin::Subscribe | Pin::Tracking | Pin::Script => {}
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

/// MULTI and its kin with a wrong number of arguments do nothing, except that EXEC, like any command refused in a
/// transaction, makes that fail.
pub(super) fn forward_miscounted(pinned: &mut Pinned, pin: Pin, arrived: &Arrived<'_>) -> Step {
    if pin == Pin::Exec {
        // Servers before 6.2 leave the transaction open.
        pinned.spoiled = true;
        note(pinned, arrived.raw);
        pinned.expected.push_back(Expect::Exec { watched: pinned.is_watching(), stand_ins: StandIns::default() });
        pinned.transaction_ends();
        return Step::Sent;
    }
    pinned.refuse(&wrong_arity(arrived.spec.map_or("", |spec| spec.name)))
}

/// SELECT is the node's to judge; the session follows it when it said OK.
fn forward_select(pinned: &mut Pinned, raw: &[u8]) -> Step {
    let Ok(db) = database(raw) else {
        return relay(pinned, raw);
    };
    note(pinned, raw);
    pinned.expected.push_back(Expect::Select(db));
    Step::Sent
}

pub(super) fn relay(pinned: &mut Pinned, raw: &[u8]) -> Step {
    note(pinned, raw);
    pinned.queued += u32::from(pinned.in_multi);
    pinned.expected.push_back(if pinned.in_multi { Expect::Opening } else { Expect::Reply });
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
pub(super) fn opens_or_ends(pin: Pin) -> bool {
    matches!(pin, Pin::Multi | Pin::Exec | Pin::Discard | Pin::Watch | Pin::Unwatch)
}

/// After these what CLIENT CACHING said still holds.
fn of_client(spec: Option<&Spec>) -> bool {
    spec.is_some_and(|spec| spec.name.starts_with("client|"))
}
