//! Blocks there and back, what a hostile peer may say instead, and when nothing is tried any more.

use super::*;

const CODECS: [Codec; 2] = [Codec::Lz4, Codec::Zstd];

fn packing(codec: Codec) -> Packing {
    let mut packing = Packing::new(codec);
    packing.agree(TAKES);
    packing
}

/// xorshift: does not shrink.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 88172645463325252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn text(length: usize) -> Vec<u8> {
    (0..).flat_map(|number: u32| format!("user:{number}:name={};", number % 7).into_bytes()).take(length).collect()
}

#[test]
fn blocks_come_back_however_they_are_cut() {
    for codec in CODECS {
        for length in [LEAST, 1000, 65_535, MAX_PAYLOAD] {
            let block = text(length);
            let mut sender = packing(codec);
            let frame = sender.pack(&block).expect("text shrinks").to_vec();
            assert!(frame.len() < length / 3 * 2, "{codec:?}: {length} became {}", frame.len());
            for piece in [1, 100, 16_384, frame.len()] {
                let mut receiver = packing(codec);
                for _ in 0..2 {
                    let (mut left, mut came) = (frame.len() - HEADER, None);
                    for part in frame[HEADER..].chunks(piece) {
                        left -= part.len();
                        came = receiver.unpack(part, left).expect("a block").map(<[u8]>::to_vec);
                        assert_eq!(came.is_some(), left == 0);
                    }
                    assert!(came == Some(block.clone()), "{codec:?}: {length} in pieces of {piece}");
                }
                let counted = Shrunk { plain: 2 * length as u64, packed: 2 * frame.len() as u64 };
                assert_eq!((sender.sent.packed, receiver.received), (frame.len() as u64, counted));
            }
        }
    }
}

#[test]
fn what_does_not_shrink_is_tried_less_and_less_and_what_is_short_never() {
    for codec in CODECS {
        let mut packing = packing(codec);
        assert_eq!(packing.block(100, LEAST - 1), None);
        let (noise, mut tried) = (noise(MAX_PAYLOAD), 0);
        let blocks = 4 * LONGEST_PAUSE / MAX_PAYLOAD as u64;
        for _ in 0..blocks {
            if packing.block(MAX_PAYLOAD, MAX_PAYLOAD).is_some() {
                assert!(packing.pack(&noise).is_none());
                tried += 1;
            }
        }
        assert!((7..=12).contains(&tried), "{codec:?}: {tried} of {blocks}");
        // It shrinks again.
        while packing.block(MAX_PAYLOAD, MAX_PAYLOAD).is_none() {}
        assert!(packing.pack(&text(MAX_PAYLOAD)).is_some());
        assert_eq!(packing.next_pause, FIRST_PAUSE);
        assert_eq!(packing.block(MAX_PAYLOAD, MAX_PAYLOAD), Some(MAX_PAYLOAD));
        // The peer takes none.
        packing.agree(0);
        assert_eq!(packing.block(MAX_PAYLOAD, MAX_PAYLOAD), None);
    }
}

fn refused(payload: &[u8]) -> bool {
    packing(Codec::Lz4).unpack(payload, 0).is_err()
}

#[test]
fn a_bomb_is_no_longer_than_it_says_and_it_may_say_no_more_than_a_frame() {
    let bomb = vec![0; 64 << 20];
    for (codec, packed) in
        [(LZ4, lz4_flex::block::compress(&bomb)), (ZSTD, zstd::bulk::compress(&bomb, 1).expect("zeros"))]
    {
        for length in [0, 1, 1000, MAX_PAYLOAD, MAX_PAYLOAD + 1, 0xff_ff_ff] {
            let [_, a, b, c] = (length as u32).to_be_bytes();
            // As much of it as a frame may have.
            let most = packed.len().min(MAX_PAYLOAD);
            assert!(refused(&[&[codec, a, b, c], &packed[..most]].concat()), "codec {codec}, {length} bytes");
        }
    }
}

#[test]
fn what_is_no_block_is_refused() {
    for codec in CODECS {
        let frame = packing(codec).pack(&text(3000)).expect("text shrinks").to_vec();
        let payload = &frame[HEADER..];
        assert!(!refused(payload));
        for end in 0..payload.len() {
            assert!(refused(&payload[..end]), "{codec:?}: {end} bytes of {}", payload.len());
        }
        // Longer and shorter than it says, and another codec's.
        for (at, byte) in [(2, 0), (3, payload[3] + 1), (3, payload[3] - 1), (0, 0), (0, 3), (0, 3 - payload[0])] {
            let mut changed = payload.to_vec();
            changed[at] = byte;
            assert!(refused(&changed), "{codec:?}: byte {at} became {byte}");
        }
    }
}

proptest::proptest! {
    /// What it says is authenticated, but by a peer that may be hostile: any bytes must be survived.
    #[test]
    fn any_payload_is_a_block_of_the_length_it_says_or_refused(
        codec in 0_u8..4, length in 0_usize..70_000, bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
    ) {
        let [_, a, b, c] = (length as u32).to_be_bytes();
        let mut packing = packing(Codec::Zstd);
        if let Ok(Some(plain)) = packing.unpack(&[&[codec, a, b, c], &bytes[..]].concat(), 0) {
            assert_eq!(plain.len(), length);
        }
    }

    #[test]
    fn a_changed_block_is_a_block_of_its_length_or_refused(
        zstd: bool, at in 4_usize..2000, byte: u8, block in proptest::collection::vec(0_u8..4, LEAST..4000),
    ) {
        let mut packing = packing(if zstd { Codec::Zstd } else { Codec::Lz4 });
        let Some(frame) = packing.pack(&block) else { return Ok(()) };
        let mut payload = frame[HEADER..].to_vec();
        let at = at % payload.len();
        if at >= PACKED_HEADER {
            payload[at] = byte;
        }
        if let Ok(Some(plain)) = packing.unpack(&payload, 0) {
            assert_eq!(plain.len(), block.len());
        }
    }
}
