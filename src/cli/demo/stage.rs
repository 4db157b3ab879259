//! The stage of the demo: three servers and Redan, running, in a directory of their own.
//!
//! Dropping it ends them all and removes the directory. A server that the demo did not start is never touched.

use std::future::Future;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::child::Running;
use super::client::{Client, Way};
use super::files::{self, Cast};
use super::{Failure, MISSING, numbers};

/// A server starts within a tenth of a second; a machine that is busy building something takes longer.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A port that was free may be taken by someone else before a server has bound it. Then others are tried.
const TRIES: usize = 5;

const SERVERS: [&str; 2] = ["redis-server", "valkey-server"];

pub(super) struct Stage {
    // In the order in which they are dropped: Redan first, so that it has no time to complain about its nodes.
    redan: Running,
    nodes: Vec<Running>,
    cast: Cast,
    directory: TempDir,
}

impl Stage {
    /// Starts everything and waits until it works.
    pub(super) async fn set() -> Result<Self, Failure> {
        let server = server()?;
        let mut tries = 1;
        loop {
            match Self::try_set(server).await {
                Err(failure) if failure.text.contains("in use") && tries < TRIES => tries += 1,
                done => return done,
            }
        }
    }

    async fn try_set(server: &str) -> Result<Self, Failure> {
        let directory = tempfile::Builder::new().prefix("redan-demo-").tempdir();
        let directory = directory
            .map_err(|error| Failure::new(format!("a temporary directory cannot be made: {error}; see TMPDIR")))?;
        let path = directory.path();
        let cast = cast()?;
        files::write_all(path, &cast)?;
        let mut nodes = Vec::new();
        for node in 0..cast.nodes.len() {
            let name = format!("{server} ({})", files::letter(node));
            let mut command = Command::new(server);
            command.arg(files::redis_config(path, node));
            nodes.push(Running::start(&name, &mut command, path.join(format!("node-{}.log", files::letter(node))))?);
        }
        for (node, running) in nodes.iter_mut().enumerate() {
            let way = Way::with_password(&cast.nodes[node], cast.password_of(node));
            let wanted = if node == 0 { "role:master" } else { "master_link_status:up" };
            wait_for(running, wanted, || says(&way, wanted)).await?;
        }
        let mut redan = Running::start("redan run", &mut redan_command(path)?, path.join("redan.log"))?;
        let admin = cast.admin.as_str();
        wait_for(&mut redan, "both replicas serve reads through it", || serves(admin)).await?;
        Ok(Self { redan, nodes, cast, directory })
    }

    /// An error when one of the programs has ended.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        self.nodes.iter_mut().try_for_each(Running::check)?;
        self.redan.check()
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn config(&self) -> PathBuf {
        files::config(self.directory())
    }

    pub(super) fn ca(&self) -> PathBuf {
        files::ca(self.directory())
    }

    pub(super) fn admin(&self) -> &str {
        &self.cast.admin
    }

    pub(super) fn cast(&self) -> &Cast {
        &self.cast
    }

    /// To Redan, without encryption.
    pub(super) fn plain(&self) -> Way {
        Way::plain(&self.cast.plain)
    }

    /// To Redan, over TLS.
    pub(super) fn encrypted(&self) -> Result<Way, Failure> {
        Way::encrypted(&self.cast.encrypted, &self.ca()).map_err(Failure::new)
    }

    /// To one of the nodes itself, past Redan.
    pub(super) async fn node(&self, node: usize) -> Result<Client, Failure> {
        let address = &self.cast.nodes[node];
        let way = Way::with_password(address, self.cast.password_of(node));
        way.connect().await.map_err(|error| Failure::new(format!("no connection to {address}: {error}")))
    }
}

/// The server program that is installed.
fn server() -> Result<&'static str, Failure> {
    for name in SERVERS {
        let tried = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        match tried {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Failure { code: MISSING, text: format!("{name} cannot be run: {error}") }),
            Ok(_) => return Ok(name),
        }
    }
    let text = "redan demo needs redis-server or valkey-server on the PATH, and there is neither; install it first \
                (Debian and Ubuntu: apt-get install redis-server; Fedora: dnf install valkey; macOS: brew install redis)";
    Err(Failure { code: MISSING, text: text.to_owned() })
}

fn redan_command(directory: &Path) -> Result<Command, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(format!("redan cannot find its own program to start it: {error}")))?;
    let mut command = Command::new(program);
    command.arg("run").arg(files::config(directory));
    Ok(command)
}

/// Free addresses of loopback and fresh passwords.
fn cast() -> Result<Cast, Failure> {
    let bind = |_| TcpListener::bind("127.0.0.1:0");
    // All are held until every port is known, so that no two are the same.
    let held: Result<Vec<TcpListener>, _> = (0..6).map(bind).collect();
    let addresses = held.and_then(|held| {
        held.iter()
            .map(|listener| listener.local_addr().map(|address| address.to_string()))
            .collect::<Result<Vec<_>, _>>()
    });
    let addresses = addresses.map_err(|error| Failure::new(format!("no free port on 127.0.0.1: {error}")))?;
    let mut addresses = addresses.into_iter();
    let mut next = || addresses.next().unwrap_or_default();
    Ok(Cast {
        nodes: [next(), next(), next()],
        password: files::password()?,
        other_password: files::password()?,
        plain: next(),
        encrypted: next(),
        admin: next(),
    })
}

/// Waits until `ready`, for as long as the program runs.
async fn wait_for<F: Future<Output = bool>>(
    program: &mut Running,
    what: &str,
    mut ready: impl FnMut() -> F,
) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while !ready().await {
        program.check()?;
        if Instant::now() > deadline {
            return Err(Failure::new(format!("not within {} s: {what}", PATIENCE.as_secs())));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    // Whoever answered might have been another program on the same port.
    program.check()
}

/// Whether the node's INFO replication has this line.
async fn says(way: &Way, line: &str) -> bool {
    let Ok(mut node) = way.connect().await else { return false };
    let info = node.order(&["INFO", "replication"]).await;
    info.is_ok_and(|info| info.text().is_some_and(|text| text.lines().any(|said| said == line)))
}

/// Whether Redan serves writes, and reads from both replicas.
async fn serves(admin: &str) -> bool {
    let Ok(numbers) = numbers::fetch(admin).await else { return false };
    let replicas = numbers.nodes.iter().filter(|node| node.readable && !node.master).count();
    replicas == 2 && numbers.master().is_some()
}
