//! Links that run, in the hands of whoever gives them another configuration and whoever ends them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};

use super::lock;
use super::moving::Fate;
use crate::config::link::Link;
use crate::handover::Outbox;
use crate::net::Listening;

/// The same link in another configuration, for what begins from now on.
#[derive(Debug)]
pub(crate) struct Reconfigured {
    pub(crate) link: Arc<Link>,
    /// Where it listens from now on, be it nowhere; `None`: where it did.
    pub(crate) socket: Option<Option<Listening>>,
}

/// A link that runs. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    /// Says what becomes of it.
    pub(super) decide: watch::Sender<Fate>,
    pub(super) news: mpsc::UnboundedSender<Reconfigured>,
}

/// All of them, by their names.
#[derive(Debug, Default)]
pub(crate) struct Links(Mutex<HashMap<String, Running>>);

impl Links {
    pub(crate) fn add(&self, name: &str, link: Running) {
        lock(&self.0).insert(name.to_owned(), link);
    }

    /// Its connections are reset, after a word to the other end.
    pub(crate) fn remove(&self, name: &str) {
        if let Some(link) = lock(&self.0).remove(name) {
            let _ = link.decide.send(Fate::Ends { replaced: false });
        }
    }

    pub(crate) fn reconfigure(&self, name: &str, news: Reconfigured) {
        if let Some(link) = lock(&self.0).get(name) {
            // A link that has ended takes nothing any more.
            let _ = link.news.send(news);
        }
    }

    /// Their streams go to another process, those that can.
    pub(crate) fn hand_over(&self, outbox: &Outbox) {
        for link in lock(&self.0).values() {
            // As above.
            let _ = link.decide.send(Fate::Moves(outbox.clone()));
        }
    }

    /// Ends all of them; completes when they have. `replaced`: another process has taken the place of this one.
    pub(crate) async fn end(&self, replaced: bool) {
        let all: Vec<Running> = lock(&self.0).drain().map(|(_, link)| link).collect();
        for link in &all {
            let _ = link.decide.send(Fate::Ends { replaced });
        }
        for link in all {
            link.decide.closed().await;
        }
    }
}
