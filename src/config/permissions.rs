//! `allow` and `deny`, of a listener or a user: lists of commands and categories, as in `ACL SETUSER`.
//!
//! Reads words and reports those that mean nothing; what the lists come to is decided in `command::permissions`.

use std::sync::Arc;

use super::keys;
use super::section::Section;
use crate::command::permissions::{Entry, NotAnEntry, Permissions, entries};

/// `None`: neither list is there, so nothing is forbidden.
pub(super) fn read(section: &Section<'_>) -> Option<Arc<Permissions>> {
    let allow = list(section, "allow", '+');
    let deny = list(section, "deny", '-');
    (allow.is_some() || deny.is_some())
        .then(|| Arc::new(Permissions::new(allow.as_deref(), deny.as_deref().unwrap_or_default())))
}

/// `sign` is what `ACL SETUSER` writes in front of such an entry, and may stand there too.
fn list(section: &Section<'_>, key: &str, sign: char) -> Option<Vec<Entry>> {
    let elements = section.optional_list(key, "[\"@dangerous\", \"config|set\"]")?;
    let entry = |value: &toml::Spanned<toml::de::DeValue<'_>>| {
        let at = value.span().start;
        let Some(text) = value.get_ref().as_str() else {
            section
                .source()
                .error(at, format!("an entry of `{key}` is text in quotes; write for instance \"@dangerous\""));
            return None;
        };
        let why = match Entry::parse(text.strip_prefix(sign).unwrap_or(text)) {
            Ok(entry) => return Some(entry),
            Err(NotAnEntry::Always) => "servers let everyone send it, and so does Redan; remove it".to_owned(),
            Err(NotAnEntry::Unknown) => advice(text.trim_start_matches(['+', '-']), text.starts_with(['+', '-'])),
        };
        section.source().error(at, format!("`{key}`: \"{text}\": {why}"));
        None
    };
    // A list of which nothing is understood stays a list: to read `allow = [\"gte\"]` as no list would permit everything.
    Some(elements.iter().filter_map(entry).collect())
}

fn advice(word: &str, signed: bool) -> String {
    if signed && Entry::parse(word).is_ok() {
        return "`deny` takes it without a sign or with \"-\", `allow` without or with \"+\"; correct it".to_owned();
    }
    let known: Vec<String> = entries().collect();
    let folded = word.to_ascii_lowercase();
    keys::nearest(&folded, known.iter().map(String::as_str)).map_or_else(
        || "no command and no category is named so; COMMAND LIST and ACL CAT show them".to_owned(),
        |meant| format!("did you mean \"{meant}\"?"),
    )
}
