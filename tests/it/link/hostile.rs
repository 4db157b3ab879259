//! Peers and strangers that mean harm: each is refused with its reason, costs nothing afterwards, and disturbs nobody.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::peer::{self, ACK, BEGINNING, DATA, FIN, RESET, begin, frame, hello, next};
use super::{connect, listener};
use crate::support::certs::Certs;
use crate::support::client::Client;
use crate::support::link::Keys;
use crate::support::proxy::Proxy;
use crate::support::redis::{Redis, eventually};
use crate::support::tls::{TlsClient, pings};

/// An exit in front of a server, and a program that uses it all the time.
struct Scene {
    keys: Keys,
    redis: Redis,
    _entry: Proxy,
    exit: Proxy,
    good: Client,
    before: usize,
}

fn descriptors(proxy: &Proxy) -> usize {
    fs::read_dir(format!("/proc/{}/fd", proxy.id())).expect("it runs").count()
}

/// More than there are threads for links, which take turns.
const KNOCKS: usize = 8;

/// The descriptors of one end when all its threads run, which open some when they begin, and whoever looked whether it listens has
/// gone. `knocked` is what it says of a connection that says nothing and ends.
fn descriptors_at_rest(proxy: &Proxy, address: &str, knocked: &str) -> usize {
    let refusals = || proxy.said().matches(knocked).count();
    for _ in 0..KNOCKS {
        let before = refusals();
        let mut knocked_at = None::<Instant>;
        // What repeats may be said once a second.
        eventually("it has looked at it", || {
            if knocked_at.is_none_or(|at| at.elapsed() > Duration::from_secs(1)) {
                drop(connect(address));
                knocked_at = Some(Instant::now());
            }
            refusals() > before
        });
    }
    proxy.signal("HUP");
    eventually("its files are watched", || proxy.said().contains("reload: read all files"));
    let (mut last, mut since) = (0, Instant::now());
    eventually("it is quiet", || {
        let now = descriptors(proxy);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(500)
    });
    last
}

/// Of an exit at which somebody knocks and ends.
const HUNG_UP: &str = "it closed the connection during the handshake";

impl Scene {
    fn set(more: &str) -> Self {
        let redis = Redis::start();
        let keys = Keys::make();
        let exit = Proxy::start(&keys.exit_to(&redis.address(), "127.0.0.1:0", more));
        let entry = Proxy::start(&keys.entry_to(&exit.address(0), "127.0.0.1:0", ""));
        let mut good = Client::connect(&entry.address(0));
        good.ok(&["SET", "key", "value"]);
        let before = descriptors_at_rest(&exit, &exit.address(0), HUNG_UP);
        Self { keys, redis, _entry: entry, exit, good, before }
    }

    fn at(&self) -> String {
        self.exit.address(0)
    }

    /// The good one goes on, and the others have left nothing behind.
    fn is_unharmed(&mut self) {
        assert_eq!(self.good.text(&["GET", "key"]).as_deref(), Some("value"));
        let before = self.before;
        eventually("every descriptor is given back", || descriptors(&self.exit) <= before);
        assert!(!self.exit.said().contains("panicked"), "{}", self.exit.said());
        self.good.ok(&["SET", "key", "value"]);
    }
}

#[test]
fn slow_and_half_handshakes_have_their_time_and_no_more() {
    let mut scene = Scene::set("");
    let begun = Instant::now();
    // A handshake of TLS whose bytes come one by one: each would keep it alive if only silence counted.
    let mut slow = connect(&scene.at());
    let mut record = vec![22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3];
    record.resize(5 + 256, 7);
    let half: Vec<TcpStream> = (0..20).map(|_| connect(&scene.at())).collect();
    for stream in &half {
        (&*stream).write_all(&record[..40]).expect("taken");
    }
    for byte in &record {
        if slow.write_all(&[*byte]).is_err() {
            break;
        }
        scene.good.ok(&["SET", "key", "value"]);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(begun.elapsed() > Duration::from_secs(9), "it had its time");
    for mut stream in half {
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "it is closed");
    }
    eventually("each is named", || {
        scene.exit.said().matches("it did not finish the handshake within 10s").count() == 21
    });
    scene.is_unharmed();
}

/// What the exit says of a peer that begins a stream as it should and then sends this.
fn after_welcome(scene: &mut Scene, id: u8, frames: &[Vec<u8>], expected: &str) {
    let before = scene.exit.said().matches(expected).count();
    let mut tls = begin(&scene.at(), &scene.keys.entry.file, id, false, BEGINNING);
    // It may be closed in the middle of them.
    let _ = tls.write_all(&frames.concat());
    let mut last = None;
    while let Some((kind, payload)) = next(&mut tls) {
        last = Some((kind, payload));
    }
    let (kind, payload) = last.unwrap_or_else(|| panic!("{expected}: no last word"));
    assert_eq!((kind, payload[0]), (RESET, 1), "{expected}");
    eventually(expected, || scene.exit.said().matches(expected).count() > before);
    scene.is_unharmed();
}

#[test]
fn frames_that_break_the_protocol_end_their_stream_alone() {
    let mut scene = Scene::set("");
    let number = |number: u64| number.to_be_bytes();
    let (greeted, none) = (hello(9, false, BEGINNING), Vec::new());
    let table = [
        (vec![greeted], "it greeted twice"),
        (vec![frame(ACK, &number(1))], "it acknowledged what was never sent"),
        (vec![frame(FIN, &number(5))], "it sent bytes behind its end"),
        (vec![frame(FIN, &number(0)), frame(DATA, b"x")], "it sent bytes behind its end"),
        (vec![frame(FIN, &number(0)), frame(FIN, &number(0))], "it sent bytes behind its end"),
        (vec![frame(DATA, b"PING\r\n"), frame(99, &none)], "it sent a frame of unknown type 99"),
        (vec![frame(DATA, &none)], "it sent a frame of type 3 with 0 bytes, which is not its length"),
        (vec![vec![DATA, 1, 0, 1]], "it sent a frame of type 3 with 65537 bytes, which is not its length"),
        (vec![vec![RESET, 0xff, 0xff, 0xff]], "it sent a frame of type 8 with 16777215 bytes"),
        (vec![frame(ACK, b"1234567")], "it sent a frame of type 4 with 7 bytes"),
    ];
    for (id, (frames, expected)) in (10..).zip(table) {
        after_welcome(&mut scene, id, &frames, expected);
    }
}

#[test]
fn more_than_the_window_is_refused_and_not_kept() {
    let keys = Keys::make();
    // A target that takes nothing, so that what comes must be kept.
    let (_target, address) = listener();
    let exit = Proxy::start(&keys.exit_to(&address, "127.0.0.1:0", "replay = \"1MB\""));
    let before = descriptors_at_rest(&exit, &exit.address(0), HUNG_UP);
    let mut tls = begin(&exit.address(0), &keys.entry.file, 1, false, BEGINNING);
    let piece = frame(DATA, &vec![b'x'; 60_000]);
    let mut sent = 0;
    while sent < 200 << 20 && tls.write_all(&piece).is_ok() {
        sent += piece.len();
    }
    assert!(sent < 200 << 20, "it is not taken without end");
    eventually("it says why", || exit.said().contains("it sent more than it was allowed to"));
    drop(tls);
    eventually("every descriptor is given back", || descriptors(&exit) <= before);
}

#[test]
fn streams_are_resumed_by_their_own_peer_where_they_stopped_and_by_nobody_else() {
    let mut scene = Scene::set("");
    let other = scene.keys.another("other");
    let toml = scene.keys.exit_to(&scene.redis.address(), "127.0.0.1:0", "");
    let own = format!("\"{}\"", scene.keys.entry.line);
    let exit = Proxy::start(&toml.replace(&own, &format!("{own}, \"{}\"", other.line)));
    let (at, key) = (exit.address(0), scene.keys.entry.file.clone());
    let mut stream = begin(&at, &key, 1, false, BEGINNING);
    stream.write_all(&frame(DATA, b"PING\r\n")).expect("taken");
    assert_eq!(next(&mut stream), Some((DATA, b"+PONG\r\n".to_vec())));
    stream.write_all(&frame(ACK, &7_u64.to_be_bytes())).expect("taken");
    // The same first frame once more, and the first frame of somebody else's stream.
    for (key, resume, code, expected) in [
        (&key, false, 1, "it began a stream that exists"),
        (&other.file, true, 5, "it asks for another peer's stream"),
        (&other.file, false, 1, "it began a stream that exists"),
    ] {
        let mut tls = peer::connect(&at, key);
        tls.write_all(&hello(1, resume, (7, 7, 1 << 20))).expect("taken");
        let answer = next(&mut tls).expect("an answer");
        assert_eq!((answer.0, answer.1[0]), (RESET, code), "{expected}");
        eventually("it says why", || exit.said().contains(expected));
    }
    // The peer itself goes on, and the old connection is closed.
    let mut again = begin(&at, &key, 1, true, (7, 7, 1 << 20));
    assert_eq!(next(&mut stream), None);
    again.write_all(&frame(DATA, b"PING\r\n")).expect("taken");
    assert_eq!(next(&mut again), Some((DATA, b"+PONG\r\n".to_vec())));
    // Where it has never been, or was long ago: both end the stream.
    for (id, position) in [(1, (7000, 7, 1 << 20)), (2, (3, 3, 1 << 20)), (3, (7, 8, 1 << 20))] {
        if id > 1 {
            let mut stream = begin(&at, &key, id, false, BEGINNING);
            stream.write_all(&frame(DATA, b"PING\r\n")).expect("taken");
            assert_eq!(next(&mut stream), Some((DATA, b"+PONG\r\n".to_vec())));
            stream.write_all(&frame(ACK, &7_u64.to_be_bytes())).expect("taken");
            // The ACK has been read when what was sent behind it is answered.
            stream.write_all(&frame(DATA, b"PING\r\n")).expect("taken");
            assert_eq!(next(&mut stream), Some((DATA, b"+PONG\r\n".to_vec())));
        }
        let refused = || exit.said().matches("it wants to go on where this end has never been").count();
        let before = refused();
        let mut tls = peer::connect(&at, &key);
        tls.write_all(&hello(id, true, position)).expect("taken");
        while next(&mut tls).is_some() {}
        eventually("it says why", || refused() > before);
        // It is forgotten a moment after the last word.
        eventually("the stream has ended", || {
            let mut gone = peer::connect(&at, &key);
            gone.write_all(&hello(id, true, (0, 0, 1 << 20))).expect("taken");
            next(&mut gone).is_some_and(|answer| (answer.0, answer.1[0]) == (RESET, 5))
        });
    }
    scene.is_unharmed();
}

#[test]
fn with_certificates_whoever_shows_none_or_a_bad_one_is_refused() {
    let redis = Redis::start();
    let certs = Certs::expired();
    let [cert, key] = ["exit.pem", "exit.key"].map(|name| certs.ca().with_file_name(name));
    let [own, own_key] = certs.issue(&[]);
    fs::write(&cert, own).expect("writable");
    fs::write(&key, own_key).expect("writable");
    let list = certs.revoke(&[]);
    let toml = format!(
        "[[link]]\nname = \"here\"\nexit = \"127.0.0.1:0\"\nto = \"{}\"\nmode = \"tls\"\n\
         tls = {{ ca = {:?}, crl = {list:?}, cert = {cert:?}, key = {key:?} }}\n",
        redis.address(),
        certs.ca()
    );
    let exit = Proxy::start(&toml);
    let client = |name: &str, [cert, key]: [String; 2]| {
        let [cert_file, key_file] = certs.client(name);
        fs::write(cert_file, cert).expect("writable");
        fs::write(key_file, key).expect("writable");
        TlsClient::new(&certs, Some(name))
    };
    let good = client("good", certs.issue(&["good"]));
    let stranger = client("stranger", Certs::make().issue(&["stranger"]));
    let mut beside = good.connect(&exit.address(0));
    pings(&mut beside).expect("it is let in");
    let before = descriptors_at_rest(&exit, &exit.address(0), HUNG_UP);
    for (client, expected) in [
        (TlsClient::new(&certs, None), "it shows no certificate, so it cannot be a peer"),
        (TlsClient::new(&certs, Some("node")), "its certificate has expired; renew it there"),
        (stranger, "its certificate was not signed by the configured `ca`"),
    ] {
        assert!(pings(&mut client.connect(&exit.address(0))).is_err(), "{expected}");
        eventually(expected, || exit.said().contains(expected));
        pings(&mut beside).expect("it goes on");
    }
    // Another version of TLS, and none at all.
    let old = TlsClient::of_versions(&certs, Some("good"), &[&rustls::version::TLS12]);
    assert!(pings(&mut old.connect(&exit.address(0))).is_err());
    eventually("it says why", || exit.said().contains("it does not speak TLS 1.3"));
    let mut garbage = connect(&exit.address(0));
    garbage.write_all(b"PING\r\n").expect("taken");
    let _ = garbage.read_to_end(&mut Vec::new());
    eventually("it says why", || exit.said().contains("what it sends is not TLS"));
    eventually("every descriptor is given back", || descriptors(&exit) <= before);
    pings(&mut beside).expect("it goes on");
}

#[test]
fn an_entry_believes_nobody_else_and_names_what_it_met() {
    let keys = Keys::make();
    let (fake, address) = listener();
    let entry = Proxy::start(&keys.entry_to(&address, "127.0.0.1:0", ""));
    std::thread::spawn(move || {
        for stream in fake.incoming() {
            // Whoever is there speaks no TLS at all.
            let _ = stream.expect("a connection").write_all(b"-ERR unknown command\r\n");
        }
    });
    assert!(connect(&entry.address(0)).read(&mut [0]).is_err(), "it is reset");
    eventually("it says why", || entry.said().contains("what it sends is not TLS"));
    let before = descriptors_at_rest(&entry, &entry.address(0), "what it sends is not TLS");
    for _ in 0..20 {
        assert!(connect(&entry.address(0)).read(&mut [0]).is_err(), "it is reset");
    }
    eventually("every descriptor is given back", || descriptors(&entry) <= before);
}
