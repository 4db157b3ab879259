//! Whom an exit refuses, and that it says so.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{connect, listener, peer};
use crate::support::client::Client;
use crate::support::link::Keys;
use crate::support::proxy::Proxy;
use crate::support::redis::{Redis, eventually};

#[test]
fn a_wrong_key_is_refused_and_named_by_either_end() {
    let redis = Redis::start();
    let keys = Keys::make();
    let stranger = keys.another("stranger");
    let exit = Proxy::start(&keys.exit_to(&redis.address(), "127.0.0.1:0", ""));
    // A key that the exit does not know.
    let toml = keys.entry_to(&exit.address(0), "127.0.0.1:0", "").replace(&keys.entry.file, &stranger.file);
    let entry = Proxy::start(&toml);
    assert!(connect(&entry.address(0)).read(&mut [0]).is_err(), "it is reset");
    let named = format!("it shows the identity {}, which is not in `peers`", stranger.line);
    eventually("the exit names it", || exit.said().contains(&named));
    eventually("the entry knows why", || entry.said().contains("it refuses our identity"));
    // An exit that the entry does not know.
    let toml = keys.entry_to(&exit.address(0), "127.0.0.1:0", "").replace(&keys.exit.line, &stranger.line);
    let entry = Proxy::start(&toml);
    assert!(connect(&entry.address(0)).read(&mut [0]).is_err(), "it is reset");
    let named = format!("it shows the identity {}, which is not in `peers`", keys.exit.line);
    eventually("the entry names it", || entry.said().contains(&named));
    // Both keys while one is replaced by the other.
    let both = format!("\"{}\", \"{}\"", keys.entry.line, stranger.line);
    let toml = keys.exit_to(&redis.address(), "127.0.0.1:0", "").replace(&format!("\"{}\"", keys.entry.line), &both);
    let exit = Proxy::start(&toml);
    for file in [&keys.entry.file, &stranger.file] {
        let toml = keys.entry_to(&exit.address(0), "127.0.0.1:0", "").replace(&keys.entry.file, file);
        Client::connect(&Proxy::start(&toml).address(0)).ok(&["SET", "key", "value"]);
    }
}

#[test]
fn garbage_half_handshakes_and_crowds_are_refused_and_others_served() {
    let redis = Redis::start();
    let keys = Keys::make();
    let (entry, exit) = keys.pair(&redis.address(), "", "");
    let mut garbage = connect(&exit.address(0));
    garbage.write_all(b"GET / HTTP/1.1\r\nHost: redan\r\n\r\n").expect("taken");
    let mut answer = Vec::new();
    let _ = garbage.read_to_end(&mut answer);
    assert!(answer.len() < 100, "an alert at most");
    eventually("it is refused", || exit.said().contains("what it sends is not TLS"));
    // One source keeps as many handshakes open as it may, and then no more.
    let crowd: Vec<_> = (0..64).map(|_| connect(&exit.address(0))).collect();
    let mut one_more = connect(&exit.address(0));
    assert_eq!(one_more.read(&mut [0]).unwrap_or(0), 0, "it is closed");
    eventually("it says so", || exit.said().contains("too many there have not proven who they are"));
    drop(crowd);
    eventually("others are served", || {
        let mut stream = connect(&entry.address(0));
        let mut reply = [0; 7];
        stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut reply).is_ok() && &reply == b"+PONG\r\n"
    });
    // A handshake that is begun and not gone on with.
    let begun = Instant::now();
    let mut half = connect(&exit.address(0));
    half.write_all(&[22, 3, 1, 2, 0, 1]).expect("taken");
    assert_eq!(half.read(&mut [0]).unwrap_or(0), 0, "it is closed");
    assert!(begun.elapsed() > Duration::from_secs(8), "after its time");
    eventually("it says so", || exit.said().contains("it did not finish the handshake within 10s"));
}

#[test]
fn a_pinned_peer_that_speaks_no_frames_is_refused() {
    let (_target, address) = listener();
    let keys = Keys::make();
    let exit = Proxy::start(&keys.exit_to(&address, "127.0.0.1:0", ""));
    // Plain TLS with the right key: no ALPN.
    let toml = keys.entry_to(&exit.address(0), "127.0.0.1:0", "mode = \"tls\"");
    let entry = Proxy::start(&toml);
    let mut program = connect(&entry.address(0));
    assert_eq!(program.read(&mut [0]).unwrap_or(0), 0);
    eventually("the exit says why", || exit.said().contains("it does not speak redan-link/1"));
    assert_eq!(entry.said().matches("panicked").count(), 0);
}

#[test]
fn limits_of_connections_hold_at_both_ends() {
    let redis = Redis::start();
    let keys = Keys::make();
    let (entry, exit) = keys.pair(&redis.address(), "max_connections = 3", "max_connections = 2");
    let pings = |stream: &mut TcpStream| {
        let mut reply = [0; 7];
        stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut reply).is_ok()
    };
    let mut clients = Vec::new();
    // Until whoever looked whether the entry listens has gone.
    eventually("there is room for two", || {
        clients = (0..2).map(|_| connect(&entry.address(0))).collect::<Vec<_>>();
        clients.iter_mut().all(pings)
    });
    assert!(connect(&entry.address(0)).read(&mut [0]).is_err(), "it is reset");
    eventually("the exit says why", || exit.said().contains("there are 2 connections already"));
    drop(clients);
    eventually("there is room again", || pings(&mut connect(&entry.address(0))));
}

/// A peer with the right key that speaks TLS and then says what it is told to; what came back, and the log of the exit.
fn says(first: &[u8], expected: &str) {
    let (_target, address) = listener();
    let keys = Keys::make();
    let exit = Proxy::start(&keys.exit_to(&address, "127.0.0.1:0", ""));
    let mut tls = peer::connect(&exit.address(0), &keys.entry.file);
    tls.write_all(first).expect("taken");
    let mut answer = Vec::new();
    let _ = tls.read_to_end(&mut answer);
    eventually("the exit says why", || exit.said().contains(expected));
}

#[test]
fn frames_that_are_none_are_refused() {
    says(&[3, 0xff, 0xff, 0xff], "it sent a frame of type 3 with 16777215 bytes");
    says(&[1, 0, 2, 1], "it sent a frame of type 1 with 513 bytes");
    says(b"PING\r\n", "it sent a frame of unknown type 80");
    says(&[3, 0, 0, 1, b'x'], "it began with data");
    says(&[9, 0, 0, 5, 1, 0, 0, 1, b'x'], "it began with data");
    says(&[5, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0], "its first frame is no hello");
    let mut newer = vec![1, 0, 0, 39, 2];
    newer.resize(4 + 39, 0);
    says(&newer, "it sent protocol version 2, where this Redan knows 1");
    let mut resumed = vec![1, 0, 0, 42, 1, 1];
    resumed.resize(4 + 38, 0);
    resumed.extend(b"main");
    says(&resumed, "there is no such stream any more");
}
