//! The scripts that clients have shown: what Redan gives to a node that is asked for one by digest and does not know it.
//!
//! Servers since 7.0 keep scripts to themselves: a replica, or a master since yesterday, lacks what a client loaded once.
//! One memory per group, shared by all workers and bounded. It is locked when a worker sees a script for the first time, when
//! a node did not know one, and when a connection is opened; never for a script that a worker has seen before.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::limits;

/// SHA-1 of the text in lower-case hex: the name by which clients call a script.
type Name = [u8; 40];

/// What a script takes beside its text: name, map entries, counters.
const OVERHEAD: usize = 256;

#[derive(Debug, Default)]
struct Memory {
    scripts: HashMap<Name, Script>,
    /// Least recently wanted first.
    order: BTreeMap<u64, Name>,
    bytes: usize,
    clock: u64,
    /// Per run of a server: it knows every script whose `since` is at most this.
    known: HashMap<u32, u64>,
}

#[derive(Debug)]
struct Script {
    text: Arc<[u8]>,
    used: u64,
    since: u64,
}

/// The memory of one group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scripts {
    memory: Arc<Mutex<Memory>>,
    /// Grows when scripts are forgotten, so that workers remember them anew when they see them again.
    forgotten: Arc<AtomicU64>,
}

/// What a new connection is to be told: texts, and up to where its node knows all when it has taken them.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    pub(crate) texts: Vec<Arc<[u8]>>,
    until: u64,
}

impl Scripts {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client showed this text, and `run` has executed it.
    fn remember(&self, text: &[u8], run: u32) {
        let name = name_of(text);
        let mut memory = self.memory();
        memory.clock += 1;
        let now = memory.clock;
        if memory.scripts.contains_key(&name) {
            memory.touch(&name, now);
            return;
        }
        if memory.known.get(&run).is_some_and(|&known| known + 1 == now) {
            memory.known.insert(run, now);
        }
        memory.bytes += text.len() + OVERHEAD;
        memory.order.insert(now, name);
        memory.scripts.insert(name, Script { text: text.into(), used: now, since: now });
        let mut evicted = false;
        while memory.bytes > limits::SCRIPTS
            && let Some((_, oldest)) = memory.order.pop_first()
        {
            evicted = true;
            if let Some(script) = memory.scripts.remove(&oldest) {
                memory.bytes -= script.text.len() + OVERHEAD;
            }
        }
        if evicted {
            self.forgotten.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The text of a script by the digest a client wrote, in either case.
    pub(crate) fn text(&self, digest: &[u8]) -> Option<Arc<[u8]>> {
        let name: Name = digest.to_ascii_lowercase().try_into().ok()?;
        let mut memory = self.memory();
        memory.clock += 1;
        let now = memory.clock;
        memory.touch(&name, now);
        memory.scripts.get(&name).map(|script| Arc::clone(&script.text))
    }

    /// SCRIPT FLUSH.
    pub(crate) fn forget_all(&self) {
        let mut memory = self.memory();
        let clock = memory.clock;
        *memory = Memory { clock, ..Memory::default() };
        self.forgotten.fetch_add(1, Ordering::Relaxed);
    }

    /// What this run of a server may lack.
    pub(crate) fn missing_on(&self, run: u32) -> Missing {
        let memory = self.memory();
        let known = memory.known.get(&run).copied().unwrap_or(0);
        let lacking = memory.scripts.values().filter(|script| script.since > known);
        Missing { texts: lacking.map(|script| Arc::clone(&script.text)).collect(), until: memory.clock }
    }

    /// The server has taken them.
    pub(crate) fn loaded(&self, run: u32, missing: &Missing) {
        let mut memory = self.memory();
        // Runs end and come back under new numbers; a table of those that were is worth nothing.
        if memory.known.len() >= limits::SCRIPT_RUNS {
            memory.known.clear();
        }
        let known = memory.known.entry(run).or_default();
        *known = missing.until.max(*known);
    }
}

impl Memory {
    fn touch(&mut self, name: &Name, now: u64) {
        if let Some(script) = self.scripts.get_mut(name) {
            self.order.remove(&script.used);
            script.used = now;
            self.order.insert(now, *name);
        }
    }
}

fn name_of(text: &[u8]) -> Name {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, text);
    let mut name = [0; 40];
    for (pair, byte) in name.chunks_exact_mut(2).zip(hash.as_ref()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    name
}

/// One worker's part: which scripts it has shown to the memory already.
pub(super) struct Seen {
    scripts: Scripts,
    hasher: RandomState,
    /// Hashes of texts. Two texts with one hash: the second is not remembered, and its NOSCRIPT goes to the client.
    hashes: RefCell<HashSet<u64>>,
    forgotten: Cell<u64>,
}

impl Seen {
    pub(super) fn new(scripts: Scripts) -> Self {
        Self { scripts, hasher: RandomState::new(), hashes: RefCell::default(), forgotten: Cell::new(0) }
    }

    pub(super) fn has(&self, text: &[u8]) -> bool {
        self.forgotten.get() == self.scripts.forgotten.load(Ordering::Relaxed)
            && self.hashes.borrow().contains(&self.hasher.hash_one(text))
    }

    pub(super) fn note(&self, text: &[u8], run: u32) {
        let mut hashes = self.hashes.borrow_mut();
        let forgotten = self.scripts.forgotten.load(Ordering::Relaxed);
        if self.forgotten.replace(forgotten) != forgotten || hashes.len() >= limits::SCRIPTS_SEEN {
            hashes.clear();
        }
        if hashes.insert(self.hasher.hash_one(text)) {
            self.scripts.remember(text, run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_found_by_its_digest_in_either_case() {
        let scripts = Scripts::default();
        scripts.remember(b"return 1", 1);
        let name = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
        assert_eq!(scripts.text(name.as_bytes()).as_deref(), Some(&b"return 1"[..]));
        assert_eq!(scripts.text(name.to_uppercase().as_bytes()).as_deref(), Some(&b"return 1"[..]));
        assert_eq!(scripts.text(b"e0e1"), None);
        scripts.forget_all();
        assert_eq!(scripts.text(name.as_bytes()), None);
    }

    #[test]
    fn a_node_is_told_only_what_it_may_lack() {
        let scripts = Scripts::default();
        scripts.remember(b"return 1", 1);
        let missing = scripts.missing_on(1);
        assert_eq!(missing.texts.len(), 1);
        scripts.loaded(1, &missing);
        // It went there, and all before it was known there.
        scripts.remember(b"return 2", 1);
        assert_eq!(scripts.missing_on(1).texts.len(), 0);
        // It went to another node.
        scripts.remember(b"return 3", 2);
        assert_eq!(scripts.missing_on(1).texts.len(), 1);
        scripts.remember(b"return 4", 1);
        assert_eq!(scripts.missing_on(1).texts.len(), 2);
        assert_eq!(scripts.missing_on(9).texts.len(), 4);
    }

    #[test]
    fn the_least_wanted_is_forgotten_first_and_remembered_when_it_is_seen_again() {
        let scripts = Scripts::default();
        let seen = Seen::new(scripts.clone());
        let text = |n: usize| format!("return {n}{}", " ".repeat(limits::SCRIPTS / 8)).into_bytes();
        seen.note(&text(0), 1);
        let name = name_of(&text(0));
        for n in 1..20 {
            seen.note(&text(n), 1);
            assert!(scripts.text(&name).is_some(), "wanted all the time, and forgotten after {n} others");
        }
        assert!(scripts.memory().bytes <= limits::SCRIPTS);
        assert!(scripts.text(&name_of(&text(1))).is_none());
        seen.note(&text(1), 1);
        assert!(scripts.text(&name_of(&text(1))).is_some());
    }
}
