//! `GET /live` and `/events`: what goes on, as it happens (server-sent events).
//!
//! Both tell of events in words, those of late first; `/live` also brings the whole report once a second, and at once when
//! something has happened. Work is done only while somebody reads: a stream is written by a task that ends with its connection
//! and makes nothing ahead of a reader that does not take what is there. The number of readers is bounded, and so is the
//! time of each; browsers ask again by themselves and say what they saw last.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use serde::Serialize;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use super::report::{self, Report};
use super::{AdminState, Known, KnownListener};
use crate::chronicle::now_ms;
use crate::metrics::{BUCKETS, Histogram, Times};

/// A few people and a screen on the wall.
const VIEWERS: usize = 16;

/// How long one stream goes on. It must be less than the time that a connection may take.
const LIFE: Duration = Duration::from_secs(240);

const EVERY: Duration = Duration::from_secs(1);

/// Events come in bursts; those of one burst are told together.
const BURST: Duration = Duration::from_millis(40);

/// How soon a browser asks again after the end of a stream.
const RETRY: &str = "retry: 400\n\n";

const DAY: f64 = 86400.0;

/// Places for those who look, and a turn for those who guess the token.
#[derive(Debug)]
pub(crate) struct Visitors {
    viewers: Arc<Semaphore>,
    pub(super) guesses: Mutex<()>,
}

impl Default for Visitors {
    fn default() -> Self {
        Self { viewers: Arc::new(Semaphore::new(VIEWERS)), guesses: Mutex::default() }
    }
}

/// What a stream shall bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Events,
    EventsAndState,
}

pub(super) fn wish(path: &str) -> Option<Wish> {
    match path {
        "/events" => Some(Wish::Events),
        "/live" => Some(Wish::EventsAndState),
        _ => None,
    }
}

/// The whole, as the page and `redan top` read it.
#[derive(Serialize)]
struct State {
    /// Seconds since 1970.
    at: f64,
    /// Whether orders are taken from who has the token.
    actions: bool,
    certificates: Vec<Certificate>,
    latency: Latency,
    #[serde(flatten)]
    report: Report,
}

/// How many commands took how long, since the start: in each bucket those below its bound and not below the one before.
#[derive(Serialize)]
struct Latency {
    /// In seconds; the last bucket has none.
    bounds: Vec<f64>,
    /// From a command's arrival to its reply, and the part of it that nodes took.
    client: [u64; BUCKETS],
    node: [u64; BUCKETS],
}

#[derive(Serialize)]
struct Certificate {
    owner: String,
    file: String,
    days: f64,
}

/// An event, as it is sent.
#[derive(Serialize)]
struct Told<'a> {
    at: f64,
    level: &'static str,
    about: Option<&'a str>,
    words: &'a str,
    times: u64,
    /// The id that it had before, when it was said less often.
    replaces: Option<String>,
}

/// Begins to write a stream; `None`: as many read as may. `seen` is the id of the last event that the reader knows.
pub(super) fn begin(state: &Arc<AdminState>, wish: Wish, seen: Option<&str>) -> Option<mpsc::Receiver<Bytes>> {
    let place = Arc::clone(&state.visitors.viewers).try_acquire_owned().ok()?;
    // Whatever the reader has not taken keeps the next from being made.
    let (to, stream) = mpsc::channel(1);
    let seen = seen.and_then(|id| known(state, id)).unwrap_or(0);
    tokio::spawn(write(Arc::clone(state), wish, seen, to, place));
    Some(stream)
}

/// What `/live` would bring next to whoever has seen the event `seen`, for who asks each time anew.
pub(super) fn piece(state: &AdminState, seen: Option<&str>) -> String {
    let mut text = String::new();
    let mut after = seen.and_then(|id| known(state, id)).unwrap_or(0);
    tell_events(state, &mut after, &mut text);
    tell_state(state, &mut text);
    text
}

/// Of this run of the process; another's events are not these.
fn run(state: &AdminState) -> u64 {
    state.started_at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

fn id(state: &AdminState, number: u64) -> String {
    format!("{:x}-{number}", run(state))
}

fn known(state: &AdminState, id: &str) -> Option<u64> {
    let (of_run, number) = id.split_once('-')?;
    (u64::from_str_radix(of_run, 16) == Ok(run(state))).then(|| number.parse().ok())?
}

async fn write(
    state: Arc<AdminState>,
    wish: Wish,
    mut seen: u64,
    to: mpsc::Sender<Bytes>,
    _place: OwnedSemaphorePermit,
) {
    let end = Instant::now() + LIFE;
    let mut changed = state.chronicle.watch();
    let mut text = RETRY.to_owned();
    while Instant::now() < end {
        changed.mark_unchanged();
        tell_events(&state, &mut seen, &mut text);
        match wish {
            Wish::EventsAndState => tell_state(&state, &mut text),
            // So that a reader that is gone is noticed.
            Wish::Events if text.is_empty() => text.push_str(":\n\n"),
            Wish::Events => {}
        }
        if to.send(Bytes::from(std::mem::take(&mut text))).await.is_err() {
            return;
        }
        let pause = if wish == Wish::Events { EVERY * 15 } else { EVERY };
        tokio::select! {
            () = to.closed() => return,
            _ = changed.changed() => tokio::time::sleep(BURST).await,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn tell_events(state: &AdminState, seen: &mut u64, text: &mut String) {
    let events = state.chronicle.events();
    for happened in events.after(*seen) {
        let told = Told {
            at: happened.at_ms as f64 / 1000.0,
            level: happened.weight.name(),
            about: happened.about.as_deref(),
            words: &happened.words,
            times: happened.times,
            replaces: happened.replaces.map(|number| id(state, number)),
        };
        message(text, "happened", Some(&id(state, happened.number)), &told);
    }
    *seen = events.last();
}

fn tell_state(state: &AdminState, text: &mut String) {
    let at_ms = now_ms();
    let certificates = state.renewals.expiries.load();
    let certificates = certificates.iter().map(|(owner, expiry)| Certificate {
        owner: format!("{} '{}'", owner.kind, owner.name),
        file: expiry.file.display().to_string(),
        days: (expiry.at as f64 - at_ms as f64 / 1000.0) / DAY,
    });
    let now = state.now.load();
    let whole = State {
        at: at_ms as f64 / 1000.0,
        actions: now.config.admin_token.is_some(),
        certificates: certificates.collect(),
        latency: latency(state, &now),
        report: report::report(state),
    };
    message(text, "state", None, &whole);
}

fn latency(state: &AdminState, now: &Known) -> Latency {
    let (mut client, mut node) = (Times::default(), Times::default());
    for worker in &state.workers {
        for row in now.listeners.iter().filter_map(KnownListener::row) {
            worker.listeners.of(row).latency.add_to(&mut client);
        }
        for group in &now.groups {
            let nodes = group.snapshot.load();
            for counted in nodes.nodes.iter().filter_map(|node| worker.nodes.find(group.number, node.id)) {
                counted.latency.add_to(&mut node);
            }
        }
    }
    let bounds = (0..BUCKETS - 1).map(Histogram::bound).collect();
    Latency { bounds, client: client.buckets, node: node.buckets }
}

/// One message of a stream. JSON has no line breaks, which would end it.
fn message(text: &mut String, kind: &str, id: Option<&str>, data: &impl Serialize) {
    let Ok(data) = serde_json::to_string(data) else { return };
    if let Some(id) = id {
        text.push_str(&format!("id: {id}\n"));
    }
    text.push_str(&format!("event: {kind}\ndata: {data}\n\n"));
}
