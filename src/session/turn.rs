//! Replies and answers in their turn: sent, kept back by the gate, or stashed until those before them are there.

use super::context::Context;
use super::replay::Stashed;
use super::{Inner, ReplyMode};

impl Inner {
    /// Appends an answer of Redan's own in its turn.
    pub(super) fn answer(&mut self, reply: Vec<u8>, context: &Context) {
        let sequence = self.next;
        self.next += 1;
        let muted = match self.reply_mode {
            ReplyMode::On => false,
            ReplyMode::Off => true,
            ReplyMode::SkipNext => {
                self.reply_mode = ReplyMode::On;
                true
            }
        };
        if reply.first() == Some(&b'-') {
            context.workspace.counters.own_errors.note(&reply);
        }
        let reply = if muted { Vec::new() } else { reply };
        if sequence == self.front {
            self.front += 1;
            if !self.kept_back_unmuted(&reply) {
                self.output.append(&reply, &context.workspace);
            }
            context.workspace.give_back(reply);
        } else {
            self.stash.insert(sequence, Stashed::Answers { count: 1, bytes: reply });
        }
        self.more_waits(context);
    }

    /// Bytes whose turn it is.
    pub(super) fn emit(&mut self, bytes: &[u8], context: &Context) {
        if self.kept_back(bytes) || self.muted {
            return;
        }
        self.send_now(bytes, context);
    }

    /// Answers in the stash whose turn has come.
    pub(super) fn emit_stashed(&mut self, context: &Context) {
        while let Some((sequence, Stashed::Answers { .. })) = self.stash.front()
            && *sequence == self.front
            && let Some((_, Stashed::Answers { count, bytes })) = self.stash.pop_front()
        {
            self.in_turn(self.front);
            self.front += u64::from(count);
            self.emit(&bytes, context);
        }
    }

    /// Sends what has passed the gate, or never had to.
    pub(super) fn send_now(&mut self, bytes: &[u8], context: &Context) {
        if self.dead {
            return;
        }
        if self.output.send(bytes, &mut self.stream, &context.workspace).is_err() {
            self.dead = true;
        } else if !self.output.is_empty() {
            self.more_waits(context);
        }
    }
}
