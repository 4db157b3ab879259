//! One connection under a policy: what of a program's words passes, and when a refusal may be said.
//!
//! Pure, used by the exit's pump. A refusal waits until everything that passed before it was answered, and nothing behind it
//! passes until it was said: so it never overtakes a reply, and no queue grows. Where replies cannot be counted, because the
//! connection has become a replica's or subscribes, it is broken instead. It must never hand on a byte of a command that was
//! not judged; arguments beyond the first two pass as they come, and are never gathered.

use super::{Policy, Verdict};
use crate::resp::inline::to_multibulk;
use crate::resp::reply::ReplyScanner;
use crate::resp::request::{Bounds, Request, RequestScanner};

/// Taken at a time.
const PIECE: usize = 16 * 1024;

/// No name of a command, of a subcommand or of a channel that counts is as long.
pub(in crate::link) const WORD: usize = 64;

/// A command of which so much is there is judged by its first two arguments, and passes as it comes. These are whole then, if
/// they are words; what is shorter is waited for.
const ENOUGH: usize = 1024;

/// The longest command whose later arguments count, and the longest line of an inline command.
const LONGEST: usize = 16 * 1024;

const TOO_LONG: &str = "Protocol error: too big inline request";

/// The longest line before a replica's data, as in `replication`.
const LINE: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Each command is answered once.
    Commands,
    /// As well, until EXEC.
    Transaction,
    /// Messages come unasked.
    Subscribed,
    /// PSYNC or SYNC has passed; what it is answered decides.
    Syncing,
    /// The target sends data, and is told how much has come.
    Replica,
    /// The last refusal was said, or the target has ended: nothing passes any more.
    Closed,
}

/// What happens with the rest of the command that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// It has not begun, or was not judged.
    Undecided,
    Passes,
    Dropped,
}

/// What is said instead of a reply.
#[derive(Debug)]
pub(in crate::link) struct Refusal {
    pub(in crate::link) words: Vec<u8>,
    /// The connection ends behind it.
    pub(in crate::link) closes: bool,
}

#[derive(Debug)]
pub(in crate::link) struct Conversation {
    link: String,
    phase: Phase,
    scanner: RequestScanner,
    /// Came and was neither handed on nor dropped.
    held: Vec<u8>,
    rest: Rest,
    /// Commands that passed and were not answered.
    unanswered: u64,
    answers: ReplyScanner,
    /// The reply that is being read came by itself.
    unasked: bool,
    /// The beginning of a reply whose line has not come as a whole.
    tail: Vec<u8>,
    /// The line that answers PSYNC.
    line: Vec<u8>,
    refusal: Option<Refusal>,
    /// Why the connection must be broken.
    broken: Option<String>,
    /// What still comes of the program is dropped.
    hurries: bool,
    /// Commands refused since somebody asked, and the last one's name.
    refused: u64,
    last: String,
}

impl Conversation {
    pub(in crate::link) fn new(link: &str) -> Self {
        Self {
            link: link.to_owned(),
            phase: Phase::Commands,
            scanner: RequestScanner::new(),
            held: Vec::new(),
            rest: Rest::Undecided,
            unanswered: 0,
            answers: ReplyScanner::new(),
            unasked: false,
            tail: Vec::new(),
            line: Vec::new(),
            refusal: None,
            broken: None,
            hurries: false,
            refused: 0,
            last: String::new(),
        }
    }

    /// Goes on as a replica's, as [`Self::is_idle_replica`] has found it.
    pub(in crate::link) fn become_replica(&mut self) {
        self.phase = Phase::Replica;
    }

    /// The target sends data, and no word to it is under way.
    pub(in crate::link) fn is_idle_replica(&self) -> bool {
        self.phase == Phase::Replica
            && self.held.is_empty()
            && self.rest == Rest::Undecided
            && self.refusal.is_none()
            && self.broken.is_none()
            && !self.hurries
    }

    // ---- From the program to the target ----

    /// Takes some of the program's bytes, says how many, and appends to `out` what the target may read. None are taken as
    /// long as a refusal or a sync waits for the target.
    pub(in crate::link) fn take(&mut self, policy: &Policy, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        if self.phase == Phase::Closed || self.hurries {
            return bytes.len();
        }
        if !self.goes_on() {
            return 0;
        }
        let taken = bytes.len().min(PIECE);
        self.held.extend_from_slice(&bytes[..taken]);
        self.go_on(policy, out);
        taken
    }

    /// Goes on with what was taken and had to wait.
    pub(in crate::link) fn go_on(&mut self, policy: &Policy, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        let mut at = 0;
        while self.goes_on()
            && let Some(used) = self.step(policy, &held[at..], out)
        {
            at += used;
        }
        if self.phase != Phase::Closed && self.broken.is_none() {
            self.held = held;
            self.held.drain(..at);
        }
    }

    /// Whether nothing that was taken waits for the target; the beginning of a command does not count.
    pub(in crate::link) fn is_through(&self) -> bool {
        self.phase == Phase::Closed || self.hurries || self.goes_on()
    }

    /// The program has ended and waits no longer for a target that does not answer: what it said behind is dropped, so that the
    /// target learns of the end.
    pub(in crate::link) fn hurry(&mut self) {
        self.hurries = true;
        self.held = Vec::new();
    }

    fn goes_on(&self) -> bool {
        self.refusal.is_none() && self.broken.is_none() && !matches!(self.phase, Phase::Syncing | Phase::Closed)
    }

    /// One command or a part of it; `None` when more bytes are needed.
    fn step(&mut self, policy: &Policy, bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        if bytes.is_empty() {
            return None;
        }
        match self.scanner.scan(bytes, &Bounds::AUTHENTICATED) {
            Err(error) => {
                // Of half a command the target will never answer.
                match self.rest {
                    Rest::Passes => self.broken = Some(error.to_string()),
                    Rest::Undecided | Rest::Dropped => self.protocol_error(&error.to_string()),
                }
                Some(bytes.len())
            }
            Ok(Request::Blank { len }) => {
                // By it a replica shows that it is alive while it loads.
                if self.phase == Phase::Replica && bytes[0] != b'*' {
                    out.extend_from_slice(&bytes[..len]);
                }
                Some(len)
            }
            Ok(Request::Inline { len }) => {
                match len > LONGEST {
                    true => self.protocol_error(TOO_LONG),
                    false => self.inline(policy, &bytes[..len], out),
                }
                Some(len)
            }
            Ok(Request::Command(frame)) => {
                let command = &bytes[..frame.len];
                match self.rest {
                    Rest::Passes => out.extend_from_slice(command),
                    Rest::Undecided => {
                        let (name, second) = (frame.name.of(command), frame.second.map(|second| second.of(command)));
                        if self.judge(policy, name, second, Some(command)) == Verdict::Passes {
                            out.extend_from_slice(command);
                        }
                    }
                    Rest::Dropped => self.refuse(policy),
                }
                self.rest = Rest::Undecided;
                Some(frame.len)
            }
            Ok(Request::Incomplete) => self.part(policy, bytes, out),
        }
    }

    /// Of a command that has not come as a whole: decides as soon as that is possible, and steps over what has come.
    fn part(&mut self, policy: &Policy, bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        if self.rest == Rest::Undecided {
            if bytes[0] != b'*' {
                if bytes.len() <= LONGEST {
                    return None;
                }
                self.protocol_error(TOO_LONG);
                return Some(bytes.len());
            }
            // What is short comes as a whole in a moment.
            if bytes.len() <= ENOUGH {
                return None;
            }
            match self.scanner.name() {
                Some(name) => {
                    let second = self.scanner.second().map(|second| second.of(bytes));
                    match self.judge(policy, name.of(bytes), second, None) {
                        Verdict::Passes => self.rest = Rest::Passes,
                        Verdict::Refused => self.rest = Rest::Dropped,
                        Verdict::Whole if bytes.len() <= LONGEST => return None,
                        Verdict::Whole => {
                            self.name_it(name.of(bytes));
                            self.rest = Rest::Dropped;
                        }
                    }
                }
                None => {
                    self.name_it(&[0; ENOUGH]);
                    self.rest = Rest::Dropped;
                }
            }
        }
        let passed = self.scanner.passed(bytes.len());
        if self.rest == Rest::Passes {
            out.extend_from_slice(&bytes[..passed]);
        }
        self.scanner.forget(passed);
        Some(passed).filter(|passed| *passed > 0)
    }

    fn inline(&mut self, policy: &Policy, line: &[u8], out: &mut Vec<u8>) {
        let mut command = Vec::new();
        match to_multibulk(line, &mut command) {
            Err(error) => self.protocol_error(&error.to_string()),
            // Spaces alone are not answered.
            Ok(0) => {}
            Ok(_) => {
                let mut words = crate::resp::request::arguments(&command);
                let (name, second) = (words.next().unwrap_or_default(), words.next());
                if self.judge(policy, name, second, Some(&command)) == Verdict::Passes {
                    out.extend_from_slice(&command);
                }
            }
        }
    }

    /// The verdict, and what follows from it. A command that is only begun is refused when it has come as a whole.
    fn judge(&mut self, policy: &Policy, name: &[u8], second: Option<&[u8]>, whole: Option<&[u8]>) -> Verdict {
        let second = second.filter(|second| second.len() <= WORD);
        let mut verdict = policy.judge(name, second, whole.filter(|whole| whole.len() <= LONGEST));
        if verdict == Verdict::Whole && whole.is_some() {
            verdict = Verdict::Refused;
        }
        // What a replica says behind its sync is not answered, and nobody could say what else is.
        let silent = [&b"REPLCONF"[..], b"PSYNC", b"SYNC", b"PING"];
        if self.phase == Phase::Replica && !silent.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            verdict = Verdict::Refused;
        }
        match verdict {
            Verdict::Passes => self.follow(name),
            Verdict::Whole => {}
            Verdict::Refused => {
                self.name_it(name);
                if whole.is_some() {
                    self.refuse(policy);
                }
            }
        }
        verdict
    }

    /// What a command that passes does to the conversation.
    fn follow(&mut self, name: &[u8]) {
        if matches!(self.phase, Phase::Replica | Phase::Subscribed) {
            return;
        }
        self.unanswered += 1;
        self.phase = match name.to_ascii_uppercase().as_slice() {
            b"MULTI" => Phase::Transaction,
            b"EXEC" | b"DISCARD" | b"RESET" => Phase::Commands,
            b"SUBSCRIBE" => Phase::Subscribed,
            b"PSYNC" | b"SYNC" => Phase::Syncing,
            _ => self.phase,
        };
    }

    fn name_it(&mut self, name: &[u8]) {
        let printable = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '?' };
        self.last = match name.len() {
            ..=WORD => name.iter().map(printable).collect(),
            _ => "a command with a very long name".to_owned(),
        };
    }

    fn refuse(&mut self, policy: &Policy) {
        self.refused += 1;
        let (link, allowed, last) = (&self.link, policy.name(), &self.last);
        let words =
            format!("-NOPERM link '{link}' carries `commands = \"{allowed}\"`, and '{last}' is none of them\r\n");
        match self.phase {
            Phase::Replica | Phase::Subscribed => {
                self.broken = Some(format!("it sent '{last}', which `commands = \"{allowed}\"` does not let through"));
            }
            // What was refused would be missing from the transaction.
            phase => self.refusal = Some(Refusal { words: words.into_bytes(), closes: phase == Phase::Transaction }),
        }
    }

    fn protocol_error(&mut self, why: &str) {
        match self.phase {
            Phase::Replica | Phase::Subscribed => self.broken = Some(why.to_owned()),
            _ => self.refusal = Some(Refusal { words: format!("-ERR {why}\r\n").into_bytes(), closes: true }),
        }
    }

    // ---- From the target to the program ----

    /// Reads along what the target says; it goes to the program untouched.
    pub(in crate::link) fn hear(&mut self, bytes: &[u8]) {
        if matches!(self.phase, Phase::Replica | Phase::Subscribed | Phase::Closed) {
            return;
        }
        if self.tail.is_empty() {
            let read = self.read(bytes);
            self.tail.extend_from_slice(&bytes[read..]);
        } else {
            let mut tail = std::mem::take(&mut self.tail);
            tail.extend_from_slice(bytes);
            let read = self.read(&tail);
            tail.drain(..read);
            self.tail = tail;
        }
        if matches!(self.phase, Phase::Replica | Phase::Subscribed) {
            self.tail = Vec::new();
        }
    }

    fn read(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            if self.answers.is_fresh() {
                if self.phase == Phase::Syncing && self.unanswered <= 1 {
                    return at + self.answer_to_sync(&bytes[at..]);
                }
                self.unasked = bytes[at] == b'>';
            }
            match self.answers.advance(&bytes[at..]) {
                Err(error) => {
                    self.broken = Some(format!("what the target says is none of Redis's: {error}"));
                    return bytes.len();
                }
                Ok(scanned) => {
                    at += scanned.consumed;
                    if !scanned.done {
                        break;
                    }
                    self.unanswered = self.unanswered.saturating_sub(u64::from(!self.unasked));
                }
            }
        }
        at
    }

    /// Everything but an error makes it a replica's connection, where no word but its own passes.
    fn answer_to_sync(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                // A master that is not ready says so by empty lines.
                b'\n' if self.line.is_empty() => {}
                b'\n' => {
                    let refused = self.line.first() == Some(&b'-');
                    (self.unanswered, self.line) = (0, Vec::new());
                    self.phase = if refused { Phase::Commands } else { Phase::Replica };
                    return at + 1 + if refused { self.read(&bytes[at + 1..]) } else { 0 };
                }
                byte => self.line.push(*byte),
            }
            if self.line.len() > LINE {
                self.broken = Some("the target's answer to PSYNC is none of Redis's".to_owned());
                break;
            }
        }
        bytes.len()
    }

    /// The target has ended: nobody answers any more.
    pub(in crate::link) fn ended(&mut self) {
        self.phase = Phase::Closed;
        self.refusal = None;
        self.held = Vec::new();
    }

    pub(in crate::link) fn has_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// What is to be said now, instead of the reply to a command that was refused.
    pub(in crate::link) fn speak(&mut self) -> Option<Refusal> {
        if self.unanswered > 0 || !self.answers.is_fresh() || !self.tail.is_empty() {
            return None;
        }
        let refusal = self.refusal.take()?;
        if refusal.closes {
            self.ended();
        }
        Some(refusal)
    }

    /// Why the connection must be broken, once.
    pub(in crate::link) fn broken(&mut self) -> Option<String> {
        self.broken.take()
    }

    /// Commands refused since it was asked, and the name of the last one.
    pub(in crate::link) fn refused(&mut self) -> Option<(u64, &str)> {
        let refused = std::mem::take(&mut self.refused);
        (refused > 0).then_some((refused, self.last.as_str()))
    }
}

#[cfg(test)]
mod tests;
