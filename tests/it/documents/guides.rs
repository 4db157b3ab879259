//! `docs/guides/two-servers.md` is carried out as it stands there, on two hosts: its files are written, its commands are run, and
//! what it says that they print is what they print.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use super::document;
use crate::support::linked::{Machine, eventually};
use crate::support::network::{Running, inside};

/// A block of the guide, with the section it stands in and the line above it: `On \`a\`, \`/etc/redan/proxy.toml\`:`.
struct Block {
    section: usize,
    host: usize,
    above: String,
    kind: String,
    text: String,
}

fn blocks(guide: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let (mut section, mut above) = (0, String::new());
    let mut open = false;
    for line in guide.lines() {
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(kind) => {
                open = true;
                let host = ["On `a`", "On `b`"].iter().position(|start| above.starts_with(start));
                let host = host.unwrap_or_else(|| panic!("nothing says where this is done: {above}"));
                found.push(Block { section, host, above: above.clone(), kind: kind.to_owned(), text: String::new() });
            }
            None if open => {
                let block = found.last_mut().expect("it is open");
                block.text += line;
                block.text.push('\n');
            }
            None if line.starts_with("## ") => section += 1,
            None if !line.is_empty() => above = line.to_owned(),
            None => {}
        }
    }
    found
}

/// The two hosts as the guide has them: files under a folder of each, and what was printed there.
struct Stage {
    machines: [Machine; 2],
    folders: [tempfile::TempDir; 2],
    lines: HashMap<usize, String>,
    servers: [Option<Running>; 2],
    redans: [Option<Running>; 2],
}

impl Stage {
    fn folder(&self, host: usize) -> String {
        self.folders[host].path().display().to_string()
    }

    /// Paths, addresses and keys of the guide become those of the stage.
    fn here(&self, host: usize, text: &str) -> String {
        let mut text = text.replace("/etc/redan", &self.folder(host)).replace("/etc/redis", &self.folder(host));
        text =
            text.replace("198.51.100.1", "10.77.0.1").replace("203.0.113.2", "10.77.0.2").replace("PASSWORD", "secret");
        match self.lines.get(&(1 - host)) {
            Some(line) => text.replace("redan1…", line),
            None => text,
        }
    }

    fn write(&self, block: &Block) {
        let path = block.above.split('`').nth(3).expect("the line above names the file");
        let mut text = self.here(block.host, &block.text);
        if block.kind == "conf" {
            text += &format!("dir {}\nrepl-diskless-sync-delay 0\nlogfile redis.log\n", self.folder(block.host));
        }
        std::fs::write(self.here(block.host, path), text).expect("writable");
    }

    /// Runs each line as it stands, and returns what it printed; what the guide says that it prints must be there.
    fn run(&mut self, block: &Block) {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_redan"));
        let path =
            format!("{}:{}", program.parent().expect("a folder").display(), std::env::var("PATH").expect("a path"));
        let mut exported = String::new();
        for line in block.text.lines() {
            let (command, wanted) = line.split_once("# prints: ").unwrap_or((line, ""));
            let command = self.here(block.host, command);
            if command.starts_with("export ") {
                exported = format!("{command}\n");
                continue;
            }
            let mut said = String::new();
            // A promotion may have to wait until a server that has just come back has everything.
            eventually(&format!("`{command}` prints {wanted}"), || {
                let mut shell = self.machines[block.host].host.command("sh");
                shell.args(["-c", &format!("{exported}{command}")]).env("PATH", &path).stderr(Stdio::inherit());
                let output = shell.output().expect("a shell");
                said = String::from_utf8_lossy(&output.stdout).into_owned();
                output.status.success() && said.contains(wanted)
            });
            if command.contains("keygen") {
                self.lines.insert(block.host, said.trim().to_owned());
            }
        }
    }

    fn serve(&mut self, host: usize) {
        let file = self.folders[host].path().join("redis.conf");
        let mut redis = self.machines[host].host.command(&crate::support::redis::program());
        self.servers[host] = Some(Running::start(redis.arg(file)));
        let log = std::fs::File::create(self.folders[host].path().join("redan.log")).expect("a log");
        let mut redan = self.machines[host].host.command(env!("CARGO_BIN_EXE_redan"));
        redan.arg("run").arg(self.folders[host].path().join("proxy.toml"));
        redan.stdout(Stdio::null()).stderr(log);
        self.redans[host] = Some(Running::start_as_it_is(&mut redan));
    }

    fn is_replica(&self, host: usize) -> bool {
        let at = self.machines[host].everywhere();
        let info = self.machines[host].ask(&at, 6379, &["--no-auth-warning", "-a", "secret", "INFO", "replication"]);
        info.contains("master_link_status:up")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for folder in &self.folders {
                for log in ["redan.log", "redis.log"] {
                    let text = std::fs::read_to_string(folder.path().join(log)).unwrap_or_default();
                    eprintln!("{log} of {}:\n{text}", folder.path().display());
                }
            }
        }
    }
}

#[test]
fn the_guide_for_two_servers_is_carried_out() {
    inside("documents::guides::the_guide_for_two_servers_is_carried_out", |network| {
        let blocks = blocks(&document("docs/guides/two-servers.md"));
        let mut stage = Stage {
            machines: [1, 2].map(|number| Machine::new(network, number)),
            folders: [(); 2].map(|()| tempfile::tempdir().expect("a folder")),
            lines: HashMap::new(),
            servers: [None, None],
            redans: [None, None],
        };
        for host in 0..2 {
            let password = stage.folders[host].path().join("redis-password");
            std::fs::write(&password, "secret\n").expect("writable");
            std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).expect("ours");
        }
        let mut commands = 0;
        let mut running = false;
        let (mut lost, mut back) = (false, false);
        for block in &blocks {
            if ["conf", "toml"].contains(&&*block.kind) {
                stage.write(block);
                continue;
            }
            assert_eq!(block.kind, "sh", "{}", block.text);
            // What the guide says in words: servers are started, one is lost, and it comes back.
            if block.section >= 3 && !running {
                running = true;
                (0..2).for_each(|host| stage.serve(host));
                eventually("b follows a", || stage.is_replica(1));
            }
            if block.section == 5 && block.host == 0 {
                // A person takes longer to type it than this Redan to see what the other one has done.
                eventually("the Redan of a knows the new master", || {
                    let log = std::fs::read_to_string(stage.folders[0].path().join("redan.log")).expect("a log");
                    log.contains("writes are served: 127.9.0.2:6379") && stage.is_replica(0)
                });
            }
            if block.section >= 6 && !lost {
                lost = true;
                eventually("b follows a again", || stage.is_replica(1));
                (stage.servers[0], stage.redans[0]) = (None, None);
            }
            if block.section >= 7 && !back {
                back = true;
                stage.serve(0);
                eventually("it answers", || !stage.machines[0].own(&["PING"]).is_empty());
            }
            stage.run(block);
            commands += block.text.lines().count();
        }
        assert!(commands >= 14, "only {commands} commands were found: is the guide still read as it is written?");
        eventually("a follows b", || stage.is_replica(0));
    });
}
