//! Walks over the arguments of a complete command without copying.
//!
//! For the few commands whose meaning depends on more than their first two arguments; the scanner has already
//! verified the frame, so nothing is checked twice here.

use super::number::number;

/// The arguments of a complete canonical frame, in order.
#[derive(Clone, Debug)]
pub(crate) struct Arguments<'a> {
    frame: &'a [u8],
    at: usize,
    left: u32,
}

/// Reads `frame`, the bytes of one command the scanner passed. Other bytes give fewer arguments, no panic.
pub(crate) fn arguments(frame: &[u8]) -> Arguments<'_> {
    let (left, at) = number(frame, 0).unwrap_or((0, 0));
    Arguments { frame, at, left }
}

impl<'a> Iterator for Arguments<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let (len, start) = number(self.frame, self.at)?;
        let end = start + len as usize;
        self.at = end + 2;
        self.frame.get(start..end)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left as usize))
    }
}
