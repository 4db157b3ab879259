//! The events of this process, shared: the log writes them, admin tells them.
//!
//! A layer of the log takes what the parts say that speak of the whole (control, links, renewal, the acceptor, the drain): so
//! no line has to be written twice, and what the operator reads on the page stands in the log as well. Sessions and lanes are
//! left out; they would also pay for a lock.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer};

use crate::events::{Events, Weight};

/// Whose lines are events, and from which level on.
const SPEAKERS: [(&str, LevelFilter); 9] = [
    ("redan::acceptor", LevelFilter::INFO),
    ("redan::admin", LevelFilter::INFO),
    ("redan::app", LevelFilter::INFO),
    ("redan::control", LevelFilter::INFO),
    ("redan::drain", LevelFilter::INFO),
    ("redan::link", LevelFilter::INFO),
    ("redan::renewal", LevelFilter::INFO),
    // Warnings about the configuration, and certificates that are believed no longer.
    ("redan::cli", LevelFilter::WARN),
    ("redan::worker::trust", LevelFilter::WARN),
];

/// Made once, before the log is set up.
#[derive(Debug)]
pub(crate) struct Chronicle {
    events: Mutex<Events>,
    /// The number of the last event, for those who wait for the next.
    changed: watch::Sender<u64>,
}

impl Default for Chronicle {
    fn default() -> Self {
        Self { events: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Chronicle {
    pub(crate) fn events(&self) -> MutexGuard<'_, Events> {
        // Nothing in there panics halfway.
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes when something has happened.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn add(&self, weight: Weight, group: Option<String>, line: &str) {
        let last = {
            let mut events = self.events();
            events.add(now_ms(), weight, group, line);
            events.last()
        };
        self.changed.send_replace(last);
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// The part of the log that fills a chronicle, and the filter that it goes with.
pub(crate) fn layer<S: Subscriber>(chronicle: Arc<Chronicle>) -> (impl Layer<S>, Targets) {
    (Scribe(chronicle), Targets::new().with_targets(SPEAKERS))
}

struct Scribe(Arc<Chronicle>);

impl<S: Subscriber> Layer<S> for Scribe {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let weight = match *event.metadata().level() {
            Level::ERROR => Weight::Error,
            Level::WARN => Weight::Warn,
            _ => Weight::Info,
        };
        self.0.add(weight, line.group, &line.text);
    }
}

/// What a line of the log says: its text, and the group beside it.
#[derive(Default)]
struct Line {
    text: String,
    group: Option<String>,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "group" => self.group = Some(value.to_owned()),
            "message" => value.clone_into(&mut self.text),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "group" => self.group = Some(format!("{value:?}")),
            // A String takes whatever is written to it.
            "message" => drop(write!(self.text, "{value:?}")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn what_speaks_of_the_whole_is_kept_and_clients_are_left_out() {
        let chronicle = Arc::new(Chronicle::default());
        let (scribe, filter) = layer(Arc::clone(&chronicle));
        let log = tracing_subscriber::registry().with(scribe.with_filter(filter));
        let mut changed = chronicle.watch();
        tracing::subscriber::with_default(log, || {
            let (group, number) = ("main".to_owned(), 3);
            tracing::warn!(target: "redan::control::group", group, "{number} nodes are gone");
            tracing::info!(target: "redan::link::life", "link 'x': it goes on");
            tracing::debug!(target: "redan::link::life", "link 'x': a detail");
            tracing::warn!(target: "redan::session::held", "closed client 127.0.0.1:1");
            tracing::info!(target: "redan::cli", "not worth it");
        });
        assert!(changed.has_changed().unwrap() && *changed.borrow_and_update() == 2);
        let events = chronicle.events();
        let said: Vec<_> = events.after(0).map(|one| (one.weight, one.about.as_deref(), one.words.as_str())).collect();
        assert_eq!(
            said,
            [(Weight::Warn, Some("main"), "3 nodes are gone"), (Weight::Info, Some("link 'x'"), "it goes on"),]
        );
    }
}
