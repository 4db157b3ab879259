//! One process replaces another: nobody is refused, no command is lost or executed twice, and what fails has no consequence.

mod activation;
mod failures;
mod links;
mod libraries;
mod rights;
mod sight;
mod staying;

use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::support::client::Client;
use super::support::endpoint::metrics_of;
use super::support::proxy::Proxy;
use super::support::redis::{Options, Redis, eventually, within};

/// An upgrade in a debug build on a busy machine.
const UPGRADE: Duration = Duration::from_secs(60);

/// A process that has ended may stay a zombie where nobody waits for it.
fn is_running(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Has it replaced, and waits until the old process has ended.
pub(crate) fn upgrade(proxy: &Proxy) {
    let old = begin(proxy);
    within(UPGRADE, "the old process has ended", || !is_running(old));
}

/// Has it replaced; the old process may still be draining. Returns its number.
fn begin(proxy: &Proxy) -> u32 {
    let (old, before) = (proxy.in_charge(), proxy.successors().len());
    proxy.signal("USR2");
    within(UPGRADE, "another process is in charge", || proxy.successors().len() > before);
    old
}

/// Until the master is known and serves.
fn wait_for_master(address: &str) {
    Client::connect(address).ok(&["SET", "ready", "1"]);
}

fn toml(process: &str, listener: &str, nodes: &[&Redis]) -> String {
    let nodes: Vec<String> = nodes.iter().map(|node| node.address()).collect();
    format!(
        "[redan]\nworkers = 2\nadmin = \"127.0.0.1:0\"\n{process}\n[[listener]]\nname = \"app\"\nbind = \"127.0.0.1:0\"\n{listener}\n\
         [[group]]\nname = \"main\"\nnodes = {nodes:?}\nprobe_interval = \"100ms\"\n"
    )
}

/// What ten upgrades must not disturb.
struct Load<'a> {
    address: &'a str,
    stop: &'a AtomicBool,
    done: &'a AtomicU64,
}

impl Load<'_> {
    fn goes_on(&self) -> bool {
        self.done.fetch_add(1, Relaxed);
        !self.stop.load(Relaxed)
    }

    /// Over one connection: each answer is one more than the last, and what it reads is what it wrote.
    fn count(&self, key: &str) {
        let mut client = Client::connect(self.address);
        let mut number = 0_u64;
        while self.goes_on() {
            number += 1;
            assert_eq!(client.ask(&["INCR", key]), format!(":{number}\r\n"));
            assert_eq!(client.text(&["GET", key]), Some(number.to_string()), "it sees its own write");
        }
    }

    /// Without waiting for each answer.
    fn pipeline(&self, key: &str) {
        let mut client = Client::connect(self.address);
        let mut number = 0_u64;
        while self.goes_on() {
            for _ in 0..50 {
                client.send(&["INCR", key]);
            }
            for _ in 0..50 {
                number += 1;
                assert_eq!(client.reply(), format!(":{number}\r\n"));
            }
        }
    }

    fn transact(&self, key: &str) {
        let mut client = Client::connect(self.address);
        let mut number = 0_u64;
        while self.goes_on() {
            client.ok(&["WATCH", "other"]);
            client.ok(&["MULTI"]);
            assert_eq!(client.ask(&["INCR", key]), "+QUEUED\r\n");
            number += 1;
            assert_eq!(client.ask(&["EXEC"]), format!("*1\r\n:{number}\r\n"));
        }
    }

    /// A new connection each time.
    fn connect(&self, key: &str) {
        let mut number = 0_u64;
        while self.goes_on() {
            number += 1;
            let mut client = Client::connect(self.address);
            assert_eq!(client.ask(&["INCR", key]), format!(":{number}\r\n"));
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn ten_upgrades_under_load_refuse_nobody_and_lose_nothing() {
    let master = Redis::start();
    let replica = Options::default().replica_of(&master).start();
    replica.wait_for_link();
    let proxy = Proxy::start(&toml("", "", &[&master, &replica]));
    let (admin, address) = (proxy.address(0), proxy.address(1));
    wait_for_master(&address);

    let mut named = Client::resp3(&address);
    named.ok(&["CLIENT", "SETNAME", "pool-7"]);
    named.ok(&["SELECT", "3"]);
    named.ok(&["SET", "here", "db 3"]);
    let id = named.ask(&["CLIENT", "ID"]);

    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let load = Load { address: &address, stop: &stop, done: &done };
    std::thread::scope(|threads| {
        let workers = [
            threads.spawn(|| load.count("a")),
            threads.spawn(|| load.count("b")),
            threads.spawn(|| load.count("c")),
            threads.spawn(|| load.pipeline("p")),
            threads.spawn(|| load.transact("t")),
            threads.spawn(|| load.connect("n")),
        ];
        for round in 1..=10 {
            let before = done.load(Relaxed);
            within(UPGRADE, "there is load", || {
                done.load(Relaxed) > before + 200 || workers.iter().any(|worker| worker.is_finished())
            });
            if workers.iter().any(|worker| worker.is_finished()) {
                break;
            }
            upgrade(&proxy);
            assert_eq!(proxy.successors().len(), round);
            assert!(metrics_of(&admin).contains("redan_group_has_master{group=\"main\"} 1"));
        }
        stop.store(true, Relaxed);
        for worker in workers {
            worker.join().expect("no client saw anything");
        }
    });
    assert_eq!(proxy.successors().len(), 10);
    assert_eq!(named.text(&["CLIENT", "GETNAME"]).as_deref(), Some("pool-7"));
    assert_eq!(named.ask(&["CLIENT", "ID"]), id);
    assert_eq!(named.text(&["GET", "here"]).as_deref(), Some("db 3"));
    let info = named.ask(&["CLIENT", "INFO"]);
    assert!(info.contains("resp=3") && info.contains(" db=3 "), "{info}");
    assert!(!proxy.said().contains("ERROR") && !proxy.said().contains("WARN"), "{}", proxy.said());
}

#[test]
fn half_a_command_goes_along_and_so_does_who_has_logged_in() {
    let redis = Redis::start();
    let folder = tempfile::tempdir().expect("a folder");
    let (users, socket) = (folder.path().join("users.toml"), folder.path().join("redan.sock"));
    // The hash of "secret".
    let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    std::fs::write(&users, format!("[[user]]\nname = \"ann\"\npasswords = [\"sha256:{hash}\"]\n")).expect("writable");
    let toml = toml("", &format!("users = {users:?}"), &[&redis]);
    let unix = format!("[[listener]]\nname = \"local\"\nbind = \"unix:{}\"\n", socket.display());
    let proxy = Proxy::start(&(toml + &unix));
    let address = proxy.address(1);
    let mut client = Client::connect(&address);
    client.ok(&["AUTH", "ann", "secret"]);
    client.ok(&["SET", "key", "1"]);
    let mut stranger = Client::connect(&address);
    assert!(stranger.ask(&["GET", "key"]).starts_with("-NOAUTH"));
    let mut local = std::os::unix::net::UnixStream::connect(&socket).expect("it listens");
    let mut ask = |command: &str, reply: &str| {
        use std::io::{Read, Write};
        local.write_all(command.as_bytes()).expect("open");
        let mut got = vec![0; reply.len()];
        local.read_exact(&mut got).expect("a reply");
        assert_eq!(String::from_utf8_lossy(&got), reply);
    };
    ask("INCR n\r\n", ":1\r\n");

    client.raw(b"*2\r\n$4\r\nIN");
    upgrade(&proxy);
    client.raw(b"CR\r\n$3\r\nkey\r\n");
    assert_eq!(client.reply(), ":2\r\n");
    upgrade(&proxy);
    assert_eq!(client.ask(&["INCR", "key"]), ":3\r\n");
    assert!(client.text(&["CLIENT", "INFO"]).is_some_and(|info| info.contains("user=ann")));
    assert!(stranger.ask(&["GET", "key"]).starts_with("-NOAUTH"));
    ask("INCR n\r\n", ":2\r\n");
    std::os::unix::net::UnixStream::connect(&socket).expect("it still listens");

    // Ann has left: her connection is that of a stranger from now on.
    std::fs::write(&users, format!("[[user]]\nname = \"bob\"\npasswords = [\"sha256:{hash}\"]\n")).expect("writable");
    upgrade(&proxy);
    assert!(client.ask(&["GET", "key"]).starts_with("-NOAUTH"));
    client.ok(&["AUTH", "bob", "secret"]);
}

#[test]
fn users_of_the_servers_stay_logged_in() {
    let redis = Redis::start();
    redis.ok(&["ACL", "SETUSER", "ann", "on", ">secret", "~mine:*", "+@all"]);
    let proxy = Proxy::start(&toml("", "auth = \"passthrough\"", &[&redis]));
    let mut ann = Client::connect(&proxy.address(1));
    ann.ok(&["AUTH", "ann", "secret"]);
    ann.ok(&["SET", "mine:1", "1"]);
    upgrade(&proxy);
    assert_eq!(ann.ask(&["INCR", "mine:1"]), ":2\r\n");
    assert!(ann.ask(&["GET", "yours"]).starts_with("-NOPERM"));
    assert_eq!(ann.text(&["ACL", "WHOAMI"]).as_deref(), Some("ann"));
    assert!(!proxy.said().contains("secret"));
    redis.ok(&["ACL", "SETUSER", "ann", "resetpass", ">other"]);
    upgrade(&proxy);
    // New connections of hers are not let in any more, so she is closed or told so.
    ann.send(&["GET", "mine:1"]);
    let reply = ann.next().map(|reply| String::from_utf8_lossy(&reply).into_owned());
    assert!(reply.as_ref().is_none_or(|reply| reply.starts_with('-')), "{reply:?}");
}

#[test]
fn a_sandbox_goes_along() {
    let redis = Redis::start();
    let proxy = Proxy::start(&toml("sandbox = \"on\"", "", &[&redis]));
    let mut client = Client::connect(&proxy.address(1));
    client.ok(&["SET", "key", "0"]);
    for round in 1..=3 {
        upgrade(&proxy);
        assert_eq!(client.ask(&["INCR", "key"]), format!(":{round}\r\n"));
    }
    // What lies elsewhere is out of the new process's reach as well, even if its configuration names it.
    let elsewhere = tempfile::tempdir().expect("a folder");
    let users = elsewhere.path().join("users.toml");
    std::fs::write(&users, "[[user]]\nname = \"ann\"\n").expect("writable");
    rewrite(&proxy.file(), |text| {
        text.replace("sandbox = \"on\"", "").replace("name = \"app\"", &format!("name = \"app\"\nusers = {users:?}"))
    });
    proxy.signal("USR2");
    wait_for(&proxy, "the upgrade is given up");
    assert!(proxy.said().contains("users.toml cannot be read: Permission denied"), "{}", proxy.said());
    assert_eq!(client.ask(&["INCR", "key"]), ":4\r\n");
}

#[test]
fn the_command_line_waits_for_the_outcome() {
    let redis = Redis::start();
    let proxy = Proxy::start(&toml("", "", &[&redis]));
    wait_for_master(&proxy.address(1));
    let order = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_redan"));
        let output = command.args(["upgrade", "--config"]).arg(proxy.file()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    };
    let (done, said) = order();
    let charge = format!("process {} is in charge now", proxy.in_charge());
    assert!(done && said.contains(&charge), "{said}\n{}", proxy.said());
    rewrite(&proxy.file(), |text| text.replace("workers", "wurkers"));
    // The command line itself may stumble over the file; the process that is asked finds it wrong in any case.
    let (done, said) = order();
    assert!(!done, "{said}");
    assert_eq!(Client::connect(&proxy.address(1)).ask(&["PING"]), "+PONG\r\n");
    assert_eq!(proxy.successors().len(), 1);
}

#[test]
fn the_new_process_obeys_the_new_configuration() {
    let redis = Redis::start();
    let proxy = Proxy::start(&toml("", "", &[&redis]));
    let address = proxy.address(1);
    let mut client = Client::connect(&address);
    client.ok(&["SET", "key", "1"]);
    let other = free_address();
    rewrite(&proxy.file(), |text| text.replace(&address, &other));
    upgrade(&proxy);
    // The listener has its name still, so its clients go on, wherever they came in.
    assert_eq!(client.ask(&["INCR", "key"]), ":2\r\n");
    Client::connect(&other).ok(&["SET", "key", "5"]);
    assert!(TcpStream::connect(&address).is_err(), "nobody listens at the old address");
    let said = proxy.said();
    assert!(said.contains(&format!("closed a socket that was given to this process: {address}")), "{said}");
}

fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").to_string()
}

fn rewrite(file: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(file).expect("readable");
    std::fs::write(file, change(text)).expect("writable");
}

fn wait_for(proxy: &Proxy, words: &str) {
    eventually(&format!("the log says '{words}'"), || proxy.said().contains(words));
}
