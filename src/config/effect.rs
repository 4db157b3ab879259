//! What becomes of a changed setting when the file is read again: whom it reaches, and whether that takes a restart.
//!
//! Pure, one row for each setting. `sheet` notes it beside each setting, `diff` passes it on; the column `reload` of
//! docs/configuration.md is held to it by a test.

use serde::Serialize;

/// Whom a new value reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Effect {
    /// Who is connected already, too, from the next command on.
    Live,
    /// What begins from now on: connections of clients, of programs through a link, to nodes.
    New,
    /// Nobody who is connected can go on with it: they are ended, when nothing is owed to them.
    Ends,
    /// It holds from the start to the end of a process.
    Restart,
}

impl Effect {
    /// As the documentation has it.
    #[cfg(test)]
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::New => "new",
            Self::Ends => "ends",
            Self::Restart => "restart",
        }
    }
}

/// Of the setting `key` in the section with this title.
pub(super) fn of(title: &str, key: &str) -> Effect {
    use Effect::{Ends, Live, New, Restart};
    match (title, key) {
        ("[redan]", "shutdown_timeout" | "upgrade_timeout" | "drain_timeout" | "max_memory" | "zone") => Live,
        ("[redan]", "slowlog_threshold" | "big_reply" | "hot_keys" | "trace_sample") => Live,
        ("[redan]", "admin_token_file" | "admin_password_file") => New,
        // The table itself: its settings stand below.
        ("[redan]", "log") | ("[redan] log", "level") => Live,
        ("[redan]" | "[redan] log", _) => Restart,
        ("[[listener]]", "name" | "group" | "tls" | "auth") => Ends,
        ("[[listener]]", "bind" | "mode" | "max_clients" | "max_clients_per_source" | "tcp_keepalive") => New,
        ("[[listener]]" | "[[listener]] output_limit", _) => Live,
        ("[[listener]] tls", "client_ca" | "client_crl" | "client_auth") => Live,
        ("[[listener]] tls" | "[[listener]] tls certificates", _) => New,
        ("[[group]]", "name") => Ends,
        ("[[group]]" | "[[group]] sentinel" | "[[group]] nodes", "user" | "password_file" | "password_env") => New,
        ("[[group]]" | "[[group]] sentinel" | "[[group]] nodes", "tls" | "server_name") | ("[[group]] tls", _) => New,
        ("[[group]]" | "[[group]] sentinel" | "[[group]] nodes", _) => Live,
        ("[[link]]", "name" | "mode") => Ends,
        ("[[link]]", "identity" | "peers" | "peers_file" | "tls") | ("[[link]] tls", _) => Live,
        ("[[link]]", _) => New,
        ("[[user]]", "passwords" | "certificates" | "enabled") => New,
        ("[[user]]", "name" | "allow" | "deny") => Live,
        // The names of sections.
        _ => Live,
    }
}
