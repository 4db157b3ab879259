//! Commands that Redan answers itself because they speak of the session, which no node knows.
//!
//! Pure: arguments and identity in, reply bytes out, in Redis's own words. Commands that change how the following ones
//! are carried are in `special`.

use super::identity::Identity;
use crate::command::{self, Local};
use crate::resp::encode;
use crate::resp::request::{Frame, arguments};
use crate::topology::Version;
use crate::topology::edition::{Edition, Since};

/// Whether what stands behind the command depends on it, so that no batch may reach across it.
pub(super) fn changes_what_follows(local: Local) -> bool {
    matches!(local, Local::Auth | Local::Hello | Local::Reset | Local::Quit | Local::Select | Local::ClientReply)
        || speaks_of_others(local)
}

/// CLIENT commands that other workers must answer as well.
pub(super) fn speaks_of_others(local: Local) -> bool {
    matches!(
        local,
        Local::ClientKill | Local::ClientList | Local::ClientPause | Local::ClientUnblock | Local::ClientUnpause
    )
}

/// Subcommands that Redan answers itself, and the first servers that know them.
const NEWER: &[(Local, Since)] = &[
    (Local::ClientCapa, Since::valkey(Version(8, 0, 0))),
    // Of none: clients go on without.
    (Local::ClientMaintNotifications, Since { redis: None, valkey: None }),
    (Local::ClientNoTouch, Since::both(Version(7, 2, 0), Version(7, 2, 0))),
    (Local::ClientSetInfo, Since::both(Version(7, 2, 0), Version(7, 2, 0))),
];

/// Whether the server that leads the group does not know this subcommand.
pub(super) fn is_unknown(local: Local, edition: impl FnOnce() -> Edition) -> bool {
    NEWER.iter().find(|(newer, _)| *newer == local).is_some_and(|(_, since)| !edition().has(*since))
}

/// As the server says it, whatever else is wrong with the command.
pub(super) fn unknown_subcommand(raw: &[u8]) -> String {
    let mut words = arguments(raw);
    let container = String::from_utf8_lossy(words.next().unwrap_or_default()).to_uppercase();
    let sub = words.next().unwrap_or_default();
    let shown = String::from_utf8_lossy(&sub[..sub.len().min(128)]).into_owned();
    format!("ERR unknown subcommand '{shown}'. Try {container} HELP.")
}

/// What a local answer may depend on.
pub(super) struct Facts {
    pub(super) resp3: bool,
    /// What CLIENT INFO says, if that was asked.
    pub(super) info: Option<String>,
}

/// Appends the reply to `out`.
pub(super) fn answer(
    local: Local,
    frame: &Frame,
    raw: &[u8],
    identity: &mut Identity,
    facts: &Facts,
    out: &mut Vec<u8>,
) {
    let name = frame.name.of(raw);
    let spec = command::lookup(name, frame.second.map(|second| second.of(raw)));
    if let Some(spec) = spec.filter(|spec| !spec.takes(frame.arguments)) {
        return encode::error(out, &wrong_arity(spec.name));
    }
    let mut words = arguments(raw).skip(1);
    match local {
        Local::Ping => match (words.next(), frame.arguments) {
            (None, _) => encode::simple(out, "PONG"),
            (Some(text), 2) => encode::bulk(out, text),
            _ => encode::error(out, &wrong_arity("ping")),
        },
        Local::Echo => encode::bulk(out, words.next().unwrap_or_default()),
        Local::AclWhoAmI => encode::bulk(out, identity.user.as_bytes()),
        // All of these ask for something Redan does anyway, or for which there is nothing to do.
        Local::ClientCapa => {
            identity.takes_redirects |= words.skip(1).any(|word| word.eq_ignore_ascii_case(b"REDIRECT"));
            encode::simple(out, "OK");
        }
        Local::ClientNoEvict => on_or_off(words.nth(1), &mut identity.no_evict, out),
        Local::ClientNoTouch => on_or_off(words.nth(1), &mut identity.no_touch, out),
        Local::ClientId => encode::integer(out, i64::try_from(identity.id).unwrap_or(i64::MAX)),
        Local::ClientGetName if identity.name.is_empty() => encode::null(out, facts.resp3),
        Local::ClientGetName => encode::bulk(out, identity.name.as_bytes()),
        Local::ClientSetName => set_name(words.nth(1), identity, out),
        Local::ClientSetInfo => set_info(words.nth(1), words.next(), identity, out),
        Local::ClientInfo => {
            encode::verbatim(out, facts.info.as_deref().unwrap_or_default(), facts.resp3);
        }
        Local::Auth
        | Local::ClientGetRedir
        | Local::ClientKill
        | Local::ClientList
        | Local::ClientMaintNotifications
        | Local::ClientPause
        | Local::ClientReply
        | Local::ClientTrackingInfo
        | Local::ClientUnblock
        | Local::ClientUnpause
        | Local::Hello
        | Local::Quit
        | Local::Reset
        | Local::Select => {
            debug_assert!(false, "{local:?} is answered elsewhere");
        }
    }
}

pub(super) fn wrong_arity(name: &str) -> String {
    format!("ERR wrong number of arguments for '{name}' command")
}

fn on_or_off(word: Option<&[u8]>, setting: &mut bool, out: &mut Vec<u8>) {
    let word = word.unwrap_or_default();
    let on = word.eq_ignore_ascii_case(b"ON");
    if on || word.eq_ignore_ascii_case(b"OFF") {
        *setting = on;
        encode::simple(out, "OK");
    } else {
        encode::error(out, "ERR syntax error");
    }
}

/// Names are shown in lines of `field=value`, so they hold printable ASCII without spaces (Redis `validateClientName`).
pub(super) fn is_plain(word: &[u8]) -> bool {
    word.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

fn text(word: &[u8]) -> Box<str> {
    String::from_utf8_lossy(word).into_owned().into_boxed_str()
}

fn set_name(name: Option<&[u8]>, identity: &mut Identity, out: &mut Vec<u8>) {
    let name = name.unwrap_or_default();
    if is_plain(name) {
        identity.name = text(name);
        encode::simple(out, "OK");
    } else {
        encode::error(out, "ERR Client names cannot contain spaces, newlines or special characters.");
    }
}

fn set_info(option: Option<&[u8]>, value: Option<&[u8]>, identity: &mut Identity, out: &mut Vec<u8>) {
    let (option, value) = (option.unwrap_or_default(), value.unwrap_or_default());
    // In errors it stands as the client wrote it.
    let name = String::from_utf8_lossy(option);
    let field = if option.eq_ignore_ascii_case(b"LIB-NAME") {
        &mut identity.library
    } else if option.eq_ignore_ascii_case(b"LIB-VER") {
        &mut identity.library_version
    } else {
        return encode::error(out, &format!("ERR Unrecognized option '{name}'"));
    };
    if is_plain(value) {
        *field = text(value);
        encode::simple(out, "OK");
    } else {
        encode::error(out, &format!("ERR {name} cannot contain spaces, newlines or special characters."));
    }
}

pub(super) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";

/// A number as Redis reads arguments: no sign but `-`, no space, no leading zero (Redis `string2ll`).
pub(super) fn integer(word: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(word).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == word).then_some(number)
}

/// CLIENT TRACKINGINFO of a session that does not track.
pub(super) fn no_tracking(resp3: bool, out: &mut Vec<u8>) {
    encode::map(out, 3, resp3);
    encode::bulk(out, b"flags");
    encode::set(out, 1, resp3);
    encode::bulk(out, b"off");
    encode::bulk(out, b"redirect");
    encode::integer(out, -1);
    encode::bulk(out, b"prefixes");
    encode::array(out, 0);
}
