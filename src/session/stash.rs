//! The answers of a session that came before their turn and its commands that wait to be sent again, in order, with the
//! number of bytes they hold.
//!
//! `replay.rs` decides what becomes of them; nothing here knows why something waits.

use std::collections::VecDeque;
use std::ops::Deref;

use super::replay::Stashed;

type Items = VecDeque<(u64, Stashed)>;

/// Read as a queue, ordered by sequence; changed by the functions here alone, which keep the number of bytes true.
#[derive(Debug, Default)]
pub(super) struct Stash {
    items: Items,
    bytes: usize,
    /// Of these: what the client will be sent.
    replies: usize,
}

impl Deref for Stash {
    type Target = Items;

    fn deref(&self) -> &Items {
        &self.items
    }
}

impl Stash {
    /// Allocated for it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.items.capacity() * size_of::<(u64, Stashed)>()
    }

    pub(super) fn replies(&self) -> usize {
        self.replies
    }

    pub(super) fn insert(&mut self, sequence: u64, stashed: Stashed) {
        self.bytes += stashed.bytes();
        self.replies += stashed.replies();
        // Nearly always it is the last one.
        if self.items.back().is_none_or(|(last, _)| *last < sequence) {
            self.items.push_back((sequence, stashed));
            return;
        }
        let place = self.items.partition_point(|(other, _)| *other < sequence);
        self.items.insert(place, (sequence, stashed));
    }

    pub(super) fn pop_front(&mut self) -> Option<(u64, Stashed)> {
        let front = self.items.pop_front();
        if let Some((_, stashed)) = &front {
            self.bytes -= stashed.bytes();
            self.replies -= stashed.replies();
        }
        if self.items.is_empty() {
            self.items = Items::new();
        }
        front
    }

    /// Whether what stands at this place waits to be sent again.
    pub(super) fn has_retry(&self, sequence: u64) -> bool {
        self.items.iter().any(|(place, stashed)| *place == sequence && matches!(stashed, Stashed::Retry { .. }))
    }

    pub(super) fn has_retries(&self) -> bool {
        self.items.iter().any(|(_, stashed)| matches!(stashed, Stashed::Retry { .. }))
    }

    pub(super) fn remove(&mut self, sequence: u64) {
        let mut items = self.take();
        items.retain(|(place, _)| *place != sequence);
        self.put(items);
    }

    /// Drops what stands at this place and behind it.
    pub(super) fn truncate(&mut self, sequence: u64) {
        let mut items = self.take();
        items.retain(|(place, _)| *place < sequence);
        self.put(items);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// All of it, to be changed and [put](Self::put) back.
    pub(super) fn take(&mut self) -> Items {
        (self.bytes, self.replies) = (0, 0);
        std::mem::take(&mut self.items)
    }

    pub(super) fn put(&mut self, items: Items) {
        self.bytes = items.iter().map(|(_, stashed)| stashed.bytes()).sum();
        self.replies = items.iter().map(|(_, stashed)| stashed.replies()).sum();
        // A session that waits for nothing holds nothing.
        self.items = if items.is_empty() { Items::new() } else { items };
    }
}

impl Stashed {
    fn replies(&self) -> usize {
        match self {
            Self::Answers { bytes, .. } => bytes.len(),
            Self::Suspended { reply, .. } => reply.len(),
            Self::Retry { .. } => 0,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Answers { bytes, .. } => bytes.capacity(),
            Self::Retry { request, unless_overtaken, .. } => {
                request.capacity() + unless_overtaken.as_ref().map_or(0, Vec::capacity)
            }
            Self::Suspended { request, reply, .. } => request.capacity() + reply.capacity(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::recipient::Effect;
    use crate::metrics::Tag;

    fn answer(length: usize) -> Stashed {
        Stashed::Answers { count: 1, bytes: vec![0; length] }
    }

    fn content(stash: &Stash) -> usize {
        stash.bytes() - stash.capacity() * size_of::<(u64, Stashed)>()
    }

    #[test]
    fn it_is_in_order_and_knows_its_bytes() {
        let mut stash = Stash::default();
        assert_eq!(stash.bytes(), 0);
        for (sequence, length) in [(3, 10), (1, 20), (2, 5)] {
            stash.insert(sequence, answer(length));
        }
        let (effect, tag) = (Effect::Read, Tag::OWN);
        let suspended = Stashed::Suspended { request: vec![0; 7], effect, tag, reply: vec![0; 8] };
        stash.insert(4, suspended);
        assert_eq!(stash.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!((content(&stash), stash.replies()), (50, 43));
        stash.pop_front();
        assert_eq!(content(&stash), 30);
        let mut items = stash.take();
        assert_eq!(stash.bytes(), 0);
        items.retain(|(sequence, _)| *sequence != 3);
        stash.put(items);
        assert_eq!((content(&stash), stash.replies()), (20, 13));
        while stash.pop_front().is_some() {}
        assert_eq!(stash.bytes(), 0);
        let mut items = Items::with_capacity(8);
        items.clear();
        stash.put(items);
        assert_eq!(stash.bytes(), 0);
    }
}
