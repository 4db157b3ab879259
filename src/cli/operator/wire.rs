//! The connection to the admin socket of a running Redan: finds it, says one command, reads the answer.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::config::admin_socket::{self, Place, Reach};
use crate::resp::encode;
use crate::resp::value::{Value, decode};

/// The longest that a command may take by its own limits is a switch of 300 s; silence for longer is an end.
const PATIENCE: Duration = Duration::from_secs(330);
const CONNECT: Duration = Duration::from_secs(5);

/// Why nobody answers, for the operator.
#[derive(Debug)]
pub(in crate::cli) enum Failure {
    Unreachable(String),
    /// Redan answered, and broke off.
    Broken(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => f.write_str(why),
            Self::Broken(error) => write!(f, "the running Redan broke off: {error}; is it ending? Its log says more"),
        }
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

pub(in crate::cli) struct Line {
    stream: Box<dyn Stream>,
    input: Vec<u8>,
}

impl Line {
    /// To the first place where somebody listens. `file` is for the words of an error.
    pub(in crate::cli) fn open(reach: &Reach, file: &Path) -> Result<Self, Failure> {
        Self::open_for(reach, file, PATIENCE)
    }

    /// The same for who does not wait so long for an answer.
    pub(in crate::cli) fn open_for(reach: &Reach, file: &Path, patience: Duration) -> Result<Self, Failure> {
        if reach.sockets.is_empty() {
            let file = file.display();
            return Err(Failure::Unreachable(format!(
                "{file} says `admin_socket = \"off\"`: remove that, and restart Redan"
            )));
        }
        let mut refused = None;
        for place in &reach.sockets {
            match connect(place, patience) {
                Ok(stream) => {
                    let mut line = Self { stream, input: Vec::new() };
                    line.greet(reach)?;
                    return Ok(line);
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    refused.get_or_insert_with(|| {
                        format!("{} may be used by the user Redan runs as, and by root: try sudo", name(place))
                    });
                }
                Err(_) => {}
            }
        }
        let places = reach.sockets.iter().map(name).collect::<Vec<_>>().join(", ");
        Err(Failure::Unreachable(refused.unwrap_or_else(|| {
            format!("no Redan answers at {places}; does it run with this configuration file? If it runs elsewhere, say --socket or --config")
        })))
    }

    fn greet(&mut self, reach: &Reach) -> Result<(), Failure> {
        if let Some(file) = &reach.password_file {
            let password = admin_socket::password(file).map_err(Failure::Unreachable)?;
            if let Value::Error(words) = self.say(&[b"AUTH", password.reveal().as_bytes()], &mut |_| {})? {
                return Err(Failure::Unreachable(words));
            }
        }
        match self.say(&[b"HELLO", b"3"], &mut |_| {})? {
            Value::Error(words) => {
                Err(Failure::Unreachable(format!("{words}; with --socket IP:PORT say --password-file")))
            }
            greeting if greeting.field("server").and_then(Value::text) == Some("redan") => Ok(()),
            _ => Err(Failure::Unreachable("what answers there is not the admin socket of a Redan".to_owned())),
        }
    }

    /// The answer to `REDAN words…`; `step` is told of what happens before it.
    pub(in crate::cli) fn ask(&mut self, words: &[String], step: &mut dyn FnMut(&str)) -> Result<Value, Failure> {
        let words: Vec<&[u8]> =
            std::iter::once(b"REDAN".as_slice()).chain(words.iter().map(String::as_bytes)).collect();
        self.say(&words, step)
    }

    fn say(&mut self, words: &[&[u8]], step: &mut dyn FnMut(&str)) -> Result<Value, Failure> {
        let mut command = Vec::new();
        encode::command(&mut command, words);
        self.stream.write_all(&command).map_err(Failure::Broken)?;
        loop {
            match self.read().map_err(Failure::Broken)? {
                (true, message) => step(message.items().and_then(|items| items.last()?.text()).unwrap_or_default()),
                (false, value) => return Ok(value),
            }
        }
    }

    /// Whether it is a message between replies, and what it is.
    fn read(&mut self) -> io::Result<(bool, Value)> {
        loop {
            let decoded =
                decode(&self.input, true).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if let Some((value, len)) = decoded {
                let is_message = self.input[0] == b'>';
                self.input.drain(..len);
                return Ok((is_message, value));
            }
            let mut some = [0; 16 * 1024];
            match self.stream.read(&mut some)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => self.input.extend_from_slice(&some[..n]),
            }
        }
    }
}

pub(in crate::cli) fn name(place: &Place) -> String {
    match place {
        Place::Unix(path) => path.display().to_string(),
        Place::Tcp(address) => address.to_string(),
    }
}

fn connect(place: &Place, patience: Duration) -> io::Result<Box<dyn Stream>> {
    Ok(match place {
        Place::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(patience))?;
            Box::new(stream)
        }
        Place::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, CONNECT)?;
            stream.set_read_timeout(Some(patience))?;
            Box::new(stream)
        }
    })
}
