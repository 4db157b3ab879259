//! Where the data of a full sync ends, seen from the bytes that pass.
//!
//! Used by `replication`. It looks at no more than the last 40 bytes of what it is handed, as the replica does: behind the mark
//! a master says nothing until the replica has answered, so the mark ends what was read.

use super::answer::Payload;

const MARK: usize = 40;

#[derive(Debug)]
pub(super) enum Rdb {
    Bytes {
        left: u64,
    },
    Until {
        mark: [u8; MARK],
        /// The last bytes that passed.
        tail: [u8; MARK],
    },
}

impl Rdb {
    pub(super) fn new(payload: Payload) -> Self {
        match payload {
            Payload::Bytes(left) => Self::Bytes { left },
            // The mark is 40 hexadecimal digits, so zeros are none.
            Payload::Until(mark) => Self::Until { mark, tail: [0; MARK] },
        }
    }

    /// How many of `bytes` belong to the data.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Bytes { left } => {
                let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                taken
            }
            Self::Until { tail, .. } => {
                let new = &bytes[bytes.len().saturating_sub(MARK)..];
                tail.copy_within(new.len().., 0);
                tail[MARK - new.len()..].copy_from_slice(new);
                bytes.len()
            }
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::Bytes { left } => *left == 0,
            Self::Until { mark, tail } => mark == tail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_end_where_the_master_says() {
        let mark = *b"abcdefabcdefabcdefabcdefabcdefabcdefabcd";
        let data: Vec<u8> = (0..1000_u32).map(|at| at as u8).collect();
        let marked = [&data[..], &mark[..20], &data[..], &mark[..]].concat();
        for piece in [1, 7, 39, 40, 41, 500, 5000] {
            let mut rdb = Rdb::new(Payload::Until(mark));
            let mut seen = 0;
            for part in marked.chunks(piece) {
                assert!(!rdb.has_ended(), "pieces of {piece}: after {seen}");
                seen += rdb.take(part);
            }
            assert!(rdb.has_ended() && seen == marked.len(), "pieces of {piece}");

            let mut rdb = Rdb::new(Payload::Bytes(data.len() as u64));
            let taken: usize = [&data[..], b"stream"].concat().chunks(piece).map(|part| rdb.take(part)).sum();
            assert!(rdb.has_ended() && taken == data.len(), "pieces of {piece}");
        }
    }
}
