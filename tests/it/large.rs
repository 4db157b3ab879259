//! Large values pass in pieces, both ways, in bounded memory, and nobody else waits for them.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, binary, bulk, command};
use crate::support::endpoint::Endpoint;
use crate::support::redis::Redis;

/// What Redan may have resident at any time, whatever passes through it.
const MEMORY: u64 = 64 << 20;

fn single() -> (Redis, Endpoint) {
    let redis = Redis::start();
    let endpoint = Endpoint::of(&[&redis], "");
    (redis, endpoint)
}

/// Bytes that differ from their neighbours at every power of two, so that no piece can be lost, doubled or swapped.
fn pattern(from: usize, into: &mut [u8]) {
    for (offset, byte) in into.iter_mut().enumerate() {
        let at = (from + offset) as u64;
        *byte = (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8;
    }
}

const PIECE: usize = 1 << 20;

fn upload(client: &Client, key: &str, len: usize) {
    let mut stream = client.stream();
    let mut piece = vec![0; PIECE];
    stream.write_all(format!("*3\r\n$3\r\nSET\r\n{}${len}\r\n", bulk(key)).as_bytes()).expect("it takes the command");
    for at in (0..len).step_by(PIECE) {
        let size = PIECE.min(len - at);
        pattern(at, &mut piece[..size]);
        stream.write_all(&piece[..size]).expect("it takes the value");
    }
    stream.write_all(b"\r\n").expect("it takes the end");
}

/// Reads a bulk string of `len` bytes from the socket, past the client's buffer, which must be empty.
fn check_download(client: &Client, len: usize) {
    let mut stream = client.stream();
    let header = format!("${len}\r\n");
    let mut found = vec![0; header.len()];
    stream.read_exact(&mut found).expect("a header");
    assert_eq!(String::from_utf8_lossy(&found), header);
    let (mut piece, mut expected) = (vec![0; PIECE], vec![0; PIECE]);
    for at in (0..len).step_by(PIECE) {
        let size = PIECE.min(len - at);
        stream.read_exact(&mut piece[..size]).expect("the value");
        pattern(at, &mut expected[..size]);
        assert!(piece[..size] == expected[..size], "the value differs between byte {at} and {}", at + size);
    }
    let mut end = [0; 2];
    stream.read_exact(&mut end).expect("the end");
    assert_eq!(&end, b"\r\n");
}

fn there_and_back(endpoint: &Endpoint, len: usize) {
    let mut client = endpoint.client();
    upload(&client, "big", len);
    assert_eq!(client.reply(), "+OK\r\n");
    assert_eq!(client.integer(&["STRLEN", "big"]), len as i64);
    client.send(&["GET", "big"]);
    check_download(&client, len);
    client.ok(&["SET", "small", "after"]);
    let peak = endpoint.peak_memory();
    assert!(peak < MEMORY, "{} MiB were resident for a value of {} MiB", peak >> 20, len >> 20);
}

#[test]
fn sixty_four_megabytes_there_and_back() {
    let (_redis, endpoint) = single();
    there_and_back(&endpoint, 64 << 20);
}

/// The longest that Redis takes; one byte more is a protocol error.
#[test]
fn half_a_gigabyte_there_and_back() {
    let (_redis, endpoint) = single();
    there_and_back(&endpoint, 512 << 20);
    let mut client = endpoint.client();
    client.raw(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", (512 << 20) + 1).as_bytes());
    assert_eq!(client.rest(), "-ERR Protocol error: invalid bulk length\r\n");
}

/// Sizes around every bound where another way of carrying begins.
#[test]
fn every_size_around_a_bound() {
    let (_redis, endpoint) = single();
    let client = endpoint.client();
    let mut reading = endpoint.client();
    for bound in [16 << 10, 64 << 10, 128 << 10, 192 << 10, 256 << 10, 1 << 20] {
        for len in bound - 40..bound + 2 {
            upload(&client, "k", len);
        }
        for len in bound - 40..bound + 2 {
            let mut ok = [0; 5];
            client.stream().read_exact(&mut ok).expect("a reply");
            assert_eq!(&ok, b"+OK\r\n", "{len}");
        }
        for len in [bound - 12, bound - 9, bound - 8, bound - 1, bound, bound + 1] {
            upload(&client, "k", len);
            client.stream().read_exact(&mut [0; 5]).expect("a reply");
            reading.send(&["GET", "k"]);
            check_download(&reading, len);
        }
    }
}

#[test]
fn many_keys_in_one_command() {
    let (redis, endpoint) = single();
    let mut client = endpoint.client();
    let words: Vec<String> =
        (0..20_000).flat_map(|index| [format!("key:{index}"), format!("value of {index}")]).collect();
    let all: Vec<&str> = std::iter::once("MSET").chain(words.iter().map(String::as_str)).collect();
    client.send(&all);
    assert_eq!(client.reply(), "+OK\r\n");
    assert_eq!(redis.command(&["DBSIZE"]), ":20000\r\n");
    let keys: Vec<&str> = words.iter().step_by(2).map(String::as_str).collect();
    client.send(&[&["MGET"], &keys[..]].concat());
    let expected: String = words.iter().skip(1).step_by(2).map(|value| bulk(value)).collect();
    assert!(client.reply() == format!("*20000\r\n{expected}"), "the reply to MGET differs");
    client.ok(&["SET", "after", "it"]);
}

#[test]
fn a_hundred_thousand_elements_in_one_reply() {
    let (_redis, endpoint) = single();
    for mut client in [endpoint.client(), endpoint.resp3()] {
        let mut elements = String::new();
        client.send(&["DEL", "list"]);
        client.reply();
        for start in (0..100_000).step_by(1000) {
            let numbers: Vec<String> = (start..start + 1000).map(|number| number.to_string()).collect();
            let words: Vec<&str> = ["RPUSH", "list"].into_iter().chain(numbers.iter().map(String::as_str)).collect();
            assert_eq!(client.integer(&words), start + 1000);
            elements.extend(numbers.iter().map(|number| bulk(number)));
        }
        client.send(&["LRANGE", "list", "0", "-1"]);
        client.send(&["PING"]);
        assert!(client.reply() == format!("*100000\r\n{elements}"), "the reply to LRANGE differs");
        assert_eq!(client.reply(), "+PONG\r\n");
    }
}

/// Replies that Redan looks at pass in pieces all the same, over a lane and over a connection of the session's own.
#[test]
fn large_replies_that_are_looked_at() {
    let (redis, endpoint) = single();
    let size = 80 << 20;
    let mut client = endpoint.client();
    upload(&client, "large", size);
    assert_eq!(client.reply(), "+OK\r\n");
    // With names this long a page of them is no small reply.
    let name = "n".repeat(100);
    let text = "for i = 1, 3000 do redis.call('HSET', KEYS[1], ARGV[1] .. i, i) end return 1";
    assert_eq!(redis.command(&["EVAL", text, "1", "hash", &name]), ":1\r\n");
    for pinned in [false, true] {
        let mut client = endpoint.client();
        if pinned {
            client.ok(&["WATCH", "k"]);
        }
        let script = format!("return redis.call('GET', KEYS[1]) -- {pinned}");
        client.send(&["EVAL", &script, "1", "large"]);
        check_download(&client, size);
        let (mut cursor, mut pages) = ("0".to_owned(), 0);
        let mut seen = HashSet::new();
        while pages == 0 || cursor != "0" {
            let page = client.ask(&["HSCAN", "hash", &cursor, "COUNT", "1000"]);
            let lines: Vec<&str> = page.split("\r\n").filter(|line| !line.starts_with(['*', '$'])).collect();
            cursor = lines[0].to_owned();
            assert!(cursor == "0" || cursor.parse::<u64>().expect("a cursor") >= 1 << 33, "without a mark: {cursor}");
            seen.extend(lines.iter().filter(|line| line.starts_with('n')).map(|&line| line.to_owned()));
            pages += 1;
        }
        assert_eq!(seen.len(), 3000);
        client.ok(&["SET", "after", "it"]);
    }
    assert!(endpoint.peak_memory() < MEMORY, "{} bytes at most", endpoint.peak_memory());
}

/// A value that comes in slowly is nobody else's business.
#[test]
fn a_slow_upload_holds_nobody_up() {
    let (_redis, endpoint) = single();
    let mut uploading = endpoint.client();
    let value = vec![b'x'; 4 << 20];
    let bytes = binary(&[b"SET", b"big", &value]);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    uploading.raw(first);
    let mut other = endpoint.client();
    for number in 0..100 {
        other.ok(&["SET", "k", &number.to_string()]);
        assert_eq!(other.text(&["GET", "k"]), Some(number.to_string()));
    }
    uploading.raw(second);
    assert_eq!(uploading.reply(), "+OK\r\n");
    assert_eq!(other.integer(&["STRLEN", "big"]), value.len() as i64);
}

/// Nor is one that ends in the middle: the node must not get half of it as something else.
#[test]
fn an_upload_that_breaks_off_leaves_nothing() {
    let (redis, endpoint) = single();
    let mut uploading = endpoint.client();
    let bytes = binary(&[b"SET", b"big", &command(&["SET", "smuggled", "in"]).repeat(50_000)]);
    uploading.raw(&bytes[..bytes.len() / 2]);
    drop(uploading);
    crate::support::redis::eventually("its session is gone", || {
        endpoint.metric("redan_sessions") == 0.0 && endpoint.metric("redan_pins") == 0.0
    });
    let mut other = endpoint.client();
    other.ok(&["SET", "k", "v"]);
    assert_eq!(redis.command(&["EXISTS", "big", "smuggled"]), ":0\r\n");
}

/// Uploads, downloads and small commands of several clients at once, each in its own order.
#[test]
fn large_and_small_side_by_side() {
    let (_redis, endpoint) = single();
    thread::scope(|scope| {
        for number in 0..4 {
            let endpoint = &endpoint;
            scope.spawn(move || {
                let mut client = endpoint.client();
                let key = format!("big:{number}");
                for round in 0..5 {
                    let len = (300_000 + 700_000 * number) * (round + 1) / 2;
                    upload(&client, &key, len);
                    client.send(&["PING"]);
                    client.send(&["STRLEN", &key]);
                    assert_eq!(client.reply(), "+OK\r\n");
                    assert_eq!(client.reply(), "+PONG\r\n");
                    assert_eq!(client.reply(), format!(":{len}\r\n"));
                    client.send(&["GET", &key]);
                    check_download(&client, len);
                }
            });
        }
        scope.spawn(|| {
            let mut client = endpoint.client();
            let mut slowest = Duration::ZERO;
            for number in 0..500 {
                let start = Instant::now();
                client.ok(&["SET", "small", &number.to_string()]);
                assert_eq!(client.text(&["GET", "small"]), Some(number.to_string()));
                slowest = slowest.max(start.elapsed());
            }
            assert!(slowest < Duration::from_secs(2), "a small command waited {slowest:?}");
        });
    });
    assert!(endpoint.peak_memory() < MEMORY);
}
