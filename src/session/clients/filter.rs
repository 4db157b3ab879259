//! Which clients a CLIENT LIST or CLIENT KILL means: its arguments, read in Redis's order and refused in its words.
//!
//! Pure. An error is the reply.

use crate::session::local::integer;

/// A client's kind, as TYPE names it. Redan has no masters and replicas among its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Normal,
    Master,
    Replica,
    PubSub,
}

impl Class {
    fn read(word: &[u8]) -> Result<Self, String> {
        let named = |name: &[u8]| word.eq_ignore_ascii_case(name);
        if named(b"normal") {
            Ok(Self::Normal)
        } else if named(b"slave") || named(b"replica") {
            Ok(Self::Replica)
        } else if named(b"pubsub") {
            Ok(Self::PubSub)
        } else if named(b"master") {
            Ok(Self::Master)
        } else {
            Err(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(word)))
        }
    }
}

/// What a client must be to be meant. Nothing given means all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Any of these.
    pub(super) ids: Option<Vec<u64>>,
    pub(super) class: Option<Class>,
    pub(super) user: Option<String>,
    pub(super) address: Option<String>,
    pub(super) local_address: Option<String>,
    /// Connected for at least so many seconds.
    pub(super) max_age_s: Option<u64>,
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

fn text(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}

/// `words` follow `CLIENT LIST`.
pub(super) fn list(words: &[&[u8]]) -> Result<Filter, String> {
    match words {
        [] => Ok(Filter::default()),
        [option, class] if option.eq_ignore_ascii_case(b"TYPE") => {
            Ok(Filter { class: Some(Class::read(class)?), ..Filter::default() })
        }
        [option, ids @ ..] if option.eq_ignore_ascii_case(b"ID") && !ids.is_empty() => {
            let id = |word: &&[u8]| integer(word).ok_or_else(|| "ERR Invalid client ID".to_owned());
            // What no client can have is nobody's.
            let ids: Vec<i64> = ids.iter().map(id).collect::<Result<_, _>>()?;
            let ids = ids.into_iter().filter_map(|id| u64::try_from(id).ok()).collect();
            Ok(Filter { ids: Some(ids), ..Filter::default() })
        }
        _ => Err(SYNTAX.to_owned()),
    }
}

/// `words` follow `CLIENT KILL`; `known` says whether a user of this name exists.
pub(super) fn kill(words: &[&[u8]], known: impl Fn(&str) -> bool) -> Result<Kill, String> {
    if let [address] = words {
        let filter = Filter { address: Some(text(address)), ..Filter::default() };
        return Ok(Kill { filter, skip_me: false, old_form: true });
    }
    let mut kill = Kill { filter: Filter::default(), skip_me: true, old_form: false };
    for pair in words.chunks(2) {
        let [option, value] = pair else {
            return Err(SYNTAX.to_owned());
        };
        let named = |name: &[u8]| option.eq_ignore_ascii_case(name);
        let filter = &mut kill.filter;
        if named(b"ID") {
            let id = integer(value).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
            filter.ids = Some(vec![id.ok_or("ERR client-id should be greater than 0")?]);
        } else if named(b"MAXAGE") {
            let age = integer(value).ok_or("ERR maxage is not an integer or out of range")?;
            let age = u64::try_from(age).ok().filter(|age| *age > 0);
            filter.max_age_s = Some(age.ok_or("ERR maxage should be greater than 0")?);
        } else if named(b"TYPE") {
            filter.class = Some(Class::read(value)?);
        } else if named(b"ADDR") {
            filter.address = Some(text(value));
        } else if named(b"LADDR") {
            filter.local_address = Some(text(value));
        } else if named(b"USER") {
            let user = text(value);
            if !known(&user) {
                return Err(format!("ERR No such user '{user}'"));
            }
            filter.user = Some(user);
        } else if named(b"SKIPME") && value.eq_ignore_ascii_case(b"yes") {
            kill.skip_me = true;
        } else if named(b"SKIPME") && value.eq_ignore_ascii_case(b"no") {
            kill.skip_me = false;
        } else {
            return Err(SYNTAX.to_owned());
        }
    }
    Ok(kill)
}

/// `words` follow `CLIENT PAUSE`: milliseconds, and whether everything or only writes.
pub(super) fn pause(words: &[&[u8]], typed: &[u8]) -> Result<(u64, bool), String> {
    let all = match words {
        [_] => true,
        [_, mode] if mode.eq_ignore_ascii_case(b"ALL") => true,
        [_, mode] if mode.eq_ignore_ascii_case(b"WRITE") => false,
        [_, _] => return Err("ERR CLIENT PAUSE mode must be WRITE or ALL".to_owned()),
        _ => return Err(unknown(typed)),
    };
    let timeout = integer(words[0]).ok_or("ERR timeout is not an integer or out of range")?;
    Ok((u64::try_from(timeout).map_err(|_| "ERR timeout is negative")?, all))
}

/// `words` follow `CLIENT UNBLOCK`: an id, and whether it ends with an error.
pub(super) fn unblock(words: &[&[u8]], typed: &[u8]) -> Result<(u64, bool), String> {
    let with_error = match words {
        [_] => false,
        [_, reason] if reason.eq_ignore_ascii_case(b"TIMEOUT") => false,
        [_, reason] if reason.eq_ignore_ascii_case(b"ERROR") => true,
        [_, _] => return Err("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR".to_owned()),
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

    fn words(line: &str) -> Vec<&[u8]> {
        line.split_whitespace().map(str::as_bytes).collect()
    }

    /// The wording was read from a server; `tests/it/clientcmds.rs` compares it with one.
    #[test]
    fn filters_are_read_as_redis_reads_them() {
        let listed = |line: &str| list(&words(line));
        assert_eq!(listed(""), Ok(Filter::default()));
        assert_eq!(listed("type SLAVE"), Ok(Filter { class: Some(Class::Replica), ..Filter::default() }));
        assert_eq!(listed("id 3 -1 3"), Ok(Filter { ids: Some(vec![3, 3]), ..Filter::default() }));
        assert_eq!(listed("TYPE"), Err(SYNTAX.to_owned()));
        assert_eq!(listed("ID x"), Err("ERR Invalid client ID".to_owned()));
        let killed = |line: &str| kill(&words(line), |name| name == "app");
        assert_eq!(killed("ID 3 FOO"), Err(SYNTAX.to_owned()));
        assert_eq!(killed("USER other"), Err("ERR No such user 'other'".to_owned()));
        let both = killed("USER app SKIPME no MAXAGE 5").expect("well formed");
        assert_eq!((both.filter.user.as_deref(), both.filter.max_age_s, both.skip_me), (Some("app"), Some(5), false));
        assert!(killed("1.2.3.4:5").expect("an address").old_form);
        assert_eq!(pause(&words("100 write"), b"pause"), Ok((100, false)));
        assert_eq!(pause(&words("-1"), b"pause"), Err("ERR timeout is negative".to_owned()));
        assert!(pause(&words("1 ALL x"), b"pAuSe").is_err_and(|words| words.contains("'pAuSe'")));
        assert_eq!(unblock(&words("7 error"), b"UNBLOCK"), Ok((7, true)));
        assert_eq!(unblock(&words("-7"), b"UNBLOCK"), Ok((0, false)));
    }
}
