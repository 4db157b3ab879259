//! Scripts that a node does not know: EVALSHA becomes EVAL with the text, which the node then knows.
//!
//! Pure but for the memory it asks. `replay` uses it, after a node has proven by `NOSCRIPT` that nothing was executed.

use crate::backend::scripts::Scripts;
use crate::resp::encode;
use crate::resp::request::arguments;

/// EVALSHA or EVALSHA_RO with the script's text for its digest; `None` where the request is neither or the text is not known.
pub(super) fn with_text(request: &[u8], scripts: &Scripts) -> Option<Vec<u8>> {
    let mut words: Vec<&[u8]> = arguments(request).collect();
    let name: &[u8] = match words.first()? {
        name if name.eq_ignore_ascii_case(b"EVALSHA") => b"EVAL",
        name if name.eq_ignore_ascii_case(b"EVALSHA_RO") => b"EVAL_RO",
        _ => return None,
    };
    let text = scripts.text(words.get(1)?)?;
    words[0] = name;
    words[1] = &text;
    let mut rewritten = Vec::with_capacity(request.len() + text.len());
    encode::command(&mut rewritten, &words);
    Some(rewritten)
}
