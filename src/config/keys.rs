//! The names of all settings, by the section they stand in.
//!
//! The one list of them: [`super::section`] refuses what is not in it, the documents are held to it by tests, and
//! a debug build asserts that the readers ask for exactly these. Nothing else may list settings.

/// One kind of table in a configuration file.
#[derive(Debug)]
pub(super) struct Kind {
    /// As an operator would write it.
    pub(super) title: &'static str,
    /// The settings it knows; at most 64, because a debug build marks each asked one in a bit of a u64.
    pub(super) keys: &'static [&'static str],
    /// Names one might try, with what to say instead of "unknown".
    pub(super) refused: &'static [(&'static str, &'static str)],
}

const NO_PASSWORD_HERE: &str = "a password does not belong in this file, which is copied, committed and shown; \
     put it into a file of its own and name that with `password_file`, or into an environment variable and name \
     that with `password_env`";

pub(super) static FILE: Kind =
    Kind { title: "the top level", keys: &["redan", "listener", "group", "link"], refused: &[] };

pub(super) static REDAN: Kind = Kind {
    title: "[redan]",
    keys: &[
        "workers",
        "admin",
        "admin_socket",
        "admin_password_file",
        "admin_token_file",
        "log",
        "shutdown_timeout",
        "upgrade_timeout",
        "drain_timeout",
        "max_memory",
        "user",
        "sandbox",
        "zone",
        "slowlog_threshold",
        "big_reply",
        "hot_keys",
        "trace_sample",
        "trace_export",
    ],
    refused: &[],
};

pub(super) static LOG: Kind = Kind { title: "[redan] log", keys: &["format", "level"], refused: &[] };

pub(super) static LISTENER: Kind = Kind {
    title: "[[listener]]",
    keys: &[
        "name",
        "bind",
        "mode",
        "group",
        "tls",
        "plaintext",
        "users",
        "auth",
        "authentication",
        "reads",
        "consistency",
        "max_lag",
        "max_lag_bytes",
        "master_reads_limit",
        "hold",
        "hold_sessions",
        "hold_bytes",
        "in_doubt",
        "retry",
        "durable",
        "durable_timeout",
        "admin_commands",
        "allow",
        "deny",
        "max_clients",
        "max_clients_per_source",
        "idle_timeout",
        "output_limit",
        "tcp_keepalive",
    ],
    refused: &[("password", "a password does not belong in this file; `redan passwd` makes a line for the users file")],
};

pub(super) static LISTENER_TLS: Kind = Kind {
    title: "[[listener]] tls",
    keys: &[
        "cert",
        "key",
        "certificates",
        "min_version",
        "handshake_timeout",
        "client_ca",
        "client_crl",
        "client_auth",
        "user",
    ],
    refused: &[],
};

pub(super) static CERTIFICATE: Kind =
    Kind { title: "[[listener]] tls certificates", keys: &["cert", "key"], refused: &[] };

pub(super) static OUTPUT_LIMIT: Kind = Kind {
    title: "[[listener]] output_limit",
    keys: &["normal", "normal_soft", "normal_soft_for", "pubsub", "pubsub_soft", "pubsub_soft_for"],
    refused: &[],
};

pub(super) static GROUP: Kind = Kind {
    title: "[[group]]",
    keys: &[
        "name",
        "nodes",
        "user",
        "password_file",
        "password_env",
        "tls",
        "sentinel",
        "map",
        "probe_interval",
        "probe_timeout",
        "connect_timeout",
        "read_timeout",
        "hedge",
        "failover",
        "down_after",
        "fence",
        "fence_after",
        "min_replicas",
    ],
    refused: &[("password", NO_PASSWORD_HERE)],
};

pub(super) static SENTINEL: Kind = Kind {
    title: "[[group]] sentinel",
    keys: &["master", "addresses", "user", "password_file", "password_env", "tls"],
    refused: &[
        ("password", NO_PASSWORD_HERE),
        ("nodes", "Sentinels stand in `addresses`; the servers in the group's `nodes`"),
        ("quorum", "the quorum is the Sentinels' own (`sentinel monitor`); remove it here"),
    ],
};

pub(super) static NODE: Kind = Kind {
    title: "[[group]] nodes",
    keys: &["address", "user", "password_file", "password_env", "server_name", "tls", "weight", "zone"],
    refused: &[("password", NO_PASSWORD_HERE)],
};

pub(super) static NODE_TLS: Kind = Kind {
    title: "[[group]] tls",
    keys: &["ca", "crl", "pins", "pins_file", "server_name", "cert", "key"],
    refused: &[],
};

pub(super) static LINK: Kind = Kind {
    title: "[[link]]",
    keys: &[
        "name",
        "entry",
        "exit",
        "to",
        "service",
        "services",
        "announce",
        "commands",
        "identity",
        "peers",
        "peers_file",
        "mode",
        "tls",
        "resume",
        "replay",
        "connect_timeout",
        "max_connections",
        "empty_master",
        "empty_below",
        "full_syncs",
        "rdb_rate",
        "permissions",
        "plaintext",
        "compression",
    ],
    refused: &[("key", "the private key of a link is its `identity`; `redan keygen` makes one")],
};

pub(super) static LINK_TLS: Kind =
    Kind { title: "[[link]] tls", keys: &["ca", "crl", "cert", "key", "server_name"], refused: &[] };

pub(super) static USERS_FILE: Kind = Kind { title: "a users file", keys: &["user"], refused: &[] };

pub(super) static USER: Kind = Kind {
    title: "[[user]]",
    keys: &["name", "passwords", "certificates", "enabled", "allow", "deny"],
    refused: &[("password", "the file holds only hashes; `redan passwd` makes one for `passwords = [\"sha256:…\"]`")],
};

/// Every section, for whoever looks for a setting that stands in the wrong one.
pub(super) static SECTIONS: &[&Kind] = &[
    &FILE,
    &REDAN,
    &LOG,
    &LISTENER,
    &LISTENER_TLS,
    &CERTIFICATE,
    &OUTPUT_LIMIT,
    &GROUP,
    &SENTINEL,
    &NODE,
    &NODE_TLS,
    &LINK,
    &LINK_TLS,
    &USERS_FILE,
    &USER,
];

/// The name of `candidates` that was most likely meant by `wrong`, if one is near enough.
pub(super) fn nearest<'a>(wrong: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters wrong is a slip; more is another word.
    let tolerated = (wrong.chars().count() / 3).max(1);
    let near = candidates.map(|candidate| (distance(wrong, candidate), candidate));
    near.filter(|(distance, candidate)| *distance <= tolerated && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be inserted, removed, replaced or swapped with their neighbour to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let [a, b] = [a, b].map(|word| word.chars().collect::<Vec<char>>());
    // `table[i][j]` is the distance between the first i letters of `a` and the first j of `b`.
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            if i == 0 || j == 0 {
                table[i][j] = i + j;
                continue;
            }
            let replaced = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(table[i - 2][j - 2] + 1);
            }
            table[i][j] = least;
        }
    }
    table[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("hold", "hold", 0),
            ("hodl", "hold", 1),
            ("hodl", "mode", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn near_names_are_offered_and_far_ones_are_not() {
        for (wrong, meant) in [
            ("bnid", Some("bind")),
            ("hodl", Some("hold")),
            ("max_client", Some("max_clients")),
            ("consistancy", Some("consistency")),
            ("idle-timeout", Some("idle_timeout")),
            ("zzz", None),
            ("x", None),
            ("compression", None),
        ] {
            assert_eq!(nearest(wrong, LISTENER.keys.iter().copied()), meant, "{wrong}");
        }
    }
}
