//! What a session finds around it: its listener's policy, its worker's shared buffers and counters, its group's pool.
//!
//! Made by the worker, one per listener; everything in it belongs to the worker's thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use crate::backend::pool::Pool;
use crate::config;
use crate::limits;
use crate::metrics::WorkerCounters;
use crate::throttle::Throttle;
use crate::transport::CipherBuffer;

/// What all sessions of one worker share.
pub(crate) struct Workspace {
    pub(crate) counters: Arc<WorkerCounters>,
    pub(super) cipher: Rc<RefCell<CipherBuffer>>,
    /// Clients are read into this, one at a time, so an idle session holds no buffer.
    pub(super) scratch: RefCell<Vec<u8>>,
    /// The commands of the batch being routed.
    pub(super) plan: RefCell<Vec<super::plan::Item>>,
    /// Buffers that sessions gave back: a session with something to keep takes one instead of allocating.
    spare: RefCell<Vec<Vec<u8>>>,
    /// Shared by all workers, so that a guesser gains nothing by reconnecting. Taken for AUTH alone.
    pub(super) throttle: Arc<Mutex<Throttle>>,
    /// Sessions end when they have nothing in flight.
    pub(crate) draining: Cell<bool>,
}

/// Spare buffers a worker keeps: as many as sessions that have half a command or an unsent reply at once.
const SPARE: usize = 256;

impl Workspace {
    pub(crate) fn new(
        counters: Arc<WorkerCounters>,
        cipher: Rc<RefCell<CipherBuffer>>,
        throttle: Arc<Mutex<Throttle>>,
    ) -> Self {
        Self {
            counters,
            cipher,
            scratch: RefCell::new(vec![0; limits::CLIENT_READ]),
            plan: RefCell::default(),
            spare: RefCell::default(),
            throttle,
            draining: Cell::new(false),
        }
    }

    /// An empty buffer.
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    pub(super) fn give_back(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if buffer.capacity() > 0 && buffer.capacity() <= limits::KEPT_BUFFER && spare.len() < SPARE {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

/// One listener, as one worker sees it.
pub(crate) struct Context {
    pub(crate) listener: Arc<config::Listener>,
    pub(crate) pool: Rc<Pool>,
    pub(crate) workspace: Rc<Workspace>,
}
