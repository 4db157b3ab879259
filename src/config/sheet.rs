//! A configuration as it is written: each setting with its text, its line, and whom a change of it reaches.
//!
//! `read` makes it beside the resolved types, for `diff`, which tells an operator what differs in the words of the file. It
//! must never be read for what a setting means.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::effect::{self, Effect};
use super::keys::{self, Kind};
use super::report::Source;

/// What a setting belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Process,
    Listener(String),
    Group(String),
    Link(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => f.write_str("[redan]"),
            Self::Listener(name) => write!(f, "listener '{name}'"),
            Self::Group(name) => write!(f, "group '{name}'"),
            Self::Link(name) => write!(f, "link '{name}'"),
        }
    }
}

/// One setting.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    /// With the tables that it stands in: `tls.cert`.
    pub(super) key: String,
    pub(super) text: String,
    pub(super) line: usize,
    pub(super) effect: Effect,
}

/// All settings of a file.
#[derive(Clone, Default)]
pub(crate) struct Sheet {
    /// The file.
    pub(super) path: PathBuf,
    /// Files that are read with it and hold no certificates or keys.
    read: Vec<PathBuf>,
    pub(super) entries: Vec<Entry>,
}

impl fmt::Debug for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sheet").finish_non_exhaustive()
    }
}

impl Sheet {
    pub(super) fn of(source: &Source<'_>, file: &DeTable<'_>) -> Self {
        let mut sheet = Self { path: source.path().to_owned(), ..Self::default() };
        sheet.note_files(source, file);
        if let Some(process) = file.get("redan").and_then(|value| value.get_ref().as_table()) {
            sheet.take(source, &Place::Process, &keys::REDAN, "", process);
        }
        for (key, kind) in [("group", &keys::GROUP), ("link", &keys::LINK), ("listener", &keys::LISTENER)] {
            let tables = file.get(key).and_then(|value| value.get_ref().as_array());
            for table in tables.into_iter().flatten().filter_map(|value| value.get_ref().as_table()) {
                let name = table.get("name").and_then(|value| value.get_ref().as_str()).unwrap_or_default();
                let name = name.to_owned();
                let place = match key {
                    "group" => Place::Group(name),
                    "link" => Place::Link(name),
                    _ => Place::Listener(name),
                };
                sheet.take(source, &place, kind, "", table);
            }
        }
        sheet
    }

    fn take(&mut self, source: &Source<'_>, place: &Place, kind: &Kind, before: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let inner = value.get_ref().as_table().zip(inner(kind, name));
            let text = if inner.is_some() { "{ … }".to_owned() } else { text(value.get_ref()) };
            let (key, line) = (format!("{before}{name}"), source.line(key.span().start));
            if let Some((table, kind)) = inner {
                self.take(source, place, kind, &format!("{key}."), table);
            }
            let effect = effect::of(kind.title, name);
            self.entries.push(Entry { place: place.clone(), key, text, line, effect });
        }
    }

    fn note_files(&mut self, source: &Source<'_>, table: &DeTable<'_>) {
        for (key, value) in table {
            match value.get_ref() {
                DeValue::String(text) if matches!(key.get_ref().as_ref(), "users" | "password_file") => {
                    self.read.push(source.resolve(text));
                }
                DeValue::Table(table) => self.note_files(source, table),
                DeValue::Array(array) => {
                    let tables = array.iter().filter_map(|element| element.get_ref().as_table());
                    tables.for_each(|table| self.note_files(source, table));
                }
                _ => {}
            }
        }
    }

    /// What must be readable for the configuration to be read again, files of TLS aside.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        // What comes of the environment is in no file.
        let file = Some(&self.path).filter(|path| !path.as_os_str().is_empty());
        file.into_iter().chain(&self.read).map(PathBuf::as_path)
    }

    pub(super) fn of_place<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.place == *place)
    }
}

/// The tables of settings within a section; others hold names of the operator's, and are one text.
fn inner(kind: &Kind, key: &str) -> Option<&'static Kind> {
    match (kind.title, key) {
        ("[redan]", "log") => Some(&keys::LOG),
        ("[[listener]]", "tls") => Some(&keys::LISTENER_TLS),
        ("[[listener]]", "output_limit") => Some(&keys::OUTPUT_LIMIT),
        ("[[group]]" | "[[group]] sentinel", "tls") => Some(&keys::NODE_TLS),
        ("[[group]]", "sentinel") => Some(&keys::SENTINEL),
        ("[[link]]", "tls") => Some(&keys::LINK_TLS),
        _ => None,
    }
}

fn text(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(integer) => integer.as_str().to_owned(),
        DeValue::Float(float) => float.as_str().to_owned(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Array(array) => {
            let elements: Vec<String> = array.iter().map(|element| text(element.get_ref())).collect();
            format!("[{}]", elements.join(", "))
        }
        DeValue::Table(table) => {
            let pair = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
                let key: &toml::de::DeString<'_> = key.get_ref();
                format!("{key} = {}", text(value.get_ref()))
            };
            format!("{{ {} }}", table.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        // No setting is of another type.
        other => other.type_str().to_owned(),
    }
}
