//! Puts what was prepared into use, thread by thread. Nothing in here can be refused by an operator's mistake.
//!
//! The order matters: a group is known to all before a listener leads to it, a listener to all workers before the acceptor
//! gives them its clients, and what is gone is taken away at the end, from those who still serve by it last.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::prepare::{Fate, GroupStep, LinkStep, ListenerStep, Prepared};
use crate::acceptor::{self, Entrance};
use crate::app::group::NewGroup;
use crate::app::plant::{Plant, RunningGroup, RunningLink, RunningListener};
use crate::backend::dial::Dialer;
use crate::config::diff::Diff;
use crate::config::sheet::Place;
use crate::config::{Bind, Config};
use crate::link::{Doors, LinkCounters, Reconfigured};
use crate::session::holding::Holding;
use crate::worker::{Change, Door};
use crate::{control, renewal};

/// Sessions that are closed at the end of their time are gone after this.
const AFTERMATH: Duration = Duration::from_secs(2);

impl Plant {
    pub(super) async fn apply(&mut self, new: Arc<Config>, diff: &Diff, ready: Prepared) -> Result<(), Vec<String>> {
        let old = std::mem::replace(&mut self.config, new);
        self.apply_to_process(&old, diff);
        let Prepared { groups, listeners, links, link_threads, kept, .. } = ready;
        self.spares.follow(&sections(&old), &sections(&self.config), kept);
        if let Some(threads) = link_threads {
            self.wires.link_threads = threads;
        }
        // Under the same name another one begins.
        let replaced = |name: &String| self.config.links.iter().any(|link| link.name == *name);
        let (replaced, gone_links): (Vec<String>, Vec<String>) =
            self.gone_links(&old, diff).into_iter().partition(replaced);
        replaced.iter().for_each(|name| self.drop_link(name));
        links.into_iter().for_each(|step| self.apply_link(step));
        let gone_groups = self.gone_groups(diff);
        groups.into_iter().for_each(|step| self.apply_group(step));
        let done = self.apply_listeners(&old, listeners).await;
        self.take_away(gone_groups, gone_links);
        self.in_use.links.retain(|name, _| self.config.links.iter().any(|link| link.name == *name));
        self.publish();
        done
    }

    fn apply_to_process(&self, old: &Config, diff: &Diff) {
        self.shared.memory.rebound(self.config.max_memory);
        self.shared.patience.follow(&self.config);
        if old.insight != self.config.insight {
            self.wires.workers(&Change::Insight(self.config.insight));
        }
        if diff.has(&Place::Process, "log")
            && let Err(why) = (self.wires.level)(&self.config.log.filter)
        {
            tracing::error!("reload: the log goes on with its old level: {why}");
        }
    }

    fn gone_links(&self, old: &Config, diff: &Diff) -> Vec<String> {
        let is_gone = |name: &String| {
            diff.replaces(&Place::Link(name.clone())) || self.config.links.iter().all(|link| link.name != *name)
        };
        old.links.iter().map(|link| link.name.clone()).filter(is_gone).collect()
    }

    /// Their numbers. Forgets them, so that others may have their names.
    fn gone_groups(&mut self, diff: &Diff) -> Vec<usize> {
        let kept: HashSet<&String> = self.config.groups.iter().map(|group| &group.name).collect();
        let is_gone = |name: &String| !kept.contains(name) || diff.replaces(&Place::Group(name.clone()));
        let names: Vec<String> = self.in_use.groups.keys().filter(|name| is_gone(name)).cloned().collect();
        names.iter().filter_map(|name| self.in_use.groups.remove(name)).map(|group| group.known.number).collect()
    }

    fn apply_link(&mut self, step: LinkStep) {
        match step {
            LinkStep::Add { keyring, socket } => {
                let link = keyring.link();
                let callers = (!link.is_exit()).then(|| self.shortcuts.lead_to(&link.name));
                // No other process has streams of it.
                let doors = Doors { socket, callers, arrivals: mpsc::unbounded_channel().1 };
                let counters = Arc::<LinkCounters>::default();
                self.shared.open_link(Arc::clone(&keyring), doors, Arc::clone(&counters), &self.wires.link_threads);
                self.watch_files(renewal::Change::Link(link.name.clone(), Some(Arc::clone(&keyring))));
                self.in_use.links.insert(link.name.clone(), RunningLink { keyring, counters });
            }
            LinkStep::Update { link, ring, socket } => {
                let Some(RunningLink { keyring, .. }) = self.in_use.links.get(&link.name) else { return };
                keyring.reconfigure(Arc::clone(&link), ring);
                if let Some(Bind::Unix { path, mode }) = &link.bind {
                    set_mode(path, *mode);
                }
                self.watch_files(renewal::Change::Link(link.name.clone(), Some(Arc::clone(keyring))));
                let name = link.name.clone();
                self.shared.links.reconfigure(&name, Reconfigured { link, socket });
            }
        }
    }

    fn apply_group(&mut self, step: GroupStep) {
        let GroupStep { number, group, keyring, is_new, anew } = step;
        if is_new {
            let new = NewGroup::make(number, &group, &keyring, &self.shortcuts, &self.wires.mailboxes, &self.shared);
            let running = RunningGroup::of(&new);
            // Before control: its news is of a group that workers know.
            self.wires.workers(&Change::AddGroup(new.setup));
            // Control ends with the process alone, as do the others below.
            let _ = self.wires.control.send(control::Change::Add(number, Box::new(new.control.1)));
            self.in_use.groups.insert(group.name.clone(), running);
            self.next_group = self.next_group.max(number + 1);
        } else {
            let dialer = Dialer::new(Arc::clone(&group), Arc::clone(&keyring), Arc::clone(&self.shortcuts));
            self.wires.workers(&Change::Group { number, dialer: Arc::new(dialer), anew });
            let news = control::Reconfigured { config: Arc::clone(&group), keyring: Arc::clone(&keyring) };
            let _ = self.wires.control.send(control::Change::Update(number, news));
            if let Some(running) = self.in_use.groups.get_mut(&group.name) {
                running.known.orders = Arc::new(running.askers.orders(&group, &keyring, &self.shortcuts));
            }
        }
        if let Some(RunningGroup { look, .. }) = self.in_use.groups.get(&group.name) {
            let watched = Some((group.name.clone(), keyring, Arc::clone(look)));
            self.watch_files(renewal::Change::Group(number, watched));
        }
    }

    async fn apply_listeners(&mut self, old: &Config, steps: Vec<ListenerStep>) -> Result<(), Vec<String>> {
        let within = self.config.shutdown_timeout;
        let mut open = Vec::new();
        for ListenerStep { number, listener, fate, tls, socket } in steps {
            let change = match fate {
                Fate::Stay => Change::Listener { number, listener: Arc::clone(&listener), tls: tls.clone() },
                Fate::New | Fate::End => {
                    let holding = Arc::<Holding>::default();
                    let door =
                        Door { listener: Arc::clone(&listener), tls: tls.clone(), holding: Arc::clone(&holding) };
                    self.in_use.listeners.insert(listener.name.clone(), RunningListener { number, holding });
                    match fate {
                        Fate::End => Change::ReplaceListener { number, door, within },
                        _ => Change::AddListener(number, door),
                    }
                }
            };
            self.wires.workers(&change);
            self.watch_files(match tls {
                Some(serving) => renewal::Change::Listener(number, Some((Arc::clone(&listener), serving))),
                None if listener.tls.is_none() => renewal::Change::Listener(number, None),
                None => renewal::Change::Policy(number, Arc::clone(&listener)),
            });
            if let Bind::Unix { path, mode } = &listener.bind {
                set_mode(path, *mode);
            }
            self.next_listener = self.next_listener.max(number + 1);
            let serves = self.config.listeners.iter().find(|now| now.name == listener.name);
            let group = serves.map_or_else(String::new, |now| self.config.groups[now.group].name.clone());
            open.push(Entrance { number, socket, listener, group });
        }
        let is_gone = |name: &String| self.config.listeners.iter().all(|listener| listener.name != *name);
        let gone: Vec<String> = self.in_use.listeners.keys().filter(|name| is_gone(name)).cloned().collect();
        let gone = gone.iter().filter_map(|name| self.in_use.listeners.remove(name));
        let gone: Vec<usize> = gone.map(|running| running.number).collect();
        let (done, opened) = oneshot::channel();
        let _ = self.wires.acceptor.send(acceptor::Change { close: gone.clone(), open, done });
        let opened = opened.await;
        // Nobody comes to them any more.
        for number in gone {
            self.wires.workers(&Change::DropListener { number, within });
            self.watch_files(renewal::Change::Listener(number, None));
        }
        self.remove_files(old);
        match opened {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                Err(vec![format!("the system refuses a listener that was prepared: {error}; restart Redan")])
            }
            Err(_) => Err(vec!["Redan is shutting down".to_owned()]),
        }
    }

    /// Socket files of listeners and links that are no more.
    fn remove_files(&self, old: &Config) {
        let now = sections(&self.config);
        for (_, bind) in sections(old).iter().filter(|(_, bind)| !now.iter().any(|(_, now)| now.is_same_place(bind))) {
            if let Bind::Unix { path, .. } = bind {
                // Where it cannot be removed it is replaced by whoever binds there next.
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// What sessions that are ending may still need stays for as long as they may take.
    fn take_away(&self, groups: Vec<usize>, links: Vec<String>) {
        for number in &groups {
            self.watch_files(renewal::Change::Group(*number, None));
        }
        if groups.is_empty() {
            links.iter().for_each(|name| self.drop_link(name));
            return;
        }
        let (mailboxes, control) = (self.wires.mailboxes.clone(), self.wires.control.clone());
        let (running, shortcuts) = (Arc::clone(&self.shared.links), Arc::clone(&self.shortcuts));
        links.iter().for_each(|name| self.watch_files(renewal::Change::Link(name.clone(), None)));
        let patience = self.config.shutdown_timeout + AFTERMATH;
        tokio::spawn(async move {
            tokio::time::sleep(patience).await;
            for number in groups {
                let _ = control.send(control::Change::Drop(number));
                mailboxes.iter().for_each(|worker| worker.change(Change::DropGroup(number)));
            }
            for name in links {
                running.remove(&name);
                shortcuts.forget(&name);
            }
        });
    }

    fn drop_link(&self, name: &str) {
        self.watch_files(renewal::Change::Link(name.to_owned(), None));
        self.shared.links.remove(name);
        self.shortcuts.forget(name);
    }

    fn watch_files(&self, change: renewal::Change) {
        let _ = self.wires.renewal.send(change);
    }
}

/// Who listens where: listeners and links.
fn sections(config: &Config) -> Vec<(&str, &Bind)> {
    let listeners = config.listeners.iter().map(|listener| (listener.name.as_str(), &listener.bind));
    listeners.chain(config.links.iter().filter_map(|link| Some((link.name.as_str(), link.bind.as_ref()?)))).collect()
}

fn set_mode(path: &std::path::Path, mode: u32) {
    if let Err(error) = std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)) {
        tracing::error!("reload: {} keeps its permissions: {error}", path.display());
    }
}
