//! One table of a configuration file, read setting by setting.
//!
//! Each reading reports what is wrong with its value and answers `None`, so that the caller goes on to the next
//! setting. Names that the table's [`Kind`] does not list are reported when the table is opened. Nothing in here
//! may know what a setting means.

use std::cell::Cell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, de::DeString};

use super::keys::{self, Kind};
use super::report::Source;
use super::{files, values};

#[derive(Debug)]
pub(super) struct Section<'a> {
    source: &'a Source<'a>,
    table: &'a DeTable<'a>,
    kind: &'static Kind,
    /// Offset of the table's header, for what is missing from it.
    at: usize,
    /// One bit per key of `kind`: the reader asked for it. See `close`.
    asked: Cell<u64>,
}

/// A piece of text and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl<'a> Section<'a> {
    /// Takes the table up and reports the names in it that mean nothing.
    pub(super) fn open(source: &'a Source<'a>, kind: &'static Kind, table: &'a DeTable<'a>, at: usize) -> Self {
        for key in table.keys().filter(|key| !kind.keys.contains(&key.get_ref().as_ref())) {
            source.error(key.span().start, unknown(kind, key));
        }
        Self { source, table, kind, at, asked: Cell::new(0) }
    }

    /// Called when all settings were read. A debug build panics if the reader forgot one that `kind` lists: it
    /// would be accepted, documented and without effect.
    pub(super) fn close(self) {
        debug_assert_eq!(
            self.asked.get().count_ones() as usize,
            self.kind.keys.len(),
            "the reader of {} asks for every key that keys.rs lists",
            self.kind.title
        );
    }

    pub(super) fn source(&self) -> &'a Source<'a> {
        self.source
    }

    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        let index = self.kind.keys.iter().position(|known| *known == key);
        debug_assert!(index.is_some(), "keys.rs lists `{key}` in {}", self.kind.title);
        self.asked.set(self.asked.get() | index.map_or(0, |index| 1 << index));
        self.table.get(key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether the table under `key` has `inner`, whatever its value is.
    pub(super) fn table_has(&self, key: &str, inner: &str) -> bool {
        let table = self.table.get(key).and_then(|value| value.get_ref().as_table());
        table.is_some_and(|table| table.contains_key(inner))
    }

    /// The text under `key` if it is text, reporting nothing: for looking ahead of the actual reading.
    pub(super) fn peek(&self, key: &str) -> Option<&'a str> {
        self.table.get(key).and_then(|value| value.get_ref().as_str())
    }

    /// Reports at the line of `key`, or of the table's header where the key is absent.
    pub(super) fn error(&self, key: &str, text: impl Display) {
        self.source.error(self.offset(key), text);
    }

    pub(super) fn warn(&self, key: &str, text: impl Display) {
        self.source.warn(self.offset(key), text);
    }

    fn offset(&self, key: &str) -> usize {
        self.table.get_key_value(key).map_or(self.at, |(key, _)| key.span().start)
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: impl Display) {
        let found = value.get_ref().type_str();
        self.source.error(value.span().start, format!("`{key}` is of type {found}; write {wanted}"));
    }

    pub(super) fn text(&self, key: &str) -> Option<Text<'a>> {
        let value = self.get(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(key, value, "text in quotes");
        }
        text.map(|text| Text { text, at: value.span().start })
    }

    /// Text that must be there. `example` shows what to write.
    pub(super) fn required(&self, key: &str, example: &str) -> Option<Text<'a>> {
        if !self.has(key) {
            self.error(key, format!("{} lacks `{key}`; write for instance `{key} = {example}`", self.kind.title));
        }
        self.text(key)
    }

    pub(super) fn parsed<T>(&self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        self.parse(key, self.text(key)?, parse)
    }

    pub(super) fn parse<T>(
        &self,
        key: &str,
        text: Text<'_>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        parse(text.text).map_err(|why| self.source.error(text.at, format!("`{key}`: {why}"))).ok()
    }

    pub(super) fn duration(&self, key: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.parsed(key, |text| {
            let duration = values::duration(text)?;
            if range.contains(&duration) {
                return Ok(duration);
            }
            let [from, to] = [range.start(), range.end()].map(|end| values::show_duration(*end));
            Err(format!("\"{text}\" is out of range; write {from} to {to}"))
        })
    }

    /// A number of bytes; zero is always possible, and means none or no limit as the setting has it.
    pub(super) fn size(&self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        self.parsed(key, |text| {
            let bytes = values::size(text)?;
            if bytes == 0 || range.contains(&bytes) {
                return Ok(bytes);
            }
            let [from, to] = [range.start(), range.end()].map(|end| values::show_size(*end));
            Err(format!("\"{text}\" is out of range; write {from} to {to}"))
        })
    }

    pub(super) fn integer(&self, key: &str, range: RangeInclusive<usize>) -> Option<usize> {
        let value = self.get(key)?;
        let wanted = format!("a whole number from {} to {}, without quotes", range.start(), range.end());
        let number = match value.get_ref() {
            DeValue::Integer(integer) => usize::from_str_radix(integer.as_str(), integer.radix()).ok(),
            DeValue::String(text) if self.source.is_variable(value.span().start) => text.parse().ok(),
            _ => {
                self.wrong_type(key, value, wanted);
                return None;
            }
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.source.error(value.span().start, format!("`{key}` is out of range; write {wanted}"));
        }
        number
    }

    /// A part of a whole, from 0 to 1.
    pub(super) fn share(&self, key: &str) -> Option<f64> {
        const WANTED: &str = "a number from 0 to 1, such as 0.001, without quotes";
        let value = self.get(key)?;
        let whole = || value.get_ref().as_integer().map(|integer| integer.as_str());
        let Some(text) = value.get_ref().as_float().map(|float| float.as_str()).or_else(whole) else {
            self.wrong_type(key, value, WANTED);
            return None;
        };
        let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        if share.is_none() {
            self.source.error(value.span().start, format!("`{key}` is out of range; write {WANTED}"));
        }
        share
    }

    pub(super) fn boolean(&self, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        let boolean = match value.get_ref() {
            DeValue::String(text) if self.source.is_variable(value.span().start) => text.parse().ok(),
            other => other.as_bool(),
        };
        if boolean.is_none() {
            self.wrong_type(key, value, "true or false, without quotes");
        }
        boolean
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        self.parsed(key, |text| {
            let words = || choices.iter().map(|(word, _)| *word);
            choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
                let meant = keys::nearest(text, words()).map_or_else(String::new, |word| format!(" (\"{word}\"?)"));
                let words: Vec<_> = words().map(|word| format!("\"{word}\"")).collect();
                format!("\"{text}\" is no choice{meant}; write {}", words.join(" or "))
            })
        })
    }

    /// A file that can be read, relative to the file this table stands in.
    pub(super) fn file(&self, key: &str) -> Option<PathBuf> {
        self.parsed(key, |text| {
            let path = self.source.resolve(text);
            files::readable(&path).map(|()| path)
        })
    }

    /// The same for one file, or a list of them; empty when the key is absent, and where one is wrong.
    pub(super) fn files(&self, key: &str) -> Vec<PathBuf> {
        let Some(value) = self.get(key) else { return Vec::new() };
        if value.get_ref().is_array() {
            self.texts(key, "[\"certs/ca.crl\"]", |text| {
                let path = self.source.resolve(text);
                files::readable(&path).map(|()| path)
            })
        } else {
            self.file(key).into_iter().collect()
        }
    }

    /// The elements of a list of text that can be read; what cannot is reported. Empty when the key is absent.
    pub(super) fn texts<T>(&self, key: &str, example: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let elements = self.optional_list(key, example).unwrap_or_default();
        let read = |element: &'a Spanned<DeValue<'a>>| match element.get_ref().as_str() {
            Some(text) => self.parse(key, Text { text, at: element.span().start }, &parse),
            None => {
                self.wrong_type(key, element, format!("a list of text in quotes: `{key} = {example}`"));
                None
            }
        };
        elements.iter().filter_map(read).collect()
    }

    /// The elements of a list of tables. Empty when the key is absent.
    pub(super) fn tables(&self, key: &str, kind: &'static Kind, example: &str) -> Vec<Self> {
        let elements = self.optional_list(key, example).unwrap_or_default();
        let open = |element: &'a Spanned<DeValue<'a>>| {
            let table = element.get_ref().as_table();
            if table.is_none() {
                self.wrong_type(key, element, format!("a list of tables: `{key} = {example}`"));
            }
            table.map(|table| Self::open(self.source, kind, table, element.span().start))
        };
        elements.iter().filter_map(open).collect()
    }

    /// An inline table, or a table under its own header.
    pub(super) fn section(&self, key: &str, kind: &'static Kind) -> Option<Self> {
        let value = self.get(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(key, value, format!("a table: `{key} = {{ {} = … }}`", kind.keys[0]));
        }
        table.map(|table| Self::open(self.source, kind, table, self.offset(key)))
    }

    /// A table whose names are the operator's own.
    pub(super) fn table(&self, key: &str) -> Option<&'a DeTable<'a>> {
        let value = self.get(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(key, value, format!("a table: `{key} = {{ name = \"…\" }}`"));
        }
        table
    }

    /// The tables under `[[key]]`, in the order of the file.
    pub(super) fn sections(&self, key: &str, kind: &'static Kind) -> Vec<Self> {
        let header = || format!("each as a table under [[{key}]], with two brackets");
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, value, header());
            return Vec::new();
        };
        let tables = array.iter().filter_map(|element| {
            let table = element.get_ref().as_table();
            if table.is_none() {
                self.wrong_type(key, element, header());
            }
            table.map(|table| Self::open(self.source, kind, table, element.span().start))
        });
        tables.collect()
    }

    /// The elements of a list that need not be there.
    pub(super) fn optional_list(&self, key: &str, example: &str) -> Option<&'a [Spanned<DeValue<'a>>]> {
        // Asked for even when it is absent: see `close`.
        self.get(key)?;
        self.list(key, example)
    }

    /// The elements of a list that may be absent or empty.
    pub(super) fn possible_list(&self, key: &str, example: &str) -> &'a [Spanned<DeValue<'a>>] {
        let empty = |value: &Spanned<DeValue<'_>>| value.get_ref().as_array().is_some_and(|array| array.is_empty());
        match self.get(key) {
            Some(value) if !empty(value) => self.list(key, example).unwrap_or_default(),
            _ => &[],
        }
    }

    /// What stands in a table whose names are the operator's, not settings.
    pub(super) fn pairs(
        &self,
        key: &str,
        example: &str,
    ) -> impl Iterator<Item = (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)> {
        let value = self.get(key);
        let table = value.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (value, table) {
            self.wrong_type(key, value, format!("a table: `{key} = {example}`"));
        }
        table.into_iter().flatten()
    }

    /// The elements of a list, whatever they are.
    pub(super) fn list(&self, key: &str, example: &str) -> Option<&'a [Spanned<DeValue<'a>>]> {
        let Some(value) = self.get(key) else {
            self.error(key, format!("{} lacks `{key}`; write for instance `{key} = {example}`", self.kind.title));
            return None;
        };
        let array = value.get_ref().as_array();
        match array {
            None => self.wrong_type(key, value, format!("a list: `{key} = {example}`")),
            Some(array) if array.is_empty() => {
                self.error(key, format!("`{key}` is empty; write for instance `{key} = {example}`"));
            }
            Some(_) => {}
        }
        array.map(|array| &array[..])
    }
}

/// What to say of a name that its section does not know.
fn unknown(kind: &Kind, key: &Spanned<DeString<'_>>) -> String {
    let name = key.get_ref().as_ref();
    if let Some((_, why)) = kind.refused.iter().find(|(refused, _)| *refused == name) {
        return (*why).to_owned();
    }
    let head = format!("unknown setting `{name}` in {}", kind.title);
    if let Some(meant) = keys::nearest(name, kind.keys.iter().copied()) {
        return format!("{head}; did you mean `{meant}`?");
    }
    if let Some(home) = keys::SECTIONS.iter().find(|section| section.keys.contains(&name)) {
        return format!("{head}; it belongs in {}", home.title);
    }
    format!("{head}; remove it, or take one of: {}", kind.keys.join(", "))
}
