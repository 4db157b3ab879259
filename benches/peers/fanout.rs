//! One channel with very many subscribers: what it costs the node, in memory, and per message handed on.
//!
//! Beside Redis itself, which has every subscriber as a connection of its own. The subscribers are read by one thread of this
//! program, which is the same work for both.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;

use crate::contenders;
use crate::proc::{memory, on_cpu_ns};
use crate::process::free_ports;
use crate::resp;

pub(crate) const SUBSCRIBERS: usize = 10_000;

/// Messages of 32 bytes, sent in pipelines of ten: enough for seconds of work at 10,000 subscribers.
const MESSAGES: usize = 200;
const PIPELINE: usize = 10;

const SUBSCRIBE: &[u8] = b"*2\r\n$9\r\nSUBSCRIBE\r\n$4\r\nnews\r\n";
const CONFIRMED: usize = b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n".len();
const MESSAGE: usize = b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$32\r\n\r\n".len() + 32;

/// A table of what was measured.
pub(crate) fn measure(folder: &Path, subscribers: usize) -> Result<String, String> {
    let mut text = format!(
        "\n## Fan-out\n\n{subscribers} subscribers of one channel, {MESSAGES} messages of 32 bytes. CPU is that of the process \
         alone, per message and subscriber.\n\n\
         | | subscriptions at the node | KiB per subscriber (private) | messages handed on per s | CPU ns each |\n\
         |---|---|---|---|---|\n"
    );
    for workers in [0, 1, 2] {
        let [port, tls_port, redis_port, redis_tls_port] = free_ports()?;
        let name = format!("fan-out-{workers}");
        let redis = contenders::redis(folder, &format!("redis-{name}"), redis_port, redis_tls_port)?;
        let redan = match workers {
            0 => None,
            workers => {
                Some(contenders::redan(folder, &format!("redan-{name}"), workers, [port, tls_port], redis_port)?)
            }
        };
        let (pid, port) = redan.as_ref().map_or_else(|| (redis.pid(), redis_port), |redan| (redan.pid(), port));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let before = memory(pid)?;
        let failed = |error: io::Error| format!("{name}: {error}");
        let mut clients = runtime.block_on(connect(port, subscribers)).map_err(failed)?;
        let each = (memory(pid)?.private as f64 - before.private as f64) / subscribers as f64;
        let upstream = subscriptions(redis_port)?;
        let cpu = on_cpu_ns(pid)?;
        let took = runtime.block_on(fan_out(port, &mut clients)).map_err(failed)?;
        let handed = (MESSAGES * subscribers) as f64;
        let cpu = (on_cpu_ns(pid)? - cpu) as f64 / handed;
        let who = if workers == 0 { "direct".to_owned() } else { format!("redan-{workers}") };
        let rate = handed / took.as_secs_f64();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {who} | {upstream} | {each:.1} | {rate:.0} | {cpu:.0} |");
    }
    Ok(text)
}

async fn connect(port: u16, subscribers: usize) -> io::Result<Vec<TcpStream>> {
    let mut clients = Vec::with_capacity(subscribers);
    for _ in 0..subscribers {
        let mut client = TcpStream::connect(("127.0.0.1", port)).await?;
        client.write_all(SUBSCRIBE).await?;
        let mut confirmed = [0; CONFIRMED];
        client.read_exact(&mut confirmed).await?;
        clients.push(client);
    }
    Ok(clients)
}

/// How long it takes until every subscriber has every message.
async fn fan_out(port: u16, clients: &mut [TcpStream]) -> io::Result<Duration> {
    let mut publisher = TcpStream::connect(("127.0.0.1", port)).await?;
    let command = format!("*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$32\r\n{}\r\n", "x".repeat(32));
    let batch = command.repeat(PIPELINE);
    let reply = format!(":{}\r\n", clients.len());
    let start = Instant::now();
    let mut scratch = vec![0; MESSAGE * PIPELINE];
    for _ in 0..MESSAGES / PIPELINE {
        publisher.write_all(batch.as_bytes()).await?;
        let mut replies = vec![0; reply.len() * PIPELINE];
        publisher.read_exact(&mut replies).await?;
        if replies != reply.repeat(PIPELINE).as_bytes() {
            return Err(io::Error::other(format!("PUBLISH was answered {:?}", String::from_utf8_lossy(&replies))));
        }
        for client in &mut *clients {
            client.read_exact(&mut scratch).await?;
        }
    }
    Ok(start.elapsed())
}

/// Subscribers of the channel as the node counts them.
fn subscriptions(port: u16) -> Result<u64, String> {
    let reply = resp::ask(port, b"PUBSUB NUMSUB news\r\n", |reply| reply.ends_with(b"\r\n") && reply.contains(&b':'))?;
    let text = String::from_utf8_lossy(&reply).into_owned();
    text.rsplit(':')
        .next()
        .and_then(|number| number.trim().parse().ok())
        .ok_or_else(|| format!("PUBSUB NUMSUB: {text}"))
}
