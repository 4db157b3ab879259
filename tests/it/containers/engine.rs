//! podman with images and storage of its own, below the folder that cargo builds into; one test at a time uses it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use super::super::support::left_out::{left_out, target};
use super::super::support::redis::within;
use super::DEADLINE;

/// Built once; the guard is for the turn.
static IMAGES: LazyLock<Result<(), String>> = LazyLock::new(make_images);
static TURN: Mutex<()> = Mutex::new(());

pub(super) struct Engine {
    _turn: MutexGuard<'static, ()>,
}

impl Engine {
    /// `None` where containers cannot be run here, which has been said then.
    pub(super) fn get() -> Option<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        match &*IMAGES {
            Ok(()) => Some(Self { _turn: turn }),
            Err(why) => {
                left_out("the container files in docker/", why);
                None
            }
        }
    }
}

fn folder() -> PathBuf {
    target().join("containers")
}

fn tree(name: &str) -> String {
    format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What it printed on standard output, or on both where it fails.
fn output(command: &mut Command) -> Result<String, String> {
    command.env("CONTAINERS_CONF", folder().join("containers.conf"));
    command.env("CONTAINERS_STORAGE_CONF", folder().join("storage.conf")).stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(format!("{} {}", text(&output.stdout), text(&output.stderr)))
}

fn podman(arguments: &[&str]) -> Result<String, String> {
    output(Command::new("podman").args(arguments))
}

/// What cannot be had here is an answer; what goes wrong with our own files is a failure of the test.
fn make_images() -> Result<(), String> {
    output(Command::new(tree(".ci/images")).arg(folder()).arg(target().join("clients")))?;
    // What a run that was killed has left behind.
    for (list, remove) in [
        (&["ps", "-aq"][..], &["rm", "--force", "--time", "0", "--volumes"][..]),
        (&["volume", "ls", "-q"], &["volume", "rm", "--force"]),
    ] {
        let left = podman(list)?;
        let left: Vec<&str> = left.split_whitespace().collect();
        if !left.is_empty() {
            podman(&[remove, &left].concat())?;
        }
    }
    let program = folder().join("program");
    std::fs::create_dir_all(&program).expect("a folder below the target folder");
    let strip = Command::new("strip").arg("-o").arg(program.join("redan")).arg(env!("CARGO_BIN_EXE_redan")).status();
    assert!(strip.expect("strip exists (binutils)").success());
    let notices = Command::new(tree("packaging/notices")).arg(program.join("third-party-notices")).status();
    assert!(notices.expect("a script").success());
    let build = |arguments: &[&str]| {
        let built = podman(&[&["build", "--format", "docker", "--isolation", "chroot"], arguments].concat());
        built.unwrap_or_else(|why| panic!("{arguments:?}: {why}"));
    };
    let (file, program) = (tree("docker/Dockerfile"), program.display().to_string());
    build(&["-f", &file, "--build-arg", "BINARY=prebuilt", "-t", "redan", &program]);
    build(&["-f", &file, "--build-arg", "BINARY=prebuilt", "--target", "shell", "-t", "redan-shell", &program]);
    build(&["-t", "redan-counter", &tree("docker/counter")]);
    Ok(())
}

/// Containers that belong together; gone with their volumes and networks when this is dropped.
pub(super) struct Project {
    name: String,
}

impl Project {
    pub(super) fn new(_turn: &Engine) -> Self {
        Self { name: format!("redan-test-{}", std::process::id()) }
    }

    /// The services of a file in docker/.
    pub(super) fn up(turn: &Engine, file: &str, variables: &[(&str, String)]) -> Self {
        let project = Self::new(turn);
        let mut compose = Command::new("podman-compose");
        compose.args(["-p", &project.name, "-f", &tree(&format!("docker/{file}")), "up", "--detach"]);
        let started = output(compose.envs(variables.iter().map(|(name, value)| (name, value))));
        started.unwrap_or_else(|why| panic!("{file}: {why}"));
        project
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// By which `drop` finds what was not made by compose.
    pub(super) fn label(&self) -> String {
        format!("--label=io.podman.compose.project={}", self.name)
    }

    pub(super) fn container(&self, service: &str) -> String {
        format!("{}_{service}_1", self.name)
    }

    pub(super) fn podman(&self, arguments: &[&str]) -> Result<String, String> {
        podman(arguments)
    }

    /// What it prints inside the service's container.
    pub(super) fn exec(&self, service: &str, words: &[&str]) -> Result<String, String> {
        podman(&[&["exec", &self.container(service)], words].concat())
    }

    /// Its log.
    pub(super) fn said(&self, service: &str) -> String {
        let logs = Command::new("podman")
            .args(["logs", &self.container(service)])
            .env("CONTAINERS_CONF", folder().join("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", folder().join("storage.conf"))
            .output()
            .expect("podman");
        format!("{}{}", String::from_utf8_lossy(&logs.stdout), String::from_utf8_lossy(&logs.stderr))
    }

    /// Where a volume is on this machine.
    pub(super) fn volume(&self, name: &str) -> PathBuf {
        let volume = format!("{}_{name}", self.name);
        podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", &volume]).expect("the volume").into()
    }

    pub(super) fn wait(&self, what: &str, mut ready: impl FnMut() -> bool) {
        within(DEADLINE, what, || {
            // Each question is a process or more; many of them would be what everybody waits for.
            std::thread::sleep(std::time::Duration::from_millis(300));
            ready()
        });
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let filter = format!("label=io.podman.compose.project={}", self.name);
        if std::thread::panicking() {
            let list = podman(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"]).unwrap_or_default();
            for container in list.split_whitespace() {
                let said = podman(&["logs", "--tail", "30", container]);
                eprintln!("{container}: {}", said.unwrap_or_else(|why| why));
            }
            eprintln!("redan: {}", self.said("redan"));
        }
        // What is left if this fails is removed by the next run.
        for (list, remove) in [
            (&["ps", "-aq", "--filter", &filter][..], &["rm", "--force", "--time", "0", "--volumes"][..]),
            (&["volume", "ls", "-q", "--filter", &filter], &["volume", "rm", "--force"]),
            (&["network", "ls", "-q", "--filter", &filter], &["network", "rm", "--force"]),
        ] {
            for one in podman(list).unwrap_or_default().split_whitespace() {
                let _ = podman(&[remove, &[one]].concat());
            }
        }
    }
}
