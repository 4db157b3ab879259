//! A full sync of a data set through each contender, and over Redis's own TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::contenders::{Contender, write};
use crate::proc;
use crate::process::{Server, free_ports};
use crate::report::Figures;

/// 1038 bytes each on the wire: values of one byte would be compressed, so compression is off.
const KEYS: &str = "1000000";
const SIZE: &str = "1024";
const BYTES: f64 = 1.04e9;

pub(crate) fn full(folder: &Path, name: &str) -> Result<Figures, String> {
    let [master_port, tls_port, replica_port] = free_ports()?;
    let tls = name == "redis-tls";
    let files = if tls { certificates(folder)? } else { String::new() };
    let common = format!(
        "bind 127.0.0.1\nsave \"\"\nappendonly no\nrdbcompression no\nrepl-diskless-sync yes\nrepl-diskless-sync-delay 0\n\
         repl-diskless-load swapdb\nenable-debug-command local\nloglevel warning\nclient-output-buffer-limit replica 0 0 0\n{files}"
    );
    let start = |name: &str, port: u16, more: String| {
        let dir = folder.join(name);
        std::fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
        let file =
            write(folder, &format!("{name}.conf"), &format!("port {port}\ndir {}\n{common}{more}", dir.display()))?;
        Server::start(name, Command::new("redis-server").arg(file), folder, port)
    };
    let master_tls = if tls { format!("tls-port {tls_port}\n") } else { String::new() };
    let master = start("master", master_port, master_tls)?;
    let replica_tls = if tls { "tls-replication yes\n".to_owned() } else { String::new() };
    let replica = start("replica", replica_port, replica_tls)?;
    ask(master_port, &["DEBUG", "POPULATE", KEYS, "key", SIZE])?;
    let contender = Contender::start(folder, name, if tls { tls_port } else { master_port })?;
    let before = [proc::process_cpu_ns(master.pid())?, proc::process_cpu_ns(replica.pid())?, contender.on_cpu_ns()?];
    let began = Instant::now();
    ask(replica_port, &["REPLICAOF", "127.0.0.1", &contender.port.to_string()])?;
    while !ask(replica_port, &["INFO", "replication"])?.contains("master_link_status:up") {
        if began.elapsed() > Duration::from_secs(120) {
            return Err(format!("{name}: no full sync within 120 s"));
        }
        sleep(Duration::from_millis(20));
    }
    let seconds = began.elapsed().as_secs_f64();
    let of_pair = contender.on_cpu_ns()?;
    // The time of the process that wrote the data counts when the master has seen its end.
    while !ask(master_port, &["INFO", "persistence"])?.contains("rdb_bgsave_in_progress:0") {
        if began.elapsed() > Duration::from_secs(120) {
            return Err(format!("{name}: the master does not come to an end of its full sync"));
        }
        sleep(Duration::from_millis(20));
    }
    let after = [proc::process_cpu_ns(master.pid())?, proc::process_cpu_ns(replica.pid())?, of_pair];
    let cpu = |which: usize| (after[which] - before[which]) as f64 / 1e9;
    if ask(replica_port, &["DBSIZE"])? != ask(master_port, &["DBSIZE"])? {
        return Err(format!("{name}: the replica does not have what the master has"));
    }
    Ok(Figures(vec![
        ("s", seconds),
        ("MB/s", BYTES / 1e6 / seconds),
        ("CPU s of the pair", cpu(2)),
        ("CPU s of both servers", cpu(0) + cpu(1)),
    ]))
}

fn ask(port: u16, words: &[&str]) -> Result<String, String> {
    let wrong = |error: std::io::Error| format!("Redis on port {port}: {error}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(wrong)?;
    stream.set_read_timeout(Some(Duration::from_secs(120))).map_err(wrong)?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(request.as_bytes()).map_err(wrong)?;
    let mut reply = vec![0; 65536];
    let read = stream.read(&mut reply).map_err(wrong)?;
    Ok(String::from_utf8_lossy(&reply[..read]).into_owned())
}

fn certificates(folder: &Path) -> Result<String, String> {
    let wrong = |error: rcgen::Error| error.to_string();
    let mut params = rcgen::CertificateParams::new(Vec::new()).map_err(wrong)?;
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "benchmark CA");
    let ca = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().map_err(wrong)?).map_err(wrong)?;
    let key = rcgen::KeyPair::generate().map_err(wrong)?;
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).map_err(wrong)?;
    let leaf = leaf.signed_by(&key, &ca).map_err(wrong)?;
    let [ca, cert, key] = [("ca.pem", ca.pem()), ("cert.pem", leaf.pem()), ("key.pem", key.serialize_pem())]
        .map(|(name, text)| write(folder, name, &text).map(|path| path.display().to_string()));
    let (ca, cert, key) = (ca?, cert?, key?);
    Ok(format!(
        "tls-ca-cert-file {ca}\ntls-cert-file {cert}\ntls-key-file {key}\ntls-protocols TLSv1.3\ntls-ciphersuites TLS_AES_128_GCM_SHA256\n"
    ))
}
