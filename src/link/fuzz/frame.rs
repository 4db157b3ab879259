//! What must hold of the reader of a link's frames, and of the reader of the blocks in them, for any bytes of a peer.

use crate::config::link::Codec;
use crate::link::frame::{Control, Decoder, Event, MAX_PAYLOAD};
use crate::link::pack::Packing;

/// What was read of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Frames {
    controls: Vec<Control>,
    data: Vec<u8>,
    failed: bool,
}

/// Read alike however they are cut, and written as they were read. The seed is the cut.
pub(crate) fn frames(seed: u8, bytes: &[u8]) {
    let whole = read(bytes, usize::MAX);
    for piece in [1, usize::from(seed).max(2)] {
        assert_eq!(read(bytes, piece), whole, "pieces of {piece} bytes read otherwise");
    }
    for control in &whole.controls {
        let mut written = Vec::new();
        control.encode(&mut written);
        // A reason that is too long is cut; everything else comes back.
        if written.len() < 400 {
            assert_eq!(read(&written, usize::MAX).controls, std::slice::from_ref(control));
        }
    }
}

fn read(bytes: &[u8], piece: usize) -> Frames {
    let (mut decoder, mut packing) = (Decoder::default(), Packing::new(Codec::Lz4));
    let mut frames = Frames { controls: Vec::new(), data: Vec::new(), failed: false };
    for mut part in bytes.chunks(piece) {
        loop {
            match decoder.next(&mut part) {
                Ok(Some(Event::Control(control))) => frames.controls.push(control),
                Ok(Some(Event::Data(some))) => frames.data.extend_from_slice(some),
                Ok(Some(Event::Packed(some, left))) => match packing.unpack(some, left) {
                    Ok(plain) => {
                        let plain = plain.unwrap_or_default();
                        assert!(plain.len() <= MAX_PAYLOAD, "a block of {} bytes", plain.len());
                        frames.data.extend_from_slice(plain);
                    }
                    Err(()) => return Frames { failed: true, ..frames },
                },
                Ok(None) => break,
                Err(_) => return Frames { failed: true, ..frames },
            }
        }
    }
    frames
}
