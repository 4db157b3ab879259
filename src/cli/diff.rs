//! `redan diff`: what a running Redan would change if it read another file, and whether it could.
//!
//! Reads the two files and what they name, and nothing else: whether an address is free only a reload can tell.

use std::path::Path;
use std::process::ExitCode;

use super::with_config;
use crate::config::diff::{Diff, Item};
use crate::config::effect::Effect;

/// A reload would refuse the file.
const RESTART: u8 = 1;

pub(super) fn run(old: &Path, new: &Path) -> ExitCode {
    with_config(old, |old| {
        with_config(new, |new| {
            let diff = Diff::between(&old, &new);
            for item in &diff.items {
                println!("{item}: {}", reach(item));
            }
            let restarts = diff.restarts();
            if diff.is_empty() {
                println!("nothing differs; files of TLS aside, which are watched");
            } else if !restarts.is_empty() {
                println!("a reload would refuse all of it:\n{}", restarts.join("\n"));
                return ExitCode::from(RESTART);
            }
            ExitCode::SUCCESS
        })
    })
}

fn reach(item: &Item) -> &'static str {
    match item.effect() {
        Effect::Live => "at once, for what is connected too",
        Effect::New => "for what connects from then on",
        Effect::Ends => "what is connected by it ends when nothing is owed to it, after shutdown_timeout in any case",
        Effect::Restart => "only by a restart",
    }
}
