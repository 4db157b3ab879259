//! EXEC's reply, in which Redan has words of its own: they are put at their places, in order, and take effect there.
//!
//! What speaks of other clients, and a subscription, must be waited for: then the reply stands still here, nothing more is
//! read from the pin, and the session's task comes back. A transaction that was not executed (an error, nil) leaves
//! everything as it was.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{self, Poll};

use super::assured::Written;
use super::clients::Outcome;
use super::local::speaks_of_others;
use super::login::Turn;
use super::pinned::{After, Pinned};
use super::stand_in::{Part, StandIn, StandIns};
use super::subscribe::pong;
use super::{Inner, ReplyMode, Session, elements};
use crate::backend::hub::topic::Kind as Topic;
use crate::backend::refusal::{Refusal, refusal};
use crate::command::{Local, lookup};
use crate::resp::encode;
use crate::resp::request::{Bounds, Request, RequestScanner, arguments};

/// A reply on its way through here.
pub(super) struct Settling {
    reply: Vec<u8>,
    /// The element whose turn it is: where it begins, and its place.
    at: usize,
    place: u32,
    stand_ins: VecDeque<StandIn>,
    /// What the client gets, so far.
    out: Vec<u8>,
    /// CLIENT REPLY SKIP: the command behind EXEC is not answered.
    skips_next: bool,
    /// The transaction wrote, and its client is told when that is assured.
    written: Option<Written>,
}

impl Settling {
    pub(super) fn bytes(&self) -> usize {
        self.reply.capacity() + self.out.capacity()
    }

    /// Appends what CLIENT REPLY may silence.
    fn say(&mut self, inner: &Inner, words: &[u8]) {
        if inner.reply_mode != ReplyMode::Off {
            self.out.extend_from_slice(words);
        }
    }

    fn say_error(&mut self, inner: &Inner, words: &str) {
        let mut error = Vec::new();
        encode::error(&mut error, words);
        self.say(inner, &error);
    }
}

impl Session {
    /// The whole reply to EXEC is there.
    pub(super) fn exec_came(
        self: &Rc<Self>,
        inner: &mut Inner,
        pinned: &mut Pinned,
        reply: &[u8],
        (watched, stand_ins): (bool, StandIns),
        cx: &mut task::Context<'_>,
    ) -> Result<(), After> {
        let Some(first) = elements::first_of(reply).filter(|_| !stand_ins.is_empty()) else {
            self.transaction_is_over(inner);
            return self.plain_exec_came(inner, pinned, reply, watched);
        };
        pinned.is_answered_for_good(inner);
        let mut settling = Settling {
            reply: reply.to_vec(),
            at: first,
            place: 0,
            stand_ins: stand_ins.into_items(),
            out: Vec::new(),
            skips_next: false,
            written: inner.gate.as_mut().and_then(|gate| gate.next.take()),
        };
        settling.say(inner, &reply[..first]);
        pinned.settling = Some(Box::new(settling));
        // Where it must wait, the session's task goes on with it.
        let _ = self.settle(inner, pinned, cx);
        Ok(())
    }

    /// Goes on with EXEC's reply, and hands it to the client when all of it is said.
    pub(super) fn settle(
        self: &Rc<Self>,
        inner: &mut Inner,
        pinned: &mut Pinned,
        cx: &mut task::Context<'_>,
    ) -> Poll<()> {
        let Some(mut settling) = pinned.settling.take() else {
            return Poll::Ready(());
        };
        let reply = std::mem::take(&mut settling.reply);
        while let Some(end) = elements::end_of(&reply, settling.at) {
            let element = &reply[settling.at..end];
            let stands_in = settling.stand_ins.front().is_some_and(|stand_in| stand_in.place == settling.place);
            match if stands_in { settling.stand_ins.pop_front() } else { None } {
                None => settling.say(inner, element),
                Some(stand_in) => {
                    if let Err(stand_in) = self.take_place(inner, pinned, &mut settling, stand_in, element, cx) {
                        settling.stand_ins.push_front(stand_in);
                        settling.reply = reply;
                        pinned.settling = Some(settling);
                        return Poll::Pending;
                    }
                }
            }
            settling.at = end;
            settling.place += 1;
        }
        if settling.skips_next && inner.reply_mode == ReplyMode::On {
            inner.reply_mode = ReplyMode::SkipNext;
        }
        inner.muted = false;
        self.give_assured(inner, pinned, &settling.out, settling.written);
        inner.muted = inner.reply_mode == ReplyMode::Off;
        self.transaction_is_over(inner);
        Poll::Ready(())
    }

    fn give_assured(self: &Rc<Self>, inner: &mut Inner, pinned: &mut Pinned, reply: &[u8], written: Option<Written>) {
        let Some(written) = written else {
            return self.give(inner, pinned, reply);
        };
        inner.gate.get_or_insert_default().next = Some(written);
        self.give(inner, pinned, reply);
        if let Some(gate) = &mut inner.gate {
            gate.next = None;
        }
        self.arm(inner);
    }

    /// Redan's word in place of `element`; `Err`: it must be waited for.
    fn take_place(
        self: &Rc<Self>,
        inner: &mut Inner,
        pinned: &mut Pinned,
        settling: &mut Settling,
        stand_in: StandIn,
        element: &[u8],
        cx: &mut task::Context<'_>,
    ) -> Result<(), StandIn> {
        let done = element == b"+OK\r\n";
        match stand_in.part {
            Part::Own(Local::ClientReply) => turn_reply_mode(inner, settling, &stand_in.raw),
            Part::Own(local) if speaks_of_others(local) => {
                return self.of_others(inner, settling, local, stand_in, cx);
            }
            Part::Own(local) => {
                let words = self.own_words(inner, pinned, local, &stand_in.raw);
                settling.say(inner, &words);
            }
            Part::Words(words) => settling.say_error(inner, &words),
            Part::Login(turn) => self.login_in_place(inner, pinned, settling, *turn, element),
            Part::Select(db) => {
                if done {
                    inner.dialect.db = db;
                    pinned.pin.dialect.db = db;
                    self.context.pool.database_exists(db);
                }
                settling.say(inner, element);
            }
            Part::Subscription => return self.subscribe_in_place(inner, settling, stand_in, cx),
            Part::Tracking => {
                if done {
                    self.tracking_turned(inner, pinned, &stand_in.raw);
                }
                settling.say(inner, element);
            }
            Part::Adapted(adapter) => settling.say(inner, &adapter.adapt(element)),
            Part::Care(care) => {
                let adapter = self.adaptation(care, &stand_in.raw, pinned.pin.node).adapter;
                let adapted = adapter.map(|adapter| adapter.adapt(element));
                settling.say(inner, adapted.as_deref().unwrap_or(element));
            }
        }
        Ok(())
    }

    /// What the session says of itself.
    fn own_words(&self, inner: &mut Inner, pinned: &Pinned, local: Local, raw: &[u8]) -> Vec<u8> {
        let mut words = Vec::new();
        if local == Local::Ping && inner.only_listens() {
            pong(&mut words, raw);
        } else if let Ok(Request::Command(frame)) = RequestScanner::new().scan(raw, &Bounds::AUTHENTICATED) {
            self.own_reply(inner, local, &frame, raw, Some(pinned), &mut words);
        }
        words
    }

    fn of_others(
        &self,
        inner: &mut Inner,
        settling: &mut Settling,
        local: Local,
        stand_in: StandIn,
        cx: &mut task::Context<'_>,
    ) -> Result<(), StandIn> {
        if inner.asking.is_none() {
            match self.question(inner, local, &stand_in.raw) {
                Ok(asking) => inner.asking = Some(asking),
                Err(words) => {
                    settling.say_error(inner, &words);
                    return Ok(());
                }
            }
        }
        match self.asked(inner, cx) {
            Some(Err(_)) => return Err(stand_in),
            Some(Ok(Outcome::Reply(reply))) => settling.say(inner, &reply),
            Some(Ok(Outcome::LastReply(reply))) => {
                settling.say(inner, &reply);
                inner.closing = true;
            }
            Some(Ok(Outcome::Home(_))) | None => {}
        }
        Ok(())
    }

    fn subscribe_in_place(
        self: &Rc<Self>,
        inner: &mut Inner,
        settling: &mut Settling,
        stand_in: StandIn,
        cx: &mut task::Context<'_>,
    ) -> Result<(), StandIn> {
        let name = arguments(&stand_in.raw).next().unwrap_or_default();
        let Some((kind, wants)) = lookup(name, None).and_then(|spec| Topic::of_command(spec.name)) else {
            debug_assert!(false, "queued as a subscription");
            return Ok(());
        };
        // Confirmations are messages, which CLIENT REPLY does not silence.
        match self.subscribe(inner, kind, wants, &stand_in.raw, &mut settling.out, cx) {
            Poll::Pending => return Err(stand_in),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(words)) => settling.say_error(inner, &words),
        }
        Ok(())
    }

    /// Who the client is from here on the node has judged, where it was told.
    fn login_in_place(
        &self,
        inner: &mut Inner,
        pinned: &mut Pinned,
        settling: &mut Settling,
        turn: Turn,
        element: &[u8],
    ) {
        if element.starts_with(b"-") && turn.is_told_to_the_node() {
            return settling.say(inner, element);
        }
        let mut words = Vec::new();
        self.take_turn(inner, turn, &mut words);
        (pinned.pin.dialect.user, pinned.pin.dialect.resp3) = (inner.dialect.user, inner.dialect.resp3);
        settling.say(inner, &words);
    }

    /// A reply without a word of Redan's.
    fn plain_exec_came(
        &self,
        inner: &mut Inner,
        pinned: &mut Pinned,
        reply: &[u8],
        watched: bool,
    ) -> Result<(), After> {
        let of_role = matches!(refusal(reply), Some(Refusal::NotMaster | Refusal::NotReady));
        if of_role {
            self.context.workspace.counters.bounces.increment();
            self.pause(inner);
            if self.may_restart(inner, pinned) {
                return Err(After::Restart);
            }
        }
        pinned.is_answered_for_good(inner);
        let doomed = std::mem::take(&mut pinned.doomed) && reply.starts_with(b"-EXECABORT");
        if watched && (of_role || doomed) {
            // Nothing of it was executed. As if a watched key had changed: the client begins again.
            let mut nil = Vec::new();
            encode::null_array(&mut nil, inner.dialect.resp3);
            self.give(inner, pinned, &nil);
        } else {
            self.give(inner, pinned, reply);
        }
        Ok(())
    }
}

/// CLIENT REPLY. What it silences of the rest of the transaction is as with a server: OFF all of it, SKIP nothing.
fn turn_reply_mode(inner: &mut Inner, settling: &mut Settling, raw: &[u8]) {
    let mode = arguments(raw).nth(2).unwrap_or_default().to_ascii_uppercase();
    match mode.as_slice() {
        b"ON" => {
            inner.reply_mode = ReplyMode::On;
            settling.say(inner, b"+OK\r\n");
        }
        b"OFF" => inner.reply_mode = ReplyMode::Off,
        b"SKIP" => settling.skips_next |= inner.reply_mode == ReplyMode::On,
        _ => settling.say_error(inner, "ERR syntax error"),
    }
}
