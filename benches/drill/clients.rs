//! The applications of a drill: clients that write and read keys of their own, and clients that only read.
//!
//! A writer appends numbers to a list of its own and reads back the last one. It remembers what it was acknowledged, so
//! that in the end every number can be looked for: one that is missing was lost, one that is there twice was executed
//! twice. An old answer is looked at more closely at once: MULTI takes the read to the master.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use crate::resp::{Reply, decode, encode};

/// Longer than any hold: who waits longer has been forgotten.
const PATIENCE: Duration = Duration::from_secs(40);

/// As client libraries do it.
const RECONNECT: Duration = Duration::from_millis(20);

/// What clients met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) reads: u64,
    /// Error replies by their first word.
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) disconnects: u64,
    /// Attempts to connect that failed.
    pub(crate) refused: u64,
    /// Reads that showed less than what the same client had been acknowledged while the master had it, or an empty group.
    pub(crate) old: u64,
    /// Writes that were executed more than once.
    pub(crate) twice: u64,
    /// Writes that were acknowledged and that the master does not have.
    pub(crate) lost: u64,
    /// When the last of the lost writes was acknowledged, from the event.
    pub(crate) lost_until: Option<Duration>,
    /// The longest time a client waited from one acknowledged write to the next.
    pub(crate) write_pause: Duration,
    /// The same for clients that only read.
    pub(crate) read_pause: Duration,
    /// Most errors in doubt that one client met.
    pub(crate) doubts_of_one: u64,
}

impl Seen {
    /// Looks for what a client was acknowledged in what its list holds in the end.
    pub(crate) fn compare(&mut self, acknowledged: &[(u64, Duration)], stored: &[u64]) {
        let mut sorted = stored.to_vec();
        sorted.sort_unstable();
        self.twice += sorted.windows(2).map(|pair| u64::from(pair[0] == pair[1])).sum::<u64>();
        for (number, at) in acknowledged {
            if sorted.binary_search(number).is_err() {
                self.lost += 1;
                self.lost_until = self.lost_until.max(Some(*at));
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.reads += other.reads;
        self.disconnects += other.disconnects;
        self.refused += other.refused;
        self.old += other.old;
        self.twice += other.twice;
        self.lost += other.lost;
        self.lost_until = self.lost_until.max(other.lost_until);
        self.write_pause = self.write_pause.max(other.write_pause);
        self.read_pause = self.read_pause.max(other.read_pause);
        self.doubts_of_one = self.doubts_of_one.max(other.errors.get("INDOUBT").copied().unwrap_or(0));
        for (code, count) in other.errors {
            *self.errors.entry(code).or_default() += count;
        }
    }
}

/// A client's list, and when each number in it was acknowledged, counted from the event.
pub(crate) type Acknowledged = Vec<(String, Vec<(u64, Duration)>)>;

/// Runs `count` clients at `address` until `stop`. A quarter of them only reads.
pub(crate) fn run(
    address: &'static str,
    count: usize,
    event_at: Instant,
    stop: &Arc<AtomicBool>,
) -> Result<(Seen, Acknowledged), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no event loop: {error}"))?;
    // Ten thousand commands a second or fewer: the drill measures waiting, not speed.
    let period = Duration::from_millis(if count > 50 { 40 } else { 5 });
    runtime.block_on(async {
        let mut clients = JoinSet::new();
        for number in 0..count {
            let client = Client { address, event_at, stream: None, buffer: Vec::new(), seen: Seen::default() };
            let stop = Arc::clone(stop);
            clients.spawn(async move {
                if number % 4 == 3 {
                    client.read(period, &stop).await
                } else {
                    client.write(number, period, &stop).await
                }
            });
        }
        let (mut seen, mut acknowledged) = (Seen::default(), Acknowledged::new());
        while let Some(ended) = clients.join_next().await {
            let (one, keys) = ended.map_err(|error| format!("a client failed: {error}"))?;
            seen.add(one);
            acknowledged.extend(keys);
        }
        Ok((seen, acknowledged))
    })
}

/// One connection of an application, made anew when it ends.
struct Client {
    address: &'static str,
    event_at: Instant,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    seen: Seen,
}

impl Client {
    async fn read(mut self, period: Duration, stop: &AtomicBool) -> (Seen, Acknowledged) {
        let mut turns = turns(period);
        let mut last = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            turns.tick().await;
            if let Some(reply) = self.ask(&["GET", "reader"]).await {
                self.seen.reads += 1;
                // It was written before the drill began, and every server had it.
                self.seen.old += u64::from(reply == Reply::Nil);
                self.seen.read_pause = self.seen.read_pause.max(last.elapsed());
                last = Instant::now();
            }
        }
        self.seen.read_pause = self.seen.read_pause.max(last.elapsed());
        (self.seen, Acknowledged::new())
    }

    async fn write(mut self, number: usize, period: Duration, stop: &AtomicBool) -> (Seen, Acknowledged) {
        let key = format!("client:{number}");
        let (mut next, mut acknowledged, mut last) = (0, Vec::new(), Instant::now());
        let mut turns = turns(period);
        while !stop.load(Ordering::Relaxed) {
            turns.tick().await;
            next += 1;
            if self.ask(&["RPUSH", &key, &next.to_string()]).await.is_some() {
                acknowledged.push((next, Instant::now().saturating_duration_since(self.event_at)));
                self.seen.write_pause = self.seen.write_pause.max(last.elapsed());
                last = Instant::now();
            }
            let Some(value) = self.ask(&["LINDEX", &key, "-1"]).await else { continue };
            self.seen.reads += 1;
            let owed = acknowledged.last().map_or(0, |(number, _)| *number);
            if number_in(&value) < owed && self.master_has(&key, owed).await {
                self.seen.old += 1;
            }
        }
        self.seen.write_pause = self.seen.write_pause.max(last.elapsed());
        (self.seen, vec![(key, acknowledged)])
    }

    /// An answer was older than what was acknowledged: is it the answer that is old, or was the write lost?
    async fn master_has(&mut self, key: &str, number: u64) -> bool {
        for words in [&["MULTI"][..], &["LINDEX", key, "-1"]] {
            if self.ask(words).await.is_none() {
                return false;
            }
        }
        let reply = self.ask(&["EXEC"]).await;
        reply.is_some_and(|reply| reply.items().first().is_some_and(|value| number_in(value) >= number))
    }

    /// `None`: there was an error, which has been counted.
    async fn ask(&mut self, words: &[&str]) -> Option<Reply> {
        let answered = timeout(PATIENCE, self.exchange(words)).await;
        match answered {
            Ok(Ok(Reply::Error(text))) => {
                let code = text.split(' ').next().unwrap_or_default();
                *self.seen.errors.entry(code.to_owned()).or_default() += 1;
                None
            }
            Ok(Ok(reply)) => Some(reply),
            Ok(Err(_)) => {
                // It could not connect, or what it had has ended.
                if self.stream.take().is_some() {
                    self.seen.disconnects += 1
                } else {
                    self.seen.refused += 1
                }
                self.buffer.clear();
                sleep(RECONNECT).await;
                None
            }
            Err(_) => {
                *self.seen.errors.entry("(no answer)".to_owned()).or_default() += 1;
                self.stream = None;
                self.buffer.clear();
                None
            }
        }
    }

    async fn exchange(&mut self, words: &[&str]) -> io::Result<Reply> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
        }
        let Some(stream) = &mut self.stream else { return Err(io::ErrorKind::NotConnected.into()) };
        stream.write_all(&encode(words)).await?;
        loop {
            if let Some((reply, len)) = decode(&self.buffer)? {
                self.buffer.drain(..len);
                return Ok(reply);
            }
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn turns(period: Duration) -> Interval {
    let mut turns = interval(period);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turns
}

pub(crate) fn number_in(reply: &Reply) -> u64 {
    reply.text().and_then(|text| text.parse().ok()).unwrap_or(0)
}
