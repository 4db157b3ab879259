//! `redan demo` as someone meets it who has just built Redan: the tour, the lines to try, and what is left behind.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use super::support::redis::eventually;

/// A demo with a temporary directory of its own, so that what it leaves behind is seen.
struct Demo {
    child: Child,
    lines: Option<BufReader<std::process::ChildStdout>>,
    temporary: tempfile::TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_redan"))
            .arg("demo")
            .args(arguments)
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(temporary.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let lines = child.stdout.take().map(BufReader::new);
        Self { child, lines, temporary }
    }

    /// The first line that `wanted` takes. The demo prints one a second, so the end of its output is a failure.
    fn line(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let len = self.lines.as_mut().unwrap().read_line(&mut line).unwrap();
            assert!(len > 0, "the demo ended: {}", self.errors());
            if wanted(&line) {
                return line.trim().to_owned();
            }
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end; nothing may be left of it.
    fn end(mut self) -> (ExitStatus, String, String) {
        let mut rest = String::new();
        // Nobody may fill the pipe that nobody reads.
        self.lines.take().unwrap().read_to_string(&mut rest).unwrap();
        let mut status = None;
        eventually("the demo has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let errors = self.errors();
        assert_eq!(left_behind(self.temporary.path()), Vec::<PathBuf>::new());
        (status.unwrap(), rest, errors)
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.temporary.path().join("stderr")).unwrap()
    }

    /// Its directory, as found.
    fn directory(&self) -> PathBuf {
        left_behind(self.temporary.path()).pop().unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Asked first, because a demo that is killed cannot end its servers.
        if let Ok(None) = self.child.try_wait() {
            self.signal("TERM");
        }
        let _ = self.child.wait();
    }
}

fn left_behind(temporary: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(temporary).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().is_some_and(|name| name != "stderr")).collect()
}

/// What the shell makes of a line that was printed for people.
fn shell(line: &str) -> String {
    let Output { status, stdout, stderr } = Command::new("sh").args(["-c", line]).output().unwrap();
    let (out, errors) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert!(status.success() && errors.is_empty(), "{line}: {out}{errors}");
    out.trim().to_owned()
}

#[test]
fn the_tour_moves_the_master_and_nobody_notices() {
    let (status, said, errors) = Demo::start(&["--tour"]).end();
    assert!(status.success(), "{said}\n{errors}");
    for expected in
        ["on b: REPLICAOF NO ONE\n", "     0 failed\n", "     0 connections closed\n", "     0 reads that were stale\n"]
    {
        assert!(said.contains(expected), "{expected}{said}");
    }
    assert!(said.ends_with("No client noticed that the master has moved.\n"), "{said}");
}

#[test]
fn the_lines_to_try_work_and_ctrl_c_removes_everything() {
    let mut demo = Demo::start(&[]);
    let set = demo.line(|line| line.contains("redis-cli") && line.contains(" set "));
    assert_eq!(shell(&set), "OK");
    let get = demo.line(|line| line.contains("redis-cli -p") && line.contains(" get "));
    let encrypted = demo.line(|line| line.contains("--tls"));
    // Each is a client of its own, and to another client's write the replica it reads from may come a moment later.
    eventually("the value can be read", || shell(&get) == "hello");
    eventually("the value can be read over TLS", || shell(&encrypted) == "hello");
    let to_b = demo.line(|line| line.contains("move-to-b"));
    let config = demo.line(|line| line.starts_with("configuration "));
    let config = std::fs::read_to_string(config.split_whitespace().nth(1).unwrap()).unwrap();
    let nodes: Vec<&str> =
        config.lines().filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\",")).collect();
    demo.line(|line| line.contains("requests/s") && line.contains(&format!("{} master", nodes[0])));
    shell(&to_b);
    let moved = demo.line(|line| line.contains(&format!("{} master", nodes[1])));
    assert!(moved.contains(" 0 failed, 0 stale, 0 closed;"), "{moved}");
    assert_eq!(shell(&get), "hello");
    demo.signal("INT");
    let (status, _, errors) = demo.end();
    assert!(status.success(), "{errors}");
    // The servers are gone with it: nobody answers any more.
    assert!(std::net::TcpStream::connect(nodes[1]).is_err());
}

#[test]
fn a_server_that_dies_ends_the_demo_with_its_last_words() {
    let mut demo = Demo::start(&[]);
    demo.line(|line| line.contains("requests/s"));
    let directory = demo.directory();
    let node = std::fs::read_to_string(directory.join("node-c.conf")).unwrap();
    let port = node.lines().find_map(|line| line.strip_prefix("port ")).unwrap().to_owned();
    let password = directory.join("password-c").display().to_string();
    shell(&format!("REDISCLI_AUTH=$(cat {password}) redis-cli -p {port} shutdown nosave"));
    let (status, _, errors) = demo.end();
    assert_eq!(status.code(), Some(1));
    assert!(errors.contains("(c) ended by itself") && errors.contains("ready to exit, bye bye"), "{errors}");
}

#[test]
fn without_a_server_it_says_what_to_install() {
    let nothing = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_redan")).arg("demo").env("PATH", nothing.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("needs redis-server or valkey-server on the PATH"), "{errors}");
}

#[test]
fn a_tour_that_is_stopped_has_not_succeeded() {
    let mut demo = Demo::start(&["--tour"]);
    demo.line(|line| line.starts_with("2. "));
    demo.signal("TERM");
    let (status, _, _) = demo.end();
    assert_eq!(status.code(), Some(143));
}
