//! Cursors of SCAN and its kin, marked with the run of the server that they belong to.
//!
//! A cursor is a position in one server's hash table. On another server it would skip keys without a word, and clients
//! page over different connections, through different workers and Redans, with a failover in between. So a cursor
//! goes out with a mark of its node's run in its high bits, and one that comes back to another run begins again at
//! zero: the client sees some elements twice, which SCAN promises anyway, and misses none.
//!
//! Pure. `adapted` uses it; a cursor inside a script goes out as the server wrote it, without a mark.

use crate::command::Care;
use crate::resp::encode;
use crate::resp::request::arguments;

/// Clients in JavaScript read numbers up to 2^53 exactly. 33 bits hold the cursors of 8 billion buckets, more keys than fit
/// into a server of 600 GB; 20 bits tell a million runs apart.
const RAW_BITS: u32 = 33;
const MARK_BITS: u32 = 20;
/// A larger table has a mark further up, below 2^63 for clients that read signed numbers.
const LARGE: u64 = 1 << 62;
const LARGE_RAW_BITS: u32 = 44;
const LARGE_MARK_BITS: u32 = 18;

/// The mark of a run: never zero, so that a cursor without a mark is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl Mark {
    pub(super) fn of(run: u32) -> Self {
        Self(u64::from(run % ((1 << MARK_BITS) - 1)) + 1)
    }

    fn short(self) -> u64 {
        self.0 & ((1 << LARGE_MARK_BITS) - 1)
    }

    /// The cursor as the client gets it.
    fn put_on(self, cursor: u64) -> u64 {
        if cursor == 0 || cursor >= 1 << LARGE_RAW_BITS {
            cursor
        } else if cursor < 1 << RAW_BITS {
            self.0 << RAW_BITS | cursor
        } else {
            LARGE | self.short() << LARGE_RAW_BITS | cursor
        }
    }

    /// The cursor as the server gave it, or zero if it was another server's.
    fn take_off(self, cursor: u64) -> u64 {
        let (mark, expected, raw) = if cursor & LARGE != 0 {
            (
                cursor >> LARGE_RAW_BITS & ((1 << LARGE_MARK_BITS) - 1),
                self.short(),
                cursor & ((1 << LARGE_RAW_BITS) - 1),
            )
        } else {
            (cursor >> RAW_BITS, self.0, cursor & ((1 << RAW_BITS) - 1))
        };
        if mark == expected || mark == 0 { raw } else { 0 }
    }

    /// The request as the server must get it; `None` when it can stay as it is.
    pub(super) fn request(self, care: Care, raw: &[u8]) -> Option<Vec<u8>> {
        let place = match care {
            Care::Cursor => 1,
            Care::KeyCursor => 2,
            _ => return None,
        };
        let mut words: Vec<&[u8]> = arguments(raw).collect();
        // What is no cursor the server refuses in its own words.
        let cursor = number(words.get(place)?)?;
        let bare = self.take_off(cursor);
        if bare == cursor {
            return None;
        }
        let bare = bare.to_string();
        words[place] = bare.as_bytes();
        let mut request = Vec::with_capacity(raw.len());
        encode::command(&mut request, &words);
        Some(request)
    }

    /// The beginning of the reply, as far as it has come, with the cursor marked. `None`: more of it is needed to say.
    /// An error, or what is no such reply, stays as it is.
    pub(super) fn reply(self, reply: &[u8]) -> Option<Vec<u8>> {
        const OPENING: &[u8] = b"*2\r\n$";
        let same = || Some(reply.to_vec());
        if !reply.starts_with(&OPENING[..OPENING.len().min(reply.len())]) {
            return same();
        }
        let rest = reply.get(OPENING.len()..)?;
        let header = rest.windows(2).position(|pair| pair == b"\r\n");
        // A cursor has at most 20 digits, its length two.
        let Some(header) = header else {
            return if rest.len() < 4 { None } else { same() };
        };
        let (Some(len), rest) = (number(&rest[..header]), &rest[header + 2..]) else {
            return same();
        };
        let len = usize::try_from(len).ok().filter(|&len| len <= 20)?;
        if rest.len() < len + 2 {
            return None;
        }
        let Some(cursor) = number(&rest[..len]) else {
            return same();
        };
        let mut marked = Vec::with_capacity(reply.len() + 20);
        encode::array(&mut marked, 2);
        encode::bulk(&mut marked, self.put_on(cursor).to_string().as_bytes());
        marked.extend_from_slice(&rest[len + 2..]);
        Some(marked)
    }
}

/// Digits only: what servers take beyond that (a sign, a space) no client sends back.
fn number(word: &[u8]) -> Option<u64> {
    let digits = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(word).ok().filter(|_| digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cursor_comes_back_to_its_own_run_and_begins_anew_on_another() {
        let (mine, other) = (Mark::of(7), Mark::of(8));
        let reply = mine.reply(b"*2\r\n$2\r\n17\r\n*1\r\n$1\r\na\r\n").expect("a whole reply");
        let marked = (8u64 << RAW_BITS | 17).to_string();
        assert_eq!(reply, format!("*2\r\n${}\r\n{marked}\r\n*1\r\n$1\r\na\r\n", marked.len()).into_bytes());
        assert!(marked.parse::<u64>().expect("a number") < 1 << 53);
        let request = encode::command_of(&format!("SCAN {marked} COUNT 5"));
        assert_eq!(mine.request(Care::Cursor, &request), Some(encode::command_of("SCAN 17 COUNT 5")));
        assert_eq!(other.request(Care::Cursor, &request), Some(encode::command_of("SCAN 0 COUNT 5")));
        let request = encode::command_of(&format!("HSCAN 17 {marked}"));
        assert_eq!(mine.request(Care::KeyCursor, &request), Some(encode::command_of("HSCAN 17 17")));
    }

    #[test]
    fn what_is_no_marked_cursor_stays_as_it_is() {
        let mark = Mark::of(7);
        for line in ["SCAN 0", "SCAN 17", "SCAN x", "SCAN -1", "SCAN", "SCAN "] {
            assert_eq!(mark.request(Care::Cursor, &encode::command_of(line)), None, "{line:?}");
        }
        for reply in
            ["-ERR invalid cursor\r\n", "*2\r\n$1\r\n0\r\n*0\r\n", "*0\r\n", "$1\r\n5\r\n", "*2\r\n:5\r\n*0\r\n"]
        {
            assert_eq!(mark.reply(reply.as_bytes()), Some(reply.as_bytes().to_vec()), "{reply}");
        }
    }

    #[test]
    fn half_a_cursor_waits_for_its_rest() {
        let whole = b"*2\r\n$3\r\n170\r\n*1\r\n";
        let cursor = b"*2\r\n$3\r\n170\r\n".len();
        for len in 0..whole.len() {
            assert_eq!(Mark::of(1).reply(&whole[..len]).is_some(), len >= cursor, "{len}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_server_gives_it_gets_back(run in any::<u32>(), other in any::<u32>(), cursor in 0u64..1 << 44) {
            let (mine, theirs) = (Mark::of(run), Mark::of(other));
            let marked = mine.put_on(cursor);
            prop_assert!(marked < 1 << 63);
            prop_assert_eq!(mine.take_off(marked), cursor);
            if mine.short() != theirs.short() {
                prop_assert_eq!(theirs.take_off(marked), 0);
            }
        }
    }
}
