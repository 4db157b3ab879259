//! A session's reads: from the socket into the worker's buffer, and into its own what has to wait.
//!
//! Used by the session's turn. An idle session holds no buffer: what was routed is not kept, and half a command is all that
//! stays.

use std::rc::Rc;
use std::task::{self, Poll};
use std::time::Instant;

use super::batch::Routed;
use super::{Flow, Inner, Session};
use crate::limits;
use crate::resp::request::{Bounds, Request};

impl Session {
    /// Reads once and routes what came, from the worker's buffer where nothing waits in the session's own.
    pub(super) fn read(self: &Rc<Self>, inner: &mut Inner, cx: &mut task::Context<'_>) -> Flow {
        let workspace = &self.context.workspace;
        let mut scratch = workspace.scratch.borrow_mut();
        let room = &mut scratch[limits::HALF_COMMAND..];
        let n = match inner.stream.poll_read(cx, &mut workspace.cipher.borrow_mut(), room) {
            Poll::Pending if self.context.is_leaving() && inner.input.is_empty() => {
                // A drain ends a session where it would wait for its client with nothing owed; until then, whoever
                // brings the last reply must wake it.
                inner.closing |= inner.owes_nothing() && !workspace.patient.get();
                return inner.wait_until_at_most(0);
            }
            Poll::Pending => return Flow::Wait,
            Poll::Ready(Ok(0) | Err(_)) => {
                inner.ended_input = true;
                return Flow::Again;
            }
            Poll::Ready(Ok(n)) => n,
        };
        workspace.counters.bytes_in.add(n as u64);
        inner.received += n as u64;
        inner.came(Instant::now());
        if inner.input.len() > limits::HALF_COMMAND || inner.discarding.is_some() {
            inner.input.extend_from_slice(&room[..n]);
            return Flow::Again;
        }
        // Half a command from the last read is put in front of its rest: less is moved than by gathering both elsewhere.
        let start = limits::HALF_COMMAND - inner.input.len();
        let end = limits::HALF_COMMAND + n;
        scratch[start..limits::HALF_COMMAND].copy_from_slice(&inner.input);
        workspace.give_back(std::mem::take(&mut inner.input));
        let (used, flow) = self.route(inner, &scratch[start..end], cx);
        if used < end - start {
            let mut input = workspace.buffer();
            input.extend_from_slice(&scratch[start + used..end]);
            inner.input = input;
        }
        if flow == Routed::Wait { Flow::Wait } else { Flow::Again }
    }

    /// Drops what there is of the command in front; `true` when that was all of it.
    pub(super) fn discard(&self, inner: &mut Inner) -> bool {
        let (dropped, ended) = match inner.scanner.scan(&inner.input, &Bounds::AUTHENTICATED) {
            Ok(Request::Command(frame)) => (frame.len, true),
            Ok(Request::Inline { len } | Request::Blank { len }) => (len, true),
            Ok(Request::Incomplete) => (inner.scanner.passed(inner.input.len()), false),
            Err(error) => {
                inner.discarding = None;
                self.protocol_error(inner, &error);
                return true;
            }
        };
        inner.input.drain(..dropped);
        if !ended {
            inner.scanner.forget(dropped);
        } else if let Some(words) = inner.discarding.take().filter(|words| !words.is_empty()) {
            self.answer_error(inner, &words);
        }
        ended
    }

    /// What was not used of the session's own buffer waits in it.
    pub(super) fn keep_rest(&self, inner: &mut Inner, mut input: Vec<u8>, used: usize) {
        if used == input.len() {
            self.context.workspace.give_back(input);
        } else {
            input.drain(..used);
            inner.input = input;
        }
    }
}
