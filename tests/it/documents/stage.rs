//! Carries out the steps of a guide on hosts of a network of its own: files are written, commands are run, and what the guide
//! says that they print is what they print.
//!
//! Nothing of a guide is changed but paths, which become those of a folder for each host, names, which become addresses,
//! `PASSWORD`, `ADDRESS` (the host's own), and the lines of keys.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::guide::{Step, command_and_output, has_in_order, steps};
use crate::support::linked::{Machine, eventually};
use crate::support::network::{Network, Running};

/// Carries out a whole guide.
pub(super) fn carry_out(network: &Network, guide: &str) {
    let mut stage = Stage { network, places: BTreeMap::new() };
    let mut commands = 0;
    // Hosts that get the next file too, with the numbers of the two hosts exchanged.
    let mut also: Vec<String> = Vec::new();
    for step in steps(guide) {
        match step {
            Step::Remark(mut words) if words[0] == "also" => also = words.split_off(1),
            Step::Remark(words) => stage.remark(&words.iter().map(String::as_str).collect::<Vec<_>>()),
            Step::File { hosts, path, more, text } => {
                hosts.iter().for_each(|host| stage.write(host, &path, more, &text));
                for other in also.drain(..) {
                    let exchanged = exchange(&text, stage.number(&hosts[0]), stage.number(&other));
                    stage.write(&other, &path, more, &exchanged);
                }
            }
            Step::Commands { hosts, text } => {
                for line in text.lines() {
                    for host in &hosts {
                        stage.run(host, line);
                    }
                    commands += 1;
                }
                stage.places.values_mut().for_each(|place| place.exported.clear());
            }
        }
    }
    assert!(commands > 3, "only {commands} commands were found: is the guide still read as it is written?");
}

/// A host of the guide.
struct Place {
    machine: Machine,
    /// The first is the one that others use.
    addresses: Vec<String>,
    names: Vec<String>,
    folder: tempfile::TempDir,
    /// What `redan keygen` printed.
    line: Option<String>,
    /// What runs in the background, by its command.
    programs: Vec<(String, Option<Running>)>,
    exported: String,
}

struct Stage<'a> {
    network: &'a Network,
    places: BTreeMap<String, Place>,
}

impl Stage<'_> {
    fn place(&self, host: &str) -> &Place {
        self.places.get(host).unwrap_or_else(|| panic!("the guide has no host `{host}`"))
    }

    fn number(&self, host: &str) -> u8 {
        self.place(host).machine.number
    }

    fn place_mut(&mut self, host: &str) -> &mut Place {
        self.places.get_mut(host).unwrap_or_else(|| panic!("the guide has no host `{host}`"))
    }

    fn remark(&mut self, words: &[&str]) {
        match words {
            ["host", name, more @ ..] => self.add(name, more),
            // The whole host, or one program of it.
            ["lose", host, program @ ..] => {
                for (command, running) in &mut self.place_mut(host).programs {
                    if program.first().is_none_or(|program| command.starts_with(program)) {
                        *running = None;
                    }
                }
            }
            ["return", host, program @ ..] => {
                let commands: Vec<String> = self.place(host).programs.iter().map(|(command, _)| command.clone()).collect();
                for command in commands {
                    if program.first().is_none_or(|program| command.starts_with(program)) {
                        self.start(host, &command);
                    }
                }
            }
            ["wait", host, command @ ..] => self.run(host, &command.join(" ")),
            ["log", host, sentence @ ..] => {
                let (wanted, log) = (sentence.join(" "), self.place(host).folder.path().join("redan.log"));
                eventually(&format!("the log of {host} says: {wanted}"), || {
                    fs::read_to_string(&log).is_ok_and(|text| text.contains(&wanted))
                });
            }
            ["remove", host, what] => {
                let path = self.place(host).folder.path().join(what);
                let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                gone.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            }
            _ => panic!("a remark that is not known: {words:?}"),
        }
    }

    fn add(&mut self, name: &str, more: &[&str]) {
        let number = u8::try_from(self.places.len() + 1).expect("few hosts");
        let machine = Machine::new(self.network, number);
        let (addresses, names): (Vec<&str>, Vec<&str>) =
            more.iter().partition(|word| word.parse::<std::net::Ipv4Addr>().is_ok());
        for address in &addresses {
            succeed(machine.host.command("ip").args(["addr", "add", &format!("{address}/24"), "dev", "eth0"]));
        }
        // Hosts of other networks are on the same wire.
        let route = ["route", "add", "default", "dev", "eth0", "src", addresses.first().expect("an address")];
        succeed(machine.host.command("ip").args(route));
        let folder = tempfile::tempdir().expect("a folder");
        private(&folder.path().join("redis-password"), "secret\n");
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let place = Place {
            machine,
            addresses: owned(&addresses),
            names: owned(&names),
            folder,
            line: None,
            programs: Vec::new(),
            exported: String::new(),
        };
        self.places.insert(name.to_owned(), place);
    }

    /// What the guide says, as it is on the stage.
    fn here(&self, host: &str, text: &str) -> String {
        let folder = self.place(host).folder.path().display().to_string();
        let mut text = text.replace("PASSWORD", "secret").replace("ADDRESS", &self.place(host).addresses[0]);
        text = text.replace("NUMBER", &self.number(host).to_string());
        for path in ["/etc/redan", "/etc/redis", "/var/lib/redis"] {
            text = text.replace(path, &folder);
        }
        for place in self.places.values() {
            for name in &place.names {
                text = text.replace(name, &place.addresses[0]);
            }
        }
        text.lines().map(|line| self.with_keys(line) + "\n").collect()
    }

    /// `peers = ["redan1…"]  # the line of b`: the remark says whose it is.
    fn with_keys(&self, line: &str) -> String {
        let mut line = line.to_owned();
        if !line.contains("redan1…") {
            return line;
        }
        let whose = line.split_once("# the line").map(|(_, whose)| whose.to_owned()).unwrap_or_default();
        let hosts = whose.split(|letter: char| !letter.is_alphanumeric() && letter != '-');
        for place in hosts.filter_map(|word| self.places.get(word)) {
            line = line.replacen("redan1…", place.line.as_deref().expect("its key was made"), 1);
        }
        assert!(!line.contains("redan1…"), "nothing says whose key this is: {line}");
        line
    }

    fn write(&self, host: &str, path: &str, more: bool, text: &str) {
        let folder = self.place(host).folder.path();
        let mut text = self.here(host, text);
        if path.ends_with(".conf") && !more {
            let name = Path::new(path).file_stem().expect("a name").to_string_lossy().into_owned();
            text = format!("dir {}\nlogfile {name}.log\n", folder.display()) + &text;
            if !text.contains("sentinel ") {
                text += "repl-diskless-sync-delay 0\n";
            }
        }
        let path = folder.join(self.here(host, path).trim_end());
        let before = if more { fs::read_to_string(&path).expect("it is there") } else { String::new() };
        fs::write(&path, before + &text).expect("writable");
    }

    /// Runs a line as it stands. What may take a moment in the hands of a person may do so here: it is tried again until it
    /// has printed what it should, or has succeeded.
    fn run(&mut self, host: &str, line: &str) {
        let (command, wanted) = command_and_output(line);
        let command = self.here(host, command).trim_end().to_owned();
        if let Some(program) = command.strip_suffix(" &") {
            return self.start(host, program);
        }
        if command.starts_with("export ") {
            self.place_mut(host).exported += &format!("{command}\n");
            return;
        }
        let wanted: Vec<String> = wanted.iter().map(|part| self.here(host, part).trim_end().to_owned()).collect();
        let parts: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let mut said = String::new();
        eventually(&format!("on {host} `{command}` prints {}", parts.join(" … ")), || {
            let output = self.shell(host, &command).stderr(Stdio::piped()).output().expect("a shell");
            said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            let fine = if parts.is_empty() { output.status.success() } else { has_in_order(&said, &parts) };
            if !fine {
                // Only the last of them is of use, and the test prints nothing unless it fails.
                fs::write(self.place(host).folder.path().join("last.log"), format!("{command}\n{said}")).expect("writable");
            }
            fine
        });
        if command.contains("keygen") && said.starts_with("redan1") {
            self.place_mut(host).line = Some(said.trim().to_owned());
        }
    }

    /// A shell on the host, in its folder, which finds this `redan`.
    fn shell(&self, host: &str, command: &str) -> Command {
        let place = self.place(host);
        let program = PathBuf::from(env!("CARGO_BIN_EXE_redan"));
        let path =
            format!("{}:{}", program.parent().expect("a folder").display(), std::env::var("PATH").expect("a path"));
        let mut shell = place.machine.host.command("sh");
        shell.args(["-c", &format!("{}{command}", place.exported)]).env("PATH", path).current_dir(place.folder.path());
        shell
    }

    /// Starts a program in the background, anew where it runs already, and waits until Redan listens.
    fn start(&mut self, host: &str, command: &str) {
        let log = self.place(host).folder.path().join("redan.log");
        let is_redan = command.starts_with("redan run");
        let before = fs::read_to_string(&log).map_or(0, |text| text.len());
        self.place_mut(host).programs.retain_mut(|(old, running)| {
            let same = old == command;
            if same {
                *running = None;
            }
            !same
        });
        let out = fs::File::options().create(true).append(true).open(&log).expect("a log");
        let mut shell = self.shell(host, &format!("exec {command}"));
        shell.stdout(Stdio::null()).stderr(if is_redan { Stdio::from(out) } else { Stdio::null() });
        let running = Running::start_as_it_is(&mut shell);
        self.place_mut(host).programs.push((command.to_owned(), Some(running)));
        if is_redan {
            eventually(&format!("Redan runs on {host}"), || {
                let text = fs::read_to_string(&log).expect("a log");
                [" on ", "listening"].iter().any(|word| text[before..].contains(word))
            });
        }
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (name, place) in &self.places {
                for log in ["redan.log", "redis.log", "sentinel.log", "last.log"] {
                    let text = fs::read_to_string(place.folder.path().join(log)).unwrap_or_default();
                    eprintln!("{log} of {name}:\n{text}");
                }
            }
        }
    }
}

/// What one host has, as another has it: each stands where the other stood.
fn exchange(text: &str, one: u8, other: u8) -> String {
    let mut text = text.to_owned();
    for before in ["127.9.0.", "server-", "sentinel-", "dc"] {
        let (one, other) = (format!("{before}{one}"), format!("{before}{other}"));
        text = text.replace(&one, "\0").replace(&other, &one).replace('\0', &other);
    }
    text
}

fn private(path: &Path, text: &str) {
    fs::write(path, text).expect("writable");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("ours");
}

fn succeed(command: &mut Command) {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
