//! The few words of RESP that the benchmark itself must speak: fill the keys, read Redis's counters, and
//! ask whether a contender serves yet.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Keys of a run (`redis-benchmark -r`). A thousand stay in the cache of a core for 32 B and not for 16 KB.
pub(crate) const KEYS: usize = 1000;

/// Sends `text` and reads until `complete` says so.
pub(crate) fn ask(port: u16, text: &[u8], complete: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("port {port}: {error}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(failed)?;
    stream.write_all(text).map_err(failed)?;
    let mut reply = Vec::new();
    let mut chunk = [0; 16 * 1024];
    while !complete(&reply) {
        match stream.read(&mut chunk).map_err(failed)? {
            0 => return Err(format!("port {port} closed the connection")),
            n => reply.extend_from_slice(&chunk[..n]),
        }
    }
    Ok(reply)
}

/// Writes the keys that `redis-benchmark -r` will ask for, so that every GET finds `size` bytes.
pub(crate) fn fill(port: u16, size: usize) -> Result<(), String> {
    let value = "x".repeat(size);
    // In parts: a reader that is still writing 16 MB of commands would deadlock with a server that waits
    // for its replies to be read.
    for first in (0..KEYS).step_by(100) {
        let mut text = String::new();
        for key in first..first + 100 {
            text += &format!("*3\r\n$3\r\nSET\r\n$16\r\nkey:{key:012}\r\n${size}\r\n{value}\r\n");
        }
        let reply = ask(port, text.as_bytes(), |reply| reply.len() >= 5 * 100)?;
        if reply != b"+OK\r\n".repeat(100) {
            return Err(format!("Redis refused to be filled: {}", String::from_utf8_lossy(&reply)));
        }
    }
    Ok(())
}

/// What Redis has counted so far.
pub(crate) struct Counted {
    pub(crate) commands: u64,
    pub(crate) errors: u64,
}

pub(crate) fn counted(port: u16) -> Result<Counted, String> {
    let reply = ask(port, b"INFO stats\r\n", is_whole_bulk)?;
    let text = String::from_utf8_lossy(&reply).into_owned();
    let field = |key: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(key));
        value.and_then(|number| number.trim().parse().ok()).ok_or_else(|| format!("INFO stats without {key}"))
    };
    Ok(Counted { commands: field("total_commands_processed:")?, errors: field("total_error_replies:")? })
}

/// How often Redis has executed a command, by its name in lower case.
pub(crate) fn calls(port: u16, command: &str) -> Result<u64, String> {
    let reply = ask(port, b"INFO commandstats\r\n", is_whole_bulk)?;
    let text = String::from_utf8_lossy(&reply).into_owned();
    let head = format!("cmdstat_{command}:calls=");
    let calls = text.lines().find_map(|line| line.strip_prefix(&head)?.split(',').next()?.parse().ok());
    // It lists only what was called.
    Ok(calls.unwrap_or(0))
}

/// Until what a server says of its replication has all of `words`.
pub(crate) fn wait_for(port: u16, words: &[&str]) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let reply = ask(port, b"INFO replication\r\n", is_whole_bulk)?;
        let text = String::from_utf8_lossy(&reply).into_owned();
        if words.iter().all(|word| text.contains(word)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("port {port} does not say {words:?} within 30 s: {text}"));
        }
        sleep(Duration::from_millis(20));
    }
}

fn is_whole_bulk(reply: &[u8]) -> bool {
    let Some(end) = reply.windows(2).position(|pair| pair == b"\r\n") else { return false };
    let length = std::str::from_utf8(&reply[1..end]).ok().and_then(|digits| digits.parse::<usize>().ok());
    // Anything but a length is an error reply, which is whole with its line.
    length.is_none_or(|length| reply.len() >= end + 2 + length + 2)
}

/// Listening is not serving: a proxy may still be looking for the master.
pub(crate) fn wait_until_serving(port: u16) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let reply = ask(port, b"*2\r\n$3\r\nGET\r\n$7\r\nmissing\r\n", |reply| reply.ends_with(b"\r\n"));
        match reply {
            Ok(reply) if reply == b"$-1\r\n" => return Ok(()),
            other if Instant::now() > deadline => {
                let last = other.map(|reply| String::from_utf8_lossy(&reply).trim().to_owned()).unwrap_or_else(|e| e);
                return Err(format!("no answer to GET on port {port} in 10 s; the last was: {last}"));
            }
            _ => sleep(Duration::from_millis(50)),
        }
    }
}
