//! Commands that Redan answers itself, compared byte for byte with what Redis answers when it is asked directly.

use crate::support::client::{Client, pipeline};
use crate::support::endpoint::Endpoint;
use crate::support::redis::Redis;

struct Both {
    redis: Redis,
    endpoint: Endpoint,
}

impl Both {
    fn start() -> Self {
        let redis = Redis::start();
        let endpoint = Endpoint::of(&[&redis], "");
        Self { redis, endpoint }
    }

    /// Fresh connections for each script: directly, and through Redan. Replies must be equal, but for what `normal` hides.
    fn compare(&self, script: &[&[&str]], normal: impl Fn(&str) -> String) {
        let mut direct = Client::connect(&self.redis.address());
        let mut through = self.endpoint.client();
        for words in script {
            let expected = normal(&direct.ask(words));
            assert_eq!(normal(&through.ask(words)), expected, "{words:?} in {script:?}");
        }
    }

    fn equal(&self, script: &[&[&str]]) {
        self.compare(script, str::to_owned);
    }
}

/// The number behind `id` in a reply to HELLO, which every server gives as it likes.
fn without_id(reply: &str) -> String {
    match reply.split_once("$2\r\nid\r\n:") {
        Some((before, behind)) => format!("{before}{}", behind.split_once("\r\n").expect("a line").1),
        None => reply.to_owned(),
    }
}

/// `:17` is some integer.
fn any_integer(reply: &str) -> String {
    if reply.starts_with(':') { ":n".to_owned() } else { reply.to_owned() }
}

#[test]
fn hello() {
    let both = Both::start();
    let read = |script: &[&[&str]]| both.compare(script, without_id);
    read(&[&["HELLO"], &["HELLO", "3"], &["HELLO"], &["HELLO", "2"], &["HELLO"]]);
    read(&[&["hello", "3"], &["GET", "none"], &["HELLO", "2"], &["GET", "none"]]);
    read(&[&["HELLO", "3", "SETNAME", "me"], &["CLIENT", "GETNAME"]]);
    read(&[&["HELLO", "2", "SETNAME", "not a name"], &["CLIENT", "GETNAME"]]);
    read(&[&["HELLO", "1"], &["HELLO", "4"], &["HELLO", "x"], &["HELLO", "3.0"], &["HELLO", ""]]);
    read(&[
        &["HELLO", "3", "AUTH"],
        &["HELLO", "3", "AUTH", "a"],
        &["HELLO", "3", "NONSENSE"],
        &["HELLO", "3", "SETNAME"],
    ]);
    read(&[&["HELLO", "3", "AUTH", "default", "anything"], &["HGETALL", "h"]]);
    read(&[&["HELLO", "3", "AUTH", "nobody", "x"], &["HGETALL", "h"]]);
    read(&[&["HELLO", "3", "AUTH", "default", "x", "SETNAME", "n"], &["CLIENT", "GETNAME"]]);
}

#[test]
fn auth_without_users() {
    let both = Both::start();
    both.equal(&[
        &["AUTH"],
        &["AUTH", "x"],
        &["AUTH", "default", "x"],
        &["AUTH", "nobody", "x"],
        &["AUTH", "a", "b", "c"],
    ]);
    both.equal(&[&["ACL", "WHOAMI"], &["AUTH", "default", "x"], &["ACL", "WHOAMI"]]);
}

#[test]
fn select() {
    let both = Both::start();
    both.equal(&[&["SELECT", "0"], &["SET", "in", "zero"], &["SELECT", "3"], &["GET", "in"], &["SET", "in", "three"]]);
    both.equal(&[&["GET", "in"], &["SELECT", "15"], &["GET", "in"], &["SELECT", "3"], &["GET", "in"]]);
    both.equal(&[&["SELECT", "16"], &["GET", "in"], &["SELECT", "3"], &["SELECT", "1000"], &["GET", "in"]]);
    both.equal(&[&["SELECT", "-1"], &["SELECT", "x"], &["SELECT", ""], &["SELECT"], &["SELECT", "1", "2"]]);
    both.equal(&[&["SELECT", "99999999999999999999"], &["SELECT", "4294967296"], &["SELECT", " 1"], &["SELECT", "01"]]);
    both.equal(&[&["SELECT", "+1"], &["SELECT", "1.0"], &["SELECT", "-0"], &["GET", "in"]]);
}

/// Databases are the session's, not the shared connection's.
#[test]
fn sessions_of_different_databases_do_not_meet() {
    let both = Both::start();
    let mut clients: Vec<Client> = (0..4).map(|_| both.endpoint.client()).collect();
    for (db, client) in clients.iter_mut().enumerate() {
        client.ok(&["SELECT", &db.to_string()]);
    }
    for round in 0..20 {
        for (db, client) in clients.iter_mut().enumerate() {
            client.send(&["SET", "k", &format!("{db} {round}")]);
        }
        for (db, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.reply(), "+OK\r\n");
            assert_eq!(client.text(&["GET", "k"]), Some(format!("{db} {round}")));
        }
    }
}

#[test]
fn client_subcommands() {
    let both = Both::start();
    both.equal(&[&["CLIENT", "GETNAME"], &["CLIENT", "SETNAME", "me"], &["CLIENT", "GETNAME"]]);
    both.equal(&[&["CLIENT", "SETNAME", "two words"], &["CLIENT", "SETNAME", ""], &["CLIENT", "GETNAME"]]);
    both.equal(&[&["CLIENT", "SETNAME"], &["CLIENT", "GETNAME", "x"], &["CLIENT", "ID", "x"], &["CLIENT"]]);
    both.equal(&[&["CLIENT", "GETREDIR"], &["CLIENT", "TRACKINGINFO"], &["CLIENT", "UNBLOCK", "123456"]]);
    both.equal(&[&["CLIENT", "NO-EVICT", "ON"], &["CLIENT", "NO-EVICT", "OFF"], &["CLIENT", "NO-EVICT", "X"]]);
    both.equal(&[&["CLIENT", "UNBLOCK", "x"], &["CLIENT", "UNBLOCK", "1", "FOO"]]);
    both.compare(&[&["CLIENT", "ID"]], any_integer);
}

#[test]
fn client_info_says_what_the_client_said() {
    let both = Both::start();
    let mut client = both.endpoint.client();
    // Servers before 7.2 do not know SETINFO, and then Redan does not.
    let knows_libraries = both.redis.command(&["CLIENT", "SETINFO", "LIB-NAME", "x"]) == "+OK\r\n";
    if knows_libraries {
        client.ok(&["CLIENT", "SETINFO", "LIB-NAME", "a-library"]);
        client.ok(&["CLIENT", "SETINFO", "lib-ver", "1.2.3"]);
    }
    client.ok(&["CLIENT", "SETNAME", "me"]);
    client.ok(&["SELECT", "2"]);
    let id = client.integer(&["CLIENT", "ID"]);
    let port = client.stream().local_addr().expect("connected").port();
    let info = client.text(&["CLIENT", "INFO"]).expect("a line");
    let libraries = ["lib-name=a-library", "lib-ver=1.2.3"].into_iter().filter(|_| knows_libraries);
    for field in [
        format!("id={id}"),
        format!("addr=127.0.0.1:{port}"),
        format!("laddr={}", both.endpoint.address()),
        "name=me".to_owned(),
        "db=2".to_owned(),
        "user=default".to_owned(),
        "resp=2".to_owned(),
    ]
    .into_iter()
    .chain(libraries.map(str::to_owned))
    {
        assert!(info.split_whitespace().any(|found| found == field), "{field} is not in {info}");
    }
}

/// Every field that the server has is there and no other, in its order.
#[test]
fn client_info_has_the_fields_of_the_server() {
    let both = Both::start();
    let fields = |mut client: Client| -> Vec<String> {
        let line = client.text(&["CLIENT", "INFO"]).expect("a line");
        line.split_whitespace().map(|field| field.split_once('=').expect("field=value").0.to_owned()).collect()
    };
    assert_eq!(fields(both.endpoint.client()), fields(Client::connect(&both.redis.address())));
}

/// The numbers that newer servers show: alike where the two see the same.
#[test]
fn client_info_counts_what_the_server_counts() {
    let both = Both::start();
    let scripts: &[&[&[&str]]] = &[
        &[&["WATCH", "a", "b", "a"]],
        &[&["WATCH", "a"], &["WATCH", "b", "c"], &["GET", "a"]],
        &[&["WATCH", "a"], &["UNWATCH"]],
        &[&["WATCH", "a"], &["MULTI"], &["EXEC"], &["SET", "k", "v"]],
        &[&["CLIENT", "CAPA", "nosuch", "Redirect"]],
        &[&["CLIENT", "CAPA", "nosuch"], &["CLIENT", "NO-TOUCH", "ON"], &["CLIENT", "NO-EVICT", "ON"]],
        &[&["PING"], &["SET", "k", "v"], &["GET", "k"], &["MULTI"], &["GET", "k"], &["EXEC"], &["ECHO", "x"]],
    ];
    for script in scripts {
        let said = [both.redis.address(), both.endpoint.address()].map(|address| {
            let mut client = Client::connect(&address);
            script.iter().for_each(|words| drop(client.ask(words)));
            let info = client.text(&["CLIENT", "INFO"]).expect("a line");
            let counts = ["watch=", "capa=", "flags=", "tot-net-in=", "tot-net-out=", "tot-cmds="];
            let counted = info.split_whitespace().filter(|field| counts.iter().any(|name| field.starts_with(name)));
            counted.map(str::to_owned).collect::<Vec<_>>()
        });
        assert_eq!(said[1], said[0], "{script:?}");
    }
}

/// Subcommands that Redan answers itself exist where the server has them, alone and in transactions.
#[test]
fn what_the_server_does_not_know_is_unknown() {
    let both = Both::start();
    for line in [
        "CLIENT SETINFO",
        "CLIENT SETINFO LIB-NAME",
        "CLIENT SETINFO LIB-NAME x",
        "CLIENT SETINFO LIB-NAME x y",
        "CLIENT SETINFO COLOUR red",
        "CLIENT NO-TOUCH",
        "CLIENT NO-TOUCH on",
        "client no-touch x",
        "CLIENT CAPA",
        "CLIENT CAPA redirect",
        "CLIENT CAPA a b",
        "CLIENT MAINT_NOTIFICATIONS",
        "CLIENT MAINT_NOTIFICATIONS ON x y",
        "CLIENT NOSUCH x",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        both.equal(&[&words, &["GET", "k"]]);
        both.equal(&[&["MULTI"], &words, &["GET", "k"], &["EXEC"], &["GET", "k"]]);
        both.equal(&[&["SUBSCRIBE", "c"], &words, &["PING"]]);
    }
    both.equal(&[&["CLIENT", "SETINFO", "LIB-NAME", "two words"], &["CLIENT", "SETINFO", "lib-ver", "a b"]]);
}

#[test]
fn ids_of_sessions_differ_and_stay() {
    let both = Both::start();
    let mut clients = [both.endpoint.client(), both.endpoint.client()];
    let ids = clients.each_mut().map(|client| client.integer(&["CLIENT", "ID"]));
    assert_ne!(ids[0], ids[1]);
    assert_eq!(clients.each_mut().map(|client| client.integer(&["CLIENT", "ID"])), ids);
}

#[test]
fn ping_and_echo() {
    let both = Both::start();
    both.equal(&[&["PING"], &["ping", "text"], &["PING", ""], &["PING", "a", "b"], &["PING", "a", "b", "c"]]);
    both.equal(&[&["ECHO", "text"], &["ECHO", ""], &["ECHO"], &["ECHO", "a", "b"], &["eChO", "x\r\ny"]]);
    both.equal(&[&["HELLO", "3", "X"], &["PING"], &["ECHO", "x"]]);
}

#[test]
fn reset() {
    let both = Both::start();
    both.equal(&[&["SET", "k", "zero"], &["SELECT", "1"], &["CLIENT", "SETNAME", "me"], &["RESET"], &["GET", "k"]]);
    both.equal(&[&["CLIENT", "SETNAME", "me"], &["RESET"], &["CLIENT", "GETNAME"], &["RESET", "x"]]);
    both.compare(&[&["HELLO", "3"], &["RESET"], &["GET", "none"], &["HELLO"]], without_id);
    both.equal(&[&["MULTI"], &["SET", "k", "never"], &["RESET"], &["GET", "k"], &["EXEC"]]);
    both.equal(&[&["WATCH", "k"], &["RESET"], &["MULTI"], &["PING"], &["EXEC"]]);
}

#[test]
fn wrong_numbers_of_arguments() {
    let both = Both::start();
    both.equal(&[&["GET"], &["GET", "a", "b"], &["SET", "a"], &["MGET"], &["QUIT", "x"]]);
    both.equal(&[&["MULTI", "x"], &["EXEC"], &["DISCARD"], &["EXEC", "x"], &["WATCH"], &["UNWATCH", "x"]]);
    both.equal(&[&["SUBSCRIBE"], &["BLPOP", "a"], &["WAIT", "1"], &["OBJECT"], &["DBSIZE", "x"]]);
    both.equal(&[&["NOSUCHCOMMAND", "a", "b"], &["PING"]]);
    both.equal(&[&["CLIENT", "NOSUCH"], &["PING"]]);
}

#[test]
fn client_reply() {
    let both = Both::start();
    const ON: &[&str] = &["CLIENT", "REPLY", "ON"];
    const OFF: &[&str] = &["CLIENT", "REPLY", "OFF"];
    const SKIP: &[&str] = &["CLIENT", "REPLY", "SKIP"];
    #[rustfmt::skip]
    let scripts: &[&[&[&str]]] = &[
        &[SKIP, &["SET", "k", "2"], &["GET", "k"]],
        &[SKIP, &["PING", "unheard"], &["PING", "heard"]],
        &[SKIP, &["SET", "k", "4"], &["SELECT", "0"], &["GET", "k"]],
        &[SKIP, ON, SKIP, SKIP, &["PING"], &["CLIENT", "REPLY", "NONSENSE"]],
        &[OFF, &["SET", "k", "5"], &["GET", "k"], &["PING"], ON, &["GET", "k"]],
        &[OFF, &["SET", "k", "6"], SKIP, &["GET", "k"], ON, &["PING"]],
        &[OFF, &["MULTI"], &["GET", "k"], &["EXEC"], ON, &["GET", "k"]],
        &[SKIP, &["MULTI"], &["GET", "k"], &["EXEC"]],
        &[SKIP, &["SET", "k", "7"], &["SCRIPT", "KILL"], &["GET", "k"]],
        &[SKIP, &["SCRIPT", "KILL"], &["GET", "k"]],
        &[OFF, &["FUNCTION", "KILL"], ON, &["GET", "k"]],
        &[SKIP, &["SCRIPT", "FLUSH"], &["GET", "k"]],
        &[SKIP, &["NOSUCHCOMMAND"], &["GET", "k"], SKIP, &["GET", "k"], &["PING"]],
        &[OFF, &["NOSUCHCOMMAND"], ON, &["PING"], OFF, &["GET", "k"], ON],
    ];
    for script in scripts {
        let mut clients = [Client::connect(&both.redis.address()), both.endpoint.client()];
        let replies = clients.each_mut().map(|client| {
            client.raw(&pipeline(&[&["SET", "k", "1"]]));
            client.raw(&pipeline(script));
            client.raw(&pipeline(&[&["QUIT"]]));
            client.rest()
        });
        assert_eq!(replies[1], replies[0], "{script:?}");
    }
}

#[test]
fn quit_is_answered_after_everything_before_it_and_nothing_behind_it() {
    let both = Both::start();
    let mut clients = [Client::connect(&both.redis.address()), both.endpoint.client()];
    let replies = clients.each_mut().map(|client| {
        client.raw(&pipeline(&[&["SET", "k", "1"], &["GET", "k"], &["QUIT"], &["SET", "k", "2"]]));
        client.rest()
    });
    assert_eq!(replies[0], "+OK\r\n$1\r\n1\r\n+OK\r\n");
    assert_eq!(replies[1], replies[0]);
    assert_eq!(both.endpoint.client().text(&["GET", "k"]).as_deref(), Some("1"));
}

/// What a client sent before it closed its side is still executed and answered.
#[test]
fn a_client_that_ends_its_input_gets_its_replies() {
    let both = Both::start();
    let mut client = both.endpoint.client();
    client.raw(&pipeline(&[&["SET", "k", "1"], &["GET", "k"], &["PING"]]));
    client.end_input();
    assert_eq!(client.rest(), "+OK\r\n$1\r\n1\r\n+PONG\r\n");
}

/// Shapes of replies depend on the protocol version, which is the session's, not the shared connection's.
#[test]
fn resp2_and_resp3_sessions_do_not_meet() {
    let both = Both::start();
    let scripts: &[&[&str]] = &[
        &["HSET", "h", "f", "v"],
        &["HGETALL", "h"],
        &["ZADD", "z", "1.5", "m"],
        &["ZRANGE", "z", "0", "-1", "WITHSCORES"],
        &["GET", "none"],
        &["SMEMBERS", "none"],
        &["ZSCORE", "z", "m"],
        &["CONFIG", "GET", "maxclients"],
        &["CLIENT", "TRACKINGINFO"],
        &["CLIENT", "GETNAME"],
    ];
    let mut through = [both.endpoint.client(), both.endpoint.resp3()];
    let mut direct = [Client::connect(&both.redis.address()), Client::resp3(&both.redis.address())];
    for _ in 0..3 {
        for words in scripts {
            for (through, direct) in through.iter_mut().zip(&mut direct) {
                let expected = direct.ask(words);
                let found = through.ask(words);
                // The first HSET and ZADD of all add, the others do not.
                if !expected.starts_with(':') {
                    assert_eq!(found, expected, "{words:?}");
                }
            }
        }
    }
}
