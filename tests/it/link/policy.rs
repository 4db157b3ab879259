//! Commands that an exit lets through and refuses, between real servers, Sentinels and programs.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::{Command, Stdio};

use super::{connect, listener};
use crate::support::client::Client;
use crate::support::link::Keys;
use crate::support::proxy::Proxy;
use crate::support::redis::{Redis, eventually, within};

/// Both ends, the exit with its commands.
fn pair(target: &str, commands: &str) -> (Proxy, Proxy) {
    let keys = Keys::make();
    let exit = keys.exit_to(target, "127.0.0.1:0", &format!("commands = \"{commands}\""));
    let exit = Proxy::start(&format!("[redan]\nadmin = \"127.0.0.1:0\"\n{exit}"));
    let entry = Proxy::start(&keys.entry_to(&exit.address(1), "127.0.0.1:0", ""));
    (entry, exit)
}

fn port(entry: &Proxy) -> String {
    entry.address(0).replace("127.0.0.1:", "")
}

fn refused(exit: &Proxy) -> u64 {
    let mut stream = connect(&exit.address(0));
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: redan\r\nConnection: close\r\n\r\n").expect("taken");
    let text = std::io::read_to_string(stream).expect("an answer");
    let series = "redan_link_commands_refused_total{link=\"here\"} ";
    let count = text.lines().find_map(|line| line.strip_prefix(series));
    count.unwrap_or_else(|| panic!("{text}")).parse().expect("a number")
}

fn refusal(commands: &str, name: &str) -> String {
    format!("-NOPERM link 'here' carries `commands = \"{commands}\"`, and '{name}' is none of them\r\n")
}

/// None of these may be done over a link that is for something else.
fn refuses_what_does_harm(entry: &Proxy, commands: &str) {
    let mut client = Client::connect(&entry.address(0));
    for words in [
        &["FLUSHALL"][..],
        &["CONFIG", "SET", "maxmemory", "1"],
        &["CONFIG", "GET", "*"],
        &["SET", "key", "harm"],
        &["EVAL", "return redis.call('FLUSHALL')", "0"],
        &["SHUTDOWN", "NOSAVE"],
        &["DEBUG", "SLEEP", "100"],
    ] {
        assert_eq!(client.ask(words), refusal(commands, words[0]));
    }
    // With a password set it says that one is wanted.
    let reply = client.ask(&["PING"]);
    assert!(reply.contains("PONG") || reply.starts_with("-NOAUTH"), "the connection goes on: {reply}");
}

#[test]
fn a_replica_follows_over_a_link_for_replication_and_nothing_else_does() {
    let master = Redis::options().password("secret").start();
    let (entry, exit) = pair(&master.address(), "replication");
    let replica = Redis::options().line(&format!("replicaof 127.0.0.1 {}", port(&entry))).master_auth("secret").start();
    replica.wait_for_link();
    master.ok(&["SET", "key", "value"]);
    eventually("the replica has it", || replica.command(&["GET", "key"]).contains("value"));
    eventually("the master knows how far it is", || {
        let info = master.command(&["INFO", "replication"]);
        info.contains("state=online") && info.contains("lag=0") || info.contains("lag=1")
    });
    refuses_what_does_harm(&entry, "replication");
    assert!(refused(&exit) >= 7);
    // Whoever pretends to be a replica may not order anything as one.
    let mut pretender = Client::connect(&entry.address(0));
    pretender.ok(&["AUTH", "secret"]);
    pretender.send(&["PSYNC", "?", "-1"]);
    // A master that is still busy with the last sync sends empty lines before.
    pretender.until("+FULLRESYNC");
    pretender.send(&["FLUSHALL"]);
    let mut rest = pretender.stream();
    assert!(rest.read_to_end(&mut Vec::new()).is_err(), "it is reset");
    eventually("it says why", || exit.said().contains("it sent 'FLUSHALL', which `commands = \"replication\"`"));
    let mut promoter = Client::connect(&entry.address(0));
    promoter.ok(&["AUTH", "secret"]);
    assert_eq!(promoter.ask(&["PSYNC", "x", "1", "FAILOVER"]), refusal("replication", "PSYNC"));
    assert!(replica.command(&["GET", "key"]).contains("value"), "nothing was done");
    replica.wait_for_link();
    assert!(entry.said().contains("does not let through"), "the other end knows why");
    assert!(exit.said().contains("refused 'FLUSHALL' of redan1"), "the log names who it was");
}

#[test]
fn a_sentinel_watches_and_fails_over_over_links_for_sentinels() {
    let master = Redis::start();
    let (entry, exit) = pair(&master.address(), "sentinel");
    let sentinel = Redis::options()
        .sentinel()
        .line(&format!("sentinel monitor mymaster 127.0.0.1 {} 1", port(&entry)))
        .line("sentinel down-after-milliseconds mymaster 60000")
        .start();
    within(std::time::Duration::from_secs(40), "the Sentinel knows the master through the link", || {
        let reply = sentinel.command(&["SENTINEL", "MASTER", "mymaster"]);
        let field = |name: &str| {
            let mut lines = reply.lines().skip_while(|line| *line != name);
            lines.nth(2).unwrap_or_default().to_owned()
        };
        field("flags") == "master" && field("role-reported") == "master" && !field("runid").is_empty()
    });
    // Its greetings come back to it by the channel, so it publishes and subscribes.
    let mut listening = Client::connect(&master.address());
    listening.send(&["SUBSCRIBE", "__sentinel__:hello"]);
    assert!(listening.reply().contains("subscribe"));
    assert!(listening.reply().contains("mymaster"), "a greeting");
    refuses_what_does_harm(&entry, "sentinel");
    let mut client = Client::connect(&entry.address(0));
    assert_eq!(client.ask(&["SUBSCRIBE", "news"]), refusal("sentinel", "SUBSCRIBE"));
    assert_eq!(client.ask(&["PUBLISH", "news", "x"]), refusal("sentinel", "PUBLISH"));
    // What it does to promote a node, as it does it.
    let mut promoter = Client::connect(&entry.address(0));
    for words in [&["MULTI"][..], &["SLAVEOF", "NO", "ONE"], &["CLIENT", "KILL", "TYPE", "pubsub"], &["EXEC"]] {
        let reply = promoter.ask(words);
        assert!(!reply.starts_with('-'), "{words:?}: {reply}");
    }
    assert!(!exit.said().contains("'INFO'"), "{}", exit.said());
}

#[test]
fn sentinels_speak_to_each_other_over_a_link() {
    let other = Redis::options().sentinel().line("sentinel monitor mymaster 127.0.0.1 6 2").start();
    let (entry, _exit) = pair(&other.address(), "sentinel");
    let mut sentinel = Client::connect(&entry.address(0));
    assert!(sentinel.ask(&["PING"]).starts_with('+'));
    assert!(sentinel.ask(&["SENTINEL", "is-master-down-by-addr", "127.0.0.1", "6", "0", "*"]).starts_with("*3"));
    assert!(sentinel.ask(&["SENTINEL", "get-master-addr-by-name", "mymaster"]).contains("127.0.0.1"));
    for words in [&["SENTINEL", "REMOVE", "mymaster"][..], &["SENTINEL", "SET", "mymaster", "quorum", "1"]] {
        assert_eq!(sentinel.ask(words), refusal("sentinel", "SENTINEL"));
    }
    assert!(other.command(&["SENTINEL", "MASTER", "mymaster"]).contains("mymaster"), "it is still there");
}

#[test]
fn redis_cli_reads_over_a_link_that_only_reads() {
    let redis = Redis::start();
    redis.ok(&["SET", "key", "value"]);
    let (entry, exit) = pair(&redis.address(), "read-only");
    let cli = |words: &[&str]| {
        let output = Command::new("redis-cli").args(["-p", &port(&entry)]).args(words).stdin(Stdio::null()).output();
        String::from_utf8(output.expect("redis-cli runs").stdout).expect("text")
    };
    assert_eq!(cli(&["GET", "key"]), "value\n");
    assert_eq!(cli(&["-3", "HGETALL", "none"]).trim(), "");
    assert!(cli(&["FLUSHALL"]).contains("NOPERM link 'here' carries `commands = \"read-only\"`"));
    refuses_what_does_harm(&entry, "read-only");
    assert!(refused(&exit) >= 8);
    let mut client = Client::connect(&entry.address(0));
    let big = "x".repeat(3_000_000);
    redis.ok(&["SET", "big", "1"]);
    assert_eq!(client.ask(&["SET", "big", &big]), refusal("read-only", "SET"));
    assert_eq!(client.ask(&["EXISTS", &big]), ":0\r\n", "long arguments pass");
    // Replies and refusals stay in order, however much is asked at once.
    let mut said = Vec::new();
    let mut expected = String::new();
    for number in 0..2000 {
        said.extend(b"GET key\r\n");
        expected += "$5\r\nvalue\r\n";
        if number % 3 == 0 {
            said.extend(b"*2\r\n$3\r\nDEL\r\n$3\r\nkey\r\n");
            expected += &refusal("read-only", "DEL");
        }
    }
    let mut pipeline = connect(&entry.address(0));
    pipeline.write_all(&said).expect("taken");
    pipeline.shutdown(Shutdown::Write).expect("open");
    let mut heard = String::new();
    pipeline.read_to_string(&mut heard).expect("every reply and the end");
    assert!(heard == expected, "{} bytes of {}", heard.len(), expected.len());
    // A transaction with a hole in it is none.
    let mut client = Client::connect(&entry.address(0));
    client.ok(&["MULTI"]);
    assert_eq!(client.ask(&["GET", "key"]), "+QUEUED\r\n");
    assert_eq!(client.ask(&["SET", "key", "harm"]), refusal("read-only", "SET"));
    assert_eq!(client.rest(), "", "the connection ends");
    assert_eq!(redis.text(&["GET", "key"]), "value");
}

#[test]
fn a_slow_program_and_a_slow_target_are_waited_for() {
    let redis = Redis::start();
    redis.ok(&["SET", "big", &"y".repeat(1_000_000)]);
    let (entry, _exit) = pair(&redis.address(), "read-only");
    let mut stream = connect(&entry.address(0));
    // More than all buffers between hold.
    for _ in 0..20 {
        stream.write_all(b"GET big\r\nDEL big\r\n").expect("taken");
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    stream.shutdown(Shutdown::Write).expect("open");
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).expect("every reply and the end");
    let one = 10 + 1_000_000 + 2 + refusal("read-only", "DEL").len();
    assert_eq!(heard.len(), 20 * one);
    // A target that answers nothing does not keep a program that has gone.
    let (target, address) = listener();
    let (entry, exit) = pair(&address, "read-only");
    let mut program = connect(&entry.address(0));
    program.write_all(b"GET a\r\nDEL a\r\nGET b\r\n").expect("taken");
    let mut silent = super::served(&target);
    drop(program);
    let mut heard = Vec::new();
    silent.read_to_end(&mut heard).expect("the end");
    assert_eq!(String::from_utf8_lossy(&heard), "2\r\n$3\r\nGET\r\n$1\r\na\r\n", "what was behind is dropped");
    assert!(exit.said().contains("refused 'DEL'"));
}
