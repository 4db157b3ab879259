//! What differs between two configurations, in the words of their files, and what it takes to go from one to the other.
//!
//! Pure: reload and `redan diff` ask. It says what differs; `app` makes it so. It must never call a difference nothing that
//! would change what Redan does.

use std::fmt;
use std::mem::discriminant;

use super::effect::Effect;
use super::sheet::{Entry, Place};
use super::{Access, Config, Group, Listener, Secret, Users};

/// Longer texts, lists of nodes for instance, are cut.
const SHOWN: usize = 60;

#[derive(Debug, Default)]
pub(crate) struct Diff {
    /// The process first, then groups, links and listeners.
    pub(crate) items: Vec<Item>,
}

/// One difference.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) place: Place,
    pub(crate) what: What,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum What {
    Added,
    Removed,
    /// Under the same name stands something else, for this reason.
    Replaced(&'static str),
    Setting(Setting),
    /// Other things stand in a file that it names.
    Contents {
        words: String,
        effect: Effect,
    },
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) key: String,
    /// `None`: it is not written there.
    pub(crate) before: Option<String>,
    pub(crate) now: Option<String>,
    pub(crate) effect: Effect,
    /// Where it stands, or stood: `proxy.toml:12`.
    pub(crate) at: String,
}

impl Item {
    /// Whom it reaches.
    pub(crate) fn effect(&self) -> Effect {
        match &self.what {
            What::Added => Effect::New,
            What::Removed | What::Replaced(_) => Effect::Ends,
            What::Setting(setting) => setting.effect,
            What::Contents { effect, .. } => *effect,
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)?;
        match &self.what {
            What::Added => f.write_str(" is new"),
            What::Removed => f.write_str(" is gone"),
            What::Replaced(why) => write!(f, " is another one: {why}"),
            What::Contents { words, .. } => write!(f, ": {words}"),
            What::Setting(Setting { key, before, now, .. }) => {
                let show = |text: &Option<String>| text.as_deref().map_or_else(|| "(unset)".to_owned(), cut);
                write!(f, ": {key} {} → {}", show(before), show(now))
            }
        }
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl Diff {
    pub(crate) fn between(old: &Config, new: &Config) -> Self {
        let mut diff = Self::default();
        diff.settings(old, new, &Place::Process);
        let names = |config: &Config| config.groups.iter().map(|group| group.name.clone()).collect();
        for name in diff.sections(names(old), names(new), Place::Group) {
            let found = |config: &Config| config.groups.iter().position(|group| group.name == name);
            if let (Some(before), Some(now)) = (found(old), found(new)) {
                diff.group(old, new, &old.groups[before], &new.groups[now]);
            }
        }
        let names = |config: &Config| config.links.iter().map(|link| link.name.clone()).collect();
        for name in diff.sections(names(old), names(new), Place::Link) {
            let place = Place::Link(name.clone());
            let found = |config: &Config| config.links.iter().position(|link| link.name == name);
            if let (Some(before), Some(now)) = (found(old), found(new)) {
                let (before, now) = (&old.links[before], &new.links[now]);
                diff.settings(old, new, &place);
                if before.is_exit() != now.is_exit() || discriminant(&before.trust) != discriminant(&now.trust) {
                    diff.add(&place, What::Replaced("its two ends must agree on what it is"));
                } else {
                    diff.is_harmless(&place, "mode");
                }
            }
        }
        let names = |config: &Config| config.listeners.iter().map(|listener| listener.name.clone()).collect();
        for name in diff.sections(names(old), names(new), Place::Listener) {
            let found = |config: &Config| config.listeners.iter().position(|listener| listener.name == name);
            if let (Some(before), Some(now)) = (found(old), found(new)) {
                diff.listener(old, new, &old.listeners[before], &new.listeners[now]);
            }
        }
        diff
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn of<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = &'a Item> {
        self.items.iter().filter(move |item| item.place == *place)
    }

    /// Whether anything of it differs.
    pub(crate) fn touches(&self, place: &Place) -> bool {
        self.of(place).next().is_some()
    }

    /// Whether whoever is connected to it cannot go on.
    pub(crate) fn ends(&self, place: &Place) -> bool {
        self.of(place).any(|item| item.effect() == Effect::Ends)
    }

    /// Under the same name stands something else.
    pub(crate) fn replaces(&self, place: &Place) -> bool {
        self.of(place).any(|item| matches!(item.what, What::Replaced(_)))
    }

    /// Whether this setting differs, or one of the table of this name.
    pub(crate) fn has(&self, place: &Place, key: &str) -> bool {
        self.of(place).any(|item| match &item.what {
            What::Setting(setting) => setting.key.split('.').next() == Some(key),
            _ => false,
        })
    }

    /// What takes a restart, each with its place in the file.
    pub(crate) fn restarts(&self) -> Vec<String> {
        let needed = |item: &Item| match &item.what {
            What::Setting(setting) if setting.effect == Effect::Restart => {
                Some(format!("{}: {item}: this takes a restart", setting.at))
            }
            _ => None,
        };
        self.items.iter().filter_map(needed).collect()
    }

    /// The setting is written otherwise, and means the same.
    fn is_harmless(&mut self, place: &Place, key: &str) {
        for item in self.items.iter_mut().filter(|item| item.place == *place) {
            if let What::Setting(setting) = &mut item.what
                && setting.key == key
            {
                setting.effect = Effect::Live;
            }
        }
    }

    fn add(&mut self, place: &Place, what: What) {
        self.items.push(Item { place: place.clone(), what });
    }

    /// Notes what is new and what is gone; returns what is in both.
    fn sections(&mut self, old: Vec<String>, new: Vec<String>, place: fn(String) -> Place) -> Vec<String> {
        for name in old.iter().filter(|name| !new.contains(name)) {
            self.add(&place(name.clone()), What::Removed);
        }
        for name in new.iter().filter(|name| !old.contains(name)) {
            self.add(&place(name.clone()), What::Added);
        }
        old.into_iter().filter(|name| new.contains(name)).collect()
    }

    fn settings(&mut self, old: &Config, new: &Config, place: &Place) {
        let at = |config: &Config, line: usize| format!("{}:{line}", config.sheet.path.display());
        let now = |key: &str| new.sheet.of_place(place).find(|entry| entry.key == key);
        for Entry { key, text, line, effect, .. } in old.sheet.of_place(place) {
            let found = now(key);
            if found.is_none_or(|found| found.text != *text) {
                let at = found.map_or_else(|| at(old, *line), |found| at(new, found.line));
                let (before, now) = (Some(text.clone()), found.map(|found| found.text.clone()));
                self.add(place, What::Setting(Setting { key: key.clone(), before, now, effect: *effect, at }));
            }
        }
        for Entry { key, text, line, effect, .. } in new.sheet.of_place(place) {
            if old.sheet.of_place(place).all(|entry| entry.key != *key) {
                let (key, now, at) = (key.clone(), Some(text.clone()), at(new, *line));
                self.add(place, What::Setting(Setting { key, before: None, now, effect: *effect, at }));
            }
        }
    }

    fn group(&mut self, old: &Config, new: &Config, before: &Group, now: &Group) {
        let place = Place::Group(now.name.clone());
        self.settings(old, new, &place);
        if secrets(before) != secrets(now) {
            let words = "the password for its nodes is another one".to_owned();
            self.add(&place, What::Contents { words, effect: Effect::New });
        }
        if before.zone != now.zone {
            let words = "the zone that Redan runs in is another one".to_owned();
            self.add(&place, What::Contents { words, effect: Effect::Live });
        }
        if is_another(before, now) {
            self.add(&place, What::Replaced("none of its `nodes` or `sentinel` is as before"));
        }
    }

    fn listener(&mut self, old: &Config, new: &Config, before: &Listener, now: &Listener) {
        let place = Place::Listener(now.name.clone());
        self.settings(old, new, &place);
        let [was, is] = [(old, before), (new, now)].map(|(config, listener)| &config.groups[listener.group].name);
        if was == is {
            self.is_harmless(&place, "group");
        }
        if was != is && !self.has(&place, "group") {
            self.add(&place, What::Replaced("it serves another group"));
        } else if self.replaces(&Place::Group(is.clone())) {
            self.add(&place, What::Replaced("its group is another one"));
        }
        if let (Some(before), Some(now)) = (&before.users, &now.users)
            && let Some(words) = users(before, now)
        {
            self.add(&place, What::Contents { words, effect: Effect::Live });
        }
    }
}

/// Whether the two are about different servers, so that nothing known of the one holds for the other.
fn is_another(before: &Group, now: &Group) -> bool {
    let same_nodes = before.seeds.iter().any(|seed| now.seeds.iter().any(|other| other.address == seed.address));
    let master = |group: &Group| group.sentinel.as_ref().map(|sentinel| sentinel.master.clone());
    let same_sentinel = master(before).is_some() && master(before) == master(now);
    !same_nodes && !same_sentinel
}

/// Every user and password by which Redan is known to a node or Sentinel.
fn secrets(group: &Group) -> Vec<(Option<&String>, Option<&Secret>)> {
    let nodes = group.seeds.iter().map(|seed| &seed.access).chain([&group.access]);
    let all = nodes.chain(group.sentinel.iter().map(|sentinel| &sentinel.access));
    // A change of the user, or of the nodes, is one of the settings.
    let mut all: Vec<_> =
        all.map(|access: &std::sync::Arc<Access>| (access.user.as_ref(), access.password.as_ref())).collect();
    all.sort_by_key(|(user, secret)| (*user, secret.map(Secret::reveal)));
    all.dedup();
    all
}

/// What differs in the files of users.
fn users(before: &Users, now: &Users) -> Option<String> {
    let known = |users: &Users, name: &str| users.users.iter().any(|user| user.name == name);
    let list = |what: &str, names: Vec<&str>| {
        let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
        (!names.is_empty()).then(|| format!("{what} {}", quoted.join(", ")))
    };
    let names = |users: &Users| users.users.iter().map(|user| user.name.clone()).collect::<Vec<_>>();
    let (old, new) = (names(before), names(now));
    let added = new.iter().map(String::as_str).filter(|name| !known(before, name)).collect();
    let removed = old.iter().map(String::as_str).filter(|name| !known(now, name)).collect();
    let changed = now.users.iter().filter(|user| known(before, &user.name) && !before.users.contains(user));
    let changed = changed.map(|user| user.name.as_str()).collect();
    let parts = [list("new", added), list("gone", removed), list("changed", changed)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("users: {}", parts.join("; ")))
}
