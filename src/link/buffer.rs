//! Bytes that wait, in the order in which they came, in pieces of one size.
//!
//! Used for what was sent and may have to be sent again, and for what came and was not taken. Bytes are never moved; a
//! piece that is empty is filled again, so that steady traffic stays in the same few pages. Pure.

use std::collections::VecDeque;

use crate::limits::LINK_CHUNK as CHUNK;

/// As much as a usual window, so that bulk traffic asks for no memory.
const SPARE: usize = 128;

/// Invariant: every piece but the last is full up to its end; the first has lost `head` bytes.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    pieces: VecDeque<Box<[u8]>>,
    head: usize,
    length: usize,
    /// Empty, to be used again.
    spare: Vec<Box<[u8]>>,
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Where the next bytes may be written; never empty. [`Self::filled`] says how many were.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.length == 0 {
            self.head = 0;
        }
        let end = self.head + self.length;
        if end == self.pieces.len() * CHUNK {
            let piece = self.spare.pop().unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice());
            self.pieces.push_back(piece);
        }
        &mut self.pieces[end / CHUNK][end % CHUNK..]
    }

    pub(super) fn filled(&mut self, bytes: usize) {
        self.length += bytes;
        debug_assert!(self.head + self.length <= self.pieces.len() * CHUNK, "it was filled within its space");
    }

    pub(super) fn extend(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = self.space();
            let taken = space.len().min(bytes.len());
            space[..taken].copy_from_slice(&bytes[..taken]);
            self.filled(taken);
            bytes = &bytes[taken..];
        }
    }

    /// Forgets the first `bytes`, which must be there.
    pub(super) fn consume(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.length);
        let bytes = bytes.min(self.length);
        self.head += bytes;
        self.length -= bytes;
        while self.head >= CHUNK {
            self.head -= CHUNK;
            let piece = self.pieces.pop_front();
            self.spare.extend(piece.filter(|_| self.spare.len() < SPARE));
        }
    }

    /// Up to `most` bytes from the `from`-th on, in at most two pieces.
    pub(super) fn slices(&self, from: usize, most: usize) -> [&[u8]; 2] {
        let most = most.min(self.length.saturating_sub(from));
        if most == 0 {
            return [&[], &[]];
        }
        let at = self.head + from;
        let first = &self.pieces[at / CHUNK][at % CHUNK..];
        if most <= first.len() {
            return [&first[..most], &[]];
        }
        let rest = (most - first.len()).min(CHUNK);
        [first, &self.pieces[at / CHUNK + 1][..rest]]
    }

    pub(super) fn copy_to(&self, out: &mut Vec<u8>) {
        let mut from = 0;
        while from < self.length {
            for slice in self.slices(from, self.length) {
                out.extend_from_slice(slice);
                from += slice.len();
            }
        }
    }

    /// Gives back the memory of a buffer that is empty.
    pub(super) fn release(&mut self) {
        self.spare = Vec::new();
        if self.length == 0 {
            self.pieces = VecDeque::new();
            self.head = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_what_it_was_given_across_pieces() {
        let mut buffer = Buffer::default();
        let byte = |at: usize| (at * 31 % 251) as u8;
        let (mut written, mut read) = (0, 0);
        for round in 0..200 {
            let more: Vec<u8> = (written..written + 7919 * (round % 7)).map(byte).collect();
            buffer.extend(&more);
            written += more.len();
            for from in [0, 1, buffer.len() / 2] {
                for (at, there) in (read + from..).zip(buffer.slices(from, CHUNK).concat()) {
                    assert_eq!(there, byte(at));
                }
            }
            let gone = buffer.len() / 3;
            buffer.consume(gone);
            read += gone;
            assert_eq!(buffer.len(), written - read);
        }
        buffer.consume(buffer.len());
        buffer.release();
        assert!(buffer.is_empty() && buffer.pieces.is_empty());
        assert_eq!(buffer.slices(0, 10), [&[] as &[u8]; 2]);
        assert_eq!(buffer.space().len(), CHUNK);
    }
}
