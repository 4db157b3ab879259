//! A master behind a link whose both ends tell their metrics.

use std::io::Write;
use std::process::Command;

use super::connect;
use crate::support::link::Keys;
use crate::support::proxy::Proxy;
use crate::support::redis::{Options, Redis, eventually};

pub(super) struct Linked {
    pub(super) entry: Proxy,
    pub(super) exit: Proxy,
    _keys: Keys,
}

impl Linked {
    pub(super) fn to(master: &Redis, entry: &str, exit: &str) -> Self {
        let keys = Keys::make();
        let far = format!("[redan]\nadmin = \"127.0.0.1:0\"\n{}", keys.exit_to(&master.address(), "127.0.0.1:0", exit));
        let exit = Proxy::start(&far);
        let link = keys.entry_to(&exit.address(1), "127.0.0.1:0", entry);
        let entry = Proxy::start(&format!("[redan]\nadmin = \"127.0.0.1:0\"\n{link}"));
        Self { entry, exit, _keys: keys }
    }

    pub(super) fn port(&self) -> String {
        self.entry.address(1).replace("127.0.0.1:", "")
    }

    pub(super) fn replica(&self, options: Options) -> Redis {
        options.line(&format!("replicaof 127.0.0.1 {}", self.port())).start()
    }

    pub(super) fn allow(&self, time: &str) {
        let order = ["link", "allow", "there", "--for", time, "--config"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_redan"));
        let output = command.args(order).arg(self.entry.file()).output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("link 'there' lets every full sync pass"), "{said}");
    }
}

pub(super) fn metrics(of: &Proxy) -> String {
    let mut stream = connect(&of.address(0));
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: redan\r\nConnection: close\r\n\r\n").expect("taken");
    std::io::read_to_string(stream).expect("an answer")
}

/// The value of the series that begins so.
pub(super) fn metric(of: &Proxy, series: &str) -> Option<f64> {
    let text = metrics(of);
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

/// Equal offsets and equal data.
pub(super) fn wait_until_equal(master: &Redis, replica: &Redis) {
    eventually("the replica has everything", || {
        let offset = master.info("master_repl_offset");
        offset.is_some() && replica.info("slave_repl_offset") == offset
    });
    let digests = [master, replica].map(|server| server.command(&["DEBUG", "DIGEST"]));
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[0].trim_matches(['+', '\r', '\n', '0']), "", "there is data");
}
