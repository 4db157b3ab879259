//! Reads the configuration again while everything runs: what differs is prepared as a whole, and then applied.
//!
//! Runs on a thread of its own, which may wait for files. Whatever can be wrong is found before anything is changed: the file,
//! what it names, addresses, settings that take a restart. It must never touch a session that a difference does not
//! concern.

mod apply;
mod prepare;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::acceptor::descriptors;
use crate::app::plant::Plant;
use crate::config;
use crate::config::diff::{Diff, Item, What};
use crate::config::effect::Effect;
use crate::config::sheet::Place;
use crate::notify;
use crate::reload::{Asks, Outcome};

/// Until nobody can ask any more.
pub(super) async fn run(mut plant: Plant, mut asks: Asks) {
    while let Some(askers) = asks.next().await {
        notify::reading_anew();
        let outcome = match plant.reload().await {
            Ok(lines) => Outcome { accepted: true, lines },
            Err(lines) => Outcome { accepted: false, lines },
        };
        plant.shared.reloads.note(&outcome);
        tell(&outcome, plant.shared.reloads.generation.get());
        // In any case: files of TLS are not part of the configuration.
        plant.shared.renew.notify_one();
        for asker in askers {
            // It may have gone.
            let _ = asker.send(outcome.clone());
        }
    }
}

fn tell(outcome: &Outcome, generation: u64) {
    for line in &outcome.lines {
        match outcome.accepted {
            true => tracing::info!("reload: {line}"),
            false => tracing::error!("reload: {line}"),
        }
    }
    match (outcome.accepted, outcome.lines.len()) {
        (true, 0) => tracing::info!("reload: nothing differs in the configuration"),
        (true, _) => tracing::info!("reload: the configuration is in use, number {generation} of this process"),
        (false, _) => tracing::error!("reload: nothing was changed; correct this, and reload again"),
    }
}

impl Plant {
    /// What was done, a line each; or why nothing was.
    async fn reload(&mut self) -> Result<Vec<String>, Vec<String>> {
        if let Some(why) = self.is_busy() {
            return Err(vec![why.to_owned()]);
        }
        let new = match &self.config.path {
            Some(path) => config::load(path),
            None => config::load_environment(),
        };
        let new = new.map_err(|errors| errors.to_string().lines().map(str::to_owned).collect::<Vec<_>>())?;
        let diff = Diff::between(&self.config, &new);
        let restarts = diff.restarts();
        if !restarts.is_empty() {
            return Err(restarts);
        }
        let prepared = self.prepare(&new, &diff)?;
        let lines = diff.items.iter().map(|item| self.line(item)).collect();
        self.apply(Arc::new(new), &diff, prepared).await?;
        for warning in &self.config.warnings {
            tracing::warn!("{warning}");
        }
        if let Some(warning) = descriptors::shortage(&self.config, descriptors::raise_limit()) {
            tracing::warn!("{warning}");
        }
        Ok(lines)
    }

    /// Why nothing can be changed now.
    fn is_busy(&self) -> Option<&'static str> {
        if self.shared.draining.load(Relaxed) {
            return Some("Redan is shutting down");
        }
        if self.shared.replacing.load(Relaxed) {
            return Some("another process is about to take the place of this one, and reads the configuration itself");
        }
        // What it hands over belongs to what was configured when this one began.
        let settled = *self.shared.settled.borrow();
        (!settled)
            .then_some("the process before this one is still handing over its clients; reload again when it has ended")
    }

    /// A difference, with whom it reaches.
    fn line(&self, item: &Item) -> String {
        let clients = |name: &str| {
            let clients =
                self.in_use.listeners.get(name).map_or(0, |running| self.shared.seats.of_listener(running.number));
            if clients == 1 { "1 client".to_owned() } else { format!("{clients} clients") }
        };
        let reach = match (item.effect(), &item.place) {
            _ if item.what == What::Added => String::new(),
            (Effect::Live, Place::Listener(name)) => format!(", for its {} from their next command on", clients(name)),
            (Effect::New, Place::Listener(_) | Place::Link(_)) => ", for new connections".to_owned(),
            (Effect::New, Place::Group(_)) => ", for new connections to its nodes".to_owned(),
            (Effect::Ends, Place::Listener(name)) => format!(", which ends its {} when idle", clients(name)),
            (Effect::Ends, Place::Link(_)) => ", its connections are reset".to_owned(),
            _ => String::new(),
        };
        format!("{item}{reach}")
    }
}
