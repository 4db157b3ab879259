//! The arguments of CLIENT LIST, KILL, PAUSE and UNBLOCK, read in the order of the server that leads the group and refused in
//! its words.
//!
//! Pure. An error is the reply.

use super::filter::{Check, Class, Filter};
use crate::session::local::integer;
use crate::topology::Version;
use crate::topology::edition::{Edition, Since};

/// CLIENT KILL takes MAXAGE.
const AGES: Since = Since::both(Version(7, 4, 0), Version(8, 0, 0));
/// `primary` is another word for `master`.
const PRIMARIES: Since = Since::valkey(Version(8, 0, 0));
/// LIST and KILL read the same options, in any number, and ID takes several.
const MANY: Since = Since::valkey(Version(8, 1, 0));
/// There are more of them, and what a client must not be.
const ALL: Since = Since::valkey(Version(9, 0, 0));

/// Where PAUSE or UNBLOCK has more arguments than they take, these count for nothing, and nor does the last good one.
const UNREAD: Since = Since::valkey(Version(8, 1, 0));

/// What reading depends on.
pub(super) struct Reader<'a> {
    pub(super) edition: Edition,
    /// Whether a user of this name exists.
    pub(super) knows_user: &'a dyn Fn(&str) -> bool,
    /// The highest database there is, as far as anybody knows.
    pub(super) databases: u32,
    /// The client that asks.
    pub(super) caller: u64,
}

/// A CLIENT KILL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kill {
    pub(super) filter: Filter,
    pub(super) skip_me: bool,
    /// `CLIENT KILL addr:port`: answered `OK` or an error, not a number.
    pub(super) old_form: bool,
}

const SYNTAX: &str = "ERR syntax error";
const POSITIVE_ID: &str = "ERR client-id should be greater than 0";

/// The letters that a client's flags may have, on the one server that takes them for a filter.
const FLAGS: &str = "AbBcdeEiIMNOPrRStTuUx";
const CAPABILITIES: &str = "r";

fn text(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}

/// A number of seconds, of which there must be some.
fn seconds(word: &[u8], name: &str) -> Result<u64, String> {
    let number = integer(word).ok_or_else(|| format!("ERR {name} is not an integer or out of range"))?;
    let number = u64::try_from(number).ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("ERR {name} should be greater than 0"))
}

/// Letters of a set.
fn letters(word: &[u8], known: &str, what: &str, wanted: bool) -> Result<String, String> {
    if word.iter().all(|letter| known.as_bytes().contains(letter)) {
        return Ok(text(word));
    }
    let filter = if wanted { "provided".to_owned() } else { format!("NOT-{}", what.to_uppercase()) };
    Err(format!("ERR Unknown {what} found in the {filter} filter: {}", text(word)))
}

impl Reader<'_> {
    /// `words` follow `CLIENT LIST`.
    pub(super) fn list(&self, words: &[&[u8]]) -> Result<Filter, String> {
        if self.edition.has(MANY) {
            let (mut filter, skip_me) = self.options(words)?;
            filter.but = skip_me.filter(|skip| *skip).map(|_| self.caller);
            return Ok(filter);
        }
        match words {
            [] => Ok(Filter::default()),
            [option, class] if option.eq_ignore_ascii_case(b"TYPE") => Ok(Filter::with(self.class(class)?)),
            [option, ids @ ..] if option.eq_ignore_ascii_case(b"ID") && !ids.is_empty() => {
                let id = |word: &&[u8]| integer(word).ok_or_else(|| "ERR Invalid client ID".to_owned());
                // What no client can have is nobody's.
                let ids: Vec<i64> = ids.iter().map(id).collect::<Result<_, _>>()?;
                let ids = ids.into_iter().filter_map(|id| u64::try_from(id).ok()).collect();
                Ok(Filter::with(Check::Ids(ids)))
            }
            _ => Err(SYNTAX.to_owned()),
        }
    }

    /// `words` follow `CLIENT KILL`.
    pub(super) fn kill(&self, words: &[&[u8]]) -> Result<Kill, String> {
        if let [address] = words {
            let filter = Filter::with(Check::Address(text(address)));
            return Ok(Kill { filter, skip_me: false, old_form: true });
        }
        let (filter, skip_me) = if self.edition.has(MANY) { self.options(words)? } else { self.pairs(words)? };
        Ok(Kill { filter, skip_me: skip_me.unwrap_or(true), old_form: false })
    }

    /// Options in pairs, as KILL has always read them; with what SKIPME said.
    fn pairs(&self, words: &[&[u8]]) -> Result<(Filter, Option<bool>), String> {
        let (mut filter, mut skip_me) = (Filter::default(), None);
        for pair in words.chunks(2) {
            let [option, value] = pair else {
                return Err(SYNTAX.to_owned());
            };
            if option.eq_ignore_ascii_case(b"ID") {
                let id = integer(value).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
                filter = filter.without_ids();
                filter.add(Check::Ids(vec![id.ok_or(POSITIVE_ID)?]), true);
            } else if option.eq_ignore_ascii_case(b"SKIPME") {
                skip_me = Some(yes_or_no(value)?);
            } else {
                filter.add(self.old_check(option, value)?.ok_or(SYNTAX)?, true);
            }
        }
        Ok((filter, skip_me))
    }

    /// Options in any number, of which ID takes as many numbers as follow.
    fn options(&self, mut words: &[&[u8]]) -> Result<(Filter, Option<bool>), String> {
        let (mut filter, mut skip_me) = (Filter::default(), None);
        while let [option, value, rest @ ..] = words {
            words = rest;
            let (named, wanted) = match option.get(..4) {
                Some(start) if start.eq_ignore_ascii_case(b"NOT-") && self.edition.has(ALL) => (&option[4..], false),
                _ => (*option, true),
            };
            if named.eq_ignore_ascii_case(b"ID") {
                let mut ids = Vec::new();
                let mut next = *value;
                // What is no number is the next option, if it is one.
                while let Some(id) = integer(next) {
                    ids.push(u64::try_from(id).ok().filter(|id| *id > 0).ok_or(POSITIVE_ID)?);
                    let [first, rest @ ..] = words else { break };
                    if integer(first).is_none() {
                        break;
                    }
                    (next, words) = (first, rest);
                }
                if ids.is_empty() {
                    return Err(SYNTAX.to_owned());
                }
                filter.add(Check::Ids(ids), wanted);
            } else if named.eq_ignore_ascii_case(b"SKIPME") && wanted {
                skip_me = Some(yes_or_no(value)?);
            } else {
                let check = match self.old_check(named, value)? {
                    // There is no other word for being younger.
                    Some(Check::Age(_)) if !wanted => None,
                    None if self.edition.has(ALL) => self.new_check(named, value, wanted)?,
                    check => check,
                };
                filter.add(check.ok_or(SYNTAX)?, wanted);
            }
        }
        if words.is_empty() { Ok((filter, skip_me)) } else { Err(SYNTAX.to_owned()) }
    }

    /// An option that KILL had before Valkey 9; `None`: it is none of them.
    fn old_check(&self, option: &[u8], value: &[u8]) -> Result<Option<Check>, String> {
        let named = |name: &[u8]| option.eq_ignore_ascii_case(name);
        Ok(Some(if named(b"TYPE") {
            self.class(value)?
        } else if named(b"ADDR") {
            Check::Address(text(value))
        } else if named(b"LADDR") {
            Check::LocalAddress(text(value))
        } else if named(b"USER") {
            let user = text(value);
            if !(self.knows_user)(&user) {
                return Err(format!("ERR No such user '{user}'"));
            }
            Check::User(user)
        } else if named(b"MAXAGE") && self.edition.has(AGES) {
            Check::Age(seconds(value, "maxage")?)
        } else {
            return Ok(None);
        }))
    }

    /// An option that came with Valkey 9.
    fn new_check(&self, option: &[u8], value: &[u8], wanted: bool) -> Result<Option<Check>, String> {
        let named = |name: &[u8]| option.eq_ignore_ascii_case(name);
        Ok(Some(if named(b"IDLE") && wanted {
            Check::Idle(seconds(value, "idle")?)
        } else if named(b"FLAGS") {
            Check::Flags(letters(value, FLAGS, "flags", wanted)?)
        } else if named(b"CAPA") {
            Check::Capabilities(letters(value, CAPABILITIES, "capa", wanted)?)
        } else if named(b"NAME") {
            Check::Name(value.to_vec())
        } else if named(b"LIB-NAME") {
            Check::Library(value.to_vec())
        } else if named(b"LIB-VER") {
            Check::LibraryVersion(value.to_vec())
        } else if named(b"DB") {
            let number = integer(value).ok_or("ERR DB is not an integer or out of range")?;
            let number = u32::try_from(number).ok().filter(|number| *number <= self.databases);
            let number = number.ok_or_else(|| format!("ERR DB number should be between 0 and {}", self.databases))?;
            Check::Database(number)
        } else if named(b"IP") {
            Check::Ip(text(value))
        } else {
            return Ok(None);
        }))
    }

    fn class(&self, word: &[u8]) -> Result<Check, String> {
        let named = |name: &[u8]| word.eq_ignore_ascii_case(name);
        Ok(Check::Class(if named(b"normal") {
            Class::Normal
        } else if named(b"slave") || named(b"replica") {
            Class::Replica
        } else if named(b"pubsub") {
            Class::PubSub
        } else if named(b"master") || (named(b"primary") && self.edition.has(PRIMARIES)) {
            Class::Master
        } else {
            return Err(format!("ERR Unknown client type '{}'", text(word)));
        }))
    }
}

fn yes_or_no(word: &[u8]) -> Result<bool, String> {
    let yes = word.eq_ignore_ascii_case(b"yes");
    if yes || word.eq_ignore_ascii_case(b"no") { Ok(yes) } else { Err(SYNTAX.to_owned()) }
}

/// `words` follow `CLIENT PAUSE`: milliseconds, and whether everything or only writes.
pub(super) fn pause(words: &[&[u8]], typed: &[u8], edition: Edition) -> Result<(u64, bool), String> {
    let all = match words {
        [_] => true,
        [_, mode] if mode.eq_ignore_ascii_case(b"ALL") => true,
        [_, mode] if mode.eq_ignore_ascii_case(b"WRITE") => false,
        [_, _] => return Err("ERR CLIENT PAUSE mode must be WRITE or ALL".to_owned()),
        [_, ..] if edition.has(UNREAD) => true,
        _ => return Err(unknown(typed)),
    };
    let timeout = integer(words[0]).ok_or("ERR timeout is not an integer or out of range")?;
    Ok((u64::try_from(timeout).map_err(|_| "ERR timeout is negative")?, all))
}

/// `words` follow `CLIENT UNBLOCK`: an id, and whether it ends with an error.
pub(super) fn unblock(words: &[&[u8]], typed: &[u8], edition: Edition) -> Result<(u64, bool), String> {
    let with_error = match words {
        [_] => false,
        [_, reason] if reason.eq_ignore_ascii_case(b"TIMEOUT") => false,
        [_, reason] if reason.eq_ignore_ascii_case(b"ERROR") => true,
        [_, _] => return Err("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR".to_owned()),
        [_, ..] if edition.has(UNREAD) => false,
        _ => return Err(unknown(typed)),
    };
    let id = integer(words[0]).ok_or(crate::session::local::NOT_AN_INTEGER)?;
    // No client has a negative id, nor 0.
    Ok((u64::try_from(id).unwrap_or(0), with_error))
}

/// A subcommand with too many arguments, as the client wrote it.
fn unknown(typed: &[u8]) -> String {
    format!("ERR unknown subcommand or wrong number of arguments for '{}'. Try CLIENT HELP.", text(typed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Flavor;

    fn words(line: &str) -> Vec<&[u8]> {
        line.split_whitespace().map(str::as_bytes).collect()
    }

    fn reader(flavor: Flavor, version: Version) -> Reader<'static> {
        Reader { edition: Edition { flavor, version }, knows_user: &|name| name == "app", databases: 15, caller: 9 }
    }

    fn redis() -> Reader<'static> {
        reader(Flavor::Redis, Version(7, 4, 0))
    }

    /// The wording was read from servers; `tests/it/clientcmds.rs` compares it with theirs.
    #[test]
    fn filters_are_read_as_redis_reads_them() {
        let listed = |line: &str| redis().list(&words(line));
        assert_eq!(listed(""), Ok(Filter::default()));
        assert_eq!(listed("type SLAVE"), Ok(Filter::with(Check::Class(Class::Replica))));
        assert_eq!(listed("id 3 -1 3"), Ok(Filter::with(Check::Ids(vec![3, 3]))));
        assert_eq!(listed("TYPE"), Err(SYNTAX.to_owned()));
        assert_eq!(listed("ID x"), Err("ERR Invalid client ID".to_owned()));
        assert_eq!(listed("TYPE primary"), Err("ERR Unknown client type 'primary'".to_owned()));
        assert_eq!(listed("USER app"), Err(SYNTAX.to_owned()));
        let killed = |line: &str| redis().kill(&words(line));
        assert_eq!(killed("ID 3 FOO"), Err(SYNTAX.to_owned()));
        assert_eq!(killed("ID 3 4"), Err(SYNTAX.to_owned()));
        assert_eq!(killed("USER other"), Err("ERR No such user 'other'".to_owned()));
        let both = killed("ID 3 USER app SKIPME no MAXAGE 5 ID 4").expect("well formed");
        let mut filter = Filter::with(Check::User("app".to_owned()));
        filter.add(Check::Age(5), true);
        filter.add(Check::Ids(vec![4]), true);
        assert_eq!((both.filter, both.skip_me), (filter, false));
        assert!(killed("1.2.3.4:5").expect("an address").old_form);
        let old = reader(Flavor::Redis, Version(7, 0, 15));
        assert_eq!(old.kill(&words("MAXAGE 5")), Err(SYNTAX.to_owned()));
    }

    #[test]
    fn valkey_reads_any_number_of_options() {
        let (before, now) = (reader(Flavor::Valkey, Version(8, 1, 1)), reader(Flavor::Valkey, Version(9, 1, 2)));
        let listed = |line: &str| now.list(&words(line));
        let mut filter = Filter::with(Check::Ids(vec![3, 4, 5]));
        filter.add(Check::Class(Class::Master), true);
        assert_eq!(before.list(&words("ID 3 4 type primary id 5")), Ok(filter.clone()));
        filter.but = Some(9);
        assert_eq!(listed("ID 3 4 TYPE master ID 5 SKIPME yes"), Ok(filter));
        for line in
            ["ID", "ID x", "ID 3 x", "x", "SKIPME maybe", "NOT-MAXAGE 3", "NOT-IDLE 3", "NOT-SKIPME no", "NOT-NOT-ID 3"]
        {
            assert_eq!(listed(line), Err(SYNTAX.to_owned()), "{line}");
        }
        for line in ["NOT-ID 3", "NAME x", "DB 0", "IDLE 1"] {
            assert_eq!(before.list(&words(line)), Err(SYNTAX.to_owned()), "{line}");
            assert!(listed(line).is_ok(), "{line}");
        }
        for (line, words) in [
            ("ID 0", POSITIVE_ID),
            ("IDLE 0", "ERR idle should be greater than 0"),
            ("FLAGS NZ", "ERR Unknown flags found in the provided filter: NZ"),
            ("NOT-FLAGS Z", "ERR Unknown flags found in the NOT-FLAGS filter: Z"),
            ("CAPA q", "ERR Unknown capa found in the provided filter: q"),
            ("DB -1", "ERR DB number should be between 0 and 15"),
            ("DB x", "ERR DB is not an integer or out of range"),
        ] {
            assert_eq!(listed(line), Err(words.to_owned()), "{line}");
        }
        let killed = now.kill(&words("ID 3 4 NOT-USER app")).expect("well formed");
        assert!(killed.skip_me && !killed.old_form);
        assert_eq!(killed.filter.ids(), Some(&[3, 4][..]));
    }

    #[test]
    fn pauses_and_the_end_of_a_wait() {
        let (redis, valkey) = (redis().edition, reader(Flavor::Valkey, Version(8, 1, 1)).edition);
        assert_eq!(pause(&words("100 write"), b"pause", redis), Ok((100, false)));
        assert_eq!(pause(&words("-1"), b"pause", redis), Err("ERR timeout is negative".to_owned()));
        assert!(pause(&words("1 ALL x"), b"pAuSe", redis).is_err_and(|words| words.contains("'pAuSe'")));
        assert_eq!(pause(&words("1 WRITE x"), b"PAUSE", valkey), Ok((1, true)));
        assert_eq!(unblock(&words("7 error"), b"UNBLOCK", valkey), Ok((7, true)));
        assert_eq!(unblock(&words("-7"), b"UNBLOCK", redis), Ok((0, false)));
        assert!(unblock(&words("7 ERROR x"), b"UNBLOCK", redis).is_err());
        assert_eq!(unblock(&words("7 ERROR x"), b"UNBLOCK", valkey), Ok((7, false)));
    }
}
