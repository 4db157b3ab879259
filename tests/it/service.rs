//! Redan under a service manager: what it tells it, as sd_notify(3) has it.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use super::support::network::Running;
use super::support::redis::DEADLINE;

struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, folder }
    }

    fn next(&self) -> String {
        let mut buffer = [0; 1024];
        let len = self.socket.recv(&mut buffer).expect("a message within the deadline");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    /// The next message that is no feeding of the watchdog.
    fn news(&self) -> String {
        loop {
            let message = self.next();
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }
}

#[test]
fn the_service_manager_is_told_of_start_reload_life_and_end() {
    let manager = Manager::new();
    let file = manager.folder.path().join("proxy.toml");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let toml = format!(
        "[[listener]]\nname = \"app\"\nbind = \"127.0.0.1:{port}\"\n[[group]]\nname = \"main\"\nnodes = [\"127.0.0.1:1\"]\n"
    );
    fs::write(&file, toml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_redan"));
    command.arg("run").arg(&file).env("NOTIFY_SOCKET", manager.folder.path().join("notify"));
    command.env("WATCHDOG_USEC", "100000").env_remove("WATCHDOG_PID");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = child.id().to_string();
    let signal = |name: &str| {
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    };
    assert!(manager.news().starts_with("READY=1\nSTATUS="));
    std::net::TcpStream::connect(("127.0.0.1", port)).expect("ready means that it listens");
    for _ in 0..3 {
        assert_eq!(manager.next(), "WATCHDOG=1");
    }
    signal("HUP");
    let reloading = manager.news();
    let (head, time) = reloading.split_once("\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{reloading}"));
    assert_eq!(head, "RELOADING=1");
    let up: f64 = fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse().unwrap();
    let at = time.parse::<f64>().unwrap() / 1e6;
    assert!(at > 0.0 && at < up + 5.0, "{at} is on the clock that {up} is on");
    assert!(manager.news().starts_with("READY=1"), "the files are read");
    signal("TERM");
    assert!(manager.news().starts_with("STOPPING=1"));
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_service_manager_that_is_gone_keeps_nobody_from_serving() {
    let manager = Manager::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_redan"));
    command.arg("run").env_clear().env("NOTIFY_SOCKET", manager.folder.path().join("gone"));
    // Its own socket is made beside where its configuration would be.
    command.current_dir(manager.folder.path());
    command.env("REDAN_BIND", format!("127.0.0.1:{port}")).env("REDAN_NODES", "127.0.0.1:1");
    let _running = Running::start(&mut command);
    super::support::redis::eventually("it serves", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
}
