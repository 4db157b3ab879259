//! Replies as trees, for tests that compare two of them: what they have in common can be said of a tree, not of bytes.
//!
//! Used where a direct server is compared with Redan. Bytes are compared first; a tree is only for what may differ.

use std::fmt::Write;

use super::client::value_len;

/// One RESP value of either protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Value {
    /// The byte it begins with.
    pub(crate) kind: u8,
    pub(crate) null: bool,
    /// Of a scalar.
    pub(crate) text: Vec<u8>,
    /// Of an aggregate; a map's keys and values in turn.
    pub(crate) items: Vec<Self>,
}

impl Value {
    /// Of the bytes of one complete reply.
    pub(crate) fn of(reply: &[u8]) -> Self {
        assert_eq!(value_len(reply), Some(reply.len()), "not one reply: {:?}", String::from_utf8_lossy(reply));
        let mut rest = reply;
        Self::take(&mut rest)
    }

    fn take(rest: &mut &[u8]) -> Self {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("a line");
        let (kind, line) = (rest[0], &rest[1..end]);
        *rest = &rest[end + 2..];
        let mut value = Self { kind, null: false, text: Vec::new(), items: Vec::new() };
        let count = || std::str::from_utf8(line).expect("ASCII").parse::<i64>().expect("a number");
        match kind {
            b'$' | b'=' | b'!' => match usize::try_from(count()) {
                Ok(len) => {
                    value.text = rest[..len].to_vec();
                    *rest = &rest[len + 2..];
                }
                Err(_) => value.null = true,
            },
            b'*' | b'~' | b'>' | b'%' | b'|' => match usize::try_from(count()) {
                Ok(len) => {
                    // Behind an attribute comes the value it belongs to.
                    let len = match kind {
                        b'%' => 2 * len,
                        b'|' => 2 * len + 1,
                        _ => len,
                    };
                    value.items = (0..len).map(|_| Self::take(rest)).collect();
                }
                Err(_) => value.null = true,
            },
            b'_' => value.null = true,
            _ => value.text = line.to_vec(),
        }
        value
    }

    pub(crate) fn is_aggregate(&self) -> bool {
        matches!(self.kind, b'*' | b'~' | b'>' | b'%' | b'|') && !self.null
    }

    /// The same with every scalar reduced to its kind.
    pub(crate) fn types(&self) -> Self {
        let items = self.items.iter().map(Self::types).collect();
        Self { kind: self.kind, null: self.null, text: Vec::new(), items }
    }

    /// The same with the elements of every aggregate in order, pairs kept together in maps.
    pub(crate) fn sorted(&self) -> Self {
        let mut items: Vec<Self> = self.items.iter().map(Self::sorted).collect();
        if self.kind == b'%' {
            let mut pairs: Vec<Vec<Self>> = items.chunks(2).map(<[Self]>::to_vec).collect();
            pairs.sort();
            items = pairs.concat();
        } else {
            items.sort();
        }
        Self { items, ..self.clone() }
    }

    /// The same with whatever follows one of these names reduced to its kind.
    pub(crate) fn masked(&self, names: &[&str]) -> Self {
        let mut items: Vec<Self> = self.items.iter().map(|item| item.masked(names)).collect();
        for at in 1..items.len() {
            if names.iter().any(|name| items[at - 1].text == name.as_bytes()) {
                items[at] = Self { kind: items[at].kind, null: false, text: Vec::new(), items: Vec::new() };
            }
        }
        Self { items, ..self.clone() }
    }

    /// The names of `name:value` and `name=value` in its texts, and of a map's or flat list's keys.
    pub(crate) fn fields(&self) -> Vec<String> {
        if self.is_aggregate() {
            let keys = self.items.iter().step_by(2);
            return keys.map(|key| String::from_utf8_lossy(&key.text).into_owned()).collect();
        }
        let text = String::from_utf8_lossy(&self.text);
        text.split_whitespace().filter_map(|word| Some(word.split_once([':', '='])?.0.to_owned())).collect()
    }

    /// On one line, for people.
    pub(crate) fn show(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        let kind = char::from(self.kind);
        if self.null {
            let _ = write!(out, "{kind}null");
        } else if self.is_aggregate() {
            let _ = write!(out, "{kind}[");
            for (at, item) in self.items.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                item.write(out);
            }
            out.push(']');
        } else {
            let _ = write!(out, "{kind}\"{}\"", self.text.escape_ascii());
        }
    }
}
