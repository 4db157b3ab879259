//! `[[link]]`: one end of an encrypted tunnel, where it listens, where it leads, and who may be at the other end.
//!
//! As in `listener`, every setting is read before anything is judged.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::section::{Section, Text};
use super::{Bind, files, keys, listener, values};
use crate::identity::Identity;

const HOUR: Duration = Duration::from_secs(3600);
const MB: u64 = 1024 * 1024;

/// The service of a link that names none.
const SERVICE: &str = "main";

/// In the place of an entry's address: programs cannot connect, groups of the same file can.
pub(super) const INSIDE: &str = "inside";

/// One `[[link]]`.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) name: String,
    /// Where it listens; `None` is an entry that only groups of this process use.
    pub(crate) bind: Option<Bind>,
    pub(crate) end: End,
    pub(crate) trust: Trust,
    /// How long a broken link keeps the connections of both ends; zero closes them at once.
    pub(crate) resume: Duration,
    /// Bytes of one connection and direction that may be on their way.
    pub(crate) replay: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) replicas: Replicas,
    /// How this end compresses what it sends, if the other end compresses too.
    pub(crate) compression: Option<Codec>,
}

/// How blocks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    Lz4,
    Zstd,
}

/// What replicas may do over the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replicas {
    pub(crate) empty_master: EmptyMaster,
    /// A master with fewer keys is empty.
    pub(crate) empty_below: u64,
    /// Full syncs at a time.
    pub(crate) full_syncs: Option<usize>,
    /// Bytes a second of the data of full syncs, all together.
    pub(crate) rdb_rate: Option<u64>,
}

/// What becomes of a replica with data that asks a master without any for a full sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EmptyMaster {
    /// The master is not asked.
    Allow,
    /// It is refused, but let through where the master does not tell whether it is empty.
    Refuse,
    /// It is refused there too.
    RefuseUnsure,
}

impl Link {
    pub(crate) fn is_exit(&self) -> bool {
        matches!(self.end, End::Exit { .. })
    }
}

/// Which commands of programs an exit lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commands {
    All,
    Replication,
    Sentinel,
    ReadOnly,
}

impl Commands {
    const NAMES: [(&str, Self); 4] = [
        ("all", Self::All),
        ("replication", Self::Replication),
        ("sentinel", Self::Sentinel),
        ("read-only", Self::ReadOnly),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, commands)| *commands == self).map_or("", |(name, _)| name)
    }
}

/// Which of the two ends this is.
#[derive(Debug)]
pub(crate) enum End {
    /// Programs of this side connect here.
    Entry { to: String, service: String, announce: Option<Announced> },
    /// Entries connect here; each service is one or several targets on this side, of which the first that can be reached serves.
    Exit { services: BTreeMap<String, Vec<Target>>, commands: Commands },
}

/// What a replica that connects to an entry is called at the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Where an exit takes what came through the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `host:port`.
    Tcp(String),
    Unix(PathBuf),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What is spoken between the ends, and whom this end trusts.
#[derive(Debug)]
pub(crate) enum Trust {
    /// Frames, and connections that outlive the link.
    Link(Pinned),
    /// Plain TLS, as stunnel speaks it, between pinned keys.
    PinnedTls(Pinned),
    /// Plain TLS with certificates.
    CaTls(CaTls),
}

#[derive(Debug)]
pub(crate) struct Pinned {
    /// The private key of this end.
    pub(crate) identity: PathBuf,
    /// Who may be at the other end, those in the file aside.
    pub(crate) peers: Vec<Peer>,
    /// More of them, a line each.
    pub(crate) peers_file: Option<PathBuf>,
}

/// The keys of one peer: two while one replaces the other.
pub(crate) type Peer = Vec<Identity>;

#[derive(Debug)]
pub(crate) struct CaTls {
    pub(crate) ca: PathBuf,
    pub(crate) crl: Vec<PathBuf>,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) server_name: Option<String>,
}

/// `used` tells whether a group reaches something through the link with a name.
pub(super) fn read(section: Section<'_>, used: &dyn Fn(&str) -> bool) -> Option<Link> {
    let name = section.required("name", "\"dc2\"");
    let name = name.filter(|name| section.parse("name", *name, values::name).is_some());
    let (bind, is_entry, inside) = bind(&section);
    let end = if is_entry { entry(&section) } else { exit(&section) };
    let trust = trust(&section);
    let resume = section.duration("resume", Duration::ZERO..=HOUR).unwrap_or(Duration::from_secs(30));
    let replay = section.size("replay", MB..=1024 * MB).filter(|bytes| *bytes > 0).unwrap_or(8 * MB);
    let connect_timeout = section.duration("connect_timeout", Duration::from_millis(20)..=Duration::from_secs(60));
    let max_connections = section.integer("max_connections", 1..=1_000_000).unwrap_or(1000);
    let plaintext = section.choice("plaintext", &[("deny", false), ("allow", true)]).unwrap_or(false);
    let replicas = replicas(&section, is_entry);
    let codecs = [("off", None), ("lz4", Some(Codec::Lz4)), ("zstd", Some(Codec::Zstd))];
    let compression = section.choice("compression", &codecs).unwrap_or(None);
    if compression.is_some() && matches!(trust, Some(Trust::PinnedTls(_) | Trust::CaTls(_))) {
        section.error("compression", "plain TLS has no compression; remove it, or `mode`");
    }
    let open = bind.as_ref().is_some_and(|bind| matches!(bind, Bind::Tcp(address) if !address.ip().is_loopback()));
    if is_entry && open && !plaintext {
        section.error(
            "entry",
            "other machines reach this address, and what they send to it is not encrypted; listen on 127.0.0.1 or a Unix \
             socket, or ask for it by name: `plaintext = \"allow\"`",
        );
    }
    if inside {
        for key in ["plaintext", "permissions", "announce"].into_iter().filter(|key| section.has(key)) {
            section.error(key, format!("no program connects to an entry that is \"{INSIDE}\"; remove `{key}`"));
        }
        if let Some(name) = name.filter(|name| !used(name.text)) {
            let advice = format!("write \"link:{}\" into `nodes` of a group, or an address here", name.text);
            section.warn("entry", format!("nothing can use this link: {advice}"));
        }
    }
    if !is_entry && section.has("plaintext") {
        section.error("plaintext", "`plaintext` is about the local side of an entry; remove it");
    }
    section.close();
    Some(Link {
        name: name?.text.to_owned(),
        bind: if inside { None } else { Some(bind?) },
        end: end?,
        trust: trust?,
        resume,
        replay: usize::try_from(replay).unwrap_or(usize::MAX),
        connect_timeout: connect_timeout.unwrap_or(Duration::from_secs(5)),
        max_connections,
        replicas,
        compression,
    })
}

fn replicas(section: &Section<'_>, is_entry: bool) -> Replicas {
    let words =
        [("refuse", EmptyMaster::Refuse), ("refuse-unsure", EmptyMaster::RefuseUnsure), ("allow", EmptyMaster::Allow)];
    // Once is enough: by custom where the replica is known.
    let usual = if is_entry { EmptyMaster::Refuse } else { EmptyMaster::Allow };
    let empty_master = section.choice("empty_master", &words).unwrap_or(usual);
    let empty_below = section.integer("empty_below", 1..=1_000_000_000).unwrap_or(1);
    if section.has("empty_below") && empty_master == EmptyMaster::Allow {
        section.error("empty_below", "nobody asks how many keys the master has: write `empty_master = \"refuse\"` too");
    }
    let full_syncs = section.integer("full_syncs", 1..=1000);
    let rdb_rate = section.size("rdb_rate", 100 * 1024..=1024 * 1024 * MB).filter(|rate| *rate > 0);
    if section.peek("mode") == Some("tls") {
        for key in ["empty_master", "empty_below", "full_syncs", "rdb_rate"].into_iter().filter(|key| section.has(key))
        {
            section.error(key, format!("`{key}` needs `mode = \"link\"`; plain TLS carries bytes and looks at none"));
        }
    }
    Replicas { empty_master, empty_below: empty_below as u64, full_syncs, rdb_rate }
}

/// Where it listens, whether as an entry, and whether it does not listen at all.
fn bind(section: &Section<'_>) -> (Option<Bind>, bool, bool) {
    match (section.has("entry"), section.has("exit")) {
        (true, true) => section.error("exit", "a [[link]] is an `entry` or an `exit`; make two of this one"),
        (false, false) => section.error(
            "entry",
            "[[link]] lacks `entry` or `exit`; write `entry = \"127.0.0.1:8000\"` where programs connect to it, and \
             `exit = \"0.0.0.0:7443\"` at the other end",
        ),
        _ => {}
    }
    let mode = section.parsed("permissions", values::permissions);
    let [entry, exit] = ["entry", "exit"].map(|key| section.text(key).map(|text| (key, text)));
    let is_entry = !section.has("exit");
    let Some((key, text)) = entry.or(exit) else {
        return (None, is_entry, false);
    };
    if key == "entry" && text.text == INSIDE {
        return (None, is_entry, true);
    }
    let bind = listener::bind_to(section, key, text, mode);
    if section.has("permissions") && !text.text.starts_with("unix:") {
        section.error("permissions", "`permissions` are those of a Unix socket; remove them");
    }
    if key == "exit" && matches!(bind, Some(Bind::Unix { .. })) {
        section.error("exit", "an exit is reached over the network; write an address and a port");
    }
    (bind, is_entry, false)
}

fn entry(section: &Section<'_>) -> Option<End> {
    let to = section.required("to", "\"other-host:7443\"");
    let to = to.filter(|to| section.parse("to", *to, |text| values::node_address(text).map(drop)).is_some());
    let service = section.parsed("service", |text| values::name(text).map(|()| text.to_owned()));
    if section.text("commands").is_some() {
        section.error("commands", "`commands` are let through or refused where the target is; write it at the exit");
    }
    // Asked for so that every key is.
    let services = section.table("services");
    if services.is_some() {
        section.error("services", "an entry leads to one `service`; `services` are those of an exit");
    }
    let announce = section.parsed("announce", |text| {
        let host = values::node_address(text)?.to_owned();
        let port = text.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_default();
        Ok(Announced { host, port })
    });
    let service = service.unwrap_or_else(|| SERVICE.to_owned());
    Some(End::Entry { to: to?.text.to_owned(), service, announce })
}

fn exit(section: &Section<'_>) -> Option<End> {
    let mut targets = BTreeMap::new();
    let to = section.text("to");
    if let Some(target) = to.and_then(|to| target(section, "to", to)) {
        targets.insert(SERVICE.to_owned(), vec![target]);
    }
    if section.text("service").is_some() {
        section.error("service", "an exit has `services`, or one target `to`; `service` is what an entry asks for");
    }
    if section.text("announce").is_some() {
        section.error("announce", "`announce` is said where the replica connects, at an entry; remove it here");
    }
    let services = section.table("services");
    if section.has("to") && services.is_some() {
        section.error("to", "`to` is the service \"main\"; write it into `services`, or remove those");
    }
    for (name, value) in services.into_iter().flatten() {
        let at = name.span().start;
        section.parse("services", Text { text: name.get_ref(), at }, values::name);
        let listed = value.get_ref().as_array().map(|list| list.iter().collect()).unwrap_or_else(|| vec![value]);
        let served: Vec<Target> = listed.iter().filter_map(|value| served(section, value)).collect();
        if listed.is_empty() {
            section.source().error(value.span().start, "a service without a target serves nobody");
        }
        if !served.is_empty() {
            targets.insert(name.get_ref().to_string(), served);
        }
    }
    if !section.has("to") && services.is_none() {
        section.error(
            "to",
            "an exit lacks its target; write `to = \"127.0.0.1:6379\"`, or `services` with several: \
             { main = \"127.0.0.1:6379\", sentinel = \"127.0.0.1:26379\" }",
        );
    }
    let commands = section.choice("commands", &Commands::NAMES).unwrap_or(Commands::All);
    (!targets.is_empty()).then_some(End::Exit { services: targets, commands })
}

/// One target of a service.
fn served(section: &Section<'_>, value: &Spanned<DeValue<'_>>) -> Option<Target> {
    let at = value.span().start;
    let Some(text) = value.get_ref().as_str() else {
        let advice = "a service is \"host:port\" or \"unix:/path\", in quotes, or a list of them";
        section.source().error(at, advice);
        return None;
    };
    target(section, "services", Text { text, at })
}

fn target(section: &Section<'_>, key: &str, text: Text<'_>) -> Option<Target> {
    match text.text.strip_prefix("unix:") {
        Some(path) if !path.is_empty() => Some(Target::Unix(section.source().resolve(path))),
        _ => section.parse(key, text, |text| values::node_address(text).map(|_| Target::Tcp(text.to_owned()))),
    }
}

fn trust(section: &Section<'_>) -> Option<Trust> {
    let plain = section.choice("mode", &[("link", false), ("tls", true)]).unwrap_or(false);
    if plain && section.has("exit") && section.peek("commands").is_some_and(|commands| commands != "all") {
        section.error("commands", "with `mode = \"tls\"` nobody looks at commands; let the target's ACL refuse them");
    }
    let identity = section.file("identity");
    if identity.as_deref().is_some_and(files::readable_by_all) {
        section.warn("identity", "every user of this machine can read this private key; chmod o-r it");
    }
    let peers = section.optional_list("peers", "[\"redan1…\"]").unwrap_or_default();
    let peers: Vec<Peer> = peers.iter().filter_map(|value| peer(section, value)).collect();
    let peers_file = section.file("peers_file");
    let tls = ca(section);
    if !plain && section.has("tls") {
        section.error("tls", "`tls` is for `mode = \"tls\"`; a link trusts keys: `identity` and `peers`");
    }
    if plain && section.has("tls") {
        if ["identity", "peers", "peers_file"].iter().any(|key| section.has(key)) {
            section.error("tls", "`tls` trusts a CA, `identity` and `peers` trust keys; remove one of the two");
        }
        return tls.map(Trust::CaTls);
    }
    for (key, advice) in [
        ("identity", "`redan keygen dc1.key` makes one: write `identity = \"dc1.key\"`"),
        ("peers", "write the line that `redan keygen` printed at the other end: `peers = [\"redan1…\"]`"),
    ] {
        let there = section.has(key) || key == "peers" && section.has("peers_file");
        if !there {
            section.error(key, format!("[[link]] lacks `{key}`; {advice}"));
        }
    }
    if peers.is_empty() && peers_file.is_none() {
        return None;
    }
    let pinned = Pinned { identity: identity?, peers, peers_file };
    Some(if plain { Trust::PinnedTls(pinned) } else { Trust::Link(pinned) })
}

fn peer(section: &Section<'_>, value: &Spanned<DeValue<'_>>) -> Option<Peer> {
    let at = value.span().start;
    let Some(text) = value.get_ref().as_str() else {
        section.source().error(at, "a peer is text in quotes: \"redan1…\"");
        return None;
    };
    section.parse("peers", Text { text, at }, values::peer)
}

fn ca(section: &Section<'_>) -> Option<CaTls> {
    let tls = section.section("tls", &keys::LINK_TLS)?;
    for key in ["ca", "cert", "key"].into_iter().filter(|key| !tls.has(key)) {
        tls.error(key, format!("`tls` of a link lacks `{key}`; both ends show a certificate and check the other's"));
    }
    let [ca, cert, key] = ["ca", "cert", "key"].map(|key| tls.file(key));
    if key.as_deref().is_some_and(files::readable_by_all) {
        tls.warn("key", "every user of this machine can read this private key; chmod o-r it");
    }
    let crl = tls.files("crl");
    let server_name = tls.parsed("server_name", |text| Ok(text.to_owned()));
    tls.close();
    Some(CaTls { ca: ca?, crl, cert: cert?, key: key?, server_name })
}
