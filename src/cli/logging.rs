//! The log of the process: `tracing` events to standard error, as text for people or JSON for machines.
//!
//! Standard output stays free for what a command prints on purpose.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Sets the log up for the rest of the process. Called once; `Err` is a sentence for the operator.
pub(super) fn init(log: &Log) -> Result<(), String> {
    let filter = EnvFilter::try_new(&log.filter)
        .map_err(|error| format!("the log level \"{}\" is not understood: {error}", log.filter))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match log.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    installed.map_err(|error| format!("the log cannot be set up: {error}; a defect of Redan"))
}
