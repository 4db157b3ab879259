//! Threads without which Redan is a ghost: it would hold its ports and serve nobody. Their death ends the process. And one
//! without which it is not.
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

/// Starts a thread without which Redan serves as well. The hook has told of its panic.
#[cfg(feature = "otel")]
pub(super) fn dispensable(name: String, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name).spawn(body).map(drop)
}

/// Armed while a body runs.
struct AbortOnPanic<'a>(&'a str);

impl Drop for AbortOnPanic<'_> {
    fn drop(&mut self) {
        tracing::error!("Redan ends, because it could not serve without thread {}, which has just died", self.0);
        process::abort();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    use super::*;

    /// Says to the process started by the test below how its thread shall end.
    const ENDING: &str = "REDAN_TEST_VITAL_THREAD";

    #[test]
    fn the_death_of_a_vital_thread_is_the_death_of_the_process() {
        if let Ok(ending) = std::env::var(ENDING) {
            return die(&ending);
        }
        let this_test = "app::thread::tests::the_death_of_a_vital_thread_is_the_death_of_the_process";
        let status = |ending: &str| {
            let mut again = Command::new(std::env::current_exe().expect("this program"));
            again.args([this_test, "--exact"]).env(ENDING, ending).stdout(Stdio::null()).stderr(Stdio::null());
            again.status().expect("it runs")
        };
        /// SIGABRT.
        const ABORTED: i32 = 6;
        assert_eq!(status("panic").signal(), Some(ABORTED));
        assert_eq!(status("error").code(), Some(DEFECT));
        assert_eq!(status("success").code(), Some(0), "a thread may end when its work is done");
    }

    fn die(ending: &str) {
        let (done, ended) = std::sync::mpsc::channel();
        let wanted = ending.to_owned();
        let body = move || match wanted.as_str() {
            "panic" => panic!("on purpose"),
            "error" => Err("on purpose".to_owned()),
            _ => {
                done.send(()).expect("somebody waits");
                Ok(())
            }
        };
        vital("test".to_owned(), body).expect("a thread");
        if ending != "success" {
            // A process that outlives its thread ends well after this, which is what the test must not see.
            std::thread::sleep(std::time::Duration::from_secs(20));
            return;
        }
        ended.recv().expect("the thread has ended well");
    }
}
