//! Scripts that a node does not know: EVALSHA becomes EVAL with the text, which the node then knows.
//!
//! Pure but for the memory it asks. `replay` uses it, after a node has proven by `NOSCRIPT` that nothing was executed.
//! A text is remembered when a node has executed it for its client, never before: what a node refuses to one user must
//! not come to it in Redan's own name.

use std::rc::Rc;
use std::sync::Arc;

use crate::backend::pool::Pool;
use crate::backend::scripts::Scripts;
use crate::resp::encode;
use crate::resp::request::arguments;
use crate::topology::NodeId;

/// The text of the script that EVALSHA or EVALSHA_RO asks for; `None` where the request is neither, or the text is not known.
pub(super) fn text_of(request: &[u8], scripts: &Scripts) -> Option<Arc<[u8]>> {
    let mut words = arguments(request);
    let name = words.next()?;
    let by_digest = name.eq_ignore_ascii_case(b"EVALSHA") || name.eq_ignore_ascii_case(b"EVALSHA_RO");
    scripts.text(words.next().filter(|_| by_digest)?)
}

/// The same request with the script's text for its digest.
pub(super) fn with_text(request: &[u8], text: &[u8]) -> Vec<u8> {
    let reads = arguments(request).next().is_some_and(|name| name.eq_ignore_ascii_case(b"EVALSHA_RO"));
    let mut words: Vec<&[u8]> = vec![if reads { b"EVAL_RO" } else { b"EVAL" }, text];
    words.extend(arguments(request).skip(2));
    let mut rewritten = Vec::with_capacity(request.len() + text.len());
    encode::command(&mut rewritten, &words);
    rewritten
}

/// A text that this worker sees for the first time, on its way to a node.
pub(super) struct Shown {
    pool: Rc<Pool>,
    text: Box<[u8]>,
    node: NodeId,
}

impl Shown {
    /// `raw` is EVAL, EVAL_RO or SCRIPT LOAD.
    pub(super) fn script(raw: &[u8], pool: &Rc<Pool>, node: NodeId) -> Option<Self> {
        // SCRIPT LOAD has it in the third place, EVAL in the second.
        let mut words = arguments(raw);
        let load = words.next()?.eq_ignore_ascii_case(b"SCRIPT");
        let text = words.nth(usize::from(load))?;
        (!pool.has_seen_script(text)).then(|| Self { pool: Rc::clone(pool), text: text.into(), node })
    }

    pub(super) fn answered(&self, reply: &[u8]) {
        if !reply.starts_with(b"-") {
            self.pool.note_script(&self.text, self.node);
        }
    }
}
