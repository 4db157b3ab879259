//! What is soaked: three hosts, each with a server at 127.9.0.N and a Redan that serves clients and has links to the other two.
//!
//! The links' ways go through relays of this program, so that they can be reset and held up. The first Redan fails over.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::connection::Target;
use crate::hosts::{Host, Network, Side};
use crate::relay::Relay;
use crate::resp::{Reply, ask};
use crate::template::render;
use crate::until::wait;

/// Starting, and copying little, take well under that; failovers with frozen masters take a good 20 s.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// How long links outlive a cut here: short, so that both sides of it can be had.
pub(crate) const RESUME: Duration = Duration::from_secs(10);

/// glibc would keep what a peak took, in steps that look like growth, and as well could hide it.
const ALLOCATOR: [(&str, &str); 2] = [("MALLOC_TRIM_THRESHOLD_", "131072"), ("MALLOC_MMAP_THRESHOLD_", "131072")];

/// A program that ends when this is dropped.
pub(crate) struct Process(Child);

impl Process {
    fn start(command: &mut Command, log: &Path) -> Result<Self, String> {
        let output = File::options().create(true).append(true).open(log);
        let output = output.map_err(|error| format!("cannot create {}: {error}", log.display()))?;
        let errors = output.try_clone().map_err(|error| format!("cannot share {}: {error}", log.display()))?;
        let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        child.map(Self).map_err(|error| format!("{command:?}: {error}"))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, name: &str) -> Result<(), String> {
        signal(self.id(), name)
    }
}

fn signal(id: u32, name: &str) -> Result<(), String> {
    let status = Command::new("kill").args(["-s", name, &id.to_string()]).status();
    status.map_err(|error| format!("kill: {error}")).map(drop)
}

/// Whoever does not would be ended by the signal.
fn catches_usr2(id: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).is_some_and(|bits| bits & (1 << 11) != 0)
}

/// A process that this program has not started; it ends when this is dropped.
struct Successor(u32);

impl Drop for Successor {
    fn drop(&mut self) {
        // It fails only when it has ended already.
        let _ = signal(self.0, "KILL");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it is already gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One host. Processes stand before the host: they end first.
pub(crate) struct Site {
    number: u8,
    server: Option<Process>,
    redan: Process,
    /// The process that has taken the place of the one that was started.
    successor: Option<Successor>,
    host: Host,
    folder: PathBuf,
}

impl Site {
    /// The address of its server that holds on every host.
    pub(crate) fn server_address(&self) -> String {
        format!("127.9.0.{}:6379", self.number)
    }

    /// Asks its server, from outside of its host.
    pub(crate) fn ask(&self, words: &[&str]) -> Option<Reply> {
        ask(&format!("10.77.0.{}:6379", self.number), words, Duration::from_millis(500)).ok()
    }

    fn info(&self, field: &str) -> Option<String> {
        let reply = self.ask(&["INFO", "replication"])?;
        reply.text()?.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned))
    }

    pub(crate) fn is_master(&self) -> bool {
        self.info("role").as_deref() == Some("master")
    }

    pub(crate) fn run_server(&mut self) -> Result<(), String> {
        self.server = Some(run_server(&self.host, &self.folder)?);
        wait("the server answers", PATIENCE, || self.ask(&["PING"]).is_some())
    }

    pub(crate) fn kill_server(&mut self) {
        self.server = None;
    }

    pub(crate) fn signal_server(&self, name: &str) -> Result<(), String> {
        self.server.as_ref().map_or(Ok(()), |server| server.signal(name))
    }

    /// The process of the Redan that serves now.
    pub(crate) fn redan_id(&self) -> u32 {
        self.successor.as_ref().map_or_else(|| self.redan.id(), |successor| successor.0)
    }

    pub(crate) fn signal_redan(&self, name: &str) -> Result<(), String> {
        signal(self.redan_id(), name)
    }

    /// Has another process take the place of its Redan; `false` where this one knows nothing of that.
    pub(crate) fn upgrade_redan(&mut self) -> Result<bool, String> {
        let old = self.redan_id();
        if !catches_usr2(old) {
            return Ok(false);
        }
        let words = |log: &str| -> Vec<u32> {
            let lines =
                log.lines().filter_map(|line| line.split_once("upgrade: process ")?.1.split_once(" is in charge"));
            lines.filter_map(|(id, _)| id.parse().ok()).collect()
        };
        let before = words(&self.log()).len();
        self.signal_redan("USR2")?;
        wait("another process is in charge", PATIENCE, || words(&self.log()).len() > before)?;
        self.successor = words(&self.log()).last().copied().map(Successor);
        // The first one is this program's child and is waited for; the others are somebody else's.
        let ended = |site: &mut Self| match site.redan.id() == old {
            true => matches!(site.redan.0.try_wait(), Ok(Some(_))),
            false => !Path::new(&format!("/proc/{old}")).exists(),
        };
        wait("the process before has ended", PATIENCE, || ended(self))?;
        Ok(true)
    }

    /// Runs `redan` on its host, in the folder of its configuration; what it printed if it failed.
    pub(crate) fn redan(&self, words: &[&str]) -> Result<String, String> {
        let mut command = self.host.command(env!("CARGO_BIN_EXE_redan"));
        let output = command.args(words).current_dir(&self.folder).output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if output.status.success() { Ok(said) } else { Err(said) }
    }

    /// The text of its Redan's configuration.
    pub(crate) fn config(&self) -> Result<String, String> {
        fs::read_to_string(self.folder.join("proxy.toml")).map_err(|error| format!("cannot read proxy.toml: {error}"))
    }

    /// Gives its Redan another one.
    pub(crate) fn reload(&self, text: &str) -> Result<(), String> {
        fs::write(self.folder.join("proxy.toml"), text).map_err(|error| format!("cannot write proxy.toml: {error}"))?;
        self.redan(&["reload"]).map(drop).map_err(|said| format!("redan reload: {}", said.trim().replace('\n', "; ")))
    }

    /// Whether a write through its Redan is done.
    fn serves(&self) -> bool {
        let at = format!("10.77.0.{}:6380", self.number);
        ask(&at, &["SET", "ready", "yes"], Duration::from_secs(2)).is_ok_and(|reply| reply.code().is_none())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("redan.log")).unwrap_or_default()
    }
}

fn run_server(host: &Host, folder: &Path) -> Result<Process, String> {
    let mut command = host.command("redis-server");
    Process::start(command.arg(folder.join("redis.conf")), &folder.join("server.out"))
}

pub(crate) struct Stage {
    pub(crate) sites: Vec<Site>,
    /// The way from the Redan of one host to that of another.
    pub(crate) ways: Vec<Relay>,
    // Last: what stands above writes into it.
    _network: Network,
    folder: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn start() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
        let network = Network::make(Side::Right)?;
        let folders: Vec<PathBuf> = (1..=3).map(|number| folder.path().join(format!("host{number}"))).collect();
        folders.iter().try_for_each(fs::create_dir).map_err(|error| error.to_string())?;
        let lines = folders.iter().map(|folder| prepare(folder)).collect::<Result<Vec<String>, String>>()?;
        let authority = folder.path().join("ca");
        certificates(&authority, &folders)?;
        let (mut sites, mut ways) = (Vec::new(), Vec::new());
        for (number, folder) in (1..).zip(&folders) {
            let host = Host::plug(&network, number, Side::Right)?;
            let role = if number == 1 { "" } else { "replicaof 127.9.0.1 6379" };
            let values = [("number", number.to_string()), ("role", role.to_owned())];
            render(folder, "redis.conf", include_str!("templates/redis.conf"), &values)?;
            let group = if number == 1 { "failover = \"auto\"\ndown_after = \"3s\"" } else { "" };
            let values = [("number", number.to_string()), ("group", group.to_owned())];
            let toml = render(folder, "proxy.toml", include_str!("templates/redan.toml"), &values)?;
            let mut links = link("exit", &format!("exit = \"10.77.0.{number}:7443\""), &others(&lines, number));
            links += &format!("to = \"127.9.0.{number}:6379\"\n");
            for other in (1..=3).filter(|&other| other != number) {
                let way = Relay::start(number, other)?;
                let entry = format!("entry = \"127.9.0.{other}:6379\"\nto = \"{}\"", way.address());
                links += &link(&format!("to-{other}"), &entry, &lines[usize::from(other) - 1..usize::from(other)]);
                ways.push(way);
            }
            let text = fs::read_to_string(&toml).map_err(|error| error.to_string())? + &links;
            fs::write(&toml, text).map_err(|error| error.to_string())?;
            let server = Some(run_server(&host, folder)?);
            let mut command = host.command(env!("CARGO_BIN_EXE_redan"));
            command.arg("run").arg(&toml).envs(ALLOCATOR);
            let redan = Process::start(&mut command, &folder.join("redan.log"))?;
            sites.push(Site { number, server, redan, successor: None, host, folder: folder.clone() });
        }
        let stage = Self { sites, ways, _network: network, folder };
        stage.wait_until_whole().inspect_err(|_| stage.print_logs())?;
        Ok(stage)
    }

    /// Until there is one master, all others follow it, and every Redan writes.
    pub(crate) fn wait_until_whole(&self) -> Result<(), String> {
        wait("one master, which the others follow", PATIENCE, || {
            self.sites.iter().filter(|site| site.is_master()).count() == 1
                && self.sites.iter().all(|site| {
                    site.is_master() || site.info("master_link_status").as_deref().is_some_and(|link| link == "up")
                })
        })?;
        wait("every Redan writes", PATIENCE, || self.sites.iter().all(Site::serves))
    }

    /// The place of the master in `sites`.
    pub(crate) fn master(&self) -> Result<usize, String> {
        self.sites.iter().position(Site::is_master).ok_or_else(|| "no server says that it is the master".to_owned())
    }

    pub(crate) fn redans(&self) -> Vec<(String, u32)> {
        self.sites.iter().map(|site| (format!("redan {}", site.number), site.redan_id())).collect()
    }

    /// Whether the Redans still run, and none has panicked.
    pub(crate) fn alive(&mut self) -> Result<(), String> {
        for site in &mut self.sites {
            let lives = match &site.successor {
                Some(Successor(id)) => Path::new(&format!("/proc/{id}")).exists(),
                None => !matches!(site.redan.0.try_wait(), Ok(Some(_))),
            };
            if !lives {
                return Err(format!("the Redan of host {} ended", site.number));
            }
            let log = site.log();
            if let Some(line) = log.lines().find(|line| line.contains("panicked") || line.contains("defect")) {
                return Err(format!("the Redan of host {} says: {line}", site.number));
            }
        }
        Ok(())
    }

    /// Where clients connect.
    pub(crate) fn targets(&self) -> Result<Vec<[Target; 3]>, String> {
        let ca = self.folder.path().join("ca/ca.pem");
        let targets = self.sites.iter().map(|site| {
            let at = |port: u16| format!("10.77.0.{}:{port}", site.number);
            Ok([Target::plain(&at(6380)), Target::plain(&at(6381)), Target::tls(&at(6382), &ca)?])
        });
        targets.collect()
    }

    pub(crate) fn print_logs(&self) {
        for site in &self.sites {
            eprintln!("== the Redan of host {}\n{}", site.number, site.log());
        }
    }

    /// Copies what the programs logged to where it stays.
    pub(crate) fn keep_logs(&self) {
        let kept = std::env::temp_dir().join(format!("redan-soak-{}", std::process::id()));
        for site in &self.sites {
            let to = kept.join(format!("host{}", site.number));
            for name in ["redan.log", "redis.log", "proxy.toml"] {
                let _ = fs::create_dir_all(&to).and_then(|()| fs::copy(site.folder.join(name), to.join(name)));
            }
        }
        eprintln!("logs are in {}", kept.display());
    }
}

fn others(lines: &[String], number: u8) -> Vec<String> {
    let own = usize::from(number) - 1;
    lines.iter().enumerate().filter(|(at, _)| *at != own).map(|(_, line)| line.clone()).collect()
}

fn link(name: &str, ends: &str, peers: &[String]) -> String {
    let resume = RESUME.as_secs();
    format!(
        "\n[[link]]\nname = \"{name}\"\nidentity = \"link.key\"\npeers = {peers:?}\nresume = \"{resume}s\"\n{ends}\n"
    )
}

/// Makes the key of a host's links; its line.
fn prepare(folder: &Path) -> Result<String, String> {
    Ok(redan(&["keygen", &folder.join("link.key").display().to_string()])?.trim().to_owned())
}

/// An authority, and for each host a certificate in its folder.
fn certificates(authority: &Path, folders: &[PathBuf]) -> Result<(), String> {
    redan(&["cert", "ca", "--out", &authority.display().to_string()])?;
    for (number, folder) in (1..).zip(folders) {
        let certificate = issue(authority, number, folder)?;
        for kind in ["pem", "key"] {
            fs::rename(certificate.with_extension(kind), folder.join(format!("server.{kind}")))
                .map_err(|error| format!("cannot move a certificate: {error}"))?;
        }
    }
    Ok(())
}

fn issue(authority: &Path, number: u8, folder: &Path) -> Result<PathBuf, String> {
    let fresh = folder.join("fresh");
    let ca = authority.join("ca.pem").display().to_string();
    let name = format!("10.77.0.{number}");
    redan(&["cert", "issue", "--ca", &ca, "--name", &name, "--out", &fresh.display().to_string()])?;
    Ok(fresh)
}

impl Stage {
    /// Gives every Redan another certificate and tells it.
    pub(crate) fn renew(&self) -> Result<(), String> {
        let folders: Vec<PathBuf> = self.sites.iter().map(|site| site.folder.clone()).collect();
        let authority = self.folder.path().join("ca");
        for (site, folder) in self.sites.iter().zip(&folders) {
            let fresh = issue(&authority, site.number, folder)?;
            // The key last: a pair that does not fit is refused and tried again.
            for kind in ["pem", "key"] {
                fs::rename(fresh.with_extension(kind), folder.join(format!("server.{kind}")))
                    .map_err(|error| format!("cannot move a certificate: {error}"))?;
            }
            site.signal_redan("HUP")?;
        }
        Ok(())
    }
}

fn redan(words: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_redan")).args(words).output().map_err(|error| error.to_string())?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("redan {}: {errors}", words.join(" ")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
