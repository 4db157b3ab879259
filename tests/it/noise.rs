//! Clients that flood, dribble, stop in the middle or vanish: the one beside them must not notice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, command};
use crate::support::endpoint::Endpoint;
use crate::support::redis::Redis;

/// Sorted round trips of `GET` for as long as `time`.
fn round_trips(client: &mut Client, time: Duration) -> Vec<Duration> {
    let start = Instant::now();
    let mut taken = Vec::new();
    while start.elapsed() < time {
        let asked = Instant::now();
        assert_eq!(client.text(&["GET", "k"]).as_deref(), Some("value"));
        taken.push(asked.elapsed());
    }
    taken.sort_unstable();
    taken
}

fn percentile_99(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() * 99 / 100]
}

/// Between two connections of one maker: faster than that the makers would test who has more of the machine, they or
/// Redan, and not whether one client's work delays another's.
const PAUSE: Duration = Duration::from_millis(5);

/// Ends the noise however the test ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Makes noise on a connection until `stop`; starts again when it is closed.
fn noise(address: &str, stop: &AtomicBool, make: impl Fn(&mut TcpStream) -> std::io::Result<()>) {
    while !stop.load(Relaxed) {
        let Ok(mut stream) = TcpStream::connect(address) else { continue };
        stream.set_nodelay(true).expect("no delay");
        // A full connection must not keep the thread beyond the test.
        stream.set_write_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        while !stop.load(Relaxed) && make(&mut stream).is_ok() {}
        thread::sleep(PAUSE);
    }
}

/// A debug build that shares two cores with whoever makes the noise needs some tens of milliseconds for the 99th. A client
/// that is kept waiting by another waits for as long as that one goes on, which is the whole test. On a machine that is busy
/// with other things everything takes longer, which shows in the quiet before the noise.
const PERCENTILE_99: Duration = Duration::from_millis(500);
const TIMES_THE_QUIET: u32 = 20;

fn beside(what: &str, makers: usize, make: impl Fn(&mut TcpStream) -> std::io::Result<()> + Sync) {
    let redis = Redis::start();
    redis.ok(&["SET", "k", "value"]);
    Client::connect(&redis.address()).ok(&["SET", "big", &"x".repeat(1_000_000)]);
    let endpoint = Endpoint::of(&[&redis], "");
    let mut client = endpoint.client();
    let allowed =
        PERCENTILE_99 + TIMES_THE_QUIET * percentile_99(&round_trips(&mut client, Duration::from_millis(300)));
    let stop = AtomicBool::new(false);
    let address = endpoint.address();
    let taken = thread::scope(|scope| {
        for _ in 0..makers {
            scope.spawn(|| noise(&address, &stop, &make));
        }
        let _stop = Stop(&stop);
        round_trips(&mut client, Duration::from_millis(1500))
    });
    let slow = percentile_99(&taken);
    assert!(
        slow < allowed,
        "{what}: the 99th percentile of {} round trips is {slow:?}, more than {allowed:?}",
        taken.len()
    );
    let peak = endpoint.peak_memory();
    assert!(peak < 96 << 20, "{what}: {} MiB were resident", peak >> 20);
}

#[test]
fn a_flood_of_empty_lines() {
    let lines = b"\r\n".repeat(32 * 1024);
    beside("empty lines", 2, |stream| stream.write_all(&lines));
}

#[test]
fn a_flood_of_commands_that_cost_nothing() {
    let pings = command(&["PING"]).repeat(4096);
    beside("PING", 2, |stream| {
        stream.write_all(&pings)?;
        stream.read_exact(&mut [0; 4096 * 7])
    });
}

#[test]
fn single_bytes() {
    let set = command(&["SET", "noise", "value"]);
    beside("single bytes", 2, |stream| {
        set.iter().try_for_each(|byte| stream.write_all(std::slice::from_ref(byte)))?;
        stream.read_exact(&mut [0; 5])
    });
}

/// Each leaves half a command behind and comes back with another.
#[test]
fn half_commands() {
    let half = [&b"*3\r\n$3\r\nSET\r\n$5\r\nnoise\r\n$200000\r\n"[..], &[b'x'; 150_000]].concat();
    beside("half commands", 2, |stream| {
        stream.write_all(&half)?;
        Err(std::io::ErrorKind::Other.into())
    });
}

/// Each asks for a megabyte, takes the first byte and is gone.
#[test]
fn clients_that_vanish_in_the_middle_of_a_reply() {
    let get = command(&["GET", "big"]);
    beside("vanishing clients", 2, |stream| {
        stream.write_all(&get)?;
        stream.read_exact(&mut [0])?;
        Err(std::io::ErrorKind::Other.into())
    });
}
