//! Replies that come over a pin: matched with what was expected, refusals kept from the client.

use std::borrow::Cow;
use std::rc::Rc;
use std::task::{self, Poll};

use super::pinned::{After, Expect, NOT_EXECUTED, Pinned};
use super::{Inner, Session};
use crate::backend::refusal::{Refusal, refusal};
use crate::limits;
use crate::resp::encode;

impl Session {
    /// Reads once from the node and hands on what came.
    pub(super) fn read_pin(
        self: &Rc<Self>,
        inner: &mut Inner,
        pinned: &mut Pinned,
        cx: &mut task::Context<'_>,
    ) -> Poll<Result<(), After>> {
        let workspace = &self.context.workspace;
        {
            let mut scratch = workspace.scratch.borrow_mut();
            match pinned.pin.stream.poll_read(cx, &mut workspace.cipher.borrow_mut(), &mut scratch) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(After::Lost("the node closed the connection".to_owned())));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(After::Lost(error.to_string()))),
                Poll::Ready(Ok(n)) => {
                    self.context.pool.note_acknowledged();
                    pinned.pin.input.extend_from_slice(&scratch[..n]);
                }
            }
        }
        Poll::Ready(self.take_replies(inner, pinned, cx))
    }

    /// Hands on what was read, as far as it is complete or may go in pieces.
    pub(super) fn take_replies(
        self: &Rc<Self>,
        inner: &mut Inner,
        pinned: &mut Pinned,
        cx: &mut task::Context<'_>,
    ) -> Result<(), After> {
        let mut input = std::mem::take(&mut pinned.pin.input);
        let mut start = 0;
        let result = loop {
            let at = pinned.scanned;
            if at == input.len() || pinned.settling.is_some() {
                break Ok(());
            }
            let scanned = match pinned.pin.scanner.advance(&input[at..]) {
                Ok(scanned) => scanned,
                Err(error) => break Err(After::Lost(format!("the node does not speak RESP: {error}"))),
            };
            pinned.scanned += scanned.consumed;
            let value = &input[start..pinned.scanned];
            if !scanned.done {
                let length = value.len() as u64 + pinned.pin.scanner.outstanding();
                if pinned.is_too_much_for_exec(length) {
                    tracing::warn!("closed client {}: {TOO_LARGE_FOR_EXEC}", inner.identity.peer.remote());
                    inner.dead = true;
                }
                let begun = pinned.in_piece;
                if length > limits::GATHERED_REPLY as u64
                    && let Some(piece) = pinned.piece(value, length)
                {
                    pinned.journal = None;
                    pinned.meters.piece(value.len());
                    self.before_pinned(inner, pinned, value, begun);
                    inner.emit(&piece, &self.context);
                    inner.more_comes(true);
                    inner.mid_reply(true, self);
                    start = pinned.scanned;
                }
                break Ok(());
            }
            let (begun, expected) = (pinned.in_piece, pinned.expected.len());
            self.before_pinned(inner, pinned, value, begun);
            let came = self.reply_came(inner, pinned, value, cx);
            self.after_pinned(inner, pinned, expected);
            let came_for = expected.saturating_sub(pinned.expected.len());
            self.metered(inner, pinned, came_for, value);
            if let Err(after) = came {
                break Err(after);
            }
            start = pinned.scanned;
        };
        input.drain(..start);
        pinned.scanned -= start;
        if input.is_empty() {
            input = Vec::new();
        }
        pinned.pin.input = input;
        result
    }

    /// One complete reply, or the last piece of one.
    fn reply_came(
        self: &Rc<Self>,
        inner: &mut Inner,
        pinned: &mut Pinned,
        reply: &[u8],
        cx: &mut task::Context<'_>,
    ) -> Result<(), After> {
        if std::mem::take(&mut pinned.in_piece) {
            self.last_piece_came(inner, pinned, reply);
            return Ok(());
        }
        if reply[0] == b'>' {
            if reply.starts_with(REDIRECT_BROKEN) {
                // It speaks of Redan's own connection, and the session notices by itself.
                return Ok(());
            }
            let muted = std::mem::take(&mut inner.muted);
            inner.emit(reply, &self.context);
            inner.muted = muted;
            return Ok(());
        }
        let Some(expect) = pinned.expected.pop_front() else {
            // MONITOR's lines, and whatever else a session asked for that comes without being asked again.
            inner.emit(reply, &self.context);
            return Ok(());
        };
        self.note_sight(inner, pinned);
        match expect {
            Expect::Login if reply.starts_with(b"-") => {
                return Err(After::Lost("its node refuses the user that the session has become".to_owned()));
            }
            Expect::Drop | Expect::Login => {}
            Expect::Barrier if reply[0] == b'-' => {
                // Without the barrier WAIT would answer for nothing: the client gets this error in its place.
                inner.emit(reply, &self.context);
                pinned.blocking = false;
                if let Some(next) = pinned.expected.front_mut() {
                    *next = Expect::Drop;
                }
            }
            Expect::Barrier => {}
            Expect::Tracking { announce } => self.tracking_came(inner, pinned, reply, announce),
            // Where everything began again the client may have a reply to it: that it is queued.
            Expect::Replace(instead) => self.give(inner, pinned, &instead),
            Expect::Select(db) => self.select_came(inner, pinned, reply, db),
            Expect::Exec { watched, stand_ins } => {
                return self.exec_came(inner, pinned, reply, (watched, stand_ins), cx);
            }
            Expect::Adapted(adapter) => {
                return self.plain_came(inner, pinned, false, &adapter.adapt(reply));
            }
            Expect::Opening => return self.plain_came(inner, pinned, true, reply),
            Expect::Reply | Expect::Shutdown => return self.plain_came(inner, pinned, false, reply),
        }
        Ok(())
    }

    fn last_piece_came(&self, inner: &mut Inner, pinned: &mut Pinned, piece: &[u8]) {
        if !pinned.push_in_piece {
            self.note_sight(inner, pinned);
            if std::mem::take(&mut pinned.blocking) {
                inner.end_waiting();
            }
            if let Some(Expect::Exec { stand_ins, .. }) = pinned.expected.pop_front()
                && stand_ins.select()
            {
                // Which database it led to only the node knows: the session stays on this connection.
                pinned.for_session = true;
                pinned.irreplaceable = true;
                pinned.spoiled = true;
            }
            inner.retrying_since = None;
        }
        inner.emit(piece, &self.context);
        inner.mid_reply(false, self);
    }

    fn select_came(&self, inner: &mut Inner, pinned: &mut Pinned, reply: &[u8], db: u32) {
        if reply == b"+OK\r\n" {
            inner.dialect.db = db;
            pinned.pin.dialect.db = db;
            self.context.pool.database_exists(db);
        }
        self.give(inner, pinned, reply);
    }

    fn plain_came(&self, inner: &mut Inner, pinned: &mut Pinned, opening: bool, reply: &[u8]) -> Result<(), After> {
        let refused = if reply[0] == b'-' { refusal(reply) } else { None };
        let was_blocked = std::mem::take(&mut pinned.blocking);
        let Some(refused) = refused else {
            if was_blocked {
                inner.end_waiting();
            }
            if !opening || reply[0] == b'-' {
                // Answered for good: nothing of this connection may be sent again, save what a transaction queues.
                if !pinned.in_multi || !opening {
                    pinned.journal = None;
                }
                inner.retrying_since = None;
                inner.attempts = 0;
            }
            self.give(inner, pinned, reply);
            return Ok(());
        };
        if was_blocked {
            inner.waits_again(refused == Refusal::Unblocked);
        }
        if matches!(refused, Refusal::NoScript | Refusal::NotKnown)
            || (refused == Refusal::Unblocked && (pinned.from_now || pinned.journal.is_none()))
        {
            inner.end_waiting();
            self.give(inner, pinned, reply);
            return Ok(());
        }
        self.context.workspace.counters.bounces.increment();
        self.pause(inner);
        if self.may_restart(inner, pinned) {
            return Err(After::Restart);
        }
        inner.end_waiting();
        let mut instead = Vec::new();
        if opening && pinned.is_guarded() {
            // EXEC will fail, and then says what a client that watches keys knows how to go on from.
            pinned.doomed = true;
            encode::simple(&mut instead, "QUEUED");
        } else {
            encode::error(&mut instead, NOT_EXECUTED);
        }
        self.give(inner, pinned, &instead);
        // Its subscriptions hold it on a node that takes no writes: the client begins anew on the right one.
        inner.closing |= pinned.for_session && refused == Refusal::NotMaster;
        Ok(())
    }

    pub(super) fn may_restart(&self, inner: &Inner, pinned: &Pinned) -> bool {
        let expired = inner.retrying_since.is_some_and(|since| since.elapsed() >= self.context.listener().hold)
            || inner.attempts >= limits::ATTEMPTS
            // Others were sent behind it, and may have been executed.
            || pinned.changes > 1;
        pinned.journal.is_some() && !pinned.is_watching() && !pinned.uploading && !expired
    }

    /// Shows a reply, unless the client has it from before the transaction began again.
    pub(super) fn give(&self, inner: &mut Inner, pinned: &mut Pinned, reply: &[u8]) {
        pinned.given += 1;
        if pinned.to_skip > 0 {
            pinned.to_skip -= 1;
        } else {
            inner.emit(reply, &self.context);
        }
    }

    /// What goes over a pin may write, so reads follow it as they follow writes.
    fn note_sight(&self, inner: &mut Inner, pinned: &Pinned) {
        let generation = self.context.pool.generation();
        inner.sight.node = Some(pinned.pin.node);
        inner.sight.generation = generation;
        inner.sight.write = generation;
        inner.write_epoch = self.context.pool.snapshot().epoch;
    }
}

impl Pinned {
    /// What the client gets now of a value of at least this length, too large to be gathered; `None`: nothing before more of
    /// it is there.
    fn piece<'a>(&mut self, value: &'a [u8], length: u64) -> Option<Cow<'a, [u8]>> {
        // Only its first piece tells what it is.
        let push = if self.in_piece { self.push_in_piece } else { value.starts_with(b">") };
        let piece = match self.expected.front_mut() {
            _ if push => Cow::Borrowed(value),
            None => Cow::Borrowed(value),
            // Of what is sent again the client may have the reply already.
            Some(Expect::Reply) if self.to_skip == 0 => Cow::Borrowed(value),
            // Some of it is Redan's to say, unless it is more than is gathered for that.
            Some(Expect::Exec { stand_ins, .. })
                if !stand_ins.are_vital() && (stand_ins.is_empty() || length > limits::ADAPTED_REPLY as u64) =>
            {
                Cow::Borrowed(value)
            }
            Some(expect) => {
                let Expect::Adapted(adapter) = expect else {
                    return None;
                };
                let rewritten = adapter.begin(value)?;
                // The rest follows as it is.
                *expect = Expect::Reply;
                Cow::Owned(rewritten)
            }
        };
        (self.in_piece, self.push_in_piece) = (true, push);
        Some(piece)
    }

    /// A reply to EXEC of this length cannot be kept, and without what Redan has to say in it the session would be wrong
    /// about itself.
    fn is_too_much_for_exec(&self, length: u64) -> bool {
        let vital = matches!(self.expected.front(), Some(Expect::Exec { stand_ins, .. }) if stand_ins.are_vital());
        vital && length > limits::SETTLED_REPLY
    }
}

const TOO_LARGE_FOR_EXEC: &str =
    "the reply to its EXEC is larger than 64 MiB, with a HELLO, AUTH, CLIENT or SUBSCRIBE in the transaction";

const REDIRECT_BROKEN: &[u8] = b">2\r\n$21\r\ntracking-redir-broken\r\n";
