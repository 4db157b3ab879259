//! What `Replication` does with a wish for a sync once the master has said what it is: lets it on, or answers it here, and says
//! so in the log.

use std::time::Instant;

use super::handshake::Wish;
use super::inquiry::Answers;
use super::judge::{Case, Verdict, followed, is_partial, judge};
use super::{Phase, Replication, Why};
use crate::config::link::EmptyMaster;

impl Replication {
    pub(super) fn answered(&mut self, answers: Answers, now: Instant) {
        let Phase::Asking(_, wish) = std::mem::replace(&mut self.phase, Phase::Greeting) else { return };
        let Ok(master) = answers else {
            // Where its next answer begins is not known, so nothing more can be asked of it.
            self.refuse(Why::Unsure, &wish, now);
            self.phase = Phase::Other;
            return;
        };
        let name = self.handshake.name(&self.who);
        let remembered = self.desk().followed(&name);
        let rules = &self.link.replicas;
        let verdict = judge(&Case {
            wish: &wish,
            master: master.as_ref().map_err(String::as_str),
            policy: rules.empty_master,
            empty_below: rules.empty_below,
            remembered: remembered.as_deref(),
            found_empty: master.as_ref().is_ok_and(|master| self.desk().was_found_empty(&master.history)),
        });
        let foreseen = master.as_ref().is_ok_and(|master| is_partial(&wish, master));
        let followed = followed(&wish, remembered.as_deref()).unwrap_or_default().to_owned();
        let strict = rules.empty_master == EmptyMaster::RefuseUnsure;
        self.master = master.ok();
        let refusal = match verdict {
            Verdict::Pass => None,
            Verdict::Loading => Some(Why::Loading),
            Verdict::Empty if self.is_let_through(now) => None,
            Verdict::Empty => Some(Why::Empty),
            Verdict::Unsure(why) => {
                self.say_unsure(&why, strict, now);
                Some(Why::Unsure).filter(|_| strict && !self.desk().is_allowed(now))
            }
        };
        if let Some(why) = refusal {
            self.say_refused(why, &followed, now);
            return self.refuse(why, &wish, now);
        }
        if foreseen || self.take_place() {
            return self.forward(wish);
        }
        self.refuse(Why::Turn, &wish, now);
    }

    /// Whether the operator has said that this master may empty replicas.
    fn is_let_through(&self, now: Instant) -> bool {
        let allowed = self.desk().is_allowed(now);
        if let Some(master) = self.master.as_ref().filter(|_| allowed) {
            self.desk().forgive(&master.history);
            let (name, from, keys) = (&self.link.name, &self.from, master.keys);
            tracing::warn!(
                "link '{name}': the replica {from} is let through, as ordered, to a master that has {keys} keys"
            );
        }
        allowed
    }

    fn say_unsure(&self, why: &str, strict: bool, now: Instant) {
        if self.desk().says(Why::Unsure, now) {
            let (name, from) = (&self.link.name, &self.from);
            let then = if strict { "it is refused" } else { "it is let through" };
            tracing::warn!(
                "link '{name}': whether the master of replica {from} is empty cannot be seen ({why}), and {then}; give the \
                 replica's user the right to INFO (`+info`), or set `empty_master = \"allow\"`"
            );
        }
    }

    fn say_refused(&self, why: Why, followed: &str, now: Instant) {
        let (Why::Empty, Some(master)) = (why, &self.master) else { return };
        self.desk().found_empty(&master.history);
        if self.desk().says(Why::Empty, now) {
            let (name, from, keys) = (&self.link.name, &self.from, master.keys);
            tracing::error!(
                "link '{name}': the replica {from} keeps its data and is refused: it followed {followed}, and the master is \
                 another one, {}, that came with {keys} keys; bring the master's data back, or if the replica shall lose its \
                 own: `redan link allow {name}`",
                master.history
            );
        }
    }

    pub(super) fn take_place(&mut self) -> bool {
        let Some(most) = self.link.replicas.full_syncs else { return true };
        self.place = self.desk().place(most as u64);
        self.place.is_some()
    }

    pub(super) fn refuse(&mut self, why: Why, wish: &Wish, now: Instant) {
        let name = &self.link.name;
        let words = match why {
            Why::Empty => {
                format!("Redan keeps this replica's data: its master came back empty (redan link allow {name})")
            }
            Why::Unsure => "Redan cannot see whether the master is empty, and keeps this replica's data".to_owned(),
            Why::Loading => "the master is loading its data".to_owned(),
            Why::Turn => format!("other replicas have their full sync over link '{name}' first; wait for your turn"),
        };
        if self.desk().denied(why, now) && why == Why::Turn {
            let (from, most) = (&self.from, self.link.replicas.full_syncs.unwrap_or_default());
            tracing::info!("link '{name}': the replica {from} waits for its turn: `full_syncs` is {most}");
        }
        tracing::debug!("link '{name}': {} of {} is refused: {words}", String::from_utf8_lossy(&wish.said), self.from);
        self.to_replica.extend_from_slice(format!("-NOMASTERLINK {words}\r\n").as_bytes());
        self.phase = Phase::Greeting;
    }
}
