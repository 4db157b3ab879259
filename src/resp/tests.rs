//! The scanners and writers against an independent parser, against Redis's own words, and against garbage.

mod encode;
mod inline;
mod reply;
mod request;

use proptest::prelude::*;

/// Bytes that look like the protocol more often than chance would have it.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(b"*$+-:%~>|_#,(!=".to_vec()).prop_map(|kind| vec![kind]),
        8 => (0..20_u8).prop_map(|number| number.to_string().into_bytes()),
        6 => Just(b"\r\n".to_vec()),
        1 => prop::sample::select(b"\r\n\"'\\ tfx-?\0".to_vec()).prop_map(|byte| vec![byte]),
        2 => Just(b"$3\r\nGET\r\n".to_vec()),
        2 => Just(b"*1\r\n$4\r\nPING\r\n".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Every way to cut `bytes` in two, besides those the caller makes.
fn cuts(bytes: &[u8]) -> std::ops::RangeInclusive<usize> {
    0..=bytes.len()
}
