//! Whole topologies on hosts of their own, with nothing but links between them: they work, fail over and fail back, and nobody
//! on the way can read a byte.

use std::time::{Duration, Instant};

use crate::support::capture::{Capture, Seen};
use crate::support::client::Client;
use crate::support::link::Keys;
use crate::support::linked::{Machine, eventually, keys, links};
use crate::support::network::inside;

/// What is written, many times in each value so that no cut between two packets hides it.
const MARK: &str = "readable-by-anyone-";

fn value(number: usize) -> String {
    format!("{number}:{}", MARK.repeat(40))
}

/// Nothing was readable, and the search would have found it: the test's own clients speak plaintext.
fn nothing_was_readable(seen: &Seen) {
    assert!(seen.bytes > 100_000, "only {} bytes were captured between the hosts", seen.bytes);
    assert!(seen.of_the_test > 0, "the capture misses what is certainly readable");
    assert_eq!(seen.readable, 0, "{} frames between the hosts are readable", seen.readable);
}

/// An endpoint for applications on the host: the test is one.
fn endpoint(own: &Machine, machines: &[Machine], more: &str) -> String {
    let nodes: Vec<String> = machines.iter().map(|machine| format!("{}:6379", machine.everywhere())).collect();
    format!(
        "[[listener]]\nname = \"app\"\nbind = \"10.77.0.{}:6380\"\nplaintext = \"allow\"\nauthentication = \"none\"\n\
         [[group]]\nname = \"main\"\nnodes = {nodes:?}\nprobe_interval = \"200ms\"\n{more}\n",
        own.number
    )
}

fn client_of(machine: &Machine) -> Client {
    Client::connect(&format!("{}:6380", machine.host.name()))
}

/// Until all of them hold the value, each asked on its own host.
fn until_everywhere(machines: &[Machine], key: &str, wanted: &str) {
    for machine in machines {
        eventually(&format!("{key} is on host {}", machine.number), || machine.own(&["GET", key]).trim_end() == wanted);
    }
}

#[test]
fn a_chain_of_three_hosts_fails_over_and_back() {
    inside("link::hosts::a_chain_of_three_hosts_fails_over_and_back", |network| {
        let machines = [1, 2, 3].map(|number| Machine::new(network, number));
        let [a, b, c] = &machines;
        let folder = Keys::make();
        let keys = keys(&folder, 3);
        let capture = Capture::start(MARK);
        let configs = machines.each_ref().map(|own| {
            links(&keys, own, &machines, &[("main", 6379)]) + &endpoint(own, &machines, "connect_timeout = \"1s\"")
        });
        let mut server = a.server("");
        let _b = b.server("replicaof 127.9.0.1 6379");
        let _c = c.server("replicaof 127.9.0.2 6379");
        let redans: Vec<_> =
            machines.iter().zip(&configs).map(|(own, config)| own.redan(config, "listening on")).collect();
        eventually("every Redan has a master", || {
            redans.iter().all(|redan| redan.said().contains("writes are served"))
        });
        [b, c].into_iter().for_each(Machine::wait_for_link);

        // Each host's application writes to the master and reads.
        let mut client = client_of(c);
        for number in 0..50 {
            client.ok(&["SET", &format!("key:{number}"), &value(number)]);
        }
        assert_eq!(client.text(&["GET", "key:7"]).as_deref(), Some(&*value(7)));
        until_everywhere(&machines, "key:49", &value(49));

        // The head of the chain dies, its successor takes over, and C does not notice.
        let losses = || redans[2].said().matches("127.9.0.1:6379: the ").count();
        let before = losses();
        server.kill();
        eventually("its loss is seen", || losses() > before);
        assert!(b.own(&["REPLICAOF", "NO", "ONE"]).contains("OK"));
        client.ok(&["SET", "after", &value(1)]);
        until_everywhere(&machines[1..], "after", &value(1));

        // Back: it follows first, then leads again.
        a.revive(&mut server);
        eventually("it answers", || a.own(&["PING"]).contains("PONG"));
        assert!(a.own(&["REPLICAOF", "127.9.0.2", "6379"]).contains("OK"));
        a.wait_for_link();
        until_everywhere(&machines, "after", &value(1));
        assert!(a.own(&["REPLICAOF", "NO", "ONE"]).contains("OK"));
        assert!(b.own(&["REPLICAOF", "127.9.0.1", "6379"]).contains("OK"));
        b.wait_for_link();
        client.ok(&["SET", "again", &value(2)]);
        until_everywhere(&machines, "again", &value(2));

        machines.iter().zip(&configs).for_each(|(own, config)| own.check_until(config, |_, fine| fine));
        nothing_was_readable(&capture.finish());
    });
}

const SENTINEL: u16 = 26379;

fn sentinel_lines(own: &Machine) -> String {
    format!(
        "sentinel announce-ip {}\nsentinel monitor mymaster 127.9.0.1 6379 2\n\
         sentinel down-after-milliseconds mymaster 3000\nsentinel failover-timeout mymaster 8000\n",
        own.everywhere()
    )
}

/// A field of what the Sentinel of a host says of the master.
fn sentinel_says(own: &Machine, field: &str) -> String {
    let text = own.ask(&own.everywhere(), SENTINEL, &["SENTINEL", "MASTER", "mymaster"]);
    let mut lines = text.lines();
    lines.find(|line| *line == field);
    lines.next().unwrap_or_default().to_owned()
}

#[test]
fn three_nodes_and_three_sentinels_on_three_hosts_fail_over_and_back() {
    inside("link::hosts::three_nodes_and_three_sentinels_on_three_hosts_fail_over_and_back", |network| {
        let machines = [1, 2, 3].map(|number| Machine::new(network, number));
        let [a, b, _] = &machines;
        let folder = Keys::make();
        let keys = keys(&folder, 3);
        let capture = Capture::start(MARK);
        let sentinels: Vec<String> =
            machines.iter().map(|machine| format!("{}:{SENTINEL}", machine.everywhere())).collect();
        let group =
            format!("connect_timeout = \"1s\"\nsentinel = {{ master = \"mymaster\", addresses = {sentinels:?} }}");
        let configs = machines.each_ref().map(|own| {
            links(&keys, own, &machines, &[("main", 6379), ("sentinel", SENTINEL)]) + &endpoint(own, &machines, &group)
        });
        // The first is preferred, so that it is the one that leads again.
        let mut first = a.server("replica-priority 10");
        let _others: Vec<_> = machines[1..].iter().map(|own| own.server("replicaof 127.9.0.1 6379")).collect();
        let redans: Vec<_> =
            machines.iter().zip(&configs).map(|(own, config)| own.redan(config, "listening on")).collect();
        machines[1..].iter().for_each(Machine::wait_for_link);
        let _watchers: Vec<_> =
            machines.iter().map(|own| own.serve(SENTINEL, &sentinel_lines(own), &["--sentinel"])).collect();
        eventually("the Sentinels know everyone", || {
            machines
                .iter()
                .all(|own| sentinel_says(own, "num-slaves") == "2" && sentinel_says(own, "num-other-sentinels") == "2")
        });

        let mut client = client_of(b);
        client.ok(&["SET", "before", &value(1)]);
        until_everywhere(&machines, "before", &value(1));
        first.kill();
        eventually("the Sentinels have another master", || {
            machines.iter().all(|own| !["", "127.9.0.1"].contains(&&*sentinel_says(own, "ip")))
        });
        eventually("Redan follows", || redans[1].said().matches("writes are served").count() >= 2);
        client.ok(&["SET", "after", &value(2)]);
        until_everywhere(&machines[1..], "after", &value(2));

        a.revive(&mut first);
        eventually("it answers", || a.own(&["PING"]).contains("PONG"));
        // Sentinels say so too, when they have watched it for some 20 s.
        assert!(a.own(&["REPLICAOF", &sentinel_says(b, "ip"), "6379"]).contains("OK"));
        a.wait_for_link();
        until_everywhere(&machines[..1], "after", &value(2));
        // A Sentinel that has not yet heard of its return takes the other one: then it is asked once more.
        let mut asked: Option<Instant> = None;
        eventually("the first is the master again", || {
            if asked.is_none_or(|at| at.elapsed() > Duration::from_secs(10)) {
                let said = b.ask(&b.everywhere(), SENTINEL, &["SENTINEL", "FAILOVER", "mymaster"]);
                asked = said.contains("OK").then(Instant::now).or(asked);
            }
            a.info("role") == "master"
        });
        machines[1..]
            .iter()
            .for_each(|own| eventually("it follows the first", || own.info("master_host") == "127.9.0.1"));
        machines[1..].iter().for_each(Machine::wait_for_link);
        eventually("every Sentinel says so", || machines.iter().all(|own| sentinel_says(own, "ip") == "127.9.0.1"));
        client.ok(&["SET", "again", &value(3)]);
        until_everywhere(&machines, "again", &value(3));

        machines.iter().zip(&configs).for_each(|(own, config)| own.check_until(config, |_, fine| fine));
        nothing_was_readable(&capture.finish());
    });
}
