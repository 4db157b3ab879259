//! Finds where a client's command ends, and proves that every byte of it is canonical.
//!
//! The session scans its read buffer with it and forwards whole frames untouched to connections that many
//! sessions share. Therefore it must never accept what a server could read differently: servers up to 8.0
//! skip the two bytes after a bulk unchecked, so one lenient byte here would let a client smuggle commands
//! into other sessions' streams. Refusals use Redis's own words, which clients and operators know.

use memchr::memchr;

pub(crate) use super::arguments::arguments;
use super::number::{decimal, number};
use crate::limits;

/// What a client may announce. Checked while a command is scanned, so `AUTH` counts from the next command on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) arguments: u32,
    /// At most 1 GiB, so that [`Span`] can hold the first two arguments wherever they end.
    pub(crate) bulk: u64,
    pub(crate) authenticated: bool,
}

impl Bounds {
    pub(crate) const AUTHENTICATED: Self =
        Self { arguments: limits::ARGUMENTS, bulk: limits::BULK, authenticated: true };
    pub(crate) const UNAUTHENTICATED: Self =
        Self { arguments: limits::UNAUTHENTICATED_ARGUMENTS, bulk: limits::UNAUTHENTICATED_BULK, authenticated: false };
}

/// One argument's place, relative to its command's first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl Span {
    /// The argument's bytes in `command`, which begins with the command's first byte.
    pub(crate) fn of(self, command: &[u8]) -> &[u8] {
        let start = self.start as usize;
        &command[start..start + self.len as usize]
    }
}

/// A complete command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Its bytes: all of them, or those since the last [`RequestScanner::forget`].
    pub(crate) len: usize,
    pub(crate) arguments: u32,
    /// The first argument; empty when it was forgotten.
    pub(crate) name: Span,
    /// The second argument, if there is one and it was not forgotten.
    pub(crate) second: Option<Span>,
}

/// What stands at the beginning of a client's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Command(Frame),
    /// A line of text, its newline included; `inline::to_multibulk` makes a command of it.
    Inline {
        len: usize,
    },
    /// An empty line, `*0` or `*-1`: skipped, and never answered.
    Blank {
        len: usize,
    },
    Incomplete,
}

/// The client broke the protocol: it is told in these words (after `ERR `) and disconnected, for nobody can
/// say where its next command begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("Protocol error: expected '$', got '{}'", char::from(*.0))]
    ExpectedDollar(u8),
    #[error("Protocol error: invalid bulk length")]
    InvalidBulkLength,
    #[error("Protocol error: invalid CRLF in request")]
    InvalidCrlf,
    #[error("Protocol error: invalid multibulk length")]
    InvalidMultibulkLength,
    /// Redan's fault: bytes were streamed on that the scanner had not passed.
    #[error("Protocol error: the proxy lost its place in a streamed command")]
    LostPlace,
    #[error("Protocol error: too big bulk count string")]
    TooBigBulkCount,
    #[error("Protocol error: too big inline request")]
    TooBigInline,
    #[error("Protocol error: too big mbulk count string")]
    TooBigMultibulkCount,
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulkLength,
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
}

/// What the scanner looks for next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// The command's first line.
    #[default]
    Start,
    /// A `$<length>` line at `at`.
    Header,
    /// The CRLF at `at`, behind a payload of `bulk` bytes.
    Trailer,
    /// Nothing: the buffer moved past `at`.
    Lost,
}

/// Remembers how far into one unfinished command the scan came: however a client cuts its bytes, each is
/// looked at a bounded number of times. After an error it must not be used again.
#[derive(Debug, Default)]
pub(crate) struct RequestScanner {
    stage: Stage,
    /// Where `stage` looks, relative to the buffer's start. Everything before it is verified or payload; it
    /// can lie beyond the buffer while a payload is on its way.
    at: u64,
    /// Bytes after `at` known to hold no end of line.
    searched: usize,
    arguments: u32,
    /// Arguments not yet complete; 0 only in `Stage::Start`.
    missing: u32,
    /// Payload length of the bulk being read, in `Stage::Trailer`.
    bulk: u32,
    forgotten: bool,
    name: Option<Span>,
    second: Option<Span>,
}

impl RequestScanner {
    pub(crate) const fn new() -> Self {
        Self {
            stage: Stage::Start,
            at: 0,
            searched: 0,
            arguments: 0,
            missing: 0,
            bulk: 0,
            forgotten: false,
            name: None,
            second: None,
        }
    }

    /// Looks for the end of the command that begins at `buf[0]`: the same command, with at least the same
    /// bytes, in every call until it is complete. A complete one leaves the scanner fresh.
    #[inline]
    pub(crate) fn scan(&mut self, buf: &[u8], bounds: &Bounds) -> Result<Request, RequestError> {
        if self.is_fresh()
            && let Some(frame) = whole(buf, bounds)
        {
            return Ok(Request::Command(frame));
        }
        self.resume(buf, bounds)
    }

    /// No byte of the next command was seen.
    pub(crate) fn is_fresh(&self) -> bool {
        self.stage == Stage::Start && self.searched == 0
    }

    /// The least length the unfinished command will have, from what it announced so far, counted like
    /// `Frame::len`. Every argument still to come takes at least the six bytes of `$0\r\n\r\n`.
    pub(crate) fn announced(&self) -> u64 {
        let missing = u64::from(self.missing);
        match self.stage {
            Stage::Start | Stage::Lost => self.searched as u64,
            Stage::Header => self.at + missing * 6,
            Stage::Trailer => self.at + 2 + (missing - 1) * 6,
        }
    }

    /// How many of a buffer's first `len` bytes may be streamed on and forgotten: a header line that has not
    /// come whole must stay, since nobody has verified it yet.
    pub(crate) fn passed(&self, len: usize) -> usize {
        usize::try_from(self.at).map_or(len, |at| at.min(len))
    }

    /// The unfinished command's first argument, once complete.
    pub(crate) fn name(&self) -> Option<Span> {
        self.name
    }

    /// The unfinished command's second argument, once complete.
    pub(crate) fn second(&self) -> Option<Span> {
        self.second
    }

    /// The first `n` bytes, at most [`passed`](Self::passed), left the buffer: the next scan begins after them.
    pub(crate) fn forget(&mut self, n: usize) {
        if n == 0 {
            return;
        }
        self.forgotten = true;
        self.name = None;
        self.second = None;
        match self.at.checked_sub(n as u64) {
            Some(at) => self.at = at,
            // Unverified bytes went out. Going on would misread the rest, so the next scan refuses it.
            None => self.stage = Stage::Lost,
        }
    }

    #[inline(never)]
    fn resume(&mut self, buf: &[u8], bounds: &Bounds) -> Result<Request, RequestError> {
        loop {
            match self.stage {
                Stage::Start => match buf.first() {
                    None => return Ok(Request::Incomplete),
                    Some(b'*') => {
                        if let Some(answer) = self.count(buf, bounds)? {
                            return Ok(answer);
                        }
                    }
                    Some(_) => return self.inline(buf),
                },
                Stage::Header => {
                    if !self.header(buf, bounds)? {
                        return Ok(Request::Incomplete);
                    }
                }
                Stage::Trailer => {
                    if !self.trailer(buf)? {
                        return Ok(Request::Incomplete);
                    }
                    if self.missing == 0 {
                        return Ok(Request::Command(self.finish()));
                    }
                }
                Stage::Lost => return Err(RequestError::LostPlace),
            }
        }
    }

    /// Reads `*<arguments>`; answers at once if the line is incomplete or announces nothing.
    fn count(&mut self, buf: &[u8], bounds: &Bounds) -> Result<Option<Request>, RequestError> {
        let Some(end) = self.line(buf, RequestError::TooBigMultibulkCount)? else {
            return Ok(Some(Request::Incomplete));
        };
        let count = decimal(&buf[1..end]).ok_or(RequestError::InvalidMultibulkLength)?;
        if count > i64::from(limits::ARGUMENTS) {
            return Err(RequestError::InvalidMultibulkLength);
        }
        if count > i64::from(bounds.arguments) {
            return Err(if bounds.authenticated {
                RequestError::InvalidMultibulkLength
            } else {
                RequestError::UnauthenticatedMultibulkLength
            });
        }
        self.leave_line(buf, end)?;
        match u32::try_from(count) {
            Ok(count) if count > 0 => {
                self.arguments = count;
                self.missing = count;
                self.stage = Stage::Header;
                Ok(None)
            }
            // Zero or negative.
            _ => {
                *self = Self::new();
                Ok(Some(Request::Blank { len: end + 2 }))
            }
        }
    }

    /// Reads `$<length>`; false if the line is incomplete.
    fn header(&mut self, buf: &[u8], bounds: &Bounds) -> Result<bool, RequestError> {
        let Some(end) = self.line(buf, RequestError::TooBigBulkCount)? else {
            return Ok(false);
        };
        let line = &buf[self.at as usize..end];
        let Some((b'$', digits)) = line.split_first() else {
            return Err(RequestError::ExpectedDollar(line.first().copied().unwrap_or(b'\r')));
        };
        let length = decimal(digits).and_then(|n| u32::try_from(n).ok()).ok_or(RequestError::InvalidBulkLength)?;
        if u64::from(length) > limits::BULK.max(bounds.bulk) {
            return Err(RequestError::InvalidBulkLength);
        }
        if u64::from(length) > bounds.bulk {
            return Err(if bounds.authenticated {
                RequestError::InvalidBulkLength
            } else {
                RequestError::UnauthenticatedBulkLength
            });
        }
        self.leave_line(buf, end)?;
        self.at += u64::from(length);
        self.bulk = length;
        self.stage = Stage::Trailer;
        Ok(true)
    }

    /// Verifies the CRLF behind a payload; false if it has not come yet.
    fn trailer(&mut self, buf: &[u8]) -> Result<bool, RequestError> {
        let tail = usize::try_from(self.at).ok().and_then(|at| buf.get(at..)).unwrap_or_default();
        match tail {
            [] | [b'\r'] => return Ok(false),
            [b'\r', b'\n', ..] => {}
            _ => return Err(RequestError::InvalidCrlf),
        }
        if !self.forgotten && self.arguments - self.missing < 2 {
            // Two arguments of at most 1 GiB and their headers: below 2^32.
            let span = Span { start: (self.at - u64::from(self.bulk)) as u32, len: self.bulk };
            if self.arguments == self.missing {
                self.name = Some(span);
            } else {
                self.second = Some(span);
            }
        }
        self.missing -= 1;
        self.at += 2;
        self.stage = Stage::Header;
        Ok(true)
    }

    fn finish(&mut self) -> Frame {
        let frame = Frame {
            // The last trailer was in the buffer, so its end fits the buffer's index type.
            len: self.at as usize,
            arguments: self.arguments,
            name: self.name.unwrap_or_default(),
            second: self.second,
        };
        *self = Self::new();
        frame
    }

    fn inline(&mut self, buf: &[u8]) -> Result<Request, RequestError> {
        let Some(newline) = memchr(b'\n', &buf[self.searched.min(buf.len())..]) else {
            self.searched = buf.len();
            return if buf.len() > limits::INLINE { Err(RequestError::TooBigInline) } else { Ok(Request::Incomplete) };
        };
        let len = self.searched + newline + 1;
        *self = Self::new();
        Ok(match &buf[..len] {
            [b'\n'] | [b'\r', b'\n'] => Request::Blank { len },
            _ => Request::Inline { len },
        })
    }

    /// The place of the CR that ends the line at `at`, once the byte behind it has come too. The length is
    /// limited only while there is no CR, as servers do it.
    fn line(&mut self, buf: &[u8], too_big: RequestError) -> Result<Option<usize>, RequestError> {
        // A line begins inside or right behind what was scanned, so `at` fits.
        let at = self.at as usize;
        let rest = buf.get(at + self.searched..).unwrap_or_default();
        match memchr(b'\r', rest) {
            None => {
                self.searched += rest.len();
                if self.searched > limits::INLINE { Err(too_big) } else { Ok(None) }
            }
            Some(found) => {
                self.searched += found;
                let end = at + self.searched;
                Ok((end + 1 < buf.len()).then_some(end))
            }
        }
    }

    /// Steps over the line whose CR stands at `end`, if an LF follows.
    fn leave_line(&mut self, buf: &[u8], end: usize) -> Result<(), RequestError> {
        if buf[end + 1] != b'\n' {
            return Err(RequestError::InvalidCrlf);
        }
        self.at = end as u64 + 2;
        self.searched = 0;
        Ok(())
    }
}

/// How many bytes of empty lines stand at the beginning of `buf`. A flood of them is skipped in one go: to scan each like a
/// command takes ten times as long.
pub(crate) fn blank_lines(buf: &[u8]) -> usize {
    let mut len = 0;
    loop {
        len += match &buf[len..] {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            _ => return len,
        };
    }
}

/// The fast path: a command that stands complete and canonical in the buffer. `None` says nothing about what
/// is wrong or missing; the slow path finds that out.
#[inline]
fn whole(buf: &[u8], bounds: &Bounds) -> Option<Frame> {
    if *buf.first()? != b'*' {
        return None;
    }
    let (count, mut at) = number(buf, 0)?;
    if count == 0 || count > bounds.arguments {
        return None;
    }
    let name = bulk(buf, &mut at, bounds)?;
    let second = if count > 1 { Some(bulk(buf, &mut at, bounds)?) } else { None };
    for _ in 2..count {
        bulk(buf, &mut at, bounds)?;
    }
    Some(Frame { len: at, arguments: count, name, second })
}

/// The complete bulk at `at`, which moves behind it.
#[inline(always)]
fn bulk(buf: &[u8], at: &mut usize, bounds: &Bounds) -> Option<Span> {
    if *buf.get(*at)? != b'$' {
        return None;
    }
    let (len, start) = number(buf, *at)?;
    if u64::from(len) > bounds.bulk {
        return None;
    }
    let end = start + len as usize;
    if buf.get(end..end + 2)? != b"\r\n" {
        return None;
    }
    *at = end + 2;
    Some(Span { start: start as u32, len })
}
