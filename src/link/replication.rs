//! The beginning of a replica's conversation with its master, read as it passes through an entry.
//!
//! Two things are done with it: the replica is announced to the master by the address that the operator gave it, and full and
//! partial syncs are counted. Pure. Bytes are changed in REPLCONF alone and never after PSYNC, where each byte counts in the
//! replication offset. What is not understood passes untouched, and nothing is looked at any more.

use crate::config::link::Announced;
use crate::resp::encode;
use crate::resp::inline::to_multibulk;
use crate::resp::request::{Bounds, Request, RequestScanner, arguments};

/// A handshake is some 400 bytes; a command that is longer than this is none of it.
const LONGEST: usize = 16 * 1024;

const BOUNDS: Bounds = Bounds { arguments: 64, bulk: LONGEST as u64, authenticated: true };

/// The longest line before the data: `+FULLRESYNC`, a replication ID and an offset have some 80 bytes.
const LINE: usize = 512;

/// Both sides of what may become a replica's connection.
#[derive(Debug)]
pub(super) struct Replication {
    pub(super) handshake: Handshake,
    pub(super) answer: Answer,
}

impl Replication {
    pub(super) fn new(announced: Option<Announced>) -> Self {
        Self { handshake: Handshake::new(announced), answer: Answer::default() }
    }

    /// Looks at bytes of the master, as long as there is something to see.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Option<Sync> {
        let asked = self.handshake.is_syncing();
        if !self.answer.looks() || (!asked && !self.handshake.looks()) {
            return None;
        }
        self.answer.look(bytes, asked)
    }
}

/// The replica's side: commands up to PSYNC.
#[derive(Debug)]
pub(super) struct Handshake {
    announced: Option<Announced>,
    scanner: RequestScanner,
    /// A command that has not come as a whole.
    held: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Commands are looked at.
    Greeting,
    /// PSYNC or SYNC went by.
    Syncing,
    /// It is no replica, or speaks of something that is not known here.
    Other,
}

impl Handshake {
    pub(super) fn new(announced: Option<Announced>) -> Self {
        Self { announced, scanner: RequestScanner::new(), held: Vec::new(), state: State::Greeting }
    }

    /// Whether bytes must still go through [`Self::pass`].
    pub(super) fn looks(&self) -> bool {
        self.state == State::Greeting
    }

    /// A replica asks for a sync on this connection.
    pub(super) fn is_syncing(&self) -> bool {
        self.state == State::Syncing
    }

    /// Takes bytes of the replica and gives out what the master shall read.
    pub(super) fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.held.extend_from_slice(bytes);
        let mut at = 0;
        while self.looks() {
            let rest = &self.held[at..];
            match self.scanner.scan(rest, &BOUNDS) {
                Ok(Request::Incomplete) if rest.len() <= LONGEST && may_begin(rest) => break,
                Ok(Request::Command(frame)) => {
                    let command = &rest[..frame.len];
                    at += frame.len;
                    self.state = self.take(command, command, out);
                }
                // Servers before 6.2 speak so to their masters.
                Ok(Request::Inline { len }) => {
                    let (line, mut command) = (&rest[..len], Vec::new());
                    let understood = to_multibulk(line, &mut command).is_ok();
                    at += len;
                    self.state = if understood { self.take(&command, line, out) } else { State::Other };
                    if !understood {
                        out.extend_from_slice(line);
                    }
                }
                // A replica says nothing else. Newer ones may: then it is not changed, and works as without a link.
                _ => self.state = State::Other,
            }
        }
        if !self.looks() {
            out.extend_from_slice(&self.held[at..]);
            self.held = Vec::new();
        } else {
            self.held.drain(..at);
        }
    }

    /// `said` are the bytes that meant `command`.
    fn take(&self, command: &[u8], said: &[u8], out: &mut Vec<u8>) -> State {
        let words: Vec<&[u8]> = arguments(command).collect();
        let name = words.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
        let state = match &name[..] {
            b"PING" | b"AUTH" | b"REPLCONF" => State::Greeting,
            b"PSYNC" | b"SYNC" => State::Syncing,
            _ => State::Other,
        };
        match &self.announced {
            Some(announced) if name == b"REPLCONF" => rewrite(announced, &words, out),
            _ => out.extend_from_slice(said),
        }
        state
    }
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
/// How a master answered a replica that asks for a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    Full,
    Partial,
}

/// The master's side: the lines before the data.
#[derive(Debug, Default)]
pub(super) struct Answer {
    line: Vec<u8>,
    done: bool,
}

impl Answer {
    pub(super) fn looks(&self) -> bool {
        !self.done
    }

    /// Looks at bytes of the master. `asked`: the replica has asked for a sync.
    pub(super) fn look(&mut self, bytes: &[u8], asked: bool) -> Option<Sync> {
        for byte in bytes {
            if self.done {
                break;
            }
            if *byte != b'\n' {
                self.line.push(*byte);
                self.done = self.line.len() > LINE;
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let sync = if line.starts_with(b"+FULLRESYNC") {
                Some(Sync::Full)
            } else if line.starts_with(b"+CONTINUE") {
                Some(Sync::Partial)
            } else {
                // Whoever has not asked gets short answers to a handshake; others are no replicas.
                self.done = !asked && !matches!(line.first(), Some(b'+' | b'-'));
                None
            };
            if asked && sync.is_some() {
                self.done = true;
                return sync;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced() -> Option<Announced> {
        Some(Announced { host: "replica.dc2".to_owned(), port: 7000 })
    }

    fn command(words: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode::command(&mut bytes, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
        bytes
    }

    /// What the master reads when the replica's bytes come in pieces.
    fn passed(said: &[u8], piece: usize, announced: Option<Announced>) -> (Vec<u8>, Handshake) {
        let (mut handshake, mut out) = (Handshake::new(announced), Vec::new());
        for part in said.chunks(piece) {
            match handshake.looks() {
                true => handshake.pass(part, &mut out),
                false => out.extend_from_slice(part),
            }
        }
        (out, handshake)
    }

    #[test]
    fn a_replica_is_announced_and_nothing_behind_psync_is_touched() {
        let behind = b"*3\r\n$8\r\nREPLCONF\r\n$14\r\nlistening-port\r\n$1\r\n1\r\n\n\n\0\xff".to_vec();
        let said = [
            command(&["PING"]),
            command(&["AUTH", "user", "secret"]),
            command(&["REPLCONF", "listening-port", "6379"]),
            command(&["REPLCONF", "ip-address", "10.0.0.1"]),
            command(&["REPLCONF", "capa", "eof", "capa", "psync2"]),
            command(&["PSYNC", "?", "-1"]),
            behind.clone(),
        ];
        let expected = [
            command(&["PING"]),
            command(&["AUTH", "user", "secret"]),
            command(&["REPLCONF", "listening-port", "7000", "ip-address", "replica.dc2"]),
            command(&["REPLCONF", "ip-address", "replica.dc2"]),
            command(&["REPLCONF", "capa", "eof", "capa", "psync2"]),
            command(&["PSYNC", "?", "-1"]),
            behind,
        ];
        let said = said.concat();
        for piece in [1, 2, 3, 7, 64, said.len()] {
            let (out, handshake) = passed(&said, piece, announced());
            assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&expected.concat()), "pieces of {piece}");
            assert!(handshake.is_syncing() && !handshake.looks());
            assert_eq!(passed(&said, piece, None).0, said);
        }
    }

    #[test]
    fn the_second_connection_of_a_replica_is_announced_too() {
        let said = command(&["REPLCONF", "rdb-only", "1", "rdb-channel", "1", "listening-port", "6379"]);
        let expected = command(&[
            "REPLCONF",
            "rdb-only",
            "1",
            "rdb-channel",
            "1",
            "listening-port",
            "7000",
            "ip-address",
            "replica.dc2",
        ]);
        assert_eq!(passed(&said, 5, announced()).0, expected);
    }

    #[test]
    fn old_servers_speak_in_lines() {
        let said = b"PING\r\nREPLCONF listening-port 6379\r\nREPLCONF capa eof\r\nPSYNC ? -1\r\nrest";
        let mut expected = b"PING\r\n".to_vec();
        expected.extend(command(&["REPLCONF", "listening-port", "7000", "ip-address", "replica.dc2"]));
        expected.extend(command(&["REPLCONF", "capa", "eof"]));
        expected.extend(b"PSYNC ? -1\r\nrest");
        assert_eq!(passed(said, 4, announced()).0, expected);
    }

    #[test]
    fn what_is_no_replica_passes_untouched() {
        let long = command(&["PING", &"x".repeat(20_000)]);
        for said in [
            command(&["GET", "key"]),
            b"PING\r\nSET a b\r\n".to_vec(),
            b"\x16\x03\x01\x02\x00garbage".to_vec(),
            b"*2\r\n$4\r\nPINGxx".to_vec(),
            b"SSH-2.0-client".to_vec(),
            b"PRI * HTTP/2.0".to_vec(),
            b"\r\n".to_vec(),
            long,
            [command(&["PING"]), command(&["INFO"]), command(&["REPLCONF", "listening-port", "1"])].concat(),
        ] {
            for piece in [1, 5, said.len()] {
                let (out, handshake) = passed(&said, piece, announced());
                assert_eq!(out, said, "{:?}", String::from_utf8_lossy(&said));
                assert!(!handshake.looks());
            }
        }
    }

    #[test]
    fn answers_are_told_apart() {
        let look = |text: &str, piece: usize, asked: bool| {
            let mut answer = Answer::default();
            let found = text.as_bytes().chunks(piece).filter_map(|part| answer.look(part, asked)).next();
            (found, answer.looks())
        };
        let full = "+PONG\r\n+OK\r\n\n\n+FULLRESYNC 8371b4fb1155b71f4a04d3e1bc3e18c4a990aeeb 1\r\n$EOF:";
        for piece in [1, 3, 1000] {
            assert_eq!(look(full, piece, true), (Some(Sync::Full), false));
            assert_eq!(look("+CONTINUE\r\n+FULLRESYNC\r\n", piece, true), (Some(Sync::Partial), false));
            assert_eq!(look("-NOMASTERLINK Can't SYNC\r\n", piece, true), (None, true));
            assert_eq!(look("$5\r\nvalue\r\n", piece, false), (None, false));
        }
    }
}
