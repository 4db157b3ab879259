//! The threads of links, and how work gets to them.
//!
//! Each is one OS thread with a runtime of its own; `app` starts it with [`work`]. A connection stays on the thread that it was
//! given to, and shares that thread's buffers.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::wire::Scratch;

/// The buffers of a thread, whose contents are nobody's between two turns.
pub(crate) struct Shared(pub(super) Rc<RefCell<Scratch>>);

/// Makes, on the thread it came to, the task that is run there.
pub(crate) type Job = Box<dyn FnOnce(Shared) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// What a thread is started with.
pub(crate) type Letters = mpsc::UnboundedReceiver<Job>;

/// All threads of links.
#[derive(Clone)]
pub(crate) struct Threads {
    mailboxes: Arc<[mpsc::UnboundedSender<Job>]>,
    next: Arc<AtomicUsize>,
}

impl Threads {
    /// The threads, and what each of them is to be started with.
    pub(crate) fn new(count: usize) -> (Self, Vec<Letters>) {
        let (mailboxes, letters): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::unbounded_channel()).unzip();
        (Self { mailboxes: mailboxes.into(), next: Arc::default() }, letters)
    }

    /// There is nobody to carry anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.mailboxes.is_empty()
    }

    /// Takes turns: which connection will have how much to do is not known at its beginning.
    pub(super) fn spawn(&self, job: Job) {
        let next = self.next.fetch_add(1, Relaxed) % self.mailboxes.len().max(1);
        if let Some(mailbox) = self.mailboxes.get(next) {
            // A thread that has ended takes the process with it.
            let _ = mailbox.send(job);
        }
    }
}

/// The whole life of one thread. Returns when nobody can send it work any more.
pub(crate) fn work(letters: Letters) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(serve(letters));
    Ok(())
}

/// The same on a thread that has an event loop, which must be one for tasks that stay on it.
pub(super) async fn serve(mut letters: Letters) {
    let scratch = Rc::new(RefCell::new(Scratch::new()));
    while let Some(job) = letters.recv().await {
        spawn_local(job(Shared(Rc::clone(&scratch))));
    }
}
