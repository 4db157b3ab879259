//! Assurance: which writes so many replicas have, known in bulk.
//!
//! Writes are told apart by the generation in which their replies arrived (see [`crate::mark`]). The master's answer to a
//! question that closed a generation says where its history stood then, so every write of that generation and before is in
//! it up to there; a replica of that history that has applied as much has them all.
//!
//! A new master begins a history of its own that continues the one before up to a certain offset. What had been placed below
//! that is in the new one too; of what had not, nobody can say, and nothing here ever says that it was.
//!
//! Pure: no I/O, no clock. `backend` asks the questions.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::topology::NodeId;

/// A node's place in a history, by its own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) history: Arc<str>,
    /// The end of a master's history; what a replica has applied.
    pub(crate) offset: u64,
    /// The history it continues, and the first offset that does not belong to that any more.
    pub(crate) before: Option<(Arc<str>, u64)>,
}

/// What is known of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// So many replicas have it.
    Pending(usize),
    Assured,
    /// The master has changed, and nobody can say whether the new one has it.
    Unknown,
}

/// Answers of the master that are remembered: a second's worth. When there are more, every other of the older half goes, which
/// makes what lies between them part of the next: never more than is known.
const POINTS: usize = 1024;

/// Stretches of unknown fate that are remembered. A write of such a stretch is told so at once, when the session looks.
const GAPS: usize = 64;

#[derive(Debug)]
struct Line {
    node: NodeId,
    history: Arc<str>,
}

#[derive(Debug)]
pub(crate) struct Assurance {
    epoch: u64,
    /// The last master that was heard, and whether that was in the present epoch.
    line: Option<Line>,
    heard: bool,
    /// The first generation of the present epoch, and of the line.
    epoch_began: u64,
    since: u64,
    /// Generations with the offset that the line's history had at the end of each, ascending in both.
    points: VecDeque<(u64, u64)>,
    /// Generations, first and last, of which nobody can say whether they are in the line's history.
    gaps: VecDeque<(u64, u64)>,
    /// The generation up to which each replica has everything.
    replicas: Vec<(NodeId, u64)>,
}

impl Assurance {
    pub(crate) const fn new() -> Self {
        Self {
            epoch: 0,
            line: None,
            heard: false,
            epoch_began: 1,
            since: 1,
            points: VecDeque::new(),
            gaps: VecDeque::new(),
            replicas: Vec::new(),
        }
    }

    /// The topology has changed; `current` is the generation that begins with it. Nothing is assured until its master is heard.
    pub(crate) fn reset(&mut self, epoch: u64, current: u64) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.heard = false;
            self.epoch_began = current;
        }
    }

    /// The master answered the question that closed `generation`.
    pub(crate) fn master_at(&mut self, epoch: u64, node: NodeId, generation: u64, place: &Place) {
        if epoch != self.epoch {
            return;
        }
        if !self.goes_on(node, place) {
            self.begin_line(node, generation, place);
        }
        self.heard = true;
        if self.points.back().is_some_and(|(last, _)| *last >= generation) {
            return;
        }
        if self.points.len() == POINTS {
            self.thin_out();
        }
        self.points.push_back((generation, place.offset));
    }

    /// The same master in the same history, which never shrinks.
    fn goes_on(&self, node: NodeId, place: &Place) -> bool {
        let same = self.line.as_ref().is_some_and(|line| line.node == node && line.history == place.history);
        same && self.points.back().is_none_or(|(_, offset)| *offset <= place.offset)
    }

    fn begin_line(&mut self, node: NodeId, generation: u64, place: &Place) {
        // Up to where the new master's history is that of the last one.
        let shared = self.line.as_ref().and_then(|line| match &place.before {
            _ if line.history == place.history => Some(place.offset),
            Some((before, second)) if *before == line.history => second.checked_sub(1),
            _ => None,
        });
        self.points.retain(|(_, offset)| shared.is_some_and(|shared| *offset <= shared));
        let kept = self.points.back().map_or(0, |(generation, _)| *generation);
        // A change that the topology does not know of yet: what was answered up to now may be the former master's.
        self.since = if self.heard { generation + 1 } else { self.epoch_began };
        if kept + 1 < self.since {
            if self.gaps.len() == GAPS {
                self.gaps.pop_front();
            }
            self.gaps.push_back((kept + 1, self.since - 1));
        }
        for (_, caught) in &mut self.replicas {
            *caught = kept.min(*caught);
        }
        // As a replica it had what it has kept as a master.
        *self.caught_by(node) = kept;
        self.line = Some(Line { node, history: Arc::clone(&place.history) });
    }

    fn thin_out(&mut self) {
        let mut place = 0;
        self.points.retain(|_| {
            place += 1;
            place > POINTS / 2 || place % 2 == 0
        });
    }

    /// A replica has applied the stream up to there. Returns whether anything is known now that was not.
    pub(crate) fn replica_at(&mut self, epoch: u64, node: NodeId, place: &Place) -> bool {
        let same_history = self.line.as_ref().is_some_and(|line| line.history == place.history && line.node != node);
        if epoch != self.epoch || !self.heard || !same_history {
            return false;
        }
        let reached = self.points.iter().rev().find(|(_, offset)| *offset <= place.offset);
        let Some(generation) = reached.map(|(generation, _)| *generation) else {
            return false;
        };
        let caught = self.caught_by(node);
        let news = generation > *caught;
        *caught = generation.max(*caught);
        news
    }

    /// The node's data may have gone back in time.
    pub(crate) fn interrupt(&mut self, node: NodeId) {
        self.replicas.retain(|(replica, _)| *replica != node);
    }

    /// Forgets nodes that are no longer part of the group.
    pub(crate) fn retain(&mut self, mut known: impl FnMut(NodeId) -> bool) {
        self.replicas.retain(|(node, _)| known(*node));
    }

    /// What is known of a write that `node` answered in `generation`, if `wanted` replicas shall have it.
    pub(crate) fn verdict(&self, node: NodeId, generation: u64, wanted: usize) -> Verdict {
        let having = self.replicas.iter().filter(|(_, caught)| *caught >= generation).count();
        if !self.heard {
            return Verdict::Pending(having);
        }
        let of_line = self.line.as_ref().is_some_and(|line| line.node == node);
        // A former master answered after the present one had begun.
        let too_late = generation >= self.since && !of_line;
        if too_late || self.gaps.iter().any(|(first, last)| (*first..=*last).contains(&generation)) {
            return Verdict::Unknown;
        }
        if having >= wanted { Verdict::Assured } else { Verdict::Pending(having) }
    }

    /// The present master has said where its history stands.
    pub(crate) const fn has_heard(&self) -> bool {
        self.heard
    }

    fn caught_by(&mut self, node: NodeId) -> &mut u64 {
        let index = self.replicas.iter().position(|(replica, _)| *replica == node).unwrap_or_else(|| {
            self.replicas.push((node, 0));
            self.replicas.len() - 1
        });
        &mut self.replicas[index].1
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Assured, Pending, Unknown};
    use super::*;

    const M: NodeId = NodeId(0);
    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn at(history: &str, offset: u64) -> Place {
        Place { history: history.into(), offset, before: None }
    }

    fn promoted(history: &str, offset: u64, before: &str, second: u64) -> Place {
        Place { history: history.into(), offset, before: Some((before.into(), second)) }
    }

    /// M is the master in epoch 1, whose first generation is 2.
    fn started() -> Assurance {
        let mut assurance = Assurance::new();
        assurance.reset(1, 2);
        assurance
    }

    #[test]
    fn a_write_is_assured_when_so_many_replicas_have_it() {
        let mut assurance = started();
        assert_eq!(assurance.verdict(M, 2, 1), Pending(0), "nobody was asked");
        assurance.master_at(1, M, 2, &at("x", 100));
        assert!(!assurance.replica_at(1, A, &at("x", 99)), "one byte short");
        assert_eq!(assurance.verdict(M, 2, 1), Pending(0));
        assert!(assurance.replica_at(1, A, &at("x", 100)));
        assert!(!assurance.replica_at(1, A, &at("x", 101)), "no news");
        assert_eq!(assurance.verdict(M, 2, 1), Assured);
        assert_eq!(assurance.verdict(M, 2, 2), Pending(1));
        assert_eq!(assurance.verdict(M, 3, 1), Pending(0), "answered after the question");
        assurance.replica_at(1, B, &at("x", 500));
        assert_eq!(assurance.verdict(M, 2, 2), Assured);
    }

    #[test]
    fn another_history_proves_nothing_whatever_its_offset() {
        let mut assurance = started();
        assurance.master_at(1, M, 2, &at("x", 100));
        assert!(!assurance.replica_at(1, A, &at("y", 1000)));
        assert!(!assurance.replica_at(1, M, &at("x", 1000)), "the master is no replica");
        assert_eq!(assurance.verdict(M, 2, 1), Pending(0));
    }

    #[test]
    fn an_answer_that_was_lost_is_made_up_for_by_the_next() {
        let mut assurance = started();
        assurance.master_at(1, M, 4, &at("x", 100));
        assurance.replica_at(1, A, &at("x", 100));
        for generation in [2, 3, 4] {
            assert_eq!(assurance.verdict(M, generation, 1), Assured);
        }
    }

    #[test]
    fn a_node_that_may_have_gone_back_in_time_counts_no_more() {
        let mut assurance = started();
        assurance.master_at(1, M, 2, &at("x", 100));
        assurance.replica_at(1, A, &at("x", 100));
        assurance.interrupt(A);
        assert_eq!(assurance.verdict(M, 2, 1), Pending(0));
    }

    #[test]
    fn a_promoted_replica_keeps_what_it_had() {
        let mut assurance = started();
        assurance.master_at(1, M, 2, &at("x", 100));
        assurance.master_at(1, M, 3, &at("x", 200));
        // M is gone; then A is the master, which had everything up to 149.
        assurance.reset(2, 5);
        assert_eq!(assurance.verdict(M, 2, 1), Pending(0), "nothing is assured without a master");
        assert!(!assurance.replica_at(2, B, &at("x", 300)), "nor known");
        assurance.reset(3, 6);
        assurance.master_at(3, A, 6, &promoted("y", 160, "x", 150));
        assert_eq!(assurance.verdict(M, 2, 1), Assured, "A had it as a replica");
        assert_eq!(assurance.verdict(M, 2, 2), Pending(1));
        assert_eq!(assurance.verdict(M, 3, 1), Unknown, "its place is behind the fork");
        assert_eq!(assurance.verdict(M, 4, 1), Unknown, "it has no place");
        assert_eq!(assurance.verdict(M, 7, 1), Unknown, "M answered too late");
        assert_eq!(assurance.verdict(A, 6, 1), Pending(0), "a write of A's own, which A does not count for");
        assurance.replica_at(3, B, &at("y", 160));
        assert_eq!(assurance.verdict(M, 2, 2), Assured);
        assert_eq!(assurance.verdict(A, 6, 1), Assured);
        assert_eq!(assurance.verdict(M, 3, 1), Unknown, "for good");
    }

    #[test]
    fn exactly_at_the_fork() {
        for (second, expected) in [(101, Assured), (100, Unknown)] {
            let mut assurance = started();
            assurance.master_at(1, M, 2, &at("x", 100));
            assurance.reset(2, 3);
            assurance.master_at(2, A, 3, &promoted("y", 150, "x", second));
            assert_eq!(assurance.verdict(M, 2, 1), expected, "{second}");
        }
    }

    #[test]
    fn a_replica_that_confirmed_what_the_next_master_lacks_does_not_count() {
        let mut assurance = started();
        assurance.master_at(1, M, 2, &at("x", 100));
        assurance.replica_at(1, B, &at("x", 100));
        assurance.reset(2, 3);
        assurance.master_at(2, A, 3, &promoted("y", 50, "x", 51));
        assert_eq!(assurance.verdict(M, 2, 1), Unknown);
    }

    #[test]
    fn another_history_altogether_keeps_nothing() {
        for next in [at("y", 1000), promoted("y", 1000, "z", 900)] {
            let mut assurance = started();
            assurance.master_at(1, M, 2, &at("x", 100));
            assurance.reset(2, 3);
            assurance.master_at(2, A, 3, &next);
            assert_eq!(assurance.verdict(M, 2, 1), Unknown);
        }
    }

    #[test]
    fn a_master_that_comes_back_has_lost_nothing() {
        let mut assurance = started();
        assurance.master_at(1, M, 2, &at("x", 100));
        assurance.reset(2, 3);
        assurance.reset(3, 4);
        // It was silent, and answers what it owed.
        assert_eq!(assurance.verdict(M, 3, 1), Pending(0));
        assurance.master_at(3, M, 4, &at("x", 120));
        assurance.replica_at(3, A, &at("x", 120));
        for generation in [2, 3, 4] {
            assert_eq!(assurance.verdict(M, generation, 1), Assured);
        }
    }

    #[test]
    fn a_restart_that_the_topology_has_not_seen_is_seen_here() {
        let mut assurance = started();
        assurance.master_at(1, M, 2, &at("x", 100));
        assurance.master_at(1, M, 4, &at("z", 10));
        assurance.replica_at(1, A, &at("z", 10));
        assert_eq!(assurance.verdict(M, 2, 1), Unknown);
        assert_eq!(assurance.verdict(M, 4, 1), Unknown, "before the restart, or behind it");
        assurance.master_at(1, M, 5, &at("z", 20));
        assurance.replica_at(1, A, &at("z", 20));
        assert_eq!(assurance.verdict(M, 5, 1), Assured);
    }

    #[test]
    fn over_two_failovers() {
        let mut assurance = started();
        assurance.master_at(1, M, 2, &at("x", 100));
        assurance.reset(2, 5);
        assurance.master_at(2, A, 5, &promoted("y", 110, "x", 101));
        assurance.master_at(2, A, 6, &at("y", 200));
        assurance.reset(3, 8);
        assurance.master_at(3, B, 8, &promoted("w", 205, "y", 201));
        assert_eq!(assurance.verdict(M, 2, 1), Assured, "B has it from A, A from M");
        assert_eq!(assurance.verdict(M, 3, 1), Unknown);
        assert_eq!(assurance.verdict(A, 6, 1), Assured);
        assert_eq!(assurance.verdict(A, 7, 1), Unknown);
        assert_eq!(assurance.verdict(B, 8, 1), Pending(0));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_errs_to_the_safe_side() {
        let mut assurance = started();
        for generation in 2..20_000 {
            assurance.master_at(1, M, generation, &at("x", generation * 10));
            assert!(assurance.points.len() <= POINTS);
        }
        assurance.replica_at(1, A, &at("x", 50_000));
        for generation in [2, 100, 5_000, 5_001, 19_000] {
            let assured = assurance.verdict(M, generation, 1) == Assured;
            assert!(!assured || generation <= 5_000, "{generation}");
        }
    }

    #[test]
    fn answers_of_another_epoch_are_not_heard() {
        let mut assurance = started();
        assurance.reset(2, 3);
        assurance.master_at(1, M, 2, &at("x", 100));
        assert_eq!(assurance.verdict(M, 2, 1), Pending(0));
        assurance.master_at(2, M, 3, &at("x", 100));
        assert!(!assurance.replica_at(1, A, &at("x", 100)));
        assert_eq!(assurance.verdict(M, 3, 1), Pending(0));
        assert_eq!(assurance.verdict(M, 2, 1), Unknown, "no master was heard then");
    }
}
