//! The machines of a drill: network namespaces with addresses of their own, on two switches that a cable joins.
//!
//! The program runs again inside a fresh namespace, which is the applications' machine: clients, Redan and HAProxy
//! stand there. Everything ends with the program; nothing of it is visible outside.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Says to the program that it is inside.
const INSIDE: &str = "REDAN_DRILL_INSIDE";

/// The applications' address.
pub(crate) const APPLICATIONS: &str = "10.77.0.254";

/// Which switch a machine is plugged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

impl Side {
    const fn bridge(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
        }
    }
}

/// Starts this program again in a namespace of its own, unless it is there already. Returns only inside.
pub(crate) fn enter() -> Result<(), String> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    let program = std::env::current_exe().map_err(|error| format!("this program cannot be found again: {error}"))?;
    let mut command = Command::new("unshare");
    let may = Command::new("unshare").args(["--net", "true"]).stderr(Stdio::null()).status();
    if !may.map_err(|error| format!("unshare: {error}; it is in util-linux"))?.success() {
        command.arg("--map-root-user");
    }
    let error = command.args(["--net", "--"]).arg(program).args(std::env::args().skip(1)).env(INSIDE, "1").exec();
    Err(format!("no network namespace can be made ({error}): run as root, or allow unprivileged user namespaces"))
}

/// Two switches, joined; the applications' machine is plugged into one of them.
pub(crate) struct Network(());

impl Network {
    pub(crate) fn make(applications: Side) -> Result<Self, String> {
        let network = Self(());
        Self::remove();
        ip("link set lo up")?;
        for side in [Side::Left, Side::Right] {
            ip(&format!("link add {} type bridge", side.bridge()))?;
            ip(&format!("link set {} up", side.bridge()))?;
        }
        ip("link add cable type veth peer name socket")?;
        ip("link set cable master left up")?;
        ip("link set socket master right up")?;
        ip("link add app type veth peer name eth0")?;
        ip(&format!("link set app master {} up", applications.bridge()))?;
        ip(&format!("addr add {APPLICATIONS}/24 dev eth0"))?;
        ip("link set eth0 up")?;
        Ok(network)
    }

    /// Pulls the cable between the switches, or plugs it in.
    pub(crate) fn cut(&self) -> Result<(), String> {
        ip("link set cable down")
    }

    pub(crate) fn mend(&self) -> Result<(), String> {
        ip("link set cable up")
    }

    /// What an earlier drill left: its interfaces are gone with its machines, the switches are not.
    fn remove() {
        for name in ["left", "right", "cable", "app"] {
            let _ = Command::new("ip").args(["link", "del", name]).stderr(Stdio::null()).status();
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        Self::remove();
    }
}

/// One machine. It and its network end when it is dropped.
pub(crate) struct Host {
    number: u8,
    sleeper: Child,
}

impl Host {
    pub(crate) fn plug(_network: &Network, number: u8, side: Side) -> Result<Self, String> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sleep", "infinity"]).stdin(Stdio::null());
        let sleeper = command.spawn().map_err(|error| format!("unshare: {error}"))?;
        let host = Self { number, sleeper };
        let pid = host.sleeper.id();
        let (own, ours) = (format!("/proc/{pid}/ns/net"), std::fs::read_link("/proc/self/ns/net").ok());
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::fs::read_link(&own).ok().is_none_or(|own| Some(own) == ours) {
            if Instant::now() > deadline {
                return Err("a machine did not get a network of its own".to_owned());
            }
            sleep(Duration::from_millis(2));
        }
        ip(&format!("link add host{number} type veth peer name eth0 netns {pid}"))?;
        ip(&format!("link set host{number} master {} up", side.bridge()))?;
        for words in ["link set lo up", &format!("addr add {}/24 dev eth0", host.address()), "link set eth0 up"] {
            run(host.command("ip").args(words.split(' ')))?;
        }
        Ok(host)
    }

    pub(crate) fn address(&self) -> String {
        format!("10.77.0.{}", self.number)
    }

    /// A program that will run on this machine.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "-t", &self.sleeper.id().to_string(), "--", program]).stdin(Stdio::null());
        command
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Both fail only when it is already gone. Removing its interface here makes its name free at once.
        let _ = self.sleeper.kill();
        let _ = self.sleeper.wait();
        let _ =
            Command::new("ip").args(["link", "del", &format!("host{}", self.number)]).stderr(Stdio::null()).status();
    }
}

fn ip(words: &str) -> Result<(), String> {
    run(Command::new("ip").args(words.split(' ')))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}; iproute2 has it"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or_else(|| format!("{command:?}: {}", said.trim()))
}
