//! CLIENT TRACKING: clients that cache are told of every change, byte for byte as by a server, also over failovers.

use std::time::Duration;

use crate::support::client::{Client, bulk, pipeline};
use crate::support::group::Pair;
use crate::support::redis::{Redis, eventually};

const ON: &[&str] = &["CLIENT", "TRACKING", "ON"];
const OFF: &[&str] = &["CLIENT", "TRACKING", "OFF"];
const FORGET: &str = ">2\r\n$10\r\ninvalidate\r\n_\r\n";

fn start() -> Pair {
    Pair::start("reads = \"replica\"")
}

fn changed(key: &str) -> String {
    format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n{}", bulk(key))
}

fn id(client: &mut Client) -> String {
    client.integer(&["CLIENT", "ID"]).to_string()
}

fn tracking_clients(redis: &Redis) -> Option<String> {
    redis.info("tracking_clients")
}

/// What is refused, and in which order things are looked at; nothing here depends on ids.
#[test]
fn options_are_judged_as_a_server_judges_them() {
    let group = start();
    let lines = "CACHING|CACHING YES|CACHING FOO|CACHING YES NO|TRACKING|TRACKING FOO|TRACKINGINFO|GETREDIR|TRACKING ON REDIRECT|\
        TRACKING ON REDIRECT x|TRACKING ON REDIRECT 999999|TRACKING ON REDIRECT 0|TRACKING ON REDIRECT -3|\
        TRACKING ON REDIRECT 999999 FOO|TRACKING ON FOO REDIRECT 999999|TRACKING FOO REDIRECT 999999|TRACKING ON PREFIX a|\
        TRACKING ON PREFIX|TRACKING ON BCAST OPTIN|TRACKING ON OPTIN OPTOUT|TRACKING ON BCAST PREFIX a PREFIX ab|\
        TRACKING ON BCAST PREFIX ab PREFIX a|TRACKING ON BCAST PREFIX a PREFIX a|TRACKING OFF|TRACKING OFF FOO|\
        TRACKING OFF OPTIN BCAST|TRACKINGINFO|TRACKING ON OPTIN|TRACKINGINFO|GETREDIR|CACHING NO|CACHING FOO|CACHING YES|\
        TRACKINGINFO|TRACKING ON OPTOUT|TRACKING ON BCAST|TRACKING ON|TRACKINGINFO|CACHING YES|TRACKING OFF|CACHING YES|\
        TRACKING ON OPTOUT NOLOOP|CACHING YES|CACHING NO|TRACKINGINFO|TRACKING OFF|TRACKING ON BCAST PREFIX b PREFIX abc|\
        TRACKINGINFO|TRACKING ON BCAST PREFIX bb|TRACKING ON BCAST PREFIX c NOLOOP|TRACKINGINFO|TRACKING ON BCAST|\
        TRACKING OFF|TRACKING ON BCAST|TRACKINGINFO|TRACKING ON BCAST PREFIX x|TRACKING ON BCAST|TRACKING OFF|TRACKINGINFO";
    for connect in [Client::connect, Client::resp3] {
        let (mut direct, mut through) = (connect(&group.master.address()), connect(&group.endpoint.address()));
        for line in lines.split('|') {
            let words: Vec<&str> = ["CLIENT"].into_iter().chain(line.trim().split(' ')).collect();
            assert_eq!(through.ask(&words), direct.ask(&words), "{line}");
        }
    }
    // The connection was given back.
    eventually("nobody tracks", || tracking_clients(&group.master).as_deref() == Some("0"));
    eventually("no connection is kept", || group.endpoint.metric("redan_pins") == 0.0);
}

/// Scripts of two clients, `t` that tracks and `o` that changes; after each step everything that came is compared.
#[test]
fn changes_are_told_as_a_server_tells_them() {
    let group = start();
    let scripts = [
        "t CLIENT TRACKING ON|t GET k|o SET k 1|> 1|o SET k 2|t GET k|t GET k2|o MSET k 3 k2 4|> 2|t GET k|o FLUSHALL|> 1",
        "t CLIENT TRACKING ON|t MULTI|t GET k|t EXEC|o SET k 1|> 1|t SELECT 1|t GET k|o SET k 2|> 1|t PING|t ECHO x",
        "t CLIENT TRACKING ON|t GET k|t SET k 2|> 1|t GET k|t CLIENT TRACKING OFF|o SET k 3|t GET k",
        "t CLIENT TRACKING ON NOLOOP|t GET k|t SET k 2|t GET k|o SET k 3|> 1",
        "t CLIENT TRACKING ON OPTIN|t GET k|o SET k 1|t CLIENT CACHING YES|t CLIENT TRACKINGINFO|t GET k|t CLIENT TRACKINGINFO|\
         o SET k 2|> 1",
        "t CLIENT TRACKING ON OPTIN|t CLIENT CACHING YES|t MULTI|t GET k|t GET l|t EXEC|o SET k 1|> 1|o SET l 1|> 1",
        "t CLIENT TRACKING ON OPTOUT|t CLIENT CACHING NO|t GET k|o SET k 1|t GET k|o SET k 2|> 1",
        "t CLIENT TRACKING ON BCAST PREFIX a PREFIX b|o MSET ab 1 b 2 c 3|> 2|o SET c 4|t GET c|o SET c 5|o SET a 1|> 1",
        "t CLIENT TRACKING ON|t GET k|t CLIENT REPLY OFF|o SET k 1|> 1|t CLIENT REPLY ON",
        "t CLIENT TRACKING ON|t GET k|t HELLO 2|o SET k 1|t HELLO 3|t GET k|o SET k 2|> 1",
        "t CLIENT TRACKING ON|t GET k|t RESET|t CLIENT TRACKINGINFO|o SET k 1|t GET k",
        "t CLIENT TRACKING ON|t WATCH k|o SET k 1|t MULTI|t SET k 2|t EXEC|t GET k",
    ];
    let normal = |reply: String| if reply.contains("$6\r\nserver\r\n") { "HELLO".to_owned() } else { reply };
    for script in scripts {
        let mut said: Vec<Vec<String>> = Vec::new();
        for address in [group.master.address(), group.endpoint.address()] {
            group.master.ok(&["FLUSHALL"]);
            let (mut t, mut o) = (Client::resp3(&address), Client::connect(&address));
            let mut replies = Vec::new();
            for step in script.split('|') {
                let words: Vec<&str> = step.trim().split(' ').collect();
                match words[0] {
                    // CLIENT REPLY OFF is not answered.
                    "t" if words.contains(&"OFF") && words.contains(&"REPLY") => t.send(&words[1..]),
                    "t" => {
                        let reply = t.ask(&words[1..]);
                        replies.push(normal(reply));
                    }
                    "o" => replies.push(o.ask(&words[1..])),
                    _ => (0..words[1].parse::<usize>().expect("a number")).for_each(|_| replies.push(t.reply())),
                }
            }
            said.push(replies);
        }
        assert_eq!(said[1], said[0], "{script}");
    }
}

#[test]
fn invalidations_are_redirected_to_clients_of_any_worker() {
    let group = start();
    let endpoint = &group.endpoint;
    let mut other = endpoint.client();
    // Four in a row, so that tracker and target share a worker in two cases and not in two.
    let mut targets: Vec<Client> = (0..4).map(|n| if n < 2 { endpoint.resp3() } else { endpoint.client() }).collect();
    for (n, target) in targets.iter_mut().enumerate() {
        if n >= 2 {
            target.send(&["SUBSCRIBE", "__redis__:invalidate"]);
            assert!(target.reply().contains("subscribe"));
        }
    }
    let ids: Vec<i64> = {
        let text = other.text(&["CLIENT", "LIST"]).expect("text");
        text.lines()
            .map(|line| line["id=".len()..].split(' ').next().expect("an id").parse().expect("a number"))
            .collect()
    };
    for resp3 in [true, false] {
        for (n, target) in targets.iter_mut().enumerate() {
            let mut tracker = if resp3 { endpoint.resp3() } else { endpoint.client() };
            // The first of all is `other`.
            let to = ids[n + 1].to_string();
            tracker.ok(&["CLIENT", "TRACKING", "ON", "REDIRECT", &to]);
            assert_eq!(tracker.integer(&["CLIENT", "GETREDIR"]).to_string(), to);
            tracker.ask(&["GET", "k"]);
            other.ok(&["SET", "k", "v"]);
            let keys = format!("*1\r\n{}", bulk("k"));
            let expected = if n < 2 {
                format!(">2\r\n{}{keys}", bulk("invalidate"))
            } else {
                format!("*3\r\n{}{}{keys}", bulk("message"), bulk("__redis__:invalidate"))
            };
            assert_eq!(target.reply(), expected, "to {n}");
            tracker.ask(&["GET", "k"]);
            other.ok(&["FLUSHALL"]);
            assert!(target.reply().ends_with(if resp3 { "_\r\n" } else { "$-1\r\n" }));
            assert_eq!(tracker.ask(&["PING"]), "+PONG\r\n", "nothing came to the tracker itself");
        }
    }
    // When the target goes, the tracker is told.
    let mut tracker = endpoint.resp3();
    let to = ids[1].to_string();
    tracker.ok(&["CLIENT", "TRACKING", "ON", "REDIRECT", &to]);
    drop(targets.remove(0));
    eventually("it has gone", || !other.text(&["CLIENT", "LIST"]).expect("text").contains(&format!("id={to} ")));
    tracker.ask(&["GET", "k"]);
    other.ok(&["SET", "k", "v"]);
    assert_eq!(tracker.reply(), format!(">2\r\n{}:{to}\r\n", bulk("tracking-redir-broken")));
    assert!(tracker.ask(&["CLIENT", "TRACKINGINFO"]).contains("broken_redirect"));
    let own = id(&mut tracker);
    assert!(other.text(&["CLIENT", "LIST", "ID", &own]).expect("text").contains(" flags=tR "));
    // To itself, which servers allow.
    tracker.ok(&["CLIENT", "TRACKING", "ON", "REDIRECT", &own]);
    tracker.ask(&["GET", "k"]);
    other.ok(&["SET", "k", "w"]);
    assert_eq!(tracker.reply(), changed("k"));
    assert_eq!(
        tracker.ask(&["CLIENT", "TRACKING", "ON", "REDIRECT", &own, "REDIRECT", &own]),
        "-ERR A client can only redirect to a single other client\r\n"
    );
}

#[test]
fn tracking_goes_on_after_a_killed_master() {
    over_a_failover(|group| {
        group.master.kill();
        group.replica.replica_of(None);
    });
}

#[test]
fn tracking_goes_on_after_a_change_of_roles() {
    over_a_failover(|group| {
        group.replica.replica_of(None);
        group.master.replica_of(Some(&group.replica));
    });
}

fn over_a_failover(fail: impl FnOnce(&mut Pair)) {
    let mut group = start();
    let address = group.endpoint.address();
    let mut other = Client::connect(&address);
    let mut plain = Client::resp3(&address);
    let mut listener = Client::resp3(&address);
    let mut optin = Client::resp3(&address);
    let mut target = Client::resp3(&address);
    let mut redirecting = Client::connect(&address);
    let to = id(&mut target);
    plain.ok(ON);
    listener.ok(&["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "user:"]);
    optin.ok(&["CLIENT", "TRACKING", "ON", "OPTIN"]);
    redirecting.ok(&["CLIENT", "TRACKING", "ON", "REDIRECT", &to]);
    other.ok(&["SET", "k", "before"]);
    assert_eq!(other.integer(&["WAIT", "1", "5000"]), 1);
    plain.ask(&["GET", "k"]);
    fail(&mut group);
    // Each is told to forget everything, without a word of its own.
    for client in [&mut plain, &mut listener, &mut optin] {
        assert_eq!(client.reply(), FORGET);
    }
    assert_eq!(target.reply(), FORGET.replace("_\r\n", "$-1\r\n"), "in the tracker's protocol, as by a server");
    eventually("all track on the new master", || tracking_clients(&group.replica).as_deref() == Some("4"));
    other.ok(&["SET", "user:1", "x"]);
    assert_eq!(listener.reply(), changed("user:1"));
    assert_eq!(plain.text(&["GET", "k"]).as_deref(), Some("before"));
    optin.ok(&["CLIENT", "CACHING", "YES"]);
    optin.ask(&["GET", "k"]);
    redirecting.ask(&["GET", "k"]);
    other.ok(&["SET", "k", "after"]);
    for client in [&mut plain, &mut optin, &mut target] {
        assert_eq!(client.reply(), changed("k"));
    }
    assert_eq!(plain.text(&["GET", "k"]).as_deref(), Some("after"));
    assert!(listener.is_silent_for(Duration::from_millis(50)));
}

/// The reads and writes of a client that tracks survive like anybody's.
#[test]
fn commands_of_a_tracking_client_are_not_lost_over_a_change_of_roles() {
    let group = start();
    let mut client = Client::resp3(&group.endpoint.address());
    client.ok(ON);
    let mut count = 0;
    let next = |client: &mut Client, words: &[&str]| {
        client.send(words);
        let mut reply = client.reply();
        // What is to be forgotten may be told in between.
        while reply.starts_with('>') {
            reply = client.reply();
        }
        reply
    };
    for round in 0..60 {
        if round == 20 {
            assert_eq!(group.endpoint.client().integer(&["WAIT", "1", "5000"]), 1);
            group.replica.replica_of(None);
            group.master.replica_of(Some(&group.replica));
        }
        let reply = next(&mut client, &["INCR", "n"]);
        count += 1;
        assert_eq!(reply, format!(":{count}\r\n"), "round {round}");
        assert_eq!(next(&mut client, &["GET", "n"]), bulk(&count.to_string()));
    }
}

/// Everything else a session may do works beside tracking.
#[test]
fn a_tracking_client_may_do_everything_else() {
    let group = start();
    let mut direct = Client::resp3(&group.master.address());
    let mut through = Client::resp3(&group.endpoint.address());
    for client in [&mut direct, &mut through] {
        client.ok(&["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "nothing"]);
    }
    let commands: &[&[&str]] = &[
        &["PING"],
        &["PING", "x"],
        &["ECHO", "x"],
        &["SET", "k", "v"],
        &["GET", "k"],
        &["SELECT", "2"],
        &["GET", "k"],
        &["SELECT", "99"],
        &["SELECT", "0"],
        &["MULTI"],
        &["GET", "k"],
        &["EXEC"],
        &["BLPOP", "none", "0.01"],
        &["SUBSCRIBE", "c"],
        &["UNSUBSCRIBE", "c"],
        &["CLIENT", "SETNAME", "n"],
        &["CLIENT", "GETNAME"],
        &["CLIENT", "GETREDIR"],
        &["EVAL", "return redis.call('GET', KEYS[1])", "1", "k"],
        &["GET"],
        &["CLIENT", "KILL", "ID", "999999"],
        &["STRLEN", "k"],
    ];
    for words in commands {
        assert_eq!(through.ask(words), direct.ask(words), "{words:?}");
    }
    for client in [&mut direct, &mut through] {
        client.raw(&pipeline(commands));
    }
    for words in commands {
        assert_eq!(through.reply(), direct.reply(), "{words:?}");
    }
    through.ok(OFF);
    eventually("its connection is closed", || group.endpoint.metric("redan_pins") == 0.0);
}

/// The next reply that does not say to forget everything: to say so once more does no harm.
fn beside_forgetting(client: &mut Client) -> String {
    loop {
        let reply = client.reply();
        if reply != FORGET {
            return reply;
        }
    }
}

/// The refusal of a write may tell of the change before anything else does. What was read at the old master nobody watches.
#[test]
fn a_refused_write_ends_what_was_tracked() {
    let group = start();
    let address = group.endpoint.address();
    let (mut other, mut plain, mut target) =
        (Client::connect(&address), Client::resp3(&address), Client::resp3(&address));
    let mut redirecting = Client::resp3(&address);
    plain.ok(ON);
    redirecting.ok(&["CLIENT", "TRACKING", "ON", "REDIRECT", &id(&mut target)]);
    other.ok(&["SET", "k", "before"]);
    assert_eq!(other.integer(&["WAIT", "1", "5000"]), 1);
    for client in [&mut plain, &mut redirecting] {
        assert_eq!(client.text(&["GET", "k"]).as_deref(), Some("before"));
    }
    group.replica.replica_of(None);
    group.master.replica_of(Some(&group.replica));
    for client in [&mut plain, &mut redirecting] {
        client.send(&["SET", "another", "v"]);
    }
    // Told once by Redan, and once more where the old master empties itself before it is left.
    assert_eq!(plain.reply(), FORGET);
    assert_eq!(beside_forgetting(&mut plain), "+OK\r\n");
    assert_eq!(redirecting.reply(), "+OK\r\n");
    assert_eq!(target.reply(), FORGET);
    for client in [&mut plain, &mut redirecting] {
        client.send(&["GET", "k"]);
        assert_eq!(beside_forgetting(client), bulk("before"));
    }
    other.ok(&["SET", "k", "after"]);
    assert_eq!(beside_forgetting(&mut plain), changed("k"));
    assert_eq!(beside_forgetting(&mut target), changed("k"));
}

/// What was on its way to the session that got it before is lost: that one must forget everything.
#[test]
fn another_target_gets_what_the_one_before_got() {
    let group = start();
    let address = group.endpoint.address();
    let [mut other, mut tracker, mut first, mut second] = [(); 4].map(|()| Client::resp3(&address));
    let ids = [id(&mut first), id(&mut second)];
    let to = |tracker: &mut Client, id: &str| tracker.ok(&["CLIENT", "TRACKING", "ON", "REDIRECT", id]);
    to(&mut tracker, &ids[0]);
    tracker.ask(&["GET", "k"]);
    to(&mut tracker, &ids[0]);
    other.ok(&["SET", "k", "1"]);
    assert_eq!(first.reply(), changed("k"), "the same target again changes nothing");
    tracker.ask(&["GET", "k"]);
    to(&mut tracker, &ids[1]);
    assert_eq!(first.reply(), FORGET);
    other.ok(&["SET", "k", "2"]);
    assert_eq!(second.reply(), changed("k"));
    tracker.ask(&["GET", "k"]);
    tracker.ok(ON);
    assert_eq!(second.reply(), FORGET);
    other.ok(&["SET", "k", "3"]);
    assert_eq!(tracker.reply(), changed("k"));
    assert!(first.is_silent_for(Duration::from_millis(50)));
    eventually("one tracks, over one connection", || {
        tracking_clients(&group.master).as_deref() == Some("1") && group.endpoint.metric("redan_pins") == 1.0
    });
}
