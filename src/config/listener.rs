//! `[[listener]]`: where clients connect, who may, and which policy applies.
//!
//! Every setting is read before anything is judged, so that one mistake hides no other; then come the rules
//! that join settings, one function each.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::report::Source;
use super::section::{Section, Text};
use super::{
    Bind, CertificateField, Consistency, Group, Identity, Listener, ListenerTls, Reads, Users, files, keys, output,
    permissions, users, values, writes,
};
use crate::reading::lag::LagLimit;

/// 1 TiB: more is no limit.
const MOST_LAG: u64 = 1 << 40;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86400);

/// The longest path the kernel binds: `sockaddr_un.sun_path` has 108 bytes, one is for the NUL.
const UNIX_PATH: usize = 107;

/// Users files by path: several listeners may share one, which is then read, and found wrong, once.
pub(super) type UsersFiles = HashMap<PathBuf, Arc<Users>>;

/// What a listener says of clients that prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Authentication {
    Required,
    None,
}

/// The groups of the same file, in its order; `None` for what is not readable.
pub(super) struct Groups<'a> {
    pub(super) names: Vec<Option<&'a str>>,
    pub(super) groups: &'a [Option<Group>],
    /// `[redan]` says which zone this is.
    pub(super) has_zone: bool,
}

pub(super) fn read(section: Section<'_>, known: &Groups<'_>, users_files: &mut UsersFiles) -> Option<Listener> {
    let name = section.required("name", "\"app\"");
    let name = name.filter(|name| section.parse("name", *name, values::name).is_some());
    let bind = bind(&section);
    let group = group(&section, &known.names);
    let tls = tls(&section);
    let users = users_file(&section, users_files);
    let passthrough = section.choice("auth", &[("passthrough", true)]).unwrap_or(false);
    if passthrough && let Some(group) = group.and_then(|index| known.groups.get(index)?.as_ref()) {
        readable_logins(&section, group);
    }
    let plaintext = section.choice("plaintext", &[("deny", false), ("allow", true)]);
    let authentication =
        section.choice("authentication", &[("required", Authentication::Required), ("none", Authentication::None)]);
    let (reads, consistency) = policy(&section, known.has_zone);
    let max_lag = max_lag(&section, reads);
    let master_reads_limit = master_reads_limit(&section, reads);
    let hold = section.duration("hold", Duration::ZERO..=HOUR).unwrap_or(Duration::from_secs(10));
    let hold_budget = writes::hold_budget(&section);
    let writes = writes::read(&section);
    let allow_admin_commands = section.choice("admin_commands", &[("deny", false), ("allow", true)]).unwrap_or(false);
    let permissions = permissions::read(&section);
    let max_clients = section.integer("max_clients", 1..=1_000_000).unwrap_or(10_000);
    let max_clients_per_source = section.integer("max_clients_per_source", 1..=1_000_000);
    let idle_timeout = section.duration("idle_timeout", Duration::ZERO..=365 * DAY).filter(|limit| !limit.is_zero());
    let output_limit = output::read(&section);
    let tcp_keepalive = tcp_keepalive(&section);

    let open = bind.as_ref().is_some_and(|bind| matches!(bind, Bind::Tcp(address) if !address.ip().is_loopback()));
    exposed_plaintext(&section, open, plaintext);
    exposed_to_anyone(&section, open, authentication);
    judged_twice(&section);
    if let Some(Bind::Unix { mode, .. }) = &bind {
        unix_socket(&section, *mode, tls.is_some());
    }
    section.close();
    Some(Listener {
        name: name?.text.to_owned(),
        bind: bind?,
        group: group?,
        tls,
        users,
        passthrough,
        reads,
        consistency,
        max_lag,
        master_reads_limit,
        hold,
        hold_budget,
        writes,
        allow_admin_commands,
        permissions,
        max_clients,
        max_clients_per_source,
        idle_timeout,
        output_limit,
        tcp_keepalive,
    })
}

fn bind(section: &Section<'_>) -> Option<Bind> {
    let mode = section.parsed("mode", values::permissions);
    let bind = section.required("bind", "\"127.0.0.1:6380\"")?;
    if section.has("mode") && !bind.text.starts_with("unix:") {
        section.error("mode", "`mode` is for Unix sockets; remove it, or bind to \"unix:/path\"");
    }
    bind_to(section, "bind", bind, mode)
}

/// The address that stands under `key`. `mode` is that of a Unix socket.
pub(super) fn bind_to(section: &Section<'_>, key: &str, bind: Text<'_>, mode: Option<u32>) -> Option<Bind> {
    let Some(path) = bind.text.strip_prefix("unix:") else {
        return section.parse(key, bind, values::listen_address).map(Bind::Tcp);
    };
    let resolved = section.source().resolve(path);
    let length = resolved.as_os_str().len();
    if path.is_empty() || length > UNIX_PATH {
        section.error(key, format!("a socket's path has 1 to {UNIX_PATH} bytes, this one {length}; change it"));
        return None;
    }
    // 0700: only the user that Redan runs as. Whoever needs more says so.
    Some(Bind::Unix { path: resolved, mode: mode.unwrap_or(0o700) })
}

/// Redis's default is 300 s.
fn tcp_keepalive(section: &Section<'_>) -> Option<Duration> {
    let after = section.duration("tcp_keepalive", Duration::ZERO..=HOUR).unwrap_or(Duration::from_secs(300));
    if !after.is_zero() && after < Duration::from_secs(1) {
        section
            .error("tcp_keepalive", "`tcp_keepalive` is at least 1s, which is the least that systems know; 0s never");
    }
    Some(after).filter(|after| !after.is_zero())
}

/// The index of the group. A listener need not name the only one.
fn group(section: &Section<'_>, groups: &[Option<&str>]) -> Option<usize> {
    let known = || {
        let quoted: Vec<_> = groups.iter().flatten().map(|name| format!("\"{name}\"")).collect();
        quoted.join(" or ")
    };
    match section.text("group") {
        Some(wanted) => {
            let index = groups.iter().position(|name| *name == Some(wanted.text));
            if index.is_none() && !groups.is_empty() {
                let meant = keys::nearest(wanted.text, groups.iter().flatten().copied());
                let advice = meant.map_or_else(
                    || format!("write {}", if known().is_empty() { "the `name` of one".into() } else { known() }),
                    |meant| format!("did you mean \"{meant}\"?"),
                );
                section.error("group", format!("no [[group]] is named \"{}\"; {advice}", wanted.text));
            }
            index
        }
        None if section.has("group") => None,
        None => {
            if groups.len() > 1 {
                section.error("group", format!("[[listener]] lacks `group`, and there are several; write {}", known()));
            }
            (groups.len() == 1).then_some(0)
        }
    }
}

fn tls(section: &Section<'_>) -> Option<ListenerTls> {
    let tls = section.section("tls", &keys::LISTENER_TLS)?;
    let certificates = certificates(&tls);
    let only_tls13 = tls.choice("min_version", &[("1.2", false), ("1.3", true)]).unwrap_or(false);
    // Three lost packets in a row cost a client 1 + 2 + 4 s of retransmission; whoever needs longer is not coming.
    let handshake_timeout = tls.duration("handshake_timeout", Duration::from_millis(100)..=Duration::from_secs(60));
    let client_ca = tls.file("client_ca");
    let client_crl = tls.files("client_crl");
    let may_show_none = tls.choice("client_auth", &[("required", false), ("optional", true)]);
    let user = tls.choice(
        "user",
        &[("cn", CertificateField::CommonName), ("dns", CertificateField::Dns), ("uri", CertificateField::Uri)],
    );
    for key in ["client_crl", "client_auth", "user"].into_iter().filter(|key| tls.has(key) && !tls.has("client_ca")) {
        tls.error(key, format!("`{key}` is about clients' certificates; name the `client_ca` that signs them"));
    }
    if tls.has("user") && !section.has("users") {
        tls.error("user", "`user` finds one of the listener's users; name a `users` file");
    }
    let may_show_none = may_show_none.unwrap_or(false);
    if may_show_none && !section.has("users") && !section.has("auth") {
        tls.error(
            "client_auth",
            "who shows no certificate would be let in like who shows one; remove it, or name a `users` file",
        );
    }
    tls.close();
    Some(ListenerTls {
        certificates: certificates?,
        only_tls13,
        handshake_timeout: handshake_timeout.unwrap_or(Duration::from_secs(10)),
        client_ca,
        client_crl,
        client_may_show_none: may_show_none,
        user,
    })
}

/// One certificate for everybody, or several of which clients choose by the name they dial.
fn certificates(tls: &Section<'_>) -> Option<Vec<Identity>> {
    let several = tls.tables("certificates", &keys::CERTIFICATE, "[{ cert = \"certs/a.pem\", key = \"certs/a.key\" }]");
    let own = identity(tls, !tls.has("certificates"));
    let identities: Vec<Option<Identity>> = several
        .into_iter()
        .map(|section| {
            let found = identity(&section, true);
            section.close();
            found
        })
        .collect();
    if !tls.has("certificates") {
        return own.map(|own| vec![own]);
    }
    if let Some(key) = ["cert", "key"].into_iter().find(|key| tls.has(key)) {
        tls.error(
            key,
            format!("`{key}` stands beside `certificates`; put it into the list, first if it is the default"),
        );
    }
    let identities: Option<Vec<Identity>> = identities.into_iter().collect();
    identities.filter(|identities| !identities.is_empty())
}

fn identity(section: &Section<'_>, required: bool) -> Option<Identity> {
    for key in ["cert", "key"].into_iter().filter(|key| required && !section.has(key)) {
        section.error(key, format!("`tls` lacks `{key}`; a TLS listener needs both `cert` and `key` (PEM files)"));
    }
    let (cert, key) = (section.file("cert"), section.file("key"));
    if key.as_deref().is_some_and(files::readable_by_all) {
        section.warn("key", "every user of this machine can read this private key; chmod o-r it");
    }
    Some(Identity { cert: cert?, key: key? })
}

fn users_file(section: &Section<'_>, users_files: &mut UsersFiles) -> Option<Arc<Users>> {
    let path = section.source().resolve(section.text("users")?.text);
    if let Some(users) = users_files.get(&path) {
        return Some(Arc::clone(users));
    }
    match users::read(&path, Source::findings(section.source())) {
        Ok(users) => Some(Arc::clone(users_files.entry(path).or_insert_with(|| Arc::new(users)))),
        Err(why) => {
            section.error("users", format!("`users`: {why}"));
            None
        }
    }
}

fn policy(section: &Section<'_>, has_zone: bool) -> (Reads, Consistency) {
    let reads = section.choice("reads", &Reads::WORDS);
    if matches!(reads, Some(Reads::Zone | Reads::ZoneAny)) && !has_zone {
        section.error("reads", "nobody says which zone Redan runs in; add `zone` to [redan], or choose another policy");
    }
    let consistency = section.choice("consistency", &Consistency::WORDS);
    match (consistency, reads) {
        (Some(Consistency::Strong), Some(reads)) if reads != Reads::Master => {
            section.error(
                "reads",
                "`consistency = \"strong\"` sends every read to the master, `reads` says otherwise; remove one of them",
            );
        }
        (Some(Consistency::Strong), _) => return (Reads::Master, Consistency::Strong),
        (Some(Consistency::Eventual), Some(Reads::Master)) => {
            section.warn("reads", "with `reads = \"master\"` no read is ever late; `consistency` has no effect");
        }
        _ => {}
    }
    (reads.unwrap_or(Reads::Replica), consistency.unwrap_or(Consistency::Session))
}

/// Of all workers together; each gets its part when their number is known.
fn master_reads_limit(section: &Section<'_>, reads: Reads) -> Option<u64> {
    let limit = section.integer("master_reads_limit", 1..=100_000_000);
    if section.has("master_reads_limit") && !matches!(reads, Reads::Replica | Reads::Zone) {
        section.error(
            "master_reads_limit",
            "`master_reads_limit` is for reads that fall back to the master, and here it serves them anyway; remove it, or \
             choose `reads = \"replica\"` or \"zone\"",
        );
    }
    limit.and_then(|limit| u64::try_from(limit).ok())
}

fn max_lag(section: &Section<'_>, reads: Reads) -> LagLimit {
    let time = section.duration("max_lag", Duration::from_millis(1)..=HOUR);
    let bytes = section.size("max_lag_bytes", 1..=MOST_LAG);
    // Whoever says nothing of either wants the default, which reads from replicas.
    for key in ["max_lag", "max_lag_bytes"] {
        if section.has(key) && reads == Reads::Master {
            section.error(key, format!("every read goes to the master, so `{key}` has no meaning; remove one of them"));
        }
    }
    LagLimit { time, bytes }
}

/// What clients say of themselves goes on to the nodes.
fn readable_logins(section: &Section<'_>, group: &Group) {
    if let Some(seed) = group.seeds.iter().find(|seed| seed.is_readable_on_the_way()) {
        section.warn(
            "auth",
            format!("clients' passwords cross the network to {} unencrypted; prefer `tls` in its group", seed.address),
        );
    }
}

fn judged_twice(section: &Section<'_>) {
    if section.has("auth") && section.has("users") {
        section.error(
            "auth",
            "`auth = \"passthrough\"` lets the nodes judge logins and `users` lets Redan; remove one of them",
        );
    }
}

/// Its permissions are what protects it.
fn unix_socket(section: &Section<'_>, mode: u32, has_tls: bool) {
    if has_tls {
        section.error("tls", "TLS on a Unix socket protects nothing that file permissions do not; remove `tls`");
    }
    if mode & 0o002 != 0 && !section.has("users") && !section.has("auth") {
        section.warn("mode", "any user of this machine may connect, without a password; narrow it or add `users`");
    }
}

/// Plaintext that leaves the machine must be asked for by name.
fn exposed_plaintext(section: &Section<'_>, open: bool, plaintext: Option<bool>) {
    let encrypted = section.has("tls");
    match plaintext {
        Some(true) if encrypted => {
            section.error("plaintext", "`plaintext = \"allow\"` contradicts `tls`; remove one of them");
        }
        Some(true) if open && (section.has("users") || section.has("auth")) => {
            section
                .warn("plaintext", "passwords and data cross the network readable by anyone on the way; prefer `tls`");
        }
        Some(true) => {}
        Some(false) | None if open && !encrypted && (plaintext.is_some() || !section.has("plaintext")) => {
            section.error(
                "bind",
                "this address is reachable from other machines and the listener has no `tls`; add `tls`, bind to \
                 127.0.0.1, or ask for it by name: `plaintext = \"allow\"`",
            );
        }
        Some(false) | None => {}
    }
}

/// So must serving whoever connects.
fn exposed_to_anyone(section: &Section<'_>, open: bool, authentication: Option<Authentication>) {
    let proof = ["users", "auth", "tls"].into_iter().find(|key| match *key {
        "tls" => section.table_has("tls", "client_ca"),
        key => section.has(key),
    });
    match (authentication, proof) {
        (Some(Authentication::None), Some(proof)) => {
            let proof = if proof == "tls" { "client_ca" } else { proof };
            section.error(
                "authentication",
                format!("`authentication = \"none\"` contradicts `{proof}`; remove one of them"),
            );
        }
        (Some(Authentication::Required), None) => {
            let advice = "name a `users` file, set `auth = \"passthrough\"` or, in `tls`, name a `client_ca`";
            section.error("authentication", format!("nothing authenticates clients of this listener; {advice}"));
        }
        (None, None) if open && !section.has("authentication") => {
            section.error(
                "bind",
                "this address is reachable from other machines and anyone may use it; name a `users` file, set \
                 `auth = \"passthrough\"` or, in `tls`, name a `client_ca`, or ask for it by name: `authentication = \"none\"`",
            );
        }
        _ => {}
    }
}
