//! The files of the demo: certificates, passwords, the configurations of the servers and Redan's own.
//!
//! Everything lies in one directory that only its owner can read; `stage` makes and removes it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::Failure;

/// Eight bytes last longer than the demo against whoever guesses.
const PASSWORD_BYTES: usize = 8;

/// The addresses and passwords that the files speak of.
pub(super) struct Cast {
    /// Master first.
    pub(super) nodes: [String; 3],
    /// Of the two nodes that take turns as the master: whoever follows must know it.
    pub(super) password: String,
    /// The third node's own, as where every server is set up by itself.
    pub(super) other_password: String,
    pub(super) plain: String,
    pub(super) encrypted: String,
    pub(super) admin: String,
}

impl Cast {
    pub(super) fn password_of(&self, node: usize) -> &str {
        if node == 2 { &self.other_password } else { &self.password }
    }
}

pub(super) fn ca(directory: &Path) -> PathBuf {
    directory.join("ca.pem")
}

pub(super) fn config(directory: &Path) -> PathBuf {
    directory.join("proxy.toml")
}

pub(super) fn redis_config(directory: &Path, node: usize) -> PathBuf {
    directory.join(format!("node-{}.conf", letter(node)))
}

/// What the demo calls its nodes.
pub(super) fn letter(node: usize) -> char {
    ['a', 'b', 'c'][node]
}

pub(super) fn password() -> Result<String, Failure> {
    let mut bytes = [0; PASSWORD_BYTES];
    rand::fill(&mut bytes).map_err(|_| Failure::new("the operating system gives no random bytes for passwords"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(super) fn write_all(directory: &Path, cast: &Cast) -> Result<(), Failure> {
    let write = |path: PathBuf, text: &str| {
        // Passwords and a key are among them.
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        opened
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| Failure::new(format!("{} cannot be written: {error}", path.display())))
    };
    let [ca_pem, cert, key] =
        certificates().map_err(|error| Failure::new(format!("certificates cannot be made: {error}")))?;
    write(ca(directory), &ca_pem)?;
    write(directory.join("redan.pem"), &cert)?;
    write(directory.join("redan.key"), &key)?;
    write(directory.join("password"), &cast.password)?;
    write(directory.join("password-c"), &cast.other_password)?;
    for node in 0..cast.nodes.len() {
        let own = directory.join(format!("node-{}", letter(node)));
        fs::create_dir(&own).map_err(|error| Failure::new(format!("{} cannot be made: {error}", own.display())))?;
        write(redis_config(directory, node), &redis_conf(&own, cast, node))?;
    }
    write(move_to(directory, 0), &move_script(cast, 0))?;
    write(move_to(directory, 1), &move_script(cast, 1))?;
    write(config(directory), &proxy_toml(cast))
}

/// A script that makes this node the master, to be run while the other of the first two is it.
pub(super) fn move_to(directory: &Path, node: usize) -> PathBuf {
    directory.join(format!("move-to-{}.sh", letter(node)))
}

fn move_script(cast: &Cast, new: usize) -> String {
    let old = 1 - new;
    let [old_port, new_port, third_port] = [old, new, 2].map(|node| port(&cast.nodes[node]));
    let (old, new, third) = (letter(old), letter(new), letter(2));
    let Cast { password, other_password, .. } = cast;
    format!(
        "# Makes {new} the master in place of {old}, by hand, as guides do it.\nset -e\nexport REDISCLI_AUTH={password}\n\
         # Writes wait for a moment, and {new} gets what is under way: what {old} acknowledged later would be lost.\n\
         redis-cli -p {old_port} client pause 5000 write\nsleep 0.1\n\
         redis-cli -p {new_port} replicaof no one\n\
         redis-cli -p {old_port} replicaof 127.0.0.1 {new_port}\n\
         redis-cli -p {old_port} client unpause\n\
         # {third} has a password of its own.\n\
         REDISCLI_AUTH={other_password} redis-cli -p {third_port} replicaof 127.0.0.1 {new_port}\n"
    )
}

/// A CA, and a certificate for loopback with its key, that Redan shows its clients.
fn certificates() -> Result<[String; 3], rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    // Names of their own: an issuer that is called like its subject is taken for a self-signed certificate.
    params.distinguished_name.push(DnType::CommonName, "Redan demo CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, "Redan demo");
    let cert = params.signed_by(&key, &ca)?;
    Ok([ca.pem(), cert.pem(), key.serialize_pem()])
}

fn redis_conf(own: &Path, cast: &Cast, node: usize) -> String {
    let port = port(&cast.nodes[node]);
    let mut text = format!(
        "bind 127.0.0.1\nport {port}\ndir \"{}\"\nsave \"\"\nappendonly no\nrepl-diskless-sync-delay 0\n\
         requirepass {}\nmasterauth {}\n",
        own.display(),
        cast.password_of(node),
        cast.password,
    );
    if node > 0 {
        text += &format!("replicaof 127.0.0.1 {}\n", self::port(&cast.nodes[0]));
    }
    text
}

pub(super) fn port(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(_, port)| port)
}

fn proxy_toml(cast: &Cast) -> String {
    let Cast { nodes: [a, b, c], plain, encrypted, admin, .. } = cast;
    format!(
        r#"# Written by `redan demo`; gone when it ends.

[redan]
workers = 2
admin = "{admin}"

[[listener]]
name = "plain"
bind = "{plain}"
max_clients = 100

[[listener]]
name = "tls"
bind = "{encrypted}"
max_clients = 100
tls = {{ cert = "redan.pem", key = "redan.key" }}

# One server has a password of its own; each node may have one.
[[group]]
name = "main"
password_file = "password"
nodes = [
    "{a}",
    "{b}",
    {{ address = "{c}", password_file = "password-c" }},
]
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_loaded() {
        let cast = Cast {
            nodes: ["127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7003"].map(str::to_owned),
            password: password().unwrap(),
            other_password: password().unwrap(),
            plain: "127.0.0.1:7004".to_owned(),
            encrypted: "127.0.0.1:7005".to_owned(),
            admin: "127.0.0.1:7006".to_owned(),
        };
        assert_ne!(cast.password, cast.other_password);
        let directory = tempfile::tempdir().unwrap();
        write_all(directory.path(), &cast).unwrap();
        let config = crate::config::load(&config(directory.path())).unwrap();
        assert_eq!(config.warnings, Vec::<String>::new());
        let group = &config.groups[0];
        for node in 0..3 {
            let access = group.access_to(&cast.nodes[node]);
            assert_eq!(access.password.as_ref().unwrap().reveal(), cast.password_of(node));
        }
        crate::tls::server::load(config.listeners[1].tls.as_ref().unwrap()).unwrap();
        let third = fs::read_to_string(redis_config(directory.path(), 2)).unwrap();
        assert!(third.contains("replicaof 127.0.0.1 7001\n"), "{third}");
    }
}
