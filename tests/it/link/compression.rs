//! Links that compress: what goes over the network is less, and neither the programs nor a break notice.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::thread;

use super::{bytes, connect, listener, mirror};
use crate::support::link::Keys;
use crate::support::proxy::Proxy;
use crate::support::redis::{Redis, eventually};

/// A network between entry and exit that breaks once, when so many bytes have gone towards the entry.
fn network(exit: String, breaks_after: i64) -> String {
    let (listener, address) = listener();
    let left = Arc::new(AtomicI64::new(breaks_after));
    thread::spawn(move || {
        for near in listener.incoming() {
            let near = near.expect("a connection");
            let far = connect(&exit);
            let (near_too, far_too) = (near.try_clone().expect("a handle"), far.try_clone().expect("a handle"));
            let left = Arc::clone(&left);
            thread::spawn(move || carry(near_too, far_too, |_| false));
            thread::spawn(move || {
                carry(far, near, |moved| {
                    let before = left.fetch_sub(moved, SeqCst);
                    before > 0 && before <= moved
                });
            });
        }
    });
    address
}

fn carry(mut from: TcpStream, mut to: TcpStream, breaks: impl Fn(i64) -> bool) {
    let mut piece = [0; 16_384];
    // Whatever ends it ends the other direction, too.
    while let Ok(read @ 1..) = from.read(&mut piece) {
        if breaks(read as i64) || to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// A series of the Redan whose `admin` is its first address.
fn metric(redan: &Proxy, series: &str) -> u64 {
    let mut stream = connect(&redan.address(0));
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: redan\r\nConnection: close\r\n\r\n").expect("taken");
    let metrics = std::io::read_to_string(stream).expect("an answer");
    let line = metrics.lines().find_map(|line| line.strip_prefix(series));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("{series}\n{metrics}"))
}

fn compressed(redan: &Proxy, link: &str, direction: &str) -> [u64; 2] {
    ["plain", "packed"].map(|kind| {
        let labels = format!("link=\"{link}\",direction=\"{direction}\",kind=\"{kind}\"");
        metric(redan, &format!("redan_link_compressed_bytes_total{{{labels}}}"))
    })
}

const ADMIN: &str = "[redan]\nadmin = \"127.0.0.1:0\"\n";

fn replication_survives_a_break(codec: &str) {
    let master = Redis::options().line("rdbcompression no").line("enable-debug-command yes").start();
    master.ok(&["DEBUG", "POPULATE", "30000", "key", "500"]);
    let keys = Keys::make();
    let more = format!("compression = \"{codec}\"");
    let exit = Proxy::start(&format!("{ADMIN}{}", keys.exit_to(&master.address(), "127.0.0.1:0", &more)));
    // In the middle of the full sync: some 16 MB become some hundred KB.
    let between = network(exit.address(1), 100_000);
    let entry = Proxy::start(&format!("{ADMIN}{}", keys.entry_to(&between, "127.0.0.1:0", &more)));
    let port = entry.address(1).replace("127.0.0.1:", "");
    let replica =
        Redis::options().line("enable-debug-command yes").line(&format!("replicaof 127.0.0.1 {port}")).start();
    replica.wait_for_link();
    for number in 0..200 {
        master.ok(&["SET", &format!("later:{number}"), &format!("{{\"number\":{number}}},").repeat(200)]);
    }
    let offset = || master.info("master_repl_offset");
    eventually("the replica has everything", || offset().is_some() && offset() == replica.info("slave_repl_offset"));
    let digests = [&master, &replica].map(|redis| redis.command(&["DEBUG", "DIGEST"]));
    assert_eq!(digests[0], digests[1]);
    assert_eq!(replica.command(&["DBSIZE"]), ":30200\r\n");
    let stats = master.command(&["INFO", "stats"]);
    assert!(stats.contains("sync_full:1\r\n") && stats.contains("sync_partial_ok:0\r\n"), "{stats}");
    assert!(metric(&entry, "redan_link_resumes_total{link=\"there\"}") >= 1, "the network broke");

    let [plain, packed] = compressed(&exit, "here", "out");
    assert!(plain > 15_000_000 && plain > 2 * packed && packed > 0, "{plain} bytes became {packed}");
    let [plain, packed] = compressed(&entry, "there", "in");
    assert!(plain > 15_000_000 && plain > 2 * packed, "{packed} bytes became {plain}");
    let carried = metric(&entry, "redan_link_bytes_total{link=\"there\",direction=\"in\"}");
    assert!(packed <= carried && carried < 8_000_000, "{packed} of {carried} bytes");
}

#[test]
fn replication_in_lz4_goes_on_after_a_break_and_takes_less_than_half() {
    replication_survives_a_break("lz4");
}

#[test]
fn replication_in_zstd_goes_on_after_a_break_and_takes_less_than_half() {
    replication_survives_a_break("zstd");
}

/// Says so much and hears it backwards.
fn passes(entry: &Proxy, said: &[u8]) {
    let mut stream = connect(&entry.address(1));
    let mut writer = stream.try_clone().expect("a handle");
    let heard = thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(said).expect("taken");
            writer.shutdown(Shutdown::Write).expect("ended");
        });
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).expect("an end");
        heard.reverse();
        heard
    });
    assert!(heard == said, "{} bytes came back of {}", heard.len(), said.len());
}

#[test]
fn each_end_compresses_in_its_own_way_if_both_do() {
    let (target, address): (TcpListener, String) = listener();
    mirror(target);
    let keys = Keys::make();
    // Text, noise, text: it is tried, given up and found again.
    let text = b"the same again and again; ".repeat(20_000);
    let said = [&text[..], &bytes(1_000_000, 7), &text].concat();
    for (at_entry, at_exit, shrinks) in
        [("lz4", "zstd", true), ("zstd", "lz4", true), ("off", "zstd", false), ("lz4", "off", false)]
    {
        let [of_entry, of_exit] = [at_entry, at_exit].map(|codec| format!("compression = \"{codec}\""));
        let exit = Proxy::start(&keys.exit_to(&address, "127.0.0.1:0", &of_exit));
        let entry = keys.entry_to(&exit.address(0), "127.0.0.1:0", &of_entry);
        let entry = Proxy::start(&format!("{ADMIN}{entry}"));
        passes(&entry, &said);
        passes(&entry, b"short");
        for direction in ["out", "in"] {
            let [plain, packed] = compressed(&entry, "there", direction);
            assert_eq!(shrinks, plain > 2 * packed, "{at_entry}, {at_exit}, {direction}: {plain} became {packed}");
            assert!(plain < 1_500_000 && (shrinks || plain == 0), "noise does not count: {plain}");
        }
    }
}
