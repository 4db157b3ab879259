//! Threads without which Redan is a ghost: it would hold its ports and serve nobody. Their death ends the process.
//!
//! Used by `app` alone.

use std::io;
use std::panic;
use std::process;
use std::thread;

/// EX_SOFTWARE: whose fault it is, is Redan's.
const DEFECT: i32 = 70;

/// Every panic becomes one line of the log, with its place, its message and the thread. What it ends beyond its task
/// is for others to say.
pub(super) fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let current = thread::current();
        let name = current.name().unwrap_or("without a name");
        // `panic!` with arguments makes a String, without any a str.
        let payload = panic.payload();
        let message = payload.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!("a defect of Redan, please report it: thread {name} panicked at {place}: {message}");
    }));
}

/// Starts a thread whose end is the end of the process, unless `body` returns `Ok`.
pub(super) fn vital(name: String, body: impl FnOnce() -> Result<(), String> + Send + 'static) -> io::Result<()> {
    let thread_name = name.clone();
    let life = move || {
        let fuse = AbortOnPanic(&name);
        let ended = body();
        std::mem::forget(fuse);
        if let Err(why) = ended {
            tracing::error!("thread {name} cannot go on: {why}; Redan ends, because it could not serve without it");
            process::exit(DEFECT);
        }
    };
    // Its end is told by other means than its handle.
    thread::Builder::new().name(thread_name).spawn(life).map(drop)
}

/// Armed while a body runs.
struct AbortOnPanic<'a>(&'a str);

impl Drop for AbortOnPanic<'_> {
    fn drop(&mut self) {
        tracing::error!("Redan ends, because it could not serve without thread {}, which has just died", self.0);
        process::abort();
    }
}
