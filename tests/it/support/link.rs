//! Both ends of a link: keys from `redan keygen`, configurations, running processes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::network::{Host, Running};
use super::proxy::Proxy;

/// A private key and the line by which the other end knows it.
pub(crate) struct Key {
    pub(crate) file: String,
    pub(crate) line: String,
}

/// Keys for both ends, removed on drop.
pub(crate) struct Keys {
    folder: tempfile::TempDir,
    pub(crate) entry: Key,
    pub(crate) exit: Key,
}

pub(crate) fn keygen(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_redan")).arg("keygen").args(arguments).output().expect("the program runs")
}

impl Keys {
    pub(crate) fn make() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [entry, exit] = ["entry", "exit"].map(|name| key(folder.path(), name));
        Self { folder, entry, exit }
    }

    /// A file beside the keys.
    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub(crate) fn another(&self, name: &str) -> Key {
        key(self.folder.path(), name)
    }

    pub(crate) fn entry_to(&self, to: &str, at: &str, more: &str) -> String {
        format!(
            "[[link]]\nname = \"there\"\nentry = \"{at}\"\nto = \"{to}\"\nidentity = \"{}\"\npeers = [\"{}\"]\n{more}\n",
            self.entry.file, self.exit.line
        )
    }

    pub(crate) fn exit_to(&self, target: &str, at: &str, more: &str) -> String {
        let target = if target.is_empty() { String::new() } else { format!("to = \"{target}\"\n") };
        format!(
            "[[link]]\nname = \"here\"\nexit = \"{at}\"\n{target}identity = \"{}\"\npeers = [\"{}\"]\n{more}\n",
            self.exit.file, self.entry.line
        )
    }

    /// Two processes with a link between them.
    pub(crate) fn pair(&self, target: &str, entry: &str, exit: &str) -> (Proxy, Proxy) {
        let exit = Proxy::start(&self.exit_to(target, "127.0.0.1:0", exit));
        let entry = Proxy::start(&self.entry_to(&exit.address(0), "127.0.0.1:0", entry));
        (entry, exit)
    }
}

fn key(folder: &Path, name: &str) -> Key {
    let file = folder.join(format!("{name}.key")).display().to_string();
    let made = keygen(&[&file]);
    assert!(made.status.success(), "{made:?}");
    Key { file, line: String::from_utf8(made.stdout).expect("text").trim().to_owned() }
}

/// A Redan on a host of a network.
pub(crate) struct Far {
    _process: Running,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Far {
    pub(crate) fn start(host: &Host, toml: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (file, log) = (folder.path().join("proxy.toml"), folder.path().join("redan.log"));
        std::fs::write(&file, toml).expect("writable");
        let output = std::fs::File::create(&log).expect("a log");
        let mut command = host.command(env!("CARGO_BIN_EXE_redan"));
        command
            .arg("run")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(output.try_clone().expect("a handle"))
            .stdout(output);
        Self { _process: Running::start_as_it_is(&mut command), log, _folder: folder }
    }

    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("Redan printed:\n{}", self.said());
        }
    }
}
