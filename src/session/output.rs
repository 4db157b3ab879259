//! Replies on their way to the client, in the order of its commands.
//!
//! A reply whose turn it is goes straight to the socket; one that came early waits in the stash; what the socket does
//! not take waits in the buffer. Nothing here knows commands.

use std::io;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::context::Workspace;
use crate::limits;
use crate::transport::Stream;

#[derive(Default)]
pub(super) struct Output {
    buf: Vec<u8>,
    sent: usize,
    /// Bytes that were given to the client, or wait for it.
    total: u64,
    /// When the client last took something, while something waits for it.
    waiting_since: Option<Instant>,
    /// Lanes that wait until this client has taken its reply, and since when others' replies wait there.
    in_the_way_of: Vec<Waker>,
    in_the_way_since: Option<Instant>,
    /// Since when more waits than the soft limit allows.
    over_soft_limit: Option<Instant>,
}

impl Output {
    pub(super) fn len(&self) -> usize {
        self.buf.len() - self.sent
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn capacity(&self) -> usize {
        self.buf.capacity()
    }

    pub(super) fn over_soft_limit(&mut self) -> &mut Option<Instant> {
        &mut self.over_soft_limit
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds bytes without touching the socket.
    pub(super) fn append(&mut self, bytes: &[u8], workspace: &Workspace) {
        if self.buf.capacity() == 0 {
            self.buf = workspace.buffer();
        }
        workspace.counters.bytes_out.add(bytes.len() as u64);
        self.total += bytes.len() as u64;
        self.buf.extend_from_slice(bytes);
    }

    /// Sends now what the socket takes and keeps the rest.
    pub(super) fn send(&mut self, bytes: &[u8], stream: &mut Stream, workspace: &Workspace) -> io::Result<()> {
        let mut rest = bytes;
        if self.is_empty() {
            match stream.try_write(bytes) {
                Ok(n) => {
                    workspace.counters.bytes_out.add(n as u64);
                    self.total += n as u64;
                    rest = &bytes[n..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if !rest.is_empty() {
            self.append(rest, workspace);
        }
        Ok(())
    }

    /// Sends what waits, as far as the socket takes it; `Ready` when nothing waits any more.
    pub(super) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        workspace: &Workspace,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() || stream.wants_flush() {
            let result =
                if self.is_empty() { stream.flush().map(|_| 0) } else { stream.try_write(&self.buf[self.sent..]) };
            match result {
                Ok(n) => {
                    self.sent += n;
                    if n > 0 {
                        self.waiting_since = None;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            if (!self.is_empty() || stream.wants_flush()) && stream.poll_write_ready(cx)?.is_pending() {
                self.waiting_since.get_or_insert_with(Instant::now);
                self.compact();
                return Poll::Pending;
            }
        }
        self.waiting_since = None;
        self.over_soft_limit = None;
        if self.buf.capacity() > 0 {
            workspace.give_back(std::mem::take(&mut self.buf));
            self.sent = 0;
        }
        self.in_the_way_since = None;
        self.in_the_way_of.drain(..).for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }

    /// Gives back memory of what was sent; moves at most as many bytes as were sent.
    fn compact(&mut self) {
        if self.sent > limits::KEPT_BUFFER && self.sent * 2 > self.buf.len() {
            self.buf.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// A lane waits; `others`, and with it replies to other clients.
    pub(super) fn block(&mut self, lane: &Waker, others: bool) {
        self.in_the_way_of.push(lane.clone());
        if others {
            self.in_the_way_since.get_or_insert_with(Instant::now);
        }
    }

    /// The client has taken nothing for longer than it may or, while others wait behind its reply, not all of it: a client
    /// that takes a little now and then holds them up as well.
    /// A subscriber may take its time alone, as servers let it: what waits for it has limits of its own.
    pub(super) fn is_stalled(&self, now: Instant, subscribed: bool) -> bool {
        let over = |since: Option<Instant>, limit| {
            since.is_some_and(|since| now.saturating_duration_since(since).as_secs() >= limit)
        };
        let alone = match (self.in_the_way_of.is_empty(), subscribed) {
            (false, _) => limits::STALLED_ON_A_LANE_S,
            (true, false) => limits::STALLED_ALONE_S,
            (true, true) => u64::MAX,
        };
        over(self.waiting_since, alone) || over(self.in_the_way_since, limits::STALLED_IN_THE_WAY_S)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // The lane goes on: what comes for a dead client is dropped.
        self.in_the_way_of.drain(..).for_each(Waker::wake);
    }
}
