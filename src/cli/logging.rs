//! The log of the process: `tracing` events to standard error, as text for people or JSON for machines.
//!
//! Standard output stays free for what a command prints on purpose.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;

use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry, reload};

use crate::admin::SetLevel;
use crate::app;
use crate::chronicle::{self, Chronicle};
use crate::config::{self, Log, LogFormat};

/// Sets the log up for the rest of the process. Called once; `Err` is a sentence for the operator. What is returned changes
/// what is logged, and has the events, which are the same at every level.
pub(super) fn init(log: &Log) -> Result<app::Log, String> {
    let (filter, handle) = reload::Layer::new(filter(&log.filter)?);
    let lines = match log.format {
        LogFormat::Text => fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal()).boxed(),
        LogFormat::Json => fmt::layer().with_writer(stderr).json().flatten_event(true).with_current_span(false).boxed(),
    };
    let chronicle = Arc::new(Chronicle::default());
    let (scribe, speakers) = chronicle::layer(Arc::clone(&chronicle));
    let installed = registry().with(lines.with_filter(filter)).with(scribe.with_filter(speakers)).try_init();
    installed.map_err(|error| format!("the log cannot be set up: {error}; a defect of Redan"))?;
    let set = move |level: &str| handle.reload(self::filter(level)?).map_err(|error| error.to_string());
    let level: SetLevel = Arc::new(set);
    Ok(app::Log { level, chronicle })
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    config::log_filter(level)?;
    EnvFilter::try_new(level).map_err(|error| format!("the log level \"{level}\" is not understood: {error}"))
}
