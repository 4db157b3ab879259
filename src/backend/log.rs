//! The bytes of a lane's unanswered commands, kept for replay: one buffer, no copy per command.
//!
//! `| answered | sent, unanswered | not sent |`: the first part is given back as replies arrive.

use crate::limits;

#[derive(Debug, Default)]
pub(crate) struct Log {
    bytes: Vec<u8>,
    /// First byte of the oldest unanswered command. `head <= written <= bytes.len()`.
    head: usize,
    /// First byte that the socket has not taken.
    written: usize,
}

impl Log {
    pub(crate) fn push(&mut self, command: &[u8]) {
        self.bytes.extend_from_slice(command);
    }

    /// Bytes of unanswered commands.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.head
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(crate) fn unsent(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    pub(crate) fn sent(&mut self, n: usize) {
        self.written += n;
        debug_assert!(self.written <= self.bytes.len());
    }

    /// The oldest unanswered command, which is `len` bytes long.
    pub(crate) fn oldest(&self, len: usize) -> &[u8] {
        &self.bytes[self.head..self.head + len]
    }

    /// The command that begins `offset` bytes after the oldest one.
    pub(crate) fn at(&self, offset: usize, len: usize) -> &[u8] {
        &self.bytes[self.head + offset..self.head + offset + len]
    }

    /// Whether the socket has taken all of the bytes before `offset`, counted from the oldest command.
    pub(crate) fn has_sent(&self, offset: usize) -> bool {
        self.head + offset <= self.written
    }

    /// Gives back memory that a burst took. Not done as commands are answered: giving it back and taking it again costs
    /// more page faults than carrying the bytes.
    pub(crate) fn trim(&mut self) {
        if self.bytes.is_empty() {
            self.bytes.shrink_to(limits::KEPT_BUFFER);
        }
    }

    /// The oldest command was answered.
    pub(crate) fn release(&mut self, len: usize) {
        self.head += len;
        debug_assert!(self.head <= self.written, "answered before it was sent");
        if self.head == self.bytes.len() {
            self.bytes.clear();
            (self.head, self.written) = (0, 0);
        } else if self.head > limits::KEPT_BUFFER && self.head * 2 > self.bytes.len() {
            // Moves at most as many bytes as were given back since the last move: constant cost per byte.
            self.bytes.drain(..self.head);
            self.written -= self.head;
            self.head = 0;
        }
    }
}
