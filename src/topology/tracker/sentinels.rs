//! The tracker's part about Sentinels: takes in what they say, discovers through them, and has their votes counted.

use std::sync::Arc;
use std::time::Instant;

use super::{Action, Level, Tracker};
use crate::topology::Testimony;
use crate::topology::address::Places;
use crate::topology::member::{Failure, Member};
use crate::topology::sentinel::{Notice, Statement};
use crate::topology::votes::{Votes, Witness};

/// A Sentinel as `redan check` shows it.
#[derive(Debug)]
pub(crate) struct SentinelView<'a> {
    pub(crate) address: &'a Arc<str>,
    pub(crate) said: Option<&'a Statement>,
    pub(crate) failure: Option<&'a Failure>,
    /// Where the master that it names is dialled.
    pub(crate) names: Option<&'a str>,
}

impl Tracker {
    /// Dials what is announced where the operator's `map` says.
    pub(crate) fn with_places(mut self, places: Places) -> Self {
        self.places = places;
        self
    }

    /// Hears these Sentinels too; the caller asks them from the start.
    pub(crate) fn with_sentinels(mut self, addresses: impl IntoIterator<Item = Arc<str>>) -> Self {
        addresses.into_iter().for_each(|address| self.sentinels.configure(address));
        self
    }

    /// Every Sentinel that is asked now.
    pub(crate) fn sentinels(&self) -> impl Iterator<Item = SentinelView<'_>> {
        self.sentinels.witnesses.iter().map(|witness| SentinelView {
            address: &witness.address,
            said: witness.said.as_ref(),
            failure: witness.failure.as_ref(),
            names: witness.names.as_ref().map(|(named, _)| &**named),
        })
    }

    /// The same for the operator.
    pub(crate) fn testimonies(&self) -> Vec<Testimony> {
        let each = self.sentinels().map(|sentinel| Testimony {
            address: Arc::clone(sentinel.address),
            names: sentinel.names.map(Into::into),
            trouble: sentinel.failure.map(|failure| failure.text.as_str().into()),
        });
        each.collect()
    }

    /// Where what `speaker` calls `address` is dialled, if it means anything here.
    pub(crate) fn place(&self, speaker: &str, address: &str) -> Option<Arc<str>> {
        self.places.place(speaker, address)
    }

    /// Whether anybody asked for this answer.
    pub(super) fn stated(&mut self, now: Instant, address: &str, said: Statement, actions: &mut Vec<Action>) -> bool {
        let named = said.subject.as_ref().and_then(|subject| self.places.place(address, &subject.master));
        let Some(witness) = self.sentinels.find(address) else { return false };
        actions.extend(change(witness, &said, named.as_ref()));
        witness.state(now, said.clone(), named);
        let Some(subject) = said.subject else { return true };
        for node in std::iter::once(&subject.master).chain(&subject.replicas) {
            self.named(now, address, node, actions);
        }
        for peer in &subject.sentinels {
            let Some(at) = self.places.place(address, &peer.address) else { continue };
            if self.sentinels.named(now, &at, peer.id.as_ref()) {
                let text = format!("the Sentinel {at} was discovered through the Sentinel {address}");
                actions.push(Action::Say(Level::Info, text));
                actions.push(Action::AskSentinel(at));
            }
        }
        for gone in self.sentinels.forget(now) {
            let text = format!("the Sentinel {gone} is gone for good and is forgotten");
            actions.push(Action::Say(Level::Info, text));
            actions.push(Action::ForgetSentinel(gone));
        }
        true
    }

    pub(super) fn mute(&mut self, address: &str, failure: Failure, actions: &mut Vec<Action>) -> bool {
        let Some(witness) = self.sentinels.find(address) else { return false };
        if witness.failure.as_ref().map(|before| before.kind) != Some(failure.kind) {
            actions.push(Action::Say(Level::Warn, format!("the Sentinel {address}: {}", failure.text)));
        }
        witness.fail(failure);
        true
    }

    /// Whether it changes what is known.
    pub(super) fn noticed(&mut self, now: Instant, address: &str, notice: Notice, actions: &mut Vec<Action>) -> bool {
        let promoted = match notice {
            Notice::Stir => return false,
            Notice::Aborts => None,
            Notice::Promotes(node) => {
                self.named(now, address, &node, actions);
                self.places.place(address, &node)
            }
        };
        // What it tells of the present master is how that came about.
        let current = self.members.iter().find(|member| Some(member.id) == self.proven);
        let promoted = promoted.filter(|node| !current.is_some_and(|current| current.is_at(node)));
        let Some(witness) = self.sentinels.find(address) else { return false };
        let before = witness.promotes.as_ref().map(|(node, _)| node);
        match &promoted {
            // Said again in other words: the clock goes on from the first.
            Some(node) if before == Some(node) => {}
            Some(node) => {
                let text = format!("the Sentinel {address} promotes {node}");
                actions.push(Action::Say(Level::Info, text));
                witness.promotes = Some((node.clone(), now));
            }
            None => witness.promotes = None,
        }
        true
    }

    pub(super) fn count_votes(&mut self, now: Instant) -> Votes {
        if self.sentinels.witnesses.is_empty() {
            return Votes::default();
        }
        let members = &self.members;
        let node = |address: &Arc<str>| members.iter().find(|member| member.is_at(address));
        let canonical =
            |address: &Arc<str>| node(address).map_or_else(|| address.clone(), |found| found.address.clone());
        let current = members.iter().find(|member| Some(member.id) == self.proven);
        self.sentinels.count(now, canonical, current.map(|member: &Member| &*member.address))
    }
}

/// What to say about a Sentinel's answer: one sentence for a change, none for a repetition.
fn change(witness: &Witness, said: &Statement, named: Option<&Arc<str>>) -> Option<Action> {
    let address = &witness.address;
    let before = witness.said.as_ref();
    let Some(subject) = &said.subject else {
        let text = format!(
            "the Sentinel {address} knows no master of the name in `sentinel`: correct `master`, or have it watch the group (SENTINEL MONITOR)"
        );
        return before.is_none_or(|before| before.subject.is_some()).then_some(Action::Say(Level::Error, text));
    };
    if said.tilt != before.is_some_and(|before| before.tilt) {
        let text = match said.tilt {
            true => format!("the Sentinel {address} is in TILT: it does not act, and does not count for now"),
            false => format!("the Sentinel {address} has left TILT and counts again"),
        };
        return Some(Action::Say(Level::Warn, text));
    }
    let epoch = subject.epoch;
    let node = match named {
        Some(named) if **named != *subject.master => format!("{} ({named})", subject.master),
        _ => subject.master.clone(),
    };
    let text = match before.and_then(|before| before.subject.as_ref()) {
        Some(before) if before.master == subject.master && before.epoch == epoch => return None,
        Some(_) => format!("the Sentinel {address} names {node} the master now, epoch {epoch}"),
        None if witness.failure.is_some() => {
            format!("the Sentinel {address} answers again: it names {node} the master, epoch {epoch}")
        }
        None => format!("the Sentinel {address} names {node} the master, epoch {epoch}"),
    };
    Some(Action::Say(Level::Info, text))
}
