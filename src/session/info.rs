//! The `# Redan` section that INFO's reply gets, beside the master's own: which endpoint answered, and what it sees.
//!
//! Pure but for what it reads of the context. `adapted` uses it.

use std::fmt::Write as _;

use super::context::Context;
use crate::resp::encode;
use crate::resp::request::arguments;

/// Whether INFO asks for all sections, or for this one.
pub(super) fn wants_section(raw: &[u8]) -> bool {
    let mut sections = arguments(raw).skip(1).peekable();
    let asks = |word: &[u8]| {
        [&b"default"[..], b"all", b"everything", b"redan"].iter().any(|section| word.eq_ignore_ascii_case(section))
    };
    sections.peek().is_none() || sections.any(asks)
}

pub(super) fn section(context: &Context, client: u64) -> String {
    let snapshot = context.pool.snapshot();
    let replicas = snapshot.nodes.iter().filter(|node| !node.role_is_master());
    let readable = replicas.clone().filter(|node| node.readable.is_ok()).count();
    let mut text = String::from("# Redan\r\n");
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        // Writing to a String cannot fail.
        let _ = write!(text, "redan_{key}:{value}\r\n");
    };
    line("version", &env!("CARGO_PKG_VERSION"));
    line("listener", &context.listener().name);
    line("group", &context.pool.group_name());
    line("reads", &context.listener().reads.word());
    line("consistency", &context.listener().consistency.word());
    line("epoch", &snapshot.epoch);
    line("master", &snapshot.master().map_or("none", |master| &master.address));
    line("reason", &snapshot.reason);
    line("replicas", &replicas.count());
    line("replicas_readable", &readable);
    line("client_id", &client);
    text
}

/// INFO's reply with the section behind it: a bulk, or a verbatim string under RESP3. Anything else stays as it is.
pub(super) fn with_section(reply: &[u8], section: &str) -> Vec<u8> {
    let Some(header) = reply.windows(2).position(|pair| pair == b"\r\n") else {
        return reply.to_vec();
    };
    let body = &reply[header + 2..];
    let resp3 = match reply.first() {
        Some(b'$') => false,
        Some(b'=') => true,
        _ => return reply.to_vec(),
    };
    let text = body.strip_suffix(b"\r\n").unwrap_or(body);
    let text = if resp3 { text.strip_prefix(b"txt:").unwrap_or(text) } else { text };
    let mut whole = String::from_utf8_lossy(text).into_owned();
    if !whole.is_empty() {
        whole.push_str("\r\n");
    }
    whole.push_str(section);
    let mut out = Vec::with_capacity(whole.len() + 32);
    encode::verbatim(&mut out, &whole, resp3);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_stands_behind_the_servers_own() {
        let adapted =
            |reply: &str| String::from_utf8(with_section(reply.as_bytes(), "# Redan\r\nx:1\r\n")).expect("text");
        assert_eq!(adapted("$8\r\n# A\r\nb\r\n\r\n"), "$24\r\n# A\r\nb\r\n\r\n# Redan\r\nx:1\r\n\r\n");
        assert_eq!(adapted("=9\r\ntxt:# A\r\n\r\n"), "=25\r\ntxt:# A\r\n\r\n# Redan\r\nx:1\r\n\r\n");
        assert_eq!(adapted("$0\r\n\r\n"), "$14\r\n# Redan\r\nx:1\r\n\r\n");
        assert_eq!(adapted("-NOPERM no\r\n"), "-NOPERM no\r\n");
    }

    #[test]
    fn only_who_asks_for_everything_or_for_it_gets_it() {
        let asks = |line: &str| wants_section(&encode::command_of(line));
        assert!(asks("INFO") && asks("info ALL") && asks("INFO server redan"));
        assert!(!asks("INFO server") && !asks("INFO replication keyspace"));
    }
}
