//! What must hold of the parsers for any bytes whatever; panics where it does not.
//!
//! The fuzz targets feed it with bytes a fuzzer chose, the property tests with bytes a generator chose. It is
//! no part of the product. `redis-protocol`, an independent parser, is the oracle.

use redis_protocol::resp2::{self, types::OwnedFrame as Frame2};
use redis_protocol::resp3;

use crate::command::learned;
use crate::config;
use crate::link::fuzz as link;
use crate::resp::encode;
use crate::resp::inline;
use crate::resp::reply::ReplyScanner;
use crate::resp::request::{Bounds, Request, RequestScanner, arguments};
use crate::resp::value;
use crate::topology::observe;
use crate::topology::sentinel::{self, Replies as Round};

/// The first byte says into which pieces the rest is cut for the scanner of replies.
pub fn reply(data: &[u8]) {
    let Some((&seed, bytes)) = data.split_first() else {
        return;
    };
    let whole = replies(bytes, usize::MAX);
    for piece in [1, usize::from(seed).max(2)] {
        assert_eq!(replies(bytes, piece), whole, "pieces of {piece} bytes read otherwise");
    }
    agrees_with_oracle(bytes, whole.ends.first().copied(), whole.failed);
}

/// Frames of a link, and the compressed blocks in them. The first byte is the cut.
pub fn frame(data: &[u8]) {
    if let Some((&seed, bytes)) = data.split_first() {
        link::frames(seed, bytes);
    }
}

/// Commands under a link's policy. The first byte is the policy and the cut.
pub fn policy(data: &[u8]) {
    if let Some((&seed, bytes)) = data.split_first() {
        link::conversation(seed, bytes);
    }
}

/// A replica and its master, seen by a link. The first byte says which end it is, and the cut.
pub fn replication(data: &[u8]) {
    if let Some((&seed, bytes)) = data.split_first() {
        link::handshake(seed, bytes);
        link::replicate(seed, bytes);
    }
}

/// A configuration. The first byte is the environment.
pub fn config(data: &[u8]) {
    if let Some((&seed, Ok(text))) = data.split_first().map(|(seed, text)| (seed, std::str::from_utf8(text))) {
        config::fuzz::file(seed, text);
    }
}

/// What a node or a Sentinel answers when it is asked what it is. The first byte is the version of RESP.
pub fn answer(data: &[u8]) {
    let Some((&seed, bytes)) = data.split_first() else {
        return;
    };
    let (mut rest, mut values) = (bytes, Vec::new());
    while let Ok(Some((value, len))) = value::decode(rest, seed & 1 == 1) {
        assert!(len > 0, "a value of no bytes");
        rest = &rest[len..];
        observe::from_role(&value);
        observe::from_hello(&value);
        learned::lesson(b"get", &value, seed & 2 == 2);
        if let Some(text) = value.text() {
            observe::from_info(text);
            sentinel::notice("+switch-master", text, "main");
            sentinel::notice("+promoted-slave", text, "main");
        }
        values.push(value);
    }
    if let [master, address, replicas, sentinels, id, info, ..] = &values[..] {
        sentinel::statement(&Round { master: Some(master), address, replicas, sentinels, id, info });
    }
}

/// What a scanner made of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Replies {
    /// Where each complete value ends.
    pub(crate) ends: Vec<usize>,
    /// Bytes consumed, complete values or not.
    pub(crate) consumed: usize,
    pub(crate) failed: bool,
}

/// Reads `bytes` as they would come over a connection, `piece` at a time.
pub(crate) fn replies(bytes: &[u8], piece: usize) -> Replies {
    let mut scanner = ReplyScanner::new();
    let mut read = Replies { ends: Vec::new(), consumed: 0, failed: false };
    let mut came = 0;
    while came < bytes.len() {
        came = came.saturating_add(piece).min(bytes.len());
        loop {
            let Ok(step) = scanner.advance(&bytes[read.consumed..came]) else {
                // How far it came before the error is of no interest: the connection is closed.
                return Replies { consumed: 0, failed: true, ..read };
            };
            read.consumed += step.consumed;
            assert!(read.consumed <= came, "consumed bytes that had not come");
            assert!(scanner.outstanding() == 0 || read.consumed == came, "left payload lying about");
            if !step.done {
                break;
            }
            assert!(step.consumed > 0 && scanner.is_fresh());
            read.ends.push(read.consumed);
        }
    }
    read
}

/// Where both parsers give a verdict on the first value, it is the same. The scanner refuses more (lengths such
/// as `+1`) and reads over numbers that the oracle checks, so a refusal by one alone proves nothing.
fn agrees_with_oracle(bytes: &[u8], first: Option<usize>, failed: bool) {
    // The oracle recurses, and it alone knows streamed types.
    let nested = bytes.iter().filter(|byte| b"*%~>|".contains(byte)).count();
    if failed || nested > 100 || bytes.contains(&b'?') {
        return;
    }
    match resp3::decode::complete::decode(bytes) {
        Ok(Some((_, len))) => assert_eq!(first, Some(len), "the oracle ends the value at {len}"),
        Ok(None) => assert_eq!(first, None, "the oracle waits for more"),
        Err(_) => {}
    }
}

/// The first byte says into which pieces the rest is cut for the scanner of requests.
pub fn request(data: &[u8]) {
    let Some((&seed, bytes)) = data.split_first() else {
        return;
    };
    // Odd seeds are clients that have not authenticated.
    let bounds = if seed & 1 == 0 { Bounds::AUTHENTICATED } else { Bounds::UNAUTHENTICATED };
    let whole = requests(bytes, usize::MAX, &bounds);
    for piece in [1, usize::from(seed).max(2)] {
        assert_eq!(requests(bytes, piece, &bounds), whole, "pieces of {piece} bytes read otherwise");
    }
    assert_eq!(streamed(bytes, usize::from(seed), &bounds), whole.commands(), "forgetting changed the ends");
}

/// What a scanner made of a client's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Requests {
    /// Each request and where it ends.
    pub(crate) read: Vec<(Request, usize)>,
    pub(crate) error: Option<String>,
}

impl Requests {
    fn commands(&self) -> (Vec<usize>, bool) {
        (self.read.iter().map(|(_, end)| *end).collect(), self.error.is_some())
    }
}

/// Reads `bytes` as they would come from a client, `piece` at a time, and verifies every frame.
pub(crate) fn requests(bytes: &[u8], piece: usize, bounds: &Bounds) -> Requests {
    let mut scanner = RequestScanner::new();
    let mut read = Requests { read: Vec::new(), error: None };
    let (mut start, mut came) = (0, 0);
    while came < bytes.len() {
        came = came.saturating_add(piece).min(bytes.len());
        loop {
            let buf = &bytes[start..came];
            let request = match scanner.scan(buf, bounds) {
                Ok(request) => request,
                Err(error) => {
                    read.error = Some(error.to_string());
                    return read;
                }
            };
            let len = match request {
                Request::Incomplete => break,
                Request::Command(frame) => {
                    canonical(&buf[..frame.len], request);
                    frame.len
                }
                Request::Inline { len } => {
                    inline_is_canonical(&buf[..len]);
                    len
                }
                Request::Blank { len } => len,
            };
            assert!(len > 0 && scanner.is_fresh());
            start += len;
            read.read.push((request, start));
        }
        assert!(scanner.passed(came - start) <= came - start);
    }
    read
}

/// The ends of all requests when everything passed is taken away after each piece, as a session does that
/// streams a large command on.
fn streamed(bytes: &[u8], piece: usize, bounds: &Bounds) -> (Vec<usize>, bool) {
    let mut scanner = RequestScanner::new();
    let mut ends = Vec::new();
    let (mut start, mut came) = (0, 0);
    while came < bytes.len() {
        came = (came + piece.max(1)).min(bytes.len());
        loop {
            match scanner.scan(&bytes[start..came], bounds) {
                Err(_) => return (ends, true),
                Ok(Request::Incomplete) => break,
                Ok(Request::Command(frame)) => start += frame.len,
                Ok(Request::Inline { len } | Request::Blank { len }) => start += len,
            }
            ends.push(start);
        }
        let announced = scanner.announced();
        let passed = scanner.passed(came - start);
        scanner.forget(passed);
        assert_eq!(scanner.announced(), announced - passed as u64, "what is left is less by what went");
        start += passed;
    }
    (ends, false)
}

/// The frame means to the oracle what it means to Redan, and could be written in no other way: then no server
/// can read anything else in it.
fn canonical(frame: &[u8], request: Request) {
    let Request::Command(spans) = request else {
        return;
    };
    let read: Vec<&[u8]> = arguments(frame).collect();
    assert_eq!(read.len(), spans.arguments as usize);
    assert_eq!(read.first().copied(), Some(spans.name.of(frame)));
    assert_eq!(read.get(1).copied(), spans.second.map(|span| span.of(frame)));
    let mut written = Vec::new();
    encode::command(&mut written, &read);
    assert_eq!(written, frame, "not the canonical form");
    let wanted = Frame2::Array(read.iter().map(|argument| Frame2::BulkString(argument.to_vec())).collect());
    match resp2::decode::decode(frame) {
        Ok(Some((decoded, len))) => assert_eq!((decoded, len), (wanted, frame.len())),
        other => panic!("the oracle says {other:?}"),
    }
}

/// An inline command becomes a frame that holds to the same rules.
fn inline_is_canonical(line: &[u8]) {
    let mut out = b"before".to_vec();
    match inline::to_multibulk(line, &mut out) {
        Ok(count) if count > 0 => match RequestScanner::new().scan(&out[6..], &Bounds::AUTHENTICATED) {
            Ok(request @ Request::Command(frame)) => {
                assert_eq!((frame.len, frame.arguments), (out.len() - 6, count));
                canonical(&out[6..], request);
            }
            other => panic!("inline became {other:?}"),
        },
        Ok(_) | Err(_) => assert_eq!(out, b"before"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// A fuzz target's name, and what it calls.
    type Target = (&'static str, fn(&[u8]));

    const TARGETS: [Target; 7] = [
        ("answer", super::answer),
        ("config", super::config),
        ("frame", super::frame),
        ("policy", super::policy),
        ("replication", super::replication),
        ("reply", super::reply),
        ("request", super::request),
    ];

    fn names(folder: &str) -> Vec<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder);
        let entries = fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("it can be listed"));
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn every_seed_holds_and_every_target_has_some() {
        assert_eq!(names("seeds"), TARGETS.map(|(name, _)| name));
        assert_eq!(names("fuzz_targets"), TARGETS.map(|(name, _)| format!("{name}.rs")));
        for (name, target) in TARGETS {
            let seeds = format!("seeds/{name}");
            assert!(names(&seeds).len() > 4, "{seeds}");
            for seed in names(&seeds) {
                println!("{seeds}/{seed}");
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(&seeds).join(seed);
                target(&fs::read(path).expect("it can be read"));
            }
        }
    }
}
