//! Bytes in bulk and small requests, between a client and a target that are threads of this program.
//!
//! The client says in its first byte what it wants: to be heard, to be told, or to be echoed.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::contenders::Contender;
use crate::report::Figures;

const HEAR: u8 = b'h';
const TELL: u8 = b't';
const ECHO: u8 = b'e';

/// What is moved in bulk, by all connections together.
const BULK: u64 = 2 << 30;
const PIECE: usize = 256 * 1024;

/// As long as a short command.
const SMALL: usize = 64;
const REQUESTS: usize = 40_000;

pub(crate) struct Target {
    pub(crate) port: u16,
}

impl Target {
    pub(crate) fn start() -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("no port for the target: {error}"))?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever ends early has measured nothing.
                thread::spawn(move || serve(stream));
            }
        });
        Ok(Self { port })
    }
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut order = [0; 9];
    stream.read_exact(&mut order)?;
    let [kind, bytes @ ..] = order;
    let bytes = u64::from_be_bytes(bytes);
    match kind {
        HEAR => {
            read_all(&mut stream, bytes)?;
            stream.write_all(&[1])
        }
        TELL => write_all(&mut stream, bytes),
        _ => {
            let mut request = [0; SMALL];
            loop {
                stream.read_exact(&mut request)?;
                stream.write_all(&request)?;
            }
        }
    }
}

fn read_all(stream: &mut TcpStream, mut bytes: u64) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    while bytes > 0 {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes -= read as u64;
    }
    Ok(())
}

fn write_all(stream: &mut TcpStream, mut bytes: u64) -> io::Result<()> {
    let buffer = vec![0x5a; PIECE];
    while bytes > 0 {
        let piece = bytes.min(PIECE as u64) as usize;
        stream.write_all(&buffer[..piece])?;
        bytes -= piece as u64;
    }
    Ok(())
}

fn order(port: u16, kind: u8, bytes: u64) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let mut words = vec![kind];
    words.extend(bytes.to_be_bytes());
    stream.write_all(&words)?;
    Ok(stream)
}

fn in_parallel<T: Send>(connections: usize, body: impl Fn() -> io::Result<T> + Sync) -> Result<Vec<T>, String> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(&body)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, io::Result<T>>| match thread.join() {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(_) => Err("a client panicked".to_owned()),
        };
        threads.into_iter().map(join).collect()
    })
}

pub(crate) fn bulk(contender: &Contender, connections: usize, up: bool) -> Result<Figures, String> {
    let each = BULK / connections as u64;
    let (began, before) = (Instant::now(), contender.on_cpu_ns()?);
    in_parallel(connections, || {
        let mut stream = order(contender.port, if up { HEAR } else { TELL }, each)?;
        match up {
            true => {
                write_all(&mut stream, each)?;
                stream.read_exact(&mut [0])
            }
            false => read_all(&mut stream, each),
        }
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let gigabytes = BULK as f64 / 1e9;
    let cpu = (contender.on_cpu_ns()? - before) as f64 / 1e9;
    Ok(Figures(vec![("MB/s", gigabytes * 1000.0 / seconds), ("CPU s/GB", cpu / gigabytes)]))
}

pub(crate) fn small(contender: &Contender, connections: usize) -> Result<Figures, String> {
    let each = REQUESTS / connections;
    let (began, before) = (Instant::now(), contender.on_cpu_ns()?);
    let times = in_parallel(connections, || {
        let mut stream = order(contender.port, ECHO, 0)?;
        let mut times = Vec::with_capacity(each);
        let mut request = [b'x'; SMALL];
        for _ in 0..each {
            let sent = Instant::now();
            stream.write_all(&request)?;
            stream.read_exact(&mut request)?;
            times.push(sent.elapsed().as_secs_f64() * 1e6);
        }
        Ok(times)
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = (contender.on_cpu_ns()? - before) as f64 / 1e3;
    let mut times: Vec<f64> = times.into_iter().flatten().collect();
    times.sort_by(f64::total_cmp);
    let requests = times.len();
    let at = |share: f64| times[((requests as f64 * share) as usize).min(requests - 1)];
    Ok(Figures(vec![
        ("p50 µs", at(0.5)),
        ("p99 µs", at(0.99)),
        ("requests/s", requests as f64 / seconds),
        ("CPU µs/request", cpu / requests as f64),
    ]))
}
