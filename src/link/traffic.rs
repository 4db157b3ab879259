//! TLS 1.3 records once the handshake is done (RFC 8446, 5 and 4.6.3), sealed from where the plaintext lies and opened where
//! the socket put them.
//!
//! Used by the wire. The TLS library's own traffic costs three copies of every byte and an allocation for every record; it hands
//! over its keys for this purpose (`rustls::kernel`) and goes on deriving them. What is refused here is fatal: nothing that was
//! not authenticated is ever handed on, no sequence number is used twice. No I/O.

use std::io;
use std::ops::Range;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{ConnectionTrafficSecrets, Error, ExtractedSecrets};

use super::records::{Outgoing, invalid};

/// Plaintext of one record.
const RECORD: usize = 16 * 1024;
const HEADER: usize = 5;
const TAG: usize = 16;
/// Behind the plaintext, encrypted with it: what kind it is.
const KIND: usize = 1;

/// Padding, which others may add.
const LONGEST: usize = RECORD + 256;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;
const KEY_UPDATE: u8 = 24;

/// Records under one key: AES-GCM is good for 2^24.5 (RFC 8446, 5.5), and an alert and a key update may come on top. At 16 KiB each
/// that is 256 GiB.
const KEY_LASTS: u64 = 1 << 24;

/// Where further keys come from.
enum Keys {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
}

impl Keys {
    fn next_to_send(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        match self {
            Self::Client(keys) => keys.update_tx_secret(),
            Self::Server(keys) => keys.update_tx_secret(),
        }
    }

    fn next_to_receive(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        match self {
            Self::Client(keys) => keys.update_rx_secret(),
            Self::Server(keys) => keys.update_rx_secret(),
        }
    }
}

/// The key of one direction. Every nonce comes once: it is the number of the record.
struct Direction {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
}

impl Direction {
    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> io::Result<Self> {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(io::Error::other("the TLS library agreed on a cipher that this Redan does not know")),
        };
        let unfit = || io::Error::other("the TLS library made a key that does not fit its cipher");
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| unfit())?;
        let iv = iv.as_ref().try_into().map_err(|_| unfit())?;
        Ok(Self { key: LessSafeKey::new(key), iv, sequence })
    }

    /// Of the next record.
    fn nonce(&mut self) -> io::Result<Nonce> {
        let mut nonce = self.iv;
        for (byte, number) in nonce.iter_mut().skip(NONCE_LEN - 8).zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        self.sequence = self.sequence.checked_add(1).ok_or_else(|| io::Error::other("the key is used up"))?;
        Ok(Nonce::assume_unique_for_key(nonce))
    }
}

/// Both directions of a connection.
pub(super) struct Traffic {
    sends: Direction,
    receives: Direction,
    keys: Keys,
    /// The peer has asked for a new key in this direction.
    update_asked: bool,
    key_lasts: u64,
}

/// How far opening came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Opened {
    /// Ciphertext that is done with; what is behind it must come again with more.
    pub(super) consumed: usize,
    pub(super) plain: usize,
    /// The peer has said goodbye.
    pub(super) ended: bool,
}

impl Traffic {
    pub(super) fn client(
        (secrets, keys): (ExtractedSecrets, KernelConnection<ClientConnectionData>),
    ) -> io::Result<Self> {
        Self::new(secrets, Keys::Client(keys))
    }

    pub(super) fn server(
        (secrets, keys): (ExtractedSecrets, KernelConnection<ServerConnectionData>),
    ) -> io::Result<Self> {
        Self::new(secrets, Keys::Server(keys))
    }

    fn new(secrets: ExtractedSecrets, keys: Keys) -> io::Result<Self> {
        let (sends, receives) = (Direction::new(secrets.tx)?, Direction::new(secrets.rx)?);
        Ok(Self { sends, receives, keys, update_asked: false, key_lasts: KEY_LASTS })
    }

    /// Seals `plain` as data, in as many records as it takes.
    pub(super) fn seal(&mut self, plain: &[u8], out: &mut Outgoing) -> io::Result<()> {
        for piece in plain.chunks(RECORD) {
            if self.update_asked || self.sends.sequence >= self.key_lasts {
                self.update(out)?;
            }
            self.record(DATA, piece, out)?;
        }
        Ok(())
    }

    pub(super) fn goodbye(&mut self, out: &mut Outgoing) -> io::Result<()> {
        self.record(ALERT, &[1, CLOSE_NOTIFY], out)
    }

    /// Tells the peer that the next record has a new key.
    fn update(&mut self, out: &mut Outgoing) -> io::Result<()> {
        self.record(HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 0], out)?;
        self.sends = Direction::new(self.keys.next_to_send().map_err(invalid)?)?;
        self.update_asked = false;
        Ok(())
    }

    fn record(&mut self, kind: u8, plain: &[u8], out: &mut Outgoing) -> io::Result<()> {
        let length = plain.len() + KIND + TAG;
        let room = out.room(HEADER + length);
        let (header, rest) = room.split_first_chunk_mut::<HEADER>().ok_or(io::ErrorKind::OutOfMemory)?;
        let [high, low] = u16::try_from(length).map_err(io::Error::other)?.to_be_bytes();
        // Outside, every record looks like data of TLS 1.2.
        *header = [DATA, 3, 3, high, low];
        let (cipher, tail) = rest.split_at_mut_checked(plain.len()).ok_or(io::ErrorKind::OutOfMemory)?;
        let tail = tail.get_mut(..KIND + TAG).ok_or(io::ErrorKind::OutOfMemory)?;
        let nonce = self.sends.nonce()?;
        let sealed = self.sends.key.seal_out_of_place_scatter(nonce, Aad::from(*header), plain, cipher, &[kind], tail);
        sealed.map_err(|_| invalid(Error::EncryptError))?;
        out.filled(HEADER + length);
        Ok(())
    }

    /// Opens the whole records in `cipher` where they stand, and adds to `runs` where their plaintext is.
    pub(super) fn open(&mut self, cipher: &mut [u8], runs: &mut Vec<Range<usize>>) -> io::Result<Opened> {
        let mut opened = Opened::default();
        while let Some((header, rest)) = cipher[opened.consumed..].split_first_chunk_mut::<HEADER>() {
            let [kind, _, _, high, low] = *header;
            let length = usize::from(u16::from_be_bytes([high, low]));
            if kind != DATA {
                return Err(invalid(Error::General("it sent a record that is not encrypted".to_owned())));
            }
            if length > LONGEST {
                return Err(invalid(Error::PeerSentOversizedRecord));
            }
            let Some(record) = rest.get_mut(..length) else { break };
            let nonce = self.receives.nonce()?;
            let plain = self.receives.key.open_in_place(nonce, Aad::from(*header), record);
            let plain = plain.map_err(|_| invalid(Error::DecryptError))?;
            // Zeros behind the kind are padding.
            let end = plain.iter().rposition(|byte| *byte != 0);
            let (kind, plain) = match end.map(|end| plain.split_at(end)) {
                Some((plain, [kind, ..])) if plain.len() <= RECORD => (*kind, plain),
                _ => return Err(invalid(Error::PeerSentOversizedRecord)),
            };
            let start = opened.consumed + HEADER;
            opened.consumed = start + length;
            match kind {
                DATA if plain.is_empty() => {}
                DATA => {
                    runs.push(start..start + plain.len());
                    opened.plain += plain.len();
                }
                ALERT => match plain {
                    [_, CLOSE_NOTIFY] => return Ok(Opened { ended: true, ..opened }),
                    [_, USER_CANCELED] => {}
                    [_, alert] => return Err(invalid(Error::AlertReceived((*alert).into()))),
                    _ => return Err(unexpected()),
                },
                HANDSHAKE => match plain {
                    [KEY_UPDATE, 0, 0, 1, asks @ (0 | 1)] => {
                        self.update_asked |= *asks == 1;
                        self.receives = Direction::new(self.keys.next_to_receive().map_err(invalid)?)?;
                    }
                    _ => return Err(unexpected()),
                },
                _ => return Err(unexpected()),
            }
        }
        Ok(opened)
    }
}

fn unexpected() -> io::Error {
    invalid(Error::General("it sent a message of TLS that has no place on a link".to_owned()))
}

#[cfg(test)]
mod tests;
