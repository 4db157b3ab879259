//! Who a link's peer is: the SHA-256 of its public key, and the line of text by which operators pass it on.
//!
//! The text is `redan1`, one letter for the version, 52 letters for the 256 bits and a checksum of six, all in the alphabet
//! and with the checksum of Bech32m (BIP 350), which finds every error of up to four letters. Pure; used by the
//! configuration, the verifiers and `redan keygen`.

use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "redan";
/// No letters that are easily confused: no 1, b, i, o.
const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const BECH32M: u32 = 0x2bc8_30a3;
/// SHA-256 of the DER encoding of a SubjectPublicKeyInfo.
const VERSION: u8 = 0;
/// 256 bits in fives.
const SYMBOLS: usize = 52;
const CHECKSUM: usize = 6;

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Identity(pub(crate) [u8; 32]);

/// Why a text is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAnIdentity {
    #[error("it does not begin with \"redan1\"; `redan keygen --public FILE` prints the line of a key")]
    Prefix,
    #[error("it has {0} characters instead of 65; copy the whole line")]
    Length(usize),
    #[error("'{0}' is no letter of an identity; copy the line instead of typing it")]
    Letter(char),
    #[error("its checksum is wrong, so at least one letter is; copy the line again")]
    Checksum,
    #[error("it is of a version that this Redan does not know; update Redan")]
    Version,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut symbols = vec![VERSION];
        symbols.extend(fives(&self.0));
        let sum = polymod(&symbols, [0; CHECKSUM]) ^ BECH32M;
        symbols.extend((0..CHECKSUM).map(|at| (sum >> (5 * (CHECKSUM - 1 - at)) & 31) as u8));
        let text: String = symbols.iter().map(|symbol| char::from(ALPHABET[usize::from(*symbol)])).collect();
        write!(f, "{PREFIX}1{text}")
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Identity {
    type Err = NotAnIdentity;

    fn from_str(text: &str) -> Result<Self, NotAnIdentity> {
        let body = text.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('1')).ok_or(NotAnIdentity::Prefix)?;
        let symbol = |letter: char| {
            let at = ALPHABET.iter().position(|known| char::from(*known) == letter);
            at.map(|at| at as u8).ok_or(NotAnIdentity::Letter(letter))
        };
        let symbols = body.chars().map(symbol).collect::<Result<Vec<u8>, _>>()?;
        if symbols.len() != 1 + SYMBOLS + CHECKSUM {
            return Err(NotAnIdentity::Length(PREFIX.len() + 1 + symbols.len()));
        }
        if polymod(&symbols, []) != BECH32M {
            return Err(NotAnIdentity::Checksum);
        }
        let (version, rest) = (symbols[0], &symbols[1..=SYMBOLS]);
        if version != VERSION {
            return Err(NotAnIdentity::Version);
        }
        bytes(rest).map(Self).ok_or(NotAnIdentity::Version)
    }
}

fn fives(bytes: &[u8; 32]) -> impl Iterator<Item = u8> + '_ {
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    (0..SYMBOLS).map(move |symbol| (0..5).fold(0, |five, at| five << 1 | bit(symbol * 5 + at)))
}

/// `None` when the four bits beyond the last byte are not zero: then there would be two texts of one identity.
fn bytes(symbols: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (at, bit) in symbols.iter().flat_map(|five| (0..5).rev().map(move |bit| five >> bit & 1)).enumerate() {
        match bytes.get_mut(at / 8) {
            Some(byte) => *byte |= bit << (7 - at % 8),
            None if bit != 0 => return None,
            None => {}
        }
    }
    Some(bytes)
}

fn polymod<const N: usize>(symbols: &[u8], padding: [u8; N]) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let prefix = PREFIX.bytes();
    let expanded = prefix.clone().map(|byte| byte >> 5).chain([0]).chain(prefix.map(|byte| byte & 31));
    expanded.chain(symbols.iter().copied()).chain(padding).fold(1, |sum: u32, symbol| {
        let carried = sum >> 25;
        let next = (sum & 0x01ff_ffff) << 5 ^ u32::from(symbol);
        (0..5).filter(|bit| carried >> bit & 1 == 1).fold(next, |sum, bit| sum ^ GENERATOR[bit])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Identity {
        Identity(std::array::from_fn(|at| (at * 37 + 11) as u8))
    }

    #[test]
    fn a_line_comes_back_as_it_was_written() {
        for identity in [Identity([0; 32]), Identity([255; 32]), example()] {
            let text = identity.to_string();
            assert!(text.starts_with("redan1q") && text.len() == 65, "{text}");
            assert_eq!(text.parse(), Ok(identity));
        }
    }

    #[test]
    fn every_wrong_letter_and_every_swap_of_neighbours_is_found() {
        let text = example().to_string();
        for at in 6..text.len() {
            for letter in ALPHABET.iter().filter(|letter| **letter != text.as_bytes()[at]) {
                let mut wrong = text.clone().into_bytes();
                wrong[at] = *letter;
                let wrong = String::from_utf8(wrong).unwrap();
                assert_eq!(wrong.parse::<Identity>(), Err(NotAnIdentity::Checksum), "{wrong}");
            }
            let mut swapped = text.clone().into_bytes();
            if at + 1 < text.len() && swapped[at] != swapped[at + 1] {
                swapped.swap(at, at + 1);
                assert_eq!(String::from_utf8(swapped).unwrap().parse::<Identity>(), Err(NotAnIdentity::Checksum));
            }
        }
    }

    #[test]
    fn what_is_no_identity_is_explained() {
        let text = example().to_string();
        assert_eq!("".parse::<Identity>(), Err(NotAnIdentity::Prefix));
        assert_eq!("sha256:00".parse::<Identity>(), Err(NotAnIdentity::Prefix));
        assert_eq!(text[..60].parse::<Identity>(), Err(NotAnIdentity::Length(60)));
        assert_eq!((text.clone() + "q").parse::<Identity>(), Err(NotAnIdentity::Length(66)));
        assert_eq!(text.replace('q', "b").parse::<Identity>(), Err(NotAnIdentity::Letter('b')));
    }
}
