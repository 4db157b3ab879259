//! Links that run, in the hands of whoever gives them another configuration and whoever ends them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};

use super::lock;
use crate::config::link::Link;
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
    /// Ends it when it turns true.
    pub(super) stop: watch::Sender<bool>,
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
            let _ = link.stop.send(true);
        }
    }

    pub(crate) fn reconfigure(&self, name: &str, news: Reconfigured) {
        if let Some(link) = lock(&self.0).get(name) {
            // A link that has ended takes nothing any more.
            let _ = link.news.send(news);
        }
    }

    /// Ends all of them; completes when they have.
    pub(crate) async fn end(&self) {
        let all: Vec<Running> = lock(&self.0).drain().map(|(_, link)| link).collect();
        for link in &all {
            let _ = link.stop.send(true);
        }
        for link in all {
            link.stop.closed().await;
        }
    }
}
