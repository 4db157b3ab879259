//! The operator's commands as people give them: the built program, redis-cli, real servers, clients that must not notice.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::rolechange::count_through;
use crate::support::client::{Client, bulk};
use crate::support::endpoint::Endpoint;
use crate::support::group::{Group, Pair};
use crate::support::operator::{done, json, redan, refused};
use crate::support::proxy::Proxy;
use crate::support::redis::{Redis, eventually};

/// The socket that Redan has made beside its configuration, or wherever it is on this machine.
fn redis_cli(socket: &str, words: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-s", socket]).args(words).output().expect("redis-cli");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn node<'a>(status: &'a Value, address: &str) -> &'a Value {
    let nodes = status["groups"][0]["nodes"].as_array().expect("nodes");
    nodes.iter().find(|node| node["address"] == address).unwrap_or_else(|| panic!("{address} is in {status}"))
}

#[test]
fn any_redis_client_gives_commands_and_the_socket_is_the_operators_alone() {
    let master = Redis::start();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let (socket, setting) = (path.display().to_string(), format!("admin_socket = \"unix:{}\"", path.display()));
    let start = || Endpoint::start_process(&setting, &[master.address()], "", "");
    let endpoint = start();
    endpoint.wait_for_readable(1);
    assert_eq!(std::fs::metadata(&path).expect("the socket").permissions().mode() & 0o777, 0o600);
    assert_eq!(redis_cli(&socket, &["PING"]), "PONG\n");
    assert!(redis_cli(&socket, &["-3", "REDAN", "STATUS"]).contains("is the master for"), "as text, in RESP3");
    let lines = redis_cli(&socket, &["REDAN", "NODES"]);
    assert!(lines.lines().count() == 2 && lines.contains(&master.address()), "line by line, in RESP2: {lines}");
    let status = redis_cli(&socket, &["redan", "status", "json"]);
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["process"]["pid"], endpoint.id());
    assert!(redis_cli(&socket, &["GET", "key"]).contains("REDAN HELP"), "it says what it is");
    assert!(redis_cli(&socket, &["CLIENT", "SETNAME", "me"]).contains("OK"));

    let mut plain = UnixStream::connect(&path).expect("it listens");
    plain.write_all(b"CLIENT INFO\r\nREDAN NODE x\r\nPING hello\r\nCOMMAND DOCS\r\nQUIT\r\n").expect("open");
    let mut said = String::new();
    plain.read_to_string(&mut said).expect("answers, and the end");
    assert!(said.contains("-ERR wrong number of arguments; it is REDAN NODE"), "{said}");
    assert!(said.ends_with("$5\r\nhello\r\n*0\r\n+OK\r\n"), "{said}");

    // What a kill leaves behind is in nobody's way, and is not taken for a Redan.
    endpoint.signal("KILL");
    let file = endpoint.file();
    eventually("it is gone", || {
        let (said, code) = redan(&file, &["status"]);
        code == 69 && said.contains(&socket) && said.contains("no Redan answers at")
    });
    let again = start();
    assert_eq!(json(&again, &["status"])["process"]["pid"], again.id());
}

#[test]
fn two_redans_are_told_apart_by_their_configuration_files() {
    let master = Redis::start();
    let [one, other] = [(); 2].map(|()| Endpoint::start(&[master.address()], "", ""));
    for endpoint in [&one, &other] {
        assert_eq!(json(endpoint, &["status"])["process"]["pid"], endpoint.id());
        assert!(done(endpoint, &["ask"]).contains("REDAN PAUSE"));
    }
    let (said, code) = redan(Path::new("/nowhere/proxy.toml"), &["status"]);
    assert!(code == 69 && said.contains("/nowhere/proxy.toml cannot be read"), "{code}: {said}");
}

#[test]
fn an_address_wants_its_password_and_is_of_this_machine() {
    let folder = tempfile::tempdir().expect("a folder");
    let password = folder.path().join("password");
    std::fs::write(&password, "open sesame\n").expect("writable");
    let toml = format!(
        "[redan]\nadmin_socket = \"127.0.0.1:0\"\nadmin_password_file = {password:?}\n\
         [[listener]]\nname = \"app\"\nbind = \"127.0.0.1:0\"\n[[group]]\nname = \"main\"\nnodes = [\"127.0.0.1:1\"]\n"
    );
    let proxy = Proxy::start(&toml);
    let address = proxy.address(0);
    let (said, code) = redan(&proxy.file(), &["groups"]);
    assert!(code == 0 && said.contains("main"), "{code}: {said}");
    let (said, code) = redan(&proxy.file(), &["groups", "--socket", &address]);
    assert!(code == 69 && said.contains("--password-file"), "{code}: {said}");
    let mut client = Client::connect(&address);
    assert!(client.ask(&["REDAN", "STATUS"]).starts_with("-NOAUTH "));
    assert!(client.ask(&["AUTH", "open"]).starts_with("-WRONGPASS "));
    client.ok(&["AUTH", "open sesame"]);
    assert!(client.ask(&["REDAN", "GROUPS"]).starts_with("*2\r\n"));
    for (line, words) in [
        ("admin_socket = \"127.0.0.1:0\"", "name an `admin_password_file`"),
        ("admin_socket = \"0.0.0.0:0\"", "a loopback address"),
        (&*format!("admin_password_file = {password:?}"), "protect a Unix socket"),
    ] {
        let file = folder.path().join("proxy.toml");
        std::fs::write(&file, toml.replace(toml.split("[[").next().unwrap_or_default(), &format!("[redan]\n{line}\n")))
            .expect("writable");
        let output = Command::new(env!("CARGO_BIN_EXE_redan")).arg("check").arg(&file).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(78) && said.contains(words), "{line}: {said}");
    }
}

#[test]
fn a_pause_under_load_is_quiet_and_costs_nobody_anything() {
    let pair = Pair::start("");
    let endpoint = &pair.endpoint;
    let mut waiting = endpoint.client();
    waiting.send(&["BLPOP", "queue", "0"]);
    let counted = || {
        let stats = pair.master.text(&["INFO", "commandstats"]);
        stats.lines().find(|line| line.starts_with("cmdstat_incr:")).map(ToOwned::to_owned)
    };
    let acknowledged = count_through(&[endpoint], |progress| {
        progress();
        for round in 0..3 {
            let said = done(endpoint, &["pause", "main", "--for", "60s", "--within", "20s"]);
            assert!(said.contains("group 'main' is paused: nothing is under way"), "{said}");
            assert!(said.contains("1 clients go on waiting at the master"), "{said}");
            let before = counted();
            assert!(before.is_some(), "clients increment");
            let status = json(endpoint, &["status"]);
            assert!(status["groups"][0]["paused_seconds_left"].as_f64().is_some_and(|left| left > 1.0), "{status}");
            assert!(endpoint.metric("redan_group_paused{group=\"main\"}") > 0.0);
            assert!(json(endpoint, &["sessions", "STATE", "paused"])["total"].as_u64().is_some_and(|n| n > 0));
            if round == 1 {
                // Whatever is done to the server meanwhile: nobody is told, not even who waits there.
                pair.master.command(&["CLIENT", "KILL", "TYPE", "normal"]);
                done(endpoint, &["reconnect"]);
            }
            assert_eq!(counted(), before, "nothing reaches the master");
            assert!(done(endpoint, &["resume", "main"]).contains("goes on"));
            progress();
        }
        // Forgotten, it ends by itself.
        done(endpoint, &["pause", "--for", "300ms", "--within", "300ms"]);
        progress();
        assert!(endpoint.metric("redan_group_paused{group=\"main\"}") < 1.0);
    });
    for (key, count) in acknowledged {
        assert!(count > 0, "{key} did something");
        assert_eq!(pair.master.command(&["GET", &key]), bulk(&count.to_string()), "{key}");
    }
    pair.master.command(&["RPUSH", "queue", "x"]);
    assert_eq!(waiting.reply(), "*2\r\n$5\r\nqueue\r\n$1\r\nx\r\n", "who waited is served");
}

#[test]
fn a_pause_that_cannot_be_quiet_is_taken_back() {
    let pair = Pair::start("");
    let endpoint = &pair.endpoint;
    let mut client = endpoint.client();
    client.ok(&["SET", "key", "1"]);
    let mut slow = endpoint.client();
    slow.send(&[
        "EVAL",
        "local t = redis.call('TIME')[1] + 3 while redis.call('TIME')[1] + 0 < t do end return 7",
        "0",
    ]);
    eventually("the script is under way", || {
        json(endpoint, &["sessions", "LIMIT", "10"])["sessions"]
            .as_array()
            .is_some_and(|sessions| sessions.iter().any(|session| session["unanswered"].as_u64().unwrap_or(0) > 0))
    });
    let said = refused(endpoint, &["pause", "main", "--within", "100ms"]);
    assert!(said.contains("commands are still not answered") && said.contains("is not paused"), "{said}");
    assert_eq!(slow.reply(), ":7\r\n");
    client.ok(&["SET", "key", "2"]);
}

#[test]
fn a_drained_replica_gets_no_reads_until_it_is_undrained() {
    let group = Group::start("consistency = \"eventual\"");
    let endpoint = &group.endpoint;
    let [master, one, two] = [0, 1, 2].map(|index: usize| group.servers[index].address());
    let read = |times: usize| {
        for _ in 0..times {
            endpoint.client().ask(&["GET", "key"]);
        }
    };
    read(20);
    let said = done(endpoint, &["drain", &one]);
    assert!(said.contains("is drained: no reads go there, and nothing is under way"), "{said}");
    let before = endpoint.commands_to(&one);
    read(60);
    assert_eq!(endpoint.commands_to(&one), before, "not one of sixty");
    let status = json(endpoint, &["status"]);
    assert_eq!((&node(&status, &one)["state"], &node(&status, &two)["state"]), (&"drained".into(), &"ok".into()));
    assert!(endpoint.metric(&format!("redan_node_drained{{group=\"main\",node=\"{one}\"}}")) > 0.0);
    let said = refused(endpoint, &["drain", &master]);
    assert!(said.contains("is the master") && said.contains("PROMOTE"), "{said}");
    let said = refused(endpoint, &["drain", "127.0.0.1:1"]);
    assert!(said.contains(&format!("there is {master}")), "{said}");

    done(endpoint, &["undrain", &one]);
    eventually("it serves again", || {
        read(5);
        endpoint.commands_to(&one) > before
    });
    // Who becomes the master is not drained any more.
    done(endpoint, &["drain", &two]);
    let said = done(endpoint, &["promote", "main", &two]);
    assert!(said.ends_with(&format!("done: {two} is the master\n")), "{said}");
    let status = json(endpoint, &["status"]);
    assert_eq!((&node(&status, &two)["state"], &node(&status, &two)["drained"]), (&"master".into(), &false.into()));
}

#[test]
fn connections_are_replaced_under_load_without_an_error() {
    let pair = Pair::start("");
    let endpoint = &pair.endpoint;
    let connections =
        || pair.master.info("total_connections_received").and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    let acknowledged = count_through(&[endpoint], |progress| {
        for what in [&["reconnect"][..], &["reconnect", "main"], &["reconnect", &pair.master.address()]] {
            progress();
            let before = connections();
            let said = done(endpoint, what);
            let replaced: u64 = said.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{said}"));
            assert!(replaced >= 2, "{said}");
            progress();
            eventually("new ones are there", || connections() > before);
        }
        let lanes = json(endpoint, &["lanes", &pair.master.address()]);
        assert!(lanes["lanes"].as_array().is_some_and(|lanes| lanes.iter().any(|lane| lane["state"] == "serving")));
    });
    for (key, count) in acknowledged {
        assert_eq!(pair.master.command(&["GET", &key]), bulk(&count.to_string()), "{key}");
    }
}

#[test]
fn sessions_say_what_they_do_and_one_can_be_closed() {
    let pair = Pair::start("");
    let endpoint = &pair.endpoint;
    let (mut multi, mut listens, mut blocks, mut idle) =
        (endpoint.client(), endpoint.client(), endpoint.client(), endpoint.client());
    idle.ok(&["CLIENT", "SETNAME", "idler"]);
    multi.ok(&["MULTI"]);
    listens.send(&["SUBSCRIBE", "news"]);
    blocks.send(&["BLPOP", "nothing", "0"]);
    for state in ["multi", "subscribed", "blocked"] {
        eventually(state, || json(endpoint, &["sessions", "STATE", state])["total"] == 1);
    }
    let blocked = json(endpoint, &["sessions", "STATE", "blocked"]);
    assert_eq!(blocked["sessions"][0]["node"], pair.master.address());
    assert_eq!(json(endpoint, &["sessions", "LIMIT", "2"])["sessions"].as_array().map(Vec::len), Some(2));
    assert!(done(endpoint, &["sessions", "LIMIT", "2"]).contains("2 of 4 are shown"));
    let named = json(endpoint, &["sessions", "NAME", "idler"]);
    assert_eq!((&named["total"], &named["sessions"][0]["state"]), (&1.into(), &"idle".into()));
    let id = named["sessions"][0]["id"].to_string();
    assert!(done(endpoint, &["kill", &id]).contains("is closed"));
    assert_eq!(idle.next(), None, "closed");
    eventually("it is gone", || json(endpoint, &["sessions", "NAME", "idler"])["total"] == 0);
}

#[test]
fn one_node_is_asked_with_redans_own_login() {
    let replica_of = Redis::options().password("secret").start();
    let folder = tempfile::tempdir().expect("a folder");
    let password = folder.path().join("password");
    std::fs::write(&password, "secret").expect("writable");
    let endpoint = Endpoint::start(&[replica_of.address()], "", &format!("password_file = {password:?}"));
    let address = replica_of.address();
    assert!(done(&endpoint, &["node", &address, "ROLE"]).starts_with("master\n"));
    let echoed = redan(&endpoint.file(), &["node", "--json", &address, "ECHO", "json"]);
    assert_eq!(echoed, ("\"json\"\n".to_owned(), 0));
    let (said, code) = redan(&endpoint.file(), &["node", &address, "NONSENSE"]);
    assert!(code == 1 && said.starts_with("unknown command"), "{code}: {said}");
    assert!(endpoint.said().contains("is sent NONSENSE, as ordered"), "the log tells who was told what");
    assert!(refused(&endpoint, &["node", "127.0.0.1:1", "PING"]).contains(&format!("there is {address}")));
}

#[test]
fn the_log_level_changes_at_once_and_settings_say_where_they_come_from() {
    let master = Redis::start();
    let endpoint = Endpoint::start(&[master.address()], "hold = \"3s\"", "");
    let misbehave = || {
        let mut stream = std::net::TcpStream::connect(endpoint.admin()).expect("the admin endpoint");
        stream.write_all(b"\x01\x02 nonsense\r\n\r\n").expect("open");
        // Until it is answered or closed.
        let _ = stream.read(&mut [0; 64]);
    };
    misbehave();
    assert!(refused(&endpoint, &["log-level", "loud"]).contains("loud"));
    done(&endpoint, &["log-level", "redan::admin=debug,info"]);
    eventually("what was not said is said", || {
        misbehave();
        endpoint.said().contains("DEBUG redan::admin")
    });
    let settings = json(&endpoint, &["config", "hold"]);
    let hold = settings.as_array().and_then(|all| all.iter().find(|setting| setting["name"] == "hold")).expect("hold");
    assert_eq!((&hold["section"], &hold["value"]), (&"listener app".into(), &"3s".into()));
    assert!(hold["line"].as_u64().is_some_and(|line| line > 3), "{hold}");
    assert!(done(&endpoint, &["reload"]).contains("nothing differs in the configuration"));
}
