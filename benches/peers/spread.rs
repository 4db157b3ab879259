//! Reads over two replicas beside all of them at the master: throughput, CPU, and who served the reads.
//!
//! Consistency is `session`, so what a client has just written it reads from a node that has it. redis-benchmark cannot mix
//! commands in one connection, so the clients are this program's own, one thread for all.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::contenders;
use crate::proc::on_cpu_ns;
use crate::process::{Server, free_ports};
use crate::resp::{self, KEYS};
use crate::template::render;

const CLIENTS: usize = 50;
const TIME: Duration = Duration::from_secs(3);
const SIZE: usize = 32;

/// Of a hundred commands so many are writes.
const WRITES: [usize; 3] = [50, 10, 0];

/// Between a reply and the next command: none, as a benchmark's client, or as an application that does something with it.
const PAUSES: [Duration; 2] = [Duration::ZERO, Duration::from_millis(5)];

struct Group {
    /// The first is the master.
    nodes: Vec<(Server, u16)>,
    redan: Server,
    spread: u16,
    master: u16,
}

/// What one run was like.
struct Run {
    per_second: f64,
    redan_us: f64,
    master_us: f64,
    /// Of the reads, those that replicas served, 0 to 1.
    share: Option<f64>,
}

/// A table of what was measured.
pub(crate) fn measure(folder: &Path, rounds: usize) -> Result<String, String> {
    let group = Group::start(folder)?;
    let mut text = format!(
        "\n## Reads over two replicas\n\n{CLIENTS} clients, values of {SIZE} bytes, pipeline 1, each command a write with the \
         probability given, and a pause between reply and command; redan-1 with `consistency = \"session\"`. A read behind the client's own \
         write needs a node that is known to have it, which takes a question to the master and the replicas, 3 ms apart at the most often. A \
         client without a pause asks again sooner, is answered by the master, and so has seen something newer: only when it reads 32 times \
         without writing does it wait for the answer. All servers share the machine's cores. Medians of {rounds} rounds.\n\n\
         | pause | writes | reads | req/s | Redan CPU µs/req | master CPU µs/req | reads at replicas |\n|---|---|---|---|---|---|---|\n"
    );
    for (pause, writes) in PAUSES.iter().flat_map(|pause| WRITES.map(|writes| (*pause, writes))) {
        let mut runs = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            runs[0].push(group.run(group.master, writes, pause)?);
            runs[1].push(group.run(group.spread, writes, pause)?);
        }
        for (runs, reads) in runs.iter().zip(["master", "replica"]) {
            let share = median(runs, |run| run.share.unwrap_or_default()) * 100.0;
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {} | {writes} % | `{reads}` | {:.0} | {:.2} | {:.2} | {share:.0} % |",
                if pause.is_zero() { "none".to_owned() } else { format!("{pause:?}") },
                median(runs, |run| run.per_second),
                median(runs, |run| run.redan_us),
                median(runs, |run| run.master_us),
            );
        }
    }
    Ok(text)
}

fn median(runs: &[Run], value: impl Fn(&Run) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Group {
    fn start(folder: &Path) -> Result<Self, String> {
        let ports: [u16; 8] = free_ports()?;
        let [spread, master, ..] = ports;
        let mut nodes = Vec::new();
        for (number, pair) in ports[2..].chunks(2).enumerate() {
            let server = contenders::redis(folder, &format!("redis-spread-{number}"), pair[0], pair[1])?;
            if let Some((_, first)) = nodes.first() {
                resp::ask(pair[0], format!("REPLICAOF 127.0.0.1 {first}\r\n").as_bytes(), |reply| reply == b"+OK\r\n")?;
            }
            nodes.push((server, pair[0]));
        }
        resp::fill(nodes[0].1, SIZE)?;
        for (_, port) in &nodes[1..] {
            resp::wait_for(*port, &["role:slave", "master_link_status:up"])?;
        }
        let numbers = [
            ("spread_port", spread.to_string()),
            ("master_port", master.to_string()),
            ("first", nodes[0].1.to_string()),
            ("second", nodes[1].1.to_string()),
            ("third", nodes[2].1.to_string()),
        ];
        let file = render(folder, "spread.toml", include_str!("templates/spread.toml"), &numbers)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_redan"));
        let redan = Server::start("redan-spread", command.arg("run").arg(file), folder, spread)?;
        resp::wait_until_serving(spread)?;
        Ok(Self { nodes, redan, spread, master })
    }

    fn run(&self, port: u16, writes: usize, pause: Duration) -> Result<Run, String> {
        let reads = || self.nodes.iter().map(|(_, port)| resp::calls(*port, "get")).collect::<Result<Vec<u64>, _>>();
        let cpu = || Ok::<_, String>([on_cpu_ns(self.redan.pid())?, on_cpu_ns(self.nodes[0].0.pid())?]);
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let (reads_before, cpu_before) = (reads()?, cpu()?);
        let began = Instant::now();
        let done =
            runtime.block_on(load(port, writes, pause)).map_err(|error| format!("reads over replicas: {error}"))?;
        let took = began.elapsed();
        let (reads_after, cpu_after) = (reads()?, cpu()?);
        let served: Vec<u64> = reads_after.iter().zip(&reads_before).map(|(after, before)| after - before).collect();
        let all = served.iter().sum::<u64>();
        let each = |at: usize| (cpu_after[at] - cpu_before[at]) as f64 / 1000.0 / done as f64;
        Ok(Run {
            per_second: done as f64 / took.as_secs_f64(),
            redan_us: each(0),
            master_us: each(1),
            share: (all > 0).then(|| (all - served[0]) as f64 / all as f64),
        })
    }
}

/// Commands that were answered.
async fn load(port: u16, writes: usize, pause: Duration) -> io::Result<u64> {
    let mut clients = JoinSet::new();
    let until = Instant::now() + TIME;
    for number in 0..CLIENTS {
        clients.spawn(client(port, writes, pause, number as u64 + 1, until));
    }
    let mut done = 0;
    while let Some(ended) = clients.join_next().await {
        done += ended.map_err(io::Error::other)??;
    }
    Ok(done)
}

async fn client(port: u16, writes: usize, pause: Duration, seed: u64, until: Instant) -> io::Result<u64> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
    socket.set_nodelay(true)?;
    let value = "x".repeat(SIZE);
    let found = format!("${SIZE}\r\n{value}\r\n");
    // The same keys and turns in every run: a multiplicative generator is random enough for that.
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let mut done = 0;
    while Instant::now() < until {
        let key = format!("key:{:012}", next(KEYS));
        let (command, expected) = if next(100) < writes {
            (format!("*3\r\n$3\r\nSET\r\n$16\r\n{key}\r\n${SIZE}\r\n{value}\r\n"), "+OK\r\n")
        } else {
            (format!("*2\r\n$3\r\nGET\r\n$16\r\n{key}\r\n"), found.as_str())
        };
        socket.write_all(command.as_bytes()).await?;
        let mut reply = vec![0; expected.len()];
        socket.read_exact(&mut reply).await?;
        if reply != expected.as_bytes() {
            return Err(io::Error::other(format!("{command:?} was answered {:?}", String::from_utf8_lossy(&reply))));
        }
        done += 1;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(done)
}
