//! Listeners, groups and links that are added, changed and removed.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::traffic::Traffic;
use crate::support::client::Client;
use crate::support::endpoint::Endpoint;
use crate::support::group::Pair;
use crate::support::link::Keys;
use crate::support::proxy::Proxy;
use crate::support::redis::{Redis, eventually, free_port};

fn listener(name: &str, port: u16, more: &str) -> String {
    format!("[[listener]]\nname = \"{name}\"\nbind = \"127.0.0.1:{port}\"\n{more}\n")
}

#[test]
fn listeners_are_added_moved_renamed_and_removed() {
    let pair = Pair::start("");
    let endpoint = &pair.endpoint;
    let traffic = Traffic::start(&endpoint.address(), 3);
    let (first, second) = (free_port(), free_port());
    let at = |port: u16| Client::connect(&format!("127.0.0.1:{port}"));
    let base = endpoint.config();
    let said = endpoint.reload(&(base.clone() + &listener("more", first, "")));
    assert!(said.contains("reload: listener 'more' is new"), "{said}");
    let mut early = at(first);
    early.ok(&["SET", "k", "v"]);

    endpoint.reload(&(base.clone() + &listener("more", second, "")));
    at(second).ok(&["SET", "k", "v"]);
    assert!(TcpStream::connect(("127.0.0.1", first)).is_err(), "nobody listens there any more");
    early.ok(&["SET", "k", "moved"]);

    endpoint.reload(&(base.clone() + &listener("renamed", second, "reads = \"master\"")));
    assert_eq!(early.rest(), "", "who came by a listener that is gone is ended when idle");
    let mut late = at(second);
    assert!(late.text(&["INFO", "redan"]).expect("text").contains("redan_listener:renamed"));

    late.send(&["BLPOP", "nothing", "0"]);
    eventually("it waits", || pair.master.command(&["INFO", "clients"]).contains("blocked_clients:1"));
    endpoint.reload(&base);
    assert!(TcpStream::connect(("127.0.0.1", second)).is_err());
    assert_eq!(late.rest(), "", "who waits without end is ended after shutdown_timeout");
    traffic.end();
}

#[test]
fn a_listener_gives_its_address_to_another_without_a_gap() {
    let pair = Pair::start("");
    let endpoint = &pair.endpoint;
    let (one, two) = (free_port(), free_port());
    let base = endpoint.config();
    let config = |a: u16, b: u16| base.clone() + &listener("a", a, "") + &listener("b", b, "");
    endpoint.reload(&config(one, two));
    let name_at = |port: u16| {
        let info = Client::connect(&format!("127.0.0.1:{port}")).text(&["INFO", "redan"]).expect("text");
        info.lines().find_map(|line| line.strip_prefix("redan_listener:")).expect("a line").trim().to_owned()
    };
    assert_eq!((name_at(one), name_at(two)), ("a".to_owned(), "b".to_owned()));
    let said = endpoint.reload(&config(two, one));
    assert!(said.contains("the configuration is in use"), "{said}");
    assert_eq!((name_at(one), name_at(two)), ("b".to_owned(), "a".to_owned()));
}

#[test]
fn other_nodes_of_a_group_change_nothing_that_is_known_of_it() {
    let pair = Pair::start("");
    let (endpoint, [master, replica]) = (&pair.endpoint, [&pair.master, &pair.replica]);
    let traffic = Traffic::start(&endpoint.address(), 4);
    let epoch = || endpoint.metric("redan_group_epoch{group=\"main\"}");
    let before = epoch();
    let third = Redis::options().replica_of(master).start();
    third.wait_for_link();
    let [all, fewer] = [vec![master.address(), replica.address()], vec![master.address(), third.address()]];
    let said = endpoint.change(&format!("{all:?}"), &format!("{fewer:?}"));
    assert!(said.contains("reload: group 'main': nodes ["), "{said}");
    eventually("the new node serves", || {
        endpoint.metrics().contains(&third.address()) && endpoint.is_readable(&third.address())
    });
    endpoint
        .change("probe_interval = \"100ms\"", "probe_interval = \"50ms\"\nread_timeout = \"500ms\"\nhedge = \"50ms\"");
    traffic.goes_on();
    assert_eq!(epoch(), before, "the master goes on being known");
    traffic.end();
    pair.replica.replica_of(None);
    eventually("a node that is not listed and not named is forgotten, or not read from", || {
        !endpoint.metrics().contains(&replica.address()) || !endpoint.is_readable(&replica.address())
    });
}

#[test]
fn another_login_at_the_nodes_takes_the_place_of_the_old_one() {
    let redis = Redis::start();
    redis.ok(&["ACL", "SETUSER", "second", "on", ">secret", "~*", "&*", "+@all"]);
    let folder = tempfile::tempdir().expect("a folder");
    let password = folder.path().join("password");
    std::fs::write(&password, "secret\n").expect("writable");
    let endpoint = Endpoint::of(&[&redis], "");
    let traffic = Traffic::start(&endpoint.address(), 4);
    let config = endpoint.config();
    let said = endpoint.reload(&format!("{config}\nuser = \"second\"\npassword_file = {password:?}\n"));
    assert!(said.contains("reload: group 'main': user (unset) → second, for new connections to its nodes"), "{said}");
    eventually("no connection of Redan is the old user's", || {
        traffic.goes_on();
        let list = redis.command(&["CLIENT", "LIST"]);
        let of_redan = list.lines().filter(|line| line.contains("name=redan"));
        of_redan.clone().count() > 0 && of_redan.clone().all(|line| line.contains("user=second"))
    });
    traffic.end();
}

#[test]
fn groups_are_added_served_and_removed() {
    let (one, two) = (Redis::start(), Redis::start());
    one.ok(&["SET", "which", "one"]);
    two.ok(&["SET", "which", "two"]);
    let endpoint = Endpoint::of(&[&one], "group = \"main\"");
    let mut client = endpoint.client();
    assert_eq!(client.text(&["GET", "which"]).as_deref(), Some("one"));
    let second = format!("[[group]]\nname = \"second\"\nnodes = [\"{}\"]\nprobe_interval = \"100ms\"\n", two.address());
    let both = endpoint.config() + &second;
    endpoint.reload(&both);
    eventually("it is watched", || endpoint.metrics().contains("redan_group_has_master{group=\"second\"} 1"));
    let said = endpoint.change("group = \"main\"", "group = \"second\"");
    assert!(said.contains("group main → second, which ends its 1 client when idle"), "{said}");
    assert_eq!(client.rest(), "", "who was served by the other group is ended when idle");
    let mut client = endpoint.client();
    assert_eq!(client.text(&["GET", "which"]).as_deref(), Some("two"));
    let config = endpoint.config();
    let (start, rest) = config.split_once("[[group]]").expect("two groups");
    let (_, last) = rest.split_once("[[group]]").expect("the second one");
    let said = endpoint.reload(&format!("{start}[[group]]{last}"));
    assert!(said.contains("reload: group 'main' is gone"), "{said}");
    assert!(!endpoint.metrics().contains("group=\"main\""), "{}", endpoint.metrics());
    eventually("nobody asks its nodes any more", || {
        !one.command(&["CLIENT", "LIST"]).lines().any(|line| line.contains("name=redan"))
    });
    assert_eq!(client.text(&["GET", "which"]).as_deref(), Some("two"));
    // Under a name that was used, other servers are another group.
    let said = endpoint.change(&two.address(), &one.address());
    assert!(said.contains("group 'second' is another one"), "{said}");
    assert_eq!(client.rest(), "");
    eventually("it is another group", || endpoint.metrics().contains("redan_group_has_master{group=\"second\"} 1"));
    assert_eq!(endpoint.client().text(&["GET", "which"]).as_deref(), Some("one"));
}

#[test]
fn links_are_added_changed_and_removed() {
    let (one, two) = (Redis::start(), Redis::start());
    one.ok(&["SET", "which", "one"]);
    two.ok(&["SET", "which", "two"]);
    let keys = Keys::make();
    let exit = Proxy::start(&keys.exit_to(&one.address(), "127.0.0.1:0", ""));
    let entry = Proxy::start(&keys.entry_to(&exit.address(0), "127.0.0.1:0", ""));
    let which = |client: &mut Client| client.text(&["GET", "which"]);
    let mut old = Client::connect(&entry.address(0));
    assert_eq!(which(&mut old).as_deref(), Some("one"));
    let said = exit.reload(&exit.config().replace(&one.address(), &two.address()));
    assert!(said.contains("reload: link 'here': to "), "{said}");
    assert_eq!(which(&mut Client::connect(&entry.address(0))).as_deref(), Some("two"), "new connections");
    assert_eq!(which(&mut old).as_deref(), Some("one"), "connections that are there go on");

    let another = free_port();
    let base = entry.config();
    let more = keys.entry_to(&exit.address(0), &format!("127.0.0.1:{another}"), "").replace("there", "more");
    entry.reload(&(base.clone() + &more));
    let mut by_more = Client::connect(&format!("127.0.0.1:{another}"));
    assert_eq!(which(&mut by_more).as_deref(), Some("two"));
    let said = entry.reload(&base);
    assert!(said.contains("reload: link 'more' is gone, its connections are reset"), "{said}");
    assert_eq!(by_more.rest(), "");
    assert!(TcpStream::connect(("127.0.0.1", another)).is_err());
    assert_eq!(which(&mut old).as_deref(), Some("one"), "another link does not notice");

    // Somebody who is not a peer any more loses its connections.
    let stranger = keys.another("stranger");
    exit.reload(&exit.config().replace(&keys.entry.line, &stranger.line));
    assert_eq!(old.rest(), "");
}

/// What lies between the two ends of a link.
struct Network {
    address: String,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Network {
    fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let open = Arc::<Mutex<Vec<TcpStream>>>::default();
        let known = Arc::clone(&open);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(&target) else { continue };
                let clone = |stream: &TcpStream| stream.try_clone().expect("another handle");
                for (mut from, mut to) in [(clone(&near), clone(&far)), (clone(&far), clone(&near))] {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                known.lock().expect("no thread panics").extend([near, far]);
            }
        });
        Self { address, open }
    }

    fn break_off(&self) {
        for stream in self.open.lock().expect("no thread panics").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn a_broken_stream_is_resumed_over_a_reload() {
    let target = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = target.local_addr().expect("bound").to_string();
    let keys = Keys::make();
    let exit = Proxy::start(&keys.exit_to(&at, "127.0.0.1:0", ""));
    let network = Network::to(exit.address(0));
    let entry = Proxy::start(&keys.entry_to(&network.address, "127.0.0.1:0", ""));
    let mut program = TcpStream::connect(entry.address(0)).expect("it listens");
    program.write_all(b"before").expect("open");
    let mut heard = [0; 6];
    // Whoever looked whether the ends listen came through, too, and said nothing.
    let mut other = loop {
        let (mut other, _) = target.accept().expect("a connection");
        if other.read_exact(&mut heard).is_ok() {
            break other;
        }
    };
    exit.reload(&exit.config().replace(&format!("to = \"{at}\""), &format!("to = \"{at}\"\nmax_connections = 7")));
    network.break_off();
    program.write_all(b"behind").expect("open");
    other.read_exact(&mut heard).expect("the stream goes on over another wire");
    assert_eq!(&heard, b"behind");
}
