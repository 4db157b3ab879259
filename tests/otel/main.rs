//! Sampled commands as a collector gets them: the program built with the feature `otel`, real servers, a small collector.

#[allow(dead_code, reason = "shared with the other tests, which need the other parts")]
#[path = "../it/support/mod.rs"]
mod support;

mod collector;
mod wire;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use collector::Collector;
use support::client::{Client, pipeline};
use support::proxy::Proxy;
use support::redis::{DEADLINE, Redis, eventually, free_port};
use wire::{CLIENT, INTERNAL, SERVER};

/// Redan that tells `url` of every command, in front of these nodes. `listener` is added to its one listener.
fn traced(url: &str, nodes: &[&Redis], listener: &str) -> Proxy {
    let nodes: Vec<String> = nodes.iter().map(|node| format!("\"{}\"", node.address())).collect();
    let proxy = Proxy::start(&format!(
        "[redan]\nadmin = \"127.0.0.1:0\"\nworkers = 2\ntrace_sample = 1.0\ntrace_export = \"{url}\"\n\
         [[listener]]\nname = \"app\"\nbind = \"127.0.0.1:0\"\n{listener}\n\
         [[group]]\nname = \"main\"\nnodes = [{}]\nprobe_interval = \"200ms\"\n",
        nodes.join(", ")
    ));
    eventually("there is a master", || metric(&proxy, "redan_group_has_master{group=\"main\"}") == 1.0);
    proxy
}

fn metric(proxy: &Proxy, series: &str) -> f64 {
    let mut stream = TcpStream::connect(proxy.address(0)).expect("the admin endpoint");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("writable");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let line = answer.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().expect("a number"))
}

fn traces(proxy: &Proxy, outcome: &str) -> f64 {
    metric(proxy, &format!("redan_traces_total{{outcome=\"{outcome}\"}}"))
}

/// Two attempts read the clock of the day each for itself, on a machine that may do something else in between.
const SLACK: u64 = 2_000_000;

fn port(redis: &Redis) -> u64 {
    redis.port().into()
}

#[test]
fn a_command_is_a_request_with_its_way_to_the_node_below_it() {
    let (collector, node) = (Collector::start(), Redis::start());
    let proxy = traced(&collector.url(), &[&node], "");
    let mut client = Client::connect(&proxy.address(1));
    let began = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
    client.ok(&["SELECT", "2"]);
    client.ok(&["SET", "a-hidden-key", "a-hidden-value"]);
    // Late enough that the reads below are told apart from the write by their order.
    thread::sleep(Duration::from_millis(5));
    client.text(&["GET", "a-hidden-key"]);
    assert!(client.ask(&["LPUSH", "a-hidden-key", "a-hidden-element"]).starts_with("-WRONGTYPE"));
    // Over a connection of its own, and with words that a client may choose.
    client.ok(&["WATCH", "a-hidden-key"]);
    client.ok(&["UNWATCH"]);
    assert!(client.ask(&["EVAL", "return redis.error_reply('HIDDEN a-hidden-word')", "0"]).starts_with("-HIDDEN"));
    assert!(client.ask(&["A-HIDDEN-COMMAND", "a-hidden-argument"]).starts_with("-ERR"));

    let (get, below) = collector.request("GET");
    let [at_node] = &below[..] else { panic!("{below:?}") };
    assert_eq!((get.kind, at_node.kind, at_node.name.as_str()), (SERVER, CLIENT, "GET"));
    assert_eq!((get.trace.len(), get.id.len(), get.status, at_node.status), (16, 8, 0, 0));
    assert!(began < get.start && get.start <= at_node.start && at_node.start < at_node.end && at_node.end == get.end);
    assert!(get.end - began < 20_000_000_000, "{get:?}");
    for span in [&get, at_node] {
        assert_eq!(span.says("db.system.name"), Some("redis"));
        assert_eq!((span.says("db.operation.name"), span.says("db.namespace")), (Some("GET"), Some("2")));
        assert_eq!(span.says("error.type"), None);
    }
    assert_eq!((get.says("redan.listener"), get.says("redan.group")), (Some("app"), Some("main")));
    assert!(get.says("redan.lane").is_some() && get.number("client.port") > 0, "{get:?}");
    assert_eq!(get.says("client.address"), Some("127.0.0.1"));
    assert_eq!((at_node.says("server.address"), at_node.number("server.port")), (Some("127.0.0.1"), port(&node)));
    assert_eq!(at_node.says("network.peer.address"), Some("127.0.0.1"));
    assert_eq!(get.resource["service.name"], "redan");
    assert_eq!(get.resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert!(!get.resource["service.instance.id"].is_empty());

    let (set, _) = collector.request("SET");
    assert_eq!(set.says("redan.lane"), Some("ordered"));
    assert_ne!(set.trace, get.trace);
    for (name, code) in [("LPUSH", "WRONGTYPE"), ("EVAL", "other"), ("redis", "ERR")] {
        let (failed, below) = collector.request(name);
        assert!(failed.status == 2 && below.iter().all(|span| span.status == 2), "{failed:?} {below:?}");
        assert_eq!((failed.says("db.response.status_code"), failed.says("error.type")), (Some(code), Some(code)));
    }
    assert_eq!(collector.request("WATCH").0.says("redan.pin"), Some("watch"));
    for hidden in ["idden", "HIDDEN"] {
        assert!(!collector.has_seen(hidden), "what clients write is nobody's business");
    }
    assert_eq!(collector.connections(), 1, "one connection is kept");
    assert!(!proxy.said().contains("redan::trace"), "the log need not tell of it too");
    eventually("they are counted", || traces(&proxy, "exported") >= 7.0);
    assert_eq!((traces(&proxy, "dropped"), traces(&proxy, "failed")), (0.0, 0.0));
}

#[test]
fn a_write_that_waited_for_a_master_says_for_how_long() {
    let (collector, mut node) = (Collector::start(), Redis::start());
    let proxy = traced(&collector.url(), &[&node], "hold = \"20s\"");
    let mut client = Client::connect(&proxy.address(1));
    client.ok(&["SET", "k", "v"]);
    node.kill();
    eventually("it is missed", || metric(&proxy, "redan_group_has_master{group=\"main\"}") == 0.0);
    client.send(&["APPEND", "k", "v"]);
    eventually("the client waits", || metric(&proxy, "redan_holds_now") == 1.0);
    thread::sleep(Duration::from_millis(300));
    node.restart();
    assert!(client.reply().starts_with(':'));
    client.ok(&["SETEX", "k", "100", "v"]);

    let (append, below) = collector.request("APPEND");
    let [hold, at_node] = &below[..] else { panic!("{below:?}") };
    assert_eq!((hold.kind, hold.name.as_str(), at_node.kind), (INTERNAL, "hold", CLIENT));
    assert!(hold.end - hold.start >= 250_000_000, "{hold:?}");
    assert!(append.start <= hold.start && hold.end <= at_node.start && at_node.end == append.end, "{below:?}");
    assert!(append.number("redan.hold_us") >= 250_000 && append.number("redan.wait_us") >= 250_000);
    assert_eq!((append.status, at_node.status), (0, 0));
    let (next, below) = collector.request("SETEX");
    assert!(below.len() == 1 && next.says("redan.hold_us").is_none(), "the hold was not its own: {next:?}");
}

#[test]
fn what_found_no_master_in_time_is_an_error_of_redans_own() {
    let (collector, mut node) = (Collector::start(), Redis::start());
    let proxy = traced(&collector.url(), &[&node], "hold = \"300ms\"");
    let mut client = Client::connect(&proxy.address(1));
    client.ok(&["SET", "k", "v"]);
    node.kill();
    eventually("it is missed", || metric(&proxy, "redan_group_has_master{group=\"main\"}") == 0.0);
    assert!(client.ask(&["INCR", "k"]).starts_with("-LOADING"));
    let (incr, below) = collector.request("INCR");
    assert_eq!((incr.status, incr.says("db.response.status_code")), (2, Some("LOADING")));
    assert!(below.iter().all(|span| span.name == "hold"), "no node was asked: {below:?}");
    assert_eq!(incr.says("redan.lane"), None);
}

#[test]
fn a_refused_write_has_an_attempt_for_each_node() {
    let (collector, old) = (Collector::start(), Redis::start());
    let new = Redis::options().replica_of(&old).start();
    new.wait_for_link();
    let proxy = traced(&collector.url(), &[&old, &new], "hold = \"20s\"");
    let mut client = Client::connect(&proxy.address(1));
    client.ok(&["SET", "k", "v"]);
    // The probes are not so quick that no write is refused.
    let mut rounds = 0;
    let (mut from, mut to) = (&old, &new);
    eventually("a write is refused by the old master", || {
        rounds += 1;
        eventually("it has everything", || from.info("master_repl_offset") == to.info("slave_repl_offset"));
        to.replica_of(None);
        from.replica_of(Some(to));
        client.ok(&["PSETEX", "k", "100000", "v"]);
        (from, to) = (to, from);
        to.wait_for_link();
        metric(&proxy, "redan_bounces_total") >= 1.0
    });
    let requests = || collector.spans().into_iter().filter(|span| span.name == "PSETEX" && span.parent.is_empty());
    eventually("each of them is told of once", || requests().count() == rounds);
    let attempts = |request: &wire::Span| {
        let below = collector.spans().into_iter().filter(|span| span.is_below(request) && span.kind == CLIENT);
        let mut below: Vec<wire::Span> = below.collect();
        below.sort_by_key(|span| span.start);
        below
    };
    let request = requests().find(|request| attempts(request).len() > 1).expect("one was sent twice");
    let below = attempts(&request);
    let (first, last) = (&below[0], &below[below.len() - 1]);
    assert_eq!((first.status, first.says("error.type"), last.status, request.status), (2, Some("READONLY"), 0, 0));
    assert_ne!(first.number("server.port"), last.number("server.port"));
    assert!(request.start <= first.start + SLACK && first.end <= last.start + SLACK, "{request:?} {below:?}");
    assert_eq!(last.end, request.end);
}

/// How long the slowest of these took, in pipelines of a hundred.
fn slowest(client: &mut Client, rounds: usize) -> Duration {
    let commands = pipeline(&[&["GET", "k"][..]; 100]);
    let round = || {
        let start = Instant::now();
        client.raw(&commands);
        (0..100).for_each(|_| drop(client.reply()));
        start.elapsed()
    };
    std::iter::repeat_with(round).take(rounds).max().unwrap_or_default()
}

#[test]
fn a_collector_that_hangs_delays_nobody_and_what_is_lost_is_counted() {
    let (collector, node) = (Collector::start(), Redis::start());
    collector.hangs();
    let mut proxy = traced(&collector.url(), &[&node], "");
    let mut client = Client::connect(&proxy.address(1));
    client.ok(&["SET", "k", "v"]);
    eventually("the collector has a batch", || collector.requests() >= 1);
    // Less than it takes until the batch is given up, and more than there is room for.
    let slowest = slowest(&mut client, 200);
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let dropped = traces(&proxy, "dropped");
    assert!((1.0..20_001.0).contains(&dropped), "{dropped}");
    assert_eq!(traces(&proxy, "exported"), 0.0);
    // Nor does it delay the end.
    let start = Instant::now();
    drop(client);
    proxy.signal("TERM");
    assert_eq!(proxy.exit_code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[test]
fn a_collector_that_is_not_there_costs_batches_and_one_line_of_the_log() {
    let node = Redis::start();
    let proxy = traced(&format!("http://127.0.0.1:{}", free_port()), &[&node], "");
    let mut client = Client::connect(&proxy.address(1));
    client.ok(&["SET", "k", "v"]);
    assert!(slowest(&mut client, 10) < Duration::from_secs(2));
    eventually("the first batch is given up", || traces(&proxy, "failed") >= 1.0);
    assert_eq!(traces(&proxy, "exported"), 0.0);
    assert_eq!(proxy.said().matches("traces are lost or late").count(), 1, "{}", proxy.said());
}

#[test]
fn a_batch_that_is_refused_for_a_moment_is_sent_again() {
    let (collector, node) = (Collector::start(), Redis::start());
    let proxy = traced(&collector.url(), &[&node], "");
    collector.refuses(2);
    let mut client = Client::connect(&proxy.address(1));
    client.ok(&["SET", "k", "v"]);
    collector.request("SET");
    assert_eq!(collector.requests(), 3);
    eventually("it is counted once", || traces(&proxy, "exported") == 1.0);
    eventually("the log says that it is well", || proxy.said().contains("takes them again"));
    assert_eq!(traces(&proxy, "failed"), 0.0);
}

#[test]
fn what_a_collector_does_not_want_is_lost() {
    let (collector, node) = (Collector::start(), Redis::start());
    collector.rejects(1);
    let proxy = traced(&collector.url(), &[&node], "");
    Client::connect(&proxy.address(1)).ok(&["SET", "k", "v"]);
    eventually("it is counted", || traces(&proxy, "failed") == 1.0);
    assert_eq!((traces(&proxy, "exported"), collector.requests()), (0.0, 1), "it is not sent again");
    assert!(proxy.said().contains("it did not want 1 spans: too many"), "{}", proxy.said());
}

#[test]
fn what_is_left_at_the_end_is_sent() {
    let (collector, node) = (Collector::start(), Redis::start());
    let mut proxy = traced(&collector.url(), &[&node], "");
    let mut client = Client::connect(&proxy.address(1));
    for _ in 0..5 {
        client.ok(&["SET", "k", "v"]);
    }
    drop(client);
    proxy.signal("TERM");
    assert_eq!(proxy.exit_code(), Some(0));
    let requests = collector.spans().into_iter().filter(|span| span.kind == SERVER);
    assert_eq!(requests.count(), 5);
}

#[test]
fn a_configuration_with_a_collector_is_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Redis::start();
    let file = folder.path().join("proxy.toml");
    let text = format!(
        "[redan]\ntrace_sample = 0.1\ntrace_export = \"http://collector\"\n[[listener]]\nname = \"app\"\n\
         bind = \"127.0.0.1:6380\"\n[[group]]\nname = \"main\"\nnodes = [\"{}\"]\n",
        node.address()
    );
    std::fs::write(&file, text).expect("writable");
    let output = Command::new(env!("CARGO_BIN_EXE_redan")).arg("check").arg(&file).output().expect("it runs");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
