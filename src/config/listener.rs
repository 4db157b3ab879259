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
    Bind, CertificateField, Consistency, Group, Listener, ListenerTls, Reads, Users, files, keys, output, permissions,
    users, values,
};

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
    let (reads, consistency) = policy(&section);
    let hold = section.duration("hold", Duration::ZERO..=HOUR).unwrap_or(Duration::from_secs(10));
    let allow_admin_commands = section.choice("admin_commands", &[("deny", false), ("allow", true)]).unwrap_or(false);
    let permissions = permissions::read(&section);
    let max_clients = section.integer("max_clients", 1..=1_000_000).unwrap_or(10_000);
    let idle_timeout = section.duration("idle_timeout", Duration::ZERO..=365 * DAY).filter(|limit| !limit.is_zero());
    let output_limit = output::read(&section);
    let tcp_keepalive = tcp_keepalive(&section);

    let open = bind.as_ref().is_some_and(|bind| matches!(bind, Bind::Tcp(address) if !address.ip().is_loopback()));
    exposed_plaintext(&section, open, plaintext);
    exposed_to_anyone(&section, open, authentication);
    if section.has("auth") && section.has("users") {
        section.error(
            "auth",
            "`auth = \"passthrough\"` lets the nodes judge logins and `users` lets Redan; remove one of them",
        );
    }
    if tls.is_some() && matches!(bind, Some(Bind::Unix { .. })) {
        section.error("tls", "TLS on a Unix socket protects nothing that file permissions do not; remove `tls`");
    }
    if let Some(Bind::Unix { mode, .. }) = bind
        && mode & 0o002 != 0
        && !section.has("users")
        && !section.has("auth")
    {
        section.warn("mode", "any user of this machine may connect, without a password; narrow it or add `users`");
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
        hold,
        allow_admin_commands,
        permissions,
        max_clients,
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
    for key in ["cert", "key"].into_iter().filter(|key| !tls.has(key)) {
        tls.error(key, format!("`tls` lacks `{key}`; a TLS listener needs both `cert` and `key` (PEM files)"));
    }
    let [cert, key, client_ca] = ["cert", "key", "client_ca"].map(|key| tls.file(key));
    if key.as_deref().is_some_and(files::readable_by_all) {
        tls.warn("key", "every user of this machine can read this private key; chmod o-r it");
    }
    let may_show_none = tls.choice("client_auth", &[("required", false), ("optional", true)]);
    let user = tls.choice(
        "user",
        &[("cn", CertificateField::CommonName), ("dns", CertificateField::Dns), ("uri", CertificateField::Uri)],
    );
    for key in ["client_auth", "user"].into_iter().filter(|key| tls.has(key) && !tls.has("client_ca")) {
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
    Some(ListenerTls { cert: cert?, key: key?, client_ca, client_may_show_none: may_show_none, user })
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

fn policy(section: &Section<'_>) -> (Reads, Consistency) {
    let reads = section.choice(
        "reads",
        &[("replica", Reads::Replica), ("master", Reads::Master), ("any", Reads::Any), ("nearest", Reads::Nearest)],
    );
    let eventual = Consistency::Eventual { max_lag: None };
    let consistency = section.choice(
        "consistency",
        &[("session", Consistency::Session), ("eventual", eventual), ("strong", Consistency::Strong)],
    );
    let max_lag = section.duration("max_lag", Duration::from_millis(1)..=HOUR);
    let eventual = matches!(consistency, Some(Consistency::Eventual { .. }));
    // An unreadable `consistency` has been reported, and may have been meant as "eventual".
    if section.has("max_lag") && !eventual && (consistency.is_some() || !section.has("consistency")) {
        section.error("max_lag", "`max_lag` has a meaning only with `consistency = \"eventual\"`; remove one of them");
    }
    match (consistency, reads) {
        (Some(Consistency::Strong), Some(reads)) if reads != Reads::Master => {
            section.error(
                "reads",
                "`consistency = \"strong\"` sends every read to the master, `reads` says otherwise; remove one of them",
            );
        }
        (Some(Consistency::Strong), _) => return (Reads::Master, Consistency::Strong),
        (Some(Consistency::Eventual { .. }), Some(Reads::Master)) => {
            section.warn("reads", "with `reads = \"master\"` no read is ever late; `consistency` has no effect");
        }
        _ => {}
    }
    let consistency = match consistency {
        Some(Consistency::Eventual { .. }) => Consistency::Eventual { max_lag },
        other => other.unwrap_or(Consistency::Session),
    };
    (reads.unwrap_or(Reads::Replica), consistency)
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
