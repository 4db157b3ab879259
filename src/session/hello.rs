//! HELLO and AUTH: parsed and answered in Redis's words. Pure; `special` verifies and applies.

use crate::resp::encode;
use crate::resp::request::arguments;
use crate::topology::Node;
use crate::topology::edition::Edition;

/// What a well-formed HELLO asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hello<'a> {
    /// `None` keeps the version.
    pub(super) resp3: Option<bool>,
    pub(super) auth: Option<(&'a [u8], &'a [u8])>,
    pub(super) name: Option<&'a [u8]>,
}

/// Reads HELLO's arguments; an error is its reply.
pub(super) fn parse(raw: &[u8]) -> Result<Hello<'_>, String> {
    let mut words = arguments(raw).skip(1);
    let mut hello = Hello::default();
    let Some(version) = words.next() else {
        return Ok(hello);
    };
    let version = super::local::integer(version);
    hello.resp3 = match version {
        Some(2) => Some(false),
        Some(3) => Some(true),
        Some(_) => return Err("NOPROTO unsupported protocol version".to_owned()),
        None => return Err("ERR Protocol version is not an integer or out of range".to_owned()),
    };
    let mut rest: Vec<&[u8]> = words.collect();
    rest.reverse();
    while let Some(option) = rest.pop() {
        if option.eq_ignore_ascii_case(b"AUTH") && rest.len() >= 2 {
            hello.auth = rest.pop().zip(rest.pop());
        } else if option.eq_ignore_ascii_case(b"SETNAME") && !rest.is_empty() {
            hello.name = rest.pop();
        } else {
            return Err(format!("ERR Syntax error in HELLO option '{}'", String::from_utf8_lossy(option)));
        }
    }
    if hello.name.is_some_and(|name| !super::local::is_plain(name)) {
        return Err("ERR Client names cannot contain spaces, newlines or special characters.".to_owned());
    }
    Ok(hello)
}

/// The user and password of AUTH; an error is its reply. One argument is the password of `default`.
pub(super) fn parse_auth(raw: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let mut words = arguments(raw).skip(1);
    match (words.next(), words.next(), words.next()) {
        (Some(password), None, _) => Ok((b"default", password)),
        (Some(user), Some(password), None) => Ok((user, password)),
        (None, ..) => Err(super::local::wrong_arity("auth")),
        _ => Err("ERR syntax error".to_owned()),
    }
}

/// In the words of servers before 6.0, on which clients fall back to RESP2 and AUTH.
pub(super) fn unknown(raw: &[u8]) -> String {
    let rest: String = arguments(raw).skip(1).map(|word| format!("`{}`, ", String::from_utf8_lossy(word))).collect();
    format!("ERR unknown command `HELLO`, with args beginning with: {rest}")
}

/// The reply to HELLO: what the master is, in its own words where it has told them, as one server that takes everything.
pub(super) fn reply(out: &mut Vec<u8>, resp3: bool, id: u64, master: Option<&Node>) {
    let id = i64::try_from(id).unwrap_or(i64::MAX);
    if let Some(greeting) = master.and_then(|node| node.greeting.as_ref()) {
        return greeting.write(out, resp3, id);
    }
    let Edition { flavor, version } = Edition::of(master);
    encode::map(out, 7, resp3);
    encode::bulk(out, b"server");
    encode::bulk(out, flavor.name().as_bytes());
    encode::bulk(out, b"version");
    encode::bulk(out, version.to_string().as_bytes());
    encode::bulk(out, b"proto");
    encode::integer(out, if resp3 { 3 } else { 2 });
    encode::bulk(out, b"id");
    encode::integer(out, id);
    encode::bulk(out, b"mode");
    encode::bulk(out, b"standalone");
    encode::bulk(out, b"role");
    encode::bulk(out, b"master");
    encode::bulk(out, b"modules");
    encode::array(out, 0);
}

pub(super) const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
pub(super) const NOT_AUTHENTICATED: &str = "NOAUTH Authentication required.";
pub(super) const HELLO_NOT_AUTHENTICATED: &str = "NOAUTH HELLO must be called with the client already authenticated, \
     otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP \
     protocol version at the same time";
pub(super) const NO_PASSWORD_CONFIGURED: &str = "ERR AUTH <password> called without any password configured for the \
     default user. Are you sure your configuration is correct?";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_is_read_as_redis_reads_it() {
        let line = |line: &str| parse(&encode::command_of(line)).map(|hello| format!("{hello:?}"));
        let ok = |resp3, auth, name| Ok(format!("{:?}", Hello { resp3, auth, name }));
        assert_eq!(line("HELLO"), ok(None, None, None));
        assert_eq!(line("HELLO 3"), ok(Some(true), None, None));
        assert_eq!(line("hello 2 setname me"), ok(Some(false), None, Some(b"me")));
        assert_eq!(line("HELLO 3 AUTH u p SETNAME n"), ok(Some(true), Some((b"u", b"p")), Some(b"n")));
        assert_eq!(line("HELLO 4"), Err("NOPROTO unsupported protocol version".to_owned()));
        assert_eq!(line("HELLO x"), Err("ERR Protocol version is not an integer or out of range".to_owned()));
        assert_eq!(line("HELLO 3 AUTH u"), Err("ERR Syntax error in HELLO option 'AUTH'".to_owned()));
        assert_eq!(line("HELLO 3 FOO"), Err("ERR Syntax error in HELLO option 'FOO'".to_owned()));
    }
}
