//! Gives a node one script that it lacks, in Redan's own name.
//!
//! For sessions of users whom the nodes know: such a user may have the right to EVALSHA without that to EVAL.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::pool::Pool;
use super::question;
use crate::resp::encode;
use crate::topology::NodeId;

/// Nobody waits for the answer: whoever wants the script asks for it again.
const PATIENCE: Duration = Duration::from_secs(1);

impl Pool {
    pub(crate) fn give_script(self: &Rc<Self>, node: NodeId, text: Arc<[u8]>) {
        let Some(node) = self.snapshot().node(node).cloned() else {
            return;
        };
        let pool = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let mut command = Vec::with_capacity(text.len() + 64);
            encode::command(&mut command, &[b"SCRIPT", b"LOAD", &text]);
            question::ask(&pool, &node, &command, PATIENCE).await;
        });
    }
}
