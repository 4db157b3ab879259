//! Every setting as the operator sees it while Redan runs: its value, where that comes from, and whom a change of it reaches.
//!
//! The values are those that stand in the file, word for word. Defaults are those of docs/configuration.md, which tests hold
//! this list to. Passwords are in neither.

use std::fmt;

use serde::Serialize;
use toml::de::{DeTable, DeValue};

use super::effect::{self, Effect};
use super::report::Source;

/// One setting.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Setting {
    /// Where it stands: `redan`, `listener app`, `group main`, `link dc2`.
    pub(crate) section: String,
    pub(crate) name: &'static str,
    pub(crate) value: String,
    /// The line of the file; `None`: it is a default.
    pub(crate) line: Option<usize>,
    /// Whom another value reaches when the configuration is read again.
    pub(crate) reload: Effect,
}

/// All of them, in the order of the file's sections. Two configurations that say the same are not told apart by it.
#[derive(Clone, Default)]
pub(crate) struct Settings(pub(crate) Vec<Setting>);

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Name and default.
type Known = (&'static str, &'static str);

pub(super) const REDAN: &[Known] = &[
    ("workers", "one a core, at most 4"),
    ("admin", "not served"),
    ("admin_socket", "found by itself"),
    ("admin_password_file", "none"),
    ("admin_token_file", "none"),
    ("log", "text, info"),
    ("max_memory", "a quarter"),
    ("slowlog_threshold", "10ms"),
    ("big_reply", "1mb"),
    ("hot_keys", "off"),
    ("trace_sample", "0"),
    ("trace_export", "the log"),
    ("zone", "nowhere in particular"),
    ("user", "stays who it is"),
    ("sandbox", "off"),
    ("shutdown_timeout", "10s"),
    ("upgrade_timeout", "30s"),
    ("drain_timeout", "60s"),
];

pub(super) const LISTENER: &[Known] = &[
    ("name", "required"),
    ("bind", "required"),
    ("mode", "0700"),
    ("group", "the only group"),
    ("tls", "plaintext"),
    ("plaintext", "deny"),
    ("users", "nobody logs in"),
    ("auth", "see users"),
    ("authentication", "see right"),
    ("reads", "replica"),
    ("consistency", "session"),
    ("max_lag", "however far"),
    ("max_lag_bytes", "however far"),
    ("master_reads_limit", "as many as come"),
    ("hold", "10s"),
    ("hold_sessions", "all clients"),
    ("hold_bytes", "max_memory"),
    ("in_doubt", "error"),
    ("retry", "reads"),
    ("durable", "0"),
    ("durable_timeout", "1s"),
    ("admin_commands", "deny"),
    ("allow", "everything"),
    ("deny", "nothing"),
    ("max_clients", "10000"),
    ("max_clients_per_source", "no limit"),
    ("idle_timeout", "0s"),
    ("output_limit", "see below"),
    ("tcp_keepalive", "5m"),
];

pub(super) const GROUP: &[Known] = &[
    ("name", "required"),
    ("nodes", "required without sentinel"),
    ("user", "default"),
    ("password_file", "no password"),
    ("password_env", "no password"),
    ("tls", "plaintext"),
    ("sentinel", "none"),
    ("map", "none"),
    ("probe_interval", "500ms"),
    ("probe_timeout", "1s"),
    ("connect_timeout", "2s"),
    ("hedge", "never"),
    ("read_timeout", "1s"),
    ("failover", "off"),
    ("down_after", "5s"),
    ("fence", "false"),
    ("fence_after", "5s"),
    ("min_replicas", "1"),
];

pub(super) const LINK: &[Known] = &[
    ("name", "required"),
    ("entry", "this or exit"),
    ("exit", "this or entry"),
    ("to", "required"),
    ("service", "main"),
    ("services", "to"),
    ("announce", "as it says"),
    ("commands", "all"),
    ("identity", "required"),
    ("peers", "this or peers_file"),
    ("peers_file", "this or peers"),
    ("mode", "link"),
    ("tls", "keys"),
    ("resume", "30s"),
    ("replay", "8mb"),
    ("connect_timeout", "5s"),
    ("max_connections", "1000"),
    ("empty_master", "refuse; exit: allow"),
    ("empty_below", "1"),
    ("full_syncs", "no limit"),
    ("rdb_rate", "no limit"),
    ("permissions", "0700"),
    ("plaintext", "deny"),
    ("compression", "off"),
];

/// Every setting of the file, and what holds where it says nothing. `text` is the file.
pub(super) fn list(source: &Source<'_>, file: &DeTable<'_>, text: &str) -> Settings {
    let mut settings = Vec::new();
    let said = (source, text);
    let empty = DeTable::new();
    let process = file.get("redan").and_then(|redan| redan.get_ref().as_table()).unwrap_or(&empty);
    of_table(("redan".to_owned(), "[redan]"), process, REDAN, said, &mut settings);
    for (kind, known) in [("listener", LISTENER), ("group", GROUP), ("link", LINK)] {
        let tables = file.get(kind).and_then(|list| list.get_ref().as_array());
        for table in tables.into_iter().flat_map(|list| list.iter()).filter_map(|table| table.get_ref().as_table()) {
            let name = table.get("name").and_then(|name| name.get_ref().as_str()).unwrap_or_default();
            of_table((format!("{kind} {name}"), &format!("[[{kind}]]")), table, known, said, &mut settings);
        }
    }
    Settings(settings)
}

fn of_table(
    (section, title): (String, &str),
    table: &DeTable<'_>,
    known: &[Known],
    (source, text): (&Source<'_>, &str),
    settings: &mut Vec<Setting>,
) {
    for &(name, default) in known {
        let stands = table.get_key_value(name);
        let value = stands.map_or_else(|| default.to_owned(), |(_, value)| word_for_word(value, text));
        let line = stands.map(|(key, _)| source.line(key.span().start));
        let reload = effect::of(title, name);
        settings.push(Setting { section: section.clone(), name, value, line, reload });
    }
}

/// On one line, without comments' lines that a long list may have.
fn word_for_word(value: &toml::Spanned<DeValue<'_>>, text: &str) -> String {
    if let Some(text) = value.get_ref().as_str() {
        return text.to_owned();
    }
    let stands = text.get(value.span()).unwrap_or_default();
    let lines = stands.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect::<Vec<_>>().join(" ")
}
