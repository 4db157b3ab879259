//! CLIENT TRACKING and CLIENT CACHING: read in Redis's order, refused in its words, and put together again for a node.
//!
//! Pure. An error is the reply.

use std::collections::BTreeSet;

use crate::resp::encode;
use crate::session::local::{NOT_AN_INTEGER, integer};

/// How a session tracks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::session) struct Options {
    pub(in crate::session) bcast: bool,
    pub(super) optin: bool,
    pub(super) optout: bool,
    pub(super) noloop: bool,
    /// The session that gets the invalidations; 0: this one.
    pub(super) redirect: u64,
    /// With `bcast`. The empty one stands for all keys.
    pub(super) prefixes: BTreeSet<Vec<u8>>,
    /// Those of them that the last CLIENT TRACKING added.
    added: BTreeSet<Vec<u8>>,
}

/// A CLIENT TRACKING.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Judged before anything that stands behind it: whether such a client exists.
    pub(super) redirect: Option<i64>,
    /// What it comes to if that client exists; off without options.
    pub(super) wish: Result<Option<Options>, String>,
}

const SYNTAX: &str = "ERR syntax error";
pub(super) const NO_SUCH_CLIENT: &str = "ERR The client ID you want redirect to does not exist";

/// `words` follow `CLIENT TRACKING`; `now` is how the session tracks already.
pub(super) fn tracking(words: &[&[u8]], now: Option<&Options>) -> Asked {
    let mut redirect = None;
    let wish = wish(words, now, &mut redirect);
    Asked { redirect, wish }
}

fn wish(words: &[&[u8]], now: Option<&Options>, redirect: &mut Option<i64>) -> Result<Option<Options>, String> {
    let (switch, mut rest) = words.split_first().ok_or(SYNTAX)?;
    let mut asked = Options::default();
    let mut prefixes: Vec<&[u8]> = Vec::new();
    while let Some((option, behind)) = rest.split_first() {
        rest = behind;
        let named = |name: &[u8]| option.eq_ignore_ascii_case(name);
        match (rest.first(), ()) {
            (Some(id), ()) if named(b"REDIRECT") => {
                rest = &rest[1..];
                if redirect.is_some() {
                    return Err("ERR A client can only redirect to a single other client".to_owned());
                }
                *redirect = Some(integer(id).ok_or(NOT_AN_INTEGER)?);
            }
            (Some(prefix), ()) if named(b"PREFIX") => {
                rest = &rest[1..];
                prefixes.push(prefix);
            }
            _ if named(b"BCAST") => asked.bcast = true,
            _ if named(b"OPTIN") => asked.optin = true,
            _ if named(b"OPTOUT") => asked.optout = true,
            _ if named(b"NOLOOP") => asked.noloop = true,
            _ => return Err(SYNTAX.to_owned()),
        }
    }
    if switch.eq_ignore_ascii_case(b"OFF") {
        return Ok(None);
    }
    if !switch.eq_ignore_ascii_case(b"ON") {
        return Err(SYNTAX.to_owned());
    }
    fits(&asked, &prefixes, now)?;
    asked.redirect = redirect.and_then(|id| u64::try_from(id).ok()).unwrap_or(0);
    if asked.bcast {
        asked.prefixes = now.map(|now| now.prefixes.clone()).unwrap_or_default();
        let all: &[&[u8]] = if prefixes.is_empty() { &[b""] } else { &prefixes };
        asked.added = all.iter().map(|prefix| prefix.to_vec()).collect();
        asked.prefixes.extend(asked.added.iter().cloned());
    }
    Ok(Some(asked))
}

/// Whether options fit each other and what the session has.
fn fits(asked: &Options, prefixes: &[&[u8]], now: Option<&Options>) -> Result<(), String> {
    let refused = |words: &str| Err(words.to_owned());
    if !asked.bcast && !prefixes.is_empty() {
        return refused("ERR PREFIX option requires BCAST mode to be enabled");
    }
    if now.is_some_and(|now| now.bcast != asked.bcast) {
        return refused(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it \
             with a different mode.",
        );
    }
    if asked.bcast && (asked.optin || asked.optout) {
        return refused("ERR OPTIN and OPTOUT are not compatible with BCAST");
    }
    if asked.optin && asked.optout {
        return refused("ERR You can't specify both OPTIN mode and OPTOUT mode");
    }
    if now.is_some_and(|now| (asked.optin && now.optout) || (asked.optout && now.optin)) {
        return refused(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it \
             with a different mode.",
        );
    }
    let text = String::from_utf8_lossy;
    let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
    for (at, prefix) in prefixes.iter().enumerate() {
        let known = now.into_iter().flat_map(|now| &now.prefixes).find(|known| overlap(known, prefix));
        if let Some(known) = known {
            return Err(format!(
                "ERR Prefix '{}' overlaps with an existing prefix '{}'. Prefixes for a single client must not overlap.",
                text(prefix),
                text(known)
            ));
        }
        if let Some(other) = prefixes[at + 1..].iter().find(|other| overlap(other, prefix)) {
            return Err(format!(
                "ERR Prefix '{}' overlaps with another provided prefix '{}'. Prefixes for a single client must not \
                 overlap.",
                text(prefix),
                text(other)
            ));
        }
    }
    Ok(())
}

/// `word` follows `CLIENT CACHING`.
pub(super) fn caching(word: &[u8], now: Option<&Options>) -> Result<(), String> {
    let refused = |words: &str| Err(words.to_owned());
    let Some(now) = now else {
        return refused(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        );
    };
    let (yes, no) = (word.eq_ignore_ascii_case(b"YES"), word.eq_ignore_ascii_case(b"NO"));
    if yes && !now.optin {
        return refused("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.");
    }
    if no && !now.optout {
        return refused("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.");
    }
    if yes || no { Ok(()) } else { refused(SYNTAX) }
}

impl Options {
    /// The commands that make a connection track like this, and how many they are; `target` gets what is redirected.
    /// One that tracks already is told of what was added alone: the rest would overlap with itself.
    pub(super) fn commands(&self, out: &mut Vec<u8>, target: Option<u64>, tracks_already: bool) -> usize {
        let prefixes = if tracks_already { &self.added } else { &self.prefixes };
        // The empty prefix overlaps with every other one, unless it is asked for by naming none.
        let named: Vec<&[u8]> = prefixes.iter().map(Vec::as_slice).filter(|prefix| !prefix.is_empty()).collect();
        let all_keys = named.len() < prefixes.len();
        if !named.is_empty() || !all_keys {
            self.command(out, target, &named);
        }
        if all_keys {
            self.command(out, target, &[]);
        }
        1 + usize::from(all_keys && !named.is_empty())
    }

    fn command(&self, out: &mut Vec<u8>, target: Option<u64>, prefixes: &[&[u8]]) {
        let target = target.map(|target| target.to_string());
        let mut words: Vec<&[u8]> = vec![b"CLIENT", b"TRACKING", b"ON"];
        if let Some(target) = &target {
            words.extend([b"REDIRECT", target.as_bytes()]);
        }
        let flags: [(bool, &[u8]); 4] =
            [(self.bcast, b"BCAST"), (self.optin, b"OPTIN"), (self.optout, b"OPTOUT"), (self.noloop, b"NOLOOP")];
        words.extend(flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name));
        for &prefix in prefixes {
            words.extend([b"PREFIX", prefix]);
        }
        encode::command(out, &words);
    }

    /// The reply to CLIENT TRACKINGINFO.
    pub(super) fn info(&self, out: &mut Vec<u8>, caching: bool, broken: bool, resp3: bool) {
        let flags: [(bool, &str); 8] = [
            (true, "on"),
            (self.bcast, "bcast"),
            (self.optin, "optin"),
            (self.optin && caching, "caching-yes"),
            (self.optout, "optout"),
            (self.optout && caching, "caching-no"),
            (self.noloop, "noloop"),
            (broken, "broken_redirect"),
        ];
        encode::map(out, 3, resp3);
        encode::bulk(out, b"flags");
        encode::set(out, flags.iter().filter(|(on, _)| *on).count(), resp3);
        flags.iter().filter(|(on, _)| *on).for_each(|(_, flag)| encode::bulk(out, flag.as_bytes()));
        encode::bulk(out, b"redirect");
        encode::integer(out, i64::try_from(self.redirect).unwrap_or(i64::MAX));
        encode::bulk(out, b"prefixes");
        encode::array(out, self.prefixes.len());
        self.prefixes.iter().for_each(|prefix| encode::bulk(out, prefix));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str, now: Option<&Options>) -> Result<Option<Options>, String> {
        tracking(&line.split_whitespace().map(str::as_bytes).collect::<Vec<_>>(), now).wish
    }

    fn on(line: &str, now: Option<&Options>) -> Options {
        ask(line, now).expect("well formed").expect("on")
    }

    #[test]
    fn options_become_a_command_again() {
        for (line, expected) in [
            ("on", "CLIENT TRACKING ON"),
            ("ON noloop optin", "CLIENT TRACKING ON OPTIN NOLOOP"),
            ("ON PREFIX b BCAST PREFIX a", "CLIENT TRACKING ON BCAST PREFIX a PREFIX b"),
        ] {
            let mut found = Vec::new();
            assert_eq!(on(line, None).commands(&mut found, None, false), 1);
            assert_eq!(found, encode::command_of(expected), "{line}");
        }
        let all = on("ON BCAST", Some(&on("ON BCAST PREFIX a", None)));
        assert_eq!(all.commands(&mut Vec::new(), None, false), 2, "on a fresh connection");
        assert_eq!(all.commands(&mut Vec::new(), None, true), 1);
    }

    /// The order of the checks and the words are compared with a server in `tests/it/tracking.rs`.
    #[test]
    fn what_does_not_fit_is_refused() {
        let bcast = on("ON BCAST PREFIX a", None);
        assert!(ask("ON", Some(&bcast)).is_err());
        assert!(ask("ON BCAST PREFIX ab", Some(&bcast)).is_err_and(|words| words.contains("existing prefix 'a'")));
        assert_eq!(on("ON BCAST PREFIX b", Some(&bcast)).prefixes.len(), 2);
        assert!(ask("ON BCAST PREFIX a PREFIX a", None).is_err());
        assert_eq!(ask("OFF OPTIN", Some(&bcast)), Ok(None));
        let asked = tracking(&[b"ON", b"REDIRECT", b"7", b"FOO"], None);
        assert_eq!((asked.redirect, asked.wish), (Some(7), Err(SYNTAX.to_owned())));
        assert_eq!(caching(b"YES", Some(&on("ON OPTIN", None))), Ok(()));
        assert!(caching(b"NO", Some(&on("ON OPTIN", None))).is_err());
        assert!(caching(b"YES", None).is_err());
    }
}
