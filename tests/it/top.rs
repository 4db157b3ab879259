//! `redan top` in a terminal, over either way by which the running Redan can be watched.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::endpoint::Endpoint;
use crate::support::left_out::left_out;
use crate::support::redis::{Redis, eventually};

/// A terminal of `script`, of util-linux, with `redan top` in it.
struct Terminal {
    child: Child,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    /// `None`: there is no such program here.
    fn start(arguments: &[&str]) -> Option<Self> {
        if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
            left_out("redan top in a terminal", "there is no `script`");
            return None;
        }
        let top = [&[env!("CARGO_BIN_EXE_redan"), "top"], arguments].concat().join(" ");
        let mut command = Command::new("script");
        command
            .args(["--quiet", "--return", "--command"])
            .arg(format!("stty rows 30 cols 120; {top}"))
            .arg("/dev/null");
        command.env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it was there a moment ago");
        let (shown, mut output) = (Arc::new(Mutex::new(String::new())), child.stdout.take().expect("piped"));
        let to = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut some) {
                to.lock().expect("no panic").push_str(&String::from_utf8_lossy(&some[..read]));
            }
        });
        Some(Self { child, shown })
    }

    fn shows(&self, words: &str) {
        let shown = || self.shown.lock().expect("no panic").clone();
        eventually(&format!("the terminal shows '{words}'"), || shown().contains(words));
    }

    /// Presses `q`.
    fn leave(mut self) {
        self.child.stdin.as_mut().expect("piped").write_all(b"q").expect("it reads");
        assert!(self.child.wait().expect("ours").success(), "{}", self.shown.lock().expect("no panic"));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn it_watches_over_the_admin_socket_where_no_address_is_set() {
    let (redis, folder) = (Redis::start(), tempfile::tempdir().expect("a folder"));
    let socket = folder.path().join("orders");
    let setting = format!("admin_socket = \"unix:{}\"", socket.display());
    let endpoint = Endpoint::start_process(&setting, &[redis.address()], "", "");
    endpoint.wait_for_readable(1);
    // The same file without `admin`.
    let file = folder.path().join("proxy.toml");
    let whole = std::fs::read_to_string(endpoint.file()).expect("readable");
    let lines: Vec<&str> = whole.lines().filter(|line| !line.starts_with("admin =")).collect();
    std::fs::write(&file, lines.join("\n")).expect("writable");
    for arguments in [["--config", &text(&file)], ["--socket", &text(&socket)], ["--config", &text(&endpoint.file())]] {
        let Some(terminal) = Terminal::start(&arguments) else { return };
        // What stands there now, and an event that comes.
        terminal.shows(&redis.address());
        terminal.shows("writes are served");
        let pause = ["pause", "--for", "1s", "--socket", &text(&socket)];
        let paused = Command::new(env!("CARGO_BIN_EXE_redan")).args(pause).output().expect("it runs");
        assert!(paused.status.success(), "{paused:?}");
        // Its sign: of a line only the letters are drawn that were others before.
        terminal.shows("▲");
        terminal.leave();
    }
}

#[test]
fn nobody_to_watch_is_told_before_the_terminal_is_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("nobody");
    let output =
        Command::new(env!("CARGO_BIN_EXE_redan")).args(["top", "--socket"]).arg(&socket).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("cannot be watched: no Redan answers at"), "{said}");
}
