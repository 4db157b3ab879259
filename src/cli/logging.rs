//! The log of the process: `tracing` events to standard error, as text for people or JSON for machines.
//!
//! Standard output stays free for what a command prints on purpose.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;

use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry};

use crate::chronicle::{self, Chronicle};
use crate::config::{Log, LogFormat};

/// Sets the log up for the rest of the process. Called once; `Err` is a sentence for the operator. What is an event goes to the
/// chronicle too, whatever the level of the log.
pub(super) fn init(log: &Log, chronicle: Arc<Chronicle>) -> Result<(), String> {
    let filter = EnvFilter::try_new(&log.filter)
        .map_err(|error| format!("the log level \"{}\" is not understood: {error}", log.filter))?;
    let lines = match log.format {
        LogFormat::Text => fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal()).boxed(),
        LogFormat::Json => {
            fmt::layer().with_writer(stderr).json().flatten_event(true).with_current_span(false).boxed()
        }
    };
    let (scribe, speakers) = chronicle::layer(chronicle);
    let installed = registry().with(lines.with_filter(filter)).with(scribe.with_filter(speakers)).try_init();
    installed.map_err(|error| format!("the log cannot be set up: {error}; a defect of Redan"))
}
