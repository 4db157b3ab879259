//! Groups whose nodes stand behind links of the same process: no socket listens, and everything else is as over TCP.

use std::time::{Duration, Instant};

use crate::check::check_file;
use crate::support::certs::Certs;
use crate::support::client::Client;
use crate::support::endpoint::metrics_of;
use crate::support::link::Keys;
use crate::support::proxy::Proxy;
use crate::support::redis::{Redis, eventually, free_port};

/// Two nodes, each with an exit before it, and what a Redan with links to both needs.
struct Behind {
    nodes: [Redis; 2],
    exits: [Proxy; 2],
    keys: Keys,
}

impl Behind {
    fn start(options: impl Fn() -> crate::support::redis::Options) -> Self {
        let master = options().start();
        let replica = options().replica_of(&master).start();
        replica.wait_for_link();
        let keys = Keys::make();
        let nodes = [master, replica];
        let exits = [0, 1].map(|index: usize| Proxy::start(&keys.exit_to(&nodes[index].address(), "127.0.0.1:0", "")));
        Self { nodes, exits, keys }
    }

    /// The links, `one` and `two`, and a map: nodes are known at addresses that nobody can dial.
    fn toml(&self, listener: &str, group: &str) -> String {
        let link = |index: usize, name: &str| {
            let to = self.exits[index].address(0);
            self.keys.entry_to(&to, "inside", "resume = \"1s\"").replace("there", name)
        };
        format!(
            "[redan]\nadmin = \"127.0.0.1:0\"\n{}{}[[listener]]\nname = \"app\"\nbind = \"127.0.0.1:0\"\n{listener}\n\
             [[group]]\nname = \"main\"\nprobe_interval = \"100ms\"\n{group}\n",
            link(0, "one"),
            link(1, "two")
        )
    }

    fn redan(&self, listener: &str, group: &str) -> Proxy {
        Proxy::start(&self.toml(listener, group))
    }
}

const NODES: &str = "nodes = [\"link:one\", \"link:two\"]";

fn until_readable(redan: &Proxy, nodes: &[&str]) {
    eventually(&format!("{nodes:?} are readable, and no others"), || {
        let metrics = metrics_of(&redan.address(0));
        let readable =
            |node: &&str| metrics.contains(&format!("redan_node_readable{{group=\"main\",node=\"{node}\"}} 1\n"));
        metrics.contains("redan_group_has_master{group=\"main\"} 1\n")
            && nodes.iter().all(readable)
            && metrics.matches("redan_node_readable{").count() == nodes.len()
    });
}

/// Checks until it says that: a busy machine may be late with an answer.
fn until_checked(toml: &str, ready: &dyn Fn(&str, i32) -> bool) {
    let mut last = (String::new(), 0);
    for _ in 0..20 {
        last = check_file(toml);
        if ready(&last.0, last.1) {
            return;
        }
    }
    panic!("{}: {}", last.1, last.0);
}

fn is_master(redan: &Proxy, node: &str) -> bool {
    metrics_of(&redan.address(0)).contains(&format!("redan_node_master{{group=\"main\",node=\"{node}\"}} 1\n"))
}

#[test]
fn reads_writes_pins_and_a_failover_over_links_alone() {
    let behind = Behind::start(Redis::options);
    let redan = behind.redan("", NODES);
    until_readable(&redan, &["link:one", "link:two"]);
    let [one, two] = &behind.nodes;
    let mut client = Client::connect(&redan.address(1));
    client.ok(&["SET", "key", "1"]);
    assert_eq!(client.text(&["GET", "key"]).as_deref(), Some("1"));
    // A pin, a subscription, and a value of many records.
    client.ok(&["WATCH", "key"]);
    client.ok(&["MULTI"]);
    client.ask(&["INCR", "key"]);
    assert_eq!(client.ask(&["EXEC"]), "*1\r\n:2\r\n");
    let large = "x".repeat(3_000_000);
    client.ok(&["SET", "large", &large]);
    assert_eq!(client.text(&["GET", "large"]).map(|text| text.len()), Some(large.len()));
    let mut subscriber = Client::connect(&redan.address(1));
    subscriber.ask(&["SUBSCRIBE", "news"]);
    assert_eq!(client.ask(&["PUBLISH", "news", "hello"]), ":1\r\n");
    assert!(subscriber.reply().contains("hello"));
    assert!(client.text(&["INFO"]).is_some_and(|info| info.contains("link:one")), "INFO names the node by its link");
    eventually("the replica serves reads", || {
        client.text(&["GET", "key"]);
        let metrics = metrics_of(&redan.address(0));
        !metrics.contains("redan_node_reads_total{group=\"main\",node=\"link:two\"} 0\n")
    });

    // By hand, as operators do it.
    client.ok(&["SET", "before", "x"]);
    eventually("the replica has everything", || two.command(&["GET", "before"]).contains('x'));
    two.replica_of(None);
    one.replica_of(Some(two));
    client.ok(&["SET", "key", "3"]);
    assert!(two.command(&["GET", "key"]).contains('3'), "the write went to the new master");
    eventually("it is shown", || is_master(&redan, "link:two"));
    until_readable(&redan, &["link:one", "link:two"]);
}

#[test]
fn a_link_that_is_cut_is_a_node_that_is_gone() {
    let mut behind = Behind::start(Redis::options);
    let redan = behind.redan("", NODES);
    until_readable(&redan, &["link:one", "link:two"]);
    let mut client = Client::connect(&redan.address(1));
    client.ok(&["SET", "key", "1"]);
    // The link to the replica ends: reads go on, from the master.
    behind.exits[1].signal("TERM");
    assert_eq!(behind.exits[1].exit_code(), Some(0));
    for _ in 0..50 {
        assert_eq!(client.text(&["GET", "key"]).as_deref(), Some("1"));
    }
    eventually("the log says why", || {
        let said = redan.said();
        said.contains("link:two: the link has no way to it: ")
            && said.contains("refused the connection: nothing listens there")
    });
    client.ok(&["SET", "key", "2"]);
    // It comes back at the place where it was.
    let at = behind.exits[1].address(0);
    let exit = behind.keys.exit_to(&behind.nodes[1].address(), &at, "");
    behind.exits[1] = Proxy::start(&exit);
    until_readable(&redan, &["link:one", "link:two"]);

    // The master itself dies behind its link, and that is seen at once.
    behind.nodes[0].kill();
    let lost = "link:one: the link has no way to it: ";
    eventually("its loss is seen, so no write is under way", || redan.said().contains(lost));
    behind.nodes[1].replica_of(None);
    client.ok(&["SET", "key", "3"]);
    assert!(behind.nodes[1].command(&["GET", "key"]).contains('3'));
    let why = "the target of service 'main' cannot be reached";
    eventually("both say why", || redan.said().contains(why) && behind.exits[0].said().contains(why));
    let (start, lines) = (Instant::now(), behind.exits[0].said().matches(why).count());
    std::thread::sleep(Duration::from_millis(1500));
    let more = behind.exits[0].said().matches(why).count() - lines;
    let seconds = start.elapsed().as_secs() as usize;
    assert!(more <= seconds + 2, "the exit says it once a second and not for every probe: {more} lines in {seconds} s");
}

#[test]
fn addresses_that_nobody_can_dial_are_mapped_to_links_and_a_promotion_uses_them() {
    // The servers name each other 127.0.0.1, as on one host each.
    let behind = Behind::start(Redis::options);
    let [one, two] = [0, 1].map(|index: usize| behind.nodes[index].address());
    let map = format!("map = {{ \"{one}\" = \"link:one\", \"{two}\" = \"link:two\" }}\nnodes = [\"link:one\"]");
    let toml = behind.toml("", &map);
    let redan = Proxy::start(&toml);
    // The replica is known through what the master says of it.
    until_readable(&redan, &["link:one", "link:two"]);
    let mut client = Client::connect(&redan.address(1));
    client.ok(&["SET", "key", "1"]);
    let promote = |node: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_redan"))
            .args(["promote", "main", node, "--config"])
            .arg(redan.file())
            .output()
            .expect("redan runs");
        assert!(output.status.success(), "{output:?}");
    };
    promote("link:two");
    client.ok(&["SET", "key", "2"]);
    assert!(behind.nodes[1].command(&["GET", "key"]).contains('2'));
    behind.nodes[0].wait_for_link();
    until_readable(&redan, &["link:one", "link:two"]);
    promote("link:one");
    client.ok(&["SET", "key", "3"]);
    assert!(behind.nodes[0].command(&["GET", "key"]).contains('3'));

    // The tools go the same way, with entries of their own, beside the running process.
    behind.nodes[1].wait_for_link();
    until_checked(&toml, &|said, code| {
        code == 0 && said.contains("link:one  master") && said.contains("link:two  replica")
    });
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("proxy.toml");
    std::fs::write(&file, &toml).expect("writable");
    let verify = std::process::Command::new(env!("CARGO_BIN_EXE_redan"))
        .args(["verify", "main", "--config"])
        .arg(&file)
        .output()
        .expect("redan runs");
    let said = String::from_utf8_lossy(&verify.stdout).into_owned();
    assert!(verify.status.success() && said.contains("link:two"), "{verify:?}");
}

#[test]
fn check_says_which_address_needs_a_link() {
    let behind = Behind::start(|| Redis::options().line("replica-announce-ip 192.0.2.9"));
    let toml = behind.toml("", "nodes = [\"link:one\"]");
    let port = behind.nodes[1].port();
    let wanted = format!("map = {{ \"192.0.2.9:{port}\" = \"link:NAME\" }}");
    until_checked(&toml, &|said, code| code == 1 && said.contains(&wanted) && said.contains("as link:one calls it"));
    let mapped = toml.replace("nodes =", &format!("{}\nnodes =", wanted.replace("NAME", "two")));
    until_checked(&mapped, &|said, code| code == 0 && said.contains("link:two  replica"));
}

#[test]
fn tls_and_logins_of_clients_inside_of_links() {
    let certs = Certs::make();
    let behind = Behind::start(|| Redis::options().tls(&certs));
    for node in &behind.nodes {
        node.ok(&["ACL", "SETUSER", "ann", "on", ">secret", "~*", "+@all"]);
    }
    let tls = format!("{NODES}\ntls = {{ ca = \"{}\", server_name = \"localhost\" }}", certs.ca().display());
    let redan = behind.redan("auth = \"passthrough\"", &tls);
    until_readable(&redan, &["link:one", "link:two"]);
    let mut client = Client::connect(&redan.address(1));
    client.ok(&["AUTH", "ann", "secret"]);
    client.ok(&["SET", "key", "value"]);
    assert_eq!(client.text(&["GET", "key"]).as_deref(), Some("value"));
    assert_eq!(client.text(&["ACL", "WHOAMI"]).as_deref(), Some("ann"));
    let mut stranger = Client::connect(&redan.address(1));
    assert!(stranger.ask(&["AUTH", "ann", "wrong"]).starts_with("-WRONGPASS"));
    // Without a name the certificate cannot be judged, and the configuration says so.
    let (said, code) = check_file(&behind.toml("", &tls.replace(", server_name = \"localhost\"", "")));
    assert!(code == 78 && said.contains("say `server_name` in `tls`"), "{code}: {said}");
    // A pinned key needs none.
    let pin = std::process::Command::new(env!("CARGO_BIN_EXE_redan"))
        .args(["cert", "pin"])
        .arg(certs.cert())
        .output()
        .expect("redan runs");
    let pin = String::from_utf8_lossy(&pin.stdout).trim().to_owned();
    let pinned = behind.toml("", &format!("{NODES}\ntls = {{ pins = [\"{pin}\"] }}"));
    until_checked(&pinned, &|said, code| code == 0 && said.contains("TLS 1.3"));
}

#[test]
fn sentinels_behind_links() {
    let behind = Behind::start(Redis::options);
    let sentinel = crate::support::sentinels::options(behind.nodes[0].port()).start();
    let keys = &behind.keys;
    let exit = Proxy::start(&keys.exit_to(&sentinel.address(), "127.0.0.1:0", ""));
    let link = keys.entry_to(&exit.address(0), "inside", "").replace("there", "watcher");
    let [one, two] = [0, 1].map(|index: usize| behind.nodes[index].address());
    let group = format!(
        "map = {{ \"{one}\" = \"link:one\", \"{two}\" = \"link:two\" }}\n\
         sentinel = {{ master = \"mymaster\", addresses = [\"link:watcher\"] }}"
    );
    let redan = Proxy::start(&(behind.toml("", &group) + &link));
    until_readable(&redan, &["link:one", "link:two"]);
    eventually("the Sentinel behind the link answers", || {
        metrics_of(&redan.address(0)).contains("redan_group_sentinels_answering{group=\"main\"} 1\n")
    });
    assert!(is_master(&redan, "link:one"));
}

#[test]
fn plain_tls_carries_a_group_too_and_mistakes_are_named() {
    let node = Redis::start();
    let keys = Keys::make();
    let exit = Proxy::start(&keys.exit_to(&node.address(), "127.0.0.1:0", "mode = \"tls\""));
    let group = |nodes: &str| {
        format!(
            "[redan]\nadmin = \"127.0.0.1:0\"\n[[listener]]\nname = \"app\"\nbind = \"127.0.0.1:0\"\n\
             [[group]]\nname = \"main\"\nnodes = [{nodes}]\n"
        )
    };
    let link = keys.entry_to(&exit.address(0), "inside", "mode = \"tls\"");
    let redan = Proxy::start(&(group("\"link:there\"") + &link));
    until_readable(&redan, &["link:there"]);
    Client::connect(&redan.address(1)).ok(&["SET", "key", "value"]);

    let dead = format!("127.0.0.1:{}", free_port());
    for (toml, words) in [
        (group("\"link:other\"") + &link, "no [[link]] with an `entry` is called \"other\"; write \"link:there\""),
        (group("\"link:here\""), "no [[link]] with an `entry` is called \"here\"; add a [[link]] with an `entry`"),
        (group("\"link:there\"") + &link + "announce = \"a:1\"", "no program connects to an entry that is \"inside\""),
        (group("\"link:there\", \"link:there\"") + &link, "this node stands in the list twice"),
        (
            group("\"link:there\"") + &link + "[[link]]\n" + &keys.exit_to(&dead, "inside", ""),
            "\"inside\" is not an IP address and port",
        ),
    ] {
        let (said, code) = check_file(&toml);
        assert!(code == 78 && said.contains(words), "{words}\n{code}: {said}");
    }
    let unused = group(&format!("\"{}\"", node.address())) + &link;
    until_checked(&unused, &|said, code| code == 0 && said.contains("nothing can use this link"));
}
