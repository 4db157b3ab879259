//! A blocking command over failovers: how long it may still wait, and what ends the wait when no node can.
//!
//! The command waits at the master over a pin. When that is lost, or refuses, the session issues it again on the next
//! master with what is left of its time, as its client would. Whatever the client waits longer than that for is
//! answered like a timeout. What only makes sense on the node where it began is not issued again.

use std::future::Future;
use std::rc::Rc;
use std::task;
use std::time::{Duration, Instant};

use super::hold::Sleeping;
use super::pinned::{Expect, Pinned};
use super::{Flow, Inner, Session};
use crate::command::blocking::{Unit, reads_from_now, timeout_place};
use crate::command::{Pin, Spec};
use crate::metrics::PinReason;
use crate::resp::encode;
use crate::resp::request::arguments;

/// What a session knows of the blocking command in front.
pub(super) struct Waiting {
    /// When it times out; `None`: never, or the node must judge the number.
    deadline: Option<Instant>,
    timer: Option<Sleeping>,
    place: Option<(usize, Unit)>,
    from_now: bool,
    /// When a node got it; `None`: none has it now.
    sent: Option<Instant>,
    /// It was sent before, to a node that is lost or refused it.
    again: bool,
    /// A node has waited with it.
    begun: bool,
    /// CLIENT UNBLOCK while no node had it, and whether with an error.
    unblocked: Option<bool>,
}

/// A wait of this length was a wait and no refusal: the master that ends it is not the reason for the next try to be
/// counted with the one before.
const SETTLED: Duration = Duration::from_secs(1);

impl Waiting {
    fn new(spec: Option<&Spec>, raw: &[u8], now: Instant) -> Self {
        let place = spec.and_then(|spec| timeout_place(spec.name, arguments(raw)));
        let left = place.and_then(|(at, unit)| time(arguments(raw).nth(at)?, unit));
        let deadline = left.and_then(|left| now.checked_add(left));
        let from_now = reads_from_now(arguments(raw));
        Self { deadline, timer: None, place, from_now, sent: None, again: false, begun: false, unblocked: None }
    }

    pub(super) fn is_sent(&self) -> bool {
        self.sent.is_some()
    }

    pub(super) fn unblock(&mut self, with_error: bool) {
        self.unblocked = Some(with_error);
    }

    /// The command with what is left of its time, if it has been elsewhere before.
    fn shortened(&self, raw: &[u8], now: Instant) -> Option<Vec<u8>> {
        let ((at, unit), deadline) = self.place.zip(self.deadline).filter(|_| self.again)?;
        // Zero would mean for ever: what is over asks once more and waits no time.
        let left = deadline.saturating_duration_since(now).max(Duration::from_millis(1));
        let left = match unit {
            Unit::Seconds => format!("{:.3}", left.as_secs_f64()),
            Unit::Milliseconds => left.as_millis().to_string(),
        };
        let mut words: Vec<&[u8]> = arguments(raw).collect();
        *words.get_mut(at)? = left.as_bytes();
        let mut command = Vec::with_capacity(raw.len() + left.len());
        encode::command(&mut command, &words);
        Some(command)
    }
}

/// How long an argument means; `None` for ever, and for what a node must judge.
fn time(word: &[u8], unit: Unit) -> Option<Duration> {
    let text = std::str::from_utf8(word).ok()?;
    match unit {
        Unit::Seconds => Duration::try_from_secs_f64(text.parse().ok()?).ok(),
        Unit::Milliseconds => Some(Duration::from_millis(text.parse().ok()?)),
    }
    .filter(|time| !time.is_zero())
}

const READ_FROM_NOW: &str = "UNBLOCKED Redan: the master has changed while XREAD waited for what comes after $, and nobody \
     can say what came in between; read on from the last id you have";

impl Session {
    /// A blocking command is in front and no pin is there. `None`: it is answered.
    pub(super) fn enter_blocking(
        self: &Rc<Self>,
        inner: &mut Inner,
        spec: Option<&Spec>,
        raw: &[u8],
        cx: &mut task::Context<'_>,
    ) -> Option<Flow> {
        let now = Instant::now();
        let waiting = inner.waiting.get_or_insert_with(|| Box::new(Waiting::new(spec, raw, now)));
        waiting.sent = None;
        if let Some(deadline) = waiting.deadline
            && waiting.timer.is_none()
        {
            waiting.timer = Some(Box::pin(tokio::time::sleep_until(deadline.into())));
        }
        // Only a group without a master answers for nothing: a node that can be asked may have what is waited for, however long
        // the commands in front took.
        let over =
            waiting.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) && inner.hold.is_some();
        if self.answer_waiting(inner, over) {
            return None;
        }
        let entered = self.enter_pin(inner, PinReason::Blocking, cx);
        if entered.is_none() {
            inner.end_waiting();
            self.answer_without_pin(inner, Pin::Blocking);
        }
        entered
    }

    /// Answers the wait that needs no node any more; `true` when it did.
    fn answer_waiting(&self, inner: &mut Inner, over: bool) -> bool {
        let Some(waiting) = &inner.waiting else {
            return false;
        };
        let unblocked = waiting.unblocked;
        if unblocked.is_none() && !over && !(waiting.begun && waiting.from_now) {
            return false;
        }
        let words = match unblocked {
            Some(true) => Some("UNBLOCKED client unblocked via CLIENT UNBLOCK"),
            Some(false) => None,
            None if over => None,
            None => Some(READ_FROM_NOW),
        };
        let resp3 = inner.dialect.resp3;
        inner.end_waiting();
        self.end_hold(inner);
        match words {
            Some(words) => self.answer_error(inner, words),
            // As servers answer a timeout of any of these commands.
            None => self.answer_with(inner, |out| encode::null_array(out, resp3)),
        }
        true
    }

    /// A blocking command goes over the pin. `false`: it was answered instead.
    pub(super) fn forward_blocking(
        &self,
        inner: &mut Inner,
        pinned: &mut Pinned,
        spec: Option<&Spec>,
        raw: &[u8],
    ) -> bool {
        let now = Instant::now();
        inner.waiting.get_or_insert_with(|| Box::new(Waiting::new(spec, raw, now)));
        if self.answer_waiting(inner, false) {
            // The pin was taken for nothing.
            pinned.journal = None;
            return false;
        }
        let Some(waiting) = &mut inner.waiting else {
            return false;
        };
        waiting.sent = Some(now);
        waiting.timer = None;
        let shortened = waiting.shortened(raw, now);
        pinned.blocking = true;
        pinned.from_now = waiting.from_now;
        // The journal keeps what the client sent: the time that is left is computed anew each time.
        pinned.note_as(raw, shortened.as_deref().unwrap_or(raw));
        pinned.expected.push_back(Expect::Reply);
        true
    }
}

impl Inner {
    /// The blocking command was answered.
    pub(super) fn end_waiting(&mut self) {
        self.waiting = None;
    }

    /// The node of a blocking command is lost, or refused it; `begun`: it had been waiting with it. `false`: there is no
    /// such command.
    pub(super) fn waits_again(&mut self, begun: bool) -> bool {
        let Some(waiting) = &mut self.waiting else {
            return false;
        };
        let settled = waiting.sent.take().is_some_and(|sent| sent.elapsed() >= SETTLED);
        waiting.again = true;
        waiting.begun |= begun;
        if settled {
            self.retrying_since = None;
            self.attempts = 0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command;

    fn again(line: &str, after: Duration) -> Option<String> {
        let raw = encode::command_of(line);
        let name = line.split(' ').next().expect("a name");
        let now = Instant::now();
        let mut waiting = Waiting::new(command::lookup(name.as_bytes(), None), &raw, now);
        waiting.again = true;
        let words = waiting.shortened(&raw, now + after)?;
        let words: Vec<String> = arguments(&words).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        Some(words.join(" "))
    }

    #[test]
    fn a_command_that_is_issued_again_waits_for_what_is_left() {
        let ms = Duration::from_millis;
        assert_eq!(again("BLPOP a b 10", ms(2500)).as_deref(), Some("BLPOP a b 7.500"));
        assert_eq!(again("BLMPOP 1.5 1 a LEFT", ms(500)).as_deref(), Some("BLMPOP 1.000 1 a LEFT"));
        assert_eq!(again("XREAD BLOCK 300 STREAMS s 0", ms(100)).as_deref(), Some("XREAD BLOCK 200 STREAMS s 0"));
        assert_eq!(again("BLPOP a 1", ms(5000)).as_deref(), Some("BLPOP a 0.001"), "never 0, which is for ever");
        for forever in ["BLPOP a 0", "BLPOP a nonsense", "XREAD BLOCK 0 STREAMS s 0", "BLPOP a -1", "BLPOP a 1e300"] {
            assert_eq!(again(forever, ms(100)), None, "{forever}: as it is");
        }
    }
}
