//! Which commands clients may send: the operator's `allow` and `deny`, compiled into one bit for each row of the table.
//!
//! Pure. The configuration compiles them at the start; a session asks for each command, which is one bit test. It must
//! never permit what it does not know where only certain commands are allowed.

use super::Spec;
use super::table;

/// Words of the set: more bits than the table has slots for rows, which a test holds.
const WORDS: usize = 16;

/// As servers since 6.0, which let everyone log in and leave.
const ALWAYS: [&str; 4] = ["auth", "hello", "quit", "reset"];

/// Those of Redis 7, `@all` aside.
const CATEGORIES: [&str; 21] = [
    "admin",
    "bitmap",
    "blocking",
    "connection",
    "dangerous",
    "fast",
    "geo",
    "hash",
    "hyperloglog",
    "keyspace",
    "list",
    "pubsub",
    "read",
    "scripting",
    "set",
    "slow",
    "sortedset",
    "stream",
    "string",
    "transaction",
    "write",
];

/// What one entry of a list names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// `@all`.
    All,
    Category(&'static str),
    /// A command, with its subcommands.
    Command(&'static str),
    Subcommand(&'static str),
}

/// Why a word is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAnEntry {
    Unknown,
    /// Servers let everyone use it, and so does Redan.
    Always,
}

impl Entry {
    /// Reads `@read`, `get`, `config` or `config|set`, in any case.
    pub(crate) fn parse(text: &str) -> Result<Self, NotAnEntry> {
        let folded = text.to_ascii_lowercase();
        if let Some(category) = folded.strip_prefix('@') {
            if category == "all" {
                return Ok(Self::All);
            }
            return categories().find(|known| *known == category).map(Self::Category).ok_or(NotAnEntry::Unknown);
        }
        if ALWAYS.contains(&folded.as_str()) {
            return Err(NotAnEntry::Always);
        }
        let name = table::names().find(|known| *known == folded).ok_or(NotAnEntry::Unknown)?;
        Ok(if name.contains('|') { Self::Subcommand(name) } else { Self::Command(name) })
    }

    /// How exactly it names the row: the higher, the more; `None` if it does not.
    fn exactness(self, row: &table::Row) -> Option<u8> {
        match self {
            Self::All => Some(0),
            Self::Category(category) => row.is_in(category).then_some(1),
            Self::Command(name) => (row.name == name || row.container() == Some(name)).then_some(2),
            Self::Subcommand(name) => (row.name == name).then_some(3),
        }
    }
}

/// Every category that servers know, without `@`.
pub(crate) fn categories() -> impl Iterator<Item = &'static str> {
    CATEGORIES.into_iter()
}

/// Everything that an entry may be, for whoever suggests one.
pub(crate) fn entries() -> impl Iterator<Item = String> {
    let names = table::names().map(ToOwned::to_owned);
    categories().chain(["all"]).map(|category| format!("@{category}")).chain(names)
}

/// The commands that may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Permissions {
    rows: [u64; WORDS],
    /// Commands that no row names: those of modules, and of servers to come.
    unknown: bool,
}

impl Permissions {
    /// The entry that names a command most exactly decides; where two are equal, `deny` does. What no entry names is
    /// permitted, unless there is an `allow`: then only what that names is.
    pub(crate) fn new(allow: Option<&[Entry]>, deny: &[Entry]) -> Self {
        let rows: Vec<table::Row> = table::rows_of_data().collect();
        let verdict = |row: &table::Row| {
            let best = |entries: &[Entry]| entries.iter().filter_map(|entry| entry.exactness(row)).max();
            match (best(deny), best(allow.unwrap_or_default())) {
                (None, None) => allow.is_none(),
                (denied, allowed) => allowed > denied,
            }
        };
        let mut permissions = Self { rows: [0; WORDS], unknown: false };
        for row in &rows {
            // A subcommand without a row may be any of its container's, so all of them must be permitted for it.
            let of_it = |other: &&table::Row| other.container() == Some(row.name);
            let permitted = ALWAYS.contains(&row.name)
                || match rows.iter().any(|other| of_it(&other)) {
                    true => rows.iter().filter(of_it).all(verdict),
                    false => verdict(row),
                };
            if permitted {
                permissions.rows[usize::from(row.number) / 64] |= 1 << (row.number % 64);
            }
        }
        let all = |entries: &[Entry]| entries.contains(&Entry::All);
        permissions.unknown = !all(deny) && allow.is_none_or(all);
        permissions
    }

    /// What both permit.
    pub(crate) fn and(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.rows.iter_mut().zip(other.rows).for_each(|(word, others)| *word &= others);
        both.unknown &= other.unknown;
        both
    }

    /// `None`: a command without a row.
    #[inline]
    pub(crate) fn permits(&self, spec: Option<&Spec>) -> bool {
        let word = |spec: &Spec| self.rows.get(usize::from(spec.row) / 64).map(|word| word >> (spec.row % 64) & 1 == 1);
        spec.and_then(word).unwrap_or(self.unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup;

    fn entries_of(words: &[&str]) -> Vec<Entry> {
        words.iter().map(|word| Entry::parse(word).unwrap_or_else(|_| panic!("{word} is an entry"))).collect()
    }

    fn made(allow: Option<&[&str]>, deny: &[&str]) -> Permissions {
        Permissions::new(allow.map(entries_of).as_deref(), &entries_of(deny))
    }

    fn permits(permissions: &Permissions, line: &str) -> bool {
        let mut words = line.split(' ').map(str::as_bytes);
        permissions.permits(words.next().and_then(|name| lookup(name, words.next())))
    }

    /// `allow`, `deny`, what they permit and what they refuse.
    type Rules = (Option<&'static [&'static str]>, &'static [&'static str], &'static str, &'static str);

    #[test]
    fn the_most_exact_entry_decides_and_deny_among_equals() {
        #[rustfmt::skip]
        let table: &[Rules] = &[
            (None, &[], "GET SET FLUSHALL MODULE.COMMAND", ""),
            (None, &["@dangerous"], "GET SET FT.SEARCH", "FLUSHALL KEYS SORT"),
            (None, &["flushall"], "FLUSHDB GET", "FLUSHALL flushall"),
            (Some(&["@read"]), &[], "GET HGETALL XREAD AUTH HELLO QUIT RESET", "SET PING FT.SEARCH MULTI"),
            (Some(&["@read"]), &["get"], "MGET", "GET"),
            (Some(&["@read", "get"]), &["@read"], "GET", "MGET SET"),
            (Some(&["keys"]), &["@dangerous"], "KEYS", "FLUSHALL GET"),
            (Some(&["get"]), &["get"], "", "GET"),
            (Some(&["@all"]), &["@write"], "GET FT.SEARCH PING", "SET"),
            (Some(&["@read"]), &["@all"], "GET", "SET FT.SEARCH"),
            (None, &["@all"], "AUTH QUIT", "GET FT.SEARCH PING"),
        ];
        for (allow, deny, permitted, refused) in table {
            let permissions = made(*allow, deny);
            for command in permitted.split_whitespace() {
                assert!(permits(&permissions, command), "{allow:?} {deny:?} permits {command}");
            }
            for command in refused.split_whitespace() {
                assert!(!permits(&permissions, command), "{allow:?} {deny:?} refuses {command}");
            }
        }
    }

    #[test]
    fn subcommands_and_their_containers() {
        let no_set = made(None, &["config|set"]);
        assert!(permits(&no_set, "CONFIG GET") && permits(&no_set, "config help"));
        assert!(!permits(&no_set, "CONFIG SET"));
        // What it would do only a newer server knows.
        assert!(!permits(&no_set, "CONFIG FROBNICATE") && !permits(&no_set, "CONFIG"));
        let no_config = made(None, &["config"]);
        assert!(!permits(&no_config, "CONFIG GET") && !permits(&no_config, "CONFIG FROBNICATE"));
        let only_get = made(Some(&["config|get", "object"]), &["config"]);
        assert!(permits(&only_get, "CONFIG GET") && !permits(&only_get, "CONFIG SET"));
        assert!(permits(&only_get, "OBJECT ENCODING") && permits(&only_get, "OBJECT FROBNICATE"));
        let no_admin = made(None, &["@admin"]);
        assert!(!permits(&no_admin, "ACL FROBNICATE") && permits(&no_admin, "ACL WHOAMI"));
    }

    #[test]
    fn two_lists_must_both_permit() {
        let both = made(Some(&["@read", "set"]), &[]).and(&made(None, &["get"]));
        assert!(permits(&both, "MGET") && permits(&both, "SET"));
        assert!(!permits(&both, "GET") && !permits(&both, "DEL") && !permits(&both, "FT.SEARCH"));
        assert!(permits(&made(None, &[]).and(&made(None, &["get"])), "FT.SEARCH"));
    }

    #[test]
    fn words_that_are_no_entries() {
        for word in ["@reed", "gett", "config|sett", "", "@", "config|", "get|set"] {
            assert_eq!(Entry::parse(word), Err(NotAnEntry::Unknown), "{word}");
        }
        for word in ["auth", "HELLO", "quit", "reset"] {
            assert_eq!(Entry::parse(word), Err(NotAnEntry::Always), "{word}");
        }
        assert_eq!(Entry::parse("CONFIG|Set"), Ok(Entry::Subcommand("config|set")));
        assert_eq!(Entry::parse("@ALL"), Ok(Entry::All));
        assert!(entries().any(|entry| entry == "@write") && entries().any(|entry| entry == "client|kill"));
    }

    #[test]
    fn the_set_has_a_bit_for_every_row() {
        assert!(table::rows_of_data().count() < WORDS * 64);
    }
}
