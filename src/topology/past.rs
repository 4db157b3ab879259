//! The last proven master: what is remembered of it, and what continues it.
//!
//! The tracker keeps it up to date; `proof` and `health` ask it. It must never forget what a later master has to continue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::NodeId;
use super::history::History;
use super::member::Member;

/// Before 4.0 a history has no name. A replica that was connected this shortly before its master was last seen
/// continues it.
const STEP_SLACK: Duration = Duration::from_secs(10);

/// The last proven master.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) node: NodeId,
    pub(super) address: Arc<str>,
    pub(super) run_id: Option<Arc<str>>,
    pub(super) replid: Option<Arc<str>>,
    /// When it last said that it is the master.
    pub(super) seen_at: Instant,
    pub(super) history: History,
    /// The epoch that most Sentinels had reached when they named it, or when it was accepted before they did: only a newer
    /// one makes another node its successor. 0 without Sentinels.
    pub(super) floor: u64,
    /// How many masters were accepted, up to this one, since most Sentinels named one: its own epoch is at least so much
    /// higher than `floor`.
    pub(super) ahead: u64,
}

impl Past {
    pub(super) fn begin(master: &Member, floor: u64, ahead: u64) -> Self {
        Self {
            node: master.id,
            address: master.address.clone(),
            run_id: None,
            replid: None,
            seen_at: master.role_since,
            history: History::default(),
            floor,
            ahead,
        }
    }

    /// No epoch ends: same node, and nothing says that its history is another one.
    pub(super) fn is_same_history(&self, master: &Member) -> bool {
        let kept = |now: Option<&Arc<str>>, before: &Option<Arc<str>>| {
            now.is_none() || before.is_none() || now == before.as_ref()
        };
        let said = master.said.as_ref();
        // Without a name of the history, the process stands for it.
        let name_kept = match master.replid() {
            Some(_) => kept(master.replid(), &self.replid),
            None => kept(said.and_then(|said| said.run_id.as_ref()), &self.run_id),
        };
        let offset = said.and_then(|said| said.offset);
        master.id == self.node && name_kept && (offset.is_none() || offset >= self.history.latest())
    }

    pub(super) fn update(&mut self, master: &Member) {
        let (Some(said), Some(at)) = (&master.said, master.observed_at) else { return };
        if said.run_id.is_some() {
            self.run_id.clone_from(&said.run_id);
        }
        if said.replid.is_some() {
            self.replid.clone_from(&said.replid);
        }
        self.address = master.address.clone();
        self.seen_at = at;
        if let Some(offset) = said.offset {
            // The master reached this offset before it answered; the question's time is the safe one.
            let asked = at.checked_sub(master.round_trip.unwrap_or_default()).unwrap_or(at);
            self.history.add(asked, offset);
        }
    }

    /// `member` is this master, going on where it was: no restart, no change of history unannounced.
    pub(super) fn goes_on(&self, member: &Member) -> bool {
        if member.id != self.node {
            return false;
        }
        let said = member.said.as_ref();
        let run_id = said.and_then(|said| said.run_id.as_ref());
        // A process that was a replica in between may have loaded other data: then its history has to speak.
        if run_id.is_some() && run_id == self.run_id.as_ref() && member.role_since <= self.seen_at {
            return true;
        }
        match (member.replid(), &self.replid) {
            (Some(now), Some(before)) => now == before || member.replid2() == Some(before),
            // A server that names neither itself nor its history: an offset that shrank betrays a restart.
            _ => {
                (run_id.is_none() || self.run_id.is_none())
                    && said.and_then(|said| said.offset) >= self.history.latest()
            }
        }
    }

    /// `member` continues this master's history: it is its promoted replica, or itself at another address.
    pub(super) fn is_continued_by(&self, member: &Member) -> bool {
        let Some(said) = &member.said else { return false };
        match (&said.replid, &self.replid) {
            (Some(now), Some(before)) => {
                now == before
                    || (member.replid2() == Some(before)
                        && said.second_offset.is_some_and(|offset| self.history.branches_recently(offset)))
            }
            _ => {
                let same_process = said.run_id.is_some() && said.run_id == self.run_id;
                same_process || member.in_step_at.is_some_and(|at| at + STEP_SLACK >= self.seen_at)
            }
        }
    }
}
