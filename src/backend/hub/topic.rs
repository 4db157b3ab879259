//! What a client can subscribe to: a channel, a pattern or a shard channel, and the words servers use for each.
//!
//! Pure. Used by the hub and by sessions, which must agree on every word.

use std::rc::Rc;

/// The three name spaces of subscriptions. Their discriminants index tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Channel,
    Pattern,
    Shard,
}

/// Shared between the hub's table and the sessions' sets, so that ten thousand subscribers of one channel keep one name.
pub(crate) type Name = Rc<[u8]>;

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Channel, Self::Pattern, Self::Shard];

    pub(crate) fn subscribe(self) -> &'static str {
        match self {
            Self::Channel => "subscribe",
            Self::Pattern => "psubscribe",
            Self::Shard => "ssubscribe",
        }
    }

    pub(crate) fn unsubscribe(self) -> &'static str {
        match self {
            Self::Channel => "unsubscribe",
            Self::Pattern => "punsubscribe",
            Self::Shard => "sunsubscribe",
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::Channel => "message",
            Self::Pattern => "pmessage",
            Self::Shard => "smessage",
        }
    }

    /// The kind whose word, as `of` gives it, this is.
    fn by(word: &[u8], of: fn(Self) -> &'static str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| of(*kind).as_bytes() == word)
    }

    /// What a command of this name does: subscribes (`true`) or unsubscribes.
    pub(crate) fn of_command(name: &str) -> Option<(Self, bool)> {
        let name = name.as_bytes();
        Self::by(name, Self::subscribe)
            .map(|kind| (kind, true))
            .or_else(|| Self::by(name, Self::unsubscribe).map(|kind| (kind, false)))
    }
}

/// What a node says on a connection with subscriptions.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// Of a message only the beginning need be there.
    Message(Kind, &'a [u8]),
    Subscribed(Kind, &'a [u8]),
    /// `None`: there was nothing to unsubscribe from.
    Unsubscribed(Kind, Option<&'a [u8]>),
    Pong,
    Error(&'a [u8]),
    /// Nothing that belongs here, or too little of it.
    Unknown,
}

/// The topic of a message; `None`: it is something else.
pub(crate) fn topic_of(value: &[u8]) -> Option<(Kind, &[u8])> {
    if let Said::Message(kind, name) = said(value) { Some((kind, name)) } else { None }
}

/// Reads the beginning of a value.
pub(super) fn said(value: &[u8]) -> Said<'_> {
    match value.first() {
        Some(b'-') => return Said::Error(value[1..].trim_ascii_end()),
        Some(b'+') => return Said::Pong,
        Some(b'*' | b'>') => {}
        _ => return Said::Unknown,
    }
    let Some(start) = line_end(value, 0) else {
        return Said::Unknown;
    };
    let Some((Some(word), rest)) = bulk(value, start) else {
        return Said::Unknown;
    };
    if word == b"pong" {
        return Said::Pong;
    }
    let Some((name, _)) = bulk(value, rest) else {
        return Said::Unknown;
    };
    if let Some(kind) = Kind::by(word, Kind::unsubscribe) {
        return Said::Unsubscribed(kind, name);
    }
    let Some(name) = name else {
        return Said::Unknown;
    };
    Kind::by(word, Kind::message)
        .map(|kind| Said::Message(kind, name))
        .or_else(|| Kind::by(word, Kind::subscribe).map(|kind| Said::Subscribed(kind, name)))
        .unwrap_or(Said::Unknown)
}

/// The bulk at `at` and where it ends; `Some((None, _))` is null, `None` something else or too little.
fn bulk(value: &[u8], at: usize) -> Option<(Option<&[u8]>, usize)> {
    if *value.get(at)? == b'_' {
        return Some((None, at + 3));
    }
    let start = line_end(value, at)?;
    let digits = value[at..start - 2].strip_prefix(b"$")?;
    let Ok(length) = std::str::from_utf8(digits).ok()?.parse::<usize>() else {
        return (digits == b"-1").then_some((None, start));
    };
    let end = start.checked_add(length)?;
    Some((Some(value.get(start..end)?), end.checked_add(2)?))
}

fn line_end(value: &[u8], at: usize) -> Option<usize> {
    memchr::memmem::find(value.get(at..)?, b"\r\n").map(|position| at + position + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_is_told_apart() {
        for (bytes, expected) in [
            (&b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n"[..], Said::Message(Kind::Channel, b"a")),
            // The rest of the payload has not come.
            (b"*4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$1\r\na\r\n$900\r\nx", Said::Message(Kind::Pattern, b"a*")),
            (b"*3\r\n$8\r\nsmessage\r\n$0\r\n\r\n$2\r\nhi\r\n", Said::Message(Kind::Shard, b"")),
            (b"*3\r\n$9\r\nsubscribe\r\n$3\r\na\r\n\r\n:1\r\n", Said::Subscribed(Kind::Channel, b"a\r\n")),
            (b">3\r\n$12\r\npunsubscribe\r\n$1\r\na\r\n:0\r\n", Said::Unsubscribed(Kind::Pattern, Some(b"a"))),
            (b"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n", Said::Unsubscribed(Kind::Channel, None)),
            (b">3\r\n$11\r\nunsubscribe\r\n_\r\n:0\r\n", Said::Unsubscribed(Kind::Channel, None)),
            (b"*2\r\n$4\r\npong\r\n$0\r\n\r\n", Said::Pong),
            (b"+PONG\r\n", Said::Pong),
            (b"-NOPERM no\r\n", Said::Error(b"NOPERM no")),
            (b"*3\r\n$7\r\nmessage\r\n$9\r\na", Said::Unknown),
            (b":1\r\n", Said::Unknown),
            (b"*1\r\n:1\r\n", Said::Unknown),
            (b"*3\r\n$18446744073709551615\r\nx", Said::Unknown),
        ] {
            assert_eq!(said(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn commands_by_name() {
        assert_eq!(Kind::of_command("ssubscribe"), Some((Kind::Shard, true)));
        assert_eq!(Kind::of_command("punsubscribe"), Some((Kind::Pattern, false)));
        assert_eq!(Kind::of_command("publish"), None);
    }
}
