//! Marks: how a session's reads know that a replica has what the session has already seen.
//!
//! Time of one worker and one group is cut into generations. A reply belongs to the generation in which it arrived.
//! Asking the master for its offset closes a generation: the answer covers every reply that arrived before the
//! question. A replica that reached that offset has *caught* the generation and may serve every session whose last
//! sight belongs to it. So the cost is one question per node per few milliseconds, only while someone waits, however
//! many sessions wait.
//!
//! Pure: no I/O, no clock. `backend` asks the questions. Offsets of two epochs are never compared: [`Marks::reset`].

use std::collections::VecDeque;

use crate::topology::NodeId;

/// What a session has seen: everything that `node` had, up to a reply of generation `generation`.
/// Generation 0 is a session that has seen nothing and may read anywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) node: Option<NodeId>,
    pub(crate) generation: u64,
    /// Generation of the last acknowledged write; 0 for none.
    pub(crate) write: u64,
}

#[derive(Debug)]
struct Asked {
    generation: u64,
    /// The master's answer, once it came.
    offset: Option<u64>,
}

#[derive(Debug)]
struct Progress {
    node: NodeId,
    caught: u64,
    /// The node's data may have gone back in time in this generation: what a session saw on it up to then
    /// proves nothing about what it has now.
    interrupted: u64,
}

/// Questions that may be open at once. A master that answers none of 64 questions, 3 ms apart, is not answering.
const OPEN_QUESTIONS: usize = 64;

#[derive(Debug)]
pub(crate) struct Marks {
    epoch: u64,
    /// The generation that replies arriving now belong to. Starts at 1: 0 means "nothing seen".
    current: u64,
    asked: VecDeque<Asked>,
    progress: Vec<Progress>,
}

impl Marks {
    pub(crate) const fn new() -> Self {
        Self { epoch: 0, current: 1, asked: VecDeque::new(), progress: Vec::new() }
    }

    pub(crate) const fn current(&self) -> u64 {
        self.current
    }

    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Another master, or another history: offsets asked for so far must not be compared with new ones. What a replica
    /// has caught it keeps: those are its data, whoever the master is, until it is [interrupted](Self::interrupt).
    pub(crate) fn reset(&mut self, epoch: u64) {
        if self.epoch == epoch {
            return;
        }
        self.epoch = epoch;
        self.asked.clear();
        // What was seen before the change must never be taken as caught by what is learnt after it.
        self.current += 1;
    }

    /// Closes the current generation and returns it: the caller now asks the master for its offset.
    pub(crate) fn ask(&mut self) -> u64 {
        if self.asked.len() == OPEN_QUESTIONS {
            self.asked.pop_front();
        }
        let generation = self.current;
        self.current += 1;
        self.asked.push_back(Asked { generation, offset: None });
        generation
    }

    /// The master answered the question that closed `generation`.
    pub(crate) fn master_at(&mut self, epoch: u64, generation: u64, offset: u64) {
        if epoch != self.epoch {
            return;
        }
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.generation == generation) {
            asked.offset = Some(offset);
        }
    }

    /// A replica of the master has applied the stream up to `offset`. Returns whether it caught anything new.
    pub(crate) fn replica_at(&mut self, epoch: u64, node: NodeId, offset: u64) -> bool {
        if epoch != self.epoch {
            return false;
        }
        let reached = self.asked.iter().rev().find(|asked| asked.offset.is_some_and(|x| x <= offset));
        let Some(generation) = reached.map(|asked| asked.generation) else {
            return false;
        };
        let progress = self.progress_of(node);
        let news = generation > progress.caught;
        if news {
            progress.caught = generation;
        }
        news
    }

    /// The node's data may have gone back in time.
    pub(crate) fn interrupt(&mut self, node: NodeId) {
        let current = self.current;
        let progress = self.progress_of(node);
        progress.interrupted = current;
        progress.caught = 0;
    }

    /// Forgets nodes that are no longer part of the group.
    pub(crate) fn retain(&mut self, mut known: impl FnMut(NodeId) -> bool) {
        self.progress.retain(|progress| known(progress.node));
    }

    pub(crate) fn caught(&self, node: NodeId) -> u64 {
        self.progress.iter().find(|p| p.node == node).map_or(0, |p| p.caught)
    }

    /// May a session with this sight read from `node` without going back in time?
    pub(crate) fn covers(&self, node: NodeId, sight: &Sight) -> bool {
        if sight.generation == 0 {
            return true;
        }
        let Some(progress) = self.progress.iter().find(|p| p.node == node) else {
            return sight.node == Some(node);
        };
        progress.caught >= sight.generation || (sight.node == Some(node) && sight.generation > progress.interrupted)
    }

    /// A replica that tells its offsets has this session's writes; only what it read from the master since keeps it there.
    pub(crate) fn writes_caught(&self, node: NodeId, sight: &Sight) -> bool {
        self.caught(node) >= sight.write.max(1)
    }

    fn progress_of(&mut self, node: NodeId) -> &mut Progress {
        let index = self.progress.iter().position(|p| p.node == node).unwrap_or_else(|| {
            self.progress.push(Progress { node, caught: 0, interrupted: 0 });
            self.progress.len() - 1
        });
        &mut self.progress[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn seen(marks: &Marks, node: NodeId) -> Sight {
        Sight { node: Some(node), generation: marks.current(), write: 0 }
    }

    #[test]
    fn a_session_that_saw_nothing_may_read_anywhere() {
        assert!(Marks::new().covers(A, &Sight::default()));
    }

    #[test]
    fn a_replica_covers_only_what_was_seen_before_the_question() {
        let mut marks = Marks::new();
        let before = seen(&marks, B);
        let generation = marks.ask();
        let after = seen(&marks, B);
        marks.master_at(0, generation, 100);
        assert!(!marks.replica_at(0, A, 99), "one byte short is not caught");
        assert!(!marks.covers(A, &before));
        assert!(marks.replica_at(0, A, 100));
        assert!(marks.covers(A, &before));
        assert!(!marks.covers(A, &after));
    }

    #[test]
    fn a_late_answer_of_an_older_question_still_counts_for_its_own_generation() {
        let mut marks = Marks::new();
        let first = marks.ask();
        let second = marks.ask();
        marks.master_at(0, second, 200);
        marks.master_at(0, first, 100);
        marks.replica_at(0, A, 150);
        assert_eq!(marks.caught(A), first);
    }

    #[test]
    fn nothing_is_carried_over_an_epoch() {
        let mut marks = Marks::new();
        let sight = seen(&marks, B);
        let generation = marks.ask();
        marks.reset(1);
        marks.master_at(0, generation, 100);
        marks.replica_at(0, A, 1000);
        assert!(!marks.covers(A, &sight));
        let generation = marks.ask();
        marks.master_at(1, generation, 10);
        assert!(marks.replica_at(1, A, 10));
        assert!(marks.covers(A, &sight));
    }

    #[test]
    fn what_a_replica_has_caught_it_keeps_without_a_master() {
        let mut marks = Marks::new();
        let sight = seen(&marks, B);
        let generation = marks.ask();
        marks.master_at(0, generation, 100);
        marks.replica_at(0, A, 100);
        marks.reset(1);
        assert!(marks.covers(A, &sight));
        marks.interrupt(A);
        assert!(!marks.covers(A, &sight));
    }

    #[test]
    fn a_session_may_stay_where_it_is_unless_the_node_was_interrupted() {
        let mut marks = Marks::new();
        let sight = seen(&marks, A);
        assert!(marks.covers(A, &sight));
        marks.interrupt(A);
        assert!(!marks.covers(A, &sight));
        let generation = marks.ask();
        marks.master_at(0, generation, 5);
        marks.replica_at(0, A, 5);
        assert!(marks.covers(A, &sight));
    }
}
