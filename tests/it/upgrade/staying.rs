//! Clients that cannot be handed over: they finish where they are, and are closed at a moment at which nothing is lost.

use super::*;
use crate::support::certs::Certs;
use crate::support::tls::{TlsClient, TlsStream};

#[test]
fn who_waits_for_something_is_answered_by_the_old_process() {
    let redis = Redis::start();
    let proxy = Proxy::start(&toml("drain_timeout = \"1h\"", "", &[&redis]));
    let address = proxy.address(1);
    wait_for_master(&address);
    let mut blocked = Client::connect(&address);
    blocked.send(&["BLPOP", "list", "0"]);
    eventually("a client is blocked", || redis.info("blocked_clients").as_deref() == Some("1"));
    let mut transacting = Client::connect(&address);
    transacting.ok(&["MULTI"]);
    assert_eq!(transacting.ask(&["INCR", "key"]), "+QUEUED\r\n");
    let mut subscriber = Client::connect(&address);
    subscriber.send(&["SUBSCRIBE", "news"]);
    assert!(subscriber.reply().contains("subscribe"));

    let old = begin(&proxy);
    // The subscriber has nothing to wait for: it is told to come again.
    assert_eq!(subscriber.rest(), "");
    let mut again = Client::connect(&address);
    again.send(&["SUBSCRIBE", "news"]);
    assert!(again.reply().contains("subscribe"));
    assert_eq!(Client::connect(&address).ask(&["PUBLISH", "news", "x"]), ":1\r\n");
    assert!(is_running(old), "two clients are left there");

    // Whoever asks for another upgrade meanwhile waits for it.
    proxy.signal("USR2");
    wait_for(&proxy, "it begins when the process before this one has handed over its last client");
    assert_eq!(proxy.successors().len(), 1);

    assert_eq!(transacting.ask(&["EXEC"]), "*1\r\n:1\r\n");
    assert_eq!(transacting.ask(&["INCR", "key"]), ":2\r\n", "and it goes on in the new process");
    assert!(is_running(old), "one client is left there");
    assert_eq!(Client::connect(&address).ask(&["RPUSH", "list", "x"]), ":1\r\n");
    assert_eq!(blocked.reply(), "*2\r\n$4\r\nlist\r\n$1\r\nx\r\n");
    within(UPGRADE, "the old process has ended", || !is_running(old));
    within(UPGRADE, "the second upgrade takes place", || proxy.successors().len() == 2);
    assert_eq!(blocked.ask(&["LLEN", "list"]), ":0\r\n");
}

#[test]
fn who_does_not_finish_is_closed_at_the_deadline() {
    let redis = Redis::start();
    let proxy = Proxy::start(&toml("drain_timeout = \"1s\"", "", &[&redis]));
    wait_for_master(&proxy.address(1));
    let mut blocked = Client::connect(&proxy.address(1));
    blocked.send(&["BLPOP", "list", "0"]);
    eventually("a client is blocked", || redis.info("blocked_clients").as_deref() == Some("1"));
    upgrade(&proxy);
    assert_eq!(blocked.rest(), "");
    assert!(proxy.said().contains("closed 1 clients"), "{}", proxy.said());
    assert_eq!(Client::connect(&proxy.address(1)).ask(&["PING"]), "+PONG\r\n");
}

/// `None`: the connection has ended, as it should, without half a reply.
pub(super) fn ask(client: &mut TlsStream, command: &str) -> Option<String> {
    use std::io::{BufRead, BufReader, Write};
    client.write_all(format!("{command}\r\n").as_bytes()).ok()?;
    let mut line = String::new();
    let read = BufReader::with_capacity(64, client).read_line(&mut line);
    assert!(read.is_err() || line.is_empty() || line.ends_with("\r\n"), "{line:?}");
    Some(line).filter(|line| !line.is_empty())
}

/// A client over TLS has to come again. It does so between two commands and not within one.
#[test]
fn clients_over_tls_lose_no_command() {
    let (redis, certs) = (Redis::start(), Certs::make());
    let listener = format!(
        "tls = {{ cert = {:?}, key = {:?} }}",
        certs.cert().display().to_string(),
        certs.key().display().to_string()
    );
    let proxy = Proxy::start(&toml("drain_timeout = \"4s\"", &listener, &[&redis]));
    let address = proxy.address(1);
    let trust = TlsClient::new(&certs, None);
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|threads| {
        let worker = threads.spawn(|| {
            let (mut number, mut connections) = (0_u64, 0);
            while !stop.load(Relaxed) {
                let mut client = trust.connect(&address);
                connections += 1;
                while !stop.load(Relaxed) {
                    done.fetch_add(1, Relaxed);
                    match ask(&mut client, "INCR key") {
                        Some(reply) => {
                            number += 1;
                            assert_eq!(reply, format!(":{number}\r\n"));
                        }
                        None => break,
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            (number, connections)
        });
        for _ in 0..2 {
            let before = done.load(Relaxed);
            within(UPGRADE, "there is load", || done.load(Relaxed) > before + 50 || worker.is_finished());
            upgrade(&proxy);
        }
        stop.store(true, Relaxed);
        let (number, connections) = worker.join().expect("it saw no answer twice and missed none");
        assert_eq!(redis.command(&["GET", "key"]), format!("${}\r\n{number}\r\n", number.to_string().len()));
        assert_eq!(connections, 3, "one more for each upgrade");
    });
}
