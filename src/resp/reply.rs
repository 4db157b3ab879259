//! Finds where a server's reply ends, without building or remembering a tree.
//!
//! Lanes and pins cut the byte stream of a node into replies with it and forward the bytes. Its whole memory
//! is a count of values still to come and the rest of one bulk, so a reply nested a million deep costs no
//! more than a flat one, and nothing can overflow a stack. It must never take a guess: bytes that are not
//! RESP end the connection, because the next reply's owner would otherwise get someone else's data.

use memchr::memchr;

use super::number::{decimal, number};
use crate::limits;

/// How far one call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Bytes that belong to the current value.
    pub(crate) consumed: usize,
    /// They end it.
    pub(crate) done: bool,
}

/// The node sent something that is not a reply: its connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReplyError {
    #[error("the node sent a length that is not a number RESP allows there")]
    Length,
    #[error("the node sent a header line longer than {} bytes", limits::INLINE)]
    LongHeader,
    #[error("the node announced more values than can be counted")]
    TooMany,
    #[error("the node sent a line or a bulk that does not end with CRLF")]
    Terminator,
    #[error("the node sent 0x{0:02x} where a RESP type belongs; is a Redis or Valkey server listening there?")]
    Type(u8),
}

/// Resumable: give it the bytes as they come. After an error it must not be used again.
#[derive(Debug, Default)]
pub(crate) struct ReplyScanner {
    /// Values still to come of the current top-level value; 0 while nothing of it was consumed.
    pending: u64,
    /// Bytes of the current bulk still to come, its CRLF included.
    outstanding: u64,
    /// Bytes at the beginning of the next buffer known to hold no end of line.
    searched: usize,
    /// The beginning of a text line beyond `limits::INLINE` was consumed, its end was not.
    in_long_line: bool,
}

impl ReplyScanner {
    pub(crate) const fn new() -> Self {
        Self { pending: 0, outstanding: 0, searched: 0, in_long_line: false }
    }

    /// Goes on over `buf`, which begins where the last call stopped. An incomplete header or text line of up
    /// to `limits::INLINE` bytes is not consumed: call again when more of it has come. A bulk's payload, and a
    /// longer text line, is consumed as far as it goes.
    #[inline]
    pub(crate) fn advance(&mut self, buf: &[u8]) -> Result<Scanned, ReplyError> {
        if self.is_fresh()
            && let Some(consumed) = scalar(buf)
        {
            self.searched = 0;
            return Ok(Scanned { consumed, done: true });
        }
        self.resume(buf)
    }

    /// Between two values: nothing of the next one was consumed.
    pub(crate) fn is_fresh(&self) -> bool {
        self.pending == 0
    }

    /// Bytes known to be missing from the current value's current bulk; 0 if it is not in one.
    pub(crate) fn outstanding(&self) -> u64 {
        self.outstanding
    }

    #[inline(never)]
    fn resume(&mut self, buf: &[u8]) -> Result<Scanned, ReplyError> {
        let mut at = 0;
        let mut pending = self.pending.max(1);
        while pending > 0 {
            let rest = &buf[at..];
            if self.outstanding > 0 {
                at += self.payload(rest)?;
                if self.outstanding > 0 {
                    break;
                }
            } else if self.in_long_line {
                at += self.long_line(rest)?;
                if self.in_long_line {
                    break;
                }
            } else if let Some(len) = scalar(rest) {
                self.searched = 0;
                at += len;
            } else {
                let Some((len, children)) = self.header(rest)? else {
                    break;
                };
                at += len;
                pending = pending.checked_add(children).ok_or(ReplyError::TooMany)?;
                if self.outstanding > 0 || self.in_long_line {
                    continue;
                }
            }
            pending -= 1;
        }
        if at > 0 {
            self.pending = pending;
        }
        Ok(Scanned { consumed: at, done: pending == 0 })
    }

    /// Steps over what has come of a bulk; its last two bytes must be CRLF.
    fn payload(&mut self, buf: &[u8]) -> Result<usize, ReplyError> {
        let take = usize::try_from(self.outstanding).map_or(buf.len(), |all| all.min(buf.len()));
        let left = self.outstanding - take as u64;
        // Of the taken bytes, those that are the trailer's: the last one or two before `left` reaches 0.
        if left < 2 && take > 0 {
            let expected: &[u8] = match (self.outstanding, left) {
                (1, _) => b"\n",
                (_, 1) => b"\r",
                _ => b"\r\n",
            };
            if !buf[..take].ends_with(expected) {
                return Err(ReplyError::Terminator);
            }
        }
        self.outstanding = left;
        Ok(take)
    }

    /// Steps over what has come of a text line; a CR at the end stays, for an LF may follow it.
    fn long_line(&mut self, buf: &[u8]) -> Result<usize, ReplyError> {
        if let Some(end) = line_end(buf, 0) {
            self.in_long_line = false;
            return Ok(end);
        }
        Ok(if buf.ends_with(b"\r") { buf.len() - 1 } else { buf.len() })
    }

    /// Reads the line at `buf[0]`: its length, and how many values it adds to those still to come. A bulk
    /// sets `outstanding`. `None` if the line is incomplete.
    fn header(&mut self, buf: &[u8]) -> Result<Option<(usize, u64)>, ReplyError> {
        let Some(&kind) = buf.first() else {
            return Ok(None);
        };
        if !b"+-:$*_,#!=(%~>|".contains(&kind) {
            return Err(ReplyError::Type(kind));
        }
        let Some(end) = line_end(buf, self.searched) else {
            // A CR at the end may be the first half of the end of the line.
            self.searched = buf.len().saturating_sub(1);
            return self.unfinished(kind, buf);
        };
        self.searched = 0;
        // As refused as if the end had come in a later read.
        if end - 1 > limits::INLINE && !is_text(kind) {
            return Err(ReplyError::LongHeader);
        }
        let text = &buf[1..end - 2];
        let children = match kind {
            b'$' | b'!' | b'=' => {
                if let Some(length) = length(text, kind == b'$')? {
                    self.outstanding = length.checked_add(2).ok_or(ReplyError::Length)?;
                }
                0
            }
            b'*' => length(text, true)?.unwrap_or(0),
            b'~' | b'>' => length(text, false)?.unwrap_or(0),
            b'%' => doubled(length(text, false)?)?,
            // Annotates the value behind it and is none itself: one more than its pairs, for the caller takes one off.
            b'|' => doubled(length(text, false)?)?.checked_add(1).ok_or(ReplyError::TooMany)?,
            b'_' if !text.is_empty() => return Err(ReplyError::Terminator),
            b'#' if text != b"t" && text != b"f" => return Err(ReplyError::Length),
            _ => 0,
        };
        Ok(Some((end, children)))
    }

    /// The line has not ended in `buf`. A script can return a status of any length, and one session's script
    /// must not cost others their lane, so a text line beyond the limit is stepped over; a number is refused.
    fn unfinished(&mut self, kind: u8, buf: &[u8]) -> Result<Option<(usize, u64)>, ReplyError> {
        if buf.len() <= limits::INLINE {
            return Ok(None);
        }
        if !is_text(kind) {
            return Err(ReplyError::LongHeader);
        }
        let taken = self.long_line(buf)?;
        self.searched = 0;
        self.in_long_line = true;
        Ok(Some((taken, 0)))
    }
}

/// The fast path: the length of a bulk, status, error, integer or null that stands complete at the beginning
/// of `buf`. `None` for anything else.
#[inline(always)]
fn scalar(buf: &[u8]) -> Option<usize> {
    match *buf.first()? {
        b'$' => {
            let Some((len, start)) = number(buf, 0) else {
                // A missing key, the second most common answer to a read.
                return buf.starts_with(b"$-1\r\n").then_some(5);
            };
            let end = start + len as usize;
            (buf.get(end..end + 2)? == b"\r\n").then_some(end + 2)
        }
        b'+' | b'-' | b':' => {
            if buf.starts_with(b"+OK\r\n") {
                return Some(5);
            }
            // Most are short: a plain loop over 16 bytes beats setting up a search.
            let cr = buf.iter().take(16).position(|&byte| byte == b'\r')?;
            (*buf.get(cr + 1)? == b'\n').then_some(cr + 2)
        }
        b'_' => buf.starts_with(b"_\r\n").then_some(3),
        _ => None,
    }
}

/// Types whose line may hold more than a number.
fn is_text(kind: u8) -> bool {
    matches!(kind, b'+' | b'-' | b'(')
}

/// Where the first line of `buf` ends, CRLF included; its first `from` bytes are known to hold no end. A CR or
/// an LF alone is text, as it is to clients.
fn line_end(buf: &[u8], from: usize) -> Option<usize> {
    let mut from = from;
    loop {
        let cr = from + memchr(b'\r', buf.get(from..)?)?;
        if *buf.get(cr + 1)? == b'\n' {
            return Some(cr + 2);
        }
        from = cr + 1;
    }
}

/// A length; `None` is the null that RESP2 writes as -1, where it may stand.
fn length(text: &[u8], nullable: bool) -> Result<Option<u64>, ReplyError> {
    match decimal(text) {
        Some(-1) if nullable => Ok(None),
        Some(n) => u64::try_from(n).map(Some).map_err(|_| ReplyError::Length),
        None => Err(ReplyError::Length),
    }
}

fn doubled(pairs: Option<u64>) -> Result<u64, ReplyError> {
    pairs.unwrap_or(0).checked_mul(2).ok_or(ReplyError::TooMany)
}
