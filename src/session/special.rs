//! Commands that are handled alone: they change how the following ones are carried, need a pin, or are refused.

use std::rc::Rc;
use std::task;

use super::pinned::Severed;
use super::plan::Arrived;
use super::subscribe::unknown;
use super::{Flow, Inner, ReplyMode, Session};
use crate::command::{Admin, Kind, Local, Pin, Refused, Spec};
use crate::metrics::PinReason;
use crate::resp::encode;
use crate::resp::request::arguments;

impl Session {
    /// Handles one command after everything before it was sent on its way. `None`: it is done with. Otherwise it stays in
    /// the input and is handled again.
    pub(super) fn special(
        self: &Rc<Self>,
        inner: &mut Inner,
        arrived: &Arrived<'_>,
        cx: &mut task::Context<'_>,
    ) -> Option<Flow> {
        let Arrived { raw, frame, kind, spec } = *arrived;
        if inner.muted
            && let Some(flow) = inner.settled()
        {
            // What is in flight is not to be answered, and this is: its reply must not be taken for one of those.
            return Some(flow);
        }
        if !inner.authenticated && !matches!(kind, Kind::Local(Local::Auth | Local::Hello | Local::Quit | Local::Reset))
        {
            return self.unnamed(inner, cx);
        }
        if matches!(kind, Kind::Local(local) if super::local::is_unknown(local, || self.context.edition())) {
            self.answer_error(inner, &super::local::unknown_subcommand(raw));
            return None;
        }
        if let Some(spec) = spec.filter(|spec| matches!(kind, Kind::Local(_)) && !spec.takes(frame.arguments)) {
            self.answer_error(inner, &super::local::wrong_arity(spec.name));
            return None;
        }
        if inner.severed.is_some() && self.answer_severed(inner, kind) {
            return None;
        }
        if inner.only_listens() && self.answer_listener(inner, arrived) {
            return None;
        }
        if matches!(kind, Kind::Local(Local::Auth | Local::Hello | Local::Reset | Local::Select))
            && let Some(flow) = inner.settled()
        {
            return Some(flow);
        }
        inner.last = spec;
        match kind {
            Kind::Local(local) => self.local(inner, local, arrived, cx),
            Kind::Pin(pin) => self.on_a_pin(inner, pin, arrived, cx),
            Kind::Admin(_) if self.context.listener().allow_admin_commands => {
                let entered = self.enter_pin(inner, PinReason::Admin, cx);
                if entered.is_none() {
                    self.answer_error(inner, &self.hold_error());
                }
                entered
            }
            Kind::Admin(_) => {
                self.answer_error(inner, &admin_refused(spec, frame.name.of(raw)));
                None
            }
            Kind::Refused(refused) => {
                self.refuse_alone(inner, refused, arrived);
                None
            }
            Kind::Read | Kind::MasterRead | Kind::Write | Kind::ReadUnlessBlock | Kind::WriteUnlessBlock => {
                // What a session reads while it tracks goes over one connection.
                let entered = self.enter_pin(inner, PinReason::Tracking, cx);
                if entered.is_none() {
                    self.answer_without_pin(inner, Pin::Tracking);
                }
                entered
            }
        }
    }

    /// What Redan answers itself, and what changes how the following commands are carried.
    fn local(
        self: &Rc<Self>,
        inner: &mut Inner,
        local: Local,
        arrived: &Arrived<'_>,
        cx: &mut task::Context<'_>,
    ) -> Option<Flow> {
        let Arrived { raw, frame, .. } = *arrived;
        match local {
            Local::Auth => return self.auth(inner, raw, cx),
            Local::Hello => return self.hello(inner, raw, cx),
            Local::Select => return self.select(inner, raw, cx),
            local if super::local::speaks_of_others(local) => return self.client_command(inner, local, raw, cx),
            Local::Quit => {
                inner.reply_mode = ReplyMode::On;
                self.answer_with(inner, |out| encode::simple(out, "OK"));
                inner.closing = true;
            }
            Local::Reset => {
                if !self.has_parted_from_all(inner) {
                    return Some(Flow::Wait);
                }
                self.leave_all(inner);
                self.begin_anew(inner);
                self.answer_with(inner, |out| encode::simple(out, "RESET"));
            }
            Local::ClientReply => self.reply_mode(inner, raw),
            local => self.answer_own(inner, local, &frame, raw, None),
        }
        None
    }

    /// What needs a connection of its own, or would in most places.
    fn on_a_pin(
        self: &Rc<Self>,
        inner: &mut Inner,
        pin: Pin,
        arrived: &Arrived<'_>,
        cx: &mut task::Context<'_>,
    ) -> Option<Flow> {
        let Arrived { raw, frame, spec, .. } = *arrived;
        match pin {
            Pin::Subscribe => self.subscription(inner, arrived, cx),
            Pin::Wait | Pin::WaitAof if self.wait_is_void(inner) => {
                self.answer_error(inner, WAIT_IS_VOID);
                None
            }
            Pin::Tracking => self.enter_tracking(inner, raw, cx),
            Pin::Blocking => self.enter_blocking(inner, spec, raw, cx),
            Pin::Unknown if spec.is_none() && self.must_learn(arrived) => {
                self.context.pool.learn(frame.name.of(raw), cx.waker());
                Some(Flow::Wait)
            }
            Pin::Script => self.kill_script(inner, raw, cx),
            pin => {
                let entered = self.enter_pin(inner, reason(pin), cx);
                if entered.is_none() {
                    self.answer_without_pin(inner, pin);
                }
                entered
            }
        }
    }

    fn refuse_alone(&self, inner: &mut Inner, refused: Refused, arrived: &Arrived<'_>) {
        let Arrived { raw, frame, spec, .. } = *arrived;
        match refused {
            Refused::Ambiguous => self.answer_error(inner, &unknown(raw)),
            Refused::Forbidden => self.answer_error(inner, &forbidden(spec, frame.name.of(raw))),
            Refused::Http => {
                tracing::warn!("closed client {}: it speaks HTTP, not Redis", inner.identity.peer.remote());
                inner.closing = true;
            }
            Refused::Replication => {
                self.answer_error(inner, REPLICATION_REFUSED);
                inner.closing = true;
            }
        }
    }

    /// The command has no row in the table, and the master can be asked about it.
    fn must_learn(&self, arrived: &Arrived<'_>) -> bool {
        let Arrived { raw, frame, .. } = *arrived;
        let pool = &self.context.pool;
        let known = pool.learned().find(frame.name.of(raw), frame.second.map(|second| second.of(raw))).is_some();
        !known && pool.snapshot().master().is_some_and(|master| !pool.is_troubled(master.id))
    }

    pub(super) fn answer_with(&self, inner: &mut Inner, write: impl FnOnce(&mut Vec<u8>)) {
        let mut reply = self.context.workspace.buffer();
        write(&mut reply);
        self.context.workspace.counters.commands_local.increment();
        inner.answer(reply, &self.context);
    }

    pub(super) fn answer_error(&self, inner: &mut Inner, words: &str) {
        self.answer_with(inner, |out| encode::error(out, words));
    }

    /// A database that is known to exist is only noted; the first use of a higher one is asked of the master, and so is each
    /// of a user of the server's, who may lack the right.
    fn select(self: &Rc<Self>, inner: &mut Inner, raw: &[u8], cx: &mut task::Context<'_>) -> Option<Flow> {
        match database(raw) {
            Err(words) => self.answer_error(inner, words),
            Ok(db) if db <= self.context.pool.known_databases() && inner.login.is_none() => {
                inner.dialect.db = db;
                self.answer_with(inner, |out| encode::simple(out, "OK"));
            }
            Ok(_) => {
                let entered = self.enter_pin(inner, PinReason::Stateful, cx);
                if entered.is_none() {
                    self.answer_error(inner, &self.hold_error());
                }
                return entered;
            }
        }
        None
    }

    fn reply_mode(&self, inner: &mut Inner, raw: &[u8]) {
        let mode = arguments(raw).nth(2).unwrap_or_default().to_ascii_uppercase();
        match mode.as_slice() {
            b"ON" => {
                inner.reply_mode = ReplyMode::On;
                self.answer_with(inner, |out| encode::simple(out, "OK"));
            }
            b"OFF" => inner.reply_mode = ReplyMode::Off,
            b"SKIP" if inner.reply_mode == ReplyMode::On => inner.reply_mode = ReplyMode::SkipNext,
            b"SKIP" => {}
            _ => self.answer_error(inner, "ERR syntax error"),
        }
    }

    /// The master has changed since the session's last write. What it would wait for now is not that write, which the new
    /// master may not have.
    pub(super) fn wait_is_void(&self, inner: &Inner) -> bool {
        inner.sight.write > 0 && inner.write_epoch != self.context.pool.snapshot().epoch
    }

    /// There is no pin. A client whose MULTI fails sends what belongs into the transaction all the same, and believes that
    /// it is queued: it is told so, and at EXEC that nothing was executed.
    pub(super) fn answer_without_pin(&self, inner: &mut Inner, pin: Pin) {
        if pin == Pin::Multi {
            inner.severed = Some(Severed::Transaction);
            self.answer_unless_given(inner, |out| encode::simple(out, "OK"));
        } else {
            inner.skip_replies = 0;
            self.answer_error(inner, &self.hold_error());
        }
    }

    /// An answer of a severed transaction, unless the client has it from before the transaction began again.
    pub(super) fn answer_unless_given(&self, inner: &mut Inner, write: impl FnOnce(&mut Vec<u8>)) {
        if inner.skip_replies > 0 {
            inner.skip_replies -= 1;
        } else {
            self.answer_with(inner, write);
        }
    }

    /// What a transaction or a watch that lost its connection is answered; `false`: the command is carried as ever.
    pub(super) fn answer_severed(&self, inner: &mut Inner, kind: Kind) -> bool {
        let Some(severed) = inner.severed else {
            return false;
        };
        match (kind, severed) {
            (Kind::Pin(Pin::Multi), Severed::Watch) => {
                inner.severed = Some(Severed::WatchedTransaction);
                self.answer_with(inner, |out| encode::simple(out, "OK"));
            }
            (Kind::Pin(Pin::Watch), Severed::Watch) => self.answer_with(inner, |out| encode::simple(out, "OK")),
            (Kind::Pin(Pin::Unwatch), Severed::Watch)
            | (Kind::Pin(Pin::Discard), Severed::Transaction | Severed::WatchedTransaction) => {
                inner.severed = None;
                self.answer_with(inner, |out| encode::simple(out, "OK"));
            }
            (_, Severed::Watch) => return false,
            (Kind::Pin(Pin::Exec), Severed::WatchedTransaction) => {
                // As if a watched key had changed: the client begins again.
                inner.severed = None;
                let resp3 = inner.dialect.resp3;
                self.answer_with(inner, |out| encode::null_array(out, resp3));
            }
            (Kind::Pin(Pin::Exec), Severed::Transaction) => {
                inner.severed = None;
                self.answer_error(inner, SEVERED);
            }
            (Kind::Local(Local::Quit | Local::Reset), _) => return false,
            _ => self.answer_unless_given(inner, |out| encode::simple(out, "QUEUED")),
        }
        true
    }
}

impl Inner {
    /// The client believes that its commands are queued; none may be executed.
    pub(super) fn is_in_severed_transaction(&self) -> bool {
        matches!(self.severed, Some(Severed::Transaction | Severed::WatchedTransaction))
    }
}

const SEVERED: &str = "EXECABORT Transaction discarded because of: there was no connection to the master before EXEC; \
     nothing of it was executed";

pub(super) const WAIT_IS_VOID: &str = "INDOUBT the master has changed since the last write of this connection: nobody can \
     say how many replicas have that write";

const REPLICATION_REFUSED: &str = "NOMASTERLINK Redan does not carry replication on a client listener; \
     let the replica replicate through a Redan link ([[link]]), or from the node itself";

/// `name` is what the client wrote, for a command without a row.
pub(super) fn admin_refused(spec: Option<&Spec>, name: &[u8]) -> String {
    let name = spec.map_or_else(|| String::from_utf8_lossy(name), |spec| spec.name.into());
    format!(
        "NOPERM '{name}' is an administrative command and this listener does not carry those; its operator can \
         allow them with admin_commands = \"allow\""
    )
}

/// In the words of servers since 7.0. `name` is what the client wrote, for a command that Redan does not know.
pub(super) fn forbidden(spec: Option<&Spec>, name: &[u8]) -> String {
    let name = spec.map_or_else(|| String::from_utf8_lossy(&name[..name.len().min(128)]), |spec| spec.name.into());
    format!("NOPERM this user has no permissions to run the '{name}' command")
}

/// The argument of SELECT; an error is its reply.
pub(super) fn database(raw: &[u8]) -> Result<u32, &'static str> {
    let index = arguments(raw).nth(1).and_then(super::local::integer).ok_or(super::local::NOT_AN_INTEGER)?;
    let index =
        i32::try_from(index).map_err(|_| "ERR value is out of range, value must between -2147483648 and 2147483647")?;
    u32::try_from(index).map_err(|_| "ERR DB index is out of range")
}

pub(super) fn reason(pin: Pin) -> PinReason {
    match pin {
        Pin::Blocking => PinReason::Blocking,
        Pin::Discard | Pin::Exec | Pin::Multi => PinReason::Multi,
        Pin::Script => PinReason::Script,
        // Subscriptions take none: the hub carries them, and what stands in MULTI is MULTI's.
        Pin::Stateful | Pin::Subscribe => PinReason::Stateful,
        Pin::Tracking => PinReason::Tracking,
        Pin::Unknown => PinReason::Unknown,
        Pin::Unwatch | Pin::Watch => PinReason::Watch,
        Pin::Wait | Pin::WaitAof => PinReason::Wait,
    }
}

/// MONITOR lasts as long as its session.
pub(super) fn is_endless(admin: Admin) -> bool {
    admin == Admin::Monitor
}
