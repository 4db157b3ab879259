//! What must hold of a link's readers for any bytes whatever; panics where it does not. Here: of commands under a policy, and of a
//! replica's first words. No part of the product.

mod frame;
pub(super) mod replication;

pub(crate) use frame::frames;
pub(crate) use replication::conversation as replicate;

use std::sync::LazyLock;

use super::policy::conversation::{Conversation, WORD};
use super::policy::{Policy, Verdict};
use super::replication::handshake::{Handshake, Passed};
use crate::config::link::{Announced, Commands};
use crate::resp::request::{Bounds, Request, RequestScanner};

/// What came of a conversation in which the target answers each command as soon as it has read it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Came {
    passed: Vec<u8>,
    heard: Vec<u8>,
    broken: bool,
    closed: bool,
}

/// The first byte says which policy, and into which pieces the rest is cut.
pub(crate) fn conversation(seed: u8, bytes: &[u8]) {
    // Made once: it takes longer than most conversations.
    static POLICIES: LazyLock<[Option<Policy>; 3]> =
        LazyLock::new(|| [Commands::Replication, Commands::Sentinel, Commands::ReadOnly].map(Policy::new));
    let Some(policy) = &POLICIES[usize::from(seed) % 3] else { return };
    let whole = converse(policy, bytes, usize::MAX);
    for piece in [1, usize::from(seed).max(2)] {
        let cut = converse(policy, bytes, piece);
        // What turns out to be no command when some of it has passed breaks the connection; before that it is told.
        if !cut.broken && !whole.broken {
            assert_eq!(cut, whole, "pieces of {piece} bytes are judged otherwise");
        }
    }
    let mut passed = &whole.passed[..];
    // What has passed is read again by itself: nothing in it may be what the policy refuses.
    while let Ok(request) = RequestScanner::new().scan(passed, &Bounds::AUTHENTICATED) {
        passed = match request {
            Request::Command(frame) => {
                let (command, rest) = passed.split_at(frame.len);
                // As it was judged: no second word that counts is longer.
                let second = frame.second.map(|second| second.of(command)).filter(|second| second.len() <= WORD);
                let verdict = policy.judge(frame.name.of(command), second, Some(command));
                assert_eq!(verdict, Verdict::Passes, "it has passed: {}", command.escape_ascii());
                rest
            }
            Request::Blank { len } => &passed[len..],
            Request::Inline { .. } => panic!("a line has passed as it came"),
            Request::Incomplete => return,
        };
    }
    assert!(passed.is_empty(), "what has passed is no command");
}

fn converse(policy: &Policy, bytes: &[u8], piece: usize) -> Came {
    let (mut talk, mut came) = (Conversation::new("here"), Came::default());
    let mut scanned = 0;
    for mut part in bytes.chunks(piece) {
        while !part.is_empty() && !came.broken {
            let taken = talk.take(policy, part, &mut came.passed);
            part = &part[taken..];
            settle(policy, &mut talk, &mut came, &mut scanned);
            assert!(taken > 0 || came.broken || came.closed, "nothing is answered and nothing is taken");
        }
    }
    came
}

/// Until everything that passed was answered and everything refused was said.
fn settle(policy: &Policy, talk: &mut Conversation, came: &mut Came, scanned: &mut usize) {
    loop {
        if talk.broken().is_some() {
            came.broken = true;
            return;
        }
        let reply: &[u8] = match RequestScanner::new().scan(&came.passed[*scanned..], &Bounds::AUTHENTICATED) {
            Ok(Request::Command(frame)) => {
                let name = frame.name.of(&came.passed[*scanned..]).to_ascii_uppercase();
                *scanned += frame.len;
                if name == b"PSYNC" { b"+CONTINUE\r\n" } else { b"+OK\r\n" }
            }
            Ok(Request::Blank { len }) => {
                *scanned += len;
                b""
            }
            _ => match talk.speak() {
                None => return,
                Some(refusal) => {
                    came.heard.extend(refusal.words);
                    came.closed |= refusal.closes;
                    talk.go_on(policy, &mut came.passed);
                    continue;
                }
            },
        };
        came.heard.extend(reply);
        talk.hear(reply);
        talk.go_on(policy, &mut came.passed);
    }
}

/// A replica's words: untouched where no other address is given to it, as far as they have passed.
pub(crate) fn handshake(seed: u8, bytes: &[u8]) {
    for piece in [1, usize::from(seed).max(2), usize::MAX] {
        assert!(bytes.starts_with(&shaken(None, bytes, piece)), "pieces of {piece} bytes: a byte was changed");
        shaken(Some(Announced { host: "replica.dc2".to_owned(), port: 7000 }), bytes, piece);
    }
}

fn shaken(announced: Option<Announced>, bytes: &[u8], piece: usize) -> Vec<u8> {
    let (mut handshake, mut out, mut commands) = (Handshake::new(announced, false), Vec::new(), 0);
    let mut parts = bytes.chunks(piece);
    for part in parts.by_ref() {
        handshake.push(part);
        match handshake.pass(&mut out, &mut commands) {
            Passed::Waits => continue,
            Passed::Sync(wish) => out.extend(wish.said),
            Passed::Other => {}
        }
        out.extend(handshake.give_back());
        break;
    }
    parts.for_each(|part| out.extend_from_slice(part));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode;

    const WORDS: [&str; 24] = [
        "GET",
        "SET",
        "PING",
        "MULTI",
        "EXEC",
        "PSYNC",
        "SYNC",
        "REPLCONF",
        "SUBSCRIBE",
        "__sentinel__:hello",
        "CONFIG",
        "REWRITE",
        "FLUSHALL",
        "SENTINEL",
        "masters",
        "key",
        "?",
        "-1",
        "ACK",
        "CLIENT",
        "KILL",
        "RESET",
        "INFO",
        "",
    ];

    proptest::proptest! {
        #[test]
        fn any_bytes_are_judged_alike_however_they_are_cut(seed: u8, bytes: Vec<u8>) {
            conversation(seed, &bytes);
            handshake(seed, &bytes);
        }

        #[test]
        fn nearly_commands_are_judged_alike_however_they_are_cut(
            seed: u8,
            lines in proptest::collection::vec(proptest::collection::vec(0_usize..24, 1..5), 1..12),
            at: usize,
            by: u8,
        ) {
            let mut bytes = Vec::new();
            for line in &lines {
                let words: Vec<&str> = line.iter().map(|word| WORDS[*word]).collect();
                match words.len() % 2 {
                    0 => bytes.extend(words.join(" ").bytes().chain(*b"\r\n")),
                    _ => encode::command(&mut bytes, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>()),
                }
            }
            conversation(seed, &bytes);
            handshake(seed, &bytes);
            let length = bytes.len();
            if let Some(byte) = bytes.get_mut(at % length) {
                *byte = by;
            }
            conversation(seed, &bytes);
            handshake(seed, &bytes);
        }
    }
}
