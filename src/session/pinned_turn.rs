//! A session at work with a connection of its own: taking it, moving bytes both ways, giving it back.
//!
//! The session's task drives the pin itself: commands in, replies out, no other task. It takes the pin when nothing of the
//! session is in flight and gives it back when it is clean, so order is kept on both sides.

use std::rc::Rc;
use std::task::{self, Poll};

use super::pinned::{After, Mode, NOT_EXECUTED, Pinned};
use super::subscribe::only_listens;
use super::{Flow, Inner, ReplyMode, Session};
use crate::backend::dial::DialError;
use crate::backend::pin::Pin;
use crate::command;
use crate::limits;
use crate::metrics::PinReason;
use crate::resp::encode;

impl Session {
    /// The command in front needs a pin. `None`: there is none within the hold, and the caller answers.
    pub(super) fn enter_pin(
        self: &Rc<Self>,
        inner: &mut Inner,
        reason: PinReason,
        cx: &mut task::Context<'_>,
    ) -> Option<Flow> {
        if let Some(flow) = inner.settled() {
            return Some(flow);
        }
        if self.pauses(inner, cx) == Flow::Wait {
            return Some(Flow::Wait);
        }
        let pool = &self.context.pool;
        let master = pool.snapshot().master().filter(|master| !pool.is_troubled(master.id)).cloned();
        let expired = inner.retrying_since.is_some_and(|since| since.elapsed() >= self.context.listener().hold);
        let Some(master) = master.filter(|_| !expired) else {
            if !expired && self.hold(inner, cx) == Flow::Wait {
                return Some(Flow::Wait);
            }
            inner.retrying_since = None;
            inner.attempts = 0;
            return None;
        };
        self.context.workspace.counters.pins.of(reason).increment();
        inner.pinned_for = Some(reason);
        inner.mode = Mode::Connecting(Box::pin(Rc::clone(pool).pin(master, inner.dialect)));
        Some(Flow::Again)
    }

    /// The command in front is too long to be gathered: it is streamed over a pin, or discarded as it comes.
    pub(super) fn enter_large(self: &Rc<Self>, inner: &mut Inner, buf: &[u8], cx: &mut task::Context<'_>) -> Flow {
        if inner.is_in_severed_transaction() {
            inner.discarding = Some(NOT_EXECUTED.to_owned());
            return Flow::Again;
        }
        if inner.only_listens() {
            let name = inner.scanner.name();
            let spec = name.and_then(|name| command::lookup(name.of(buf), inner.scanner.second().map(|s| s.of(buf))));
            inner.discarding = Some(only_listens(spec, None, buf));
            return Flow::Again;
        }
        if let Err(words) = self.may_be_streamed(inner, buf) {
            inner.discarding = Some(words);
            return Flow::Again;
        }
        self.enter_pin(inner, PinReason::Large, cx).unwrap_or_else(|| {
            inner.discarding = Some(self.hold_error());
            Flow::Again
        })
    }

    pub(super) fn step_pinned(self: &Rc<Self>, inner: &mut Inner, cx: &mut task::Context<'_>) -> Flow {
        match std::mem::replace(&mut inner.mode, Mode::Plain) {
            Mode::Plain => Flow::Again,
            Mode::Connecting(mut future) => match future.as_mut().poll(cx) {
                Poll::Pending => {
                    inner.mode = Mode::Connecting(future);
                    Flow::Wait
                }
                Poll::Ready(Ok(pin)) => {
                    self.end_hold(inner);
                    inner.muted = inner.reply_mode == ReplyMode::Off;
                    let to_skip = std::mem::take(&mut inner.skip_replies);
                    let counters = self.context.pool.counters_of(pin.node);
                    let mut pinned = Pinned::new(pin, to_skip, counters);
                    pinned.to_set_up = inner.tracking.is_some();
                    inner.mode = Mode::Pinned(Box::new(pinned));
                    Flow::Again
                }
                // The node is in trouble now, so the next try holds.
                Poll::Ready(Err(DialError::Unreachable(_))) => Flow::Again,
                // The session ends with its login; the word of a node that is not the master any more counts for nothing.
                Poll::Ready(Err(DialError::Login(_))) => Flow::Again,
                Poll::Ready(Err(DialError::Dialect(words))) => {
                    inner.discarding = Some(words);
                    Flow::Again
                }
            },
            Mode::Pinned(mut pinned) => {
                let after = self.turn(inner, &mut pinned, cx);
                self.after_turn(inner, pinned, after)
            }
        }
    }

    fn after_turn(&self, inner: &mut Inner, mut pinned: Box<Pinned>, after: After) -> Flow {
        match after {
            After::Keep(flow) => {
                inner.mode = Mode::Pinned(pinned);
                return flow;
            }
            After::Release if pinned.is_clean() => self.context.pool.give_back(pinned.pin),
            After::Release => {}
            After::Restart => self.begin_again(inner, &mut pinned),
            After::Reset => {
                self.leave_all(inner);
                self.begin_anew(inner);
                self.answer_with(inner, |out| encode::simple(out, "RESET"));
            }
            After::Lost(words) => self.lost_pin(inner, &mut pinned, &words),
        }
        Flow::Again
    }

    /// What becomes of a pin whose node is not the master any more, if it cannot stay.
    fn leaves_behind(&self, pinned: &Pinned) -> Option<After> {
        if !self.is_left_behind(pinned) {
            return None;
        }
        // A command that Redan does not know may have left nothing on the connection: then it is not missed.
        let missed = pinned.in_multi || pinned.is_watching() || pinned.irreplaceable || !pinned.expected.is_empty();
        if pinned.for_session && !missed && !pinned.tracks {
            return Some(After::Release);
        }
        Some(After::Lost("its node is not the master any more".to_owned()))
    }

    /// Moves bytes both ways until both would wait.
    fn turn(self: &Rc<Self>, inner: &mut Inner, pinned: &mut Pinned, cx: &mut task::Context<'_>) -> After {
        if pinned.settling.is_some() {
            if !self.goes_on_settling(inner, pinned, cx) {
                return After::Keep(if inner.dead { Flow::Again } else { Flow::Wait });
            }
            if let Err(after) = self.take_replies(inner, pinned, cx) {
                return after;
            }
        }
        if let Some(after) = self.leaves_behind(pinned) {
            return after;
        }
        for _ in 0..limits::ROUNDS_WITH_A_PIN {
            if self.redirect_is_lost(inner, pinned) {
                return After::Lost("the connection for redirected invalidations is lost".to_owned());
            }
            let mut moved = false;
            match send(&mut pinned.pin, cx) {
                Ok(sent) => pinned.started |= sent,
                Err(error) => return After::Lost(error.to_string()),
            }
            if inner.output.len() <= limits::OUTPUT_PAUSE && pinned.settling.is_none() {
                match self.read_pin(inner, pinned, cx) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(())) => moved = true,
                    Poll::Ready(Err(after)) => return after,
                }
            }
            if inner.dead {
                return After::Keep(Flow::Again);
            }
            if pinned.is_done() {
                return After::Release;
            }
            match self.forward(inner, pinned, cx) {
                Ok(forwarded) => moved |= forwarded,
                Err(after) => return after,
            }
            if inner.closing {
                if moved {
                    continue;
                }
                return After::Keep(Flow::Wait);
            }
            // Whoever does not take what it is sent is not read either.
            let room = inner.input.len() < limits::GATHERED_COMMAND
                && pinned.pin.backlog() < limits::OUTPUT_PAUSE
                && inner.output.len() <= limits::OUTPUT_PAUSE;
            if room && !inner.ended_input {
                moved |= self.read_client(inner, pinned, cx);
            }
            if inner.ended_input && (pinned.blocking || pinned.for_session) {
                // The client is gone: closing the pin ends what it was waiting for.
                inner.dead = true;
                return After::Keep(Flow::Again);
            }
            if pinned.settling.is_some() {
                return After::Keep(Flow::Wait);
            }
            if !moved {
                return self.rests(inner, pinned);
            }
        }
        // Others have their turn after some of these.
        After::Keep(Flow::Again)
    }

    /// Nothing moves any more, until somebody says something.
    fn rests(&self, inner: &mut Inner, pinned: &Pinned) -> After {
        if pinned.is_blocked() && self.is_at_rival(pinned) {
            return After::Lost("its node says it is the master, and another node is".to_owned());
        }
        if inner.ended_input && pinned.pin.backlog() == 0 {
            // Of a half-sent command the rest will not come; otherwise the client has its last reply.
            inner.dead |= pinned.uploading;
            inner.closing |= pinned.owes_nothing();
        }
        After::Keep(if inner.dead { Flow::Again } else { Flow::Wait })
    }

    /// EXEC's reply waits for somebody's word. `false`: it still does.
    fn goes_on_settling(self: &Rc<Self>, inner: &mut Inner, pinned: &mut Pinned, cx: &mut task::Context<'_>) -> bool {
        if self.settle(inner, pinned, cx).is_pending() {
            while !inner.ended_input
                && inner.input.len() < limits::GATHERED_COMMAND
                && self.read_client(inner, pinned, cx)
            {}
            return false;
        }
        true
    }

    /// `true` when something came, the end included.
    fn read_client(&self, inner: &mut Inner, pinned: &Pinned, cx: &mut task::Context<'_>) -> bool {
        let workspace = &self.context.workspace;
        let mut scratch = workspace.scratch.borrow_mut();
        match inner.stream.poll_read(cx, &mut workspace.cipher.borrow_mut(), &mut scratch) {
            Poll::Pending => {
                // A drain waits for transactions, not for subscriptions and other waits without end.
                let kept = pinned.for_session || pinned.tracks;
                inner.closing |= self.context.is_leaving() && kept && pinned.owes_nothing();
                false
            }
            Poll::Ready(Ok(0) | Err(_)) => {
                inner.ended_input = true;
                true
            }
            Poll::Ready(Ok(n)) => {
                workspace.counters.bytes_in.add(n as u64);
                inner.received += n as u64;
                inner.came(std::time::Instant::now());
                inner.input.extend_from_slice(&scratch[..n]);
                true
            }
        }
    }
}

/// Sends what waits; `true` when some went.
fn send(pin: &mut Pin, cx: &mut task::Context<'_>) -> std::io::Result<bool> {
    let mut some = false;
    while pin.backlog() > 0 || pin.stream.wants_flush() {
        let result = if pin.backlog() > 0 {
            pin.stream.try_write(&pin.output[pin.sent..])
        } else {
            pin.stream.flush().map(|_| 0)
        };
        match result {
            Ok(n) => {
                some |= n > 0;
                pin.sent += n;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if (pin.backlog() > 0 || pin.stream.wants_flush()) && pin.stream.poll_write_ready(cx)?.is_pending() {
            return Ok(some);
        }
    }
    pin.output.clear();
    pin.output.shrink_to(limits::KEPT_BUFFER);
    pin.sent = 0;
    Ok(some)
}
