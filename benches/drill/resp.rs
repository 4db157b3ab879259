//! As much of the protocol as the drill's own clients speak.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A simple string, an integer or a bulk string.
    Text(String),
    Error(String),
    Nil,
    List(Vec<Self>),
}

impl Reply {
    /// The first word of an error.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Error(text) => text.split(' ').next(),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }
}

pub(crate) fn encode(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len());
    for word in words {
        out += &format!("${}\r\n{word}\r\n", word.len());
    }
    out.into_bytes()
}

/// The reply at the start of `bytes` and its length; `None` while it is not whole.
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<(Reply, usize)>> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let wrong =
        || Error::new(ErrorKind::InvalidData, format!("no reply: {:?}", String::from_utf8_lossy(&bytes[..end])));
    let (kind, line) = (bytes[0], std::str::from_utf8(&bytes[1..end]).map_err(|_| wrong())?);
    let after = end + 2;
    match kind {
        b'+' | b':' => Ok(Some((Reply::Text(line.to_owned()), after))),
        b'-' => Ok(Some((Reply::Error(line.to_owned()), after))),
        b'$' | b'*' if line.starts_with('-') => Ok(Some((Reply::Nil, after))),
        b'$' => {
            let len: usize = line.parse().map_err(|_| wrong())?;
            let text = bytes.get(after..after + len);
            Ok((bytes.len() >= after + len + 2).then(|| {
                (Reply::Text(String::from_utf8_lossy(text.unwrap_or_default()).into_owned()), after + len + 2)
            }))
        }
        b'*' => {
            let (mut items, mut at) = (Vec::new(), after);
            for _ in 0..line.parse::<usize>().map_err(|_| wrong())? {
                let Some((item, len)) = decode(&bytes[at..])? else { return Ok(None) };
                items.push(item);
                at += len;
            }
            Ok(Some((Reply::List(items), at)))
        }
        _ => Err(wrong()),
    }
}

/// One command to a server that is expected to answer within `patience`.
pub(crate) fn ask(address: &str, words: &[&str], patience: Duration) -> Result<Reply> {
    let address: SocketAddr = address.parse().map_err(|_| Error::other(format!("{address} is no address")))?;
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(&encode(words))?;
    let (mut buffer, mut chunk) = (Vec::new(), [0; 16 * 1024]);
    loop {
        match stream.read(&mut chunk)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n => buffer.extend_from_slice(&chunk[..n]),
        }
        if let Some((reply, _)) = decode(&buffer)? {
            return Ok(reply);
        }
    }
}
