//! What ten thousand idle clients cost: connected, greeted once, then silent.
//!
//! Each target is a fresh process. One that has carried load keeps freed memory and would look as if its
//! clients were free.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::certificates::Authority;
use crate::contenders;
use crate::proc::{Memory, memory};
use crate::process::{Server, free_ports};

pub(crate) const CLIENTS: usize = 10_000;

/// KiB per client, or why it is not known.
pub(crate) struct Idle {
    pub(crate) who: &'static str,
    pub(crate) tls: bool,
    pub(crate) each: Result<Each, String>,
}

pub(crate) struct Each {
    pub(crate) resident_kib: f64,
    pub(crate) proportional_kib: f64,
    pub(crate) private_kib: f64,
}

/// Redis itself stands beside Redan so that the numbers have a measure.
pub(crate) fn measure(folder: &Path, authority: &Authority) -> Result<Vec<Idle>, String> {
    let mut measured = Vec::new();
    for tls in [false, true] {
        let [port, tls_port, redis_port, redis_tls_port] = free_ports()?;
        let name = if tls { "idle-tls" } else { "idle" };
        let redis = contenders::redis(folder, &format!("redis-{name}"), redis_port, redis_tls_port)?;
        let each = grow(&redis, if tls { redis_tls_port } else { redis_port }, tls, authority);
        measured.push(Idle { who: "direct", tls, each });
        let redan = contenders::redan(folder, &format!("redan-{name}"), 2, [port, tls_port], redis_port);
        let each = redan.and_then(|redan| grow(&redan, if tls { tls_port } else { port }, tls, authority));
        measured.push(Idle { who: "redan-2", tls, each });
    }
    for idle in &measured {
        if let Err(why) = &idle.each {
            eprintln!("idle clients of {} ({}): {why}", idle.who, if idle.tls { "TLS" } else { "plain" });
        }
    }
    Ok(measured)
}

fn grow(server: &Server, port: u16, tls: bool, authority: &Authority) -> Result<Each, String> {
    let before = settled(server.pid())?;
    let config = tls.then(|| client_config(authority)).transpose()?;
    let mut clients: Vec<Client> = Vec::with_capacity(CLIENTS);
    for number in 1..=CLIENTS {
        let client = greet(port, config.as_ref());
        clients.push(client.map_err(|error| format!("idle client {number}: {error}; it printed: {}", server.said()))?);
    }
    let after = settled(server.pid())?;
    let each = |before: u64, after: u64| (after as f64 - before as f64) / CLIENTS as f64;
    Ok(Each {
        resident_kib: each(before.resident, after.resident),
        proportional_kib: each(before.proportional, after.proportional),
        private_kib: each(before.private, after.private),
    })
}

/// The fields are there to be kept open.
enum Client {
    Plain { _stream: TcpStream },
    Tls { _stream: Box<StreamOwned<ClientConnection, TcpStream>> },
}

fn greet(port: u16, config: Option<&Arc<ClientConfig>>) -> std::io::Result<Client> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let Some(config) = config else {
        ping(&mut stream)?;
        return Ok(Client::Plain { _stream: stream });
    };
    let name = ServerName::from(std::net::IpAddr::from([127, 0, 0, 1]));
    let connection = ClientConnection::new(Arc::clone(config), name).map_err(std::io::Error::other)?;
    let mut stream = Box::new(StreamOwned::new(connection, stream));
    ping(&mut stream)?;
    Ok(Client::Tls { _stream: stream })
}

/// A client that never said a word would not have made the server allocate anything for it.
fn ping(stream: &mut (impl Read + Write)) -> std::io::Result<()> {
    stream.write_all(b"*1\r\n$4\r\nPING\r\n")?;
    let mut reply = [0; 7];
    stream.read_exact(&mut reply)?;
    match &reply {
        b"+PONG\r\n" => Ok(()),
        other => Err(std::io::Error::other(format!("PING was answered {:?}", String::from_utf8_lossy(other)))),
    }
}

fn client_config(authority: &Authority) -> Result<Arc<ClientConfig>, String> {
    let failed = |error: rustls::Error| format!("no TLS client: {error}");
    let mut roots = RootCertStore::empty();
    roots.add(authority.der.clone()).map_err(failed)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(failed)?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Memory once it has stopped moving: the same twice, half a second apart; at the latest after ten seconds.
fn settled(pid: u32) -> Result<Memory, String> {
    let mut last = memory(pid)?;
    for _ in 0..20 {
        sleep(Duration::from_millis(500));
        let now = memory(pid)?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(last)
}
