//! Replies: ends of values, however they are nested, cut, concatenated or broken.

use proptest::prelude::*;
use redis_protocol::{resp2, resp3};

use super::{cuts, garbage};
use crate::fuzzing;
use crate::limits;
use crate::resp::reply::{ReplyError, ReplyScanner, Scanned};

/// A scalar of either protocol version.
fn scalar() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => payload().prop_map(|text| bulk(b'$', &text)),
        2 => "[ -~]{0,40}".prop_map(|text| format!("+{text}\r\n").into_bytes()),
        1 => "[A-Z]{1,12} [ -~]{0,40}".prop_map(|text| format!("-{text}\r\n").into_bytes()),
        2 => any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
    ]
}

/// Payloads hold every byte, line ends and type bytes included.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(b"\r\n$5\r\nhello\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..300),
    ]
}

fn bulk(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend_from_slice(format!("{}\r\n", payload.len()).as_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
    out
}

fn aggregate(kind: char, count: usize, values: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("{kind}{count}\r\n").into_bytes();
    out.extend(values.concat());
    out
}

fn resp2_value() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![8 => scalar(), 1 => Just(b"$-1\r\n".to_vec()), 1 => Just(b"*-1\r\n".to_vec())];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop::collection::vec(inner, 0..8).prop_map(|values| aggregate('*', values.len(), &values))
    })
}

fn resp3_scalar() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => scalar(),
        1 => prop::sample::select(vec!["#t\r\n", "#f\r\n", ",1.5\r\n", ",-inf\r\n", "(123456789012345678901234567890\r\n"])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => "[ -~]{0,40}".prop_map(|text| bulk(b'=', format!("txt:{text}").as_bytes())),
        1 => "[ -~]{1,40}".prop_map(|text| bulk(b'!', text.as_bytes())),
    ]
}

/// Keys of maps and members of sets are scalars, because the oracle hashes them; nulls carry no attributes,
/// because the oracle has no place for those.
fn resp3_value() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![6 => resp3_scalar(), 1 => Just(b"_\r\n".to_vec())];
    leaf.prop_recursive(5, 60, 8, |inner| {
        let pairs = prop::collection::vec((resp3_scalar(), inner.clone()).prop_map(|(k, v)| [k, v].concat()), 0..5).boxed();
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 0..8).prop_map(|values| aggregate('*', values.len(), &values)),
            1 => prop::collection::vec(resp3_scalar(), 0..8).prop_map(|values| aggregate('~', values.len(), &values)),
            2 => pairs.clone().prop_map(|pairs| aggregate('%', pairs.len(), &pairs)),
            1 => (pairs, resp3_scalar()).prop_map(|(pairs, value)| [aggregate('|', pairs.len(), &pairs), value].concat()),
        ]
    })
}

/// What must hold of a value, wherever it is cut.
fn ends_where_it_ends(value: &[u8]) {
    let mut scanner = ReplyScanner::new();
    assert_eq!(scanner.advance(value), Ok(Scanned { consumed: value.len(), done: true }));
    assert!(scanner.is_fresh());
    for cut in cuts(value) {
        let mut scanner = ReplyScanner::new();
        let first = scanner.advance(&value[..cut]).expect("a truncated value is no error");
        assert_eq!(first.done, cut == value.len(), "cut at {cut}");
        assert_eq!(scanner.is_fresh(), first.consumed == 0 || first.done);
        if !first.done {
            let rest = value.len() - first.consumed;
            assert!(scanner.outstanding() <= rest as u64);
            assert_eq!(scanner.advance(&value[first.consumed..]), Ok(Scanned { consumed: rest, done: true }));
        }
    }
    assert_eq!(fuzzing::replies(value, 1).ends, [value.len()]);
}

proptest! {
    #[test]
    fn resp2_values_end_where_the_oracle_ends_them(value in resp2_value()) {
        let decoded = resp2::decode::decode(&value).expect("valid");
        prop_assert_eq!(decoded.map(|(_, len)| len), Some(value.len()));
        ends_where_it_ends(&value);
    }

    #[test]
    fn resp3_values_end_where_the_oracle_ends_them(value in resp3_value()) {
        let decoded = resp3::decode::complete::decode(&value).expect("valid");
        prop_assert_eq!(decoded.map(|(_, len)| len), Some(value.len()));
        ends_where_it_ends(&value);
    }

    #[test]
    fn concatenated_values_are_told_apart(values in prop::collection::vec(resp3_value(), 1..8), piece in 1..400_usize) {
        let ends: Vec<usize> =
            values.iter().scan(0, |end, value| { *end += value.len(); Some(*end) }).collect();
        let stream = values.concat();
        prop_assert_eq!(&fuzzing::replies(&stream, usize::MAX).ends, &ends);
        prop_assert_eq!(&fuzzing::replies(&stream, piece).ends, &ends);
    }

    #[test]
    fn garbage_is_read_alike_in_every_cut(bytes in garbage()) {
        fuzzing::reply(&bytes);
    }

    #[test]
    fn broken_values_are_read_alike_in_every_cut(
        value in resp3_value(), at in any::<prop::sample::Index>(), byte in any::<u8>(), seed in any::<u8>()
    ) {
        let mut broken = [vec![seed], value].concat();
        let at = 1 + at.index(broken.len() - 1);
        broken[at] = byte;
        fuzzing::reply(&broken);
    }
}

#[test]
fn depth_costs_nothing() {
    let mut nested = b"*1\r\n".repeat(1_000_000);
    nested.extend_from_slice(b":1\r\n");
    assert_eq!(ReplyScanner::new().advance(&nested), Ok(Scanned { consumed: nested.len(), done: true }));
}

#[test]
fn refuses_what_is_not_a_reply() {
    let error = |bytes: &[u8]| ReplyScanner::new().advance(bytes).expect_err("not RESP");
    assert_eq!(error(b"HTTP/1.1 400 Bad Request\r\n"), ReplyError::Type(b'H'));
    assert_eq!(error(b"\x15\x03\x03\x00\x02\x02\x28"), ReplyError::Type(0x15));
    // RESP3's streamed types, which no server sends, and the parts of them.
    assert_eq!(error(b"$?\r\n"), ReplyError::Length);
    assert_eq!(error(b"*?\r\n"), ReplyError::Length);
    assert_eq!(error(b";4\r\n"), ReplyError::Type(b';'));
    assert_eq!(error(b".\r\n"), ReplyError::Type(b'.'));
    for length in ["$-2", "*-2", "%-1", "~-1", ">-1", "=-1", "!-1", "|-1", "$01", "$+1", "$ 1", "$", "*1x", "$1\n"] {
        assert_eq!(error(format!("{length}\r\n").as_bytes()), ReplyError::Length, "{length}");
        // With a payload of that length behind it, which is what the fast path sees.
        assert_eq!(error(format!("{length}\r\nx\r\n").as_bytes()), ReplyError::Length, "{length}");
    }
    assert_eq!(error(b"$9223372036854775808\r\n"), ReplyError::Length);
    assert_eq!(error(b"*2\r\n*9223372036854775807\r\n*9223372036854775807\r\n*9\r\n"), ReplyError::TooMany);
    assert_eq!(error(b"%9223372036854775807\r\n%9223372036854775807\r\n"), ReplyError::TooMany);
    assert_eq!(error(b"$3\r\nGETxx"), ReplyError::Terminator);
    assert_eq!(error(b"$3\r\nGET\rx"), ReplyError::Terminator);
    assert_eq!(error(b"$3\r\nGETx"), ReplyError::Terminator);
    assert_eq!(error(b"_x\r\n"), ReplyError::Terminator);
    assert_eq!(error(b"#x\r\n"), ReplyError::Length);
}

#[test]
fn a_trailer_is_verified_across_reads() {
    for (first, second) in
        [(&b"$3\r\nGET"[..], &b"x\n"[..]), (b"$3\r\nGET\r", b"x"), (b"$3\r\nGET", b"\rx"), (b"$3\r\nGE", b"Tx")]
    {
        let mut scanner = ReplyScanner::new();
        assert_eq!(scanner.advance(first), Ok(Scanned { consumed: first.len(), done: false }));
        assert_eq!(scanner.advance(second), Err(ReplyError::Terminator));
    }
}

#[test]
fn a_large_bulk_is_consumed_as_far_as_it_goes() {
    let mut scanner = ReplyScanner::new();
    assert_eq!(scanner.advance(b"$5000000000\r\nabc"), Ok(Scanned { consumed: 16, done: false }));
    assert_eq!(scanner.outstanding(), 5_000_000_000 - 3 + 2);
    assert!(!scanner.is_fresh());
    let chunk = vec![b'x'; 1 << 20];
    let mut left = 5_000_000_000_usize - 3;
    while left > 0 {
        let piece = left.min(chunk.len());
        assert_eq!(scanner.advance(&chunk[..piece]), Ok(Scanned { consumed: piece, done: false }));
        left -= piece;
    }
    assert_eq!(scanner.advance(b"\r\n+OK\r\n"), Ok(Scanned { consumed: 2, done: true }));
    assert_eq!(scanner.outstanding(), 0);
}

#[test]
fn an_incomplete_line_stays_and_leaves_the_scanner_fresh() {
    let mut scanner = ReplyScanner::new();
    for line in ["-", "-READONLY You can't write against a read only replica.", "-READONLY …\r", "$12", "*"] {
        assert_eq!(scanner.advance(line.as_bytes()), Ok(Scanned { consumed: 0, done: false }), "{line}");
        assert!(scanner.is_fresh(), "{line}");
        scanner = ReplyScanner::new();
    }
}

#[test]
fn lines_have_limits_but_text_passes() {
    let number = [b"$".to_vec(), vec![b'1'; limits::INLINE]].concat();
    assert_eq!(ReplyScanner::new().advance(&number[..limits::INLINE]), Ok(Scanned { consumed: 0, done: false }));
    assert_eq!(ReplyScanner::new().advance(&number), Err(ReplyError::LongHeader));
    let ended = [&number[..], b"\r\n"].concat();
    assert_eq!(ReplyScanner::new().advance(&ended), Err(ReplyError::LongHeader));

    // What a script's `return {ok = string.rep('x', 200000)}` sends, between two other values.
    let status = [b"+".to_vec(), vec![b'x'; 200_000], b"\r\n".to_vec()].concat();
    let stream = [&b"*2\r\n"[..], &status, b":1\r\n+OK\r\n"].concat();
    let ends = [stream.len() - 5, stream.len()];
    for piece in [usize::MAX, 100_000, limits::INLINE + 5, 4096, 7] {
        assert_eq!(fuzzing::replies(&stream, piece).ends, ends, "pieces of {piece}");
    }
    // A CR at the end of a piece is the first half of the end only if an LF follows.
    let mut scanner = ReplyScanner::new();
    let text = [&b"-"[..], &vec![b'y'; limits::INLINE], b"\r"].concat();
    assert_eq!(scanner.advance(&text), Ok(Scanned { consumed: text.len() - 1, done: false }));
    assert!(!scanner.is_fresh());
    assert_eq!(scanner.advance(b"\ry\r"), Ok(Scanned { consumed: 2, done: false }));
    assert_eq!(scanner.advance(b"\r\n"), Ok(Scanned { consumed: 2, done: true }));
}

#[test]
fn an_attribute_belongs_to_the_value_behind_it() {
    let value =
        b"|1\r\n+key-popularity\r\n%1\r\n$1\r\na\r\n,0.19\r\n*2\r\n:2039123\r\n|1\r\n+ttl\r\n:3600\r\n:9543892\r\n";
    ends_where_it_ends(value);
}
