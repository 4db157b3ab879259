//! Frames of a link as bytes and back; docs/link.md is the specification.
//!
//! Pure: bytes in, frames out, cut wherever the network cut them. The payload of DATA and PACKED is handed on in the pieces in
//! which it comes and never gathered; every other frame is short and is gathered first. It must never know what a stream is.

use crate::identity::Identity;

pub(crate) const VERSION: u8 = 1;
pub(super) const HEADER: usize = 4;
/// A piece of the replay buffer, and four TLS records of 16 KiB.
pub(super) const MAX_PAYLOAD: usize = 65536;
/// What a PACKED frame's payload begins with: the codec, and how long the block is.
pub(super) const PACKED_HEADER: usize = 4;
/// Of every frame that is neither DATA nor PACKED.
const MAX_CONTROL: usize = 512;
pub(super) const MAX_NAME: usize = 64;
const MAX_REASON: usize = 400;

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const DATA: u8 = 3;
const ACK: u8 = 4;
const PING: u8 = 5;
const PONG: u8 = 6;
const FIN: u8 = 7;
const RESET: u8 = 8;
const PACKED: u8 = 9;

/// Flags of HELLO and WELCOME. Others are left for what may come, and not looked at.
const RESUME: u8 = 1;
/// What the sender takes in PACKED frames stands from this bit on.
const TAKES_FROM: u8 = 1;
const TAKES: u8 = 0b11;

/// The name of one stream, drawn by the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StreamId(pub(crate) [u8; 16]);

/// Where one end stands, told at the beginning of every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// Numbers that came: the peer goes on behind them.
    pub(crate) received: u64,
    /// Numbers that were handed on.
    pub(crate) delivered: u64,
    /// Numbers that may be on their way beyond `delivered`.
    pub(crate) window: u32,
    /// Codecs that it takes in PACKED frames, as bits; none if it is not to be sent any.
    pub(crate) takes: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) id: StreamId,
    /// The stream exists already.
    pub(crate) resume: bool,
    pub(crate) position: Position,
    pub(crate) service: String,
}

/// Why a stream ends at once; a peer may know further codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// The peer broke the rules of this protocol.
    Protocol,
    /// The service is not known, or not open to this peer.
    Service,
    /// The target could not be reached.
    Target,
    /// The connection at the other side was reset.
    Local,
    /// There is no stream of this name to resume.
    Unknown,
    /// Too many connections.
    Full,
    /// The process ends.
    Leaving,
    /// The peer was believed, and is not any more.
    Untrusted,
    /// The program said what is not let through, where no error could be said.
    Policy,
    Other(u8),
}

impl Code {
    const KNOWN: [(Self, u8); 9] = [
        (Self::Protocol, 1),
        (Self::Service, 2),
        (Self::Target, 3),
        (Self::Local, 4),
        (Self::Unknown, 5),
        (Self::Full, 6),
        (Self::Leaving, 7),
        (Self::Untrusted, 8),
        (Self::Policy, 9),
    ];

    fn number(self) -> u8 {
        match self {
            Self::Other(number) => number,
            known => Self::KNOWN.iter().find(|(code, _)| *code == known).map_or(0, |(_, number)| *number),
        }
    }

    fn from_number(number: u8) -> Self {
        Self::KNOWN.iter().find(|(_, known)| *known == number).map_or(Self::Other(number), |(code, _)| *code)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reset {
    pub(crate) code: Code,
    /// For the log of the other end.
    pub(crate) reason: String,
}

/// Every frame but DATA and PACKED.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Hello(Hello),
    Welcome(Position),
    Ack(u64),
    Ping(u64),
    Pong(u64),
    /// The number behind the last byte.
    Fin(u64),
    Reset(Reset),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// Some of a DATA frame's payload.
    Data(&'a [u8]),
    /// Some of a PACKED frame's payload, and how much of it is still to come.
    Packed(&'a [u8], usize),
    Control(Control),
}

/// What no peer that keeps to the protocol sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a frame of unknown type {0}")]
    Type(u8),
    #[error("a frame of type {0} with {1} bytes, which is not its length")]
    Length(u8, usize),
    #[error("protocol version {0}, where this Redan knows 1")]
    Version(u8),
    #[error("text that is not UTF-8")]
    Text,
}

pub(super) fn data_header(length: usize) -> [u8; HEADER] {
    header(DATA, length)
}

/// Of a block of `plain` bytes that became `packed` bytes.
pub(super) fn packed_header(codec: u8, plain: usize, packed: usize) -> [u8; HEADER + PACKED_HEADER] {
    let [a, b, c, d] = header(PACKED, PACKED_HEADER + packed);
    let [_, e, f, g] = (plain as u32).to_be_bytes();
    [a, b, c, d, codec, e, f, g]
}

fn header(kind: u8, length: usize) -> [u8; HEADER] {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    [kind, a, b, c]
}

impl Control {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend([0; HEADER]);
        let kind = match self {
            Self::Hello(hello) => {
                out.extend([VERSION, hello.position.flags() | if hello.resume { RESUME } else { 0 }]);
                out.extend(hello.id.0);
                hello.position.encode(out);
                out.extend(hello.service.as_bytes());
                HELLO
            }
            Self::Welcome(position) => {
                out.extend([VERSION, position.flags()]);
                position.encode(out);
                WELCOME
            }
            Self::Ack(number) => numbered(out, *number, ACK),
            Self::Ping(number) => numbered(out, *number, PING),
            Self::Pong(number) => numbered(out, *number, PONG),
            Self::Fin(number) => numbered(out, *number, FIN),
            Self::Reset(reset) => {
                out.push(reset.code.number());
                let mut end = reset.reason.len().min(MAX_REASON);
                while !reset.reason.is_char_boundary(end) {
                    end -= 1;
                }
                out.extend(&reset.reason.as_bytes()[..end]);
                RESET
            }
        };
        let length = out.len() - at - HEADER;
        out[at..at + HEADER].copy_from_slice(&header(kind, length));
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Self, Malformed> {
        let wrong = || Malformed::Length(kind, payload.len());
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Malformed::Text);
        let number = || payload.try_into().map(u64::from_be_bytes).map_err(|_| wrong());
        match kind {
            // The version first: what follows it is that version's own.
            HELLO | WELCOME if payload.first().is_some_and(|version| *version != VERSION) => {
                Err(Malformed::Version(payload[0]))
            }
            HELLO => {
                let (fixed, service) =
                    payload.split_first_chunk::<{ 2 + 16 + Position::LENGTH }>().ok_or_else(wrong)?;
                let flags = fixed[1];
                if service.is_empty() || service.len() > MAX_NAME {
                    return Err(wrong());
                }
                let mut id = [0; 16];
                id.copy_from_slice(&fixed[2..18]);
                Ok(Self::Hello(Hello {
                    id: StreamId(id),
                    resume: flags & RESUME != 0,
                    position: Position::decode(flags, &fixed[18..]).ok_or_else(wrong)?,
                    service: text(service)?,
                }))
            }
            WELCOME => match payload {
                [_, flags, position @ ..] => Position::decode(*flags, position).map(Self::Welcome).ok_or_else(wrong),
                _ => Err(wrong()),
            },
            ACK => number().map(Self::Ack),
            PING => number().map(Self::Ping),
            PONG => number().map(Self::Pong),
            FIN => number().map(Self::Fin),
            RESET => {
                let (code, reason) = payload.split_first().ok_or_else(wrong)?;
                Ok(Self::Reset(Reset { code: Code::from_number(*code), reason: text(reason)? }))
            }
            other => Err(Malformed::Type(other)),
        }
    }
}

fn numbered(out: &mut Vec<u8>, number: u64, kind: u8) -> u8 {
    out.extend(number.to_be_bytes());
    kind
}

impl Position {
    const LENGTH: usize = 8 + 8 + 4;

    fn encode(self, out: &mut Vec<u8>) {
        out.extend(self.received.to_be_bytes());
        out.extend(self.delivered.to_be_bytes());
        out.extend(self.window.to_be_bytes());
    }

    fn flags(self) -> u8 {
        self.takes << TAKES_FROM
    }

    fn decode(flags: u8, bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LENGTH] = bytes.try_into().ok()?;
        let (received, rest) = bytes.split_first_chunk()?;
        let (delivered, window) = rest.split_first_chunk()?;
        Some(Self {
            received: u64::from_be_bytes(*received),
            delivered: u64::from_be_bytes(*delivered),
            window: u32::from_be_bytes(window.try_into().ok()?),
            takes: flags >> TAKES_FROM & TAKES,
        })
    }
}

/// Reads frames from a stream of bytes.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Payload of the current DATA or PACKED frame that has not come.
    data_left: usize,
    packed: bool,
    /// Header and payload of a control frame, as far as they have come.
    partial: Vec<u8>,
}

impl Decoder {
    /// The next event in `bytes`, which is moved past it; `None` when more is needed.
    pub(crate) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Event<'a>>, Malformed> {
        loop {
            if bytes.is_empty() {
                return Ok(None);
            }
            if self.data_left > 0 {
                let (data, rest) = bytes.split_at(self.data_left.min(bytes.len()));
                *bytes = rest;
                self.data_left -= data.len();
                return Ok(Some(if self.packed { Event::Packed(data, self.data_left) } else { Event::Data(data) }));
            }
            let wanted = match self.partial.first_chunk::<HEADER>() {
                Some(header) => HEADER + length_of(*header)?,
                None => HEADER,
            };
            let (taken, rest) = bytes.split_at((wanted - self.partial.len()).min(bytes.len()));
            self.partial.extend_from_slice(taken);
            *bytes = rest;
            if let Some(control) = self.completed()? {
                return Ok(Some(Event::Control(control)));
            }
        }
    }

    fn completed(&mut self) -> Result<Option<Control>, Malformed> {
        let Some((header, payload)) = self.partial.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = length_of(*header)?;
        if matches!(header[0], DATA | PACKED) {
            self.data_left = length;
            self.packed = header[0] == PACKED;
            self.partial.clear();
            return Ok(None);
        }
        if payload.len() < length {
            return Ok(None);
        }
        let control = Control::decode(header[0], payload);
        self.partial.clear();
        control.map(Some)
    }
}

fn length_of([kind, a, b, c]: [u8; HEADER]) -> Result<usize, Malformed> {
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    let known = match kind {
        DATA => 1..=MAX_PAYLOAD,
        HELLO..=RESET => 1..=MAX_CONTROL,
        PACKED => PACKED_HEADER + 1..=PACKED_HEADER + MAX_PAYLOAD,
        _ => return Err(Malformed::Type(kind)),
    };
    if known.contains(&length) { Ok(length) } else { Err(Malformed::Length(kind, length)) }
}

/// The bytes that a key speaks for, in the log.
pub(super) fn short(identity: &Identity) -> String {
    let text = identity.to_string();
    format!("{}…", &text[..14])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples() -> Vec<Control> {
        let position = Position { received: 7, delivered: u64::MAX, window: 8 << 20, takes: 3 };
        let hello = Hello { id: StreamId([9; 16]), resume: true, position, service: "sentinel".to_owned() };
        vec![
            Control::Hello(hello),
            Control::Welcome(position),
            Control::Ack(1 << 40),
            Control::Ping(1),
            Control::Pong(2),
            Control::Fin(3),
            Control::Reset(Reset { code: Code::Target, reason: "gone".to_owned() }),
            Control::Reset(Reset { code: Code::Other(200), reason: String::new() }),
        ]
    }

    #[test]
    fn frames_come_back_however_they_are_cut() {
        let mut bytes = Vec::new();
        for control in examples() {
            control.encode(&mut bytes);
        }
        bytes.extend(data_header(5));
        bytes.extend(b"hello");
        bytes.extend(packed_header(1, 9, 6));
        bytes.extend(b"packed");
        for piece in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let (mut controls, mut data, mut packed, mut left) = (Vec::new(), Vec::new(), Vec::new(), usize::MAX);
            for mut part in bytes.chunks(piece) {
                while let Some(event) = decoder.next(&mut part).unwrap() {
                    match event {
                        Event::Control(control) => controls.push(control),
                        Event::Data(piece) => data.extend_from_slice(piece),
                        Event::Packed(piece, to_come) => {
                            packed.extend_from_slice(piece);
                            left = to_come;
                        }
                    }
                }
            }
            assert_eq!((&packed[..], left), (&b"\x01\0\0\x09packed"[..], 0), "pieces of {piece}");
            assert_eq!((controls, &data[..]), (examples(), &b"hello"[..]), "pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_before_anything_is_gathered() {
        for (bytes, expected) in [
            (&[0, 0, 0, 1][..], Malformed::Type(0)),
            (&[10, 0, 0, 1], Malformed::Type(10)),
            (&[PACKED, 0, 0, 4], Malformed::Length(PACKED, 4)),
            (&[PACKED, 1, 0, 5], Malformed::Length(PACKED, 65541)),
            (b"GET ", Malformed::Type(b'G')),
            (&[DATA, 0, 0, 0], Malformed::Length(DATA, 0)),
            (&[DATA, 1, 0, 1], Malformed::Length(DATA, 65537)),
            (&[HELLO, 0, 2, 1], Malformed::Length(HELLO, 513)),
            (&[ACK, 0, 0, 1, 0], Malformed::Length(ACK, 1)),
            (&[WELCOME, 0, 0, 1, 2], Malformed::Version(2)),
            (&[RESET, 0, 0, 2, 1, 0xff], Malformed::Text),
        ] {
            assert_eq!(Decoder::default().next(&mut &bytes[..]), Err(expected), "{bytes:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_alike_however_they_are_cut(bytes: Vec<u8>) {
            crate::fuzzing::frame(&bytes);
        }

        #[test]
        fn nearly_frames_are_read_alike_however_they_are_cut(kind in 0_u8..11, rest in proptest::collection::vec(0_u8..40, 0..60)) {
            let mut bytes = vec![3, kind, 0, 0, rest.len() as u8];
            bytes.extend(&rest);
            crate::fuzzing::frame(&bytes);
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_letters() {
        let mut bytes = Vec::new();
        Control::Reset(Reset { code: Code::Local, reason: "ä".repeat(500) }).encode(&mut bytes);
        let Ok(Some(Event::Control(Control::Reset(reset)))) = Decoder::default().next(&mut &bytes[..]) else {
            panic!("a reset");
        };
        assert_eq!(reset.reason, "ä".repeat(200));
    }
}
