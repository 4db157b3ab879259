//! What a connection watches: whether anything, on which its fate hangs, and how many keys, which CLIENT LIST shows.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::pinned::Pinned;
use crate::resp::request::arguments;

/// Numbers that stand for databases and keys. Two keys of one number are one chance in many, and cost a count that is one too
/// small.
#[derive(Debug, Default)]
pub(super) struct Watched(HashSet<u64>);

impl Watched {
    /// `raw` is a WATCH.
    pub(super) fn add(&mut self, db: u32, raw: &[u8]) {
        self.0.extend(arguments(raw).skip(1).map(|key| {
            let mut hasher = DefaultHasher::new();
            (db, key).hash(&mut hasher);
            hasher.finish()
        }));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Pinned {
    pub(super) fn is_watching(&self) -> bool {
        self.watched.len() > 0
    }
}
