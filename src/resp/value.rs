//! A reply as a tree, for those who must understand it: probes, and the readers of ROLE.
//!
//! The `redis-protocol` crate decodes. It recurses and hashes map keys, so [`measure`] walks the bytes first
//! and refuses what could exhaust the stack or panic there. Never used on the data path, which forwards bytes.

use std::fmt;

use redis_protocol::resp2;
use redis_protocol::resp3;

/// Aggregates inside aggregates that are accepted. COMMAND DOCS, the deepest reply known, nests about ten deep.
const DEPTH: usize = 32;

/// One decoded value. Simple, bulk, verbatim and big-number strings are all `Text`; attributes are dropped.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(Vec<u8>),
    /// The error line without its `-`.
    Error(String),
    Integer(i64),
    Double(f64),
    Boolean(bool),
    Null,
    /// Arrays, sets and pushes.
    Array(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

/// The node sent what is not RESP: it is at fault, and its connection has to be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node's reply is not valid RESP: {0}")]
pub(crate) struct ValueError(String);

impl ValueError {
    fn new(text: impl fmt::Display) -> Self {
        Self(text.to_string())
    }
}

/// Decodes the first value of `buf` and says how many bytes it took; `None` when it is not complete yet.
pub(crate) fn decode(buf: &[u8], resp3: bool) -> Result<Option<(Value, usize)>, ValueError> {
    let Some(len) = measure(buf)? else { return Ok(None) };
    let whole = &buf[..len];
    let value = if resp3 {
        resp3::decode::complete::decode(whole)
            .map_err(ValueError::new)?
            .map(|(frame, taken)| (from_resp3(frame), taken))
    } else {
        resp2::decode::decode(whole).map_err(ValueError::new)?.map(|(frame, taken)| (from_resp2(frame), taken))
    };
    match value {
        Some((value, taken)) if taken == len => Ok(Some((value, len))),
        _ => Err(ValueError::new("its end is not where its lengths say")),
    }
}

impl Value {
    /// The bytes of a string.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Text(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The characters of a string that is UTF-8.
    pub(crate) fn text(&self) -> Option<&str> {
        self.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// An integer, or a string that is one (ROLE gives ports as strings in replica lists).
    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Text(_) => self.text()?.parse().ok(),
            _ => None,
        }
    }

    pub(crate) fn error(&self) -> Option<&str> {
        match self {
            Self::Error(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn items(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The value under `key`, in a map or in the flat array that RESP2 sends in its place.
    pub(crate) fn field(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(pairs) => pairs.iter().find(|(k, _)| k.text() == Some(key)).map(|(_, v)| v),
            Self::Array(items) => items.chunks_exact(2).find(|pair| pair[0].text() == Some(key)).map(|pair| &pair[1]),
            _ => None,
        }
    }
}

/// An aggregate whose values are still being read.
struct Open {
    lacking: u64,
    /// Values that the decoder hashes, and so must not be aggregates themselves.
    scalars: Scalars,
}

#[derive(Clone, Copy, PartialEq)]
enum Scalars {
    Nowhere,
    /// The keys of a map: every other value, counted down from an even number.
    Keys,
    /// The members of a set.
    Everywhere,
}

/// The length of the first value of `buf`, or `None` when it is incomplete.
fn measure(buf: &[u8]) -> Result<Option<usize>, ValueError> {
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    loop {
        let Some(&kind) = buf.get(at) else { return Ok(None) };
        let Some(line) = line_length(&buf[at..])? else { return Ok(None) };
        let header = &buf[at + 1..at + line];
        at += line + 2;
        let (children, scalars) = match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => (0, Scalars::Nowhere),
            b'$' | b'!' | b'=' => match string_end(buf, at, header)? {
                Some(end) => {
                    at = end;
                    (0, Scalars::Nowhere)
                }
                None => return Ok(None),
            },
            b'*' | b'>' => (length(header)?.unwrap_or(0), Scalars::Nowhere),
            b'~' => (length(header)?.unwrap_or(0), Scalars::Everywhere),
            // `length` is at most 2^29, so doubling it cannot overflow.
            b'%' => (length(header)?.unwrap_or(0) * 2, Scalars::Keys),
            other => return Err(ValueError::new(format_args!("no accepted value begins with byte 0x{other:02x}"))),
        };
        if let Some(top) = open.last_mut() {
            let hashed = match top.scalars {
                Scalars::Nowhere => false,
                Scalars::Keys => top.lacking % 2 == 0,
                Scalars::Everywhere => true,
            };
            if hashed && matches!(kind, b'*' | b'>' | b'~' | b'%') {
                return Err(ValueError::new("an aggregate is the key of a map or the member of a set"));
            }
            top.lacking -= 1;
        }
        if children > 0 {
            if open.len() == DEPTH {
                return Err(ValueError::new(format_args!("it nests deeper than {DEPTH} levels")));
            }
            open.push(Open { lacking: children, scalars });
        }
        // A finished aggregate was counted in its parent when its header was read.
        while open.last().is_some_and(|top| top.lacking == 0) {
            open.pop();
        }
        if open.is_empty() {
            return Ok(Some(at));
        }
    }
}

/// Where the first CRLF of `buf` is; `None` when it has not arrived.
fn line_length(buf: &[u8]) -> Result<Option<usize>, ValueError> {
    match buf.iter().position(|&byte| byte == b'\n') {
        Some(end) if end >= 2 && buf[end - 1] == b'\r' => Ok(Some(end - 1)),
        Some(_) => Err(ValueError::new("a line does not end in CRLF")),
        None if buf.len() > crate::limits::INLINE => Err(ValueError::new("a line is longer than 64 KiB")),
        None => Ok(None),
    }
}

/// The number of a length header; `None` for the null of RESP2 (`-1`).
fn length(header: &[u8]) -> Result<Option<u64>, ValueError> {
    let text = std::str::from_utf8(header).map_err(ValueError::new)?;
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        // Redis limits a string to 512 MB; more is a broken or hostile node, not a reply to wait for.
        Ok(number) if number > 0 && number.unsigned_abs() > crate::limits::BULK => {
            Err(ValueError::new(format_args!("a length of {number} is more than any reply has")))
        }
        Ok(number) if number >= 0 => Ok(Some(number.unsigned_abs())),
        _ => Err(ValueError::new(format_args!("'{}' is no length", text.escape_default()))),
    }
}

/// Where a string whose payload begins at `start` ends, CRLF included; `None` when it has not all arrived.
fn string_end(buf: &[u8], start: usize, header: &[u8]) -> Result<Option<usize>, ValueError> {
    let Some(len) = length(header)? else { return Ok(Some(start)) };
    let end = usize::try_from(len).ok().and_then(|len| start.checked_add(len)?.checked_add(2));
    let end = end.ok_or_else(|| ValueError::new("a string's length overflows"))?;
    match buf.get(end - 2..end) {
        None => Ok(None),
        Some(b"\r\n") => Ok(Some(end)),
        Some(_) => Err(ValueError::new("a string is longer than its length says")),
    }
}

fn from_resp2(frame: resp2::types::OwnedFrame) -> Value {
    use resp2::types::OwnedFrame as Frame;
    match frame {
        Frame::SimpleString(bytes) | Frame::BulkString(bytes) => Value::Text(bytes),
        Frame::Error(text) => Value::Error(text),
        Frame::Integer(number) => Value::Integer(number),
        Frame::Array(items) => Value::Array(items.into_iter().map(from_resp2).collect()),
        Frame::Null => Value::Null,
    }
}

fn from_resp3(frame: resp3::types::OwnedFrame) -> Value {
    use resp3::types::OwnedFrame as Frame;
    match frame {
        Frame::BlobString { data, .. }
        | Frame::SimpleString { data, .. }
        | Frame::BigNumber { data, .. }
        | Frame::VerbatimString { data, .. }
        | Frame::ChunkedString(data) => Value::Text(data),
        Frame::BlobError { data, .. } => Value::Error(String::from_utf8_lossy(&data).into_owned()),
        Frame::SimpleError { data, .. } => Value::Error(data),
        Frame::Boolean { data, .. } => Value::Boolean(data),
        Frame::Number { data, .. } => Value::Integer(data),
        Frame::Double { data, .. } => Value::Double(data),
        Frame::Array { data, .. } | Frame::Push { data, .. } => {
            Value::Array(data.into_iter().map(from_resp3).collect())
        }
        Frame::Set { data, .. } => Value::Array(data.into_iter().map(from_resp3).collect()),
        Frame::Map { data, .. } => {
            Value::Map(data.into_iter().map(|(key, value)| (from_resp3(key), from_resp3(value))).collect())
        }
        // No server sends HELLO; `measure` refuses what would decode to it.
        Frame::Null | Frame::Hello { .. } => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str, resp3: bool) -> Value {
        let (value, len) = decode(text.as_bytes(), resp3).expect("valid").expect("complete");
        assert_eq!(len, text.len());
        value
    }

    #[test]
    fn role_reply_of_a_master_with_one_replica() {
        let role = "*3\r\n$6\r\nmaster\r\n:3129659\r\n*1\r\n*3\r\n$9\r\n127.0.0.1\r\n$4\r\n9001\r\n$7\r\n3129242\r\n";
        for resp3 in [false, true] {
            let value = whole(role, resp3);
            let items = value.items().expect("array");
            assert_eq!(items[0].text(), Some("master"));
            assert_eq!(items[1].integer(), Some(3_129_659));
            let replica = items[2].items().expect("array")[0].items().expect("array");
            assert_eq!(replica[1].integer(), Some(9001));
        }
    }

    #[test]
    fn fields_of_hello_are_found_in_both_protocols() {
        let flat = whole("*4\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$5\r\nproto\r\n:2\r\n", false);
        let map = whole("%2\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$5\r\nproto\r\n:3\r\n", true);
        assert_eq!(flat.field("role").and_then(Value::text), Some("master"));
        assert_eq!(map.field("role").and_then(Value::text), Some("master"));
        assert_eq!(map.field("proto").and_then(Value::integer), Some(3));
        assert_eq!(map.field("absent"), None);
    }

    #[test]
    fn every_prefix_of_a_reply_is_incomplete() {
        for text in ["*2\r\n$3\r\nfoo\r\n*1\r\n:1\r\n", "%1\r\n+a\r\n=7\r\ntxt:abc\r\n", "-ERR no\r\n", "$0\r\n\r\n"] {
            for end in 0..text.len() {
                assert_eq!(decode(&text.as_bytes()[..end], true), Ok(None), "{text:?} cut at {end}");
            }
            whole(text, true);
        }
    }

    #[test]
    fn hostile_replies_are_refused_and_do_not_panic() {
        let deep = "*1\r\n".repeat(100_000);
        for (text, part) in [
            (deep.as_str(), "nests deeper"),
            ("%1\r\n*1\r\n:1\r\n:2\r\n", "key of a map"),
            ("~1\r\n%0\r\n", "member of a set"),
            ("$9223372036854775807\r\n", "more than any"),
            ("%9223372036854775807\r\n", "more than any"),
            ("$-7\r\n", "no length"),
            ("$1\r\nab\r\n", "longer than its length"),
            ("+a\n", "CRLF"),
            ("\n", "CRLF"),
            ("HTTP/1.1 400 Bad Request\r\n", "0x48"),
        ] {
            for resp3 in [false, true] {
                let error = decode(text.as_bytes(), resp3).expect_err(part);
                assert!(error.to_string().contains(part), "{error} does not say '{part}'");
            }
        }
    }

    #[test]
    fn nulls_errors_and_text() {
        assert_eq!(whole("$-1\r\n", false), Value::Null);
        assert_eq!(whole("*-1\r\n", false), Value::Null);
        assert_eq!(whole("_\r\n", true), Value::Null);
        assert_eq!(whole("-NOAUTH x\r\n", false).error(), Some("NOAUTH x"));
        assert_eq!(whole("=7\r\ntxt:abc\r\n", true).text(), Some("abc"));
        assert_eq!(whole("$1\r\n\u{7f}\r\n", false).bytes(), Some(&b"\x7f"[..]));
    }
}
