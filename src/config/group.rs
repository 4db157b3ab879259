//! `[[group]]`: the nodes of a replication group and how Redan presents itself to them.
//!
//! Secrets are read here, from files or the environment, and nowhere else.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use toml::Spanned;
use toml::de::DeValue;

use super::section::{Section, Text};
use super::{Access, Group, Hedge, Identity, NodeTls, NodeTrust, Secret, Seed, changes, files, keys, sentinel, values};
use crate::limits::LEAST_HEDGE;
use crate::reading::tail::Percentile;
use crate::topology::address::linked;

/// Reads an environment variable; an argument so that tests need not change the process's environment.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Result<String, std::env::VarError>;

/// Faster probes than this cost the nodes more than they tell; slower ones than a minute watch nothing.
const PROBE: std::ops::RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_secs(60);

const LEAST_READ_TIMEOUT: Duration = Duration::from_millis(20);
const HOUR: Duration = Duration::from_secs(3600);

fn hedge(text: &str) -> Result<Hedge, String> {
    let percentiles = [("p90", Percentile::P90), ("p95", Percentile::P95), ("p99", Percentile::P99)];
    if let Some((_, percentile)) = percentiles.into_iter().find(|(name, _)| *name == text) {
        return Ok(Hedge::SlowerThan(percentile));
    }
    let known = || "write \"p90\", \"p95\", \"p99\", or a time of 4ms to 1h".to_owned();
    let after =
        values::duration(text).map_err(|_| format!("\"{text}\" is neither a percentile nor a time; {}", known()))?;
    if !(LEAST_HEDGE..=HOUR).contains(&after) {
        return Err(format!("\"{text}\" is out of range; {}", known()));
    }
    Ok(Hedge::After(after))
}

/// What groups are read with.
pub(super) struct Around<'a> {
    /// The one that Redan runs in.
    pub(super) zone: Option<&'a Arc<str>>,
    pub(super) environment: Environment<'a>,
    /// The names of the links that groups may go through.
    pub(super) entries: &'a [&'a str],
}

impl Around<'_> {
    /// An address where Redan itself connects: `host:port`, or `link:` and the name of a link that begins in this file. Returns
    /// what a certificate might name: the host, or the whole of it.
    pub(super) fn reach(&self, text: &str) -> Result<String, String> {
        let Some(name) = linked(text) else { return values::node_address(text).map(str::to_owned) };
        if self.entries.contains(&name) {
            return Ok(text.to_owned());
        }
        let known: Vec<String> = self.entries.iter().map(|entry| format!("\"link:{entry}\"")).collect();
        let advice = match known.is_empty() {
            true => "add a [[link]] with an `entry`".to_owned(),
            false => format!("write {}", known.join(" or ")),
        };
        Err(format!("no [[link]] with an `entry` is called \"{name}\"; {advice}"))
    }
}

pub(super) fn read(section: Section<'_>, around: &Around<'_>) -> Option<Group> {
    let environment = around.environment;
    let name = section.required("name", "\"main\"");
    let name = name.filter(|name| section.parse("name", *name, values::name).is_some());
    let tls = tls(&section);
    let (user, password) = credentials(&section, environment);
    let access = Arc::new(Access { user, password, tls });
    let [probe_interval, probe_timeout, connect_timeout] =
        [("probe_interval", 500), ("probe_timeout", 1000), ("connect_timeout", 2000)]
            .map(|(key, default_ms)| section.duration(key, PROBE).unwrap_or_else(|| Duration::from_millis(default_ms)));
    let read_timeout = section.duration("read_timeout", Duration::ZERO..=HOUR).unwrap_or(Duration::from_secs(1));
    if !read_timeout.is_zero() && read_timeout < LEAST_READ_TIMEOUT {
        section
            .error("read_timeout", "`read_timeout` is at least 20ms, which a healthy node may take; 0s waits for ever");
    }

    let hedge = section.parsed("hedge", hedge);
    if matches!(hedge, Some(Hedge::After(after)) if !read_timeout.is_zero() && after >= read_timeout) {
        section.error("hedge", "after `read_timeout` a read is asked elsewhere anyway; make `hedge` shorter");
    }

    let mut seeds: Vec<Seed> = Vec::new();
    let mut known = HashSet::new();
    let nodes = match section.has("sentinel") {
        // The Sentinels name them.
        true => section.possible_list("nodes", "[\"10.0.0.1:6379\"]"),
        false => section.list("nodes", "[\"10.0.0.1:6379\"]").unwrap_or_default(),
    };
    for value in nodes {
        let seed = seed(&section, value, &access, around);
        if seed.as_ref().is_some_and(|seed| !known.insert(Arc::clone(&seed.address))) {
            section.source().error(value.span().start, "this node stands in the list twice; remove one of them");
        }
        seeds.extend(seed);
    }
    readable_password(&section, &seeds);
    let (failover, fence) = (changes::failover(&section), changes::fence(&section));
    let map = sentinel::map(&section, &access, around);
    let sentinel = match section.section("sentinel", &keys::SENTINEL) {
        Some(inner) => Some(sentinel::read(inner, around)?),
        None if section.has("sentinel") => return None,
        None => None,
    };
    if failover.is_some() && sentinel.is_some() {
        section.error("failover", "Sentinels replace a lost master themselves; remove `failover`, or `sentinel`");
    }
    section.close();
    let read_timeout = Some(read_timeout).filter(|timeout| !timeout.is_zero());
    Some(Group {
        name: name?.text.to_owned(),
        seeds,
        access,
        sentinel,
        map,
        probe_interval,
        probe_timeout,
        connect_timeout,
        read_timeout,
        hedge,
        zone: around.zone.cloned(),
        failover,
        fence,
    })
}

impl Seed {
    /// What is sent to it leaves this machine in plaintext.
    pub(super) fn is_readable_on_the_way(&self) -> bool {
        is_readable_on_the_way(&self.address, &self.access)
    }
}

pub(super) fn is_readable_on_the_way(address: &str, access: &Access) -> bool {
    if linked(address).is_some() {
        return false;
    }
    let host = address.rsplit_once(':').map_or("", |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    !local && access.tls.is_none()
}

/// A password on its way to another machine in plaintext is common inside a private network, so it is not
/// refused, but nobody should learn of it from an intruder.
fn readable_password(section: &Section<'_>, seeds: &[Seed]) {
    let exposed = seeds.iter().find(|seed| seed.is_readable_on_the_way() && seed.access.password.is_some());
    if let Some(seed) = exposed {
        section
            .warn("nodes", format!("the password for {} crosses the network unencrypted; prefer `tls`", seed.address));
    }
}

fn seed(group: &Section<'_>, value: &Spanned<DeValue<'_>>, access: &Arc<Access>, around: &Around<'_>) -> Option<Seed> {
    let at = value.span().start;
    match value.get_ref() {
        DeValue::String(text) => {
            let host = group.parse("nodes", Text { text, at }, |text| around.reach(text))?;
            verifiable(group, at, &host, access.tls.as_ref());
            Some(Seed::new(text.as_ref().into(), Arc::clone(access)))
        }
        DeValue::Table(table) => node(Section::open(group.source(), &keys::NODE, table, at), at, access, around),
        other => {
            let found = other.type_str();
            let wanted = "write \"host:port\" or { address = \"host:port\", … }";
            group.source().error(at, format!("a node is of type {found}; {wanted}"));
            None
        }
    }
}

/// A node with settings of its own. What it does not say it takes from the group; user and password go together.
fn node(section: Section<'_>, at: usize, group: &Access, around: &Around<'_>) -> Option<Seed> {
    let address = section.required("address", "\"10.0.0.1:6379\"");
    let host = address.and_then(|address| section.parse("address", address, |text| around.reach(text)));
    let own = ["user", "password_file", "password_env"].iter().any(|key| section.has(key));
    let (user, password) = credentials(&section, around.environment);
    let (user, password) = if own { (user, password) } else { (group.user.clone(), group.password.clone()) };
    let own_tls = tls(&section);
    let mut tls = own_tls.or_else(|| group.tls.clone());
    let server_name = section.parsed("server_name", server_name);
    if section.has("server_name") && section.table_has("tls", "server_name") {
        section.error("server_name", "`server_name` stands in the node and in its `tls`; remove one of them");
    }
    match &mut tls {
        Some(tls) => tls.server_name = server_name.or_else(|| tls.server_name.take()),
        // An unreadable `tls` has been reported; the node would have had one.
        None if section.has("server_name") && !section.has("tls") => {
            section.error("server_name", "`server_name` has a meaning only with `tls`; remove it or add `tls`");
        }
        None => {}
    }
    if let Some(host) = &host {
        verifiable(&section, at, host, tls.as_ref());
    }
    let weight = section.integer("weight", 0..=100).and_then(|weight| u32::try_from(weight).ok());
    let zone = section.parsed("zone", values::zone);
    section.close();
    host?;
    let seed = Seed::new(address?.text.into(), Arc::new(Access { user, password, tls }));
    Some(Seed { weight: weight.unwrap_or(seed.weight), zone, ..seed })
}

/// Without `server_name`, the certificate must name the host of the address, so the host must be such a name.
pub(super) fn verifiable(section: &Section<'_>, at: usize, host: &str, tls: Option<&NodeTls>) {
    let by_host = tls.is_some_and(|tls| tls.server_name.is_none() && matches!(tls.trust, NodeTrust::Ca { .. }));
    if by_host && server_name(host).is_err() {
        section.source().error(at, format!("no certificate can name the host \"{host}\"; say `server_name` in `tls`"));
    }
}

fn server_name(text: &str) -> Result<String, String> {
    let wrong = || format!("\"{text}\" is neither a DNS name nor an IP address; write what the certificate names");
    ServerName::try_from(text.to_owned()).map(|_| text.to_owned()).map_err(|_| wrong())
}

pub(super) fn tls(section: &Section<'_>) -> Option<NodeTls> {
    let tls = section.section("tls", &keys::NODE_TLS)?;
    let trust = trust(&tls);
    let server_name = tls.parsed("server_name", server_name);
    for (given, missing) in [("cert", "key"), ("key", "cert")] {
        if tls.has(given) && !tls.has(missing) {
            tls.error(given, format!("`tls` has `{given}` without `{missing}`; add it, or remove `{given}`"));
        }
    }
    let (cert, key) = (tls.file("cert"), tls.file("key"));
    if key.as_deref().is_some_and(files::readable_by_all) {
        tls.warn("key", "every user of this machine can read this private key; chmod o-r it");
    }
    tls.close();
    let identity = cert.zip(key).map(|(cert, key)| Identity { cert, key });
    Some(NodeTls { trust: trust?, server_name, identity })
}

fn trust(tls: &Section<'_>) -> Option<NodeTrust> {
    let (ca, crl) = (tls.file("ca"), tls.files("crl"));
    let pins = tls.texts("pins", "[\"sha256:…\"]", values::pin);
    let file = tls.file("pins_file");
    let pinned = ["pins", "pins_file"].into_iter().find(|key| tls.has(key));
    match (tls.has("ca"), pinned) {
        (true, Some(key)) => {
            tls.error(key, format!("`{key}` stands beside `ca`; a node is trusted by one of them, remove the other"));
            None
        }
        (true, None) => Some(NodeTrust::Ca { ca: ca?, crl }),
        (false, Some(_)) => {
            for key in ["crl", "server_name"].into_iter().filter(|key| tls.has(key)) {
                tls.error(key, format!("with pins the key alone counts and `{key}` has no meaning; remove it"));
            }
            // A file that cannot be read has been reported.
            (tls.has("pins_file") == file.is_some()).then_some(NodeTrust::Pins { pins, file })
        }
        (false, None) => {
            let advice = "name the PEM file of the CA that signed the nodes' certificates, or, without a CA, `pins`";
            tls.error("ca", format!("`tls` lacks `ca`; {advice}"));
            None
        }
    }
}

pub(super) fn credentials(section: &Section<'_>, environment: Environment<'_>) -> (Option<String>, Option<Secret>) {
    let user = section.parsed("user", |text| {
        let plain = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
        plain.then(|| text.to_owned()).ok_or_else(|| "a user's name has at least one letter and no spaces".to_owned())
    });
    let file = section.parsed("password_file", |text| {
        let path = section.source().resolve(text);
        files::secret(&path).map(|secret| (path, secret))
    });
    let variable = section.parsed("password_env", |name| match environment(name) {
        Ok(value) if value.contains(['\n', '\r', '\0']) => Err(format!("variable {name} has more than one line")),
        Ok(value) if !value.is_empty() => Ok(Secret::new(&value)),
        Ok(_) => Err(format!("environment variable {name} is empty; set it to the password")),
        Err(std::env::VarError::NotPresent) => Err(format!("environment variable {name} is not set; set it")),
        Err(std::env::VarError::NotUnicode(_)) => Err(format!("environment variable {name} is not UTF-8")),
    });
    if section.has("password_file") && section.has("password_env") {
        section.error("password_env", "both `password_file` and `password_env` are given; remove one of them");
    }
    if section.has("user") && !section.has("password_file") && !section.has("password_env") {
        section.error("user", "`user` without a password; add `password_file` or `password_env`, or remove it");
    }
    if let Some((path, _)) = &file
        && files::readable_by_all(path)
    {
        section.warn("password_file", "every user of this machine can read this password; chmod o-r it");
    }
    (user, file.map(|(_, secret)| secret).or(variable))
}
