//! Which replicas may serve reads, and how far behind each is.
//!
//! Pure. Unknown is not healthy: every question that a server did not answer counts against it. How much lag
//! is too much is a listener's to say, not asked here.

use std::sync::Arc;
use std::time::Duration;

use super::member::{CHAIN, Member, parent_of};
use super::past::Past;
use super::{Role, Version};

/// A silent link that should carry a ping every 10 s (`repl-ping-replica-period`) and has carried none for 2 s
/// more may be dead; where no offset tells better, that is too long.
const SILENCE_S: u64 = 12;

/// While there is no master, replicas that lost it keep serving reads for so long: longer than any automatic
/// failover takes, short enough that nobody mistakes the answers for current data.
const ORPHANED_S: u64 = 60;

/// How far a replica is from the master.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Distance {
    /// Its offsets mean the same as the master's.
    pub(super) comparable: bool,
    pub(super) bytes: Option<u64>,
    pub(super) time: Option<Duration>,
}

pub(super) fn distance(members: &[Member], member: &Member, past: Option<&Past>) -> Distance {
    let (Some(past), Some(said), Some(at)) = (past, &member.said, member.observed_at) else {
        return Distance::default();
    };
    if member.id == past.node {
        return Distance { comparable: true, bytes: Some(0), time: Some(Duration::ZERO) };
    }
    let comparable = match (&said.replid, &past.replid) {
        (Some(own), Some(masters)) => own == masters,
        // Without names of histories (before 4.0, or by ROLE only) each hop counts in its own space.
        _ => parent_of(members, member).is_some_and(|parent| parent.id == past.node) && said.link_up == Some(true),
    };
    let (true, Role::Replica, Some(applied)) = (comparable, said.role, said.offset) else {
        return Distance { comparable: false, ..Distance::default() };
    };
    Distance {
        comparable,
        bytes: past.history.latest().map(|latest| latest.saturating_sub(applied)),
        time: past.history.lag(applied, at),
    }
}

/// Whether `member` may serve reads by its present word; `master` says whether the past master is the present.
pub(super) fn judge(members: &[Member], member: &Member, past: &Past, master: bool) -> Result<(), String> {
    if let Some(failure) = &member.failure {
        return Err(failure.text.clone());
    }
    let Some(said) = &member.said else { return Err("it has not answered yet".to_owned()) };
    if member.id == past.node {
        return if master { Ok(()) } else { Err("it is not proven to be the master".to_owned()) };
    }
    if said.role != Role::Replica {
        return Err("it says it is a master, but it is not the group's".to_owned());
    }
    itself(member)?;
    if master { path(members, member, past) } else { orphaned(member, past) }
}

/// What a replica says of itself alone.
fn itself(member: &Member) -> Result<(), String> {
    let Some(said) = &member.said else { return Err("it has not answered yet".to_owned()) };
    let sentence = if member.version.is_some_and(|version| version < Version(3, 2, 0)) {
        "replicas before version 3.2 return expired data"
    } else if said.loading != Some(false) {
        if said.loading.is_none() { "it does not say whether it is loading" } else { "it is loading its data" }
    } else if said.syncing != Some(false) {
        if said.syncing.is_none() { "it does not say whether it is in a full sync" } else { "it is in a full sync" }
    } else if said.read_only == Some(false) {
        "it is writable (replica-read-only no), so its data may differ"
    } else if said.announced == Some(false) {
        "it asks not to be used (replica-announced no)"
    } else {
        return Ok(());
    };
    Err(sentence.to_owned())
}

/// Health is the minimum along the path to the master.
fn path(members: &[Member], member: &Member, past: &Past) -> Result<(), String> {
    let own = distance(members, member, Some(past));
    let mut at = member;
    for _ in 0..CHAIN {
        let Some(said) = &at.said else { return Err(format!("{} above it cannot be asked", at.address)) };
        let whose =
            if at.id == member.id { "its link".to_owned() } else { format!("the link of {}, above it,", at.address) };
        if said.link_up != Some(true) {
            return Err(format!("{whose} to its master is down"));
        }
        if at.id != member.id && (said.syncing == Some(true) || said.loading == Some(true)) {
            return Err(format!("{}, above it, is in a full sync", at.address));
        }
        if own.time.is_none() && said.last_io.is_some_and(|silence| silence > SILENCE_S) {
            return Err(format!("{whose} to its master has been silent for more than {SILENCE_S} s"));
        }
        match parent_of(members, at) {
            Some(parent) if parent.id == past.node => return same_history(member, past),
            Some(parent) if parent.said.is_none() => {
                return Err(format!("{} above it cannot be asked", parent.address));
            }
            Some(parent) if parent.says(Role::Master) => {
                return Err(format!("it follows {}, which is not the group's master", parent.address));
            }
            Some(parent) => at = parent,
            None if own.comparable && own.bytes.is_some() => return same_history(member, past),
            None => {
                return Err(
                    "it follows an address that is not a known node, so its path to the master is unknown".to_owned()
                );
            }
        }
    }
    Err("it follows a loop of replicas".to_owned())
}

fn same_history(member: &Member, past: &Past) -> Result<(), String> {
    match (member.replid(), &past.replid) {
        (Some(own), Some(masters)) if own != masters => {
            Err("its data belong to another history than the master's".to_owned())
        }
        _ => Ok(()),
    }
}

/// A replica of the last master while there is none.
fn orphaned(member: &Member, past: &Past) -> Result<(), String> {
    same_history(member, past)?;
    let Some(said) = &member.said else { return Err("it has not answered yet".to_owned()) };
    match (said.link_up, said.link_down_for) {
        (Some(true), _) => Ok(()),
        (_, Some(seconds)) if seconds <= ORPHANED_S => Ok(()),
        (_, Some(_)) => Err(format!("it has been without a master for more than {ORPHANED_S} s")),
        (_, None) => Err("its link to its master is down".to_owned()),
    }
}

/// Hysteresis: bad counts at once; good again only after two good answers in a row, except at first sight.
/// `fresh` says that the judgement rests on a new answer of the node itself.
pub(super) fn settle(member: &mut Member, judged: Result<(), String>, fresh: bool) {
    let health = &mut member.health;
    match judged {
        Err(why) => {
            health.good = 0;
            if health.readable.as_ref().err().is_none_or(|before| **before != *why) {
                health.readable = Err(why.into());
            }
        }
        Ok(()) => {
            health.good = health.good.saturating_add(u32::from(fresh));
            if health.readable.is_err() {
                let confirmed = !health.judged || health.good >= 2;
                health.readable =
                    if confirmed { Ok(()) } else { Err(Arc::from("it is healthy again, to be confirmed")) };
            }
        }
    }
    health.judged = true;
}
