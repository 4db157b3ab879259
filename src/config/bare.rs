//! A configuration without a file: variables `REDAN_…` of the environment, one for each setting, for containers.
//!
//! Used by `run` and `check` when no file is named. It writes the `proxy.toml` that these variables stand for, one
//! listener and one group, and the readers of files do the rest: nothing in here may know what a setting means.

use std::collections::BTreeMap;

use super::group::Environment;
use super::keys::{self, Kind};
use super::report::Errors;
use super::{Config, read};

/// What every variable begins with.
const OURS: &str = "REDAN_";

/// A table of the file, and what its settings' variables have between `REDAN_` and the setting's name.
struct Place {
    prefix: &'static str,
    header: &'static str,
    kind: &'static Kind,
    /// Settings that the variables do not reach here: tables, names, and what another table's setting is called.
    without: &'static [&'static str],
}

/// In the order of the file. Where two tables have a setting of the same name, one of them is `without` it.
static PLACES: [Place; 9] = [
    Place { prefix: "", header: "[redan]", kind: &keys::REDAN, without: &["log", "user"] },
    Place { prefix: "log_", header: "[redan.log]", kind: &keys::LOG, without: &[] },
    Place {
        prefix: "",
        header: "[[listener]]\nname = \"app\"",
        kind: &keys::LISTENER,
        without: &["name", "group", "tls", "output_limit"],
    },
    Place { prefix: "tls_", header: "[listener.tls]", kind: &keys::LISTENER_TLS, without: &["certificates"] },
    Place { prefix: "output_limit_", header: "[listener.output_limit]", kind: &keys::OUTPUT_LIMIT, without: &[] },
    Place {
        prefix: "",
        header: "[[group]]\nname = \"main\"",
        kind: &keys::GROUP,
        without: &["name", "tls", "sentinel", "map", "password_env"],
    },
    Place { prefix: "node_tls_", header: "[group.tls]", kind: &keys::NODE_TLS, without: &[] },
    Place { prefix: "sentinel_", header: "[group.sentinel]", kind: &keys::SENTINEL, without: &["tls", "password_env"] },
    Place { prefix: "sentinel_tls_", header: "[group.sentinel.tls]", kind: &keys::NODE_TLS, without: &[] },
];

/// Settings that are lists: their variables hold the elements with commas between them.
const LISTS: [&str; 5] = ["nodes", "addresses", "allow", "deny", "pins"];

/// Variables that hold a password itself, by their place's prefix: the setting names the variable.
const PASSWORDS: [(&str, &str); 2] = [("REDAN_PASSWORD", ""), ("REDAN_SENTINEL_PASSWORD", "sentinel_")];

/// Reads the configuration that stands in the variables `REDAN_…`.
pub(crate) fn load_environment() -> Result<Config, Errors> {
    // A name that is no text is none of ours.
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    load_from(names.collect(), &|name| std::env::var(name))
}

fn load_from(names: Vec<String>, environment: Environment<'_>) -> Result<Config, Errors> {
    // An empty variable is one that is not set: compose files pass on what they do not have as that.
    let is_set = |name: &String| name.starts_with(OURS) && environment(name) != Ok(String::new());
    let names: Vec<String> = names.into_iter().filter(is_set).collect();
    let has = |name: &str| names.iter().any(|known| known == name);
    let mut wrong = Vec::new();
    if !has("REDAN_BIND") {
        wrong.push(
            "REDAN_BIND is not set and no file is named: name a configuration file, or set it to where clients \
                    connect, 127.0.0.1:6379 for instance"
                .to_owned(),
        );
    }
    if !has("REDAN_NODES") && !has("REDAN_SENTINEL_ADDRESSES") {
        wrong.push(
            "neither REDAN_NODES nor REDAN_SENTINEL_ADDRESSES is set and no file is named: name a configuration \
                    file, or set one of them, REDAN_NODES=redis-0:6379,redis-1:6379 for instance"
                .to_owned(),
        );
    }
    let text = match (written(&names), wrong.is_empty()) {
        (Ok(text), true) => text,
        (Ok(_), false) => return Err(Errors::of(wrong)),
        (Err(unknown), _) => return Err(Errors::of(wrong.into_iter().chain(unknown).collect())),
    };
    read::load_text(&text, environment).map_err(|errors| {
        errors.and("(a setting that is named here, `plaintext = \"allow\"` say, is the variable REDAN_PLAINTEXT=allow)")
    })
}

/// The file that the variables stand for, or a sentence for each that stands for nothing.
fn written(names: &[String]) -> Result<String, Vec<String>> {
    let mut tables: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let mut unknown = Vec::new();
    for name in names {
        match line(name) {
            Some((place, line)) => tables.entry(place).or_default().push(line),
            None if is_of_an_orchestrator(name) => {}
            None => unknown.push(not_known(name)),
        }
    }
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let mut text = String::new();
    for (index, place) in PLACES.iter().enumerate() {
        let lines = tables.remove(&index).unwrap_or_default();
        // There is always a listener and a group.
        if !lines.is_empty() || place.header.starts_with("[[") {
            text += &format!("{}\n{}\n", place.header, lines.join("\n"));
        }
    }
    Ok(text)
}

/// Which table the variable belongs to, and its line there.
fn line(name: &str) -> Option<(usize, String)> {
    if let Some((_, prefix)) = PASSWORDS.iter().find(|(known, _)| *known == name) {
        let place =
            PLACES.iter().position(|place| place.prefix == *prefix && place.kind.keys.contains(&"password_env"));
        return Some((place?, format!("password_env = \"{name}\"")));
    }
    let (index, key) =
        settings().find(|(index, key)| variable(*index, key) == name).map(|(index, key)| (index, *key))?;
    Some((
        index,
        if LISTS.contains(&key) { format!("{key} = [\"${{{name}}}\"]") } else { format!("{key} = \"${{{name}}}\"") },
    ))
}

/// Every setting that a variable reaches, with its table.
fn settings() -> impl Iterator<Item = (usize, &'static &'static str)> {
    let of = |(index, place): (usize, &'static Place)| {
        let keys = place.kind.keys.iter().filter(|key| !place.without.contains(key));
        keys.map(move |key| (index, key))
    };
    PLACES.iter().enumerate().flat_map(of)
}

fn variable(place: usize, key: &str) -> String {
    format!("{OURS}{}{key}", PLACES[place].prefix).to_uppercase()
}

/// Kubernetes and Docker tell a container of the services beside it by variables; of one that is called `redan`, or
/// `redan-…`, in names that begin as these do: REDAN_PORT, REDAN_SERVICE_HOST, REDAN_PORT_6379_TCP_ADDR.
fn is_of_an_orchestrator(name: &str) -> bool {
    name.ends_with("_PORT") || name.contains("_SERVICE_") || name.contains("_PORT_")
}

fn not_known(name: &str) -> String {
    let all: Vec<String> = settings().map(|(index, key)| variable(index, key)).collect();
    let meant = keys::nearest(name, all.iter().map(String::as_str));
    let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
    format!(
        "{name} stands for no setting{meant} (docs/configuration.md lists settings; unset it, or use a file for more)"
    )
}

#[cfg(test)]
mod tests {
    use std::env::VarError;

    use super::*;
    use crate::config::{Bind, Reads};

    fn load(variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let environment = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned()).ok_or(VarError::NotPresent)
        };
        let names = variables.iter().map(|(name, _)| (*name).to_owned()).collect();
        load_from(names, &environment).map_err(|errors| errors.lines().to_vec())
    }

    const LEAST: [(&str, &str); 2] = [("REDAN_BIND", "127.0.0.1:6379"), ("REDAN_NODES", "redis-0:6379,redis-1:6379")];

    fn with<'a>(more: &[(&'a str, &'a str)]) -> Result<Config, Vec<String>> {
        load(&[&LEAST[..], more].concat())
    }

    #[test]
    fn two_variables_are_a_configuration() {
        let config = load(&LEAST).unwrap();
        assert_eq!(config.listeners[0].bind, Bind::Tcp("127.0.0.1:6379".parse().unwrap()));
        let nodes: Vec<&str> = config.groups[0].seeds.iter().map(|seed| &*seed.address).collect();
        assert_eq!(nodes, ["redis-0:6379", "redis-1:6379"]);
    }

    #[test]
    fn every_kind_of_setting_has_a_variable() {
        let config = with(&[
            ("PATH", "/bin"),
            ("REDAN_WORKERS", "3"),
            ("REDAN_LOG_FORMAT", "json"),
            ("REDAN_READS", "any"),
            ("REDAN_DENY", "flushall, @dangerous"),
            ("REDAN_OUTPUT_LIMIT_NORMAL", "128mb"),
            ("REDAN_MAX_CLIENTS", "77"),
            ("REDAN_FENCE", "true"),
            ("REDAN_USER", "redan"),
            ("REDAN_PASSWORD", "secret"),
            ("REDAN_SENTINEL_MASTER", "mymaster"),
            ("REDAN_SENTINEL_ADDRESSES", "s1:5000,s2:5000"),
            ("REDAN_SENTINEL_PASSWORD", "other"),
            ("REDAN_HOLD", ""),
            // Of the services `redan` and `redan-admin`.
            ("REDAN_PORT", "tcp://10.0.0.1:6379"),
            ("REDAN_PORT_6379_TCP_ADDR", "10.0.0.1"),
            ("REDAN_SERVICE_HOST", "10.0.0.1"),
            ("REDAN_ADMIN_SERVICE_PORT_HTTP", "9180"),
            ("REDAN_ADMIN_PORT", "tcp://10.0.0.1:9180"),
        ])
        .unwrap();
        let (listener, group) = (&config.listeners[0], &config.groups[0]);
        assert_eq!((config.workers, listener.reads, listener.max_clients), (3, Reads::Any, 77));
        assert!(listener.permissions.is_some() && group.fence.is_some());
        assert_eq!(group.access.password.as_ref().unwrap().reveal(), "secret");
        assert_eq!(group.access.user.as_deref(), Some("redan"));
        let sentinel = group.sentinel.as_ref().unwrap();
        assert_eq!((sentinel.master.as_str(), sentinel.addresses.len()), ("mymaster", 2));
        assert_eq!(sentinel.access.password.as_ref().unwrap().reveal(), "other");
    }

    #[test]
    fn mistakes_name_the_variable() {
        let first = |result: Result<Config, Vec<String>>| result.map(drop).unwrap_err().remove(0);
        let both = load(&[]).unwrap_err();
        assert!(
            both[0].starts_with("REDAN_BIND is not set") && both[1].starts_with("neither REDAN_NODES nor"),
            "{both:?}"
        );
        for (name, value, why) in [
            ("REDAN_READS", "replicas", "REDAN_READS: `reads`: \"replicas\" is no choice (\"replica\"?)"),
            ("REDAN_WORKERS", "many", "REDAN_WORKERS: `workers` is out of range; write a whole number"),
            ("REDAN_FENCE", "yes", "REDAN_FENCE: `fence` is of type string; write true or false"),
            ("REDAN_NODES", "redis-0:6379,redis-1", "REDAN_NODES: `nodes`: \"redis-1\" is not a node's address"),
            ("REDAN_PASSWORD_FILE", "/no/such", "REDAN_PASSWORD_FILE: `password_file`: /no/such cannot be read"),
            ("REDAN_DOWN_AFTER", "5s", "REDAN_DOWN_AFTER: `down_after` has a meaning only with"),
            ("REDAN_HODL", "5s", "REDAN_HODL stands for no setting; did you mean REDAN_HOLD?"),
            ("REDAN_PASSWORD_ENV", "X", "REDAN_PASSWORD_ENV stands for no setting"),
        ] {
            let mut variables: Vec<_> = LEAST.into_iter().filter(|(known, _)| *known != name).collect();
            variables.push((name, value));
            let error = first(load(&variables));
            assert!(error.starts_with(why), "{name}={value}: {error}");
        }
        let open = load(&[("REDAN_BIND", "0.0.0.0:6379"), LEAST[1]]).unwrap_err();
        assert!(open[0].starts_with("REDAN_BIND: "), "{open:?}");
        assert!(open.last().unwrap().contains("REDAN_PLAINTEXT=allow"), "{open:?}");
    }

    #[test]
    fn no_two_settings_have_the_same_variable() {
        let mut all: Vec<String> = settings().map(|(index, key)| variable(index, key)).collect();
        all.sort();
        let twice: Vec<_> = all.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "one of the places must be `without` it: {twice:?}");
    }
}
