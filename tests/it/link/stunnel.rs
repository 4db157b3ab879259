//! `mode = "tls"` with the real stunnel at the other end, either way round, by pinned keys and by certificates.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::{bytes, connect, listener, mirror};
use crate::support::certs::Certs;
use crate::support::client::Client;
use crate::support::link::{Keys, keygen};
use crate::support::network::Running;
use crate::support::proxy::Proxy;
use crate::support::redis::{Redis, eventually, free_port};

struct Stunnel {
    _process: Running,
    port: u16,
}

impl Stunnel {
    /// `lines` say whether it is a client, what it shows and whom it trusts.
    fn start(folder: &Path, connect_to: &str, lines: &str) -> Self {
        let port = free_port();
        let text = format!(
            "foreground = yes\npid =\nsyslog = no\n[link]\naccept = 127.0.0.1:{port}\nconnect = {connect_to}\nsslVersion = TLSv1.3\n{lines}"
        );
        let file = folder.join(format!("stunnel-{port}.conf"));
        fs::write(&file, text).expect("writable");
        let process = Running::start(Command::new("stunnel").arg(&file));
        eventually("stunnel listens (`make test` installs it)", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self { _process: process, port }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

fn private(path: &Path, text: &str) -> String {
    fs::write(path, text).expect("writable");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("ours");
    path.display().to_string()
}

/// A key and certificate as stunnel takes them, and the line by which Redan knows it.
pub(super) fn foreign_key(folder: &Path) -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["stunnel".to_owned()]).expect("a name");
    let certificate = certificate.self_signed(&key).expect("a certificate").pem();
    let shown = private(&folder.join("stunnel-certificate.pem"), &certificate);
    let file = private(&folder.join("stunnel.pem"), &(key.serialize_pem() + &certificate));
    let line = keygen(&["--public", &shown]);
    assert!(line.status.success(), "{line:?}");
    (file, String::from_utf8(line.stdout).expect("text").trim().to_owned())
}

fn carries(address: &str) {
    let said = bytes(2_000_000, 5);
    let mut stream = connect(address);
    stream.write_all(&said).expect("taken");
    stream.shutdown(Shutdown::Write).expect("open");
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).expect("an answer and its end");
    heard.reverse();
    assert!(heard == said, "{} bytes came back of {}", heard.len(), said.len());
}

#[test]
fn keys_pinned_at_both_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let (target, address) = listener();
    mirror(target);
    let keys = Keys::make();
    let (pem, line) = foreign_key(folder.path());
    let certificate = String::from_utf8(keygen(&["--certificate", &keys.entry.file]).stdout).expect("text");
    let redan = private(&folder.path().join("redan.pem"), &certificate);
    let trust = format!("cert = {pem}\nCAfile = {redan}\nverifyPeer = yes\n");
    // The entry dials a stunnel.
    let server = Stunnel::start(folder.path(), &address, &trust);
    let toml = keys.entry_to(&server.address(), "127.0.0.1:0", "mode = \"tls\"").replace(&keys.exit.line, &line);
    let entry = Proxy::start(&toml);
    carries(&entry.address(0));
    // A stunnel dials the exit.
    let toml = keys.exit_to(&address, "127.0.0.1:0", "mode = \"tls\"").replace(&keys.entry.line, &line);
    let exit = Proxy::start(&toml.replace(&keys.exit.file, &keys.entry.file));
    let client = Stunnel::start(folder.path(), &exit.address(0), &format!("client = yes\n{trust}"));
    carries(&client.address());
    // Another key is refused, and named.
    let stranger = keys.exit_to(&address, "127.0.0.1:0", "mode = \"tls\"").replace(&keys.exit.file, &keys.entry.file);
    let stranger = Proxy::start(&stranger.replace(&keys.entry.line, &keys.exit.line));
    let client = Stunnel::start(folder.path(), &stranger.address(0), &format!("client = yes\n{trust}"));
    assert_eq!(connect(&client.address()).read(&mut [0]).unwrap_or(0), 0);
    eventually("it is named", || stranger.said().contains(&format!("it shows the identity {line}")));
}

#[test]
fn certificates_of_one_ca_at_both_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::start();
    let certs = Certs::make();
    let [ca, cert, key] = [certs.ca(), certs.cert(), certs.key()].map(|path| path.display().to_string());
    let trust = format!("cert = {cert}\nkey = {key}\nCAfile = {ca}\nverifyChain = yes\n");
    let tls = format!("mode = \"tls\"\ntls = {{ ca = \"{ca}\", cert = \"{cert}\", key = \"{key}\" }}");
    let server = Stunnel::start(folder.path(), &redis.address(), &trust);
    let entry = format!("[[link]]\nname = \"there\"\nentry = \"127.0.0.1:0\"\nto = \"{}\"\n{tls}\n", server.address());
    let entry = Proxy::start(&entry);
    Client::connect(&entry.address(0)).ok(&["SET", "through", "stunnel"]);
    let exit = format!("[[link]]\nname = \"here\"\nexit = \"127.0.0.1:0\"\nto = \"{}\"\n{tls}\n", redis.address());
    let exit = Proxy::start(&exit);
    let client = Stunnel::start(folder.path(), &exit.address(0), &format!("client = yes\n{trust}"));
    assert_eq!(Client::connect(&client.address()).text(&["GET", "through"]).as_deref(), Some("stunnel"));
}
