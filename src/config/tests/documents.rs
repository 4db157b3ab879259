//! `proxy.toml` and `docs/configuration.md` say what the reader does: each setting in both, no other in either,
//! and the defaults they claim are the defaults.

use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::super::effect;
use super::super::keys::{
    CERTIFICATE, FILE, GROUP, Kind, LINK, LINK_TLS, LISTENER, LISTENER_TLS, LOG, NODE, NODE_TLS, OUTPUT_LIMIT, REDAN,
    SECTIONS, SENTINEL, USERS_FILE,
};
use super::Directory;

const EXAMPLE: &str = include_str!("../../../proxy.toml");
const REFERENCE: &str = include_str!("../../../docs/configuration.md");

/// A commented line that is a setting, as opposed to prose: no space behind the `#`, or part of a list.
fn setting(line: &str) -> Option<&str> {
    let rest = line.strip_prefix('#')?;
    let starts = |c: char| c.is_ascii_lowercase() || c == '[' || c == ']';
    (rest.starts_with(starts) || rest.starts_with("    \"10.") || rest.starts_with("    {")).then_some(rest)
}

fn switched_on(which: impl Fn(&str) -> bool) -> String {
    let lines = EXAMPLE.lines().map(|line| setting(line).filter(|setting| which(setting)).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_loads_as_written_and_with_everything_switched_on() {
    let directory = Directory::new();
    let written = directory.load(EXAMPLE).unwrap();
    assert_eq!((written.listeners.len(), written.groups.len()), (1, 1));
    assert_eq!(written.warnings, Vec::<String>::new());
    let everything = directory.load(&switched_on(|_| true)).unwrap();
    assert_eq!((everything.listeners.len(), everything.groups.len(), everything.links.len()), (4, 3, 3));
}

#[test]
fn what_the_example_calls_a_default_is_one() {
    let directory = Directory::new();
    let is_default = |line: &str| line.contains("# (default)");
    let defaults = EXAMPLE.lines().filter_map(setting).filter(|line| is_default(line)).count();
    assert!(defaults >= 10, "only {defaults} lines are marked as defaults: has the mark changed?");
    let spelled_out = directory.load(&switched_on(is_default)).unwrap();
    let written = directory.load(EXAMPLE).unwrap();
    assert_eq!(format!("{spelled_out:#?}"), format!("{written:#?}"));
}

/// With a line that is one, where a guide leaves it out, and the files that it names.
#[test]
fn every_configuration_in_the_guides_can_be_read() {
    let directory = Directory::new();
    for file in ["link.key", "redis-password", "ca.pem", "redan.pem", "redan.key"] {
        directory.write(file, "judged by whoever loads it\n");
    }
    let peers = EXAMPLE.split('"').filter(|text| text.starts_with("redan1")).collect::<Vec<_>>();
    let guides = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guides");
    let (mut configurations, mut marked) = (0, 0);
    for guide in std::fs::read_dir(guides).unwrap() {
        let path = guide.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        marked += text.matches("```toml").count();
        let blocks = text.split("\n```toml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap_or_default());
        for block in blocks {
            // Two in one list are two.
            let block = block.replacen("\"redan1…\", \"redan1…\"", &format!("\"{}\", \"{}\"", peers[0], peers[1]), 1);
            let config = directory.load(&block.replace("redan1…", peers[0]));
            let mut warnings =
                config.unwrap_or_else(|errors| panic!("{}\n{block}\n{errors:#?}", path.display())).warnings;
            // Some guides are about networks that are trusted, and say so.
            warnings.retain(|warning| !warning.contains("crosses the network unencrypted"));
            assert_eq!(warnings, Vec::<String>::new(), "{}\n{block}", path.display());
            configurations += 1;
        }
    }
    assert!(configurations >= 10 && configurations == marked, "{configurations} of {marked} were found");
}

/// Every setting of the example, as `section: key`.
fn walk(kind: &Kind, table: &DeTable<'_>, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        let key = key.get_ref().as_ref();
        found.insert(format!("{}: {key}", kind.title));
        let inner = [
            (&FILE, "redan", &REDAN),
            (&FILE, "listener", &LISTENER),
            (&FILE, "group", &GROUP),
            (&FILE, "link", &LINK),
            (&LINK, "tls", &LINK_TLS),
            (&REDAN, "log", &LOG),
            (&LISTENER, "tls", &LISTENER_TLS),
            (&LISTENER_TLS, "certificates", &CERTIFICATE),
            (&LISTENER, "output_limit", &OUTPUT_LIMIT),
            (&GROUP, "nodes", &NODE),
            (&GROUP, "tls", &NODE_TLS),
            (&GROUP, "sentinel", &SENTINEL),
            (&SENTINEL, "tls", &NODE_TLS),
            (&NODE, "tls", &NODE_TLS),
        ];
        let Some((.., inner)) = inner.into_iter().find(|(outer, name, _)| outer.title == kind.title && *name == key)
        else {
            continue;
        };
        let elements: Vec<&DeValue<'_>> = match value.get_ref() {
            DeValue::Array(array) => array.iter().map(|element| element.get_ref()).collect(),
            other => vec![other],
        };
        for table in elements.into_iter().filter_map(DeValue::as_table) {
            walk(inner, table, found);
        }
    }
}

fn known(kinds: impl Iterator<Item = &'static &'static Kind>) -> BTreeSet<String> {
    kinds.flat_map(|kind| kind.keys.iter().map(|key| format!("{}: {key}", kind.title))).collect()
}

#[test]
fn the_example_shows_exactly_the_settings_there_are() {
    let text = switched_on(|_| true);
    let table = DeTable::parse(&text).unwrap();
    let mut found = BTreeSet::new();
    walk(&FILE, table.get_ref(), &mut found);
    // The users file is another file; the example shows an entry in prose, which the reference test covers.
    let other_file = [USERS_FILE.title, "[[user]]"];
    assert_eq!(found, known(SECTIONS.iter().filter(|kind| !other_file.contains(&kind.title))));
}

/// What REDAN CONFIG shows where the file says nothing.
#[test]
fn the_list_of_settings_has_each_with_the_default_of_the_reference() {
    use super::super::settings;
    let tables = [
        (&REDAN, settings::REDAN),
        (&LISTENER, settings::LISTENER),
        (&GROUP, settings::GROUP),
        (&LINK, settings::LINK),
    ];
    for (kind, table) in tables {
        let names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
        assert_eq!(BTreeSet::from_iter(&names), BTreeSet::from_iter(kind.keys), "{}", kind.title);
        let (_, section) = REFERENCE.split_once(&format!("## `{}`\n", kind.title)).unwrap();
        let section = section.split("\n## ").next().unwrap_or_default();
        for (name, default) in table {
            let row = section.lines().find_map(|line| line.strip_prefix(&format!("| `{name}` | "))).unwrap();
            let cell = row.split(" | ").next().unwrap_or_default().replace('`', "");
            assert_eq!(cell, *default, "{}: {name}", kind.title);
        }
    }
}

#[test]
fn the_reference_says_whom_a_reload_reaches() {
    let mut section = "";
    let mut looked = 0;
    for line in REFERENCE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.trim_matches('`');
        } else if let Some(row) = line.strip_prefix("| `") {
            let cells: Vec<&str> = row.split(" | ").collect();
            let key = cells[0].trim_end_matches('`');
            let effect = effect::of(section, key).word();
            assert_eq!(cells.get(2), Some(&effect), "`{key}` of {section}: the column `reload` says otherwise");
            looked += 1;
        }
    }
    assert!(looked > 100, "only {looked} rows were found: has the page changed?");
}

#[test]
fn the_reference_lists_exactly_the_settings_there_are() {
    let mut found = BTreeSet::new();
    let mut section = "";
    for line in REFERENCE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.trim_matches('`');
        } else if let Some((key, _)) = line.strip_prefix("| `").and_then(|row| row.split_once('`')) {
            found.insert(format!("{section}: {key}"));
        }
    }
    let tables_of_tables = [FILE.title, USERS_FILE.title];
    assert_eq!(found, known(SECTIONS.iter().filter(|kind| !tables_of_tables.contains(&kind.title))));
}
