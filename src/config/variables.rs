//! `${NAME}` and `${NAME:-default}` in the text values of `proxy.toml`: words of the environment take their place.
//!
//! Used by `read` when the file has been parsed and before any setting is looked at, so that no setting knows where its words
//! come from. What a variable holds is text and nothing else: it can neither add settings nor name further variables.

use std::borrow::Cow;
use std::env::VarError;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::group::Environment;
use super::report::Source;

/// Puts the environment's words into every text of the table, and tells `source` where they stand now.
pub(super) fn fill(table: &mut DeTable<'_>, source: &Source<'_>, environment: Environment<'_>) {
    let filler = Filler { source, environment };
    filler.table(table);
}

struct Filler<'a> {
    source: &'a Source<'a>,
    environment: Environment<'a>,
}

impl Filler<'_> {
    fn table(&self, table: &mut DeTable<'_>) {
        for (key, value) in table.iter_mut() {
            self.value(value, key.span().start);
        }
    }

    /// `key_at` is where the setting's name stands, at which some mistakes are reported.
    fn value(&self, value: &mut Spanned<DeValue<'_>>, key_at: usize) {
        let at = value.span().start;
        match value.get_mut() {
            DeValue::String(text) => {
                if let Some(filled) = self.text(text, &[key_at, at]) {
                    *text = Cow::Owned(filled.text);
                }
            }
            DeValue::Array(array) => {
                let elements = std::mem::replace(array, DeArray::new());
                *array = elements.into_iter().flat_map(|element| self.element(element, key_at)).collect();
            }
            DeValue::Table(table) => self.table(table),
            _ => {}
        }
    }

    /// A variable that is a whole element of a list may hold several, with commas between them: how many nodes there are
    /// is as much the environment's to say as where they are.
    fn element<'i>(&self, mut element: Spanned<DeValue<'i>>, key_at: usize) -> Vec<Spanned<DeValue<'i>>> {
        let span = element.span();
        let filled = element.get_ref().as_str().and_then(|text| self.text(text, &[key_at, span.start]));
        match filled {
            Some(Filled { text, alone: true }) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                parts.map(|part| Spanned::new(span.clone(), DeValue::String(Cow::Owned(part.to_owned())))).collect()
            }
            Some(Filled { text, alone: false }) => vec![Spanned::new(span, DeValue::String(Cow::Owned(text)))],
            None => {
                if element.get_ref().as_str().is_none() {
                    self.value(&mut element, key_at);
                }
                vec![element]
            }
        }
    }

    /// `None` where nothing is to be put in, or where it could not be and that has been reported.
    fn text(&self, text: &str, places: &[usize]) -> Option<Filled> {
        if !text.contains("${") {
            return None;
        }
        let mut names = Vec::new();
        let filled = fill_text(text, self.environment, &mut names);
        for name in names {
            for place in places {
                self.source.comes_from(*place, &name);
            }
        }
        filled.map_err(|why| self.source.error(places[places.len() - 1], why)).ok()
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Filled {
    text: String,
    /// It was one variable and nothing else.
    alone: bool,
}

/// `names` gets the variables that were asked for.
fn fill_text(text: &str, environment: Environment<'_>, names: &mut Vec<String>) -> Result<Filled, String> {
    let mut out = String::new();
    let mut rest = text;
    let mut alone = false;
    while let Some(at) = rest.find("${") {
        // `$${` is how to write `${` itself.
        if let Some(before) = rest[..at].strip_suffix('$') {
            out += before;
            out += "${";
            rest = &rest[at + 2..];
            continue;
        }
        out += &rest[..at];
        let (inside, behind) = rest[at + 2..].split_once('}').ok_or_else(|| {
            format!(
                "\"{text}\" has a `${{` that no `}}` closes; write `${{NAME}}`, or `$${{` for the characters themselves"
            )
        })?;
        alone = at == 0 && rest.len() == text.len() && behind.is_empty();
        let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
        if !is_name(name) {
            return Err(format!(
                "\"{name}\" is no name of an environment variable; use letters, digits and underscores"
            ));
        }
        names.push(name.to_owned());
        out += &value(name, default, environment)?;
        rest = behind;
    }
    out += rest;
    Ok(Filled { text: out, alone })
}

/// As in a shell, the default stands also for a variable that is empty.
fn value(name: &str, default: Option<&str>, environment: Environment<'_>) -> Result<String, String> {
    match (environment(name), default) {
        (Ok(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Ok(value), _) => Ok(value),
        (Err(VarError::NotPresent), Some(default)) => Ok(default.to_owned()),
        (Err(VarError::NotPresent), None) => {
            Err(format!("environment variable {name} is not set; set it, or write a default: ${{{name}:-…}}"))
        }
        (Err(VarError::NotUnicode(_)), _) => Err(format!("environment variable {name} is not UTF-8; correct it")),
    }
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Result<String, VarError> {
        match name {
            "HOST" => Ok("redis-0".to_owned()),
            "EMPTY" => Ok(String::new()),
            "LIST" => Ok("a:1, b:2".to_owned()),
            "SLY" => Ok("${HOST}".to_owned()),
            _ => Err(VarError::NotPresent),
        }
    }

    #[test]
    fn words_take_the_place_of_variables() {
        for (text, want, alone) in [
            ("${HOST}", "redis-0", true),
            ("${HOST}:6379", "redis-0:6379", false),
            ("${HOST}${HOST}", "redis-0redis-0", false),
            ("${GONE:-10s}", "10s", true),
            ("${EMPTY:-10s}", "10s", true),
            ("${EMPTY}", "", true),
            ("${GONE:-}", "", true),
            ("$${HOST}", "${HOST}", false),
            ("a$${b${HOST}", "a${bredis-0", false),
            ("${LIST}", "a:1, b:2", true),
            ("${SLY}", "${HOST}", true),
            ("$HOST", "$HOST", false),
        ] {
            let filled = fill_text(text, &environment, &mut Vec::new());
            assert_eq!(filled, Ok(Filled { text: want.to_owned(), alone }), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_put_in_says_why() {
        for (text, why) in [
            ("${GONE}", "environment variable GONE is not set; set it, or write a default: ${GONE:-…}"),
            ("${HOST", "has a `${` that no `}` closes"),
            ("${}", "\"\" is no name"),
            ("${1A}", "\"1A\" is no name"),
            ("${A B}", "\"A B\" is no name"),
        ] {
            let error = fill_text(text, &environment, &mut Vec::new()).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
