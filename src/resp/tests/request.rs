//! Requests: ends of commands, exact refusals, and that no lenient reading slips through.

use proptest::prelude::*;

use super::{cuts, garbage};
use crate::fuzzing;
use crate::limits;
use crate::resp::encode;
use crate::resp::request::{Bounds, Frame, Request, RequestError, RequestScanner, Span, arguments};

const BOUNDS: Bounds = Bounds::AUTHENTICATED;

fn command() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let argument = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        Just(b"\r\n*1\r\n$4\r\nPING\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..200),
    ];
    prop::collection::vec(argument, 1..14)
}

fn encoded(command: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::command(&mut out, &command.iter().map(Vec::as_slice).collect::<Vec<_>>());
    out
}

fn scan(bytes: &[u8]) -> Result<Request, RequestError> {
    RequestScanner::new().scan(bytes, &BOUNDS)
}

fn complete(bytes: &[u8]) -> Frame {
    match scan(bytes) {
        Ok(Request::Command(frame)) => frame,
        other => panic!("{other:?}"),
    }
}

/// The error's words, the same whether the bytes come at once or one by one.
fn refusal(bytes: &[u8], bounds: &Bounds) -> String {
    let whole = fuzzing::requests(bytes, usize::MAX, bounds).error;
    assert_eq!(fuzzing::requests(bytes, 1, bounds).error, whole);
    whole.unwrap_or_default()
}

proptest! {
    #[test]
    fn commands_end_where_they_end_however_cut(command in command()) {
        let bytes = encoded(&command);
        let frame = complete(&bytes);
        prop_assert_eq!(frame.len, bytes.len());
        prop_assert_eq!(frame.arguments as usize, command.len());
        prop_assert_eq!(frame.name.of(&bytes), &command[0][..]);
        prop_assert_eq!(frame.second.map(|span| span.of(&bytes)), command.get(1).map(Vec::as_slice));
        prop_assert!(arguments(&bytes).eq(command.iter().map(Vec::as_slice)));
        for cut in cuts(&bytes) {
            let mut scanner = RequestScanner::new();
            let first = scanner.scan(&bytes[..cut], &BOUNDS).expect("truncated is no error");
            if cut == bytes.len() {
                prop_assert_eq!(first, Request::Command(frame));
                continue;
            }
            prop_assert_eq!(first, Request::Incomplete);
            prop_assert!(scanner.announced() <= bytes.len() as u64);
            prop_assert_eq!(scanner.is_fresh(), cut == 0);
            // A name is told as soon as it and its CRLF have come, and never before.
            let name = frame.name;
            let ended = (name.start + name.len) as usize + 2 <= cut;
            prop_assert_eq!(scanner.name(), ended.then_some(name));
            let second = frame.second.filter(|span| (span.start + span.len) as usize + 2 <= cut);
            prop_assert_eq!(scanner.second(), second);
            prop_assert_eq!(scanner.scan(&bytes, &BOUNDS), Ok(Request::Command(frame)));
            prop_assert!(scanner.is_fresh());
        }
    }

    #[test]
    fn pipelines_are_told_apart(commands in prop::collection::vec(command(), 1..8), piece in 1..500_usize) {
        let bytes: Vec<Vec<u8>> = commands.iter().map(|command| encoded(command)).collect();
        let ends: Vec<usize> = bytes.iter().scan(0, |end, one| { *end += one.len(); Some(*end) }).collect();
        let read = fuzzing::requests(&bytes.concat(), piece, &BOUNDS);
        prop_assert_eq!(read.error, None);
        prop_assert_eq!(read.read.iter().map(|(_, end)| *end).collect::<Vec<_>>(), ends);
    }

    #[test]
    fn forgetting_what_passed_changes_no_end(command in command(), cut in any::<prop::sample::Index>()) {
        let bytes = encoded(&command);
        let cut = cut.index(bytes.len());
        let mut scanner = RequestScanner::new();
        prop_assert_eq!(scanner.scan(&bytes[..cut], &BOUNDS), Ok(Request::Incomplete));
        let passed = scanner.passed(cut);
        scanner.forget(passed);
        match scanner.scan(&bytes[passed..], &BOUNDS) {
            Ok(Request::Command(frame)) => {
                prop_assert_eq!(frame.len, bytes.len() - passed);
                prop_assert_eq!(frame.arguments as usize, command.len());
                if passed > 0 {
                    prop_assert_eq!((frame.name, frame.second), (Span::default(), None));
                }
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn garbage_is_read_alike_in_every_cut(bytes in garbage()) {
        fuzzing::request(&bytes);
    }

    /// One byte of a valid pipeline replaced, inserted or removed: whatever is still taken for a command must
    /// be canonical, which `fuzzing::request` asserts of every frame.
    #[test]
    fn a_damaged_pipeline_is_never_read_leniently(
        commands in prop::collection::vec(command(), 1..4),
        at in any::<prop::sample::Index>(), byte in any::<u8>(), damage in 0..3, seed in any::<u8>()
    ) {
        let mut bytes: Vec<u8> = commands.iter().flat_map(|command| encoded(command)).collect();
        let at = at.index(bytes.len());
        match damage {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => { bytes.remove(at); }
        }
        bytes.insert(0, seed);
        fuzzing::request(&bytes);
    }
}

#[test]
fn refuses_in_the_words_of_redis() {
    let long = |start: &str| [start.as_bytes(), &vec![b'1'; limits::INLINE + 1]].concat();
    let table: [(&[u8], &str); 24] = [
        (b"*01\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*-0\r\n", "invalid multibulk length"),
        (b"*1x\r\n", "invalid multibulk length"),
        (b"*abc\rx", "invalid multibulk length"),
        (b"*1\n$4\r\nPING\r\n", "invalid multibulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*99999999999999999999\r\n", "invalid multibulk length"),
        (b"*1\r\n+OK\r\n", "expected '$', got '+'"),
        (b"*1\r\n*1\r\n", "expected '$', got '*'"),
        (b"*1\r\n\r\n", "expected '$', got '\r'"),
        (b"*1\r\n$04\r\n", "invalid bulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$\r\n", "invalid bulk length"),
        (b"*1\r\n$a\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\n$4\rxPING\r\n", "invalid CRLF in request"),
        (b"*1\rx$4\r\nPING\r\n", "invalid CRLF in request"),
        (b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n", "invalid CRLF in request"),
        (b"*1\r\n$4\r\nPING\rx", "invalid CRLF in request"),
        (&long("*"), "too big mbulk count string"),
        (&long("*1\r\n$"), "too big bulk count string"),
        (&long("PING"), "too big inline request"),
    ];
    for (bytes, words) in table {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
        assert_eq!(refusal(bytes, &BOUNDS), format!("Protocol error: {words}"), "{shown:?}");
    }
}

/// The same refusals where everything else of the command is there, which is what the fast path sees.
#[test]
fn complete_commands_are_refused_for_one_lenient_byte() {
    let canonical = "*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n";
    assert_eq!(complete(canonical.as_bytes()).arguments, 2);
    let damages =
        [("*2", "*02"), ("*2", "*+2"), ("*2", "* 2"), ("*2", "*2 "), ("$4", "$04"), ("$4", "$+4"), ("$2", "$02")];
    for (right, wrong) in damages {
        let bytes = canonical.replacen(right, wrong, 1);
        assert!(refusal(bytes.as_bytes(), &BOUNDS).ends_with("length"), "{bytes:?}");
    }
    // Each line end in turn loses its CR or its LF, or has them replaced or turned round.
    for (at, _) in canonical.match_indices("\r\n") {
        for wrong in ["\n", "\r", "\n\r", "xx", "\rx", "x\n", "\r\r\n", ""] {
            let bytes = [&canonical[..at], wrong, &canonical[at + 2..], canonical].concat();
            let read = fuzzing::requests(bytes.as_bytes(), usize::MAX, &BOUNDS);
            assert_eq!(read.read, [], "{bytes:?}");
            assert!(read.error.is_some(), "{bytes:?}");
        }
    }
}

#[test]
fn bounds_differ_before_authentication() {
    let before = Bounds::UNAUTHENTICATED;
    assert_eq!(refusal(b"*11\r\n", &before), "Protocol error: unauthenticated multibulk length");
    assert_eq!(refusal(b"*2147483647\r\n", &before), "Protocol error: unauthenticated multibulk length");
    assert_eq!(refusal(b"*2147483648\r\n", &before), "Protocol error: invalid multibulk length");
    assert_eq!(refusal(b"*1\r\n$16385\r\n", &before), "Protocol error: unauthenticated bulk length");
    assert_eq!(refusal(b"*1\r\n$536870913\r\n", &before), "Protocol error: invalid bulk length");
    // Complete commands take the fast path; it must know the bounds too.
    let many = encoded(&vec![b"x".to_vec(); 11]);
    assert_eq!(refusal(&many, &before), "Protocol error: unauthenticated multibulk length");
    let big = encoded(&[vec![b'x'; 16385]]);
    assert_eq!(
        fuzzing::requests(&big, usize::MAX, &before).error.as_deref(),
        Some("Protocol error: unauthenticated bulk length")
    );
    let allowed = encoded(&vec![vec![b'x'; 16384]; 10]);
    assert_eq!(fuzzing::requests(&allowed, usize::MAX, &before).read.len(), 1);
}

#[test]
fn blank_requests_are_skipped() {
    for bytes in [&b"*0\r\n"[..], b"*-1\r\n", b"*-5\r\n", b"*-9223372036854775808\r\n", b"\r\n", b"\n"] {
        assert_eq!(scan(bytes), Ok(Request::Blank { len: bytes.len() }), "{}", bytes.escape_ascii());
    }
    let read = fuzzing::requests(b"*0\r\n\r\n*1\r\n$4\r\nPING\r\nPING\r\n", 1, &BOUNDS);
    let kinds: Vec<bool> = read.read.iter().map(|(request, _)| matches!(request, Request::Blank { .. })).collect();
    assert_eq!(kinds, [true, true, false, false]);
}

#[test]
fn inline_ends_at_the_newline() {
    assert_eq!(scan(b"PING\r\nPING\r\n"), Ok(Request::Inline { len: 6 }));
    assert_eq!(scan(b"PING\n"), Ok(Request::Inline { len: 5 }));
    assert_eq!(scan(b" \r\n"), Ok(Request::Inline { len: 3 }));
    assert_eq!(scan(b"PING"), Ok(Request::Incomplete));
    // The limit counts only while no newline has come.
    let long = [&vec![b'x'; limits::INLINE + 10][..], b"\n"].concat();
    assert_eq!(scan(&long), Ok(Request::Inline { len: long.len() }));
    assert_eq!(scan(&long[..limits::INLINE]), Ok(Request::Incomplete));
}

#[test]
fn announces_the_least_that_is_to_come() {
    let mut scanner = RequestScanner::new();
    let announced = |scanner: &mut RequestScanner, bytes: &[u8]| {
        assert_eq!(scanner.scan(bytes, &BOUNDS), Ok(Request::Incomplete));
        scanner.announced()
    };
    assert_eq!(scanner.announced(), 0);
    // 4 bytes have come, and three arguments take at least `$0\r\n\r\n` each.
    assert_eq!(announced(&mut scanner, b"*3\r\n"), 4 + 18);
    assert_eq!(announced(&mut scanner, b"*3\r\n$3\r\nSE"), 4 + 9 + 12);
    assert_eq!(announced(&mut scanner, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n"), 20 + 10 + 1_000_000 + 2);
    scanner.forget(scanner.passed(30));
    assert_eq!(scanner.announced(), 1_000_002);
    assert_eq!((scanner.name(), scanner.second()), (None, None));
}

#[test]
fn a_large_argument_passes_in_pieces() {
    let mut scanner = RequestScanner::new();
    let head = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n";
    assert_eq!(scanner.scan(head, &BOUNDS), Ok(Request::Incomplete));
    assert_eq!(scanner.name().map(|span| span.of(head)), Some(&b"SET"[..]));
    assert_eq!(scanner.second().map(|span| span.of(head)), Some(&b"k"[..]));
    assert_eq!(scanner.passed(head.len()), head.len());
    scanner.forget(head.len());
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..512 {
        assert_eq!(scanner.scan(&chunk, &BOUNDS), Ok(Request::Incomplete));
        assert_eq!(scanner.passed(chunk.len()), chunk.len());
        scanner.forget(chunk.len());
    }
    // The first half of the trailer is not verified, so it stays.
    assert_eq!(scanner.scan(b"\r", &BOUNDS), Ok(Request::Incomplete));
    assert_eq!(scanner.passed(1), 0);
    let end = Frame { len: 2, arguments: 3, name: Span::default(), second: None };
    assert_eq!(scanner.scan(b"\r\n*1\r\n", &BOUNDS), Ok(Request::Command(end)));
    assert!(scanner.is_fresh());
}

#[test]
fn forgetting_unverified_bytes_is_noticed() {
    let mut scanner = RequestScanner::new();
    assert_eq!(scanner.scan(b"*2\r\n$3", &BOUNDS), Ok(Request::Incomplete));
    assert_eq!(scanner.passed(6), 4);
    scanner.forget(6);
    assert_eq!(scanner.scan(b"\r\nGET\r\n", &BOUNDS), Err(RequestError::LostPlace));
}

#[test]
fn arguments_of_other_bytes_end_without_panic() {
    for bytes in [
        &b""[..],
        b"*",
        b"*3\r\n",
        b"*2\r\n$3\r\nGET\r\n",
        b"*1\r\n$9\r\nGET\r\n",
        b"PING\r\n",
        b"*1\r\n$999999999\r\n",
    ] {
        assert!(arguments(bytes).count() <= 1, "{}", bytes.escape_ascii());
    }
}
