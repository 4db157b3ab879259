//! The users of a listener: reads the users file, and decides whether a name and a password belong together.
//!
//! `verify` is called by sessions for AUTH and HELLO AUTH. It must never answer sooner for one wrong attempt than
//! for another: the time taken must not tell which users exist or how much of a hash was right.

use std::collections::HashSet;
use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use toml::de::DeTable;

use super::report::{Findings, Source};
use super::section::Section;
use super::{User, Users, files, keys, permissions, values};

impl Users {
    /// The enabled user of this name whose password this is. AUTH with one argument means the user `default`.
    ///
    /// Whatever is asked, the password is hashed once and compared with every hash of every user, none skipped.
    pub(crate) fn verify(&self, name: &[u8], password: &[u8]) -> Option<&User> {
        let hash = digest(&SHA256, password);
        let mut found = None;
        for user in &self.users {
            let mut matches = false;
            for accepted in &user.password_hashes {
                matches |= verify_slices_are_equal(accepted, hash.as_ref()).is_ok();
            }
            // `&`, not `&&`: which of the three failed must not show in the time.
            let named = verify_slices_are_equal(user.name.as_bytes(), name).is_ok();
            if matches & named & user.enabled {
                found = Some(user);
            }
        }
        found
    }
}

impl Users {
    /// Whether there is a user of this name, enabled or not. For whoever has logged in already.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.users.iter().any(|user| user.name == name)
    }

    /// The enabled user whom a certificate with these names belongs to; nobody when they belong to several.
    pub(crate) fn by_certificate(&self, names: &[String]) -> Option<&User> {
        let is_meant = |user: &&User| {
            user.enabled && names.iter().any(|name| *name == user.name || user.certificates.contains(name))
        };
        let mut meant = self.users.iter().filter(is_meant);
        meant.next().filter(|_| meant.next().is_none())
    }

    /// The enabled user of this name, for a session whose certificate was that user's.
    pub(crate) fn named(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.enabled && user.name == name)
    }

    /// Whether anyone could log in with a password.
    pub(crate) fn has_passwords(&self) -> bool {
        self.users.iter().any(|user| user.enabled && !user.password_hashes.is_empty())
    }
}

/// Reads the file at `path`; findings name it, not the file that named it. `Err` when it cannot be opened.
pub(super) fn read(path: &Path, findings: &Findings) -> Result<Users, String> {
    let text = files::text(path)?;
    let source = Source::new(findings, path, &text);
    let table = match DeTable::parse_recoverable(&text) {
        (table, errors) if errors.is_empty() => table,
        (_, errors) => {
            source.syntax(&errors);
            return Ok(Users::default());
        }
    };
    let file = Section::open(&source, &keys::USERS_FILE, table.get_ref(), 0);
    let sections = file.sections("user", &keys::USER);
    if sections.is_empty() && !file.has("user") {
        file.error("user", "no [[user]] in this file, so nobody could log in; `redan passwd` makes an entry");
    }
    file.close();
    if files::readable_by_all(path) {
        source.warn(0, "every user of this machine can read these hashes and try passwords on them; chmod o-r it");
    }
    let mut names = HashSet::new();
    let mut certificates = HashSet::new();
    let users = sections.into_iter().filter_map(|section| user(section, &mut names, &mut certificates)).collect();
    Ok(Users { users })
}

fn user<'a>(
    section: Section<'a>,
    names: &mut HashSet<&'a str>,
    certificates_of_all: &mut HashSet<&'a str>,
) -> Option<User> {
    let name = section.required("name", "\"app\"");
    if let Some(name) = name {
        if name.text.is_empty() || name.text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            section.error("name", "a user's name has at least one letter and no spaces; correct it");
        }
        if !names.insert(name.text) {
            section.error("name", format!("user \"{}\" was defined above; remove one of them", name.text));
        }
    }
    let example = "[\"sha256:…\"] (`redan passwd` makes one)";
    // Who has a certificate needs no password.
    let list = if section.has("certificates") {
        section.optional_list("passwords", example)
    } else {
        section.list("passwords", example)
    };
    let hashes = list.unwrap_or_default().iter().filter_map(|value| {
        let Some(text) = value.get_ref().as_str() else {
            section.source().error(value.span().start, "a password hash is text in quotes; `redan passwd` makes one");
            return None;
        };
        let hash = values::password_hash(text);
        hash.map_err(|why| section.source().error(value.span().start, format!("`passwords`: {why}"))).ok()
    });
    let password_hashes = hashes.collect();
    let certificates = certificates(&section, certificates_of_all);
    let enabled = section.boolean("enabled").unwrap_or(true);
    let permissions = permissions::read(&section);
    section.close();
    Some(User { name: name?.text.to_owned(), password_hashes, certificates, enabled, permissions })
}

/// Names in certificates; each may be one user's alone.
fn certificates<'a>(section: &Section<'a>, of_all: &mut HashSet<&'a str>) -> Vec<String> {
    let elements = section.optional_list("certificates", "[\"app.example.org\"]").unwrap_or_default();
    let name = |value: &'a toml::Spanned<toml::de::DeValue<'a>>| {
        let at = value.span().start;
        let Some(name) = value.get_ref().as_str().filter(|name| !name.is_empty()) else {
            section.source().error(at, "a name in a certificate is text in quotes; correct it");
            return None;
        };
        if !of_all.insert(name) {
            section.source().error(at, format!("certificates named \"{name}\" belong to another user too; remove one"));
        }
        Some(name.to_owned())
    };
    elements.iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(password: &str) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, password.as_bytes()).as_ref());
        bytes
    }

    #[test]
    fn a_user_is_known_by_name_and_any_of_its_passwords_while_enabled() {
        let user = |name: &str, passwords: &[&str], enabled| User {
            name: name.to_owned(),
            password_hashes: passwords.iter().map(|password| hash(password)).collect(),
            enabled,
            permissions: None,
            certificates: Vec::new(),
        };
        let users = Users {
            users: vec![
                user("app", &["old", "new"], true),
                user("batch", &["b"], true),
                user("gone", &["g"], false),
                user("default", &["d"], true),
                user("none", &[], true),
            ],
        };
        for (name, password, expected) in [
            ("app", "old", true),
            ("app", "new", true),
            ("app", "b", false),
            ("app", "", false),
            ("batch", "b", true),
            ("batch", "new", false),
            ("gone", "g", false),
            ("default", "d", true),
            ("none", "", false),
            ("nobody", "new", false),
            ("", "d", false),
            ("ap", "new", false),
        ] {
            let found = users.verify(name.as_bytes(), password.as_bytes()).map(|user| user.name.as_str());
            assert_eq!(found, expected.then_some(name), "{name} {password}");
        }
        assert!(users.verify(b"app\xff", b"new").is_none());
        assert!(Users::default().verify(b"default", b"").is_none());
    }

    #[test]
    fn hashes_are_those_redis_writes() {
        // `ACL SETUSER x >foo` and `ACL LIST` on Redis 7.0.
        let shown = "#2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
        assert_eq!(values::password_hash(shown), Ok(hash("foo")));
    }
}
