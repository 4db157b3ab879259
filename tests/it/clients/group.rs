//! A master and two replicas of it, and Redan in front of them with a plain and a TLS listener.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::support::proxy::Proxy;

pub(crate) struct Group {
    master: Redis,
    _replicas: [Redis; 2],
    folder: TempDir,
}

impl Group {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_certificates(folder.path());
        let master = Redis::start(folder.path(), None);
        let replicas = [(); 2].map(|()| Redis::start(folder.path(), Some(master.port)));
        for replica in &replicas {
            replica.wait_for("INFO replication\r\n", "master_link_status:up");
        }
        Self { master, _replicas: replicas, folder }
    }

    pub(crate) fn master_address(&self) -> String {
        format!("127.0.0.1:{}", self.master.port)
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Address 0 is plain, 1 is TLS. Only the master is configured: the replicas are for Redan to find.
    pub(crate) fn proxy(&self) -> Proxy {
        let folder = self.folder.path().display();
        Proxy::start(&format!(
            r#"
            [[listener]]
            name = "plain"
            bind = "127.0.0.1:0"
            group = "main"

            [[listener]]
            name = "encrypted"
            bind = "127.0.0.1:0"
            group = "main"
            tls = {{ cert = "{folder}/server.pem", key = "{folder}/server.key" }}

            [[group]]
            name = "main"
            nodes = ["127.0.0.1:{}"]
            "#,
            self.master.port
        ))
    }
}

struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    fn start(folder: &Path, master: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port of the loopback address");
        let port = listener.local_addr().expect("the address of a bound socket").port();
        drop(listener);
        let own = folder.join(port.to_string());
        fs::create_dir(&own).expect("a folder of its own");
        let mut command = Command::new(crate::support::redis::program());
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(&own);
        // Without it a full synchronisation waits five seconds for more replicas to come.
        command.args(["--repl-diskless-sync-delay", "0"]);
        if let Some(master) = master {
            command.args(["--replicaof", "127.0.0.1", &master.to_string()]);
        }
        let log = File::create(own.join("log")).expect("a log in a fresh folder");
        let child = command.stdin(Stdio::null()).stdout(log).spawn();
        let child = child.expect("redis-server is missing: `make test` installs it, or: apt-get install redis-server");
        let redis = Self { child, port };
        redis.wait_for("PING\r\n", "+PONG");
        redis
    }

    /// Asks until the answer contains `wanted`.
    fn wait_for(&self, question: &str, wanted: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = self.ask(question).unwrap_or_else(|error| error.to_string());
            if answer.contains(wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "Redis on port {}: no '{wanted}' but: {answer}", self.port);
            sleep(Duration::from_millis(20));
        }
    }

    /// Reads until Redis closes, which QUIT makes it do.
    fn ask(&self, question: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(format!("{question}QUIT\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Both fail only when it is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_certificates(folder: &Path) {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::new(Vec::new()).expect("no names to get wrong");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Another name than the server's: OpenSSL takes issuer == subject for self-signed.
    ca.distinguished_name.push(DnType::CommonName, "Redan test CA");
    let ca_pem = ca.self_signed(&ca_key).expect("a CA").pem();

    let key = KeyPair::generate().expect("a key");
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let mut server = CertificateParams::new(names).expect("two valid names");
    server.distinguished_name.push(DnType::CommonName, "127.0.0.1");
    let certificate = server.signed_by(&key, &Issuer::new(ca, ca_key)).expect("a certificate");

    for (name, text) in [("ca.pem", ca_pem), ("server.pem", certificate.pem()), ("server.key", key.serialize_pem())] {
        fs::write(folder.join(name), text).expect("a file in a fresh folder");
    }
}
