//! The sentences an operator reads about nodes: one per change, none per probe.

use std::sync::Arc;

use super::super::member::{FailureKind, Member};
use super::super::proof::Verdict;
use super::super::{Role, Version};
use super::{Action, Level};

/// What a node was before an event, as far as it is worth a sentence when it changes.
#[derive(Debug, PartialEq)]
pub(super) struct Status {
    answered: bool,
    silent: bool,
    role: Role,
    parent: Option<String>,
    failure: Option<FailureKind>,
}

impl Status {
    pub(super) fn of(member: &Member) -> Self {
        Self {
            answered: member.answered,
            silent: member.said.is_none(),
            // The last role it had, so that a node that returns with another one is noticed.
            role: member.role,
            parent: member.said.as_ref().and_then(|said| said.parent.clone()),
            failure: member.failure.as_ref().map(|failure| failure.kind),
        }
    }

    /// What to say about `member` now.
    pub(super) fn changes(&self, member: &Member, parent: Option<&Member>) -> Option<Action> {
        let address = &member.address;
        if let Some(failure) = &member.failure {
            let level = if failure.kind == FailureKind::Busy { Level::Info } else { Level::Warn };
            return (self.failure != Some(failure.kind))
                .then(|| Action::Say(level, format!("{address}: {}", failure.text)));
        }
        let said = member.said.as_ref()?;
        let what = match (said.role, &said.parent) {
            (Role::Replica, Some(named)) => match parent {
                Some(parent) if &*parent.address != named => format!("a replica of {named} ({})", parent.address),
                _ => format!("a replica of {named}"),
            },
            (Role::Replica, None) => "a replica".to_owned(),
            (Role::Master, _) => "a master".to_owned(),
            (Role::Unknown, _) => "of unknown role".to_owned(),
        };
        if !self.answered {
            let version = version(member);
            return Some(Action::Say(Level::Info, format!("{address} is {what}{version}")));
        }
        if self.role != said.role {
            return Some(Action::Say(Level::Warn, format!("{address} has changed its role: it is {what} now")));
        }
        if self.silent || self.failure.is_some() {
            return Some(Action::Say(Level::Info, format!("{address} answers again: it is {what}")));
        }
        (self.parent != said.parent).then(|| Action::Say(Level::Info, format!("{address} is {what} now")))
    }
}

fn version(member: &Member) -> String {
    match member.version {
        Some(version @ Version(..)) => format!(" ({} {version})", member.flavor.name()),
        None => String::new(),
    }
}

/// The master came, went, or the reason for having none changed. `meant`: Redan itself holds writes back.
pub(super) fn decided(had: bool, meant: bool, verdict: &Verdict, before: &str, actions: &mut Vec<Action>) {
    let reason = &verdict.reason;
    match verdict.master {
        None if meant && reason == before => {}
        None if meant => actions.push(Action::Say(Level::Info, format!("writes are held: {reason}"))),
        Some(_) => actions.push(Action::Say(Level::Info, format!("writes are served: {reason}"))),
        None if had => actions.push(Action::Say(Level::Error, format!("writes are held: {reason}"))),
        None if reason != before && !reason.starts_with("waiting") => {
            actions.push(Action::Say(Level::Error, format!("writes stay held: {reason}")));
        }
        None => {}
    }
}

/// Somebody has to act, unless the Sentinels do.
pub(super) fn alarm(text: &str, in_charge: bool) -> Action {
    match in_charge {
        true => Action::Say(Level::Warn, format!("{text}; the Sentinels do so by themselves within some seconds")),
        false => Action::Say(Level::Error, text.to_owned()),
    }
}

/// A replica began or ceased to serve reads.
pub(super) fn readability(member: &Member, before: &Result<(), Arc<str>>, first: bool) -> Option<Action> {
    // What is silent was spoken of already, and a master is not called unreadable.
    if member.failure.is_some() || !member.says(Role::Replica) {
        return None;
    }
    let address = &member.address;
    match (before, &member.health.readable) {
        (Err(_), Ok(())) => Some(Action::Say(Level::Info, format!("{address} serves reads"))),
        (Ok(()), Err(why)) => Some(Action::Say(Level::Warn, format!("{address} no longer serves reads: {why}"))),
        (Err(_), Err(why)) if first => Some(Action::Say(Level::Warn, format!("{address} does not serve reads: {why}"))),
        _ => None,
    }
}
