//! Subscriptions when their connection breaks or the master changes: clients stay subscribed, and nothing comes twice.

use std::collections::BTreeSet;

use super::*;

#[test]
fn subscribers_follow_the_master_without_a_word() {
    let group = Group::start("");
    let (mut old, mut new) = (group.endpoint.client(), group.endpoint.resp3());
    subscribe(&mut old, &["news"]);
    subscribe(&mut new, &["news"]);
    let mut other = group.endpoint.client();
    let mut number = 0;
    let mut publish = |reached: i64| {
        number += 1;
        let text = number.to_string();
        let all = other.integer(&["PUBLISH", "news", &text]) == reached;
        (all, text)
    };
    for (from, to) in [(0, 1), (1, 2)] {
        group.move_master(from, to);
        group.wait_for_master(to);
        let mut last = String::new();
        eventually("both are subscribed at the new master", || {
            let (all, text) = publish(2);
            last = text;
            all && at_node(&group.servers[to], "news") == 1
        });
        for client in [&mut old, &mut new] {
            // What came before may have been lost, but nothing comes twice or late.
            let mut seen = 0;
            while seen.to_string() != last {
                let reply = client.reply();
                let text = reply.trim_end().rsplit("\r\n").next().expect("a text");
                let n: u64 = text.parse().expect("a number");
                assert!(n > seen, "{n} after {seen}");
                seen = n;
            }
        }
    }
    eventually("the old ones are rid of it", || {
        at_node(&group.servers[0], "news") + at_node(&group.servers[1], "news") == 0
    });
    assert!(group.endpoint.metric("redan_resubscriptions_total") >= 2.0);
    assert!(group.endpoint.metric("redan_subscription_gap_seconds_total") > 0.0);
    let said = group.endpoint.said();
    assert!(said.contains("subscriptions move from") && !said.contains("panic"), "{said}");
}

#[test]
fn subscribers_survive_the_death_of_the_master() {
    let mut group = Group::start("");
    let mut clients: Vec<Client> = (0..20).map(|_| group.endpoint.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let own = format!("own:{number}");
        subscribe(client, &["news", &own]);
        client.send(&["PSUBSCRIBE", "p:*"]);
        client.reply();
    }
    group.servers[0].kill();
    // While there is no master they are subscribed at another node.
    eventually("they are subscribed somewhere", || {
        at_node(&group.servers[1], "own:19") + at_node(&group.servers[2], "own:19") == 1
    });
    let mut late = group.endpoint.client();
    subscribe(&mut late, &["late"]);
    group.servers[1].replica_of(None);
    group.servers[2].replica_of(Some(&group.servers[1]));
    group.wait_for_master(1);
    eventually("they are subscribed at the new master", || at_node(&group.servers[1], "late") == 1);
    let mut other = group.endpoint.client();
    eventually("it reaches all", || other.integer(&["PUBLISH", "p:x", "x"]) == 20);
    assert_eq!(other.integer(&["PUBLISH", "own:7", "seven"]), 1);
    assert_eq!(other.integer(&["PUBLISH", "late", "too"]), 1);
    assert_eq!(late.reply(), message("late", "too"));
    loop {
        let reply = clients[7].reply();
        if !reply.contains("pmessage") {
            assert_eq!(reply, message("own:7", "seven"));
            break;
        }
    }
}

#[test]
fn without_any_node_new_subscriptions_wait_as_long_as_they_may_and_old_ones_longer() {
    let mut redis = Redis::start();
    let endpoint = Endpoint::with_workers(2, &[redis.address()], "hold = \"500ms\"", "");
    endpoint.wait_for_readable(1);
    let mut clients = [endpoint.client(), endpoint.resp3(), endpoint.client()];
    clients.iter_mut().for_each(|client| subscribe(client, &["news"]));
    redis.kill();
    for mut late in [endpoint.client(), endpoint.resp3()] {
        let reply = late.ask(&["SUBSCRIBE", "news", "late"]);
        assert!(reply.starts_with("-LOADING Redan has"), "{reply}");
        assert_eq!(late.ask(&["PING"]), "+PONG\r\n");
    }
    redis.restart();
    let mut other = endpoint.client();
    eventually("all are subscribed again", || other.ask(&["PUBLISH", "news", "back"]) == ":3\r\n");
    assert_eq!(at_node(&redis, "late"), 0, "who was refused is not subscribed");
    for client in &mut clients {
        // Earlier ones reached only some of them.
        assert_eq!(client.reply()[1..], message("news", "back")[1..]);
    }
}

#[test]
fn a_silent_connection_is_found_and_replaced() {
    let (redis, endpoint) = pair();
    let mut client = endpoint.client();
    subscribe(&mut client, &["news"]);
    redis.freeze();
    eventually("it is noticed", || endpoint.said().contains("the node has said nothing for 6 s"));
    redis.thaw();
    let mut other = endpoint.client();
    eventually("it is subscribed again", || other.integer(&["PUBLISH", "news", "again"]) == 1);
    loop {
        if client.reply() == message("news", "again") {
            break;
        }
    }
    // Confirmation and message may come in one read, which is worked through before it is counted.
    eventually("it is counted", || endpoint.metric("redan_resubscriptions_total") >= 1.0);
}

#[test]
fn thousands_of_channels_in_one_command_come_back_after_the_connection_broke() {
    let (redis, endpoint) = pair();
    let mut client = endpoint.client();
    let channels: Vec<String> = (0..8000).map(|number| format!("channel:{number:060}")).collect();
    let words: Vec<&str> = channels.iter().map(String::as_str).collect();
    // More than half a megabyte.
    subscribe(&mut client, &words);
    redis.ok(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let mut other = endpoint.client();
    let mut got = BTreeSet::new();
    for channel in [words[0], words[4321], words[7999]] {
        eventually("it is subscribed again", || {
            other.integer(&["PUBLISH", channel, "x"]) == 1 && at_node(&redis, channel) == 1
        });
        loop {
            let reply = client.reply();
            if reply == message(channel, "x") {
                got.insert(channel);
                break;
            }
        }
    }
    assert_eq!(got.len(), 3);
    // And more than one connection may have.
    let more: Vec<String> = (0..58_000).map(|number| format!("more:{number}")).collect();
    let mut words = vec!["SUBSCRIBE"];
    words.extend(more.iter().map(String::as_str));
    client.send(&words);
    let refused = until_error(&mut client);
    assert!(refused.starts_with("-ERR Redan: one connection may have at most 65536 subscriptions"), "{refused}");
}

fn until_error(client: &mut Client) -> String {
    loop {
        let reply = client.reply();
        if reply.starts_with('-') {
            return reply;
        }
    }
}
