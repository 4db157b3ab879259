//! The command table: finds a command's [`Spec`] by the bytes a client wrote, in a few nanoseconds.
//!
//! `lookup` runs once per command of every client, so it folds the name's case in registers, takes one hash and
//! touches one cache line as a rule; it must never allocate. The rows are data: `commands-7.0.15.tsv` is
//! COMMAND's reply of that server, `additions.tsv` what came later (and what servers refuse by name).

use std::sync::LazyLock;

use super::classify::{care, kind};
use super::{Care, Kind, Pin, Spec};

const ROWS: [&str; 2] = [include_str!("commands-7.0.15.tsv"), include_str!("additions.tsv")];

/// Some 460 rows: less than half full, so that a probe mostly ends where it begins.
const SLOT_BITS: u32 = 10;
const SLOTS: usize = 1 << SLOT_BITS;

/// The longest name a key holds; the longest known is `count-failure-reports`, 21.
const NAME: usize = 24;

static TABLE: LazyLock<Table> = LazyLock::new(Table::build);

/// The command a client means by its first argument, and its second if that is a subcommand: a container
/// resolves to the subcommand's row where there is one, else to its own. `None`: no row.
#[inline]
pub(crate) fn lookup(name: &[u8], second: Option<&[u8]>) -> Option<&'static Spec> {
    let table = &*TABLE;
    let found = table.find(Key::new(name, 0)?)?;
    if found.container != 0
        && let Some(second) = second
    {
        if let Some(key) = Key::new(second, found.container)
            && let Some(sub) = table.find(key)
        {
            return Some(&sub.spec);
        }
        if second.contains(&0) {
            // Perhaps a subcommand's name, perhaps not: see `is_ambiguous`.
            return None;
        }
    }
    Some(&found.spec)
}

/// Every row, in the data's order; for documentation and tests.
#[cfg(test)]
pub(crate) fn rows() -> impl Iterator<Item = &'static Spec> {
    specs().filter_map(|(name, _)| match name.split_once('|') {
        Some((container, sub)) => lookup(container.as_bytes(), Some(sub.as_bytes())),
        None => lookup(name.as_bytes(), None),
    })
}

/// A name in lower case and what tells it from another of the same bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    words: [u64; 3],
    /// The container's number and the name's length: never 0 for a name, so 0 marks a free slot.
    tag: u32,
}

impl Key {
    /// `None` for a name no command has: empty or too long.
    #[inline(always)]
    fn new(name: &[u8], container: u16) -> Option<Self> {
        let words = match name.len() {
            1..=8 => [short(name), 0, 0],
            9..=16 => {
                let (first, rest) = name.split_at(8);
                [short(first), short(rest), 0]
            }
            17..=NAME => {
                let (first, rest) = name.split_at(8);
                let (second, third) = rest.split_at(8);
                [short(first), short(second), short(third)]
            }
            _ => return None,
        };
        Some(Self { words: words.map(lower), tag: u32::from(container) << 8 | name.len() as u32 })
    }

    /// Where its probe begins: the product's upper bits, since only those depend on every bit below.
    #[inline(always)]
    fn slot(self) -> usize {
        // Odd constants without a pattern (2^64 divided by the golden ratio, and two of xxHash's primes).
        let [a, b, c] = self.words;
        let mixed = a ^ b.wrapping_mul(0xc2b2_ae3d_27d4_eb4f) ^ c.wrapping_mul(0x1656_67b1_9e37_79f9);
        ((mixed ^ u64::from(self.tag)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOT_BITS)) as usize
    }
}

/// At most eight bytes as a number, padded with zeros: two overlapping loads instead of a copy. Where they
/// overlap they agree, so `or` joins them.
#[inline(always)]
fn short(bytes: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let shift = (bytes.len() - 4) * 8;
        u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << shift
    } else {
        bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
    }
}

/// Eight bytes with ASCII capitals in lower case. Per byte, with the top bit set aside: adding 63 carries into
/// it from `A` (65) on, adding 37 from `[` (91) on; where only the first did, a capital stands.
#[inline(always)]
fn lower(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = 0x80 * ONES;
    let low = word & !TOP;
    let capital = (low + 63 * ONES) & !(low + 37 * ONES) & !word & TOP;
    word | capital >> 2
}

/// A row and its key, in one cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Slot {
    key: Key,
    /// The container's number, if it is one.
    container: u16,
    spec: Spec,
}

struct Table {
    slots: Box<[Slot; SLOTS]>,
}

impl Table {
    fn build() -> Self {
        let free = Slot {
            key: Key { words: [0; 3], tag: 0 },
            container: 0,
            spec: Spec { name: "", kind: Kind::Pin(Pin::Unknown), arity: 0, row: super::NO_ROW, care: Care::None },
        };
        let mut table = Self { slots: Box::new([free; SLOTS]) };
        for (name, spec) in specs().filter(|(name, _)| !name.contains('|')) {
            table.insert(Key::new(name.as_bytes(), 0), spec);
        }
        let mut containers = 0;
        for (name, spec) in specs() {
            let Some((container, sub)) = name.split_once('|') else {
                continue;
            };
            let Some(at) = Key::new(container.as_bytes(), 0).and_then(|key| table.position(key)) else {
                continue;
            };
            if table.slots[at].container == 0 {
                containers += 1;
                table.slots[at].container = containers;
            }
            table.insert(Key::new(sub.as_bytes(), table.slots[at].container), spec);
        }
        table
    }

    /// The first row of a name counts.
    fn insert(&mut self, key: Option<Key>, spec: Spec) {
        if let Some(key) = key
            && self.position(key).is_none()
        {
            let mut at = key.slot();
            while self.slots[at].key.tag != 0 {
                at = (at + 1) % SLOTS;
            }
            self.slots[at] = Slot { key, container: 0, spec };
        }
    }

    #[inline(always)]
    fn find(&self, key: Key) -> Option<&Slot> {
        self.position(key).map(|at| &self.slots[at])
    }

    /// Ends at the latest at a free slot, of which there is always one: a test counts the rows.
    #[inline(always)]
    fn position(&self, key: Key) -> Option<usize> {
        let mut at = key.slot();
        loop {
            let slot = &self.slots[at % SLOTS];
            if slot.key == key {
                return Some(at % SLOTS);
            }
            if slot.key.tag == 0 {
                return None;
            }
            at += 1;
        }
    }
}

/// One line of the data files.
pub(super) struct Row {
    pub(super) number: u16,
    pub(super) name: &'static str,
    arity: i16,
    flags: &'static str,
    /// As servers write them: `@read,@string,@fast`.
    categories: &'static str,
    /// Which argument is the first key; 0: none, or it depends.
    first_key: u8,
}

impl Row {
    pub(super) fn is_in(&self, category: &str) -> bool {
        self.categories.split(',').any(|of_row| of_row.strip_prefix('@') == Some(category))
    }

    pub(super) fn container(&self) -> Option<&'static str> {
        self.name.split_once('|').map(|(container, _)| container)
    }
}

/// Columns: name, arity, flags, places of keys in one of the files, ACL categories.
pub(super) fn rows_of_data() -> impl Iterator<Item = Row> {
    let lines = ROWS.iter().flat_map(|file| file.lines().skip(1));
    lines.zip(0..).filter_map(|(line, number)| {
        let mut columns = line.split('\t');
        let name = columns.next()?;
        let arity = columns.next()?.parse().ok()?;
        let (flags, categories) = (columns.next()?, columns.next_back()?);
        // Of what came later the file does not say; what is about a key has it first.
        let first_key = match columns.next() {
            Some(place) => place.parse().unwrap_or(0),
            None => u8::from(categories.contains("@hash") || (categories.contains("@string") && name != "msetex")),
        };
        Some(Row { number, name, arity, flags, categories, first_key })
    })
}

/// Of each row: which argument is its first key, or 0.
static FIRST_KEYS: LazyLock<Vec<u8>> = LazyLock::new(|| rows_of_data().map(|row| row.first_key).collect());

/// Which argument of a command is its first key, as far as that can be said without looking at it. For whoever looks at a few
/// commands, not for every command's way.
pub(crate) fn first_key(row: u16) -> Option<usize> {
    let place = *FIRST_KEYS.get(usize::from(row))?;
    (place > 0).then_some(place.into())
}

/// The name of a row, subcommands as `config|set`.
pub(crate) fn name_of(row: u16) -> Option<&'static str> {
    static NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| names().collect());
    NAMES.get(usize::from(row)).copied()
}

/// Every name, subcommands as `config|set`.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    rows_of_data().map(|row| row.name)
}

fn specs() -> impl Iterator<Item = (&'static str, Spec)> {
    rows_of_data().map(|row| {
        let Row { number, name, arity, flags, .. } = row;
        (name, Spec { name, kind: kind(name, flags), arity, row: number, care: care(name) })
    })
}
