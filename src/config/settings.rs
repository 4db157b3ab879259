//! Every setting as the operator sees it while Redan runs: its value, where that comes from, and what makes a change of it hold.
//!
//! The values are those that stand in the file, word for word. Defaults are those of docs/configuration.md, which tests hold
//! this list to. Passwords are in neither.

use std::fmt;

use serde::Serialize;
use toml::de::{DeTable, DeValue};

/// One setting.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Setting {
    /// Where it stands: `redan`, `listener app`, `group main`, `link dc2`.
    pub(crate) section: String,
    pub(crate) name: &'static str,
    pub(crate) value: String,
    /// The line of the file; `None`: it is a default.
    pub(crate) line: Option<usize>,
    pub(crate) change: Change,
}

/// All of them, in the order of the file's sections. Two configurations that say the same are not told apart by it.
#[derive(Clone, Default)]
pub(crate) struct Settings(pub(crate) Vec<Setting>);

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// What a change of a setting needs to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Change {
    Restart,
    /// What stands in the files that it names is used as soon as it changes.
    Contents,
    /// REDAN LOG LEVEL, or REDAN HOTKEYS, changes it until the next start.
    Order,
}

use Change::{Contents, Order, Restart};

/// Name, default, and what a change needs.
type Known = (&'static str, &'static str, Change);

pub(super) const REDAN: &[Known] = &[
    ("workers", "one a core, at most 4", Restart),
    ("admin", "not served", Restart),
    ("admin_socket", "found by itself", Restart),
    ("admin_password_file", "none", Restart),
    ("admin_token_file", "none", Restart),
    ("log", "text, info", Order),
    ("max_memory", "a quarter", Restart),
    ("slowlog_threshold", "10ms", Restart),
    ("big_reply", "1mb", Restart),
    ("hot_keys", "off", Order),
    ("trace_sample", "0", Restart),
    ("trace_export", "the log", Restart),
    ("zone", "nowhere in particular", Restart),
    ("user", "stays who it is", Restart),
    ("sandbox", "off", Restart),
    ("shutdown_timeout", "10s", Restart),
    ("upgrade_timeout", "30s", Restart),
    ("drain_timeout", "60s", Restart),
];

pub(super) const LISTENER: &[Known] = &[
    ("name", "required", Restart),
    ("bind", "required", Restart),
    ("mode", "0700", Restart),
    ("group", "the only group", Restart),
    ("tls", "plaintext", Contents),
    ("plaintext", "deny", Restart),
    ("users", "nobody logs in", Restart),
    ("auth", "see users", Restart),
    ("authentication", "see right", Restart),
    ("reads", "replica", Restart),
    ("consistency", "session", Restart),
    ("max_lag", "however far", Restart),
    ("max_lag_bytes", "however far", Restart),
    ("master_reads_limit", "as many as come", Restart),
    ("hold", "10s", Restart),
    ("hold_sessions", "all clients", Restart),
    ("hold_bytes", "max_memory", Restart),
    ("in_doubt", "error", Restart),
    ("retry", "reads", Restart),
    ("durable", "0", Restart),
    ("durable_timeout", "1s", Restart),
    ("admin_commands", "deny", Restart),
    ("allow", "everything", Restart),
    ("deny", "nothing", Restart),
    ("max_clients", "10000", Restart),
    ("max_clients_per_source", "no limit", Restart),
    ("idle_timeout", "0s", Restart),
    ("output_limit", "see below", Restart),
    ("tcp_keepalive", "5m", Restart),
];

pub(super) const GROUP: &[Known] = &[
    ("name", "required", Restart),
    ("nodes", "required without sentinel", Restart),
    ("user", "default", Restart),
    ("password_file", "no password", Restart),
    ("password_env", "no password", Restart),
    ("tls", "plaintext", Contents),
    ("sentinel", "none", Restart),
    ("map", "none", Restart),
    ("probe_interval", "500ms", Restart),
    ("probe_timeout", "1s", Restart),
    ("connect_timeout", "2s", Restart),
    ("hedge", "never", Restart),
    ("read_timeout", "1s", Restart),
    ("failover", "off", Restart),
    ("down_after", "5s", Restart),
    ("fence", "false", Restart),
    ("fence_after", "5s", Restart),
    ("min_replicas", "1", Restart),
];

pub(super) const LINK: &[Known] = &[
    ("name", "required", Restart),
    ("entry", "this or exit", Restart),
    ("exit", "this or entry", Restart),
    ("to", "required", Restart),
    ("service", "main", Restart),
    ("services", "to", Restart),
    ("announce", "as it says", Restart),
    ("commands", "all", Restart),
    ("identity", "required", Contents),
    ("peers", "this or peers_file", Restart),
    ("peers_file", "this or peers", Contents),
    ("mode", "link", Restart),
    ("tls", "keys", Contents),
    ("resume", "30s", Restart),
    ("replay", "8mb", Restart),
    ("connect_timeout", "5s", Restart),
    ("max_connections", "1000", Restart),
    ("empty_master", "refuse; exit: allow", Restart),
    ("empty_below", "1", Restart),
    ("full_syncs", "no limit", Restart),
    ("rdb_rate", "no limit", Restart),
    ("permissions", "0700", Restart),
    ("plaintext", "deny", Restart),
    ("compression", "off", Restart),
];

/// Every setting of the file, and what holds where it says nothing. `text` is the file.
pub(super) fn list(file: &DeTable<'_>, text: &str) -> Settings {
    let mut settings = Vec::new();
    let empty = DeTable::new();
    let process = file.get("redan").and_then(|redan| redan.get_ref().as_table()).unwrap_or(&empty);
    of_table("redan".to_owned(), process, REDAN, text, &mut settings);
    for (kind, known) in [("listener", LISTENER), ("group", GROUP), ("link", LINK)] {
        let tables = file.get(kind).and_then(|list| list.get_ref().as_array());
        for table in tables.into_iter().flat_map(|list| list.iter()).filter_map(|table| table.get_ref().as_table()) {
            let name = table.get("name").and_then(|name| name.get_ref().as_str()).unwrap_or_default();
            of_table(format!("{kind} {name}"), table, known, text, &mut settings);
        }
    }
    Settings(settings)
}

fn of_table(section: String, table: &DeTable<'_>, known: &[Known], text: &str, settings: &mut Vec<Setting>) {
    for &(name, default, change) in known {
        let stands = table.get_key_value(name);
        let value = stands.map_or_else(|| default.to_owned(), |(_, value)| word_for_word(value, text));
        let line = stands.map(|(key, _)| text[..key.span().start.min(text.len())].matches('\n').count() + 1);
        settings.push(Setting { section: section.clone(), name, value, line, change });
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
