//! Subscribing and publishing inside MULTI.

use super::*;

#[test]
fn a_subscription_takes_its_place_and_comes_once() {
    let (reference, redis, endpoint) = beside(&[], "");
    compare(
        &reference,
        &endpoint,
        &[
            &["MULTI", "SUBSCRIBE a b", "PING", "PING x", "GET none", "EXEC", "PING", "UNSUBSCRIBE a b", "GET none"],
            &["HELLO 3", "MULTI", "SUBSCRIBE a b", "PING", "EXEC", "PING", "GET none"],
            &["HELLO 3", "SUBSCRIBE a", "MULTI", "SUBSCRIBE a", "UNSUBSCRIBE a", "PING", "EXEC", "UNSUBSCRIBE"],
            &["HELLO 3", "SUBSCRIBE a", "MULTI", "UNSUBSCRIBE a", "SUBSCRIBE a a", "EXEC", "UNSUBSCRIBE a"],
            &["MULTI", "SUBSCRIBE a", "UNSUBSCRIBE a", "SUBSCRIBE a", "UNSUBSCRIBE a", "GET none", "EXEC", "GET none"],
            &["MULTI", "CLIENT GETNAME", "SUBSCRIBE a", "CLIENT SETNAME x", "CLIENT GETNAME", "INCR n", "EXEC", "PING"],
            &["MULTI", "SUBSCRIBE a b c", "CLIENT LIST ID 9999", "PSUBSCRIBE p", "SSUBSCRIBE s", "ECHO x", "EXEC"],
            &["MULTI", "SUBSCRIBE a", "HELLO 3", "PING", "GET none", "EXEC", "PING", "GET none"],
            &["HELLO 3", "SUBSCRIBE a", "MULTI", "HELLO 2", "PING", "EXEC", "PING", "UNSUBSCRIBE", "PING"],
            &["MULTI", "UNSUBSCRIBE", "PUNSUBSCRIBE a", "EXEC", "PING"],
            &["MULTI", "SUBSCRIBE a", "NOSUCH", "EXEC", "GET none"],
            &["MULTI", "SUBSCRIBE a", "DISCARD", "GET none", "UNSUBSCRIBE"],
            &["WATCH w", "SET w 1", "MULTI", "SUBSCRIBE a", "EXEC", "GET none", "UNSUBSCRIBE"],
            &["MULTI", "SUBSCRIBE", "EXEC"],
            &["HELLO 3", "MULTI", "PING", "CLIENT REPLY OFF", "SUBSCRIBE a", "EXEC", "CLIENT REPLY ON"],
        ],
    );
    for resp3 in [false, true] {
        let mut client = if resp3 { endpoint.resp3() } else { endpoint.client() };
        // Topics that nobody had before.
        let topics = ["a", "b"].map(|topic| format!("{topic}-{resp3}"));
        let [one, other] = topics.each_ref().map(String::as_str);
        let count = |channel: &str| redis.command(&["PUBSUB", "NUMSUB", channel]);
        if resp3 {
            client.send(&["SUBSCRIBE", one]);
            client.reply();
        }
        client.raw(&pipeline(&[&["MULTI"], &["SUBSCRIBE", one, other], &["EXEC"]]));
        (0..4).for_each(|_| drop(client.reply()));
        // The array has two confirmations in the place of one.
        for channel in [one, other] {
            assert_eq!(count(channel), format!("*2\r\n{}:1\r\n", bulk(channel)), "RESP3: {resp3}");
            let first = if resp3 { '>' } else { '*' };
            let message = |text: &str| format!("{first}3\r\n{}{}{}", bulk("message"), bulk(channel), bulk(text));
            redis.command(&["PUBLISH", channel, "one"]);
            redis.command(&["PUBLISH", channel, "two"]);
            let mut told = client.reply();
            if channel == one && !told.contains("message") {
                told = client.reply();
            }
            assert_eq!(told, message("one"));
            assert_eq!(client.reply(), message("two"));
        }
    }
}

/// A client that reads a state and subscribes to its changes in one transaction misses none of them.
#[test]
fn nothing_published_behind_exec_is_missed() {
    let (redis, endpoint) = start();
    let mut publisher = Client::connect(&redis.address());
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                publisher.raw(&pipeline(&[&["EVAL", COUNT, "1", "n"]]));
                publisher.reply();
            }
        });
        for round in 0..60 {
            let mut client = endpoint.resp3();
            client.raw(&pipeline(&[&["MULTI"], &["GET", "n"], &["SUBSCRIBE", "changes"], &["GET", "n"], &["EXEC"]]));
            (0..4).for_each(|_| drop(client.reply()));
            let exec = client.reply();
            let number = |text: &str| text.trim_end().rsplit("\r\n").next().and_then(|n| n.parse::<i64>().ok());
            let state = number(&exec).unwrap_or(0);
            let first = (0..).map(|_| number(&client.reply()).expect("a message")).find(|n| *n > state);
            assert_eq!(first, Some(state + 1), "round {round}: {exec}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

const COUNT: &str = "local n = redis.call('INCR', KEYS[1]) redis.call('PUBLISH', 'changes', n) return n";

/// PUBLISH says how many clients got it, whether the transaction comes in one piece or in several.
#[test]
fn publishers_in_a_transaction_learn_how_many_clients_got_it() {
    let (redis, endpoint) = start();
    let mut subscribers: Vec<Client> = (0..6).map(|_| endpoint.client()).collect();
    for client in &mut subscribers {
        client.send(&["SUBSCRIBE", "news"]);
        client.reply();
    }
    let mut foreign = Client::connect(&redis.address());
    foreign.send(&["PSUBSCRIBE", "n*"]);
    foreign.reply();
    let block: &[&[&str]] = &[
        &["MULTI"],
        &["SET", "k", "v"],
        &["PUBLISH", "news", "x"],
        &["GET", "k"],
        &["PUBLISH", "nobody", "x"],
        &["PUBSUB", "NUMSUB", "news"],
        &["EXEC"],
    ];
    let exec = format!("*5\r\n+OK\r\n:7\r\n{}:1\r\n*2\r\n{}:6\r\n", bulk("v"), bulk("news"));
    let mut client = endpoint.client();
    client.raw(&pipeline(block));
    (0..6).for_each(|_| drop(client.reply()));
    assert_eq!(client.reply(), exec, "in one piece");
    for words in &block[..6] {
        client.ask(words);
    }
    assert_eq!(client.ask(&["EXEC"]), exec, "one by one");
    let refused = pipeline(&[&["MULTI"], &["PUBLISH", "news", "x"], &["NOSUCH"], &["EXEC"], &["PUBLISH", "news", "x"]]);
    client.raw(&refused);
    (0..3).for_each(|_| drop(client.reply()));
    assert!(client.reply().starts_with("-EXECABORT"));
    assert_eq!(client.reply(), ":7\r\n");
}
