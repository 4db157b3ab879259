//! Who may connect to whom: TLS and client certificates on both sides, Unix sockets, a user with few rights.

use std::process::{Command, Stdio};

use crate::check::check;
use crate::support::certs::Certs;
use crate::support::client::Client;
use crate::support::endpoint::Endpoint;
use crate::support::proxy::Proxy;
use crate::support::redis::{Redis, eventually, free_port};

/// What `redan check` says about one node with TLS settings, and its exit code.
fn checked(node: &Redis, tls: &str) -> (String, i32) {
    check(&format!("nodes = [\"{}\"]\nconnect_timeout = \"1s\"\ntls = {{ {tls} }}", node.address()), &[])
}

fn ca(certs: &Certs) -> String {
    format!("ca = \"{}\"", certs.ca().display())
}

fn identity(certs: &Certs) -> String {
    format!("cert = \"{}\", key = \"{}\"", certs.cert().display(), certs.key().display())
}

#[test]
fn what_is_wrong_with_the_certificates_of_nodes_is_said() {
    let certs = Certs::named("redis.internal");
    let node = Redis::options().tls(&certs).start();
    let (said, code) = checked(&node, &ca(&certs));
    assert!(code == 1 && said.contains("set `server_name` to a name the certificate carries"), "{said}");
    let (said, code) = checked(&node, &format!("{}, server_name = \"redis.internal\"", ca(&certs)));
    assert_eq!(code, 0, "{said}");

    let certs = Certs::expired();
    let node = Redis::options().tls(&certs).start();
    let (said, code) = checked(&node, &ca(&certs));
    assert!(code == 1 && said.contains("the node's certificate has expired; renew it"), "{said}");

    let plain = Redis::start();
    let (said, code) = checked(&plain, &ca(&certs));
    assert!(code == 1 && said.contains("does the node speak TLS on this port?"), "{said}");
}

#[test]
fn nodes_that_ask_for_a_certificate() {
    let (certs, others) = (Certs::make(), Certs::make());
    let node = Redis::options().tls(&certs).line("tls-auth-clients yes").start();
    for (identity, code, words) in [
        (String::new(), 1, "it asks for a certificate: set `cert` and `key`"),
        (identity(&others), 1, "it does not trust the certificate in `cert`"),
        (identity(&certs), 0, "Nothing is wrong."),
    ] {
        let settings = [ca(&certs), identity].iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>();
        let (said, ended) = checked(&node, &settings.join(", "));
        assert!(ended == code && said.contains(words), "{words}: {said}");
        let sentences = said.matches(&node.address()).count() - 1;
        assert_eq!(sentences, usize::from(code == 1), "a row of the table, and one sentence where it is wrong: {said}");
    }
    let tls = format!("tls = {{ {}, {} }}", ca(&certs), identity(&certs));
    let endpoint = Endpoint::start_blind(&[node.address()], "", &tls);
    endpoint.wait_for_readable(1);
    endpoint.client().ok(&["SET", "key", "value"]);
}

/// `redis-cli` with these arguments, and PING.
fn ping(arguments: &[&str]) -> String {
    let output = Command::new("redis-cli").args(arguments).arg("PING").stdin(Stdio::null()).output();
    let output = output.expect("redis-cli is missing: `make test` installs it");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn clients_show_a_certificate_where_the_listener_asks_for_one_and_sockets_need_none() {
    let (certs, others) = (Certs::make(), Certs::make());
    let node = Redis::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("redan.sock").display().to_string();
    let proxy = Proxy::start(&format!(
        "[[listener]]\nname = \"app\"\nbind = \"127.0.0.1:0\"\ntls = {{ {}, client_ca = \"{}\" }}\n\
         [[listener]]\nname = \"local\"\nbind = \"unix:{socket}\"\nmode = \"0700\"\n\
         [[group]]\nname = \"main\"\nnodes = [\"{}\"]\n",
        identity(&certs),
        certs.ca().display(),
        node.address()
    ));
    let address = proxy.address(0);
    let (_, port) = address.split_once(':').expect("a port");
    let path = |path: std::path::PathBuf| path.display().to_string();
    let files = [path(certs.ca()), path(certs.cert()), path(certs.key()), path(others.cert()), path(others.key())];
    let tls = ["-p", port, "--tls", "--cacert", &files[0]];
    let with = |cert: usize| [&tls[..], &["--cert", &files[cert], "--key", &files[cert + 1]]].concat();
    assert_eq!(ping(&with(1)), "PONG\n");
    for refused in [ping(&tls), ping(&with(3)), ping(&["-p", port])] {
        assert!(!refused.contains("PONG"), "{refused}");
    }
    assert_eq!(ping(&["-s", &socket]), "PONG\n");
    let mode = std::fs::metadata(&socket).expect("the socket").permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o700);
}

#[test]
fn all_nodes_down_at_the_start_and_a_client_that_waits_for_them() {
    let (a, b) = (free_port(), free_port());
    let nodes = [a, b].map(|port| format!("127.0.0.1:{port}"));
    let endpoint = Endpoint::start_blind(&nodes, "hold = \"30s\"", "");
    let mut client = endpoint.client();
    client.send(&["SET", "key", "value"]);
    eventually("Redan says what is missing", || endpoint.said().contains("writes stay held: no node can be asked"));
    // A replica saves what it copies; each server has its own folder, so that none loads another's data.
    let folder = tempfile::tempdir().expect("a folder");
    let run = |port: u16, more: &[&str]| {
        let own = folder.path().join(port.to_string());
        std::fs::create_dir(&own).expect("a folder of its own");
        crate::support::network::Running::start(
            Command::new(crate::support::redis::program())
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
                .args(["--repl-diskless-sync-delay", "0", "--dir"])
                .arg(own)
                .args(more),
        )
    };
    let _master = run(a, &[]);
    // One node alone proves nothing: the other may be a newer master.
    eventually("the doubt is said", || endpoint.said().contains("no other configured node can be reached"));
    let _replica = run(b, &["--replicaof", "127.0.0.1", &a.to_string()]);
    assert_eq!(client.reply(), "+OK\r\n");
    assert_eq!(client.text(&["GET", "key"]).as_deref(), Some("value"));
}

/// The line that docs/configuration.md recommends, with what an application needs in place of its dots.
const RIGHTS: &str = "on >secret ~app:* &* +@read +@write +@connection +@transaction +info +role";

fn with_user(rights: &str) -> (Redis, Redis, String, tempfile::TempDir) {
    let a = Redis::start();
    let b = Redis::options().replica_of(&a).start();
    b.wait_for_link();
    for node in [&a, &b] {
        node.ok(&[&["ACL", "SETUSER", "redan"], &rights.split(' ').collect::<Vec<_>>()[..]].concat());
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("password");
    std::fs::write(&file, "secret\n").expect("writable");
    let group = format!("user = \"redan\"\npassword_file = \"{}\"", file.display());
    (a, b, group, folder)
}

#[test]
fn a_user_with_few_rights_suffices() {
    let (a, b, group, _folder) = with_user(RIGHTS);
    let (said, code) = check(&format!("nodes = [\"{}\"]\n{group}", a.address()), &[]);
    assert!(code == 0 && said.contains("Nothing is wrong."), "{said}");
    let endpoint = Endpoint::start_blind(&[a.address()], "", &group);
    endpoint.wait_for_readable(2);
    for mut client in [endpoint.client(), endpoint.resp3()] {
        client.ok(&["SET", "app:key", "value"]);
        client.ok(&["SELECT", "1"]);
        client.ok(&["SET", "app:key", "one"]);
        client.ok(&["MULTI"]);
        assert_eq!(client.ask(&["GET", "app:key"]), "+QUEUED\r\n");
        assert_eq!(client.ask(&["EXEC"]), "*1\r\n$3\r\none\r\n");
        // The nodes' refusals pass.
        assert!(client.ask(&["SET", "other", "value"]).starts_with("-NOPERM"));
        assert!(client.ask(&["EVAL", "return 1", "0"]).starts_with("-NOPERM"));
        // A session that wrote comes back to the replica, which takes ROLE.
        let before = endpoint.commands_to(&b.address());
        eventually("the replica serves a session that has written", || {
            for _ in 0..100 {
                assert_eq!(client.text(&["GET", "app:key"]).as_deref(), Some("one"));
            }
            endpoint.commands_to(&b.address()) > before + 100.0
        });
    }
}

#[test]
fn a_right_that_is_missing_is_named_with_what_it_costs() {
    for (rights, words) in [
        ("+@read +@write +info", "may not ask ROLE, so the reads of a client that has written stay on the master"),
        ("+@read +@write +role", "may not ask INFO, so its history"),
        ("+@read +@write", "may ask neither INFO nor ROLE, so no replica is discovered or serves reads"),
    ] {
        let (a, b, group, _folder) = with_user(&format!("on >secret ~* &* {rights}"));
        let (said, code) = check(&format!("nodes = [\"{}\", \"{}\"]\n{group}", a.address(), b.address()), &[]);
        assert!(code == 1 && said.contains(words), "{rights}: {said}");
        // Whatever is missing, writes are served.
        let endpoint = Endpoint::start_blind(&[a.address()], "", &group);
        Client::connect(&endpoint.address()).ok(&["SET", "key", "value"]);
    }
}

/// `redan check` says that the password protects nothing; commands are carried all the same.
#[test]
fn a_password_for_a_node_that_asks_for_none() {
    let node = Redis::start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    std::fs::write(&file, "needless").expect("writable");
    let endpoint = Endpoint::start(&[node.address()], "", &format!("password_file = {file:?}"));
    for mut client in [endpoint.client(), endpoint.resp3()] {
        client.ok(&["SET", "key", "value"]);
        assert_eq!(client.text(&["GET", "key"]).as_deref(), Some("value"));
    }
}

/// A master that control can ask and commands cannot reach: the error says why, not that all is well.
#[test]
fn a_master_that_takes_no_more_connections_is_named_with_its_reason() {
    let node = Redis::start();
    let endpoint = Endpoint::start(&[node.address()], "hold = \"300ms\"", "");
    node.ok(&["CONFIG", "SET", "maxclients", "1"]);
    let reply = endpoint.client().ask(&["SET", "key", "value"]);
    assert!(reply.starts_with(&format!("-LOADING Redan has not reached {}", node.address())), "{reply}");
    assert!(reply.contains("max number of clients reached"), "{reply}");
}
