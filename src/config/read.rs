//! Reads `proxy.toml` into the resolved types: the file, `[redan]`, and what spans several sections.
//!
//! Used by `run`, `check`, `demo` and `diff`, and by reload. It walks the parsed TOML by hand instead of through
//! serde, because serde stops at the first mistake and an operator wants all of them, with their lines.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;

use super::group::Environment;
use super::link::{self, Link};
use super::report::{Errors, Findings, Source};
use super::section::Section;
use super::sheet::Sheet;
use super::{
    Account, AdminSocket, Collector, Config, Group, Listener, Log, LogFormat, Secret, account, admin_socket, export,
    files, group, keys, listener, machine, observing, settings, token, values, variables,
};
use crate::insight;
use crate::limits;

/// More worker threads than this is a typing error on any machine Redan was measured on.
const WORKERS: usize = 64;

/// The default of `max_memory` is a quarter of what the process may use. The rest is for what is not counted: the kernel's
/// buffers of the same clients, which take as much again and belong to the same container, what an allocator cannot give
/// back, TLS, and the program itself.
const SHARE: u64 = 4;

/// Below this one client that does not read, 1 MiB, and the lanes to three nodes would use all of it.
const LEAST: u64 = 4 * 1024 * 1024;

/// Reads the configuration file at `path` and the files it names.
pub(crate) fn load(path: &Path) -> Result<Config, Errors> {
    load_with(path, &|name| std::env::var(name))
}

pub(super) fn load_with(path: &Path, environment: Environment<'_>) -> Result<Config, Errors> {
    let text = files::text(path).map_err(Errors::one)?;
    load_file(path, &text, environment)
}

/// Reads what stands in the file at `path`, which is not opened.
pub(super) fn load_file(path: &Path, text: &str, environment: Environment<'_>) -> Result<Config, Errors> {
    let findings = Findings::default();
    let config = read(&Source::new(&findings, path, text), path, text, environment);
    conclude(findings, config, &path.display().to_string())
}

/// Reads what stands in no file; paths are relative to where the process runs.
pub(super) fn load_text(text: &str, environment: Environment<'_>) -> Result<Config, Errors> {
    let findings = Findings::default();
    // Where a file by the usual name would stand, there the command line looks for the admin socket.
    let config = read(&Source::of_environment(&findings, text), Path::new("proxy.toml"), text, environment);
    conclude(findings, config, "the environment")
}

fn conclude(findings: Findings, config: Option<Config>, name: &str) -> Result<Config, Errors> {
    let warnings = findings.conclude()?;
    // The readers answer `None` only after they reported why, so there is a configuration here.
    let config = config.ok_or_else(|| {
        Errors::one(format!("{name}: Redan cannot read this and does not say why: a defect of Redan"))
    })?;
    Ok(Config { warnings, ..config })
}

fn read(source: &Source<'_>, path: &Path, text: &str, environment: Environment<'_>) -> Option<Config> {
    let (mut table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What the parser recovered after a syntax error is a guess; errors about a guess would mislead.
        source.syntax(&errors);
        return None;
    }
    variables::fill(table.get_mut(), source, environment);
    let file = Section::open(source, &keys::FILE, table.get_ref(), 0);
    let process = file.section("redan", &keys::REDAN);
    let group_sections = file.sections("group", &keys::GROUP);
    let listener_sections = file.sections("listener", &keys::LISTENER);
    let link_sections = file.sections("link", &keys::LINK);
    let links_alone = !link_sections.is_empty() && listener_sections.is_empty() && group_sections.is_empty();
    for (key, sections, what) in [
        ("listener", &listener_sections, "clients have nowhere to connect; add a [[listener]]"),
        ("group", &group_sections, "there is no Redis or Valkey to connect to; add a [[group]]"),
    ] {
        if sections.is_empty() && !file.has(key) && !links_alone {
            file.error(key, what);
        }
    }
    file.close();

    let names: Vec<_> = group_sections.iter().map(|section| section.peek("name")).collect();
    let mut users_files = HashMap::new();
    are_distinct_and_few(&listener_sections, &group_sections, &link_sections);
    let zone = process.as_ref().and_then(|section| section.parsed("zone", values::zone));
    let entries: Vec<&str> =
        link_sections.iter().filter(|link| !link.has("exit")).filter_map(|link| link.peek("name")).collect();
    let around = group::Around { zone: zone.as_ref(), environment, entries: &entries };
    let groups: Vec<Option<Group>> = group_sections.into_iter().map(|section| group::read(section, &around)).collect();
    let has_zone = process.as_ref().is_some_and(|section| section.has("zone"));
    let known = listener::Groups { names, groups: &groups, has_zone };
    let listeners: Vec<Option<Listener>> =
        listener_sections.into_iter().map(|section| listener::read(section, &known, &mut users_files)).collect();
    let used = |link: &str| groups.iter().flatten().any(|group| group.goes_over(link));
    let links: Vec<Option<Link>> = link_sections.into_iter().map(|section| link::read(section, &used)).collect();
    let process = process.map_or_else(|| Process::default(path), |section| Process::read(section, path));
    Some(Config {
        workers: process.workers,
        admin: process.admin,
        admin_socket: process.admin_socket,
        admin_password: process.admin_password,
        admin_token: process.admin_token,
        settings: settings::list(source, table.get_ref(), text),
        log: process.log,
        shutdown_timeout: process.shutdown_timeout,
        upgrade_timeout: process.upgrade_timeout,
        drain_timeout: process.drain_timeout,
        max_memory: process.max_memory,
        insight: process.insight,
        trace_export: process.trace_export,
        user: process.user,
        sandbox: process.sandbox,
        listeners: listeners
            .into_iter()
            .map(|listener| Some(Arc::new(listener?.on(process.workers))))
            .collect::<Option<_>>()?,
        groups: groups.into_iter().map(|group| group.map(Arc::new)).collect::<Option<_>>()?,
        links: links.into_iter().map(|link| link.map(Arc::new)).collect::<Option<_>>()?,
        path: source.is_file().then(|| path.to_owned()),
        sheet: Sheet::of(source, table.get_ref()),
        warnings: Vec::new(),
    })
}

fn are_distinct_and_few(listeners: &[Section<'_>], groups: &[Section<'_>], links: &[Section<'_>]) {
    distinct(groups, "name", "[[group]]");
    distinct(listeners, "name", "[[listener]]");
    distinct(listeners, "bind", "[[listener]]");
    distinct(links, "name", "[[link]]");
    distinct(links, "entry", "[[link]]");
    distinct(links, "exit", "[[link]]");
    at_most(limits::LINKS, links, "links");
    at_most(limits::GROUPS, groups, "groups");
}

/// Reports the first section that is too many.
fn at_most(limit: usize, sections: &[Section<'_>], what: &str) {
    if let Some(section) = sections.get(limit) {
        section.error("name", format!("more than {limit} {what}; run several processes, each with some of them"));
    }
}

/// Reports each section whose `key` stands in an earlier one too.
fn distinct(sections: &[Section<'_>], key: &str, title: &str) {
    let mut seen = HashSet::new();
    for section in sections {
        // Port 0 is any free port, another one for each.
        if let Some(text) = section.peek(key).filter(|text| !text.ends_with(":0") && *text != link::INSIDE)
            && !seen.insert(text)
        {
            section.error(key, format!("another {title} above has the {key} \"{text}\"; change one of them"));
        }
    }
}

/// `[redan]`: what concerns the process as a whole.
struct Process {
    workers: usize,
    admin: Option<SocketAddr>,
    admin_socket: AdminSocket,
    admin_password: Option<Secret>,
    admin_token: Option<Secret>,
    log: Log,
    shutdown_timeout: Duration,
    upgrade_timeout: Duration,
    drain_timeout: Duration,
    max_memory: Option<u64>,
    insight: insight::Settings,
    trace_export: Option<Collector>,
    user: Option<Account>,
    sandbox: bool,
}

impl Process {
    fn default(file: &Path) -> Self {
        // Four workers saturate a single-threaded master many times over; more only make its pipelines shorter.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            workers: cores.min(4),
            admin: None,
            admin_socket: AdminSocket::Somewhere(admin_socket::places(file)),
            admin_password: None,
            admin_token: None,
            log: Log { format: LogFormat::Text, filter: "info".to_owned() },
            shutdown_timeout: Duration::from_secs(10),
            upgrade_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(60),
            max_memory: machine::memory().map(|memory| (memory / SHARE).max(LEAST)),
            insight: insight::Settings::default(),
            trace_export: None,
            user: None,
            sandbox: false,
        }
    }

    fn read(section: Section<'_>, file: &Path) -> Self {
        let default = Self::default(file);
        let workers = section.integer("workers", 1..=WORKERS);
        let admin = section.parsed("admin", values::listen_address);
        if admin.is_some_and(|address| !address.ip().is_loopback()) {
            section
                .warn("admin", "anyone who reaches this address reads the metrics; it has neither TLS nor passwords");
        }
        let admin_token = token::read(&section, admin);
        let (admin_socket, admin_password) = admin_socket::read(&section, file);
        let shutdown_timeout = section.duration("shutdown_timeout", Duration::ZERO..=Duration::from_secs(3600));
        let upgrade_timeout = section.duration("upgrade_timeout", Duration::from_secs(1)..=Duration::from_secs(3600));
        let drain_timeout = section.duration("drain_timeout", Duration::from_secs(1)..=Duration::from_secs(3600));
        let log = section.section("log", &keys::LOG).map(|log| {
            let format = log.choice("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
            let filter = log.parsed("level", |text| values::log_filter(text).map(|()| text.to_owned()));
            log.close();
            (format, filter)
        });
        let (format, filter) = log.unwrap_or_default();
        let max_memory = section.size("max_memory", LEAST..=1 << 50);
        let insight = observing::read(&section);
        let trace_export = export::read(&section);
        let user = section.parsed("user", account::find);
        let sandbox = section.choice("sandbox", &[("off", false), ("on", true)]);
        section.close();
        Self {
            workers: workers.unwrap_or(default.workers),
            admin,
            admin_socket,
            admin_password,
            admin_token,
            log: Log { format: format.unwrap_or(default.log.format), filter: filter.unwrap_or(default.log.filter) },
            shutdown_timeout: shutdown_timeout.unwrap_or(default.shutdown_timeout),
            upgrade_timeout: upgrade_timeout.unwrap_or(default.upgrade_timeout),
            drain_timeout: drain_timeout.unwrap_or(default.drain_timeout),
            user,
            sandbox: sandbox.unwrap_or(default.sandbox),
            insight,
            trace_export,
            max_memory: max_memory.map_or(default.max_memory, |bytes| Some(bytes).filter(|bytes| *bytes > 0)),
        }
    }
}
