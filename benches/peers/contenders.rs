//! Starts Redis and everything that stands in front of it, each with the configuration in `templates/`.
//!
//! All proxies talk to one Redis in plaintext; "TLS" is the client's side of them, as an endpoint is used.

use std::path::Path;
use std::process::Command;

use crate::machine::in_sbin;
use crate::process::{Server, free_ports};
use crate::resp;
use crate::template::render;

/// A way to reach Redis, measured on its own.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// `None`: it has no such listener (twemproxy and TLS).
    pub(crate) port: Option<u16>,
    pub(crate) tls_port: Option<u16>,
    /// `None`: there is no proxy.
    pub(crate) server: Option<Server>,
    /// Why it takes no part, when it could not be started.
    pub(crate) absent: Option<String>,
}

pub(crate) struct Field {
    pub(crate) redis: Server,
    pub(crate) redis_port: u16,
    pub(crate) contenders: Vec<Contender>,
}

impl Field {
    /// Only Redis itself must start; a proxy that fails is carried along as absent, so that it is reported.
    pub(crate) fn start(folder: &Path, wanted: &[String]) -> Result<Self, String> {
        let [redis_port, redis_tls_port] = free_ports()?;
        let redis = redis(folder, "redis", redis_port, redis_tls_port)?;
        let direct = Contender {
            name: "direct",
            port: Some(redis_port),
            tls_port: Some(redis_tls_port),
            server: None,
            absent: None,
        };
        let mut contenders = vec![direct];
        for name in ["haproxy", "twemproxy", "redan-1", "redan-2"] {
            if wanted.is_empty() || wanted.iter().any(|word| word == name) {
                contenders.push(proxy(folder, name, redis_port)?);
            }
        }
        Ok(Self { redis, redis_port, contenders })
    }
}

pub(crate) fn redis(folder: &Path, name: &str, port: u16, tls_port: u16) -> Result<Server, String> {
    // The idle clients and a few of Redan's own.
    let numbers = [("port", port.to_string()), ("tls_port", tls_port.to_string()), ("maxclients", "12000".to_owned())];
    let file = render(folder, &format!("{name}.conf"), include_str!("templates/redis.conf"), &numbers)?;
    let server = Server::start(name, Command::new("redis-server").arg(file), folder, port)?;
    resp::wait_until_serving(port)?;
    Ok(server)
}

/// The release build that `cargo bench` made beside this program.
pub(crate) fn redan(
    folder: &Path,
    name: &str,
    workers: usize,
    ports: [u16; 2],
    redis_port: u16,
) -> Result<Server, String> {
    let [port, tls_port] = ports;
    let numbers = [
        ("port", port.to_string()),
        ("tls_port", tls_port.to_string()),
        ("redis_port", redis_port.to_string()),
        ("workers", workers.to_string()),
    ];
    let file = render(folder, &format!("{name}.toml"), include_str!("templates/redan.toml"), &numbers)?;
    let server = Server::start(name, Command::new(env!("CARGO_BIN_EXE_redan")).arg("run").arg(file), folder, port)?;
    resp::wait_until_serving(port).map_err(|error| format!("{error}; it printed: {}", server.said()))?;
    Ok(server)
}

fn proxy(folder: &Path, name: &'static str, redis_port: u16) -> Result<Contender, String> {
    let ports: [u16; 2] = free_ports()?;
    let started = match name {
        "haproxy" => haproxy(folder, ports, redis_port),
        "twemproxy" => twemproxy(folder, ports[0], redis_port),
        "redan-1" => redan(folder, name, 1, ports, redis_port),
        _ => redan(folder, name, 2, ports, redis_port),
    };
    let tls_port = (name != "twemproxy").then_some(ports[1]);
    let (server, absent) = match started {
        Ok(server) => (Some(server), None),
        Err(why) => {
            eprintln!("{name} takes no part: {why}");
            (None, Some(why))
        }
    };
    Ok(Contender { name, port: Some(ports[0]), tls_port, server, absent })
}

fn haproxy(folder: &Path, [port, tls_port]: [u16; 2], redis_port: u16) -> Result<Server, String> {
    let numbers =
        [("port", port.to_string()), ("tls_port", tls_port.to_string()), ("redis_port", redis_port.to_string())];
    let file = render(folder, "haproxy.cfg", include_str!("templates/haproxy.cfg"), &numbers)?;
    // -db: one process, in the foreground.
    let server =
        Server::start("haproxy", Command::new(in_sbin("haproxy")).arg("-db").arg("-f").arg(file), folder, port)?;
    resp::wait_until_serving(port)?;
    Ok(server)
}

fn twemproxy(folder: &Path, port: u16, redis_port: u16) -> Result<Server, String> {
    let numbers = [("port", port.to_string()), ("redis_port", redis_port.to_string())];
    let file = render(folder, "nutcracker.yml", include_str!("templates/nutcracker.yml"), &numbers)?;
    let [statistics] = free_ports()?;
    let mut command = Command::new(in_sbin("nutcracker"));
    command.arg("-c").arg(file).args(["-a", "127.0.0.1", "-s", &statistics.to_string()]);
    let server = Server::start("twemproxy", &mut command, folder, port)?;
    resp::wait_until_serving(port)?;
    Ok(server)
}
