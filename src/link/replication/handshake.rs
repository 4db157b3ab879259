//! What a replica says before its data: read command by command, with the address in it that the operator gave.
//!
//! Used by `replication` at either end of a link. Bytes are changed in REPLCONF alone, and never behind PSYNC, where each byte
//! counts in the replication offset. What is not understood passes untouched.

use crate::config::link::Announced;
use crate::resp::encode;
use crate::resp::inline::to_multibulk;
use crate::resp::request::{Bounds, Request, RequestScanner, arguments};

/// A handshake is some 400 bytes; a command that is longer than this is none of it.
const LONGEST: usize = 16 * 1024;

const BOUNDS: Bounds = Bounds { arguments: 64, bulk: LONGEST as u64, authenticated: true };

#[derive(Debug)]
pub(in crate::link) struct Handshake {
    announced: Option<Announced>,
    scanner: RequestScanner,
    /// What has not been passed on: a command that has not come as a whole, or what stands behind PSYNC.
    held: Vec<u8>,
    /// As it calls itself.
    address: Option<String>,
    port: Option<String>,
    /// As another process has known it.
    pub(super) known_as: Option<String>,
    channel: Channel,
    /// An exit hears what an entry asks the master.
    asked_before: bool,
}

/// What the connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::link) enum Channel {
    /// The only one of a replica, or the one that its stream comes over.
    Main,
    /// A replica's second one, for the data alone. Redis names the first one; Valkey does not.
    Rdb { main: Option<u64> },
    /// Somebody who takes a copy of the data and has none, such as `redis-cli --rdb`.
    Copy,
}

/// Where reading the commands came to.
#[derive(Debug)]
pub(in crate::link) enum Passed {
    Waits,
    Sync(Wish),
    /// It is no replica, or speaks of something that is not known here.
    Other,
}

/// PSYNC or SYNC, which was not passed on yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::link) struct Wish {
    pub(in crate::link) said: Vec<u8>,
    /// The history that the replica has; `None` when it asks for everything.
    pub(super) history: Option<String>,
    /// The number of the next byte that it wants of that history.
    pub(super) offset: u64,
}

/// One command.
enum Step {
    Greeting,
    Sync(Wish),
    Other,
}

impl Handshake {
    /// `asked_before`: another end of a link may have put its own questions before PSYNC.
    pub(in crate::link) fn new(announced: Option<Announced>, asked_before: bool) -> Self {
        Self {
            announced,
            scanner: RequestScanner::new(),
            held: Vec::new(),
            address: None,
            port: None,
            known_as: None,
            channel: Channel::Main,
            asked_before,
        }
    }

    /// Nothing was said that another one would have to know.
    pub(super) fn is_fresh(&self) -> bool {
        self.held.is_empty() && self.address.is_none() && self.port.is_none() && self.channel == Channel::Main
    }

    pub(super) fn channel(&self) -> Channel {
        self.channel
    }

    /// By what the replica is known, on whichever connection it comes. `who` is where it comes from, without a port.
    pub(super) fn name(&self, who: &str) -> String {
        if let Some(name) = &self.known_as {
            return name.clone();
        }
        if let Some(Announced { host, port }) = &self.announced {
            return format!("{host}:{port}");
        }
        let port = self.port.as_deref().unwrap_or("?");
        self.address.as_ref().map_or_else(|| format!("{who}:{port}"), |address| format!("{who} {address}:{port}"))
    }

    pub(in crate::link) fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// What was pushed and not passed on; nothing is kept.
    pub(in crate::link) fn give_back(&mut self) -> Vec<u8> {
        self.scanner = RequestScanner::new();
        std::mem::take(&mut self.held)
    }

    /// Gives out what the master shall read, and counts its commands, each of which will be answered.
    pub(in crate::link) fn pass(&mut self, out: &mut Vec<u8>, commands: &mut u32) -> Passed {
        let mut at = 0;
        let passed = loop {
            let rest = &self.held[at..];
            let (said, command) = match self.scanner.scan(rest, &BOUNDS) {
                Ok(Request::Incomplete) if rest.len() <= LONGEST && may_begin(rest) => break Passed::Waits,
                Ok(Request::Command(frame)) => (rest[..frame.len].to_vec(), rest[..frame.len].to_vec()),
                // Servers before 6.2 speak so to their masters.
                Ok(Request::Inline { len }) => {
                    let mut command = Vec::new();
                    if to_multibulk(&rest[..len], &mut command).is_err() {
                        break Passed::Other;
                    }
                    (rest[..len].to_vec(), command)
                }
                // A replica says nothing else. Newer ones may: then it is not changed, and works as without a link.
                _ => break Passed::Other,
            };
            at += said.len();
            match self.take(&command, said, out) {
                Step::Greeting => *commands = commands.saturating_add(1),
                Step::Sync(wish) => break Passed::Sync(wish),
                Step::Other => break Passed::Other,
            }
        };
        self.held.drain(..at);
        passed
    }

    /// `said` are the bytes that meant `command`.
    fn take(&mut self, command: &[u8], said: Vec<u8>, out: &mut Vec<u8>) -> Step {
        let words: Vec<&[u8]> = arguments(command).collect();
        let name = words.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
        match &name[..] {
            b"REPLCONF" => {
                self.learn(&words);
                match &self.announced {
                    Some(announced) => rewrite(announced, &words, out),
                    None => out.extend_from_slice(&said),
                }
                Step::Greeting
            }
            b"INFO" if !self.asked_before => {
                out.extend_from_slice(&said);
                Step::Other
            }
            b"PING" | b"AUTH" | b"INFO" => {
                out.extend_from_slice(&said);
                Step::Greeting
            }
            b"PSYNC" | b"SYNC" => Step::Sync(wish(&words, said)),
            _ => {
                out.extend_from_slice(&said);
                Step::Other
            }
        }
    }

    fn learn(&mut self, words: &[&[u8]]) {
        for pair in words.get(1..).unwrap_or_default().chunks_exact(2) {
            let text = || String::from_utf8_lossy(pair[1]).into_owned();
            match &pair[0].to_ascii_lowercase()[..] {
                b"listening-port" => self.port = Some(text()),
                b"ip-address" => self.address = Some(text()),
                b"rdb-channel" if pair[1] == b"1" => self.channel = Channel::Rdb { main: self.main() },
                b"main-ch-client-id" => self.channel = Channel::Rdb { main: text().parse().ok() },
                b"rdb-only" if pair[1] == b"1" && self.channel == Channel::Main => self.channel = Channel::Copy,
                _ => {}
            }
        }
    }

    fn main(&self) -> Option<u64> {
        match self.channel {
            Channel::Rdb { main } => main,
            _ => None,
        }
    }
}

fn wish(words: &[&[u8]], said: Vec<u8>) -> Wish {
    let history = words.get(1).filter(|history| **history != b"?");
    let history = history.and_then(|history| std::str::from_utf8(history).ok()).map(str::to_owned);
    let offset = words.get(2).and_then(|offset| std::str::from_utf8(offset).ok()).and_then(|text| text.parse().ok());
    Wish { said, history, offset: offset.unwrap_or(0) }
}

/// Whether these bytes may be the beginning of a handshake's command. Anything else must not be kept waiting for an end of the line
/// that need not come.
fn may_begin(bytes: &[u8]) -> bool {
    let word = bytes.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default().to_ascii_uppercase();
    let ended = word.len() < bytes.len();
    let names: [&[u8]; 5] = [b"PING", b"AUTH", b"REPLCONF", b"PSYNC", b"SYNC"];
    bytes.first().is_none_or(|byte| *byte == b'*')
        || names.iter().any(|name| if ended { *name == word } else { name.starts_with(&word) })
}

/// One REPLCONF for one: the master answers each with one `+OK`, for which the replica waits.
fn rewrite(announced: &Announced, words: &[&[u8]], out: &mut Vec<u8>) {
    let port = announced.port.to_string();
    let mut changed: Vec<&[u8]> = words.to_vec();
    let mut says_address = false;
    let mut says_port = false;
    for pair in changed.get_mut(1..).unwrap_or_default().chunks_exact_mut(2) {
        if pair[0].eq_ignore_ascii_case(b"listening-port") {
            pair[1] = port.as_bytes();
            says_port = true;
        } else if pair[0].eq_ignore_ascii_case(b"ip-address") {
            pair[1] = announced.host.as_bytes();
            says_address = true;
        }
    }
    if says_port && !says_address {
        changed.extend([b"ip-address", announced.host.as_bytes()]);
    }
    encode::command(out, &changed);
}
