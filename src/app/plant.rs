//! What runs, in the hands of whoever gives it another configuration: who is reached how, and who has which number.
//!
//! Made by `start`, used by `reload` alone. Numbers of listeners and groups are not given again: what is connected never finds
//! itself under another's.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc};

use super::{SetFilter, Shared};
use crate::acceptor;
use crate::admin::KnownGroup;
use crate::backend::acknowledged::Acknowledged;
use crate::backend::dial::Dialer;
use crate::backend::hub::registry::Registry;
use crate::backend::pool::GroupView;
use crate::backend::scripts::Scripts;
use crate::config::{Config, Group};
use crate::control::{self, GroupControl, Promotion};
use crate::link;
use crate::net::Shortcuts;
use crate::renewal;
use crate::tls::keyring::Keyring;
use crate::topology::Snapshot;
use crate::worker::{Bell, Change, Mailbox};

/// A group, as each thread needs it.
pub(super) struct NewGroup {
    pub(super) view: GroupView,
    pub(super) control: (usize, GroupControl),
    pub(super) known: KnownGroup,
    /// Its name, and who takes its promotions.
    pub(super) ask: (String, mpsc::Sender<Promotion>),
}

impl NewGroup {
    pub(super) fn make(
        number: usize,
        group: &Arc<Group>,
        keyring: &Arc<Keyring>,
        shortcuts: &Arc<Shortcuts>,
        workers: &[Mailbox],
    ) -> Self {
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::unknown()));
        let (look, name) = (Arc::new(Notify::new()), group.name.clone());
        // A second switch is refused by whoever carries out the first.
        let (asker, promotions) = mpsc::channel(1);
        let bells: Vec<Bell> = workers.iter().map(|worker| worker.bell(number)).collect();
        let view = GroupView {
            index: number,
            name: name.as_str().into(),
            dialer: Arc::new(Dialer::new(Arc::clone(group), Arc::clone(keyring), Arc::clone(shortcuts))),
            published: Arc::clone(&snapshot),
            look: Arc::clone(&look),
            acknowledged: Acknowledged::default(),
            registry: Registry::default(),
            scripts: Scripts::default(),
        };
        let control = GroupControl {
            config: Arc::clone(group),
            keyring: Arc::clone(keyring),
            shortcuts: Arc::clone(shortcuts),
            snapshot: Arc::clone(&snapshot),
            look,
            published: Box::new(move |_| bells.iter().for_each(Bell::ring)),
            promotions,
        };
        let known = KnownGroup { number, name: name.clone(), snapshot };
        Self { view, control: (number, control), known, ask: (name, asker) }
    }
}

/// By which the threads hear of another configuration.
pub(super) struct Wires {
    pub(super) acceptor: mpsc::UnboundedSender<acceptor::Change>,
    pub(super) control: mpsc::UnboundedSender<control::Change>,
    pub(super) renewal: mpsc::UnboundedSender<renewal::Change>,
    pub(super) mailboxes: Vec<Mailbox>,
    pub(super) link_threads: link::Threads,
}

impl Wires {
    pub(super) fn workers(&self, change: &Change) {
        self.mailboxes.iter().for_each(|worker| worker.change(change.clone()));
    }
}

/// A group that runs.
pub(super) struct Numbered {
    pub(super) number: usize,
    /// By which control is told to look at its nodes.
    pub(super) look: Arc<Notify>,
}

pub(super) struct Plant {
    /// The one in use.
    pub(super) config: Config,
    pub(super) shared: Shared,
    pub(super) wires: Wires,
    pub(super) shortcuts: Arc<Shortcuts>,
    pub(super) set_filter: SetFilter,
    /// What runs now, by name.
    pub(super) groups: HashMap<String, Numbered>,
    pub(super) listeners: HashMap<String, usize>,
    pub(super) links: HashMap<String, Arc<link::Keyring>>,
    /// The next numbers.
    pub(super) next_group: usize,
    pub(super) next_listener: usize,
}

impl Plant {
    /// As it was started: everything is numbered as in the configuration.
    pub(super) fn new(
        config: Config,
        shared: Shared,
        wires: Wires,
        (views, links): (Vec<GroupView>, Vec<Arc<link::Keyring>>),
        shortcuts: Arc<Shortcuts>,
        set_filter: SetFilter,
    ) -> Self {
        let groups = views.into_iter().map(|view| {
            let numbered = Numbered { number: view.index, look: view.look };
            (view.name.to_string(), numbered)
        });
        let listeners = config.listeners.iter().enumerate();
        Self {
            groups: groups.collect(),
            listeners: listeners.map(|(number, listener)| (listener.name.clone(), number)).collect(),
            links: links.into_iter().map(|keyring| (keyring.link().name.clone(), keyring)).collect(),
            next_group: config.groups.len(),
            next_listener: config.listeners.len(),
            config,
            shared,
            wires,
            shortcuts,
            set_filter,
        }
    }
}
