//! A program that the demo started: watched while it runs, killed and waited for when it is dropped.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::Failure;

/// Lines of its log that are shown when it ended by itself: the reason stands at the end.
const SHOWN: usize = 8;

#[derive(Debug)]
pub(super) struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `command` with its output going to `log`.
    pub(super) fn start(name: &str, command: &mut Command, log: PathBuf) -> Result<Self, Failure> {
        let trouble = |error: std::io::Error| Failure::new(format!("{name} cannot be started: {error}"));
        let output = File::create(&log).map_err(trouble)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(trouble)?)
            .stderr(output)
            // Ctrl-C goes to the demo alone, which then ends its servers in order.
            .process_group(0)
            .spawn()
            .map_err(trouble)?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// An error when it has ended, with the end of its log.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        let Some(status) = self.ended() else { return Ok(()) };
        Err(Failure::new(format!(
            "{} ended by itself ({status}). The end of its log:\n{}",
            self.name,
            self.last_words()
        )))
    }

    fn last_words(&self) -> String {
        // It may have been killed in the middle of a character.
        let log = String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN)..].iter().map(|line| format!("    {line}\n")).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it is gone already. What it holds is thrown away, so it need not end in order.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
