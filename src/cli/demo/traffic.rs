//! The demo's applications: a few clients that write and read through Redan and check what they are answered.
//!
//! Each value is a number that only grows, so a reader can tell an old answer from a new one. They count what went
//! wrong and never hide it: a command is not repeated, and a closed connection is counted before another is opened.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::Failure;
use super::client::{Client, Way};
use super::stage::Stage;
use crate::resp::value::Value;

const WRITERS: usize = 2;
const READERS: usize = 4;

/// Two writers at 40 writes and 80 reads a second and four readers at 100 reads a second: about 640 commands a second,
/// enough to see where they go and little enough for any machine.
const WRITE_EVERY: Duration = Duration::from_millis(25);
const READ_EVERY: Duration = Duration::from_millis(10);

/// From a write to the second read of it. A mark proves within a few milliseconds that a replica has it.
const LATER: Duration = Duration::from_millis(12);

/// Before a client whose connection was closed opens another.
const RECONNECT: Duration = Duration::from_millis(200);

/// A command is answered within the hold of 10 s, or the client gives up after 15 s.
const LAST_ANSWERS: Duration = Duration::from_secs(20);

/// What all clients have counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) writes: AtomicU64,
    pub(super) reads: AtomicU64,
    /// Reads of a value right after it was written by the same client.
    pub(super) own: AtomicU64,
    /// Commands that were answered with an error.
    pub(super) failed: AtomicU64,
    /// Connections that were closed, or not opened.
    pub(super) closed: AtomicU64,
    /// Reads that went back in time, or missed the client's own write.
    pub(super) stale: AtomicU64,
    /// The longest time a write has waited for its answer.
    pub(super) longest_write_us: AtomicU64,
    /// The first thing that went wrong, in words.
    problem: OnceLock<String>,
}

impl Tally {
    pub(super) fn problem(&self, count: &AtomicU64, words: impl FnOnce() -> String) {
        count.fetch_add(1, Relaxed);
        self.problem.get_or_init(words);
    }

    pub(super) fn first_problem(&self) -> Option<&str> {
        self.problem.get().map(String::as_str)
    }

    pub(super) fn troubles(&self) -> u64 {
        self.failed.load(Relaxed) + self.closed.load(Relaxed) + self.stale.load(Relaxed)
    }
}

/// The running clients; dropped, they end where they are.
pub(super) struct Traffic {
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Traffic {
    pub(super) fn begin(stage: &Stage) -> Result<Self, Failure> {
        let ways = [stage.plain(), stage.encrypted()?];
        let mut traffic = Self { tally: Arc::default(), stop: Arc::default(), clients: JoinSet::new() };
        for number in 0..WRITERS + READERS {
            let customer = Customer {
                // Half of either kind over TLS.
                way: ways[number % ways.len()].clone(),
                number,
                tally: Arc::clone(&traffic.tally),
                stop: Arc::clone(&traffic.stop),
                seen: HashMap::new(),
            };
            traffic.clients.spawn(customer.live());
        }
        Ok(traffic)
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(super) const CLIENTS: usize = WRITERS + READERS;

    /// Lets every client finish what it waits for.
    pub(super) async fn end(mut self) -> Result<Arc<Tally>, Failure> {
        self.stop.store(true, Relaxed);
        let all = async { while self.clients.join_next().await.is_some() {} };
        match tokio::time::timeout(LAST_ANSWERS, all).await {
            Ok(()) => Ok(self.tally),
            Err(_) => Err(Failure::new("some of the demo's clients wait for answers that do not come")),
        }
    }
}

/// One client and what it remembers.
struct Customer {
    way: Way,
    number: usize,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    /// The newest value seen under each key.
    seen: HashMap<String, u64>,
}

impl Customer {
    async fn live(mut self) {
        while !self.stop.load(Relaxed) {
            let ended = match self.way.connect().await {
                Ok(mut client) => self.work(&mut client).await,
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                let number = self.number;
                self.tally.problem(&self.tally.closed, || format!("the connection of client {number}: {error}"));
                tokio::time::sleep(RECONNECT).await;
            }
            // Session consistency is a promise to a connection, so a new one begins without memories.
            self.seen.clear();
        }
    }

    async fn work(&mut self, client: &mut Client) -> Result<(), String> {
        let mut turn = self.number;
        while !self.stop.load(Relaxed) {
            turn += 1;
            if self.number < WRITERS {
                self.write_and_read(client).await?;
                tokio::time::sleep(WRITE_EVERY.saturating_sub(LATER)).await;
            } else {
                self.read(client, &key(turn % WRITERS)).await?;
                tokio::time::sleep(READ_EVERY).await;
            }
        }
        Ok(())
    }

    async fn write_and_read(&mut self, client: &mut Client) -> Result<(), String> {
        let key = key(self.number);
        let asked = Instant::now();
        let answer = client.call(&["INCR", &key]).await?;
        let waited = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.tally.writes.fetch_add(1, Relaxed);
        self.tally.longest_write_us.fetch_max(waited, Relaxed);
        match number(&answer) {
            // A counter that does not count on has lost writes that were acknowledged.
            Some(value) => self.remember(&key, value, true),
            None => self.failed("INCR", &answer),
        }
        self.read(client, &key).await?;
        self.tally.own.fetch_add(1, Relaxed);
        tokio::time::sleep(LATER).await;
        self.read(client, &key).await
    }

    async fn read(&mut self, client: &mut Client, key: &str) -> Result<(), String> {
        let answer = client.call(&["GET", key]).await?;
        self.tally.reads.fetch_add(1, Relaxed);
        match (&answer, number(&answer)) {
            (_, Some(value)) => self.remember(key, value, false),
            // Not written yet, or forgotten: then the number seen before tells.
            (Value::Null, None) => self.remember(key, 0, false),
            _ => self.failed("GET", &answer),
        }
        Ok(())
    }

    /// The client was answered `value` and must never be answered an older one. What it wrote itself is new.
    fn remember(&mut self, key: &str, value: u64, written: bool) {
        let seen = self.seen.entry(key.to_owned()).or_default();
        if value < *seen || (written && value == *seen) {
            let (number, seen) = (self.number, *seen);
            let words = || format!("client {number} had seen {seen} under {key} and was answered {value}");
            self.tally.problem(&self.tally.stale, words);
        }
        *seen = value.max(*seen);
    }

    fn failed(&self, command: &str, answer: &Value) {
        let words = || format!("{command} of client {} was answered {answer:?}", self.number);
        self.tally.problem(&self.tally.failed, words);
    }
}

fn key(writer: usize) -> String {
    format!("demo:counter:{writer}")
}

/// INCR answers an integer, GET a text.
fn number(answer: &Value) -> Option<u64> {
    answer.integer().and_then(|number| u64::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customer() -> Customer {
        Customer {
            way: Way::plain("127.0.0.1:1"),
            number: 0,
            tally: Arc::default(),
            stop: Arc::default(),
            seen: HashMap::new(),
        }
    }

    #[test]
    fn going_back_in_time_is_noticed() {
        let mut customer = customer();
        for (value, written) in [(0, false), (1, true), (1, false), (2, true), (2, false), (5, false)] {
            customer.remember("k", value, written);
            assert_eq!(customer.tally.troubles(), 0, "{value}");
        }
        customer.remember("k", 4, false);
        assert_eq!(customer.tally.stale.load(Relaxed), 1);
        assert_eq!(customer.tally.first_problem(), Some("client 0 had seen 5 under k and was answered 4"));
        customer.remember("k", 5, true);
        assert_eq!(customer.tally.stale.load(Relaxed), 2, "an increment of 5 is more than 5");
        customer.remember("other", 1, false);
        assert_eq!(customer.tally.troubles(), 2);
    }

    #[test]
    fn an_error_is_no_number() {
        assert_eq!(number(&Value::Integer(7)), Some(7));
        assert_eq!(number(&Value::Text(b"7".to_vec())), Some(7));
        assert_eq!(number(&Value::Error("ERR 7".to_owned())), None);
        assert_eq!(number(&Value::Null), None);
    }
}
