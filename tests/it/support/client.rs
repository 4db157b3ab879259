//! A client that shows everything: it sends exactly the bytes it is told to and returns replies as raw bytes.
//!
//! Used where a client library would hide what matters: the order of replies, their exact bytes, the end of the
//! connection. It must never reconnect or retry.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::redis::DEADLINE;

pub(crate) struct Client {
    stream: TcpStream,
    /// Received and not yet returned: `buf[at..]`.
    buf: Vec<u8>,
    at: usize,
}

impl Client {
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("a listener at this address");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, buf: Vec::new(), at: 0 }
    }

    /// One that speaks RESP3.
    pub(crate) fn resp3(address: &str) -> Self {
        let mut client = Self::connect(address);
        assert!(client.ask(&["HELLO", "3"]).starts_with('%'), "HELLO 3 was not accepted");
        client
    }

    /// Sends one command and returns its reply.
    pub(crate) fn ask(&mut self, words: &[&str]) -> String {
        self.send(words);
        self.reply()
    }

    /// A command that must be answered `+OK`.
    pub(crate) fn ok(&mut self, words: &[&str]) {
        assert_eq!(self.ask(words), "+OK\r\n", "{words:?}");
    }

    /// The text of the bulk string that answers the command; `None` for null.
    pub(crate) fn text(&mut self, words: &[&str]) -> Option<String> {
        let reply = self.ask(words);
        match reply.as_str() {
            "$-1\r\n" | "_\r\n" => None,
            bulk if bulk.starts_with('$') => {
                let (_, text) = bulk.split_once("\r\n").expect("a header");
                Some(text.trim_end_matches("\r\n").to_owned())
            }
            other => panic!("{words:?} was answered {other:?}"),
        }
    }

    /// The text of the next reply, a bulk string.
    pub(crate) fn text_reply(&mut self) -> String {
        let reply = self.reply();
        match reply.split_once("\r\n") {
            Some((header, text)) if header.starts_with('$') => text.trim_end_matches("\r\n").to_owned(),
            _ => panic!("{reply:?} is no text"),
        }
    }

    /// The integer that answers the command.
    pub(crate) fn integer(&mut self, words: &[&str]) -> i64 {
        let reply = self.ask(words);
        let number = reply.strip_prefix(':').and_then(|rest| rest.trim_end().parse().ok());
        number.unwrap_or_else(|| panic!("{words:?} was answered {reply:?}"))
    }

    pub(crate) fn send(&mut self, words: &[&str]) {
        self.raw(&command(words));
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the connection takes it");
    }

    /// The next complete reply, lossily as text.
    pub(crate) fn reply(&mut self) -> String {
        String::from_utf8_lossy(&self.reply_bytes()).into_owned()
    }

    pub(crate) fn reply_bytes(&mut self) -> Vec<u8> {
        match self.next() {
            Some(reply) => reply,
            None => {
                panic!("the connection ended; before that came {:?}", String::from_utf8_lossy(&self.buf[self.at..]))
            }
        }
    }

    /// The next reply; `None` when the connection ends instead.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(len) = value_len(&self.buf[self.at..]) {
                let reply = self.buf[self.at..self.at + len].to_vec();
                self.at += len;
                if self.at == self.buf.len() {
                    self.buf.clear();
                    self.at = 0;
                }
                return Some(reply);
            }
            if self.fill() == 0 {
                return None;
            }
        }
    }

    /// Everything until the connection ends, which it must.
    pub(crate) fn rest(&mut self) -> String {
        String::from_utf8_lossy(&self.rest_bytes()).into_owned()
    }

    /// Everything until these words, or until the connection ends; the words are left out.
    pub(crate) fn until(&mut self, words: &str) -> String {
        loop {
            let said = String::from_utf8_lossy(&self.buf[self.at..]).into_owned();
            match said.split_once(words) {
                Some((before, _)) => return before.to_owned(),
                None if self.fill() == 0 => return said,
                None => {}
            }
        }
    }

    pub(crate) fn rest_bytes(&mut self) -> Vec<u8> {
        while self.fill() > 0 {}
        self.buf[self.at..].to_vec()
    }

    /// Whether nothing comes within `time`.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).expect("a timeout");
        let mut byte = [0];
        let silent = self.at == self.buf.len()
            && matches!(self.stream.peek(&mut byte), Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        self.stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        silent
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends no more, and still reads.
    pub(crate) fn end_input(&self) {
        self.stream.shutdown(Shutdown::Write).expect("a connection");
    }

    /// 0 at the end of the connection, however it ends.
    fn fill(&mut self) -> usize {
        let mut piece = [0; 65536];
        let start = Instant::now();
        match self.stream.read(&mut piece) {
            Ok(n) => {
                self.buf.extend_from_slice(&piece[..n]);
                n
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let so_far = &self.buf[self.at..];
                let shown = String::from_utf8_lossy(&so_far[..so_far.len().min(500)]);
                panic!("no reply within {:?}; so far came {} bytes: {shown:?}", start.elapsed(), so_far.len())
            }
            Err(_) => 0,
        }
    }
}

/// A command as client libraries send it.
pub(crate) fn command(words: &[&str]) -> Vec<u8> {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    binary(&words)
}

pub(crate) fn binary(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Commands back to back.
pub(crate) fn pipeline(commands: &[&[&str]]) -> Vec<u8> {
    commands.iter().flat_map(|words| command(words)).collect()
}

pub(crate) fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// The length of the first value in `buf`, when all of it is there. Written for tests alone, so that a mistake of
/// Redan's scanners is not made twice.
pub(crate) fn value_len(buf: &[u8]) -> Option<usize> {
    let mut at = 0;
    // Values still to come: an aggregate adds its elements.
    let mut missing = 1u64;
    while missing > 0 {
        let end = at + buf[at..].windows(2).position(|pair| pair == b"\r\n")?;
        let line = &buf[at..end];
        let number = || std::str::from_utf8(&line[1..]).expect("ASCII").parse::<i64>().expect("a length");
        at = end + 2;
        missing -= 1;
        match line.first() {
            Some(b'$' | b'=' | b'!') => {
                if let Ok(len) = usize::try_from(number()) {
                    at += len + 2;
                }
            }
            Some(b'*' | b'~' | b'>') => missing += u64::try_from(number()).unwrap_or(0),
            // An attribute precedes the value it belongs to.
            Some(b'%') => missing += 2 * u64::try_from(number()).unwrap_or(0),
            Some(b'|') => missing += 2 * u64::try_from(number()).unwrap_or(0) + 1,
            Some(b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(') => {}
            other => panic!("no RESP value begins with {other:?}: {:?}", String::from_utf8_lossy(line)),
        }
        if at > buf.len() {
            return None;
        }
    }
    Some(at)
}
