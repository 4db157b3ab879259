//! One connection to the admin socket, in RESP2, RESP3 or plain lines: enough of the protocol that any Redis client connects,
//! and REDAN, which is what it is for.

use std::io;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::Stream;
use crate::admin::AdminState;
use crate::admin::verbs::{self, Call, Shown};
use crate::resp::encode;
use crate::resp::inline;
use crate::resp::request::{Bounds, Request, RequestScanner, arguments};
use crate::resp::value::Value;

/// What a client may say before it is answered. An operator's longest command is a line of text.
const INPUT: usize = 1024 * 1024;

struct Conversation {
    stream: Box<dyn Stream>,
    number: u64,
    state: Arc<AdminState>,
    resp3: bool,
    authenticated: bool,
    name: String,
    ends: bool,
}

/// Serves the client until it leaves.
pub(super) async fn hold(stream: Box<dyn Stream>, number: u64, state: Arc<AdminState>) {
    let authenticated = state.now.load().config.admin_password.is_none();
    let mut conversation =
        Conversation { stream, number, state, resp3: false, authenticated, name: String::new(), ends: false };
    if let Err(error) = conversation.run().await {
        tracing::debug!("a client of the admin socket is gone: {error}");
    }
}

impl Conversation {
    async fn run(&mut self) -> io::Result<()> {
        let mut input = Vec::new();
        let mut scanner = RequestScanner::new();
        while !self.ends {
            let bounds = if self.authenticated { &Bounds::AUTHENTICATED } else { &Bounds::UNAUTHENTICATED };
            let used = match scanner.scan(&input, bounds) {
                Ok(Request::Command(frame)) => {
                    let words = arguments(&input[..frame.len]).map(<[u8]>::to_vec).collect();
                    self.command(words).await?;
                    frame.len
                }
                Ok(Request::Inline { len }) => {
                    let mut command = Vec::new();
                    match inline::to_multibulk(&input[..len], &mut command) {
                        Ok(_) => {
                            let words: Vec<Vec<u8>> = arguments(&command).map(<[u8]>::to_vec).collect();
                            if !words.is_empty() {
                                self.command(words).await?;
                            }
                        }
                        Err(error) => return self.refuse(&format!("ERR {error}")).await,
                    }
                    len
                }
                Ok(Request::Blank { len }) => len,
                Ok(Request::Incomplete) if input.len() > INPUT => {
                    return self.refuse("ERR Protocol error: a command here has at most 1 MiB").await;
                }
                Ok(Request::Incomplete) => {
                    if self.stream.read_buf(&mut input).await? == 0 {
                        return Ok(());
                    }
                    0
                }
                Err(error) => return self.refuse(&format!("ERR {error}")).await,
            };
            input.drain(..used);
        }
        Ok(())
    }

    async fn refuse(&mut self, words: &str) -> io::Result<()> {
        let mut out = Vec::new();
        encode::error(&mut out, words);
        self.send(&out).await
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    async fn command(&mut self, words: Vec<Vec<u8>>) -> io::Result<()> {
        let name = words.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
        if name == b"REDAN" && self.authenticated {
            return self.redan(words).await;
        }
        let reply = self.manners(&name, &words[1..]);
        self.send(&reply).await
    }

    /// REDAN, and the steps of what takes long, for clients that take messages between replies.
    async fn redan(&mut self, mut words: Vec<Vec<u8>>) -> io::Result<()> {
        words.remove(0);
        let (told, mut steps) = mpsc::unbounded_channel();
        // On a task of its own: what was begun is finished, or taken back, also when whoever asked leaves.
        let mut asked = tokio::spawn(verbs::run(Call::new(Arc::clone(&self.state), words, told)));
        let outcome = loop {
            tokio::select! {
                biased;
                Some(step) = steps.recv() => {
                    let message = self.step(&step);
                    self.stream.write_all(&message).await?;
                    self.stream.flush().await?;
                }
                outcome = &mut asked => {
                    break outcome.unwrap_or_else(|_| Err("a defect of Redan ended this: its log says more".to_owned()));
                }
            }
        };
        while let Ok(step) = steps.try_recv() {
            let message = self.step(&step);
            self.send(&message).await?;
        }
        let mut out = Vec::new();
        match outcome {
            Ok(shown) => self.show(&mut out, shown),
            Err(words) => encode::error(&mut out, &format!("ERR {words}")),
        }
        self.send(&out).await
    }

    fn step(&self, step: &str) -> Vec<u8> {
        let mut out = Vec::new();
        if self.resp3 {
            out.extend_from_slice(b">2\r\n");
            encode::bulk(&mut out, b"progress");
            encode::bulk(&mut out, step.as_bytes());
        }
        out
    }

    fn show(&self, out: &mut Vec<u8>, shown: Shown) {
        match shown {
            Shown::Line(line) => encode::simple(out, &line),
            Shown::Text(text) if self.resp3 => encode::verbatim(out, &text, true),
            // Where strings are shown with their quotes, lines are not.
            Shown::Text(text) => {
                encode::array(out, text.lines().count());
                text.lines().for_each(|line| encode::simple(out, line));
            }
            Shown::Json(json) => encode::verbatim(out, &json, self.resp3),
            Shown::Raw(value) => write(out, &value, self.resp3),
        }
    }

    /// What clients say before they come to the point.
    fn manners(&mut self, name: &[u8], words: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        match name {
            b"HELLO" => self.hello(&mut out, words),
            b"AUTH" => match self.is_password(words.last()) {
                true => encode::simple(&mut out, "OK"),
                false => encode::error(&mut out, "WRONGPASS invalid password of the admin socket"),
            },
            b"QUIT" => {
                self.ends = true;
                encode::simple(&mut out, "OK");
            }
            _ if !self.authenticated => {
                encode::error(&mut out, "NOAUTH Authentication required: the password of `admin_password_file`");
            }
            b"PING" => match words.first() {
                None => encode::simple(&mut out, "PONG"),
                Some(word) => encode::bulk(&mut out, word),
            },
            b"ECHO" if words.len() == 1 => encode::bulk(&mut out, &words[0]),
            b"SELECT" | b"READONLY" | b"READWRITE" => encode::simple(&mut out, "OK"),
            b"COMMAND" => match words.first().map(|word| word.to_ascii_uppercase()).as_deref() {
                Some(b"COUNT") => encode::integer(&mut out, 1),
                Some(b"DOCS") => encode::map(&mut out, 0, self.resp3),
                _ => encode::array(&mut out, 0),
            },
            b"INFO" => {
                let version = env!("CARGO_PKG_VERSION");
                let info = format!("# Server\r\nserver_name:redan\r\nredan_version:{version}\r\nredan_admin:1\r\n");
                encode::verbatim(&mut out, &info, self.resp3);
            }
            b"CLIENT" => self.client(&mut out, words),
            _ => {
                let name = String::from_utf8_lossy(name);
                let words = format!("ERR unknown command '{name}': this is Redan's admin socket, try REDAN HELP");
                encode::error(&mut out, &words);
            }
        }
        out
    }

    fn client(&mut self, out: &mut Vec<u8>, words: &[Vec<u8>]) {
        match words.first().map(|word| word.to_ascii_uppercase()).as_deref() {
            Some(b"SETNAME") if words.len() == 2 => {
                self.name = String::from_utf8_lossy(&words[1]).into_owned();
                encode::simple(out, "OK");
            }
            Some(b"GETNAME") => encode::bulk(out, self.name.as_bytes()),
            Some(b"ID") => encode::integer(out, i64::try_from(self.number).unwrap_or(i64::MAX)),
            Some(b"INFO" | b"LIST") => {
                let resp = if self.resp3 { 3 } else { 2 };
                let line = format!("id={} name={} db=0 resp={resp}\n", self.number, self.name);
                encode::verbatim(out, &line, self.resp3);
            }
            Some(b"SETINFO" | b"NO-EVICT" | b"NO-TOUCH") => encode::simple(out, "OK"),
            _ => encode::error(
                out,
                "ERR CLIENT here knows SETNAME, GETNAME, ID, INFO, SETINFO; REDAN SESSIONS lists clients",
            ),
        }
    }

    fn hello(&mut self, out: &mut Vec<u8>, words: &[Vec<u8>]) {
        let version = match words.first().map(Vec::as_slice) {
            None => self.resp3,
            Some(b"2") => false,
            Some(b"3") => true,
            Some(_) => return encode::error(out, "NOPROTO unsupported protocol version"),
        };
        let mut rest = words.get(1..).unwrap_or_default();
        while let [option, value, ..] = rest {
            if option.eq_ignore_ascii_case(b"AUTH") && rest.len() >= 3 {
                if !self.is_password(Some(&rest[2])) {
                    return encode::error(out, "WRONGPASS invalid password of the admin socket");
                }
                rest = &rest[3..];
            } else if option.eq_ignore_ascii_case(b"SETNAME") {
                self.name = String::from_utf8_lossy(value).into_owned();
                rest = &rest[2..];
            } else {
                break;
            }
        }
        if !rest.is_empty() {
            return encode::error(out, "ERR Syntax error in HELLO");
        }
        if !self.authenticated {
            return encode::error(
                out,
                "NOAUTH HELLO must be called with the client already authenticated, or with AUTH",
            );
        }
        self.resp3 = version;
        encode::map(out, 7, version);
        for (key, value) in [("server", "redan"), ("version", env!("CARGO_PKG_VERSION"))] {
            encode::bulk(out, key.as_bytes());
            encode::bulk(out, value.as_bytes());
        }
        encode::bulk(out, b"proto");
        encode::integer(out, if version { 3 } else { 2 });
        encode::bulk(out, b"id");
        encode::integer(out, i64::try_from(self.number).unwrap_or(i64::MAX));
        for (key, value) in [("mode", "standalone"), ("role", "master")] {
            encode::bulk(out, key.as_bytes());
            encode::bulk(out, value.as_bytes());
        }
        encode::bulk(out, b"modules");
        encode::array(out, 0);
    }

    fn is_password(&mut self, said: Option<&Vec<u8>>) -> bool {
        let now = self.state.now.load_full();
        let Some(password) = &now.config.admin_password else { return true };
        let said = said.map(Vec::as_slice).unwrap_or_default();
        self.authenticated = verify_slices_are_equal(said, password.reveal().as_bytes()).is_ok();
        if !self.authenticated {
            tracing::warn!("somebody gave a wrong password to the admin socket");
        }
        self.authenticated
    }
}

/// A node's reply, in the client's protocol.
fn write(out: &mut Vec<u8>, value: &Value, resp3: bool) {
    match value {
        Value::Text(bytes) => encode::bulk(out, bytes),
        Value::Error(words) => encode::error(out, words),
        Value::Integer(number) => encode::integer(out, *number),
        Value::Double(number) => encode::bulk(out, number.to_string().as_bytes()),
        Value::Boolean(truth) => encode::integer(out, i64::from(*truth)),
        Value::Null => encode::null(out, resp3),
        Value::Array(items) => {
            encode::array(out, items.len());
            items.iter().for_each(|item| write(out, item, resp3));
        }
        Value::Map(pairs) => {
            encode::map(out, pairs.len(), resp3);
            for (key, item) in pairs {
                write(out, key, resp3);
                write(out, item, resp3);
            }
        }
    }
}
