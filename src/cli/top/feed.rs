//! Where `redan top` gets its news: the stream `/live` of the running Redan, asked for again whenever it ends; or its admin
//! socket, asked once a second for what that stream would bring.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::state::{Event, State};
use crate::cli::operator::wire::{self, Line};
use crate::config::admin_socket::Reach;
use crate::resp::value::Value;

/// Between two tries, and the longest that a stream may be silent: a state comes every second.
const AGAIN: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_secs(10);

/// A whole message has some kilobytes, also with many nodes.
const MOST: usize = 16 * 1024 * 1024;

#[derive(Debug)]
pub(super) enum News {
    State(Box<State>),
    Event(Event),
    /// The stream has ended, or there is none; in words.
    Lost(String),
}

/// Where the running Redan is asked.
#[derive(Debug)]
pub(super) enum Source {
    Http(SocketAddr),
    /// Its admin socket; the file is for the words of an error.
    Orders(Reach, PathBuf),
}

impl Source {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Http(address) => address.to_string(),
            Self::Orders(reach, file) => {
                let [place] = &reach.sockets[..] else { return file.display().to_string() };
                wire::name(place)
            }
        }
    }
}

/// Tells `to` whatever comes, until nobody listens.
pub(super) fn follow(source: Source, to: mpsc::Sender<News>) {
    match source {
        Source::Http(admin) => drop(tokio::spawn(follow_stream(admin, to))),
        // Apart, because it waits; nobody waits for its end.
        Source::Orders(reach, file) => drop(tokio::task::spawn_blocking(move || follow_orders(&reach, &file, &to))),
    }
}

fn follow_orders(reach: &Reach, file: &Path, to: &mpsc::Sender<News>) {
    let mut seen = None;
    while !to.is_closed() {
        let Err(why) = ask(reach, file, &mut seen, to) else { return };
        if to.blocking_send(News::Lost(why)).is_err() {
            return;
        }
        thread::sleep(AGAIN);
    }
}

/// Asks over one connection until that ends, which is an error, or nobody listens. `seen` is the id of the last event.
fn ask(reach: &Reach, file: &Path, seen: &mut Option<String>, to: &mpsc::Sender<News>) -> Result<(), String> {
    let mut line = Line::open_for(reach, file, SILENCE).map_err(|failure| failure.to_string())?;
    loop {
        let words: Vec<String> = std::iter::once("LIVE".to_owned()).chain(seen.clone()).collect();
        let text = match line.ask(&words, &mut |_| {}).map_err(|failure| failure.to_string())? {
            Value::Error(words) => return Err(words),
            value => value.text().map(str::to_owned).ok_or("what answers there is no Redan")?,
        };
        for news in text.split("\n\n").filter_map(understand) {
            if let News::Event(event) = &news {
                *seen = Some(event.id.clone());
            }
            if to.blocking_send(news).is_err() {
                return Ok(());
            }
        }
        thread::sleep(AGAIN);
    }
}

async fn follow_stream(admin: SocketAddr, to: mpsc::Sender<News>) {
    let mut seen = None;
    while !to.is_closed() {
        if let Err(error) = read(admin, &mut seen, &to).await
            && to.send(News::Lost(error.to_string())).await.is_err()
        {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Reads one stream to its end. `seen` is the id of the last event.
async fn read(admin: SocketAddr, seen: &mut Option<String>, to: &mpsc::Sender<News>) -> io::Result<()> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
    let mut stream = tokio::time::timeout(SILENCE, TcpStream::connect(admin)).await.map_err(late)??;
    let known = seen.as_ref().map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
    // By version 1.0 the answer is not cut into chunks.
    stream.write_all(format!("GET /live HTTP/1.0\r\nHost: {admin}\r\n{known}\r\n").as_bytes()).await?;
    let mut parser = Parser::default();
    let mut part = vec![0; 64 * 1024];
    loop {
        let length = tokio::time::timeout(SILENCE, stream.read(&mut part)).await.map_err(late)??;
        if length == 0 {
            return parser.ended();
        }
        for news in parser.take(&part[..length])? {
            if let News::Event(event) = &news {
                *seen = Some(event.id.clone());
            }
            if to.send(news).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Takes the answer apart: its head, then messages with an empty line behind each.
#[derive(Debug, Default)]
pub(super) struct Parser {
    unread: String,
    /// Bytes of a letter that has not come whole.
    rest: Vec<u8>,
    in_stream: bool,
}

impl Parser {
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<Vec<News>> {
        self.rest.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.rest) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        self.unread.push_str(&String::from_utf8_lossy(&self.rest[..whole]));
        self.rest.drain(..whole);
        if self.unread.len() > MOST || self.rest.len() > 4 {
            return Err(io::Error::other("what answers there is no Redan"));
        }
        if !self.in_stream {
            let Some((head, rest)) = self.unread.split_once("\r\n\r\n") else { return Ok(Vec::new()) };
            if head.split(' ').nth(1) != Some("200") || !head.contains("text/event-stream") {
                let why = rest.lines().next().filter(|line| !line.is_empty());
                let first = head.lines().next().unwrap_or_default();
                return Err(io::Error::other(format!("it answers {}", why.unwrap_or(first))));
            }
            self.unread = rest.to_owned();
            self.in_stream = true;
        }
        let mut news = Vec::new();
        while let Some((message, rest)) = self.unread.split_once("\n\n") {
            news.extend(understand(message));
            self.unread = rest.to_owned();
        }
        Ok(news)
    }

    fn ended(&self) -> io::Result<()> {
        match self.in_stream {
            // It ends now and then, so that no stream is for ever.
            true => Ok(()),
            false => Err(io::Error::other("it closed the connection without an answer")),
        }
    }
}

fn understand(message: &str) -> Option<News> {
    let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let data = field("data")?;
    match field("event")? {
        "state" => serde_json::from_str(data).ok().map(|state| News::State(Box::new(state))),
        "happened" => {
            let event: Event = serde_json::from_str(data).ok()?;
            Some(News::Event(Event { id: field("id").unwrap_or_default().to_owned(), ..event }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_understood_however_it_is_cut() {
        let stream = "HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\nretry: 400\n\nid: a-7\nevent: happened\n\
                      data: {\"words\":\"é → ü\",\"level\":\"warn\",\"unknown\":1}\n\n:\n\nevent: state\ndata: {\"at\":5.5,\
                      \"clients\":{\"open\":3}}\n\nevent: state\ndata: {";
        for size in 1..40 {
            let mut parser = Parser::default();
            let news: Vec<News> =
                stream.as_bytes().chunks(size).flat_map(|part| parser.take(part).expect("it is right")).collect();
            let [News::Event(event), News::State(state)] = &news[..] else { panic!("{size}: {news:?}") };
            assert_eq!((event.id.as_str(), event.words.as_str(), event.level.as_str()), ("a-7", "é → ü", "warn"));
            assert_eq!((state.at, state.clients.open, state.groups.len()), (5.5, 3, 0));
        }
    }

    #[test]
    fn what_is_no_stream_is_told_in_its_own_words() {
        for (answer, words) in [
            ("HTTP/1.0 503 Service Unavailable\r\n\r\nas many look already\n", "as many look already"),
            ("HTTP/1.0 404 Not Found\r\n\r\n", "404 Not Found"),
            ("HTTP/1.0 200 OK\r\ncontent-type: text/html\r\n\r\n<html>", "<html>"),
        ] {
            let error = Parser::default().take(answer.as_bytes()).expect_err("it is not a stream").to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(Parser::default().take(&[0xff; 64]).is_err());
    }
}
