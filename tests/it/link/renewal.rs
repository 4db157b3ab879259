//! Keys, peers, certificates and lists of links that change under running ends: what goes on, who is shut out, what is refused.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use super::{connect, listener, served};
use crate::support::certs::Certs;
use crate::support::client::Client;
use crate::support::link::{Key, Keys};
use crate::support::proxy::Proxy;
use crate::support::redis::{Redis, eventually};

const ADMIN: &str = "[redan]\nadmin = \"127.0.0.1:0\"\n";

/// Two ends whose keys and peers stand in files, with metrics.
struct Ends {
    keys: Keys,
    entry: Proxy,
    exit: Proxy,
}

fn metric(proxy: &Proxy, series: &str) -> f64 {
    let mut stream = connect(&proxy.address(0));
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: redan\r\nConnection: close\r\n\r\n").expect("taken");
    let text = std::io::read_to_string(stream).expect("an answer");
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("{series}\n{text}"))
}

/// All at once, as an editor saves it.
fn put(file: &str, text: &str) {
    let beside = format!("{file}.new");
    fs::write(&beside, text).expect("writable");
    fs::rename(beside, file).expect("a file");
}

impl Ends {
    fn start(target: &str, more: &str) -> Self {
        let keys = Keys::make();
        put(&keys.file("exit.peers"), &format!("# who may come in\n{}  # dc2\n", keys.entry.line));
        put(&keys.file("entry.peers"), &format!("{}\n", keys.exit.line));
        let exit = keys.exit_to(target, "127.0.0.1:0", more);
        let exit = exit.replace(&format!("peers = [\"{}\"]", keys.entry.line), &peers_in(&keys.file("exit.peers")));
        let exit = Proxy::start(&format!("{ADMIN}{exit}"));
        let entry = keys.entry_to(&exit.address(1), "127.0.0.1:0", more);
        let entry = entry.replace(&format!("peers = [\"{}\"]", keys.exit.line), &peers_in(&keys.file("entry.peers")));
        let entry = Proxy::start(&format!("{ADMIN}{entry}"));
        Self { keys, entry, exit }
    }

    fn let_in(&self, end: &Proxy, lines: &[&str]) {
        let file = if std::ptr::eq(end, &self.exit) { "exit.peers" } else { "entry.peers" };
        put(&self.keys.file(file), &(lines.join("\n") + "\n# the end\n"));
        renew(end);
    }

    /// Another key where the end's is.
    fn replace_key(&self, end: &Proxy, file: &str, by: &Key) {
        put(file, &fs::read_to_string(&by.file).expect("a key"));
        renew(end);
    }

    fn program(&self) -> Client {
        Client::connect(&self.entry.address(1))
    }
}

fn peers_in(file: &str) -> String {
    format!("peers_file = \"{file}\"")
}

/// Sends SIGHUP and waits until it has done its work.
fn renew(end: &Proxy) {
    let told = || end.said().matches("reload: read all files of TLS again").count();
    let before = told();
    end.signal("HUP");
    eventually("the files were read again", || told() > before);
}

#[test]
fn keys_of_both_ends_are_replaced_under_replication_that_never_breaks() {
    let master = Redis::start();
    let ends = Ends::start(&master.address(), "");
    let port = ends.entry.address(1).replace("127.0.0.1:", "");
    let replica = Redis::options().line(&format!("replicaof 127.0.0.1 {port}")).line("repl-timeout 60").start();
    replica.wait_for_link();
    let mut writes = 0;
    let mut still_replicates = || {
        writes += 1;
        master.ok(&["SET", "key", &writes.to_string()]);
        let reply = format!("\r\n{writes}\r\n");
        eventually("the replica has it", || replica.command(&["GET", "key"]).ends_with(&reply));
    };
    still_replicates();
    let (entry, exit) = (&ends.keys.entry, &ends.keys.exit);
    let [new_entry, new_exit] = ["new-entry", "new-exit"].map(|name| ends.keys.another(name));
    // The entry's: listed beside the old one, used, and the old one removed.
    ends.let_in(&ends.exit, &[&format!("{} {}", entry.line, new_entry.line)]);
    ends.replace_key(&ends.entry, &entry.file, &new_entry);
    eventually("it says who it is", || ends.entry.said().contains(&format!("this end is {}", new_entry.line)));
    still_replicates();
    assert!(ends.program().ask(&["PING"]).contains("PONG"), "the new key is let in");
    ends.let_in(&ends.exit, &[&new_entry.line]);
    still_replicates();
    // The exit's.
    ends.let_in(&ends.entry, &[&format!("{} {}", exit.line, new_exit.line)]);
    ends.replace_key(&ends.exit, &exit.file, &new_exit);
    still_replicates();
    assert!(ends.program().ask(&["PING"]).contains("PONG"), "the new key is believed");
    ends.let_in(&ends.entry, &[&new_exit.line]);
    still_replicates();
    // The connection moved to the new keys, and nobody noticed.
    for end in [&ends.entry, &ends.exit] {
        eventually("it went on", || end.said().contains("goes on after"));
        assert!(!end.said().contains("is reset"), "nothing was reset");
    }
    let stats = master.command(&["INFO", "stats"]);
    assert!(stats.contains("sync_full:1\r\n") && stats.contains("sync_partial_ok:0\r\n"), "{stats}");
    assert_eq!(metric(&ends.exit, "redan_link_untrusted_closed_total{link=\"here\"}"), 0.0);
}

#[test]
fn a_peer_that_is_removed_loses_its_connections_at_once_and_cannot_come_back() {
    for removed_at_exit in [true, false] {
        let (target, address) = listener();
        let ends = Ends::start(&address, "");
        let mut program = connect(&ends.entry.address(1));
        program.write_all(b"x").expect("taken");
        let mut there = served(&target);
        let (end, other) = if removed_at_exit { (&ends.exit, &ends.entry) } else { (&ends.entry, &ends.exit) };
        ends.let_in(end, &["# nobody"]);
        assert!(program.read(&mut [0]).is_err(), "the program's side is reset and does not wait to be resumed");
        assert!(there.read(&mut [0]).is_err(), "the target's side is reset as well");
        eventually("it says why", || end.said().contains("is not in `peers` any more"));
        eventually("the other end knows why", || {
            other.said().contains("the other end does not believe this one any more")
        });
        let name = if removed_at_exit { "here" } else { "there" };
        // Whoever looked whether the entry listens may have been connected too.
        assert!(metric(end, &format!("redan_link_untrusted_closed_total{{link=\"{name}\"}}")) >= 1.0);
        assert!(connect(&ends.entry.address(1)).read(&mut [0]).is_err(), "and nobody new is carried");
        // Listed again it is carried again, without a restart.
        let line = if removed_at_exit { &ends.keys.entry.line } else { &ends.keys.exit.line };
        ends.let_in(end, &[line]);
        let mut program = connect(&ends.entry.address(1));
        program.write_all(b"x").expect("taken");
        served(&target);
    }
}

#[test]
fn a_bad_file_is_refused_once_and_the_old_goes_on() {
    let redis = Redis::start();
    let ends = Ends::start(&redis.address(), "");
    let mut old = ends.program();
    old.ok(&["SET", "key", "value"]);
    let (key, peers) = (&ends.keys.exit.file, ends.keys.file("exit.peers"));
    let good = [fs::read_to_string(key).expect("a key"), fs::read_to_string(&peers).expect("text")];
    let half = ends.keys.entry.line[..40].to_owned();
    let cases = [
        (key, "-----BEGIN PRIVATE KEY-----\n".to_owned(), "holds no usable private key"),
        (&peers, half, "is no list of peers (line 1: "),
        (&peers, String::new(), "it is empty; to let nobody in, leave a comment in it"),
    ];
    for (refused, (file, text, words)) in (1_u32..).zip(cases) {
        put(file, &text);
        renew(&ends.exit);
        assert_eq!(metric(&ends.exit, "redan_tls_renewals_total{outcome=\"failed\"}"), f64::from(refused));
        assert_eq!(ends.exit.said().matches(words).count(), 1, "{words}\n{}", ends.exit.said());
        old.ok(&["SET", "key", "value"]);
        ends.program().ok(&["SET", "key", "value"]);
        put(key, &good[0]);
        put(&peers, &good[1]);
        renew(&ends.exit);
    }
    // Without a signal it is noticed as well.
    let stranger = ends.keys.another("stranger");
    put(&peers, &format!("{}{}\n", good[1], stranger.line));
    eventually("the new list is used", || {
        ends.exit.said().contains("link 'here': its certificates, keys or lists have changed and are used from now on")
    });
    ends.program().ok(&["SET", "key", "value"]);
    old.ok(&["SET", "key", "value"]);
}

/// Both ends with certificates of one CA; the entry shows a client's.
struct ByCa {
    certs: Certs,
    list: PathBuf,
    entry: Proxy,
    exit: Proxy,
}

fn by_ca(target: &str) -> ByCa {
    let certs = Certs::with_clients(&[("app", "app", &[]), ("other", "other", &[])]);
    let list = certs.revoke(&[]);
    let (ca, text) = (certs.ca(), |path: &Path| path.display().to_string());
    let tls = |cert: &str, key: &str| {
        let (ca, list) = (text(&ca), text(&list));
        format!("mode = \"tls\"\ntls = {{ ca = {ca:?}, crl = {list:?}, cert = {cert:?}, key = {key:?} }}")
    };
    let exit = tls(&text(&certs.cert()), &text(&certs.key()));
    let exit =
        Proxy::start(&format!("{ADMIN}[[link]]\nname = \"here\"\nexit = \"127.0.0.1:0\"\nto = \"{target}\"\n{exit}\n"));
    let [cert, key] = certs.client("app");
    let entry = tls(&cert, &key);
    let at = exit.address(1);
    let entry =
        Proxy::start(&format!("{ADMIN}[[link]]\nname = \"there\"\nentry = \"127.0.0.1:0\"\nto = \"{at}\"\n{entry}\n"));
    ByCa { certs, list, entry, exit }
}

#[test]
fn with_certificates_a_revoked_peer_is_cut_off_and_a_new_certificate_is_used() {
    let redis = Redis::start();
    let ByCa { certs, list, entry, exit } = by_ca(&redis.address());
    let mut open = Client::connect(&entry.address(1));
    open.ok(&["SET", "key", "value"]);
    let series = |file: &Path| {
        format!("redan_certificate_expires_in_seconds{{of=\"link\",name=\"here\",file=\"{}\"}}", file.display())
    };
    assert!(metric(&exit, &series(&certs.cert())) > 1e9 && metric(&exit, &series(&list)) > 1e9, "far in the future");
    // Somebody else is revoked.
    certs.revoke(&["other"]);
    renew(&exit);
    open.ok(&["SET", "key", "value"]);
    let mut open = connect(&entry.address(1));
    open.write_all(b"PING\r\n").expect("taken");
    open.read_exact(&mut [0; 7]).expect("a reply");
    certs.revoke(&["other", "app"]);
    renew(&exit);
    assert_eq!(open.read(&mut [0]).unwrap_or(0), 0, "it is closed");
    eventually("it says why", || exit.said().contains("its certificate is revoked by a list in `crl`"));
    let pings =
        |stream: &mut TcpStream| stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut [0; 7]).is_ok();
    assert!(!pings(&mut connect(&entry.address(1))), "it cannot come back");
    // It gets another certificate.
    let pair = certs.issue(&["app"]);
    for (file, text) in certs.client("app").iter().zip(&pair) {
        put(file, text);
    }
    renew(&entry);
    eventually("it is let in again", || pings(&mut connect(&entry.address(1))));
    // One that has ended is not used.
    let ended = Certs::expired();
    put(&certs.cert().display().to_string(), &fs::read_to_string(ended.cert()).expect("text"));
    put(&certs.key().display().to_string(), &fs::read_to_string(ended.key()).expect("text"));
    renew(&exit);
    eventually("it is refused", || exit.said().contains("has expired; renew it"));
    assert!(pings(&mut connect(&entry.address(1))), "the old one goes on");
}

#[test]
fn pinned_plain_tls_is_judged_again_too() {
    let redis = Redis::start();
    let ends = Ends::start(&redis.address(), "mode = \"tls\"");
    let mut open = connect(&ends.entry.address(1));
    open.write_all(b"PING\r\n").expect("taken");
    open.read_exact(&mut [0; 7]).expect("a reply");
    ends.let_in(&ends.exit, &["# nobody"]);
    assert_eq!(open.read(&mut [0]).unwrap_or(0), 0, "it is closed");
    eventually("it says why", || ends.exit.said().contains("is not in `peers` any more"));
}
