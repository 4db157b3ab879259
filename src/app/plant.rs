//! What runs, in the hands of whoever gives it another configuration: who is reached how, and who has which number.
//!
//! Made by `start`, used by `reload` alone. Numbers of listeners and groups are not given again: what is connected never finds
//! itself under another's.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use super::Shared;
use super::group::NewGroup;
use super::orders::Askers;
use super::start::NewLink;
use crate::acceptor;
use crate::admin::{Crowd, Known, KnownGroup, KnownLink, KnownListener, SetLevel};
use crate::config::{Config, Listener};
use crate::control;
use crate::handover::Spares;
use crate::link::{self, LinkCounters};
use crate::net::Shortcuts;
use crate::renewal;
use crate::session::holding::Holding;
use crate::worker::{Change, Door, Mailbox};

/// By which the threads hear of another configuration.
pub(super) struct Wires {
    pub(super) acceptor: mpsc::UnboundedSender<acceptor::Change>,
    pub(super) control: mpsc::UnboundedSender<control::Change>,
    pub(super) renewal: mpsc::UnboundedSender<renewal::Change>,
    pub(super) mailboxes: Vec<Mailbox>,
    pub(super) link_threads: link::Threads,
    pub(super) level: SetLevel,
}

impl Wires {
    pub(super) fn workers(&self, change: &Change) {
        self.mailboxes.iter().for_each(|worker| worker.change(change.clone()));
    }
}

/// A group that runs.
pub(super) struct RunningGroup {
    pub(super) known: KnownGroup,
    /// By which control is told to look at its nodes.
    pub(super) look: Arc<Notify>,
    pub(super) askers: Askers,
}

impl RunningGroup {
    pub(super) fn of(group: &NewGroup) -> Self {
        Self { known: group.known.clone(), look: Arc::clone(&group.setup.view.look), askers: group.askers.clone() }
    }
}

/// A listener that accepts.
pub(super) struct RunningListener {
    pub(super) number: usize,
    pub(super) holding: Arc<Holding>,
}

/// A link that carries.
pub(super) struct RunningLink {
    pub(super) keyring: Arc<link::Keyring>,
    pub(super) counters: Arc<LinkCounters>,
}

/// Everything that the configuration names, by its name.
pub(super) struct InUse {
    pub(super) groups: HashMap<String, RunningGroup>,
    pub(super) listeners: HashMap<String, RunningListener>,
    pub(super) links: HashMap<String, RunningLink>,
}

impl InUse {
    /// As a process begins: everything is numbered as in the configuration.
    pub(super) fn at_first(groups: &[NewGroup], doors: &[Door], links: &[NewLink]) -> Self {
        let groups = groups.iter().map(|group| (group.known.config.name.clone(), RunningGroup::of(group)));
        let listeners = doors.iter().enumerate().map(|(number, door)| {
            (door.listener.name.clone(), RunningListener { number, holding: Arc::clone(&door.holding) })
        });
        let links = links.iter().map(|(keyring, _, counters)| {
            let running = RunningLink { keyring: Arc::clone(keyring), counters: Arc::clone(counters) };
            (keyring.link().name.clone(), running)
        });
        Self { groups: groups.collect(), listeners: listeners.collect(), links: links.collect() }
    }

    /// To whoever shows it: in the order of the configuration.
    pub(super) fn known(&self, config: &Arc<Config>, shared: &Shared) -> Known {
        let groups = config.groups.iter().filter_map(|group| {
            let known = &self.groups.get(&group.name)?.known;
            Some(KnownGroup { config: Arc::clone(group), ..known.clone() })
        });
        let links = config.links.iter().filter_map(|link| {
            let counters = Arc::clone(&self.links.get(&link.name)?.counters);
            Some(KnownLink { config: Arc::clone(link), counters })
        });
        let listeners = config.listeners.iter().filter_map(|listener| self.listener(config, listener, shared));
        Known {
            config: Arc::clone(config),
            groups: groups.collect(),
            listeners: listeners.collect(),
            links: links.collect(),
        }
    }

    fn listener(&self, config: &Config, listener: &Arc<Listener>, shared: &Shared) -> Option<KnownListener> {
        let RunningListener { number, holding } = self.listeners.get(&listener.name)?;
        let (number, seats, holding) = (*number, Arc::clone(&shared.seats), Arc::clone(holding));
        Some(KnownListener {
            number,
            config: Arc::clone(listener),
            group: config.groups[listener.group].name.clone(),
            crowd: Arc::new(move || Crowd { clients: seats.of_listener(number) as u64, held: holding.sessions() }),
        })
    }
}

pub(super) struct Plant {
    /// The one in use.
    pub(super) config: Arc<Config>,
    pub(super) shared: Arc<Shared>,
    pub(super) wires: Wires,
    pub(super) shortcuts: Arc<Shortcuts>,
    /// Second handles of what listens, for the process after this one.
    pub(super) spares: Arc<Spares>,
    pub(super) in_use: InUse,
    /// The next numbers.
    pub(super) next_group: usize,
    pub(super) next_listener: usize,
}

impl Plant {
    /// Lets everybody know what is in use now.
    pub(super) fn publish(&self) {
        self.shared.now.store(Arc::new(self.in_use.known(&self.config, &self.shared)));
    }
}
