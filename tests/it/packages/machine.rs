//! A fresh Debian that boots with systemd in a container of systemd-nspawn, in which the package is installed as a user would.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::super::support::left_out::{left_out, target};
use super::super::support::redis::within;

/// It boots in seconds; a busy machine needs longer.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(150);

/// Inside. Every line of the report is a fact; what fails ends it, and the report lacks the rest.
const RUN: &str = r#"#!/bin/bash
exec >/test/report 2>&1
set -ex
export DEBIAN_FRONTEND=noninteractive
dpkg -i /test/redan.deb
test "$(stat -c %U:%a /etc/redan/proxy.toml)" = root:644
systemctl is-enabled redan && exit 1
sed -i 's/^#admin = /admin = /' /etc/redan/proxy.toml
# An installation again keeps what the operator has changed.
dpkg -i /test/redan.deb
grep '^admin = ' /etc/redan/proxy.toml
systemctl enable --now redan
test "$(systemctl show -P StatusText redan)" = "Serving clients"
redis-cli -p 6380 SET k v
redis-cli -p 6379 GET k | grep v
redan health --admin 127.0.0.1:9180
pid=$(systemctl show -P MainPID redan)
test "$(stat -c %U /proc/$pid)" = redan
grep 'CapEff:.0000000000000000' /proc/$pid/status
grep 'NoNewPrivs:.1' /proc/$pid/status
systemctl reload redan
test "$(systemctl show -P MainPID redan)" = "$pid"
# Another version takes the place of the running one, and its clients stay connected.
exec 3<>/dev/tcp/127.0.0.1/6380
printf 'INCR n\r\n' >&3
read -r said <&3
test "$said" = $':1\r'
dpkg -i /test/redan.deb
before=$pid
pid=$(systemctl show -P MainPID redan)
test "$pid" != "$before"
printf 'INCR n\r\n' >&3
read -r said <&3
test "$said" = $':2\r'
exec 3>&-
systemctl is-active redan
test "$(stat -c %U /proc/$pid)" = redan
while test -e "/proc/$before"; do sleep 0.1; done
redis-cli -p 6380 SET k v
systemctl reload redan
test "$(systemctl show -P MainPID redan)" = "$pid"
# A process that was to take its place and could not is no reason to end the one that serves.
cp /etc/redan/proxy.toml /test/good
echo 'hodl = 1' >>/etc/redan/proxy.toml
dpkg -i /test/redan.deb 2>&1 | grep 'still the one before'
test "$(systemctl show -P MainPID redan)" = "$pid"
cp /test/good /etc/redan/proxy.toml
# Where there is nobody to be asked a signal does it.
sed -i 's/^\[redan\]/&\nadmin_socket = "off"/' /etc/redan/proxy.toml
systemctl restart redan
pid=$(systemctl show -P MainPID redan)
dpkg -i /test/redan.deb
while test "$(systemctl show -P MainPID redan)" = "$pid"; do sleep 0.1; done
cp /test/good /etc/redan/proxy.toml
systemctl restart redan
# A process that stands still does not feed the watchdog.
mkdir -p /run/systemd/system/redan.service.d
printf '[Service]\nWatchdogSec=2\n' >/run/systemd/system/redan.service.d/test.conf
systemctl daemon-reload
systemctl restart redan
pid=$(systemctl show -P MainPID redan)
sleep 5
test "$(systemctl show -P MainPID redan)" = "$pid"
kill -STOP "$pid"
while test "$(systemctl show -P MainPID redan)" = "$pid" || ! redis-cli -p 6380 GET k; do sleep 0.2; done
# A wrong file is said and not tried for ever.
systemctl stop redan
test "$(systemctl show -P Result redan)" = success
echo 'hodl = 1' >>/etc/redan/proxy.toml
systemctl start redan && exit 1
sleep 3
systemctl is-failed redan
test "$(systemctl show -P ExecMainStatus redan)" = 78
journalctl -u redan | grep 'proxy.toml:'
dpkg --purge redan
test ! -e /etc/redan/proxy.toml
echo everything is as it should be
"#;

/// Installs the package there, or says why that was left out.
pub(super) fn install(package: &Path) {
    let what = "the package in a fresh Debian";
    let containers = target().join("containers");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/machine");
    let made = Command::new(script).arg(&containers).arg(target().join("clients")).output().expect("bash");
    if !made.status.success() {
        return left_out(what, &String::from_utf8_lossy(&made.stderr));
    }
    let folder = tempfile::tempdir().unwrap();
    fs::copy(package, folder.path().join("redan.deb")).unwrap();
    let run = folder.path().join("run");
    fs::write(&run, RUN).unwrap();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
    let console = fs::File::create(folder.path().join("console")).unwrap();
    let mut booting = Command::new("systemd-nspawn");
    // What it writes is gone with it.
    booting.args(["--quiet", "--boot", "--volatile=overlay", "--register=no", "--keep-unit", "--private-network"]);
    booting.arg("--directory").arg(containers.join("machine"));
    booting.arg(format!("--bind={}:/test", folder.path().display()));
    booting.stdin(Stdio::null()).stdout(console.try_clone().unwrap()).stderr(console);
    let mut machine = booting.spawn().expect("systemd-nspawn was there a moment ago");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    let started = std::time::Instant::now();
    while machine.try_wait().unwrap().is_none() && started.elapsed() < DEADLINE {
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let _ = machine.kill();
    within(DEADLINE, "the machine is off", || machine.try_wait().unwrap().is_some());
    let report = read("report");
    if report.is_empty() {
        return left_out(what, &format!("systemd does not boot in systemd-nspawn here:\n{}", read("console")));
    }
    assert!(report.ends_with("everything is as it should be\n"), "{report}\n{}", read("console"));
}
