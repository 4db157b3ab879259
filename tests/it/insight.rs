//! What a running Redan remembers of single commands: the slow log, hot keys, large replies, the trace; and what it counts.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::proxy::Proxy;
use crate::support::redis::{DEADLINE, Redis, eventually};

struct Watched {
    proxy: Proxy,
    folder: TempDir,
}

impl Watched {
    /// One group with one node, so that everything goes there; `settings` stand in `[redan]`.
    fn start(node: &Redis, settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("admin.sock");
        let proxy = Proxy::start(&format!(
            "[redan]\nadmin = \"127.0.0.1:0\"\nadmin_socket = \"unix:{}\"\nworkers = 2\n{settings}\n\
             [[listener]]\nname = \"app\"\nbind = \"127.0.0.1:0\"\nhold = \"30s\"\n\
             [[group]]\nname = \"main\"\nnodes = [\"{}\"]\nprobe_interval = \"100ms\"\n",
            socket.display(),
            node.address()
        ));
        let watched = Self { proxy, folder };
        eventually("there is a master", || watched.metrics().contains("redan_group_has_master{group=\"main\"} 1\n"));
        watched
    }

    fn client(&self) -> Client {
        Client::connect(&self.proxy.address(1))
    }

    /// What the command line prints, and whether it succeeded.
    fn cli(&self, words: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redan"));
        command.args(words).arg("--socket").arg(self.folder.path().join("admin.sock"));
        let output = command.output().expect("the program that cargo has just built");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said.into_owned())
    }

    fn json(&self, words: &[&str]) -> Value {
        let (succeeded, said) = self.cli(&[words, &["--json"]].concat());
        assert!(succeeded, "{words:?}: {said}");
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.proxy.address(0)).expect("the admin endpoint");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").expect("writable");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    fn metric(&self, series: &str) -> f64 {
        let metrics = self.metrics();
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }
}

#[test]
fn the_slow_log_tells_where_the_time_went() {
    let mut node = Redis::start();
    let watched = Watched::start(&node, "slowlog_threshold = \"200ms\"");
    let mut client = watched.client();
    client.ok(&["SET", "quick", "value"]);
    assert_eq!(watched.json(&["slowlog"])["slowlog"], Value::Array(Vec::new()), "nothing was slow");

    // The node takes its time. On a busy machine the pause may be over before the command is there.
    client.ok(&["CLIENT", "SETNAME", "me"]);
    let long = "v".repeat(1000);
    eventually("a command was slow", || {
        node.ok(&["CLIENT", "PAUSE", "700", "ALL"]);
        client.ok(&["SET", "at-the-node", &long]);
        watched.metric("redan_slow_commands_total") >= 1.0
    });
    // Redan does: there is no master.
    node.kill();
    eventually("it is missed", || watched.metric("redan_group_has_master{group=\"main\"}") == 0.0);
    client.send(&["SET", "in-redan", "v"]);
    eventually("the client waits", || watched.metric("redan_holds_now") == 1.0);
    thread::sleep(Duration::from_millis(300));
    node.restart();
    assert_eq!(client.reply(), "+OK\r\n");
    // A command with a connection of its own.
    eventually("a command of a transaction was slow", || {
        client.ok(&["WATCH", "k"]);
        node.ok(&["CLIENT", "PAUSE", "700", "ALL"]);
        client.ok(&["MULTI"]);
        client.ok(&["DISCARD"]);
        watched.json(&["slowlog", "50"]).to_string().contains("MULTI")
    });

    let log = watched.json(&["slowlog", "50"]);
    let entries = log["slowlog"].as_array().expect("a list");
    let find = |word: &str| {
        let has = |entry: &&Value| entry["command"].as_array().is_some_and(|words| words.iter().any(|w| w == word));
        entries.iter().find(has).unwrap_or_else(|| panic!("{word} is not in {log}"))
    };
    let micros = |entry: &Value, part: &str| entry[part].as_u64().expect("a number");
    let slow = find("at-the-node");
    assert!(micros(slow, "at_node") >= 200_000, "{slow}");
    assert!(micros(slow, "in_redan") < micros(slow, "at_node"), "{slow}");
    assert_eq!(slow["command"][2], format!("{}... (872 more bytes)", "v".repeat(128)));
    assert_eq!((&slow["node"], &slow["listener"]), (&Value::from(node.address()), &Value::from("app")));
    assert_eq!((&slow["user"], &slow["name"]), (&Value::from("default"), &Value::from("me")));
    assert!(slow["address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")), "{slow}");
    let held = find("in-redan");
    assert!(micros(held, "in_redan") >= 250_000, "{held}");
    assert_eq!(
        micros(held, "microseconds"),
        micros(held, "in_redan") + micros(held, "at_node") + micros(held, "at_client")
    );
    assert!(micros(find("MULTI"), "at_node") >= 200_000);
    assert!(watched.metric("redan_slow_commands_total") >= 3.0);
    assert!(watched.metric("redan_hold_seconds_total") >= 0.25);

    let (_, table) = watched.cli(&["slowlog"]);
    assert!(table.lines().next().is_some_and(|head| head.contains("in redan") && head.contains("at node")), "{table}");
    assert!(table.contains("SET in-redan v"), "{table}");
    assert!(watched.cli(&["slowlog", "--reset"]).0);
    assert_eq!(watched.json(&["slowlog"])["slowlog"], Value::Array(Vec::new()));
    assert_eq!(watched.json(&["ask", "SLOWLOG", "LEN"])["length"], 0);
}

#[test]
fn nothing_is_slow_at_zero_and_everything_is_traced_at_one() {
    let node = Redis::start();
    let watched = Watched::start(&node, "slowlog_threshold = \"0s\"\ntrace_sample = 1.0");
    let mut client = watched.client();
    node.ok(&["CLIENT", "PAUSE", "300", "ALL"]);
    client.ok(&["SET", "a-key", "a-secret-value"]);
    assert_eq!(watched.json(&["slowlog"])["slowlog"], Value::Array(Vec::new()));
    eventually("the log tells of it", || {
        let said = watched.proxy.said();
        said.lines().any(|line| line.contains("redan::trace") && line.contains("set") && line.contains("node_us"))
    });
    assert!(!watched.proxy.said().contains("a-secret-value"), "a trace has no arguments");
}

#[test]
fn hot_keys_are_counted_once_somebody_wants_it() {
    let node = Redis::start();
    let watched = Watched::start(&node, "");
    let (succeeded, said) = watched.cli(&["hotkeys"]);
    assert!(!succeeded && said.contains("HOTKEYS ON"), "{said}");
    assert!(watched.cli(&["hotkeys", "on"]).0);
    // On both workers.
    for _ in 0..2 {
        let mut client = watched.client();
        for round in 0..200 {
            for _ in 0..8 {
                client.send(&["GET", "hottest"]);
            }
            client.send(&["SET", "second", "value"]);
            client.send(&["SET", "second", "value"]);
            client.send(&["GET", &format!("cold:{round}")]);
            for _ in 0..11 {
                client.reply();
            }
        }
    }
    let keys = watched.json(&["hotkeys"]);
    let first = &keys["hotkeys"][0];
    assert_eq!(first["key"], "hottest", "{keys}");
    let counted = first["commands"].as_u64().expect("a number");
    assert!((1600..6400).contains(&counted), "of 3200 it counted {counted}");
    assert_eq!((&first["writes"], &keys["hotkeys"][1]["key"]), (&Value::from(0), &Value::from("second")));
    assert!(watched.cli(&["hotkeys"]).1.contains("hottest"));
    assert!(watched.cli(&["hotkeys", "off"]).0);
    assert!(!watched.cli(&["hotkeys"]).0);
}

#[test]
fn large_replies_are_noted_with_their_keys() {
    let node = Redis::start();
    let watched = Watched::start(&node, "big_reply = \"100kb\"");
    node.ok(&["SET", "large", &"x".repeat(2_000_000)]);
    node.ok(&["SET", "middle", &"x".repeat(110_000)]);
    node.ok(&["SET", "small", &"x".repeat(1000)]);
    let mut client = watched.client();
    for key in ["large", "middle", "small", "large"] {
        assert!(client.text(&["GET", key]).is_some());
    }
    let noted = watched.json(&["bigreplies"]);
    let replies = noted["bigreplies"].as_array().expect("a list");
    let each: Vec<_> = replies.iter().map(|reply| (&reply["key"], &reply["count"], &reply["command"])).collect();
    let expected = [("large", 2), ("middle", 1)].map(|(key, count)| (Value::from(key), Value::from(count)));
    assert_eq!(
        each,
        [(&expected[0].0, &expected[0].1, &"get".into()), (&expected[1].0, &expected[1].1, &"get".into())]
    );
    assert!(replies[0]["bytes"].as_u64().is_some_and(|bytes| bytes > 2_000_000), "{noted}");
    assert_eq!(replies[0]["node"], node.address());
    assert_eq!(watched.metric("redan_big_replies_total"), 3.0);
    assert!(watched.cli(&["bigreplies", "--reset"]).0);
    assert!(watched.cli(&["bigreplies"]).1.contains("no reply"));
}

#[test]
fn commands_errors_and_times_are_counted_where_they_happen() {
    let node = Redis::start();
    let watched = Watched::start(&node, "");
    let mut client = watched.client();
    for _ in 0..10 {
        client.ok(&["SET", "k", "text"]);
    }
    client.send(&["GET", "k"]);
    client.send(&["GET", "k"]);
    assert_eq!((client.reply(), client.reply()), ("$4\r\ntext\r\n".to_owned(), "$4\r\ntext\r\n".to_owned()));
    assert!(client.ask(&["LPUSH", "k", "x"]).starts_with("-WRONGTYPE"));
    assert!(client.ask(&["NOT-A-COMMAND"]).starts_with("-ERR"));
    assert!(client.ask(&["AUTH", "somebody", "wrong"]).starts_with('-'));
    // Over a connection of its own; the one that blocks by design has no time.
    client.ok(&["WATCH", "k"]);
    client.ok(&["UNWATCH"]);
    client.send(&["BLPOP", "empty", "0.3"]);
    client.reply();
    let count = |series: &str| watched.metric(series);
    for (series, expected) in [
        ("redan_command_calls_total{command=\"set\"}", 10.0),
        ("redan_command_calls_total{command=\"get\"}", 2.0),
        ("redan_command_calls_total{command=\"blpop\"}", 1.0),
        ("redan_command_calls_total{command=\"watch\"}", 1.0),
        ("redan_command_calls_total{command=\"auth\"}", 1.0),
        ("redan_command_seconds_total{command=\"blpop\"}", 0.0),
        ("redan_command_errors_total{command=\"lpush\"}", 1.0),
        ("redan_errors_total{from=\"node\",code=\"WRONGTYPE\"}", 1.0),
        ("redan_listener_commands_total{listener=\"app\"}", 18.0),
        ("redan_listener_sessions{listener=\"app\"}", 1.0),
        ("redan_group_master_changes_total{group=\"main\",change=\"found\"}", 1.0),
    ] {
        eventually(series, || count(series) == expected);
    }
    assert!(count("redan_command_seconds_total{command=\"set\"}") > 0.0);
    assert!(
        count("redan_errors_total{from=\"redan\",code=\"WRONGPASS\"}")
            + count("redan_errors_total{from=\"redan\",code=\"ERR\"}")
            >= 1.0
    );
    // What went over lanes is in both, and each histogram's last bucket has everything.
    for name in ["redan_listener_latency_seconds", "redan_node_latency_seconds"] {
        let labels = if name.contains("listener") {
            "listener=\"app\"".to_owned()
        } else {
            format!("group=\"main\",node=\"{}\"", node.address())
        };
        let all = count(&format!("{name}_count{{{labels}}}"));
        assert!((13.0..=18.0).contains(&all), "{name}: {all}");
        assert_eq!(count(&format!("{name}_bucket{{le=\"+Inf\",{labels}}}")), all, "{}", watched.metrics());
        let sum = count(&format!("{name}_sum{{{labels}}}"));
        assert!(sum > 0.0 && sum < 60.0, "{name}: {sum}");
    }
    assert!(count("process_open_fds") > 10.0 && count("process_cpu_seconds_total") > 0.0);
    assert!(count("process_max_fds") >= 1024.0 && count("process_resident_memory_bytes") > 1e6);
}

#[test]
fn scrapes_in_a_loop_delay_neither_workers_nor_probes() {
    let node = Redis::start();
    let watched = Watched::start(&node, "");
    let stop = AtomicBool::new(false);
    let address = format!("{{group=\"main\",node=\"{}\"}}", node.address());
    thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    watched.metrics();
                }
            });
        }
        let served = threads.spawn(|| {
            let mut client = watched.client();
            let mut served = 0;
            while !stop.load(Ordering::Relaxed) {
                client.ok(&["SET", "k", "v"]);
                served += 1;
            }
            served
        });
        for _ in 0..30 {
            let metrics = watched.metrics();
            for line in metrics.lines().filter(|line| line.starts_with("redan_worker_heartbeat_age_seconds{")) {
                let age: f64 = line.rsplit(' ').next().and_then(|age| age.parse().ok()).expect("a number");
                assert!(age < 30.0, "{line}");
            }
            assert!(metrics.contains(&format!("redan_node_up{address} 1\n")), "probes are answered");
            thread::sleep(Duration::from_millis(50));
        }
        stop.store(true, Ordering::Relaxed);
        assert!(served.join().expect("it does not panic") > 30);
    });
}
