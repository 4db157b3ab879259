//! Blocking commands over failovers: they go on waiting on the new master, for what is left of their time.

use std::time::{Duration, Instant};

use crate::support::client::{Client, bulk};
use crate::support::group::Pair;
use crate::support::redis::{Redis, eventually};

fn start() -> Pair {
    Pair::start("")
}

fn blocked(redis: &Redis) -> usize {
    redis.info("blocked_clients").and_then(|number| number.parse().ok()).unwrap_or(0)
}

impl Pair {
    /// Waits until `number` clients are blocked at the master.
    fn all_blocked(&self, number: usize) {
        eventually("they are blocked at the master", || blocked(&self.master) == number);
    }

    fn killed(&mut self) {
        self.master.kill();
        self.replica.replica_of(None);
    }

    fn turned_over(&self) {
        self.replica.replica_of(None);
        self.master.replica_of(Some(&self.replica));
    }
}

fn popped(key: &str, element: &str) -> String {
    format!("*2\r\n{}{}", bulk(key), bulk(element))
}

#[test]
fn fifty_waiting_clients_get_their_elements_over_a_killed_master() {
    over_a_failover(Pair::killed);
}

#[test]
fn fifty_waiting_clients_get_their_elements_over_a_change_of_roles() {
    over_a_failover(|group| group.turned_over());
}

fn over_a_failover(fail: impl FnOnce(&mut Pair)) {
    let mut group = start();
    let mut clients: Vec<Client> = (0..50).map(|_| group.endpoint.client()).collect();
    for client in &mut clients {
        client.send(&["BLPOP", "queue", "0"]);
    }
    group.all_blocked(50);
    fail(&mut group);
    eventually("all wait at the new master", || blocked(&group.replica) == 50);
    let mut producer = group.endpoint.client();
    for number in 0..50 {
        producer.send(&["RPUSH", "queue", &format!("job-{number}")]);
        assert!(producer.reply().starts_with(':'));
    }
    let mut found: Vec<String> = clients.iter_mut().map(Client::reply).collect();
    let mut expected: Vec<String> = (0..50).map(|number| popped("queue", &format!("job-{number}"))).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(producer.integer(&["LLEN", "queue"]), 0);
    // They are ordinary clients again.
    for client in &mut clients {
        assert_eq!(client.ask(&["PING"]), "+PONG\r\n");
    }
}

/// Each in its own way of saying how long, and in both protocols.
#[test]
fn a_wait_is_not_longer_for_a_failover() {
    let forms: [&[&str]; 8] = [
        &["BLPOP", "q", "2"],
        &["BRPOP", "a", "b", "2.0"],
        &["BLMOVE", "q", "r", "LEFT", "RIGHT", "2"],
        &["BRPOPLPUSH", "q", "r", "2"],
        &["BLMPOP", "2", "1", "q", "LEFT"],
        &["BZPOPMIN", "z", "2"],
        &["BZMPOP", "2", "1", "z", "MIN"],
        &["XREAD", "BLOCK", "2000", "STREAMS", "s", "0-1"],
    ];
    let mut group = start();
    let mut clients: Vec<Client> = (0..2 * forms.len())
        .map(|n| if n % 2 == 0 { group.endpoint.client() } else { group.endpoint.resp3() })
        .collect();
    let begin = Instant::now();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(forms[n / 2]);
    }
    group.all_blocked(clients.len());
    group.killed();
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.reply(), if n % 2 == 0 { "*-1\r\n" } else { "_\r\n" }, "{:?}", forms[n / 2]);
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(1900), "{:?} timed out after {took:?}", forms[n / 2]);
        // Another two seconds would be the whole time again.
        assert!(took < Duration::from_millis(3900), "{:?} timed out after {took:?}", forms[n / 2]);
    }
}

#[test]
fn a_wait_ends_while_there_is_no_master() {
    let mut group = start();
    let mut clients = [group.endpoint.client(), group.endpoint.resp3()];
    let begin = Instant::now();
    for client in &mut clients {
        client.send(&["BLPOP", "q", "1.5"]);
    }
    group.all_blocked(2);
    group.master.kill();
    for (client, nil) in clients.iter_mut().zip(["*-1\r\n", "_\r\n"]) {
        assert_eq!(client.reply(), nil);
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(1400) && took < Duration::from_secs(8), "after {took:?}");
    }
}

/// What came in between nobody can say, so the client must.
#[test]
fn reading_a_stream_from_now_on_is_not_begun_again() {
    let mut group = start();
    let mut now = group.endpoint.client();
    let mut from_id = group.endpoint.client();
    now.send(&["XREAD", "BLOCK", "0", "STREAMS", "s", "$"]);
    from_id.send(&["XREAD", "BLOCK", "0", "STREAMS", "s", "0"]);
    group.all_blocked(2);
    group.killed();
    let reply = now.reply();
    assert!(reply.starts_with("-UNBLOCKED ") && reply.contains("read on from the last id you have"), "{reply}");
    eventually("the other waits at the new master", || blocked(&group.replica) == 1);
    let mut other = group.endpoint.client();
    other.text(&["XADD", "s", "*", "f", "v"]);
    assert!(from_id.reply().contains("$1\r\nf\r\n$1\r\nv\r\n"));
    assert_eq!(now.ask(&["PING"]), "+PONG\r\n");
}

#[test]
fn a_consumer_group_goes_on_reading() {
    let mut group = start();
    let mut client = group.endpoint.client();
    client.ok(&["XGROUP", "CREATE", "s", "g", "$", "MKSTREAM"]);
    assert_eq!(client.integer(&["WAIT", "1", "5000"]), 1);
    client.send(&["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "s", ">"]);
    group.all_blocked(1);
    group.killed();
    eventually("it waits at the new master", || blocked(&group.replica) == 1);
    let mut other = group.endpoint.client();
    other.text(&["XADD", "s", "*", "f", "v"]);
    assert!(client.reply().contains("$1\r\nf\r\n$1\r\nv\r\n"));
}

/// While no node has its command the session itself must let go.
#[test]
fn a_client_is_unblocked_between_two_masters() {
    let mut group = start();
    let (mut client, mut other) = (group.endpoint.client(), group.endpoint.client());
    let id = client.integer(&["CLIENT", "ID"]).to_string();
    client.send(&["BLPOP", "q", "0"]);
    group.all_blocked(1);
    group.master.kill();
    let unblock = ["CLIENT", "UNBLOCK", id.as_str(), "ERROR"];
    eventually("it is unblocked", || other.integer(&unblock) == 1);
    assert_eq!(client.reply(), "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    group.replica.replica_of(None);
    client.ok(&["SET", "k", "v"]);
    assert_eq!(other.integer(&unblock), 0);
}

#[test]
fn a_client_that_leaves_takes_nothing_with_it() {
    let group = start();
    let mut other = group.endpoint.client();
    let mut client = group.endpoint.client();
    client.send(&["BLPOP", "q", "0"]);
    group.all_blocked(1);
    drop(client);
    group.all_blocked(0);
    assert_eq!(other.integer(&["RPUSH", "q", "kept"]), 1);
    assert_eq!(other.integer(&["LLEN", "q"]), 1);
}

/// One after the other over the same few connections.
#[test]
fn waits_that_end_do_not_open_connections() {
    let group = start();
    let mut clients: Vec<Client> = (0..4).map(|_| group.endpoint.client()).collect();
    let accepted = || group.master.info("total_connections_received").and_then(|n| n.parse::<i64>().ok()).expect("n");
    for client in &mut clients {
        assert_eq!(client.ask(&["BLPOP", "q", "0.01"]), "*-1\r\n");
    }
    let before = accepted();
    for _ in 0..20 {
        for client in &mut clients {
            assert_eq!(client.ask(&["BLPOP", "q", "0.005"]), "*-1\r\n");
        }
    }
    // Each look at the number is a connection too.
    assert!(accepted() - before < 10, "{} connections for 80 waits", accepted() - before);
}

#[test]
fn what_a_node_refuses_it_refuses_here() {
    let group = start();
    let mut direct = Client::connect(&group.master.address());
    let mut through = group.endpoint.client();
    for line in [
        "BLPOP a x",
        "BLPOP a -1",
        "BLPOP a",
        "BLPOP a inf",
        "BLMPOP x 1 a LEFT",
        "BLMPOP 1 0 a LEFT",
        "XREAD BLOCK x STREAMS s $",
        "XREAD BLOCK -1 STREAMS s $",
        "XREAD BLOCK 1 STREAMS s",
        "BZMPOP 1 1 z NONE",
        "BLMOVE a b LEFT UP 1",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(through.ask(&words), direct.ask(&words), "{line}");
    }
}
