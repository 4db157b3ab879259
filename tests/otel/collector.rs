//! A small collector: takes what is posted to it, keeps it decoded, and misbehaves on demand.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;

use super::support::redis::eventually;
use super::wire::{self, Span};

#[derive(Default)]
struct State {
    spans: Mutex<Vec<Span>>,
    /// Everything that came, to be searched for what must not be in it.
    bodies: Mutex<Vec<u8>>,
    requests: AtomicUsize,
    connections: AtomicUsize,
    /// So many requests are answered 503.
    refusals: AtomicUsize,
    /// So many spans of each request are not wanted.
    rejects: AtomicUsize,
    /// Requests are read and never answered.
    hangs: AtomicBool,
}

pub(crate) struct Collector {
    address: String,
    state: Arc<State>,
}

impl Collector {
    /// Its threads end with the test's process.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let state = Arc::<State>::default();
        let collector = Self { address, state: Arc::clone(&state) };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                state.connections.fetch_add(1, Relaxed);
                thread::spawn(move || serve(&stream, &state));
            }
        });
        collector
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn hangs(&self) {
        self.state.hangs.store(true, Relaxed);
    }

    pub(crate) fn refuses(&self, requests: usize) {
        self.state.refusals.store(requests, Relaxed);
    }

    /// At most 127 of each request.
    pub(crate) fn rejects(&self, spans: usize) {
        self.state.rejects.store(spans, Relaxed);
    }

    pub(crate) fn requests(&self) -> usize {
        self.state.requests.load(Relaxed)
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Relaxed)
    }

    /// Whether these letters have come in any message.
    pub(crate) fn has_seen(&self, letters: &str) -> bool {
        let bodies = self.state.bodies.lock().expect("no panic");
        bodies.windows(letters.len()).any(|window| window == letters.as_bytes())
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.state.spans.lock().expect("no panic").clone()
    }

    /// The only request of this name, once it is there, and what is below it in the order of time.
    pub(crate) fn request(&self, name: &str) -> (Span, Vec<Span>) {
        let named = || {
            let spans = self.spans();
            spans.into_iter().filter(|span| span.parent.is_empty() && span.name == name).collect::<Vec<_>>()
        };
        eventually(&format!("the collector has {name}"), || !named().is_empty());
        let [request] = <[Span; 1]>::try_from(named()).unwrap_or_else(|all| panic!("more than one {name}: {all:?}"));
        let mut below: Vec<Span> = self.spans().into_iter().filter(|span| span.is_below(&request)).collect();
        below.sort_by_key(|span| span.start);
        (request, below)
    }
}

fn serve(stream: &TcpStream, state: &State) {
    let mut reader = BufReader::new(stream);
    while let Some(body) = request(&mut reader) {
        state.requests.fetch_add(1, Relaxed);
        if state.hangs.load(Relaxed) {
            loop {
                thread::park();
            }
        }
        let refused = state.refusals.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        if !refused {
            state.bodies.lock().expect("no panic").extend_from_slice(&body);
            state.spans.lock().expect("no panic").extend(wire::spans(&body));
        }
        let status = if refused { "503 Service Unavailable\r\nretry-after: 1" } else { "200 OK" };
        // ExportTraceServiceResponse: partial_success = 1, in it rejected_spans = 1 and error_message = 2.
        let words = "too many";
        let body = match state.rejects.load(Relaxed) {
            0 => Vec::new(),
            spans => [&[10, 12, 8, spans as u8, 18, words.len() as u8], words.as_bytes()].concat(),
        };
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
        let mut writer = stream;
        if writer.write_all(&[head.as_bytes(), &body].concat()).is_err() {
            return;
        }
    }
}

/// The body of the next one.
fn request(reader: &mut BufReader<&TcpStream>) -> Option<Vec<u8>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_ascii_lowercase()),
        }
    }
    assert_eq!(lines[0], "post /v1/traces http/1.1");
    assert!(lines.iter().any(|line| line == "content-type: application/x-protobuf"), "{lines:?}");
    let length = lines.iter().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = vec![0; length.parse().expect("a number")];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}
