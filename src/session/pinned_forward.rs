//! Commands on their way to a pin: what each does to the connection, and what reply it makes the session expect.

use std::rc::Rc;
use std::task;

use super::adapted::Adaptation;
use super::pinned::{After, Expect, Pinned};
use super::plan::Arrived;
use super::special::{WAIT_IS_VOID, admin_refused, database, forbidden, is_endless};
use super::{Inner, ReplyMode, Session};
use crate::backend::login::Claim;
use crate::command::{self, Admin, Care, Kind, Lasts, Local, Pin, Refused};
use crate::limits;
use crate::resp::encode;
use crate::resp::request::{Bounds, Request, RequestError, RequestScanner, arguments};
use crate::topology::Version;

/// What WAIT is given to wait for: an own connection's WAIT counts from its own last write, and the session's writes
/// went over a lane. A message nobody subscribes to reaches every replica behind all earlier writes (`semantics` §6).
const WAIT_BARRIER: &[&[u8]] = &[b"PUBLISH", b"redan:barrier", b""];
/// WAITAOF needs a write that is appended to the file; it expires at once.
const WAITAOF_BARRIER: &[&[u8]] = &[b"SET", b"redan:barrier", b"", b"PX", b"1"];

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
            if !pinned.takes_more() || inner.closing || pinned.pin.backlog() > limits::OUTPUT_PAUSE {
                break Ok(());
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
                    used += frame.len;
                }
                Ok(Request::Command(frame)) => {
                    let arrived = Arrived::new(rest, frame, &self.context.pool.learned());
                    let arrived = arrived.under(inner.permissions.as_deref());
                    match self.forward_command(inner, pinned, &arrived, cx) {
                        Step::Sent => {
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

    /// Half a command stands in the input. One that is too long to be gathered is sent on as it comes.
    fn upload(&self, inner: &mut Inner, pinned: &mut Pinned, input: &[u8], used: &mut usize) -> Result<(), After> {
        let rest = &input[*used..];
        let large = inner.scanner.announced() > limits::GATHERED_COMMAND as u64 && is_known(&inner.scanner, rest);
        if !large && !pinned.uploading {
            return Ok(());
        }
        if !pinned.uploading {
            if let Err(words) = self.may_be_streamed(inner, rest) {
                if !pinned.expected.is_empty() {
                    // Answered in its turn.
                    return Ok(());
                }
                self.answer_error(inner, &words);
                inner.closing = true;
                return Ok(());
            }
            pinned.uploading = true;
            pinned.spoiled |= !is_plain(&inner.scanner, rest);
            pinned.journal = None;
            let expect = if pinned.in_multi { Expect::Opening } else { Expect::Reply };
            if !pinned.subscribed {
                pinned.expected.push_back(expect);
            }
            self.context.workspace.counters.commands_pinned.increment();
        }
        let n = inner.scanner.passed(rest.len());
        pinned.pin.output.extend_from_slice(&rest[..n]);
        inner.scanner.forget(n);
        *used += n;
        Ok(())
    }

    /// Whether a command of which only the beginning has come may be sent on; if not, its reply.
    pub(super) fn may_be_streamed(&self, inner: &Inner, buf: &[u8]) -> Result<(), String> {
        let scanner = &inner.scanner;
        let Some(name) = scanner.name() else {
            return Err("ERR the name of this command is too long".to_owned());
        };
        let second = scanner.second().map(|second| second.of(buf));
        let spec = command::lookup(name.of(buf), second);
        if inner.permissions.as_ref().is_some_and(|permissions| !permissions.permits(spec)) {
            return Err(forbidden(spec, name.of(buf)));
        }
        match spec.map(|spec| spec.kind) {
            Some(Kind::Admin(_)) if !self.context.listener.allow_admin_commands => {
                Err(admin_refused(spec, name.of(buf)))
            }
            Some(Kind::Refused(_)) => Err("ERR this command is not carried".to_owned()),
            // What it does to the connection is decided by arguments that have not come.
            Some(Kind::Pin(pin)) if !matches!(pin, Pin::Blocking | Pin::Unknown) => {
                Err("ERR this command is too long".to_owned())
            }
            _ if second.is_none() && spec.is_some_and(|spec| matches!(spec.name, "client" | "function" | "script")) => {
                Err("ERR this command is too long".to_owned())
            }
            Some(Kind::Local(local)) if !matches!(local, Local::Ping | Local::Echo) => {
                Err("ERR this command takes no argument of such a length".to_owned())
            }
            _ => Ok(()),
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
        let leaves = matches!(kind, Kind::Local(Local::Quit | Local::Reset) | Kind::Refused(_));
        let on_pin = pinned.in_multi || pinned.subscribed || (pinned.subscribes && inner.dialect.resp3);
        let subscribes = kind == Kind::Pin(Pin::Subscribe) && !on_pin;
        if subscribes || (inner.only_listens() && !leaves) {
            // Through the hub, as without a pin.
            let waits = !pinned.expected.is_empty() || self.special(inner, arrived, cx).is_some();
            return if waits { Step::NotYet } else { Step::Done };
        }
        match kind {
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
                relay(pinned, raw)
            }
            Kind::Read | Kind::MasterRead | Kind::Write | Kind::ReadUnlessBlock | Kind::WriteUnlessBlock => {
                self.relay_with_care(pinned, arrived.care(), raw)
            }
        }
    }

    fn relay_with_care(&self, pinned: &mut Pinned, care: Care, raw: &[u8]) -> Step {
        if care == Care::None || pinned.subscribed {
            return relay(pinned, raw);
        }
        if care == Care::Flush {
            self.flush_elsewhere(pinned.pin.dialect, pinned.pin.node, raw);
        }
        let Adaptation { adapter, request } = self.adaptation(care, raw, pinned.pin.node);
        pinned.pin.output.extend_from_slice(request.as_deref().unwrap_or(raw));
        keep(pinned, raw);
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
            _ if pinned.in_multi || pinned.subscribed => {
                // The node queues or refuses it; what it answers at EXEC is its own view of Redan's connection.
                pinned.spoiled = true;
                relay(pinned, raw)
            }
            _ if !pinned.expected.is_empty() => Step::NotYet,
            Local::Auth | Local::Hello | Local::ClientReply => self.identify_pinned(inner, pinned, arrived, cx),
            local => {
                let mut reply = self.context.workspace.buffer();
                let facts = super::local::Facts {
                    resp3: inner.dialect.resp3,
                    db: inner.dialect.db,
                    now: std::time::Instant::now(),
                };
                super::local::answer(local, &frame, raw, &mut inner.identity, &facts, &mut reply);
                inner.answer(reply, &self.context);
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
                    pinned.expected.push_back(Expect::Exec { watched: pinned.watching });
                }
                pinned.in_multi = false;
                pinned.watching = false;
                return Step::Sent;
            }
            Pin::Discard => {
                pinned.in_multi = false;
                pinned.watching = false;
                pinned.subscribes_at_exec = false;
                pinned.selects_at_exec = None;
            }
            Pin::Unwatch => pinned.watching &= pinned.in_multi,
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
            Pin::Wait | Pin::WaitAof if !pinned.in_multi => self.put_barrier(pinned, pin),
            Pin::Blocking => {
                pinned.blocking = !pinned.in_multi;
                pinned.from_now = arguments(raw).any(|word| word == b"$");
            }
            Pin::Wait | Pin::WaitAof | Pin::Script => {}
            Pin::Unknown => pinned.spoiled = true,
            Pin::Stateful | Pin::Tracking => {
                debug_assert_eq!(pin.lasts(), Lasts::Session);
                pinned.for_session = true;
                pinned.irreplaceable = true;
            }
        }
        relay(pinned, raw)
    }

    /// Puts a write in front of WAIT, where the server has WAITAOF only if it is asked for.
    fn put_barrier(&self, pinned: &mut Pinned, pin: Pin) {
        pinned.blocking = true;
        // It speaks of writes that another master may not have: it is not asked there.
        pinned.from_now = true;
        let barrier = if pin == Pin::Wait {
            WAIT_BARRIER
        } else {
            let snapshot = self.context.pool.snapshot();
            let version = snapshot.node(pinned.pin.node).and_then(|node| node.version);
            if version.is_some_and(|version| version < Version(7, 2, 0)) {
                return;
            }
            WAITAOF_BARRIER
        };
        encode::command(&mut pinned.pin.output, barrier);
        pinned.expected.push_back(Expect::Barrier);
    }
}

/// Whether a command that is sent on as it comes leaves the connection as it was.
fn is_plain(scanner: &RequestScanner, buf: &[u8]) -> bool {
    let spec = scanner.name().and_then(|name| command::lookup(name.of(buf), scanner.second().map(|s| s.of(buf))));
    spec.is_some_and(|spec| !matches!(spec.kind, Kind::Pin(_) | Kind::Admin(_)))
}

/// Whether enough of a command has come to say what it is: its second argument, or more than either may take.
pub(super) fn is_known(scanner: &RequestScanner, buf: &[u8]) -> bool {
    scanner.second().is_some() || buf.len() > limits::INLINE
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
    if !pinned.subscribed {
        pinned.expected.push_back(if pinned.in_multi { Expect::Opening } else { Expect::Reply });
    }
    Step::Sent
}

/// Sends a command, and keeps it.
fn note(pinned: &mut Pinned, raw: &[u8]) {
    pinned.pin.output.extend_from_slice(raw);
    keep(pinned, raw);
}

/// Keeps a command while everything on the pin may still be sent again.
fn keep(pinned: &mut Pinned, raw: &[u8]) {
    if pinned.journal.as_ref().is_some_and(|journal| journal.len() + raw.len() > limits::GATHERED_COMMAND) {
        pinned.journal = None;
    }
    if let Some(journal) = &mut pinned.journal {
        journal.extend_from_slice(raw);
    }
}
