//! One server process: started, waited for, and killed when dropped.
//!
//! Used by `contenders` and `idle`. It must never leave a process behind, and a server that does not come up
//! must say what it printed: that is all an operator has to go on.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Starting takes milliseconds; ten seconds is a machine in deep trouble.
const START: Duration = Duration::from_secs(10);

pub(crate) struct Server {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Server {
    /// Starts `command` with its output in `folder/name.log` and waits until `port` accepts connections.
    pub(crate) fn start(name: &str, command: &mut Command, folder: &Path, port: u16) -> Result<Self, String> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).map_err(|error| format!("cannot create {}: {error}", log.display()))?;
        let errors = output.try_clone().map_err(|error| format!("cannot share {}: {error}", log.display()))?;
        let child =
            command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn().map_err(|error| {
                format!("{name} did not start ({error}): is it installed? `make bench` installs it")
            })?;
        let mut server = Self { child, name: name.to_owned(), log };
        server.wait_until_listening(port)?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed, its last lines.
    pub(crate) fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(5)..].join("; ")
    }

    fn wait_until_listening(&mut self, port: u16) -> Result<(), String> {
        let deadline = Instant::now() + START;
        loop {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("{} ended at once ({status}): {}", self.name, self.said()));
            }
            if Instant::now() > deadline {
                return Err(format!("{} did not listen on port {port} in {START:?}: {}", self.name, self.said()));
            }
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process is already gone, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports that nobody uses now. All are held until all are known, so that no two are the same.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N], String> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("no free port: {error}"))?;
        *port = listener.local_addr().map_err(|error| format!("a port without a number: {error}"))?.port();
        held.push(listener);
    }
    Ok(ports)
}
