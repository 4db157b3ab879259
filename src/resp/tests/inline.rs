//! Inline commands: every expectation here is what Redis 7.0 answered to the same line.

use crate::resp::inline::to_multibulk;
use crate::resp::request::{RequestError, arguments};

fn words(line: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let count = to_multibulk(line, &mut out).expect("balanced quotes");
    let words: Vec<Vec<u8>> = arguments(&out).map(<[u8]>::to_vec).collect();
    assert_eq!(words.len(), count as usize);
    words
}

#[test]
fn quoting_is_that_of_redis() {
    let table: [(&[u8], &[&[u8]]); 18] = [
        (b"PING\r\n", &[b"PING"]),
        (b"PING\n", &[b"PING"]),
        (b"  set   k\tv  \r\n", &[b"set", b"k", b"v"]),
        (b"echo \"a\\x41 b\\n\"\r\n", &[b"echo", b"aA b\n"]),
        (b"echo \"\\r\\n\\t\\b\\a\\\\\\\"\"", &[b"echo", b"\r\n\t\x08\x07\\\""]),
        (b"echo \"\\xzz\\q\"", &[b"echo", b"xzzq"]),
        (b"echo \"\\x4\"", &[b"echo", b"x4"]),
        (b"echo \"\\xFf\"", &[b"echo", b"\xff"]),
        (b"echo 'a\\'b'", &[b"echo", b"a'b"]),
        (b"echo 'a\\nb\"c'", &[b"echo", b"a\\nb\"c"]),
        (b"echo a\"b c\"", &[b"echo", b"ab c"]),
        (b"echo a'b c'", &[b"echo", b"ab c"]),
        (b"echo ''", &[b"echo", b""]),
        (b"\"\" ", &[b""]),
        // A vertical tab or form feed parts two words but is part of an unquoted one.
        (b"echo \x0bb", &[b"echo", b"b"]),
        (b"echo a\x0bb", &[b"echo", b"a\x0bb"]),
        (b"echo 'a'\x0b\"b\"\x0c", &[b"echo", b"a", b"b"]),
        (b"echo a\rb", &[b"echo", b"a", b"b"]),
    ];
    for (line, expected) in table {
        assert_eq!(words(line), expected, "{}", line.escape_ascii());
    }
}

#[test]
fn blank_lines_append_nothing() {
    for line in [&b""[..], b"\r\n", b"   \r\n", b"\x0b", b"\t \n"] {
        let mut out = b"before".to_vec();
        assert_eq!(to_multibulk(line, &mut out), Ok(0));
        assert_eq!(out, b"before");
    }
}

#[test]
fn unbalanced_quotes_are_refused() {
    for line in [&b"echo \"a"[..], b"echo 'a", b"echo \"a\"b", b"echo 'a'b", b"echo \"a\\", b"echo \"a\\\"", b"\"\r\n"]
    {
        let mut out = b"before".to_vec();
        let error = to_multibulk(line, &mut out).expect_err("unbalanced");
        assert_eq!(error, RequestError::UnbalancedQuotes, "{}", line.escape_ascii());
        assert_eq!(error.to_string(), "Protocol error: unbalanced quotes in request");
        assert_eq!(out, b"before");
    }
}
