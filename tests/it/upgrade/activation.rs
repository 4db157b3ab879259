//! Sockets that systemd has opened: used by name or by address, and handed on to the next process.

use std::process::{Child, Command, Stdio};

use super::*;

struct Activated {
    child: Child,
    log: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Activated {
    /// `sockets` are addresses and their names.
    fn start(toml: &str, sockets: &[(&str, &str)]) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, log) = (folder.path().join("proxy.toml"), folder.path().join("redan.log"));
        std::fs::write(&file, toml).expect("writable");
        let output = std::fs::File::create(&log).expect("writable");
        let mut command = Command::new("systemd-socket-activate");
        let names: Vec<&str> = sockets.iter().map(|(_, name)| *name).collect();
        command.args(sockets.iter().flat_map(|(address, _)| ["-l", address]));
        command.arg(format!("--fdname={}", names.join(":"))).arg(env!("CARGO_BIN_EXE_redan")).arg("run").arg(&file);
        let command = command.stdin(Stdio::null()).stdout(output.try_clone().expect("a handle")).stderr(output);
        match command.spawn() {
            Ok(child) => Some(Self { child, log, _folder: folder }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => panic!("systemd-socket-activate: {error}"),
        }
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn successor(&self) -> Option<u32> {
        let said = self.said();
        said.split_once("upgrade: process ")?.1.split_once(' ')?.0.parse().ok()
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        // It becomes Redan itself when the first client comes.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(id) = self.successor() {
            let _ = Command::new("kill").args(["-s", "KILL", &id.to_string()]).status();
        }
        if std::thread::panicking() {
            eprintln!("Redan printed:\n{}", self.said());
        }
    }
}

#[test]
fn sockets_of_systemd_are_used_by_name_and_by_address_and_handed_on() {
    let redis = Redis::start();
    let [by_address, by_name, unknown] = [(); 3].map(|()| free_address());
    let toml = format!(
        "[redan]\nworkers = 1\n[[listener]]\nname = \"one\"\nbind = \"{by_address}\"\n\
         [[listener]]\nname = \"two\"\nbind = \"127.0.0.1:1\"\n\
         [[group]]\nname = \"main\"\nnodes = [\"{}\"]\n",
        redis.address()
    );
    let sockets = [(by_address.as_str(), "x.socket"), (by_name.as_str(), "two"), (unknown.as_str(), "three")];
    let Some(activated) = Activated::start(&toml, &sockets) else {
        eprintln!("skipped: there is no systemd-socket-activate here");
        return;
    };
    eventually("systemd listens", || TcpStream::connect(&by_address).is_ok());
    let mut clients = [&by_address, &by_name].map(|address| Client::connect(address));
    for client in &mut clients {
        client.ok(&["SET", "key", "0"]);
    }
    let said = activated.said();
    assert!(said.contains(&format!("{unknown} ('three') is the `bind` or the name of nothing here")), "{said}");
    let old = activated.child.id();
    let status = Command::new("kill").args(["-s", "USR2", &old.to_string()]).status();
    assert!(status.expect("kill exists").success());
    within(UPGRADE, "another process is in charge", || activated.successor().is_some());
    within(UPGRADE, "the old process has ended", || !is_running(old));
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.ask(&["INCR", "key"]), format!(":{}\r\n", number + 1));
    }
    for address in [&by_address, &by_name] {
        assert_eq!(Client::connect(address).ask(&["PING"]), "+PONG\r\n");
    }
}
