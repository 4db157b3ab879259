//! CLIENT commands that speak of other clients: they mean Redan's clients of one group, on all workers and listeners.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::client::{Client, pipeline};
use crate::support::endpoint::Endpoint;
use crate::support::proxy::Proxy;
use crate::support::redis::{Redis, eventually};

/// Two workers, so that neighbours in the order of connecting are served by different threads.
fn start() -> (Redis, Endpoint) {
    let redis = Redis::start();
    let endpoint = Endpoint::of_two_workers(&[&redis], "");
    (redis, endpoint)
}

/// What a client sees in CLIENT LIST, by id.
fn list(client: &mut Client, words: &[&str]) -> BTreeMap<i64, BTreeMap<String, String>> {
    let text = client.text(words).expect("text");
    let field = |field: &str| {
        let (name, value) = field.split_once('=').unwrap_or_else(|| panic!("{field} in {text}"));
        (name.to_owned(), value.to_owned())
    };
    let line = |line: &str| -> BTreeMap<String, String> { line.split(' ').map(field).collect() };
    text.lines().map(line).map(|fields| (fields["id"].parse().expect("a number"), fields)).collect()
}

fn id(client: &mut Client) -> i64 {
    client.integer(&["CLIENT", "ID"])
}

fn address(client: &Client) -> String {
    client.stream().local_addr().expect("connected").to_string()
}

/// Whatever is wrong with a command is said in the server's words, and what is right has its shape.
#[test]
fn arguments_are_judged_as_a_server_judges_them() {
    let (redis, endpoint) = start();
    let lines = "CLIENT LIST TYPE foo|CLIENT LIST TYPE|CLIENT LIST TYPE slave|CLIENT LIST TYPE REPLICA|CLIENT LIST TYPE master|\
        CLIENT LIST TYPE pubsub|CLIENT LIST ID|CLIENT LIST ID x|CLIENT LIST ID 0|CLIENT LIST ID -1|CLIENT LIST ID 999999|\
        CLIENT LIST foo|CLIENT LIST TYPE normal ID 1|CLIENT LIST ID 1 TYPE normal|CLIENT LIST foo bar|CLIENT KILL|\
        CLIENT KILL 1.2.3.4:5|CLIENT KILL foo|CLIENT KILL ID|CLIENT KILL ID 999999|CLIENT KILL ID x|CLIENT KILL ID 0|\
        CLIENT KILL ID -1|CLIENT KILL TYPE foo|CLIENT KILL TYPE master|CLIENT KILL TYPE slave|CLIENT KILL USER nosuch|\
        CLIENT KILL ADDR 1.1.1.1:1|CLIENT KILL LADDR 1.1.1.1:1|CLIENT KILL SKIPME foo|CLIENT KILL SKIPME yes ID 999999|\
        CLIENT KILL ID 999999 SKIPME|CLIENT KILL FOO BAR|CLIENT KILL ID 1 FOO|CLIENT KILL ID 999997 999998 999999|CLIENT KILL FOO BAR ID|\
        CLIENT KILL ID 999999 SKIPME no TYPE normal|CLIENT PAUSE|CLIENT PAUSE x|CLIENT PAUSE -1|CLIENT PAUSE 0|\
        CLIENT PAUSE 10 FOO|CLIENT PAUSE x FOO|CLIENT PAUSE 10 WRITE X|CLIENT PAUSE 99999999999999999999|CLIENT UNPAUSE|\
        CLIENT UNPAUSE x|CLIENT UNBLOCK|CLIENT UNBLOCK x|CLIENT UNBLOCK 999999|CLIENT UNBLOCK -1|CLIENT UNBLOCK 1 FOO|\
        CLIENT UNBLOCK x FOO|CLIENT UNBLOCK 1 TIMEOUT X|CLIENT UNBLOCK 999999 error|CLIENT NO-EVICT|CLIENT NO-EVICT on|\
        CLIENT NO-EVICT off|CLIENT NO-EVICT foo|CLIENT GETREDIR|CLIENT TRACKINGINFO|CLIENT HELP|CLIENT HELP x|CLIENT|\
        CLIENT LIST USER nosuch|CLIENT LIST SKIPME x|CLIENT LIST MAXAGE x|CLIENT LIST MAXAGE 0|CLIENT LIST IDLE x|\
        CLIENT LIST IDLE 0|CLIENT LIST FLAGS|CLIENT LIST FLAGS Z|CLIENT LIST NOT-FLAGS Z|CLIENT LIST DB x|CLIENT LIST DB 99|\
        CLIENT LIST DB -1|CLIENT LIST CAPA q|CLIENT LIST IP 1|CLIENT LIST IP 127.0.0.1 TYPE|CLIENT LIST NOT-USER nosuch|\
        CLIENT LIST NOT-MAXAGE 3|CLIENT LIST NOT-SKIPME no|CLIENT LIST NOT-IDLE 3|CLIENT LIST ID 999998 999999|\
        CLIENT LIST ID 999998 ID 999999|CLIENT LIST ID 999999 x|CLIENT LIST TYPE primary|CLIENT LIST NAME nosuch|\
        CLIENT LIST ID 99999999999999999999|CLIENT KILL MAXAGE x|CLIENT KILL MAXAGE 0|CLIENT KILL MAXAGE -1|\
        CLIENT KILL ID 999998 999999|CLIENT KILL NAME nosuch|CLIENT KILL NOT-TYPE x|CLIENT KILL TYPE primary|\
        CLIENT KILL ID 999999 TYPE primary|CLIENT KILL DB 99 ID 999999|CLIENT PAUSE x WRITE X|CLIENT PAUSE -1 WRITE X|\
        CLIENT UNBLOCK 1 FOO X|CLIENT NOSUCH|CLIENT SETNAME|CLIENT REPLY|CLIENT REPLY FOO|CLIENT ID x|CLIENT GETNAME x|CLIENT INFO x";
    for connect in [Client::connect, Client::resp3] {
        let (mut direct, mut through) = (connect(&redis.address()), connect(&endpoint.address()));
        for line in lines.split('|') {
            let words: Vec<&str> = line.trim().split(' ').collect();
            assert_eq!(through.ask(&words), direct.ask(&words), "{line}");
        }
    }
}

/// Where the server does that: Redis since 7.4, Valkey since 8.0.
#[test]
fn clients_may_be_closed_by_their_age() {
    let (redis, endpoint) = start();
    let mut client = endpoint.client();
    if redis.command(&["CLIENT", "KILL", "MAXAGE", "1000"]) != ":0\r\n" {
        assert_eq!(client.ask(&["CLIENT", "KILL", "MAXAGE", "1000"]), "-ERR syntax error\r\n");
        return;
    }
    assert_eq!(client.integer(&["CLIENT", "KILL", "MAXAGE", "1000"]), 0);
    let mut old = endpoint.client();
    old.ok(&["SET", "k", "v"]);
    eventually("it is a second old", || client.integer(&["CLIENT", "KILL", "MAXAGE", "1"]) == 1);
    assert_eq!(old.rest(), "");
}

/// Valkey since 9.0: what a client is, and what it is not.
#[test]
fn clients_are_chosen_by_what_newer_servers_can_be_asked_for() {
    let (bare, (_behind, endpoint)) = (Redis::start(), start());
    let (mut direct, mut through) = (Client::connect(&bare.address()), endpoint.client());
    if !direct.ask(&["CLIENT", "LIST", "NOT-NAME", "x"]).starts_with('$') {
        assert_eq!(through.ask(&["CLIENT", "LIST", "NOT-NAME", "x"]), "-ERR syntax error\r\n");
        return;
    }
    // Three at each side: one with everything set, one in a transaction, and the one that asks.
    let mut crowds = [direct, through].map(|mut asker| {
        asker.ok(&["CLIENT", "SETNAME", "asker"]);
        let address = asker.stream().peer_addr().expect("connected").to_string();
        let (mut first, mut second) = (Client::connect(&address), Client::connect(&address));
        for words in [
            &["CLIENT", "SETNAME", "first"][..],
            &["CLIENT", "SETINFO", "LIB-NAME", "lib"],
            &["CLIENT", "SETINFO", "LIB-VER", "1"],
            &["CLIENT", "CAPA", "redirect"],
            &["SELECT", "3"],
            &["CLIENT", "NO-EVICT", "on"],
        ] {
            first.ok(words);
        }
        second.ok(&["MULTI"]);
        [first, second, asker]
    });
    for line in "NAME first|NOT-NAME first|NAME first NAME asker|LIB-NAME lib|NOT-LIB-NAME lib|LIB-VER 1|NOT-LIB-VER 1|\
        CAPA r|NOT-CAPA r|DB 3|NOT-DB 3|DB 0|FLAGS e|FLAGS x|FLAGS N|NOT-FLAGS N|FLAGS ex|IP 127.0.0.1|NOT-IP 127.0.0.1|\
        IP 1.2.3.4|USER default|NOT-USER default|TYPE normal|NOT-TYPE normal|NOT-TYPE primary|SKIPME yes|SKIPME no|\
        NAME asker SKIPME yes|IDLE 1000|MAXAGE 1000|NOT-ADDR 1.1.1.1:1|NOT-LADDR 1.1.1.1:1|NOT-ID 999999|DB 3 FLAGS e NOT-DB 0"
        .split('|')
    {
        let words: Vec<&str> = ["CLIENT", "LIST"].into_iter().chain(line.trim().split(' ')).collect();
        let [at_server, at_redan] = crowds.each_mut().map(|crowd| {
            let seen = list(&mut crowd[2], &words);
            seen.into_values().map(|fields| (fields["name"].clone(), fields["multi"].clone())).collect::<Vec<_>>()
        });
        assert_eq!(at_redan, at_server, "{line}");
    }
    for crowd in &mut crowds {
        assert_eq!(crowd[2].integer(&["CLIENT", "KILL", "NOT-NAME", "asker", "NOT-FLAGS", "x"]), 1);
        assert_eq!(crowd[0].rest(), "");
        assert_eq!(crowd[1].ask(&["EXEC"]), "*0\r\n");
    }
}

#[test]
fn the_list_shows_the_clients_of_every_worker_and_no_connection_to_a_node() {
    let (redis, endpoint) = start();
    let mut clients: Vec<Client> = (0..6).map(|_| endpoint.client()).collect();
    let ids: Vec<i64> = clients.iter_mut().map(id).collect();
    clients[1].ok(&["CLIENT", "SETNAME", "second"]);
    clients[2].ok(&["SELECT", "3"]);
    assert!(clients[3].ask(&["HELLO", "3"]).starts_with('%'));
    clients[4].raw(&pipeline(&[&["MULTI"], &["SET", "k", "v"], &["GET", "k"]]));
    (0..3).for_each(|_| drop(clients[4].reply()));
    clients[5].ok(&["CLIENT", "NO-EVICT", "on"]);
    clients[1].ask(&["GET", "k"]);
    let seen = list(&mut clients[0], &["CLIENT", "LIST"]);
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), ids);
    let field = |client: usize, name: &str| seen[&ids[client]][name].as_str();
    assert_eq!((field(1, "name"), field(1, "cmd"), field(0, "cmd")), ("second", "get", "client|list"));
    assert_eq!((field(2, "db"), field(3, "resp"), field(0, "resp")), ("3", "3", "2"));
    assert_eq!((field(4, "multi"), field(4, "flags"), field(0, "multi")), ("2", "x", "-1"));
    assert_eq!((field(5, "flags"), field(0, "flags")), ("e", "N"));
    for (client, id) in clients.iter().zip(&ids) {
        assert_eq!(seen[id]["addr"], address(client));
        assert_eq!((seen[id]["laddr"].as_str(), seen[id]["user"].as_str()), (endpoint.address().as_str(), "default"));
        assert!(seen[id]["fd"].parse::<i32>().expect("a number") > 2);
    }
    // The same fields in the same order as a server's.
    let names = |text: String| -> Vec<String> {
        let line = text.lines().next().expect("a line").to_owned();
        line.split(' ').map(|field| field.split('=').next().expect("a name").to_owned()).collect()
    };
    let mut direct = Client::connect(&redis.address());
    let expected = names(direct.text(&["CLIENT", "LIST"]).expect("text"));
    assert_eq!(names(clients[0].text(&["CLIENT", "LIST"]).expect("text")), expected);
    // Chosen by id: in the order asked for or, by newer Valkey, in that of the clients.
    let (first, second) = (ids[4].to_string(), ids[1].to_string());
    let chosen = clients[0].text(&["CLIENT", "LIST", "ID", &first, "999999", &second]).expect("text");
    let chosen: Vec<&str> = chosen.lines().map(|line| line.split(' ').next().expect("a field")).collect();
    let mut wanted = [format!("id={first}"), format!("id={second}")];
    if direct.ask(&["CLIENT", "LIST", "SKIPME", "yes"]).starts_with('$') {
        wanted.reverse();
    }
    assert_eq!(chosen, wanted);
    assert_eq!(list(&mut clients[0], &["CLIENT", "LIST", "TYPE", "normal"]).len(), 6);
    assert!(clients[3].ask(&["CLIENT", "LIST"]).starts_with("="), "verbatim under RESP3");
}

#[test]
fn clients_are_closed_whichever_worker_serves_them() {
    let (_redis, endpoint) = start();
    let mut killer = endpoint.client();
    for form in ["address", "ADDR", "ID"] {
        for _ in 0..2 {
            let mut victim = endpoint.client();
            let (its_id, its_address) = (id(&mut victim).to_string(), address(&victim));
            match form {
                "address" => killer.ok(&["CLIENT", "KILL", &its_address]),
                "ADDR" => assert_eq!(killer.integer(&["CLIENT", "KILL", "ADDR", &its_address, "USER", "default"]), 1),
                _ => assert_eq!(killer.integer(&["CLIENT", "KILL", "ID", &its_id, "TYPE", "normal"]), 1),
            }
            assert_eq!(victim.rest(), "", "{form}");
        }
    }
    // Those that wait at a node as well, and all but the caller.
    let mut others: Vec<Client> = (0..4).map(|_| endpoint.client()).collect();
    others[0].send(&["BLPOP", "none", "0"]);
    others[1].ok(&["MULTI"]);
    eventually("one is blocked", || {
        list(&mut killer, &["CLIENT", "LIST"]).values().any(|fields| fields["flags"] == "b")
    });
    assert_eq!(killer.integer(&["CLIENT", "KILL", "LADDR", &endpoint.address()]), 4);
    others.iter_mut().for_each(|other| assert_eq!(other.rest(), ""));
    assert_eq!(list(&mut killer, &["CLIENT", "LIST"]).len(), 1);
    let mut own = endpoint.client();
    let its_id = id(&mut own).to_string();
    assert_eq!(own.integer(&["CLIENT", "KILL", "ID", &its_id]), 0);
    own.raw(&pipeline(&[&["CLIENT", "KILL", "ID", &its_id, "SKIPME", "no"], &["SET", "after", "it"]]));
    assert_eq!(own.rest(), ":1\r\n");
    let mut own = endpoint.client();
    let its_address = address(&own);
    own.send(&["CLIENT", "KILL", &its_address]);
    assert_eq!(own.rest(), "+OK\r\n");
    assert_eq!(killer.ask(&["GET", "after"]), "$-1\r\n");
}

#[test]
fn a_pause_of_writes_lets_readers_pass() {
    let (_redis, endpoint) = start();
    let mut caller = endpoint.client();
    caller.ok(&["SET", "k", "before"]);
    let mut others = [endpoint.client(), endpoint.client(), endpoint.client()];
    caller.ok(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    others[0].raw(&pipeline(&[&["GET", "k"], &["SET", "k", "after"], &["GET", "k"]]));
    others[1].raw(&pipeline(&[&["GET", "k"], &["MULTI"], &["APPEND", "k", "!"], &["EXEC"]]));
    others[2].ok(&["MULTI"]);
    others[2].send(&["INCR", "n"]);
    for other in &mut others[..2] {
        assert_eq!(other.text_reply(), "before");
        assert!(other.is_silent_for(Duration::from_millis(100)));
    }
    assert!(others[2].is_silent_for(Duration::from_millis(50)), "a write waits where it is queued");
    let held = list(&mut caller, &["CLIENT", "LIST"]);
    assert_eq!(held.values().filter(|fields| fields["flags"].contains('b')).count(), 3, "{held:?}");
    caller.ok(&["CLIENT", "UNPAUSE"]);
    assert_eq!((others[0].reply().as_str(), others[2].reply().as_str()), ("+OK\r\n", "+QUEUED\r\n"));
    assert!(others[0].text_reply().starts_with("after"));
    assert_eq!([others[1].reply(), others[1].reply()], ["+OK\r\n", "+QUEUED\r\n"]);
    assert!(others[1].reply().starts_with("*1\r\n:"));
}

#[test]
fn a_pause_of_all_ends_by_itself_and_the_longer_one_counts() {
    let (_redis, endpoint) = start();
    let (mut caller, mut other) = (endpoint.client(), endpoint.client());
    let start = Instant::now();
    caller.ok(&["CLIENT", "PAUSE", "300"]);
    other.send(&["PING"]);
    caller.send(&["CLIENT", "UNPAUSE"]);
    assert_eq!(other.reply(), "+PONG\r\n");
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!(caller.reply(), "+OK\r\n", "the caller waits as well");
    let start = Instant::now();
    caller.ok(&["CLIENT", "PAUSE", "400", "WRITE"]);
    caller.ok(&["CLIENT", "PAUSE", "1", "WRITE"]);
    other.ok(&["SET", "k", "v"]);
    assert!(start.elapsed() >= Duration::from_millis(400));
}

#[test]
fn a_blocked_client_is_unblocked_by_its_node() {
    let (redis, endpoint) = start();
    let nothing = "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";
    for (mut blocked, nil) in [(endpoint.client(), "*-1\r\n"), (endpoint.resp3(), "_\r\n")] {
        let its_id = id(&mut blocked).to_string();
        let mut other = endpoint.client();
        for (reason, expected) in [(&[][..], nil), (&["TIMEOUT"], nil), (&["ERROR"], nothing)] {
            blocked.send(&["BLPOP", "queue", "0"]);
            eventually("it is blocked", || redis.info("blocked_clients").as_deref() == Some("1"));
            let words = [&["CLIENT", "UNBLOCK", &its_id], reason].concat();
            assert_eq!(other.integer(&words), 1);
            assert_eq!(blocked.reply(), expected);
            assert_eq!(other.integer(&words), 0, "it is not blocked any more");
        }
        // Nothing was taken on the way.
        assert_eq!(other.integer(&["RPUSH", "queue", "kept"]), 1);
        assert_eq!(other.integer(&["DEL", "queue"]), 1);
    }
}

#[test]
fn subscribers_are_listed_and_closed_as_such() {
    let (_redis, endpoint) = start();
    let mut caller = endpoint.client();
    let mut subscribers = [endpoint.client(), endpoint.resp3()];
    for subscriber in &mut subscribers {
        subscriber.raw(&pipeline(&[&["SUBSCRIBE", "a", "b"], &["PSUBSCRIBE", "p*"], &["SSUBSCRIBE", "s"]]));
        (0..4).for_each(|_| drop(subscriber.reply()));
    }
    let seen = list(&mut caller, &["CLIENT", "LIST", "TYPE", "pubsub"]);
    assert_eq!(seen.len(), 2);
    for fields in seen.values() {
        let counts = ["sub", "psub", "ssub", "flags"].map(|name| fields[name].as_str());
        assert_eq!(counts, ["2", "1", "1", "P"]);
    }
    assert_eq!(list(&mut caller, &["CLIENT", "LIST", "TYPE", "normal"]).len(), 1);
    assert_eq!(caller.integer(&["CLIENT", "KILL", "TYPE", "pubsub"]), 2);
    subscribers.iter_mut().for_each(|subscriber| assert_eq!(subscriber.rest(), ""));
}

/// A client that waits for replicas is blocked as well.
#[test]
fn a_wait_is_unblocked_too() {
    let (redis, endpoint) = start();
    let (mut blocked, mut other) = (endpoint.client(), endpoint.client());
    let its_id = id(&mut blocked).to_string();
    blocked.ok(&["SET", "k", "v"]);
    blocked.send(&["WAIT", "3", "0"]);
    eventually("it is blocked", || redis.info("blocked_clients").as_deref() == Some("1"));
    assert_eq!(other.integer(&["CLIENT", "UNBLOCK", &its_id]), 1);
    assert_eq!(blocked.reply(), ":0\r\n");
}

/// Sessions of another group are another server's clients.
#[test]
fn other_groups_are_left_alone() {
    let (one, two) = (Redis::start(), Redis::start());
    let toml = format!(
        "[redan]\nworkers = 2\n[[listener]]\nname = \"one\"\nbind = \"127.0.0.1:0\"\ngroup = \"one\"\n\
         [[listener]]\nname = \"too\"\nbind = \"127.0.0.1:0\"\ngroup = \"one\"\n\
         [[listener]]\nname = \"two\"\nbind = \"127.0.0.1:0\"\ngroup = \"two\"\n\
         [[group]]\nname = \"one\"\nnodes = [{:?}]\n[[group]]\nname = \"two\"\nnodes = [{:?}]\n",
        one.address(),
        two.address()
    );
    let proxy = Proxy::start(&toml);
    let mut clients: Vec<Client> = (0..3).map(|n| Client::connect(&proxy.address(n))).collect();
    clients.iter_mut().for_each(|client| client.ok(&["SET", "k", "v"]));
    assert_eq!(list(&mut clients[0], &["CLIENT", "LIST"]).len(), 2, "both listeners of the group");
    assert_eq!(list(&mut clients[2], &["CLIENT", "LIST"]).len(), 1);
    clients[0].ok(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    clients[2].ok(&["SET", "k", "w"]);
    clients[1].ok(&["CLIENT", "UNPAUSE"]);
    assert_eq!(clients[0].integer(&["CLIENT", "KILL", "TYPE", "normal"]), 1);
    assert_eq!(clients[1].rest(), "");
    assert_eq!(clients[2].ask(&["PING"]), "+PONG\r\n");
}

/// What only Redan can answer takes effect at EXEC, and stands at its place in the reply.
#[test]
fn in_a_transaction_the_session_answers_for_itself() {
    let (redis, endpoint) = start();
    let scripts: &[&[&[&str]]] = &[
        &[
            &["MULTI"],
            &["CLIENT", "GETNAME"],
            &["SET", "k", "v"],
            &["CLIENT", "SETNAME", "x"],
            &["CLIENT", "GETNAME"],
            &["EXEC"],
        ],
        &[&["CLIENT", "GETNAME"], &["MULTI"], &["CLIENT", "SETNAME", "y"], &["DISCARD"], &["CLIENT", "GETNAME"]],
        &[
            &["MULTI"],
            &["CLIENT", "TRACKINGINFO"],
            &["CLIENT", "GETREDIR"],
            &["ACL", "WHOAMI"],
            &["GET", "k"],
            &["EXEC"],
        ],
        &[
            &["MULTI"],
            &["CLIENT", "SETNAME", "two words"],
            &["WATCH", "k"],
            &["CLIENT", "GETNAME"],
            &["MULTI"],
            &["EXEC"],
        ],
        &[&["MULTI"], &["CLIENT", "GETNAME", "x"], &["SET", "k", "not"], &["EXEC"], &["GET", "k"]],
        &[&["MULTI"], &["CLIENT", "SETNAME", "z"], &["NOSUCH"], &["EXEC"], &["CLIENT", "GETNAME"]],
        &[&["MULTI"], &["CLIENT", "NO-EVICT", "on"], &["CLIENT", "NO-EVICT", "foo"], &["PING", "x"], &["EXEC"]],
    ];
    for connect in [Client::connect, Client::resp3] {
        for at_once in [false, true] {
            for script in scripts {
                let said = [redis.address(), endpoint.address()].map(|address| {
                    let mut client = connect(&address);
                    if at_once {
                        client.raw(&pipeline(script));
                        return script.iter().map(|_| client.reply()).collect::<Vec<_>>();
                    }
                    script.iter().map(|words| client.ask(words)).collect::<Vec<_>>()
                });
                assert_eq!(said[1], said[0], "{script:?}, at once: {at_once}");
            }
        }
    }
    let mut client = endpoint.client();
    let own = id(&mut client);
    client.raw(&pipeline(&[
        &["MULTI"],
        &["CLIENT", "ID"],
        &["LRANGE", "none", "0", "-1"],
        &["CLIENT", "ID"],
        &["EXEC"],
    ]));
    (0..4).for_each(|_| drop(client.reply()));
    assert_eq!(client.reply(), format!("*3\r\n:{own}\r\n*0\r\n:{own}\r\n"));
    let connections = redis.command(&["CLIENT", "LIST"]);
    assert!(!connections.contains(" name=x "), "a connection of Redan's was renamed: {connections}");
}
