//! What differs between two files, and whom that reaches: a table of changes with the words for each.

use super::super::diff::Diff;
use super::super::sheet::Place;
use super::*;

const BASE: &str = "[redan]\nworkers = 2\n\
    [[group]]\nname = \"main\"\nnodes = [\"10.0.0.1:6379\", \"10.0.0.2:6379\"]\n\
    [[group]]\nname = \"second\"\nnodes = [\"10.0.0.9:6379\"]\n\
    [[listener]]\nname = \"app\"\nbind = \"127.0.0.1:6380\"\ngroup = \"main\"\nhold = \"10s\"\n\
    [[listener]]\nname = \"other\"\nbind = \"127.0.0.1:6381\"\ngroup = \"main\"\nusers = \"users.toml\"\n";

struct Change<'a> {
    from: &'a str,
    to: &'a str,
    /// A line for each difference.
    words: &'a [&'a str],
    /// Whose sessions cannot go on.
    ends: &'a [&'a str],
    restarts: bool,
}

const fn change<'a>(from: &'a str, to: &'a str, words: &'a [&'a str]) -> Change<'a> {
    Change { from, to, words, ends: &[], restarts: false }
}

/// Every change of `table` on its own.
fn check(table: &[Change<'_>]) {
    let directory = Directory::new();
    let old = directory.load(BASE).unwrap();
    for Change { from, to, words, ends, restarts } in table {
        let text = BASE.replacen(from, to, 1);
        assert!(text != BASE, "{from} is in the file");
        let new = directory.load(&text).unwrap_or_else(|errors| panic!("{text}\n{errors:#?}"));
        let diff = Diff::between(&old, &new);
        let said: Vec<String> = diff.items.iter().map(ToString::to_string).collect();
        assert_eq!(said, *words, "{to}");
        for name in ["app", "other"] {
            let place = Place::Listener(name.to_owned());
            assert_eq!(diff.ends(&place), ends.contains(&name), "{to}: sessions of {name}");
        }
        assert_eq!(!diff.restarts().is_empty(), *restarts, "{to}");
    }
}

#[test]
fn each_change_is_told_in_the_words_of_the_file() {
    check(&[
        change("hold = \"10s\"", "# nothing but a remark\nhold = \"10s\"", &[]),
        change("hold = \"10s\"", "hold = \"30s\"", &["listener 'app': hold 10s → 30s"]),
        change("hold = \"10s\"", "", &["listener 'app': hold 10s → (unset)"]),
        change("hold = \"10s\"", "hold = \"10s\"\ndurable = 1", &["listener 'app': durable (unset) → 1"]),
        change(
            "hold = \"10s\"",
            "hold = \"10s\"\noutput_limit = { normal = \"1mb\" }",
            &["listener 'app': output_limit.normal (unset) → 1mb", "listener 'app': output_limit (unset) → { … }"],
        ),
        Change {
            restarts: true,
            ..change(
                "workers = 2",
                "workers = 3\nmax_memory = \"1gb\"",
                &["[redan]: workers 2 → 3", "[redan]: max_memory (unset) → 1gb"],
            )
        },
        change(
            "[redan]\nworkers = 2\n",
            "[redan]\nworkers = 2\n[redan.log]\nlevel = \"warn\"\n",
            &["[redan]: log.level (unset) → warn", "[redan]: log (unset) → { … }"],
        ),
        change(
            "workers = 2",
            "workers = 2\nzone = \"a\"",
            &[
                "[redan]: zone (unset) → a",
                "group 'main': the zone that Redan runs in is another one",
                "group 'second': the zone that Redan runs in is another one",
            ],
        ),
        change(
            "\"10.0.0.2:6379\"",
            "\"10.0.0.3:6379\"",
            &["group 'main': nodes [10.0.0.1:6379, 10.0.0.2:6379] → [10.0.0.1:6379, 10.0.0.3:6379]"],
        ),
    ]);
}

#[test]
fn sessions_end_where_their_listener_is_another_one() {
    let ending = |ends: &'static [&'static str], change: Change<'static>| Change { ends, ..change };
    check(&[
        ending(
            &["app", "other"],
            change(
                "\"10.0.0.1:6379\", \"10.0.0.2:6379\"",
                "\"10.0.0.5:6379\"",
                &[
                    "group 'main': nodes [10.0.0.1:6379, 10.0.0.2:6379] → [10.0.0.5:6379]",
                    "group 'main' is another one: none of its `nodes` or `sentinel` is as before",
                    "listener 'app' is another one: its group is another one",
                    "listener 'other' is another one: its group is another one",
                ],
            ),
        ),
        ending(
            &["app"],
            change("group = \"main\"\nhold", "group = \"second\"\nhold", &["listener 'app': group main → second"]),
        ),
        ending(
            &["app"],
            change("name = \"app\"", "name = \"web\"", &["listener 'app' is gone", "listener 'web' is new"]),
        ),
        ending(
            &["other"],
            change(
                "users = \"users.toml\"",
                "auth = \"passthrough\"",
                &["listener 'other': users users.toml → (unset)", "listener 'other': auth (unset) → passthrough"],
            ),
        ),
    ]);
}

#[test]
fn files_with_other_contents_are_a_difference() {
    let directory = Directory::new();
    let text = BASE.replace("name = \"main\"\n", "name = \"main\"\npassword_file = \"secrets/redis\"\n");
    let old = directory.load(&text).unwrap();
    directory.write("secrets/redis", "another\n");
    let user =
        |name: &str, more: &str| format!("[[user]]\nname = \"{name}\"\npasswords = [\"{SHA256_OF_FOO}\"]\n{more}\n");
    directory.write("users.toml", &(user("app", "deny = [\"get\"]") + &user("new", "")));
    let new = directory.load(&text).unwrap();
    let said: Vec<String> = Diff::between(&old, &new).items.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "group 'main': the password for its nodes is another one",
            "listener 'other': users: new 'new'; changed 'app'"
        ]
    );
    assert!(Diff::between(&new, &new).is_empty());
}

#[test]
fn what_takes_a_restart_names_its_line() {
    let directory = Directory::new();
    let old = directory.load(BASE).unwrap();
    let new = directory.load(&BASE.replace("workers = 2", "workers = 2\nsandbox = \"on\"")).unwrap();
    let restarts = Diff::between(&old, &new).restarts();
    assert_eq!(restarts.len(), 1);
    assert!(restarts[0].ends_with("proxy.toml:3: [redan]: sandbox (unset) → on: this takes a restart"), "{restarts:?}");
}
