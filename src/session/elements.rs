//! Where the elements of an array reply begin and end: for whoever puts some of them right.
//!
//! Pure. The reply is complete: it was scanned as a whole before.

use crate::resp::reply::ReplyScanner;

/// Where the value that begins at `at` ends; `None` at the end of the bytes.
pub(super) fn end_of(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
    let scanned = ReplyScanner::new().advance(rest).ok()?;
    Some(at + scanned.consumed.max(1))
}

/// Where an array's first element begins; `None`: it is none, or null.
pub(super) fn first_of(array: &[u8]) -> Option<usize> {
    if !array.starts_with(b"*") || array.starts_with(b"*-") {
        return None;
    }
    memchr::memmem::find(array, b"\r\n").map(|at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_elements_of_an_array_one_by_one() {
        let array = b"*3\r\n$2\r\nab\r\n*2\r\n:1\r\n_\r\n+OK\r\n";
        let mut ends = vec![first_of(array).expect("an array")];
        while let Some(end) = end_of(array, ends[ends.len() - 1]) {
            ends.push(end);
        }
        assert_eq!(ends, [4, 12, 23, 28]);
        assert_eq!([&b"*-1\r\n"[..], b"_\r\n", b"-ERR\r\n"].map(first_of), [None; 3]);
        assert_eq!(first_of(b"*0\r\n"), Some(4));
        assert_eq!(end_of(b"*0\r\n", 4), None);
    }
}
