//! Everything that another configuration needs and that can be refused: files, certificates, sockets, threads.
//!
//! Nothing of it is in use yet. What is wrong is collected, so that an operator reads all of it at once.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

use crate::acceptor::Origin;
use crate::app::plant::Plant;
use crate::app::start;
use crate::config::diff::Diff;
use crate::config::link::Link;
use crate::config::sheet::Place;
use crate::config::{Bind, Config, Group, Listener};
use crate::handover::Kept;
use crate::limits::GROUP_NUMBERS;
use crate::link::{self, Ring};
use crate::net::{self, Listening};
use crate::tls::keyring::Keyring;
use crate::tls::server::{self, Serving};

/// What is ready to be used.
#[derive(Default)]
pub(super) struct Prepared {
    pub(super) groups: Vec<GroupStep>,
    pub(super) listeners: Vec<ListenerStep>,
    pub(super) links: Vec<LinkStep>,
    /// The first links need threads.
    pub(super) link_threads: Option<link::Threads>,
    /// Second handles of the sockets among these.
    pub(super) kept: Vec<Kept>,
    /// Of each group as it will run.
    group_numbers: HashMap<String, usize>,
}

pub(super) struct GroupStep {
    pub(super) number: usize,
    pub(super) group: Arc<Group>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) is_new: bool,
    /// It shows itself to nodes otherwise than before.
    pub(super) anew: bool,
}

/// What becomes of the sessions of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// There are none yet.
    New,
    /// They go on, with another policy.
    Stay,
    /// They end.
    End,
}

pub(super) struct ListenerStep {
    pub(super) number: usize,
    /// With its group's number.
    pub(super) listener: Arc<Listener>,
    pub(super) fate: Fate,
    /// `None`: as before.
    pub(super) tls: Option<Arc<Serving>>,
    pub(super) socket: Origin,
}

pub(super) enum LinkStep {
    Add { keyring: Arc<link::Keyring>, socket: Option<Listening> },
    Update { link: Arc<Link>, ring: Ring, socket: Option<Option<Listening>> },
}

/// What is wrong, in the words of a start.
struct Complaints(Vec<String>);

impl Complaints {
    fn take<T, E: Display>(&mut self, place: &Place, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.0.push(format!("{place}: {error}"))).ok()
    }
}

impl Plant {
    pub(super) fn prepare(&self, new: &Config, diff: &Diff) -> Result<Prepared, Vec<String>> {
        let mut wrong = Complaints(Vec::new());
        let mut ready = Prepared::default();
        if self.wires.mailboxes.is_empty() && !new.listeners.is_empty() {
            wrong
                .0
                .push("Redan was started with links alone; listeners and groups beside them take a restart".to_owned());
            return Err(wrong.0);
        }
        self.prepare_groups(new, diff, &mut ready, &mut wrong);
        self.prepare_listeners(new, diff, &mut ready, &mut wrong);
        self.prepare_links(new, diff, &mut ready, &mut wrong);
        if !ready.links.is_empty() && self.wires.link_threads.is_empty() && wrong.0.is_empty() {
            match start::link_threads(start::link_count()) {
                Ok(threads) => ready.link_threads = Some(threads),
                Err(error) => wrong.0.push(error.to_string()),
            }
        }
        if wrong.0.is_empty() { Ok(ready) } else { Err(wrong.0) }
    }

    fn prepare_groups(&self, new: &Config, diff: &Diff, ready: &mut Prepared, wrong: &mut Complaints) {
        let mut next = self.next_group;
        for group in &new.groups {
            let place = Place::Group(group.name.clone());
            let known = self.in_use.groups.get(&group.name).filter(|_| !diff.replaces(&place));
            let number = known.map_or(next, |running| running.known.number);
            ready.group_numbers.insert(group.name.clone(), number);
            next += usize::from(known.is_none());
            if known.is_some() && !diff.touches(&place) {
                continue;
            }
            if number >= GROUP_NUMBERS {
                wrong.0.push(format!("{place}: {GROUP_NUMBERS} groups have come and gone; restart Redan"));
            }
            let before = self.config.groups.iter().find(|before| before.name == group.name);
            let anew = before.is_some_and(|before| group.reaches_otherwise(before));
            if let Some(keyring) = wrong.take(&place, Keyring::load(group).map(Arc::new)) {
                let group = Arc::clone(group);
                ready.groups.push(GroupStep { number, group, keyring, is_new: known.is_none(), anew });
            }
        }
    }

    fn prepare_listeners(&self, new: &Config, diff: &Diff, ready: &mut Prepared, wrong: &mut Complaints) {
        let mut next = self.next_listener;
        for listener in &new.listeners {
            let place = Place::Listener(listener.name.clone());
            let known = self.in_use.listeners.get(&listener.name).map(|running| running.number);
            let number = known.unwrap_or(next);
            next += usize::from(known.is_none());
            if known.is_some() && !diff.touches(&place) {
                continue;
            }
            let fate = match known {
                None => Fate::New,
                Some(_) if diff.ends(&place) => Fate::End,
                Some(_) => Fate::Stay,
            };
            let before = self.config.listeners.iter().find(|before| before.name == listener.name);
            let same_tls = fate == Fate::Stay && before.is_some_and(|before| before.tls == listener.tls);
            let tls = listener.tls.as_ref().filter(|_| !same_tls).map(server::load).transpose();
            let tls = wrong.take(&place, tls);
            let socket = self.socket(new, listener, &mut ready.kept);
            let socket = wrong.take(&place, socket);
            let (Some(tls), Some(socket)) = (tls, socket) else { continue };
            // `Config` holds that its group exists.
            let group = ready.group_numbers.get(&new.groups[listener.group].name).copied().unwrap_or_default();
            let listener = Arc::new(Listener { group, ..(**listener).clone() });
            ready.listeners.push(ListenerStep { number, listener, fate, tls: tls.map(Arc::new), socket });
        }
    }

    /// Its own, that of a listener which gives the same address up, or a new one.
    fn socket(&self, new: &Config, listener: &Listener, kept: &mut Vec<Kept>) -> Result<Origin, String> {
        let same_place = |before: &&Arc<Listener>| before.bind.is_same_place(&listener.bind);
        let own = self.config.listeners.iter().find(|before| before.name == listener.name).filter(same_place);
        let stays = |before: &&Arc<Listener>| {
            new.listeners.iter().any(|now| now.name == before.name && now.bind.is_same_place(&before.bind))
        };
        let others = || {
            let of_others = self.config.listeners.iter().filter(same_place).filter(|_| !listener.bind.is_any_port());
            of_others.filter(|before| !stays(before)).min_by_key(|before| self.number(before))
        };
        if let Some(number) = own.or_else(others).and_then(|before| self.number(before)) {
            return Ok(Origin::Of(number));
        }
        self.bind(&listener.name, &listener.bind, kept).map(Origin::Bound)
    }

    fn number(&self, listener: &Listener) -> Option<usize> {
        self.in_use.listeners.get(&listener.name).map(|running| running.number)
    }

    fn bind(&self, owner: &str, bind: &Bind, kept: &mut Vec<Kept>) -> Result<Listening, String> {
        let of_listeners = self.config.listeners.iter().map(|listener| (&listener.bind, &listener.name));
        let of_links = self.config.links.iter().filter_map(|link| Some((link.bind.as_ref()?, &link.name)));
        let mut taken = of_listeners.chain(of_links).filter(|_| !bind.is_any_port());
        if let Some((_, name)) = taken.find(|(other, _)| other.is_same_place(bind)) {
            return Err(format!(
                "'{name}' has the address {bind} now; take that away with one reload, and use it with the next"
            ));
        }
        let socket = net::bind(bind).map_err(|error| error.to_string())?;
        let second = Kept::new(owner, bind, false, &socket);
        kept.push(second.map_err(|error| format!("the system refuses a second handle of its socket: {error}"))?);
        Ok(socket)
    }

    fn prepare_links(&self, new: &Config, diff: &Diff, ready: &mut Prepared, wrong: &mut Complaints) {
        for link in &new.links {
            let place = Place::Link(link.name.clone());
            let before = self.config.links.iter().find(|before| before.name == link.name);
            let before = before.filter(|_| !diff.replaces(&place));
            if before.is_some() && !diff.touches(&place) {
                continue;
            }
            let moves = before.is_none_or(|before| {
                before.bind.as_ref().zip(link.bind.as_ref()).is_none_or(|(was, is)| !was.is_same_place(is))
                    && (before.bind.is_some() || link.bind.is_some())
            });
            let socket = link.bind.as_ref().filter(|_| moves);
            let socket = socket.map(|bind| self.bind(&link.name, bind, &mut ready.kept)).transpose();
            let socket = wrong.take(&place, socket);
            let link = Arc::clone(link);
            let step = match before {
                None => wrong
                    .take(&place, link::Keyring::load(&link))
                    .zip(socket)
                    .map(|(keyring, socket)| LinkStep::Add { keyring: Arc::new(keyring), socket }),
                Some(_) => wrong.take(&place, Ring::load(&link)).zip(socket).map(|(ring, socket)| LinkStep::Update {
                    link,
                    ring,
                    socket: moves.then_some(socket),
                }),
            };
            ready.links.extend(step);
        }
    }
}
