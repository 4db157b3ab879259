//! The log of the process: `tracing` events to standard error, as text for people or JSON for machines.
//!
//! Standard output stays free for what a command prints on purpose.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// How the filter of the running log is replaced.
static FILTER: OnceLock<SetFilter> = OnceLock::new();

fn filter(text: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(text).map_err(|error| format!("the log level \"{text}\" is not understood: {error}"))
}

/// Sets the log up for the rest of the process. Called once; `Err` is a sentence for the operator.
pub(super) fn init(log: &Log) -> Result<(), String> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(&log.filter)?).with_writer(std::io::stderr);
    let installed = match log.format {
        LogFormat::Text => {
            let builder = builder.with_ansi(std::io::stderr().is_terminal()).with_filter_reloading();
            let handle = builder.reload_handle();
            remember(move |filter| handle.reload(filter).map_err(|error| error.to_string()));
            builder.try_init()
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_current_span(false).with_filter_reloading();
            let handle = builder.reload_handle();
            remember(move |filter| handle.reload(filter).map_err(|error| error.to_string()));
            builder.try_init()
        }
    };
    installed.map_err(|error| format!("the log cannot be set up: {error}; a defect of Redan"))
}

fn remember(set: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static) {
    // Only the first of two logs of a process is used.
    let _ = FILTER.set(Box::new(set));
}

/// Another filter for the log that was set up.
pub(super) fn set_filter(text: &str) -> Result<(), String> {
    let filter = filter(text)?;
    FILTER.get().map_or(Ok(()), |set| set(filter))
}
