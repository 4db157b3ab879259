//! The part of `redan check` about Sentinels: what each says, and what is wrong with it or with all of them together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::{Report, Seen};
use crate::config::Group;
use crate::control::sentinel::Inquiry;
use crate::net::Shortcuts;
use crate::topology::tracker::{Action, Event, SentinelView, Tracker};

/// Asks every Sentinel once, those that are discovered meanwhile too. Returns the nodes that they named first.
pub(super) async fn ask(
    group: &Group,
    tracker: &mut Tracker,
    inquiries: &mut BTreeMap<Arc<str>, Inquiry>,
    shortcuts: &Arc<Shortcuts>,
) -> Vec<Arc<str>> {
    let mut due: Vec<Arc<str>> = tracker.sentinels().map(|sentinel| sentinel.address.clone()).collect();
    let mut asked = JoinSet::new();
    let mut nodes = Vec::new();
    loop {
        for address in due.drain(..) {
            let known = inquiries.remove(&address).or_else(|| Inquiry::new(address.clone(), group, shortcuts));
            let Some(mut inquiry) = known else { continue };
            asked.spawn(async move {
                let answer = inquiry.ask().await;
                (address, inquiry, answer)
            });
        }
        let Some(finished) = asked.join_next().await else { break };
        let Ok((sentinel, inquiry, answer)) = finished else { continue };
        inquiries.insert(sentinel.clone(), inquiry);
        let event = match answer {
            Ok(statement) => Event::Stated { sentinel, statement: Box::new(statement) },
            Err(failure) => Event::Mute { sentinel, failure },
        };
        for action in tracker.handle(Instant::now(), event) {
            match action {
                Action::Probe(found) => nodes.push(found),
                Action::AskSentinel(found) => due.push(found),
                _ => {}
            }
        }
    }
    nodes
}

/// Whether a Sentinel names the node at `address`.
pub(super) fn name(tracker: &Tracker, address: &str) -> bool {
    let subjects =
        tracker.sentinels().filter_map(|sentinel| Some((sentinel.address, sentinel.said?.subject.as_ref()?)));
    let mut named = subjects.flat_map(|(speaker, subject)| {
        let nodes = std::iter::once(&subject.master).chain(&subject.replicas);
        nodes.filter_map(|node| tracker.place(speaker, node))
    });
    named.any(|node| &*node == address)
}

impl Report {
    pub(super) fn add_sentinels(&mut self, group: &Group, seen: &Seen) {
        let Some(configured) = &group.sentinel else { return };
        let views: Vec<SentinelView<'_>> = seen.tracker.sentinels().collect();
        for view in &views {
            self.sentinels.push(format!("Sentinel {} of group '{}': {}", view.address, group.name, words(view)));
            self.judge_sentinel(&configured.master, view);
        }
        let mut named: Vec<(&str, u64)> = Vec::new();
        for view in &views {
            let subject = view.said.and_then(|said| said.subject.as_ref());
            if let (Some(subject), Some(node)) = (subject, view.names)
                && !named.iter().any(|(other, _)| *other == node)
            {
                named.push((node, subject.epoch));
            }
        }
        if named.len() > 1 {
            let all: Vec<String> = named.iter().map(|(node, epoch)| format!("{node} (epoch {epoch})")).collect();
            let text = "the Sentinels do not agree on the master";
            self.wrong.push(format!("group '{}': {text}: {}; ask again in a moment", group.name, all.join(", ")));
        }
        let quorum = views.iter().filter_map(|view| view.said?.subject.as_ref()?.quorum).max();
        if let (Some(state), Some(quorum)) = (seen.tracker.snapshot().sentinels, quorum) {
            let needed = quorum.max(state.known / 2 + 1);
            if state.answering < needed {
                let (answering, known) = (state.answering, state.known);
                self.wrong.push(format!(
                    "group '{}': {answering} of {known} Sentinels can be asked, and {needed} are needed for a failover (quorum {quorum}, and most of all): start the others",
                    group.name
                ));
            }
        }
        let master = seen.tracker.snapshot().master();
        let agreed = master.is_some_and(|master| named.iter().any(|(node, _)| *node == &*master.address));
        if let (Some(master), false, false) = (master, agreed, named.is_empty()) {
            self.notes
                .push(format!("no Sentinel names {}, which is the master by the nodes' own proof", master.address));
        }
    }

    fn judge_sentinel(&mut self, master: &str, view: &SentinelView<'_>) {
        let address = view.address;
        if let Some(failure) = view.failure {
            self.wrong.push(format!("the Sentinel {address}: {}", failure.text));
        }
        let Some(said) = view.said else { return };
        if said.subject.is_none() {
            self.wrong.push(format!(
                "the Sentinel {address} knows no master '{master}': correct `master` in `sentinel`, or have it watch the group (SENTINEL MONITOR)"
            ));
        }
        if said.tilt {
            self.wrong
                .push(format!("the Sentinel {address} is in TILT: it does not act; see to its clock and its load"));
        }
    }
}

fn words(view: &SentinelView<'_>) -> String {
    let Some(said) = view.said else { return "no answer".to_owned() };
    let Some(subject) = &said.subject else { return "knows no such master".to_owned() };
    let elsewhere = match view.names {
        Some(node) if node != subject.master => format!(" ({node})"),
        _ => String::new(),
    };
    let state = if subject.down { ", which it holds for down" } else { "" };
    let (replicas, others) = (subject.replicas.len(), subject.sentinels.len());
    format!(
        "master {}{elsewhere}{state}, epoch {}, {replicas} replicas, {others} other Sentinels, quorum {}",
        subject.master,
        subject.epoch,
        subject.quorum.map_or_else(|| "unknown".to_owned(), |quorum| quorum.to_string())
    )
}
