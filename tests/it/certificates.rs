//! Clients who are users by the certificate they show.

use std::io::Write;
use std::process::{Command, Stdio};

use rcgen::SanType;

use crate::support::certs::Certs;
use crate::support::endpoint::Endpoint;
use crate::support::redis::Redis;

/// Of `foo`.
const FOO: &str = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

struct Guarded {
    _redis: Redis,
    _folder: tempfile::TempDir,
    certs: Certs,
    endpoint: Endpoint,
}

impl Guarded {
    /// `tls` are further settings of the listener's TLS, `users` the users file.
    fn start(tls: &str, users: &str) -> Self {
        let name = |name: &str| SanType::DnsName(name.try_into().expect("a name"));
        let uri = SanType::URI("spiffe://test/app".try_into().expect("a URI"));
        let certs = Certs::with_clients(&[
            ("app", "app", &[]),
            ("other", "app2", &[]),
            ("dns", "nobody", &[name("unknown.test"), name("app.test")]),
            ("uri", "nobody", &[uri]),
            ("gone", "gone", &[]),
            ("stranger", "stranger", &[name("stranger.test")]),
        ]);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("users.toml");
        std::fs::write(&file, users).expect("writable");
        let redis = Redis::start();
        let path = |path: std::path::PathBuf| path.display().to_string();
        let listener = format!(
            "users = {file:?}\ntls = {{ cert = \"{}\", key = \"{}\", client_ca = \"{}\", {tls} }}",
            path(certs.cert()),
            path(certs.key()),
            path(certs.ca())
        );
        let endpoint = Endpoint::start(&[redis.address()], &listener, "");
        Self { _redis: redis, _folder: folder, certs, endpoint }
    }

    /// What `redis-cli` shows for these lines, with this client's certificate or none.
    fn says(&self, client: Option<&str>, lines: &str) -> String {
        let address = self.endpoint.address();
        let (_, port) = address.split_once(':').expect("a port");
        let ca = self.certs.ca().display().to_string();
        let mut command = Command::new("redis-cli");
        command.args(["-p", port, "--tls", "--cacert", &ca]);
        if let Some(client) = client {
            let [cert, key] = self.certs.client(client);
            command.args(["--cert", &cert, "--key", &key]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("redis-cli is missing: `make test` installs it");
        // It may have been refused before it reads.
        let _ = child.stdin.take().expect("piped").write_all(lines.as_bytes());
        let output = child.wait_with_output().expect("it ends");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }
}

/// `app` by its name or others, `app2` by its name and a password, `gone` not at all.
fn users() -> String {
    format!(
        "[[user]]\nname = \"app\"\ncertificates = [\"app.test\", \"spiffe://test/app\"]\ndeny = [\"flushall\"]\n\
         [[user]]\nname = \"app2\"\npasswords = [\"{FOO}\"]\n\
         [[user]]\nname = \"gone\"\npasswords = [\"{FOO}\"]\nenabled = false\n"
    )
}

#[test]
fn a_certificate_names_its_user_in_the_field_that_counts() {
    for (field, expected) in [
        ("cn", [("app", "app"), ("other", "app2"), ("dns", ""), ("uri", ""), ("gone", ""), ("stranger", "")]),
        ("dns", [("app", ""), ("other", ""), ("dns", "app"), ("uri", ""), ("gone", ""), ("stranger", "")]),
        ("uri", [("app", ""), ("other", ""), ("dns", ""), ("uri", "app"), ("gone", ""), ("stranger", "")]),
    ] {
        let guarded = Guarded::start(&format!("user = \"{field}\""), &users());
        for (client, user) in expected {
            let said = guarded.says(Some(client), "ACL WHOAMI\n");
            if user.is_empty() {
                assert!(said.starts_with("NOAUTH Authentication required."), "{field} {client}: {said}");
            } else {
                assert_eq!(said, format!("{user}\n"), "{field} {client}");
            }
        }
        let log = guarded.endpoint.said();
        assert!(log.contains("no user by its certificate for 127.0.0.1:"), "{log}");
        // Certificates are demanded as ever.
        assert!(!guarded.says(None, "AUTH app2 foo\n").contains("OK"));
    }
}

#[test]
fn such_a_session_has_its_users_rights_and_may_become_another() {
    let guarded = Guarded::start("user = \"cn\"", &users());
    let lines =
        "FLUSHALL\nSET k v\nAUTH app2 wrong\nACL WHOAMI\nAUTH app2 foo\nFLUSHALL\nRESET\nACL WHOAMI\nFLUSHALL\n";
    let said = guarded.says(Some("app"), lines);
    let no = "NOPERM this user has no permissions to run the 'flushall' command";
    let wrong = "WRONGPASS invalid username-password pair or user is disabled.";
    let said: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(said, [no, "OK", wrong, "app", "OK", "OK", "RESET", "app", no]);
    assert!(guarded.says(Some("stranger"), "AUTH app2 foo\nACL WHOAMI\n").ends_with("app2\n"));
}

#[test]
fn certificates_may_be_optional() {
    let guarded = Guarded::start("user = \"cn\", client_auth = \"optional\"", &users());
    assert_eq!(guarded.says(Some("app"), "ACL WHOAMI\n"), "app\n");
    let said = guarded.says(None, "PING\nAUTH app2 foo\nACL WHOAMI\n");
    assert!(said.contains("NOAUTH") && said.ends_with("app2\n"), "{said}");
}

#[test]
fn who_could_not_log_in_otherwise_is_closed() {
    let users = "[[user]]\nname = \"app\"\ncertificates = [\"app\"]\n";
    let guarded = Guarded::start("user = \"cn\", client_auth = \"optional\"", users);
    assert_eq!(guarded.says(Some("app"), "ACL WHOAMI\n"), "app\n");
    for client in [Some("stranger"), None] {
        let said = guarded.says(client, "PING\n");
        assert!(!said.contains("PONG") && !said.contains("NOAUTH"), "{client:?}: {said}");
    }
    let log = guarded.endpoint.said();
    assert!(log.contains("closed client 127.0.0.1:") && log.contains("no user has a password to log in with"), "{log}");
}
