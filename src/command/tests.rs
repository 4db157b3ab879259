//! The routing table against what was decided by hand, row by row, and the hash table against its own data.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::table::rows;
use super::{Kind, Lasts, Local, Pin, Spec, has_block_option, lookup};

/// Written by hand from what servers do, not from the code: kind, then the names that have it.
const EXPECTED: &str = include_str!("expected.tsv");

fn expected() -> BTreeMap<&'static str, &'static str> {
    let mut kinds = BTreeMap::new();
    for line in EXPECTED.lines().skip(1) {
        let (kind, names) = line.split_once('\t').expect("kind, tab, names");
        for name in names.split(' ') {
            assert_eq!(kinds.insert(name, kind), None, "{name} is expected twice");
        }
    }
    kinds
}

/// Every name in the data files, read without the code under test.
fn names() -> Vec<&'static str> {
    let files = [include_str!("commands-7.0.15.tsv"), include_str!("additions.tsv")];
    files.iter().flat_map(|file| file.lines().skip(1)).map(|line| line.split('\t').next().expect("a name")).collect()
}

fn find(name: &str) -> Option<&'static Spec> {
    match name.split_once('|') {
        Some((container, sub)) => lookup(container.as_bytes(), Some(sub.as_bytes())),
        None => lookup(name.as_bytes(), None),
    }
}

#[test]
fn every_row_has_the_kind_decided_by_hand() {
    let expected = expected();
    let wrong: Vec<String> = names()
        .into_iter()
        .filter_map(|name| {
            let spec = find(name).unwrap_or_else(|| panic!("{name} is not in the table"));
            let found = if spec.name == name { format!("{:?}", spec.kind) } else { format!("row of {}", spec.name) };
            let wanted = expected.get(name).copied().unwrap_or("nothing: add it to expected.tsv");
            (found != wanted).then(|| format!("{name}: {found}, expected {wanted}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn expectations_and_rows_are_the_same_set() {
    let names = names();
    let set: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(set.len(), names.len(), "a name has two rows");
    assert_eq!(set, expected().into_keys().collect());
    assert_eq!(rows().map(|spec| spec.name).collect::<BTreeSet<_>>(), set);
    // The probe ends at a free slot; above three quarters it would get slow too.
    assert!(names.len() < 1024 * 3 / 4, "enlarge SLOT_BITS");
}

/// A replica must never get what is not a plain read: every `Read` carries the server's own `readonly` flag.
#[test]
fn whatever_may_go_to_a_replica_is_readonly_for_servers_too() {
    let files = [include_str!("commands-7.0.15.tsv"), include_str!("additions.tsv")];
    for line in files.iter().flat_map(|file| file.lines().skip(1)) {
        let columns: Vec<&str> = line.split('\t').collect();
        let flags: Vec<&str> = columns[2].split(',').collect();
        let kind = find(columns[0]).expect("every row is found").kind;
        if matches!(kind, Kind::Read | Kind::ReadUnlessBlock) {
            // TIME has no key and no data; servers do not bother to flag it.
            assert!(flags.contains(&"readonly") || columns[0] == "time", "{line}");
        }
        if flags.contains(&"write") {
            assert!(!matches!(kind, Kind::Read | Kind::MasterRead | Kind::ReadUnlessBlock), "{line}");
        }
    }
}

#[test]
fn containers_resolve_to_the_subcommand_where_there_is_one() {
    let name = |name: &str, second: &str| lookup(name.as_bytes(), Some(second.as_bytes())).map(|spec| spec.name);
    assert_eq!(name("CONFIG", "GET"), Some("config|get"));
    assert_eq!(name("config", "nonsense"), Some("config"));
    assert_eq!(name("config", ""), Some("config"));
    assert_eq!(name("Cluster", "Count-Failure-Reports"), Some("cluster|count-failure-reports"));
    // A subcommand belongs to its own container only, and is no command by itself.
    assert_eq!(name("config", "kill"), Some("config"));
    assert_eq!(name("get", "set"), Some("get"));
    assert_eq!(lookup(b"getname", None), None);
    assert_eq!(lookup(b"config|get", None), None);
    assert_eq!(lookup(b"config", None).map(|spec| spec.name), Some("config"));
    // A key that happens to be named like a subcommand of nothing.
    assert_eq!(name("set", "|get"), Some("set"));
}

#[test]
fn near_misses_are_not_found() {
    for name in
        ["", "g", "ge", "gett", "get\0", "\0get", "GET ", "get\r", "g\u{e5}t", "bitfield\u{7f}ro", "se\u{54}\u{80}"]
    {
        assert_eq!(lookup(name.as_bytes(), None), None, "{name:?}");
    }
    // Bytes that differ from a name only by the bit that tells capitals apart, or by more than ASCII has.
    assert_eq!(lookup(b"restore\x0dasking", None), None);
    assert_eq!(lookup(&b"get".map(|byte| byte | 0x80), None), None);
    assert_eq!(lookup(&[b'a'; 200], None), None);
}

proptest! {
    #[test]
    fn case_never_matters(row in any::<prop::sample::Index>(), capitals in any::<u64>()) {
        let names = names();
        let name = names[row.index(names.len())];
        let mixed: String = name
            .char_indices()
            .map(|(at, letter)| if capitals >> at & 1 == 1 { letter.to_ascii_uppercase() } else { letter })
            .collect();
        prop_assert_eq!(find(&mixed).map(|spec| spec.name), Some(name));
    }

    #[test]
    fn finds_exactly_the_names(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
        let folded = bytes.to_ascii_lowercase();
        let wanted = names().into_iter().find(|name| name.as_bytes() == folded);
        prop_assert_eq!(lookup(&bytes, None).map(|spec| spec.name), wanted.filter(|name| !name.contains('|')));
    }
}

#[test]
fn block_is_an_option_only_where_options_stand() {
    let waits = |line: &str| has_block_option(line.split(' ').map(str::as_bytes));
    assert!(waits("XREAD BLOCK 0 STREAMS s $"));
    assert!(waits("xread count 5 block 100 streams s $"));
    assert!(waits("XREADGROUP GROUP g c COUNT 1 NOACK BLOCK 0 STREAMS s >"));
    assert!(waits("XREADGROUP GROUP g c CLAIM 100 BLOCK 0 STREAMS s >"));
    assert!(waits("XREADGROUP GROUP STREAMS STREAMS BLOCK 0 STREAMS s >"));
    assert!(!waits("XREAD STREAMS s 0"));
    assert!(!waits("XREAD STREAMS BLOCK 0"));
    assert!(!waits("XREADGROUP GROUP block BLOCK STREAMS s >"));
    assert!(!waits("XREAD COUNT BLOCK STREAMS s 0"));
    assert!(!waits("BLOCK"));
    assert!(!waits("XREAD"));
    // An option of a server to come: pinned for nothing at worst.
    assert!(waits("XREAD FRESH 7 BLOCK 0 STREAMS s $"));
}

#[test]
fn arity_counts_the_name_and_its_container() {
    let takes = |name: &str, arguments: u32| find(name).expect("a row").takes(arguments);
    assert!(takes("get", 2) && !takes("get", 1) && !takes("get", 3));
    assert!(takes("mget", 2) && takes("mget", 900) && !takes("mget", 1));
    assert!(takes("client|setname", 3) && !takes("client|setname", 2));
    assert!(takes("ping", 1) && takes("ping", 2));
}

#[test]
fn pins_last_as_long_as_the_connection_is_changed() {
    let lasts = |name: &str| match find(name).expect("a row").kind {
        Kind::Pin(pin) => pin.lasts(),
        kind => panic!("{name} is {kind:?}"),
    };
    assert_eq!(lasts("blpop"), Lasts::Command);
    assert_eq!(lasts("wait"), Lasts::Command);
    assert_eq!(lasts("script|kill"), Lasts::Command);
    assert_eq!(lasts("multi"), Lasts::Transaction);
    assert_eq!(lasts("watch"), Lasts::Transaction);
    for name in ["subscribe", "unsubscribe", "client|tracking", "asking", "script|debug"] {
        assert_eq!(lasts(name), Lasts::Session, "{name}");
    }
    assert_eq!(Pin::Unknown.lasts(), Lasts::Command);
    assert_eq!(find("ping").map(|spec| spec.kind), Some(Kind::Local(Local::Ping)));
}

/// What servers derive from the flags when a command does not say it itself (Redis `setImplicitACLCategories`).
#[test]
fn categories_agree_with_flags_and_every_row_has_one_speed() {
    let files = [include_str!("commands-7.0.15.tsv"), include_str!("additions.tsv")];
    for line in files.iter().flat_map(|file| file.lines().skip(1)) {
        let columns: Vec<&str> = line.split('\t').collect();
        let flags: Vec<&str> = columns[2].split(',').collect();
        let categories: Vec<&str> = columns.last().expect("a column").split(',').collect();
        let (flag, category) = (|flag: &str| flags.contains(&flag), |category: &str| categories.contains(&category));
        assert_eq!(category("@fast"), flag("fast"), "{line}");
        assert_ne!(category("@fast"), category("@slow"), "{line}");
        assert!(category("@read") || category("@scripting") || !flag("readonly"), "{line}");
        for (of_flag, of_category) in [
            ("admin", "@admin"),
            ("admin", "@dangerous"),
            ("blocking", "@blocking"),
            ("pubsub", "@pubsub"),
            ("write", "@write"),
        ] {
            // Some commands have a category without the flag: nobody may forget the other way round.
            assert!(category(of_category) || !flag(of_flag), "{line}");
        }
        for category in &categories {
            let known = super::permissions::categories().any(|known| category.strip_prefix('@') == Some(known));
            assert!(known, "{category} of {line}");
        }
        // What is more than its speed, servers leave out only of containers, of HELP and of what shows a node's state.
        let bare = ["acl|", "cluster|", "memory|"].iter().any(|of| columns[0].starts_with(of))
            || columns[0].ends_with("|help")
            || names().iter().any(|name| name.starts_with(&format!("{}|", columns[0])))
            || ["time", "host:", "post"].contains(&columns[0]);
        assert!(categories.len() > 1 || bare, "{line}");
    }
}
