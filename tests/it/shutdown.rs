//! The end of the process: who may finish, who is closed, and what the exit code says.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::support::proxy::Proxy;
use super::support::redis::{DEADLINE, Redis, eventually};

/// Longer than any test runs: where it matters, something else must have ended the process.
const NEVER: &str = "1h";

fn proxy(redis: &Redis, shutdown_timeout: &str) -> Proxy {
    let toml = format!(
        "[redan]\nworkers = 2\nshutdown_timeout = \"{shutdown_timeout}\"\n\
         [[listener]]\nname = \"app\"\nbind = \"127.0.0.1:0\"\n\
         [[group]]\nname = \"main\"\nnodes = [\"{}\"]\n",
        redis.address()
    );
    Proxy::start(&toml)
}

/// A client that has been served once, so that a worker has it.
fn client(proxy: &Proxy) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.address(0)).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    ask(&mut stream, "PING", "+PONG\r\n");
    stream
}

fn send(stream: &mut TcpStream, command: &str) {
    stream.write_all(format!("{command}\r\n").as_bytes()).expect("the connection is open");
}

fn expect(stream: &mut TcpStream, reply: &str) {
    let mut got = vec![0; reply.len()];
    stream.read_exact(&mut got).expect("a reply");
    assert_eq!(String::from_utf8_lossy(&got), reply);
}

fn ask(stream: &mut TcpStream, command: &str, reply: &str) {
    send(stream, command);
    expect(stream, reply);
}

/// Closed, and without another byte.
fn expect_end(stream: &mut TcpStream) {
    let mut rest = [0; 64];
    match stream.read(&mut rest) {
        Ok(n) => assert_eq!(String::from_utf8_lossy(&rest[..n]), ""),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "a reset is an end as well, {error} is none")
        }
    }
}

fn refuses(proxy: &Proxy) -> bool {
    TcpStream::connect(proxy.address(0)).is_err()
}

/// The client's command has reached the server and waits there.
fn wait_until_blocked(redis: &Redis) {
    eventually("a client is blocked", || redis.info("blocked_clients").as_deref() == Some("1"));
}

#[test]
fn a_command_in_flight_is_answered_idle_clients_are_closed_and_new_ones_refused() {
    let redis = Redis::start();
    let mut proxy = proxy(&redis, NEVER);
    let (mut idle, mut busy) = (client(&proxy), client(&proxy));
    redis.ok(&["CLIENT", "PAUSE", "3600000", "WRITE"]);
    send(&mut busy, "SET key value");
    wait_until_blocked(&redis);

    proxy.signal("TERM");
    eventually("new clients are refused", || refuses(&proxy));
    expect_end(&mut idle);

    redis.ok(&["CLIENT", "UNPAUSE"]);
    expect(&mut busy, "+OK\r\n");
    expect_end(&mut busy);
    assert_eq!(proxy.exit_code(), Some(0));
    assert!(proxy.said().contains("stopped; every client had finished"), "{}", proxy.said());
    assert_eq!(redis.command(&["GET", "key"]), "$5\r\nvalue\r\n");
}

#[test]
fn the_deadline_closes_who_has_not_finished_and_that_is_still_a_clean_end() {
    let redis = Redis::start();
    let mut proxy = proxy(&redis, "300ms");
    let mut blocked = client(&proxy);
    send(&mut blocked, "BLPOP nothing 0");
    wait_until_blocked(&redis);

    let asked = Instant::now();
    proxy.signal("TERM");
    expect_end(&mut blocked);
    assert!(asked.elapsed() >= Duration::from_millis(300), "closed after {:?} already", asked.elapsed());
    assert_eq!(proxy.exit_code(), Some(0));
    let said = proxy.said();
    assert!(said.contains("closed 1 sessions that had not finished within 0.3 s"), "{said}");
    eventually("the server is rid of the client", || redis.info("blocked_clients").as_deref() == Some("0"));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let redis = Redis::start();
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        let mut proxy = proxy(&redis, NEVER);
        let mut blocked = client(&proxy);
        send(&mut blocked, "BLPOP nothing 0");
        wait_until_blocked(&redis);
        proxy.signal(name);
        eventually("new clients are refused", || refuses(&proxy));
        proxy.signal(name);
        assert_eq!(proxy.exit_code(), Some(code));
        expect_end(&mut blocked);
        eventually("the server is rid of the client", || redis.info("blocked_clients").as_deref() == Some("0"));
    }
}

#[test]
fn sighup_is_answered_in_the_log_and_harms_nobody() {
    let redis = Redis::start();
    let mut proxy = proxy(&redis, NEVER);
    let mut client = client(&proxy);
    proxy.signal("HUP");
    eventually("the log tells of it", || proxy.said().contains("reload: read all files of TLS again"));
    ask(&mut client, "SET key value", "+OK\r\n");
    proxy.signal("INT");
    expect_end(&mut client);
    assert_eq!(proxy.exit_code(), Some(0));
}

/// A watch that nobody goes on with is no reason to wait; a transaction that is open is.
#[test]
fn a_client_that_only_watches_is_closed_after_a_moment_of_silence() {
    let redis = Redis::start();
    let mut proxy = proxy(&redis, NEVER);
    let (mut watching, mut transacting) = (client(&proxy), client(&proxy));
    ask(&mut watching, "WATCH key", "+OK\r\n");
    ask(&mut watching, "GET key", "$-1\r\n");
    ask(&mut transacting, "WATCH other", "+OK\r\n");
    ask(&mut transacting, "MULTI", "+OK\r\n");
    ask(&mut transacting, "SET other 1", "+QUEUED\r\n");
    let asked = Instant::now();
    proxy.signal("TERM");
    expect_end(&mut watching);
    assert!(asked.elapsed() < Duration::from_secs(10), "after {:?}", asked.elapsed());
    ask(&mut transacting, "EXEC", "*1\r\n+OK\r\n");
    expect_end(&mut transacting);
    assert_eq!(proxy.exit_code(), Some(0));
}
