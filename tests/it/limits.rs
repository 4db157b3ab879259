//! Limits of one client: how much may wait for it, how long it may be silent, how many there may be.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::certs::Certs;
use crate::support::client::{Client, command};
use crate::support::endpoint::Endpoint;
use crate::support::redis::{DEADLINE, Redis, eventually};
use crate::support::tls::TlsClient;

fn closed(endpoint: &Endpoint) -> f64 {
    endpoint.metric("redan_slow_clients_closed_total")
}

/// Replies of 20 kB, enough to fill what the kernel keeps of them and `more` bytes of Redan's.
fn ask_for(client: &mut Client, endpoint: &Endpoint, more: f64) {
    client.stream().set_write_timeout(Some(DEADLINE)).expect("a timeout");
    eventually("Redan holds so much for it", || {
        // It may be closed in the middle of a request.
        let sent = client.stream().write_all(&command(&["GET", "value"]).repeat(100)).is_ok();
        (sent && endpoint.held_memory() > more) || closed(endpoint) > 0.0
    });
}

#[test]
fn more_replies_than_the_hard_limit_allows_close_the_client() {
    let redis = Redis::start();
    redis.ok(&["SET", "value", &"x".repeat(20_000)]);
    let endpoint = Endpoint::of(&[&redis], "output_limit = { normal = \"512kb\" }");
    let mut beside = endpoint.client();
    let mut slow = endpoint.client();
    ask_for(&mut slow, &endpoint, 1e9);
    eventually("it is closed", || closed(&endpoint) == 1.0 && endpoint.metric("redan_sessions") == 1.0);
    assert!(endpoint.said().contains("bytes of replies wait for it"), "{}", endpoint.said());
    assert_eq!(beside.integer(&["STRLEN", "value"]), 20_000);
}

#[test]
fn a_client_over_the_soft_limit_has_some_time() {
    let redis = Redis::start();
    redis.ok(&["SET", "value", &"x".repeat(20_000)]);
    let limit = "output_limit = { normal = \"64mb\", normal_soft = \"256kb\", normal_soft_for = \"2s\" }";
    let endpoint = Endpoint::of(&[&redis], limit);
    let mut slow = endpoint.client();
    ask_for(&mut slow, &endpoint, 600_000.0);
    let over = Instant::now();
    assert_eq!(closed(&endpoint), 0.0);
    eventually("it is closed", || closed(&endpoint) == 1.0);
    // It is looked at once a second, and may have been over the limit for a moment before this clock began.
    assert!(over.elapsed() > Duration::from_secs(1), "after {:?}", over.elapsed());
}

/// As in Redis: silence is no offence of whoever blocks, subscribes or watches with MONITOR.
#[test]
fn idle_clients_are_closed_and_waiting_ones_are_not() {
    let redis = Redis::start();
    let endpoint = Endpoint::of(&[&redis], "idle_timeout = \"1s\"\nadmin_commands = \"allow\"");
    let mut subscribed = endpoint.client();
    assert!(subscribed.ask(&["SUBSCRIBE", "news"]).contains("news"));
    let mut third = endpoint.resp3();
    assert!(third.ask(&["SUBSCRIBE", "news"]).contains("news"));
    let mut monitoring = endpoint.client();
    monitoring.ok(&["MONITOR"]);
    let mut blocked = endpoint.client();
    blocked.send(&["BLPOP", "list", "0"]);
    let mut in_transaction = endpoint.client();
    in_transaction.ok(&["MULTI"]);
    let mut half = endpoint.client();
    half.raw(b"*2\r\n$3\r\nGET\r\n$1");
    let mut idle = endpoint.client();
    assert_eq!(idle.ask(&["PING"]), "+PONG\r\n");
    let start = Instant::now();
    // Each is read until the connection's end, so these return when they have been closed.
    for client in [&mut idle, &mut in_transaction, &mut half] {
        assert_eq!(client.rest(), "");
    }
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    // Those that were not closed by now are more than a second older than the limit.
    eventually("another second passes", || start.elapsed() > Duration::from_millis(3500));
    assert_eq!(endpoint.metric("redan_sessions"), 4.0);
    redis.ok(&["PUBLISH", "news", "late"]);
    redis.ok(&["RPUSH", "list", "element"]);
    assert!(subscribed.reply().contains("late"));
    assert!(third.reply().contains("late"));
    assert!(blocked.reply().contains("element"));
    assert!(monitoring.reply().starts_with('+'));
}

/// A command that waits for a master is Redan's to answer, however long the hold is.
#[test]
fn a_client_that_waits_for_a_master_is_not_idle() {
    let mut redis = Redis::start();
    let endpoint = Endpoint::of(&[&redis], "idle_timeout = \"1s\"\nhold = \"15s\"");
    let mut client = endpoint.client();
    client.ok(&["SET", "k", "v"]);
    redis.kill();
    client.send(&["SET", "k", "w"]);
    let start = Instant::now();
    eventually("it waits longer than an idle one may", || start.elapsed() > Duration::from_millis(2500));
    redis.restart();
    let reply = client.reply();
    assert!(reply == "+OK\r\n" || reply.starts_with("-INDOUBT"), "{reply}");
}

/// Redis drops a client over `maxclients` without a word when it speaks TLS. Here it hears why.
#[test]
fn one_client_too_many_is_told_so_with_and_without_tls() {
    let redis = Redis::start();
    let certs = Certs::make();
    let tls = format!("tls = {{ cert = {:?}, key = {:?} }}", certs.cert(), certs.key());
    for listener in ["max_clients = 2".to_owned(), format!("max_clients = 2\n{tls}")] {
        let encrypted = listener.contains("tls");
        let endpoint = Endpoint::of(&[&redis], &listener);
        // The check whether it listens was a client for a moment.
        eventually("nobody is connected", || endpoint.metric("redan_sessions") == 0.0);
        let said = |hold: &mut Vec<Box<dyn Read>>| {
            let mut text = [0; 64];
            if encrypted {
                let mut client = TlsClient::new(&certs, None).connect(&endpoint.address());
                client.write_all(b"PING\r\n").expect("the handshake succeeds");
                let n = client.read(&mut text).expect("an answer");
                hold.push(Box::new(client));
                return String::from_utf8_lossy(&text[..n]).into_owned();
            }
            let mut client = TcpStream::connect(endpoint.address()).expect("it listens");
            client.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
            // A client that is refused is told so before it says anything.
            let n = client.read(&mut text).unwrap_or_else(|_| {
                client.write_all(b"PING\r\n").expect("open");
                client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
                client.read(&mut text).expect("an answer")
            });
            hold.push(Box::new(client));
            String::from_utf8_lossy(&text[..n]).into_owned()
        };
        let mut hold = Vec::new();
        assert_eq!([said(&mut hold), said(&mut hold)], ["+PONG\r\n", "+PONG\r\n"]);
        assert_eq!(said(&mut hold), "-ERR max number of clients reached\r\n", "TLS: {encrypted}");
        drop(hold);
        eventually("their places are free", || endpoint.metric("redan_sessions") == 0.0);
        assert_eq!(said(&mut Vec::new()), "+PONG\r\n");
    }
}

/// The kernel's own view of the sockets that Redan accepted.
#[test]
fn keepalive_is_as_configured() {
    let redis = Redis::start();
    let timer = |endpoint: &Endpoint| {
        let mut client = endpoint.client();
        // Once it is served its socket is as it shall be.
        assert_eq!(client.ask(&["PING"]), "+PONG\r\n");
        let port = endpoint.address().rsplit_once(':').expect("host:port").1.to_owned();
        let output = std::process::Command::new("ss")
            .args(["-tnoH", "state", "established", &format!("( sport = :{port} )")])
            .output()
            .expect("ss is a program of iproute2, which `make test` installs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let default = Endpoint::of(&[&redis], "");
    let asked = timer(&default);
    assert!(asked.contains("timer:(keepalive,4min59sec") || asked.contains("timer:(keepalive,5min"), "{asked}");
    let short = Endpoint::of(&[&redis], "tcp_keepalive = \"30s\"");
    let asked = timer(&short);
    assert!(asked.contains("timer:(keepalive,29sec") || asked.contains("timer:(keepalive,30sec"), "{asked}");
    let never = Endpoint::of(&[&redis], "tcp_keepalive = \"0s\"");
    let asked = timer(&never);
    assert!(asked.contains("127.0.0.1") && !asked.contains("keepalive"), "{asked}");
}

/// Loopback has many addresses: each is a source.
#[test]
fn one_source_may_not_take_every_place() {
    let redis = Redis::start();
    let endpoint = Endpoint::of(&[&redis], "max_clients_per_source = 2");
    eventually("nobody is connected", || endpoint.metric("redan_sessions") == 0.0);
    let address = endpoint.address();
    let from = |source: [u8; 4]| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&std::net::SocketAddr::from((source, 0)).into()).expect("a loopback address");
        let to: std::net::SocketAddr = address.parse().expect("an address");
        socket.connect(&to.into()).expect("it listens");
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.write_all(b"PING\r\n").expect("open");
        let mut reply = [0; 64];
        let n = stream.read(&mut reply).expect("an answer");
        (stream, String::from_utf8_lossy(&reply[..n]).into_owned())
    };
    let first = from([127, 0, 0, 2]);
    let second = from([127, 0, 0, 2]);
    assert_eq!((first.1.as_str(), second.1.as_str()), ("+PONG\r\n", "+PONG\r\n"));
    assert_eq!(from([127, 0, 0, 2]).1, "-ERR max number of clients reached\r\n");
    assert_eq!(from([127, 0, 0, 3]).1, "+PONG\r\n", "others have their own places");
    let said = endpoint.said();
    assert!(said.contains("127.0.0.2:") && said.contains("`max_clients_per_source`"), "{said}");
    drop(first);
    eventually("the place is given back", || from([127, 0, 0, 2]).1 == "+PONG\r\n");
}
