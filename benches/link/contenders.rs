//! Starts a pair of each kind: something to connect to, and between it and the target an encrypted connection.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machine;
use crate::proc;
use crate::process::{Server, free_ports};

/// A way to the target.
pub(crate) struct Contender {
    /// Where clients connect.
    pub(crate) port: u16,
    servers: Vec<Server>,
}

impl Contender {
    pub(crate) fn start(folder: &Path, name: &str, target: u16) -> Result<Self, String> {
        let [entry, exit] = free_ports()?;
        let servers = match name {
            "redan" => redan(folder, entry, exit, target)?,
            "stunnel" => stunnel(folder, entry, exit, target)?,
            "spiped" => spiped(folder, entry, exit, target)?,
            "plaintext" => plaintext(folder, entry, exit, target)?,
            _ => return Ok(Self { port: target, servers: Vec::new() }),
        };
        Ok(Self { port: entry, servers })
    }

    /// What the two printed, for whoever has to find out why it went wrong.
    pub(crate) fn said(&self) -> String {
        self.servers.iter().map(Server::said).collect::<Vec<_>>().join(" / ")
    }

    /// Nanoseconds on a core of both ends together.
    pub(crate) fn on_cpu_ns(&self) -> Result<u64, String> {
        self.servers.iter().map(|server| proc::process_cpu_ns(server.pid())).sum()
    }
}

fn redan(folder: &Path, entry: u16, exit: u16, target: u16) -> Result<Vec<Server>, String> {
    let program = env!("CARGO_BIN_EXE_redan");
    let key = |name: &str| {
        let file = folder.join(format!("{name}.key"));
        let mut command = Command::new(program);
        match file.exists() {
            true => command.args(["keygen", "--public"]).arg(&file),
            false => command.arg("keygen").arg(&file),
        };
        let output = command.output().map_err(|error| format!("redan keygen: {error}"))?;
        Ok::<_, String>(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let (mine, theirs) = (key("entry")?, key("exit")?);
    let start = |name: &str, lines: String, peer: &str, port: u16| {
        let text = format!(
            "[redan]\nlog = {{ level = \"warn\" }}\n[[link]]\nname = \"{name}\"\nidentity = \"{name}.key\"\npeers = [\"{peer}\"]\n{lines}"
        );
        let file = write(folder, &format!("{name}.toml"), &text)?;
        Server::start(&format!("redan-{name}"), Command::new(program).arg("run").arg(file), folder, port)
    };
    let exit_lines = format!("exit = \"127.0.0.1:{exit}\"\nto = \"127.0.0.1:{target}\"\n");
    let entry_lines = format!("entry = \"127.0.0.1:{entry}\"\nto = \"127.0.0.1:{exit}\"\n");
    Ok(vec![start("exit", exit_lines, &mine, exit)?, start("entry", entry_lines, &theirs, entry)?])
}

/// Keys pinned on both sides, and the cipher that Redan takes, so that nothing else is compared than the programs.
fn stunnel(folder: &Path, entry: u16, exit: u16, target: u16) -> Result<Vec<Server>, String> {
    for name in ["one", "two"] {
        let key = rcgen::KeyPair::generate().map_err(|error| error.to_string())?;
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).map_err(|error| error.to_string())?;
        let certificate = params.self_signed(&key).map_err(|error| error.to_string())?;
        let pem = write(folder, &format!("{name}.pem"), &(key.serialize_pem() + &certificate.pem()))?;
        // stunnel complains of keys that others may read.
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&pem, fs::Permissions::from_mode(0o600)).map_err(|error| error.to_string())?;
    }
    let start = |name: &str, more: &str, mine: &str, theirs: &str, accept: u16, connect: u16| {
        let folder_name = folder.display();
        let text = format!(
            "foreground = yes\npid =\nsyslog = no\ndebug = warning\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n\
             [link]\n{more}accept = 127.0.0.1:{accept}\nconnect = 127.0.0.1:{connect}\ncert = {folder_name}/{mine}.pem\n\
             CAfile = {folder_name}/{theirs}.pem\nverifyPeer = yes\nsslVersion = TLSv1.3\nciphersuites = TLS_AES_128_GCM_SHA256\n"
        );
        let file = write(folder, &format!("stunnel-{name}.conf"), &text)?;
        Server::start(&format!("stunnel-{name}"), Command::new("stunnel").arg(file), folder, accept)
    };
    Ok(vec![
        start("exit", "", "one", "two", exit, target)?,
        start("entry", "client = yes\n", "two", "one", entry, exit)?,
    ])
}

fn spiped(folder: &Path, entry: u16, exit: u16, target: u16) -> Result<Vec<Server>, String> {
    let key = folder.join("spiped.key");
    let random = fs::File::open("/dev/urandom").and_then(|mut file| {
        let mut bytes = [0; 32];
        std::io::Read::read_exact(&mut file, &mut bytes).map(|()| bytes)
    });
    fs::write(&key, random.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
    let start = |name: &str, mode: &str, from: u16, to: u16| {
        let mut command = Command::new("spiped");
        command.args([mode, "-F", "-s", &format!("[127.0.0.1]:{from}"), "-t", &format!("[127.0.0.1]:{to}")]);
        command.arg("-k").arg(&key);
        Server::start(&format!("spiped-{name}"), &mut command, folder, from)
    };
    Ok(vec![start("exit", "-d", exit, target)?, start("entry", "-e", entry, exit)?])
}

/// HAProxy twice, which encrypts nothing: it reads and writes.
fn plaintext(folder: &Path, entry: u16, exit: u16, target: u16) -> Result<Vec<Server>, String> {
    let start = |name: &str, from: u16, to: u16| {
        let text = format!(
            "global\n    nbthread 1\ndefaults\n    mode tcp\n    timeout connect 5s\n    timeout client 1m\n    \
             timeout server 1m\nlisten link\n    bind 127.0.0.1:{from}\n    server target 127.0.0.1:{to}\n"
        );
        let file = write(folder, &format!("haproxy-{name}.cfg"), &text)?;
        let mut command = Command::new(machine::in_sbin("haproxy"));
        Server::start(&format!("haproxy-{name}"), command.args(["-db", "-f"]).arg(file), folder, from)
    };
    Ok(vec![start("exit", exit, target)?, start("entry", entry, exit)?])
}

pub(crate) fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf, String> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(path)
}
