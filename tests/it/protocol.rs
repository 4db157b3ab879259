//! What is not the protocol, or barely: every case once directly and once through Redan, byte for byte.

use std::io::Write;

use crate::support::client::{Client, bulk, command};
use crate::support::endpoint::Endpoint;
use crate::support::redis::Redis;

/// How a case is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Whole,
    Bytes,
}

/// Everything that comes until the server closes. It may do so before it has read all.
fn answers(address: &str, bytes: &[u8], cut: Cut) -> Vec<u8> {
    let mut client = Client::connect(address);
    let pieces: Vec<&[u8]> = if cut == Cut::Whole { vec![bytes] } else { bytes.chunks(1).collect() };
    for piece in pieces {
        if client.stream().write_all(piece).is_err() {
            break;
        }
    }
    client.rest_bytes()
}

fn compare(redis: &Redis, endpoint: &Endpoint, before: &[u8], cases: &[&[u8]]) {
    for case in cases {
        let bytes = [before, case].concat();
        let cuts: &[Cut] = if bytes.len() > 300 { &[Cut::Whole] } else { &[Cut::Whole, Cut::Bytes] };
        for cut in cuts {
            let [direct, through] =
                [redis.address(), endpoint.address()].map(|address| answers(&address, &bytes, *cut));
            let shown = String::from_utf8_lossy(&case[..case.len().min(60)]).into_owned();
            assert!(!direct.is_empty(), "{shown:?} is not answered");
            assert_eq!(
                String::from_utf8_lossy(&through),
                String::from_utf8_lossy(&direct),
                "{shown:?}, {} bytes, sent {cut:?}",
                case.len()
            );
            assert_eq!(through, direct, "{shown:?}");
        }
    }
}

const QUIT: &[u8] = b"*1\r\n$4\r\nQUIT\r\n";

fn quit(bytes: &[u8]) -> Vec<u8> {
    [bytes, QUIT].concat()
}

#[test]
fn lengths_and_counts() {
    let redis = Redis::start();
    let endpoint = Endpoint::of(&[&redis], "");
    let echo = command(&["ECHO", "before"]);
    let digits = |start: &str, digits: usize| [start.as_bytes(), &vec![b'1'; digits]].concat();
    let cases: &[&[u8]] = &[
        b"*x\r\n",
        b"*\r\n",
        b"* 1\r\n$4\r\nPING\r\n",
        b"*1 \r\n$4\r\nPING\r\n",
        b"*+1\r\n$4\r\nPING\r\n",
        b"*01\r\n$4\r\nPING\r\n",
        b"*-0\r\n",
        b"*00\r\n",
        b"*2147483648\r\n",
        b"*3000000000\r\n",
        b"*99999999999999999999\r\n",
        b"*-99999999999999999999\r\n",
        b"*1\n$4\nPING\n\r\n",
        b"*1\r\n:4\r\n",
        b"*1\r\n*1\r\n",
        b"*1\r\nPING\r\n",
        b"*1\r\n'abc\r\n",
        b"*1\r\n\x01abc\r\n",
        b"*1\r\n\xffabc\r\n",
        b"*1\r\n\r\n",
        b"*1\r\n$x\r\n",
        b"*1\r\n$\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$04\r\nPING\r\n",
        b"*1\r\n$+4\r\nPING\r\n",
        b"*1\r\n$536870913\r\n",
        b"*1\r\n$99999999999999999999\r\n",
        &digits("*", 70_000),
        &digits("*1\r\n$", 70_000),
        // Nothing is answered to what asks nothing.
        &quit(b"*0\r\n*-1\r\n*-2147483649\r\n"),
        &quit(b"*1\r\n$0\r\n\r\n"),
        &quit(b"*2\r\n$0\r\n\r\n$1\r\na\r\n"),
        &quit(b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$0\r\n\r\n"),
        // A NUL is a byte like any other where its length was said.
        &quit(b"*2\r\n$4\r\nECHO\r\n$3\r\na\0b\r\n"),
        &quit(b"*1\r\n$4\r\nPI\0G\r\n"),
        b"*1\r\n$4\r\nQUIT\r\n*1\r\n$1x",
    ];
    compare(&redis, &endpoint, &echo, cases);
}

#[test]
fn lines_of_text() {
    let redis = Redis::start();
    let endpoint = Endpoint::of(&[&redis], "");
    let echo = command(&["ECHO", "before"]);
    let line = |length: usize, end: &str| [&vec![b'x'; length][..], end.as_bytes()].concat();
    let cases: &[&[u8]] = &[
        b"SET \"a\r\n",
        b"SET 'a\r\n",
        b"\"\r\n",
        b"'\n",
        b"SET k 1\r\nGET k\r\nSET 'a\r\n",
        b"MULTI\r\nGET k\r\nSET 'a\r\n",
        &line(70_000, ""),
        &quit(&line(65_000, "\r\n")),
        &quit(b"\r\n\n\r\n"),
        &quit(b"   PING   \r\n"),
        &quit(b"\tPING\r\n"),
        &quit(b"PING\rX\r\n"),
        &quit(b"PING\r\r\n"),
        &quit(b"ECHO \"a\\x00b\"\r\n"),
        &quit(b"ECHO 'a\\'b'\r\n"),
        &quit(b"ECHO \"\\n\\r\\t\\b\\a\\q\\xzz\\x4\"\r\n"),
        &quit(b"ECHO \"\"\r\nECHO ''\r\nECHO a\"b\"\r\n"),
        &quit(b"ECHO a\x0bb\r\nECHO a\x0cb\r\n"),
        &quit(b"$4\r\nPING\r\n"),
        &quit(b"+PING\r\n:1\r\n-ERR\r\n"),
        b"QUIT\r\nPING\r\n",
    ];
    compare(&redis, &endpoint, &echo, cases);
    // Valkey 9 goes on with an argument behind its closing quote.
    if redis.valkey().is_none_or(|major| major < 9) {
        let glued: &[&[u8]] = &[b"SET \"a\"b\r\n", b"SET 'a'b\r\n", b"SET \"a\\\"\r\n"];
        compare(&redis, &endpoint, &echo, glued);
    }
    // Behind a line of white space Valkey takes whatever comes for another line, also a command in the protocol's own form.
    if redis.valkey().is_none() {
        compare(&redis, &endpoint, &echo, &[&quit(b"\r\n\n   \r\n\t\r\n")]);
    }
}

#[test]
fn before_authentication() {
    let redis = Redis::options().password("foo").start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let users = folder.path().join("users.toml");
    std::fs::write(&users, super::auth::FOO_USER.replace("\"app\"", "\"default\"")).expect("writable");
    let password = folder.path().join("password");
    std::fs::write(&password, "foo").expect("writable");
    let group = format!("password_file = {password:?}");
    let endpoint = Endpoint::start(&[redis.address()], &format!("users = {users:?}"), &group);
    let bulk_of = |length: usize| [format!("${length}\r\n").as_bytes(), &vec![b'x'; length], b"\r\n"].concat();
    let twelve = [&b"*12\r\n$4\r\nMGET\r\n"[..], &b"$1\r\na\r\n".repeat(11)].concat();
    let cases: &[&[u8]] = &[
        b"*11\r\n",
        b"*2000000000\r\n",
        b"*2147483648\r\n",
        b"*x\r\n",
        b"*2\r\n$3\r\nGET\r\n$16385\r\n",
        b"*2\r\n$3\r\nGET\r\n$x\r\n",
        &quit(&[&b"*2\r\n$3\r\nGET\r\n"[..], &bulk_of(16384)].concat()),
        &quit(b"*-5\r\n\r\n"),
        // What stands in a line is there already: the bounds are those of lines.
        &quit(b"MGET 1 2 3 4 5 6 7 8 9 10 11 12\r\nPING\r\n"),
        &quit(&[&b"GET "[..], &vec![b'x'; 20_000], b"\r\n"].concat()),
        b"\"\r\n",
        &vec![b'x'; 70_000],
        // From AUTH on they are gone.
        &quit(&[&command(&["AUTH", "foo"])[..], &twelve].concat()),
        &quit(&[&b"AUTH foo\r\nMGET 1 2 3 4 5 6 7 8 9 10 11 12\r\n"[..]].concat()),
    ];
    compare(&redis, &endpoint, b"", cases);
}

/// Where the behaviour differs on purpose, what it is on both sides.
#[test]
fn what_is_read_more_strictly_than_redis_reads_it() {
    let redis = Redis::start();
    let endpoint = Endpoint::of(&[&redis], "");
    // Servers search lines as C strings: behind a NUL they wait for an end that will not come. Valkey does so with lines of
    // text alone.
    for line in [&b"PING\0\r\n"[..], b"\0\r\n", b"*1\r\n\0\r\n"] {
        let mut direct = Client::connect(&redis.address());
        direct.raw(line);
        let mut through = endpoint.client();
        through.raw(line);
        let reply = through.reply();
        assert!(reply.starts_with("-ERR "), "{line:?}: {reply}");
        if redis.valkey().is_none() || !line.starts_with(b"*") {
            assert!(direct.is_silent_for(std::time::Duration::from_millis(100)));
        } else {
            assert_eq!(direct.reply(), reply, "{line:?}");
        }
    }
    // Redis takes any two bytes for the end of an argument; passed on to it, they would be read as it likes.
    let skipped = quit(b"*1\r\n$4\r\nPINGxx");
    assert_eq!(answers(&endpoint.address(), &skipped, Cut::Whole), b"-ERR Protocol error: invalid CRLF in request\r\n");
    if redis.is_lenient() {
        assert_eq!(answers(&redis.address(), &skipped, Cut::Whole), b"+PONG\r\n+OK\r\n");
    }
}

/// More arguments than servers before 7.0 take: a command of its own connection, streamed.
#[test]
fn two_million_arguments() {
    let redis = Redis::start();
    let endpoint = Endpoint::of(&[&redis], "");
    let count = 2_000_000;
    let keys = b"$1\r\nk\r\n".repeat(count);
    let mut client = endpoint.client();
    client.ok(&["SET", "k", "v"]);
    client.raw(&[format!("*{}\r\n$6\r\nEXISTS\r\n", count + 1).as_bytes(), &keys].concat());
    assert_eq!(client.reply(), format!(":{count}\r\n"));
    assert_eq!(client.ask(&["GET", "k"]), bulk("v"));
}
