//! Starts the thread that sends sampled commands to a collector, where the configuration names one.
//!
//! Used by `app` alone. Without the feature `otel` there is no such thread, and no configuration that asks for one.

use std::sync::Arc;

use super::StartError;
use crate::config::Config;
use crate::insight::trace::Outlet;
use crate::metrics::TraceCounters;

#[cfg(feature = "otel")]
use {
    super::start::{drive, refused},
    super::thread,
    crate::insight::trace::outlet,
    crate::otel,
    tokio::sync::oneshot,
};

/// Commands that wait to be fetched: what 32,000 sampled commands a second are between two looks, in 2 MB.
#[cfg(feature = "otel")]
const ROOM: usize = 8192;

/// By which the exporter is told to finish, and says that it has.
#[derive(Default)]
pub(super) struct Ending {
    #[cfg(feature = "otel")]
    exporter: Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>,
}

#[cfg(not(feature = "otel"))]
pub(super) fn start(config: &Config, _: &Arc<TraceCounters>) -> Result<(Option<Outlet>, Ending), StartError> {
    debug_assert!(config.trace_export.is_none(), "the reader of the configuration refuses it");
    Ok((None, Ending::default()))
}

#[cfg(feature = "otel")]
pub(super) fn start(config: &Config, counters: &Arc<TraceCounters>) -> Result<(Option<Outlet>, Ending), StartError> {
    // Whether any are sampled may change while the process runs.
    let Some(collector) = config.trace_export.clone() else {
        return Ok((None, Ending::default()));
    };
    let (outlet, traces) = outlet(ROOM);
    let (end, finish) = oneshot::channel();
    let (done, finished) = oneshot::channel::<()>();
    let setup = otel::Setup { collector, traces, counters: Arc::clone(counters), finish };
    let send = move || {
        // Dropped at the end, however that comes.
        let _done = done;
        let sent = drive(async {
            otel::run(setup).await;
            Ok(())
        });
        if let Err(why) = sent {
            tracing::error!("traces are not sent: {why}");
        }
    };
    thread::dispensable("redan-traces".to_owned(), send).map_err(refused)?;
    Ok((Some(outlet), Ending { exporter: Some((end, finished)) }))
}

impl Ending {
    /// Lets the exporter send what is left, for a second or so.
    pub(super) async fn wait(self) {
        #[cfg(feature = "otel")]
        if let Some((end, finished)) = self.exporter {
            drop(end);
            // Twice the time that it gives itself, should its thread not run.
            let _ = tokio::time::timeout(otel::LAST_WORDS * 2, finished).await;
        }
    }
}
