//! Files of TLS that change under a running Redan: what is used anew, what is refused, who loses a connection.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::certs::Certs;
use crate::support::endpoint::Endpoint;
use crate::support::redis::{DEADLINE, Redis, eventually};
use crate::support::tls::{TlsClient, pings, shown};

/// `ca.pem`, `node.pem` and `node.key` behind a link, as Kubernetes mounts a secret.
struct Mounted {
    folder: tempfile::TempDir,
    versions: usize,
}

impl Mounted {
    fn new(pair: [String; 2]) -> Self {
        let mut mounted = Self { folder: tempfile::tempdir().expect("a folder"), versions: 0 };
        mounted.swap(pair);
        for name in ["node.pem", "node.key"] {
            std::os::unix::fs::symlink(Path::new("..data").join(name), mounted.at(name)).expect("a link");
        }
        mounted
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// All files at once: a new folder, and the link is renamed over the old one.
    fn swap(&mut self, [cert, key]: [String; 2]) {
        self.versions += 1;
        let version = format!("version-{}", self.versions);
        fs::create_dir(self.at(&version)).expect("a folder");
        fs::write(self.at(&version).join("node.pem"), cert).expect("writable");
        fs::write(self.at(&version).join("node.key"), key).expect("writable");
        std::os::unix::fs::symlink(&version, self.at("..new")).expect("a link");
        fs::rename(self.at("..new"), self.at("..data")).expect("a link");
    }

    fn listener(&self) -> String {
        format!("tls = {{ cert = {:?}, key = {:?} }}", self.at("node.pem"), self.at("node.key"))
    }
}

fn failures(endpoint: &Endpoint) -> f64 {
    endpoint.metric("redan_tls_renewals_total{outcome=\"failed\"}")
}

fn successes(endpoint: &Endpoint) -> f64 {
    endpoint.metric("redan_tls_renewals_total{outcome=\"succeeded\"}")
}

#[test]
fn certificates_change_behind_a_link_and_by_a_signal_and_nobody_is_closed() {
    let redis = Redis::start();
    let certs = Certs::make();
    let mut mounted = Mounted::new(certs.issue(&[]));
    let endpoint = Endpoint::of(&[&redis], &mounted.listener());
    let client = TlsClient::new(&certs, None);
    let mut first = client.connect(&endpoint.address());
    pings(&mut first).expect("it serves");
    let before = shown(&first);
    let now_shown = || {
        let mut stream = client.connect(&endpoint.address());
        pings(&mut stream).expect("it serves all the time");
        shown(&stream)
    };
    mounted.swap(certs.issue(&[]));
    eventually("new connections are shown the new certificate", || now_shown() != before);
    let second = now_shown();
    mounted.swap(certs.issue(&[]));
    endpoint.signal("HUP");
    eventually("the next one", || now_shown() != second);
    eventually("it says so", || endpoint.said().contains("reload: read all files of TLS again"));
    pings(&mut first).expect("an open connection is not touched");
    assert_eq!((successes(&endpoint), failures(&endpoint)), (2.0, 0.0));
    let file = mounted.at("node.pem").display().to_string();
    let series = format!("redan_certificate_expires_in_seconds{{of=\"listener\",name=\"app\",file=\"{file}\"}}");
    assert!(endpoint.metric(&series) > 1e9, "far in the future");
}

#[test]
fn what_cannot_be_used_is_refused_once_and_the_old_goes_on() {
    let redis = Redis::start();
    let certs = Certs::make();
    let [cert, key] = certs.issue(&[]);
    let mut mounted = Mounted::new([cert.clone(), key.clone()]);
    let endpoint = Endpoint::of(&[&redis], &mounted.listener());
    let client = TlsClient::new(&certs, None);
    let [other_cert, other_key] = certs.issue(&[]);
    let expired = Certs::expired();
    let expired = [fs::read_to_string(expired.cert()).expect("text"), fs::read_to_string(expired.key()).expect("text")];
    let half = other_cert[..other_cert.len() / 2].to_owned();
    for (refused, pair, words) in [
        (1.0, [other_cert.clone(), key], "is not the key of"),
        (2.0, [half, other_key.clone()], "holds no certificate"),
        (3.0, expired, "has expired; renew it"),
    ] {
        mounted.swap(pair);
        eventually("it is refused", || failures(&endpoint) == refused);
        assert_eq!(endpoint.said().matches(words).count(), 1, "{}", endpoint.said());
        pings(&mut client.connect(&endpoint.address())).expect("the old one goes on");
    }
    mounted.swap([other_cert, other_key]);
    eventually("a good one is used", || successes(&endpoint) == 1.0);
    assert_eq!(failures(&endpoint), 3.0, "each was refused once");
    pings(&mut client.connect(&endpoint.address())).expect("it serves");
}

#[test]
fn a_revoked_client_loses_its_connection_and_the_others_keep_theirs() {
    let redis = Redis::start();
    let certs = Certs::with_clients(&[("app", "app", &[]), ("other", "other", &[]), ("third", "third", &[])]);
    let list = certs.revoke(&[]);
    let tls = |more: &str| {
        let (cert, key, ca) = (certs.cert(), certs.key(), certs.ca());
        format!("tls = {{ cert = {cert:?}, key = {key:?}, client_ca = {ca:?}, client_crl = {list:?}{more} }}")
    };
    for versions in [[&rustls::version::TLS13], [&rustls::version::TLS12]] {
        certs.revoke(&["third"]);
        let nodes = [redis.address()];
        let endpoint = Endpoint::with_workers(2, &nodes, &tls(""), "");
        endpoint.wait_for_readable(1);
        let [app, other, third] =
            ["app", "other", "third"].map(|name| TlsClient::of_versions(&certs, Some(name), &versions));
        assert!(pings(&mut third.connect(&endpoint.address())).is_err(), "it was revoked before");
        let mut apps: Vec<_> = (0..3).map(|_| app.connect(&endpoint.address())).collect();
        let mut others: Vec<_> = (0..3).map(|_| other.connect(&endpoint.address())).collect();
        for stream in apps.iter_mut().chain(&mut others) {
            pings(stream).expect("nobody of them is revoked");
        }
        certs.revoke(&["third", "app"]);
        for stream in &mut apps {
            let end = stream.read(&mut [0; 1]);
            assert!(matches!(end, Ok(0)) || end.is_err(), "it is closed without being asked: {end:?}");
        }
        for stream in &mut others {
            pings(stream).expect("it is not revoked");
        }
        // Its tickets are from before.
        assert!(pings(&mut app.connect(&endpoint.address())).is_err());
        pings(&mut other.connect(&endpoint.address())).expect("it is not revoked");
        assert_eq!(endpoint.metric("redan_untrusted_clients_closed_total"), 3.0);
        assert!(
            endpoint.said().contains("its certificate is revoked by a list in `client_crl`"),
            "{}",
            endpoint.said()
        );
        // Its CA goes, and another comes.
        let ca = fs::read(certs.ca()).expect("the CA");
        fs::write(certs.ca(), fs::read(Certs::make().ca()).expect("another CA")).expect("writable");
        for stream in &mut others {
            let end = stream.read(&mut [0; 1]);
            assert!(matches!(end, Ok(0)) || end.is_err(), "it is closed: {end:?}");
        }
        fs::write(certs.ca(), ca).expect("writable");
    }
}

#[test]
fn a_node_whose_key_is_not_listed_any_more_loses_its_connections() {
    let certs = Certs::make();
    let node = Redis::options().tls(&certs).start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("node.pins");
    let pin = pin(&certs.cert());
    let wrong = format!("sha256:{}", "0".repeat(64));
    fs::write(&file, format!("# the next one\n{wrong}\n{pin}  # this one\n")).expect("writable");
    let tls = format!("tls = {{ pins_file = {file:?} }}");
    let endpoint = Endpoint::start(&[node.address()], "hold = \"200ms\"", &tls);
    let mut client = endpoint.client();
    client.ok(&["SET", "key", "value"]);
    client.ok(&["MULTI"]);
    fs::write(&file, format!("{wrong}\n")).expect("writable");
    eventually("the node is not believed", || {
        endpoint.metric("redan_group_has_master{group=\"main\"}") == 0.0 && endpoint.metric("redan_lanes") == 0.0
    });
    let said = endpoint.said();
    assert!(said.contains("closed a connection to") && said.contains(&pin), "it names the key that it saw: {said}");
    assert!(endpoint.client().ask(&["SET", "key", "value"]).starts_with("-LOADING"));
    fs::write(&file, format!("{pin}\n")).expect("writable");
    endpoint.wait_for_readable(1);
    endpoint.client().ok(&["SET", "key", "value"]);
}

/// As `redan cert pin` prints it.
fn pin(cert: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_redan")).args(["cert", "pin"]).arg(cert).output();
    let output = output.expect("the program that cargo has just built");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[test]
fn a_client_gets_the_certificate_of_the_name_it_dials() {
    let redis = Redis::start();
    let certs = Certs::make();
    let folder = tempfile::tempdir().expect("a folder");
    let sets: [&[&str]; 3] = [&["127.0.0.1", "default.test"], &["one.test"], &["*.apps.test"]];
    let mut tables = Vec::new();
    for (index, names) in sets.iter().enumerate() {
        let [cert, key] = ["pem", "key"].map(|ending| folder.path().join(format!("{index}.{ending}")));
        let pair = certs.issue(names);
        fs::write(&cert, &pair[0]).expect("writable");
        fs::write(&key, &pair[1]).expect("writable");
        tables.push(format!("{{ cert = {cert:?}, key = {key:?} }}"));
    }
    let endpoint = Endpoint::of(&[&redis], &format!("tls = {{ certificates = [{}] }}", tables.join(", ")));
    let client = TlsClient::new(&certs, None);
    // The client checks that the certificate carries the name.
    for name in ["127.0.0.1", "default.test", "one.test", "two.apps.test"] {
        pings(&mut client.dial(&endpoint.address(), name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(pings(&mut client.dial(&endpoint.address(), "elsewhere.test")).is_err());
}

#[test]
fn half_handshakes_end_and_keep_nobody_out() {
    let redis = Redis::start();
    let certs = Certs::make();
    let (cert, key) = (certs.cert(), certs.key());
    let tls = |more: &str| format!("tls = {{ cert = {cert:?}, key = {key:?}{more} }}");
    let begin = |address: &str| {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        // The header of a handshake record, and nothing behind it.
        stream.write_all(&[22, 3, 1, 1, 0]).expect("open");
        stream
    };
    let endpoint = Endpoint::of(&[&redis], &tls(", handshake_timeout = \"60s\""));
    let client = TlsClient::new(&certs, None);
    let mut early = client.connect(&endpoint.address());
    pings(&mut early).expect("it serves");
    let mut flood: Vec<TcpStream> = (0..150).map(|_| begin(&endpoint.address())).collect();
    pings(&mut early).expect("established sessions go on");
    pings(&mut client.connect(&endpoint.address())).expect("its turn comes, long before their time is over");
    assert_eq!(flood[0].read(&mut [0; 16]).expect("an end, not a timeout"), 0);

    let strict = Endpoint::of(&[&redis], &tls(", handshake_timeout = \"300ms\", min_version = \"1.3\""));
    assert_eq!(begin(&strict.address()).read(&mut [0; 16]).expect("an end"), 0);
    eventually("it says why", || strict.said().contains("it did not finish the handshake within 300 ms"));
    pings(&mut client.connect(&strict.address())).expect("TLS 1.3");
    assert!(
        pings(&mut TlsClient::of_versions(&certs, None, &[&rustls::version::TLS12]).connect(&strict.address()))
            .is_err()
    );
}

/// An authority of `redan cert` for everything: a server, Redan and clients on both sides of it.
#[test]
fn certificates_of_the_command_line_serve_redis_and_its_clients() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let redan = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_redan")).arg("cert").args(words).current_dir(&folder).output();
        let output = output.expect("the program that cargo has just built");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    redan(&["ca", "--out", "certs"]);
    redan(&[
        "issue",
        "--ca",
        "certs/ca.pem",
        "--name",
        "redis.internal",
        "--name",
        "127.0.0.1",
        "--out",
        "certs/redis",
    ]);
    redan(&["issue", "--ca", "certs/ca.pem", "--name", "localhost", "--name", "127.0.0.1", "--out", "certs/redan"]);
    redan(&["issue", "--ca", "certs/ca.pem", "--client", "app"]);
    redan(&["issue", "--ca", "certs/ca.pem", "--client", "other"]);
    let [ca, crl, cert, key] = ["ca.pem", "ca.crl", "redan.pem", "redan.key"].map(|name| at("certs").join(name));
    let line = |setting: &str, file: &str| format!("{setting} {}", at("certs").join(file).display());
    let node = Redis::options()
        .tls(&Certs::make())
        .line(&line("tls-ca-cert-file", "ca.pem"))
        .line(&line("tls-cert-file", "redis.pem"))
        .line(&line("tls-key-file", "redis.key"))
        .line("tls-auth-clients yes")
        .start();
    let listener = format!("tls = {{ cert = {cert:?}, key = {key:?}, client_ca = {ca:?}, client_crl = {crl:?} }}");
    let to_node = format!(
        "tls = {{ ca = {ca:?}, crl = {crl:?}, server_name = \"redis.internal\", cert = {cert:?}, key = {key:?} }}"
    );
    let endpoint = Endpoint::start(&[node.address()], &listener, &to_node);
    let ping = |address: &str, client: &str| {
        let (_, port) = address.split_once(':').expect("a port");
        let files = [format!("{client}.pem"), format!("{client}.key")].map(|name| at("certs").join(name));
        let mut command = Command::new("redis-cli");
        command
            .args(["-p", port, "--tls", "--cacert"])
            .arg(&ca)
            .arg("--cert")
            .arg(&files[0])
            .arg("--key")
            .arg(&files[1]);
        let output = command.arg("PING").stdin(Stdio::null()).output();
        String::from_utf8_lossy(&output.expect("redis-cli is missing: `make test` installs it").stdout).into_owned()
    };
    for address in [endpoint.address(), node.address()] {
        assert_eq!(ping(&address, "app"), "PONG\n", "{address}");
    }
    redan(&["revoke", "--ca", "certs/ca.pem", "certs/app.pem"]);
    eventually("it is revoked", || ping(&endpoint.address(), "app") != "PONG\n");
    assert_eq!(ping(&endpoint.address(), "other"), "PONG\n");
    // The server's own certificate, of which both sides of Redan have the list.
    redan(&["revoke", "--ca", "certs/ca.pem", "certs/redis.pem"]);
    eventually("the node is not believed", || endpoint.metric("redan_group_has_master{group=\"main\"}") == 0.0);
    assert!(endpoint.said().contains("revoked by a list in `crl`"), "{}", endpoint.said());
}

/// Root is given up by every thread, and files still change in the sandbox.
#[test]
fn without_root_and_in_the_sandbox_it_serves_and_reads_its_files() {
    let redis = Redis::start();
    let certs = Certs::make();
    let mut mounted = Mounted::new(certs.issue(&[]));
    let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(mounted.folder.path(), everyone).expect("ours");
    let root = rustix::process::getuid().is_root();
    let process = format!("sandbox = \"on\"\n{}", if root { "user = \"nobody\"" } else { "" });
    let endpoint = Endpoint::start_process(&process, &[redis.address()], &mounted.listener(), "");
    endpoint.wait_for_readable(1);
    let client = TlsClient::new(&certs, None);
    let mut first = client.connect(&endpoint.address());
    pings(&mut first).expect("it serves");
    let threads = fs::read_dir(format!("/proc/{}/task", endpoint.id())).expect("a running process");
    let mut names = Vec::new();
    for thread in threads {
        let status = fs::read_to_string(thread.expect("a thread").path().join("status")).expect("readable");
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).expect("a field").trim().to_owned();
        if root {
            assert_eq!(field("CapEff:"), "0000000000000000", "{status}");
            assert!(field("Uid:").split_whitespace().all(|id| id != "0"), "{status}");
        }
        assert_eq!(field("NoNewPrivs:"), "1", "{status}");
        names.push(field("Name:"));
    }
    assert!(names.iter().any(|name| name.starts_with("redan-worker")) && names.len() >= 5, "{names:?}");
    mounted.swap(certs.issue(&[]));
    let before = shown(&first);
    eventually("the new certificate is used", || {
        let mut stream = client.connect(&endpoint.address());
        pings(&mut stream).expect("it serves");
        shown(&stream) != before
    });
}
