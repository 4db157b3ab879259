//! Who would be let in, and who could read what crosses the network: refused unless it is asked for by name, or warned of.

use super::*;

#[test]
fn exposure_is_asked_for_by_name() {
    let tls = "tls = { cert = \"certs/redan.pem\", key = \"certs/redan.key\" }";
    let mutual = "tls = { cert = \"certs/redan.pem\", key = \"certs/redan.key\", client_ca = \"certs/ca.pem\" }";
    let passed = "auth = \"passthrough\"";
    let more = |more: &str| -> &'static str { mutual.replace(" }", &format!(", {more} }}")).leak() };
    let (optional, named) = (more("client_auth = \"optional\""), more("user = \"cn\""));
    let named_without_ca = "tls = { cert = \"certs/redan.pem\", key = \"certs/redan.key\", user = \"cn\" }";
    let (plaintext, nobody) = ("plaintext = \"allow\"", "authentication = \"none\"");
    let (users, required) = ("users = \"users.toml\"", "authentication = \"required\"");
    let (no_tls, no_proof) = ("has no `tls`", "anyone may use it");
    let rows: &[(&str, &[&str], &[&str])] = &[
        ("0.0.0.0:1", &[], &[no_tls, no_proof]),
        ("[::]:1", &[], &[no_tls, no_proof]),
        ("10.0.0.1:1", &[plaintext], &[no_proof]),
        ("10.0.0.1:1", &["plaintext = \"deny\"", users], &[no_tls]),
        ("10.0.0.1:1", &[nobody], &[no_tls]),
        ("10.0.0.1:1", &[tls], &[no_proof]),
        ("10.0.0.1:1", &[users], &[no_tls]),
        ("10.0.0.1:1", &[tls, required], &["nothing authenticates"]),
        ("127.0.0.1:1", &[required], &["nothing authenticates"]),
        ("10.0.0.1:1", &[plaintext, nobody], &[]),
        ("10.0.0.1:1", &[plaintext, users], &[]),
        ("10.0.0.1:1", &[tls, nobody], &[]),
        ("10.0.0.1:1", &[tls, users, required], &[]),
        ("10.0.0.1:1", &[mutual, required], &[]),
        ("10.0.0.1:1", &[mutual], &[]),
        ("127.0.0.1:1", &[], &[]),
        ("[::1]:1", &[users], &[]),
        ("10.0.0.1:1", &[tls, users, plaintext], &["contradicts `tls`"]),
        ("10.0.0.1:1", &[tls, users, nobody], &["contradicts `users`"]),
        ("10.0.0.1:1", &[tls, passed], &[]),
        ("10.0.0.1:1", &[passed], &[no_tls]),
        ("10.0.0.1:1", &[tls, passed, nobody], &["contradicts `auth`"]),
        ("10.0.0.1:1", &[optional, users], &[]),
        ("10.0.0.1:1", &[optional, passed], &[]),
        ("10.0.0.1:1", &[optional], &["who shows no certificate would be let in"]),
        ("10.0.0.1:1", &[named, users], &[]),
        ("10.0.0.1:1", &[named], &["name a `users` file"]),
        ("10.0.0.1:1", &[named_without_ca, users], &["name the `client_ca`"]),
        ("10.0.0.1:1", &[mutual, nobody], &["contradicts `client_ca`"]),
        ("unix:redis.sock", &[], &[]),
        ("unix:redis.sock", &[tls], &["TLS on a Unix socket"]),
    ];
    let directory = Directory::new();
    for (bind, lines, expected) in rows {
        let listener = format!("bind = \"{bind}\"\n{}", lines.join("\n"));
        let errors = directory.load(&file("", &listener, NODES)).err().unwrap_or_default();
        assert_eq!(errors.len(), expected.len(), "{listener}: {errors:#?}");
        for (error, part) in errors.iter().zip(*expected) {
            assert!(error.contains(part), "{listener}: {error}");
        }
    }
}

#[test]
fn what_is_allowed_and_probably_not_meant_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    let public = |name: &str| {
        let path = directory.write(name, "hunter2\n");
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    };
    public("secrets/public");
    public("certs/public.key");
    let listener = r#"bind = "10.0.0.1:1"
        plaintext = "allow"
        users = "users.toml"
        reads = "master"
        consistency = "eventual"
        [[listener]]
        name = "tls"
        bind = "127.0.0.1:2"
        tls = { cert = "certs/redan.pem", key = "certs/public.key" }
        [[listener]]
        name = "local"
        bind = "unix:sock"
        mode = "0777""#;
    let listener = format!("name = \"app\"\n{listener}");
    let group = "nodes = [\"10.0.0.1:6379\"]\npassword_file = \"secrets/public\"";
    let config = directory.load(&file("admin = \"0.0.0.0:9180\"", &listener, group)).unwrap();
    let expected = [
        "proxy.toml:2: anyone who reaches",
        "proxy.toml:6: passwords and data cross the network",
        "proxy.toml:8: with `reads = \"master\"`",
        "proxy.toml:13: every user of this machine can read this private key",
        "proxy.toml:17: any user of this machine may connect",
        "proxy.toml:21: the password for 10.0.0.1:6379 crosses",
        "proxy.toml:22: every user of this machine can read this password",
    ];
    assert_eq!(config.warnings.len(), expected.len(), "{:#?}", config.warnings);
    for (warning, part) in config.warnings.iter().zip(expected) {
        assert!(warning.starts_with(part), "{warning}\n{part}");
    }
}
