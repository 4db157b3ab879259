//! The applications: each client knows what every reply must be, from what it was told before.
//!
//! Every value names its owner, so that a reply that belongs to another session is recognised. Counters on the durable listener
//! must go on strictly: a number that comes twice, or goes back, is a write executed twice or lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use crate::connection::{Connection, Target};
use crate::resp::Reply;
use crate::tally::Tally;
use crate::{rude, streams};

/// As client libraries do it.
const RECONNECT: Duration = Duration::from_millis(50);

/// Between two turns of a client: the soak looks for what goes wrong in time, not for speed.
const PERIOD: Duration = Duration::from_millis(50);

/// Clients of each kind at each Redan.
const EACH: usize = 4;

/// Runs all clients at all Redans until `stop`.
pub(crate) fn run(targets: &[[Target; 3]], tally: &Arc<Tally>, stop: &Arc<AtomicBool>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return tally.wrong(format!("there is no event loop: {error}")),
    };
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for (site, [session, durable, tls]) in (1..).zip(targets) {
            for number in 0..EACH {
                let client = |kind, target: &Target| Client::new(kind, target, tally);
                let name = format!("{site}:{number}");
                let stop = || Arc::clone(stop);
                tasks.spawn(counter(client("counter, durable", durable), name.clone(), stop()));
                tasks.spawn(transactions(client("transaction, durable", durable), name.clone(), stop()));
                tasks.spawn(own_writes(client("own writes", session), name.clone(), stop()));
                tasks.spawn(pipelines(client("pipeline", session), name.clone(), stop()));
                let target = if number % 2 == 0 { tls } else { session };
                tasks.spawn(visits(client("visit", target), name.clone(), stop()));
                if number == 0 {
                    tasks.spawn(large(client("large values", session), name.clone(), stop()));
                    tasks.spawn(large(client("large values, TLS", tls), name.clone() + ":tls", stop()));
                    tasks.spawn(rude::run(session.clone(), tls.clone(), name.clone(), stop()));
                }
                let pair = [client("blocking, durable", durable), client("pushes, durable", durable)];
                streams::spawn_list(&mut tasks, pair, name.clone(), &stop());
                let pair = [client("subscriber", session), client("publisher", session)];
                streams::spawn_channel(&mut tasks, pair, name, &stop());
            }
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tally.wrong(format!("a client of the soak itself failed: {error}"));
            }
        }
    });
}

pub(crate) fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|&word| word.to_owned()).collect()
}

pub(crate) fn turns(period: Duration) -> Interval {
    let mut turns = interval(period);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turns
}

/// What came of a command.
pub(crate) enum Answer {
    Reply(Reply),
    /// It was certainly not executed.
    Refused,
    /// It was executed or not, or executed and perhaps lost.
    Doubt,
}

/// One application's client: it connects again when it is cut off.
pub(crate) struct Client {
    pub(crate) kind: &'static str,
    pub(crate) target: Target,
    pub(crate) tally: Arc<Tally>,
    pub(crate) connection: Option<Connection>,
}

impl Client {
    fn new(kind: &'static str, target: &Target, tally: &Arc<Tally>) -> Self {
        Self { kind, target: target.clone(), tally: Arc::clone(tally), connection: None }
    }

    pub(crate) async fn connection(&mut self) -> std::io::Result<&mut Connection> {
        if self.connection.is_none() {
            self.connection = Some(self.target.connect().await?);
        }
        self.connection.as_mut().ok_or_else(|| std::io::ErrorKind::NotConnected.into())
    }

    /// The replies to all commands, errors among them. `None`: the connection ended, which has been counted.
    pub(crate) async fn all(&mut self, commands: &[Vec<String>]) -> Option<Vec<Reply>> {
        let replies = self.exchange(commands).await;
        match replies {
            Ok(replies) => {
                self.tally.replies(self.kind, replies.len() as u64);
                Some(replies)
            }
            Err(error) => {
                self.is_cut_off(&error).await;
                None
            }
        }
    }

    pub(crate) async fn is_cut_off(&mut self, error: &std::io::Error) {
        self.connection = None;
        if error.kind() == std::io::ErrorKind::TimedOut {
            self.tally.wrong(format!("{}: no answer within a minute", self.kind));
        } else {
            self.tally.cut_off(self.kind, error);
        }
        sleep(RECONNECT).await;
    }

    async fn exchange(&mut self, commands: &[Vec<String>]) -> std::io::Result<Vec<Reply>> {
        let connection = self.connection().await?;
        connection.send(commands).await?;
        let mut replies = Vec::with_capacity(commands.len());
        for _ in commands {
            replies.push(connection.reply().await?);
        }
        Ok(replies)
    }

    pub(crate) async fn ask(&mut self, list: &[&str]) -> Answer {
        match self.all(&[words(list)]).await {
            Some(mut replies) => self.answer(replies.remove(0)),
            None => Answer::Doubt,
        }
    }

    pub(crate) fn answer(&self, reply: Reply) -> Answer {
        match reply {
            Reply::Error(text) => {
                self.tally.error(self.kind, &text);
                let doubt = text.starts_with("INDOUBT") || text.starts_with("NOTDURABLE");
                if doubt { Answer::Doubt } else { Answer::Refused }
            }
            reply => Answer::Reply(reply),
        }
    }

    pub(crate) fn wrong(&self, name: &str, what: &str) {
        self.tally.wrong(format!("{} {name}: {what}", self.kind));
    }
}

/// A counter that nobody else changes: which numbers may come next?
struct Counter {
    last: u64,
    doubts: u64,
}

impl Counter {
    const fn new() -> Self {
        Self { last: 0, doubts: 0 }
    }

    /// Whether this number may come; it counts from here on.
    fn take(&mut self, number: u64) -> Result<(), String> {
        let (last, most) = (self.last, self.last + 1 + self.doubts);
        (self.last, self.doubts) = (number, 0);
        if last < number && number <= most {
            Ok(())
        } else {
            Err(format!("{number} after {last}, at most {most} could come"))
        }
    }
}

pub(crate) fn number(reply: &Reply) -> Option<u64> {
    reply.text()?.parse().ok()
}

async fn counter(mut client: Client, name: String, stop: Arc<AtomicBool>) {
    let key = format!("counter:{name}");
    let (mut counter, mut turns) = (Counter::new(), turns(PERIOD));
    while !stop.load(Ordering::Relaxed) {
        turns.tick().await;
        match client.ask(&["INCR", &key]).await {
            Answer::Doubt => counter.doubts += 1,
            Answer::Refused => {}
            Answer::Reply(reply) => {
                let fine = number(&reply).ok_or_else(|| format!("{reply:?}")).and_then(|n| counter.take(n));
                if let Err(why) = fine {
                    client.wrong(&name, &format!("INCR: {why}"));
                }
            }
        }
        let Answer::Reply(reply) = client.ask(&["GET", &key]).await else { continue };
        let seen = number(&reply).unwrap_or(0);
        // A counter that was never written has no value.
        if seen < counter.last || seen > counter.last + counter.doubts {
            client.wrong(&name, &format!("GET: {seen} after {}, {} in doubt", counter.last, counter.doubts));
        }
    }
}

async fn transactions(mut client: Client, name: String, stop: Arc<AtomicBool>) {
    let [count, key] = ["count", "value"].map(|what| format!("tx:{what}:{name}"));
    let (mut counter, mut turns, mut turn) = (Counter::new(), turns(2 * PERIOD), 0_u64);
    while !stop.load(Ordering::Relaxed) {
        turns.tick().await;
        turn += 1;
        let value = format!("tx:{name}:{turn}");
        let commands = [
            words(&["MULTI"]),
            words(&["INCR", &count]),
            words(&["SET", &key, &value]),
            words(&["GET", &key]),
            words(&["EXEC"]),
        ];
        // In one piece, or one after the other: both are usual.
        let replies = if turn.is_multiple_of(2) {
            client.all(&commands).await
        } else {
            let mut replies = Vec::new();
            for command in &commands {
                let Some(mut one) = client.all(std::slice::from_ref(command)).await else { break };
                replies.append(&mut one);
            }
            (replies.len() == commands.len()).then_some(replies)
        };
        let Some(mut replies) = replies else {
            counter.doubts += 1;
            continue;
        };
        let Some(last) = replies.pop() else { continue };
        match client.answer(last) {
            Answer::Doubt => counter.doubts += 1,
            Answer::Refused => {}
            Answer::Reply(Reply::List(items)) => {
                let [first, second, third] = &items[..] else {
                    client.wrong(&name, &format!("EXEC: {items:?}"));
                    continue;
                };
                let fine = number(first).ok_or_else(|| format!("{first:?}")).and_then(|n| counter.take(n));
                if let Err(why) = fine {
                    client.wrong(&name, &format!("INCR in EXEC: {why}"));
                }
                if second.text() != Some("OK") || third.text() != Some(&*value) {
                    client.wrong(&name, &format!("EXEC: {second:?}, {third:?} instead of {value}"));
                }
            }
            Answer::Reply(other) => client.wrong(&name, &format!("EXEC: {other:?}")),
        }
    }
}

async fn own_writes(mut client: Client, name: String, stop: Arc<AtomicBool>) {
    let (key, owner) = (format!("own:{name}"), format!("own:{name}:"));
    let (mut acknowledged, mut tried) = (0_u64, 0_u64);
    let mut turns = turns(PERIOD);
    while !stop.load(Ordering::Relaxed) {
        turns.tick().await;
        tried += 1;
        // Most are short, some are long enough to be streamed.
        let padding = "x".repeat(if tried.is_multiple_of(50) { 300_000 } else { 20 });
        if let Answer::Reply(reply) = client.ask(&["SET", &key, &format!("{owner}{tried}:{padding}")]).await {
            if reply.text() != Some("OK") {
                client.wrong(&name, &format!("SET: {}", short(&reply)));
            }
            acknowledged = tried;
        }
        let Answer::Reply(reply) = client.ask(&["GET", &key]).await else { continue };
        let text = reply.text().unwrap_or_default();
        let Some(rest) = text.strip_prefix(&owner) else {
            if acknowledged > 0 {
                let what = format!("GET: {} instead of its own {acknowledged}", short(&reply));
                if reply == Reply::Nil { client.tally.lost(what) } else { client.wrong(&name, &what) }
            }
            continue;
        };
        let seen: u64 = rest.split(':').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        if seen < acknowledged {
            client.tally.lost(format!("own writes {name}: GET: {seen} after {acknowledged}"));
            acknowledged = seen;
        } else if seen > tried {
            client.wrong(&name, &format!("GET: {seen}, and only {tried} were written"));
        }
    }
}

/// Many commands at once: every reply must be in its place.
async fn pipelines(mut client: Client, name: String, stop: Arc<AtomicBool>) {
    let (mut turns, mut turn) = (turns(2 * PERIOD), 0_u64);
    while !stop.load(Ordering::Relaxed) {
        turns.tick().await;
        turn += 1;
        let token = |place: usize| format!("pipeline:{name}:{turn}:{place}");
        let key = |place: usize| format!("pipeline:{name}:{place}");
        let commands: Vec<_> = (0..8)
            .flat_map(|place| {
                [
                    words(&["ECHO", &token(place)]),
                    words(&["SET", &key(place), &token(place)]),
                    words(&["GET", &key(place)]),
                ]
            })
            .collect();
        let Some(replies) = client.all(&commands).await else { continue };
        for (place, three) in replies.chunks(3).enumerate() {
            let [echo, set, get] = three else { continue };
            if echo.text() != Some(&*token(place)) {
                client.wrong(&name, &format!("ECHO: {} instead of {}", short(echo), token(place)));
            }
            let written = matches!(client.answer(set.clone()), Answer::Reply(_));
            let Answer::Reply(got) = client.answer(get.clone()) else { continue };
            let text = got.text().unwrap_or_default();
            if !text.is_empty() && !text.starts_with(&format!("pipeline:{name}:")) {
                client.wrong(&name, &format!("GET: {} is not its own", short(&got)));
            } else if written && text != token(place) {
                client.tally.lost(format!("pipeline {name}: GET: {} instead of {}", short(&got), token(place)));
            }
        }
    }
}

/// Connects, does little, and leaves: what it took must be given back.
async fn visits(mut client: Client, name: String, stop: Arc<AtomicBool>) {
    let (mut turns, mut turn) = (turns(4 * PERIOD), 0_u64);
    while !stop.load(Ordering::Relaxed) {
        turns.tick().await;
        turn += 1;
        let token = format!("visit:{name}:{turn}");
        let commands = [
            words(&["CLIENT", "SETNAME", &token]),
            words(&["ECHO", &token]),
            words(&["CLIENT", "GETNAME"]),
            words(&["GET", "ready"]),
        ];
        let Some(replies) = client.all(&commands).await else { continue };
        for (place, wanted) in [(0, "OK"), (1, &*token), (2, &*token)] {
            if replies[place].text() != Some(wanted) {
                client.wrong(&name, &format!("{} instead of {wanted}", short(&replies[place])));
            }
        }
        client.answer(replies[3].clone());
        if turn.is_multiple_of(2) {
            client.all(&[words(&["QUIT"])]).await;
        }
        client.connection = None;
    }
}

/// Values of a megabyte, which nobody may mix with another's.
async fn large(mut client: Client, name: String, stop: Arc<AtomicBool>) {
    let (mut turns, mut turn) = (turns(20 * PERIOD), 0_u64);
    while !stop.load(Ordering::Relaxed) {
        turns.tick().await;
        turn += 1;
        let key = format!("large:{name}:{turn}");
        let value = format!("<{key}>").repeat(1_000_000 / (key.len() + 2));
        if !matches!(client.ask(&["SET", &key, &value]).await, Answer::Reply(_)) {
            continue;
        }
        // In one piece with what deletes it: the answers must come in their order.
        let Some(replies) = client.all(&[words(&["GET", &key]), words(&["DEL", &key])]).await else { continue };
        match client.answer(replies[0].clone()) {
            Answer::Reply(Reply::Nil) if client.kind.ends_with("TLS") => {}
            Answer::Reply(Reply::Nil) => client.tally.lost(format!("large {name}: {key} is gone")),
            Answer::Reply(reply) if reply.text() != Some(&*value) => {
                client.wrong(&name, &format!("GET: {} instead of {key} many times", short(&reply)));
            }
            _ => {}
        }
        client.answer(replies[1].clone());
    }
}

fn short(reply: &Reply) -> String {
    let text = format!("{reply:?}");
    if text.len() > 80 { format!("{}… ({} bytes)", &text[..60], text.len()) } else { text }
}
