//! One command of Redan's own to a node, over a lane, with the reply as a future.
//!
//! For the rare question that only the node can answer. It goes over the lane for reads, where no paused write stands in
//! its way; it must not be a write, since it is not sent again.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Waker;

use tokio::sync::oneshot;

use super::dial::Dialect;
use super::lane::Purpose;
use super::pool::Pool;
use super::recipient::{Effect, Judged, Lost, Origin, Recipient};
use crate::resp::encode;
use crate::topology::NodeId;

struct Errand {
    reply: RefCell<Option<oneshot::Sender<Vec<u8>>>>,
}

impl Errand {
    fn end(&self, reply: Option<&[u8]>) {
        if let (Some(sender), Some(reply)) = (self.reply.take(), reply) {
            // Whoever asked may have lost its patience.
            let _ = sender.send(reply.to_vec());
        }
    }
}

impl Recipient for Errand {
    fn replies(&self, _: Origin, _: u64, _: u32, bytes: &[u8]) {
        self.end(Some(bytes));
    }

    fn piece(&self, _: Origin, _: u64, _: &[u8], _: bool) {
        // No reply to an errand is that large.
        self.end(None);
    }

    fn judged(&self, _: Origin, judged: Judged<'_>) {
        self.end(Some(judged.reply));
    }

    fn lost(&self, _: Lost<'_>) {
        self.end(None);
    }

    fn backlog(&self) -> usize {
        0
    }

    fn wake_when_drained(&self, _: &Waker) {}
}

/// The node's reply; `None` when there is no connection to it, or it was lost before the reply.
pub(crate) async fn run(pool: &Rc<Pool>, node: NodeId, words: &[&[u8]]) -> Option<Vec<u8>> {
    let (sender, receiver) = oneshot::channel();
    {
        let node = pool.snapshot().node(node)?.clone();
        let lane = pool.lane(&node, Purpose::Reads, Dialect::GROUP)?;
        let mut request = Vec::new();
        encode::command(&mut request, words);
        let errand = Rc::new(Errand { reply: RefCell::new(Some(sender)) });
        lane.submit(&errand, 0, &request, Effect::Read, 1);
    }
    receiver.await.ok()
}
