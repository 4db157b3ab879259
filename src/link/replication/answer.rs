//! A master's answer to PSYNC or SYNC: the lines before the data and the stream.
//!
//! Used by `replication`, which hands it bytes as they pass. It only reads.

/// The longest line before the data: `+FULLRESYNC`, a replication ID and an offset have some 80 bytes.
const LINE: usize = 512;

/// One line, read from bytes that come in pieces.
#[derive(Debug, Default)]
pub(super) struct Line(Vec<u8>);

impl Line {
    /// Takes of `bytes` what belongs to the line; `Some` when it has ended, without its end. `Err`: this is no line.
    pub(super) fn take(&mut self, bytes: &mut &[u8]) -> Option<Result<Vec<u8>, ()>> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        self.0.extend_from_slice(part);
        *bytes = rest.get(1..).unwrap_or_default();
        if self.0.len() > LINE {
            return Some(Err(()));
        }
        end.map(|_| {
            let mut line = std::mem::take(&mut self.0);
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            Ok(line)
        })
    }
}

/// Where an answer to a command of the handshake ends: a line, or a bulk as INFO has it.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// The beginning of a line that says how long a bulk is.
    head: Vec<u8>,
    /// What is left of the bulk.
    left: u64,
}

impl Reply {
    /// How many of `bytes`, which must be some, belong to the answer, and whether it has ended.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        /// `$`, the digits of any length, and the end of the line.
        const HEAD: usize = 24;
        if self.left > 0 {
            let taken = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= taken as u64;
            return (taken, self.left == 0);
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        let room = HEAD.saturating_sub(self.head.len()).min(taken);
        self.head.extend_from_slice(&bytes[..room]);
        if end.is_none() {
            return (taken, false);
        }
        let head = std::mem::take(&mut self.head);
        let digits = std::str::from_utf8(&head).ok().and_then(|line| line.strip_prefix('$'));
        let length = digits.and_then(|digits| digits.trim_end().parse::<u64>().ok());
        // Behind the bulk stands the end of a line.
        self.left = length.map_or(0, |length| length.saturating_add(2));
        (taken, self.left == 0)
    }
}

/// What a line means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The master is alive and not yet ready: an empty line.
    Wait,
    /// Everything comes; the stream will begin behind `offset`.
    Full {
        history: String,
        offset: u64,
    },
    /// The stream goes on, perhaps under another name.
    Partial {
        history: Option<String>,
    },
    /// Everything comes over a second connection; the stream over this one, behind what that one says.
    Beside {
        id: u64,
    },
    /// Everything comes over a second connection, and PSYNC will be said again on this one.
    Before,
    /// How the data comes.
    Data(Payload),
    /// A line ahead of the data which says where that ends in the stream.
    End {
        history: Option<String>,
        offset: Option<u64>,
    },
    Refused,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    Bytes(u64),
    /// Until these 40 bytes come.
    Until([u8; 40]),
}

pub(super) fn answer(line: &[u8]) -> Answer {
    let Ok(text) = std::str::from_utf8(line) else { return Answer::Unknown };
    let mut words = text.split(' ');
    let first = words.next().unwrap_or_default();
    let mut word = || words.next().map(str::to_owned);
    match first {
        "" => Answer::Wait,
        "+FULLRESYNC" => match (word(), word().and_then(|offset| offset.parse().ok())) {
            (Some(history), Some(offset)) => Answer::Full { history, offset },
            _ => Answer::Unknown,
        },
        "+CONTINUE" => Answer::Partial { history: word() },
        "+RDBCHANNELSYNC" => word().and_then(|id| id.parse().ok()).map_or(Answer::Unknown, |id| Answer::Beside { id }),
        "+DUALCHANNELSYNC" => Answer::Before,
        _ if first.starts_with('-') => Answer::Refused,
        _ => match first.strip_prefix('$') {
            Some(rest) => payload(rest, word()),
            None => Answer::Unknown,
        },
    }
}

fn payload(first: &str, second: Option<String>) -> Answer {
    if let Some(offset) = first.strip_prefix("ENDOFF:") {
        return Answer::End { history: second, offset: offset.parse().ok() };
    }
    if let Some(mark) = first.strip_prefix("EOF:") {
        let mark = mark.as_bytes().try_into().ok();
        return mark.map_or(Answer::Unknown, |mark| Answer::Data(Payload::Until(mark)));
    }
    first.parse().map_or(Answer::Unknown, |bytes| Answer::Data(Payload::Bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let full = || Answer::Full { history: "a".repeat(40), offset: 7 };
        let mark = *b"0123456789012345678901234567890123456789";
        for (line, expected) in [
            (format!("+FULLRESYNC {} 7", "a".repeat(40)), full()),
            ("+CONTINUE".to_owned(), Answer::Partial { history: None }),
            ("+CONTINUE abc".to_owned(), Answer::Partial { history: Some("abc".to_owned()) }),
            ("+RDBCHANNELSYNC 12".to_owned(), Answer::Beside { id: 12 }),
            ("+DUALCHANNELSYNC".to_owned(), Answer::Before),
            ("$12".to_owned(), Answer::Data(Payload::Bytes(12))),
            (format!("$EOF:{}", String::from_utf8_lossy(&mark)), Answer::Data(Payload::Until(mark))),
            ("$ENDOFF:12 abc 0 3".to_owned(), Answer::End { history: Some("abc".to_owned()), offset: Some(12) }),
            ("-NOMASTERLINK Can't SYNC".to_owned(), Answer::Refused),
            (String::new(), Answer::Wait),
            ("+FULLRESYNC".to_owned(), Answer::Unknown),
            ("$EOF:short".to_owned(), Answer::Unknown),
            ("value".to_owned(), Answer::Unknown),
        ] {
            assert_eq!(answer(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn replies_end_where_they_end() {
        let said = b"+OK\r\n$5\r\n+a\r\nb\r\n-NOPERM no\r\n$0\r\n\r\n$-1\r\n";
        for piece in [1, 2, 5, said.len()] {
            let (mut reply, mut at, mut ends) = (Reply::default(), 0, Vec::new());
            while at < said.len() {
                let (taken, ended) = reply.take(&said[at..said.len().min(at + piece)]);
                assert!(taken > 0);
                at += taken;
                ends.extend(ended.then_some(at));
            }
            assert_eq!(ends, [5, 16, 28, 34, 39], "pieces of {piece}");
        }
    }

    #[test]
    fn lines_come_in_pieces_and_end() {
        let mut line = Line::default();
        let mut found = Vec::new();
        for piece in b"\n+CONTINUE\r\nrest".chunks(3) {
            let mut bytes = piece;
            while !bytes.is_empty() {
                found.extend(line.take(&mut bytes).map(|line| String::from_utf8(line.expect("a line")).expect("text")));
            }
        }
        assert_eq!(found, ["", "+CONTINUE"]);
        let long = vec![b'x'; LINE + 1];
        assert_eq!(Line::default().take(&mut &long[..]), Some(Err(())));
    }
}
