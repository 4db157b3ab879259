//! Blocks of the local side's bytes made shorter for their way over the link, and back: LZ4 or zstd, each block by itself.
//!
//! Used by the stream, at an end whose configuration asks for it. A block knows nothing of those before it, so a stream goes on
//! anywhere after a break. Nothing waits for more bytes to come, and what does not shrink is sent as it is. What a peer sends
//! cannot become longer than a DATA frame may be. Pure; memory is taken when it is first needed and given back by [`release`].
//!
//! [`release`]: Packing::release

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};
use zstd::bulk::{Compressor, Decompressor};

use super::frame::{HEADER, MAX_PAYLOAD, PACKED_HEADER, packed_header};
use crate::config::link::Codec;

const LZ4: u8 = 1;
const ZSTD: u8 = 2;

/// In a PACKED frame, and as a bit of what an end takes.
fn number(codec: Codec) -> u8 {
    match codec {
        Codec::Lz4 => LZ4,
        Codec::Zstd => ZSTD,
    }
}

/// An end that compresses takes both, whichever it uses itself.
pub(super) const TAKES: u8 = LZ4 | ZSTD;

/// A shorter block is sent as it is: a command or a reply has nothing to win, and its latency to lose.
const LEAST: usize = 512;

/// zstd's levels below 3 keep up with a gigabit; the next ones cost twice as much for some percent.
const LEVEL: i32 = 1;

/// After a block that did not shrink by an eighth so many bytes are not tried: at first four blocks, then twice as many each time.
/// At the end one block in 257 is tried, and costs at most what the encryption of some ten does: below 5 % in all. Data that
/// begins to shrink again is found after 16 MiB, in less than a second wherever bandwidth is worth saving.
const FIRST_PAUSE: u64 = 256 * 1024;
const LONGEST_PAUSE: u64 = 16 * 1024 * 1024;

/// Bytes of the local side that went over the link in PACKED frames, and how many those frames had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shrunk {
    pub(super) plain: u64,
    pub(super) packed: u64,
}

/// What one stream needs to compress, in both directions.
pub(super) struct Packing {
    /// What this end uses.
    codec: Codec,
    /// Whether the peer takes it, on this connection.
    agreed: bool,
    /// Bytes that are not tried.
    pause: u64,
    next_pause: u64,
    pub(super) sent: Shrunk,
    pub(super) received: Shrunk,
    /// Of a PACKED frame that has not come as a whole.
    gathered: Vec<u8>,
    workshop: Workshop,
}

/// Tables and buffers; between two blocks their contents mean nothing.
#[derive(Default)]
struct Workshop {
    lz4: Option<CompressTable>,
    zstd: Option<Compressor<'static>>,
    unzstd: Option<Decompressor<'static>>,
    packed: Vec<u8>,
    plain: Vec<u8>,
}

impl std::fmt::Debug for Packing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packing").field("codec", &self.codec).field("agreed", &self.agreed).finish_non_exhaustive()
    }
}

impl Packing {
    pub(super) fn new(codec: Codec) -> Self {
        Self {
            codec,
            agreed: false,
            pause: 0,
            next_pause: FIRST_PAUSE,
            sent: Shrunk::default(),
            received: Shrunk::default(),
            gathered: Vec::new(),
            workshop: Workshop::default(),
        }
    }

    /// A connection begins at whose other end these are taken.
    pub(super) fn agree(&mut self, takes: u8) {
        self.agreed = takes & number(self.codec) != 0;
        self.gathered.clear();
    }

    /// How many of the next bytes are one block; `None` if they are to be sent as they are. `first` is what stands in one piece.
    pub(super) fn block(&mut self, first: usize, all: usize) -> Option<usize> {
        if !self.agreed || all < LEAST {
            return None;
        }
        if self.pause > 0 {
            self.pause = self.pause.saturating_sub(all as u64);
            return None;
        }
        Some(first.min(MAX_PAYLOAD))
    }

    /// The whole PACKED frame of a block; `None` if it does not shrink enough, or is too short.
    pub(super) fn pack(&mut self, block: &[u8]) -> Option<&[u8]> {
        if block.len() < LEAST {
            return None;
        }
        let length = self.workshop.pack(self.codec, block).filter(|packed| *packed <= block.len() / 8 * 7);
        let Some(length) = length else {
            self.pause = self.next_pause;
            self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
            return None;
        };
        self.next_pause = FIRST_PAUSE;
        let frame = self.workshop.packed.get_mut(..HEADER + PACKED_HEADER + length)?;
        let header = packed_header(number(self.codec), block.len(), length);
        frame.get_mut(..header.len())?.copy_from_slice(&header);
        self.sent.plain += block.len() as u64;
        self.sent.packed += frame.len() as u64;
        Some(frame)
    }

    /// Takes some of the payload of a PACKED frame, of which `left` bytes are still to come. Gives the block when it is whole, and
    /// `Err` if it is none.
    pub(super) fn unpack(&mut self, some: &[u8], left: usize) -> Result<Option<&[u8]>, ()> {
        if left > 0 || !self.gathered.is_empty() {
            self.gathered.extend_from_slice(some);
        }
        if left > 0 {
            return Ok(None);
        }
        let whole = if self.gathered.is_empty() { some } else { &self.gathered };
        let (&[codec, a, b, c], packed) = whole.split_first_chunk::<PACKED_HEADER>().ok_or(())?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let codec = [Codec::Lz4, Codec::Zstd].into_iter().find(|known| number(*known) == codec).ok_or(())?;
        if !(1..=MAX_PAYLOAD).contains(&length) {
            return Err(());
        }
        let came = self.workshop.unpack(codec, packed, length).filter(|came| *came == length).ok_or(())?;
        self.received.plain += came as u64;
        self.received.packed += (HEADER + whole.len()) as u64;
        self.gathered.clear();
        self.workshop.plain.get(..came).map(Some).ok_or(())
    }

    /// Gives back the memory while there is nothing to do.
    pub(super) fn release(&mut self) {
        self.workshop = Workshop::default();
        self.gathered.shrink_to_fit();
    }
}

impl Workshop {
    /// How long it became; it stands behind the room for the header.
    fn pack(&mut self, codec: Codec, block: &[u8]) -> Option<usize> {
        let room = get_maximum_output_size(MAX_PAYLOAD).max(zstd::zstd_safe::compress_bound(MAX_PAYLOAD));
        self.packed.resize(HEADER + PACKED_HEADER + room, 0);
        let packed = self.packed.get_mut(HEADER + PACKED_HEADER..)?;
        match codec {
            Codec::Lz4 => {
                let table = self.lz4.get_or_insert_with(CompressTable::large);
                compress_into_with_table(block, packed, table).ok()
            }
            Codec::Zstd => {
                if self.zstd.is_none() {
                    self.zstd = Compressor::new(LEVEL).ok();
                }
                self.zstd.as_mut()?.compress_to_buffer(block, packed).ok()
            }
        }
    }

    /// How long it became; never longer than `length`.
    fn unpack(&mut self, codec: Codec, packed: &[u8], length: usize) -> Option<usize> {
        self.plain.resize(MAX_PAYLOAD, 0);
        let plain = self.plain.get_mut(..length)?;
        match codec {
            Codec::Lz4 => decompress_into(packed, plain).ok(),
            Codec::Zstd => {
                if self.unzstd.is_none() {
                    self.unzstd = Decompressor::new().ok();
                }
                self.unzstd.as_mut()?.decompress_to_buffer(packed, plain).ok()
            }
        }
    }
}

#[cfg(test)]
mod tests;
