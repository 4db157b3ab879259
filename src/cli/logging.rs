//! The log of the process: `tracing` events to standard error, as text for people or JSON for machines.
//!
//! Standard output stays free for what a command prints on purpose.

use std::io::IsTerminal;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;

use crate::admin::SetLevel;
use crate::config::{self, Log, LogFormat};

/// Sets the log up for the rest of the process. Called once; `Err` is a sentence for the operator. What is returned changes
/// what is logged.
pub(super) fn init(log: &Log) -> Result<SetLevel, String> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(&log.filter)?).with_writer(std::io::stderr);
    let (installed, level): (_, SetLevel) = match log.format {
        LogFormat::Text => {
            let builder = builder.with_ansi(std::io::stderr().is_terminal()).with_filter_reloading();
            let handle = builder.reload_handle();
            let set = move |level: &str| handle.reload(filter(level)?).map_err(|error| error.to_string());
            (builder.try_init(), Arc::new(set))
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_current_span(false).with_filter_reloading();
            let handle = builder.reload_handle();
            let set = move |level: &str| handle.reload(filter(level)?).map_err(|error| error.to_string());
            (builder.try_init(), Arc::new(set))
        }
    };
    installed.map_err(|error| format!("the log cannot be set up: {error}; a defect of Redan"))?;
    Ok(level)
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    config::log_filter(level)?;
    EnvFilter::try_new(level).map_err(|error| format!("the log level \"{level}\" is not understood: {error}"))
}
