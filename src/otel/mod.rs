//! Sends sampled commands to an OpenTelemetry collector, as spans in batches, over HTTP.
//!
//! Runs on a thread of its own, which `app` starts where `trace_export` is set; built with the feature `otel` alone. Workers put
//! into the outlet what shall be told and never wait: this thread looks there now and then. Nothing in here may hold more than
//! one batch, touch a worker, or keep the process from ending.

mod http;
mod message;

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use self::http::{Client, Failure};
use crate::config::Collector;
use crate::insight::spans::{self, Attribute};
use crate::insight::trace::Traced;
use crate::metrics::TraceCounters;

/// How often it is looked whether there is something: four requests a second at most while little is sampled, and with the
/// outlet's room for 8192 commands 32,000 a second without a loss.
const LOOK: Duration = Duration::from_millis(250);

/// Commands in one request, with two or three spans of some 400 bytes each: what collectors take by default is 20 MB.
const BATCH: usize = 512;

/// Times that a batch is sent until it is given up, and how long after the first: doubled each time. Meanwhile the outlet fills,
/// and what does not fit is counted.
const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A collector may ask for more patience than that, within reason.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is left is sent for so long when the process ends. A collector that is there takes it in milliseconds.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);

pub(crate) struct Setup {
    pub(crate) collector: Collector,
    pub(crate) traces: Receiver<Traced>,
    pub(crate) counters: Arc<TraceCounters>,
    /// Completes, by a message or by being dropped, when the process is about to end.
    pub(crate) finish: oneshot::Receiver<()>,
}

/// Until it is told to finish.
pub(crate) async fn run(setup: Setup) {
    let Setup { collector, traces, counters, finish } = setup;
    let mut exporter = Exporter::new(collector, traces, counters);
    tokio::select! {
        never = exporter.go_on() => match never {},
        _ = finish => {}
    }
    // Whatever cannot be sent within this is counted by nobody who could still be asked.
    let _ = timeout(LAST_WORDS, exporter.say_the_rest()).await;
}

/// Commands on their way.
struct Batch {
    body: Bytes,
    commands: u64,
}

struct Exporter {
    client: Client,
    traces: Receiver<Traced>,
    counters: Arc<TraceCounters>,
    resource: Vec<Attribute>,
    pending: Option<Batch>,
    /// The log has said that they do not get through.
    troubled: bool,
}

impl Exporter {
    fn new(collector: Collector, traces: Receiver<Traced>, counters: Arc<TraceCounters>) -> Self {
        let process = std::process::id();
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let resource = spans::resource(&machine, process, RandomState::new().hash_one(process));
        Self { client: Client::new(collector), traces, counters, resource, pending: None, troubled: false }
    }

    async fn go_on(&mut self) -> Infallible {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            while self.gather() {
                self.deliver().await;
            }
        }
    }

    async fn say_the_rest(&mut self) {
        // What was on its way when this one was told to finish goes first, and may come twice: with the same numbers.
        while self.gather() {
            let Ok(rejected) = self.send().await else { return };
            self.sent(rejected);
        }
    }

    /// Takes up a batch, if there is anything. One that is there stays.
    fn gather(&mut self) -> bool {
        if self.pending.is_some() {
            return true;
        }
        let traced: Vec<Traced> = self.traces.try_iter().take(BATCH).collect();
        if !traced.is_empty() {
            let body = message::encode(&self.resource, traced.iter().flat_map(spans::spans));
            self.pending = Some(Batch { body, commands: traced.len() as u64 });
        }
        self.pending.is_some()
    }

    /// Sends the batch until it is taken or given up.
    async fn deliver(&mut self) {
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            match self.send().await {
                Ok(rejected) => return self.sent(rejected),
                Err(failure) => {
                    self.complain(&failure.why);
                    if attempt == ATTEMPTS || !failure.again {
                        break;
                    }
                    sleep(failure.after.unwrap_or(pause).min(LONGEST_PAUSE)).await;
                    pause *= 2;
                }
            }
        }
        if let Some(batch) = self.pending.take() {
            self.counters.failed.add(batch.commands);
        }
    }

    /// Returns how many of the spans the collector did not want, which is not for trying again.
    async fn send(&mut self) -> Result<u64, Failure> {
        let Some(batch) = &self.pending else { return Ok(0) };
        let answer = self.client.post(batch.body.clone()).await?;
        let Some((rejected, words)) = message::remarks(&answer) else {
            if std::mem::take(&mut self.troubled) {
                tracing::info!("traces: {} takes them again", self.client.name());
            }
            return Ok(0);
        };
        self.complain(&format!("it did not want {rejected} spans: {words}"));
        Ok(rejected)
    }

    /// Which commands the rejected spans were of is not known: each is counted as another one.
    fn sent(&mut self, rejected: u64) {
        if let Some(Batch { commands, .. }) = self.pending.take() {
            let rejected = rejected.min(commands);
            self.counters.exported.add(commands - rejected);
            self.counters.failed.add(rejected);
        }
    }

    /// Once, until it is better: what is lost is in the metrics.
    fn complain(&mut self, why: &str) {
        if !std::mem::replace(&mut self.troubled, true) {
            tracing::warn!("traces are lost or late on their way to {}: {why}", self.client.name());
        }
    }
}
