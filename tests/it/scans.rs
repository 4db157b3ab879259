//! Iterations with cursors: whole also when the node that gave the cursor is not the master any more.

use std::collections::BTreeSet;

use crate::support::client::{Client, command, pipeline};
use crate::support::group::Group;
use crate::support::redis::eventually;

/// Enough for several pages, and too many for the compact encoding of small hashes and sets.
const ELEMENTS: usize = 1000;

/// The cursor and the elements of one page.
fn page(client: &mut Client, words: &[&str]) -> (String, Vec<String>) {
    let reply = client.ask(words);
    assert!(reply.starts_with("*2\r\n"), "{words:?} was answered {reply:?}");
    let mut lines = reply.split("\r\n").filter(|line| !line.starts_with(['*', '$']) && !line.is_empty());
    let cursor = lines.next().expect("a cursor").to_owned();
    (cursor, lines.map(str::to_owned).collect())
}

fn fill(client: &mut Client) {
    let mut bytes = Vec::new();
    for element in 0..ELEMENTS {
        let (key, element) = (format!("key:{element}"), format!("element:{element}"));
        for words in [
            &["SET", &key, "x"][..],
            &["HSET", "hash", &element, "x"],
            &["SADD", "set", &element],
            &["ZADD", "zset", "1", &element],
        ] {
            bytes.extend_from_slice(&command(words));
        }
    }
    client.raw(&bytes);
    (0..ELEMENTS * 4).for_each(|_| assert!(!client.reply().starts_with('-')));
}

/// What the four kinds of iteration are asked with, and how many words a page has per element.
const KINDS: [(&[&str], &str, usize); 4] = [
    (&["SCAN"], "key:", 1),
    (&["HSCAN", "hash"], "element:", 2),
    (&["SSCAN", "set"], "element:", 1),
    (&["ZSCAN", "zset"], "element:", 2),
];

fn iterate(
    client: impl Fn() -> Client,
    opening: &[&str],
    prefix: &str,
    words_per_element: usize,
    mut between: impl FnMut(usize),
) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut cursor = "0".to_owned();
    for turn in 0.. {
        assert!(turn < 10 * ELEMENTS, "the iteration does not end");
        let mut words = opening.to_vec();
        words.extend([cursor.as_str(), "COUNT", "50"]);
        // Each page over another connection, as pooled clients do.
        let (next, elements) = page(&mut client(), &words);
        seen.extend(elements.into_iter().step_by(words_per_element).filter(|element| element.starts_with(prefix)));
        if next == "0" {
            break;
        }
        assert!(next.parse::<u64>().expect("a number") < 1 << 53, "JavaScript cannot read {next}");
        cursor = next;
        between(turn);
    }
    seen
}

#[test]
fn no_element_is_missed_when_the_master_moves_between_two_pages() {
    let group = Group::start("reads = \"replica\"");
    fill(&mut group.endpoint.client());
    for (round, (opening, prefix, words)) in KINDS.into_iter().enumerate() {
        let (from, to) = (round % 2, (round + 1) % 2);
        let seen = iterate(
            || group.endpoint.client(),
            opening,
            prefix,
            words,
            |turn| {
                if turn == 8 {
                    group.move_master(from, to);
                    group.wait_for_master(to);
                }
            },
        );
        assert_eq!(seen.len(), ELEMENTS, "{opening:?}");
    }
}

#[test]
fn no_element_is_missed_when_the_master_is_restarted_between_two_pages() {
    let mut group = Group::start("reads = \"master\"");
    fill(&mut group.endpoint.client());
    let (cursor, first) = page(&mut group.endpoint.client(), &["SCAN", "0", "COUNT", "50"]);
    assert_ne!(cursor, "0");
    // A replica's full sync may still be saving.
    eventually("the data set is saved", || group.servers[0].command(&["SAVE"]) == "+OK\r\n");
    group.servers[0].restart();
    group.endpoint.wait_for_readable(3);
    let mut seen: BTreeSet<String> = first.into_iter().filter(|key| key.starts_with("key:")).collect();
    let mut cursor = cursor;
    while cursor != "0" {
        let (next, keys) = page(&mut group.endpoint.client(), &["SCAN", &cursor, "COUNT", "50"]);
        seen.extend(keys.into_iter().filter(|key| key.starts_with("key:")));
        cursor = next;
    }
    assert_eq!(seen.len(), ELEMENTS);
}

#[test]
fn a_page_larger_than_what_is_gathered_has_its_cursor_marked_too() {
    let group = Group::start("");
    fill(&mut group.endpoint.client());
    let mut client = group.endpoint.client();
    // Some 130 KiB of keys.
    let pad = "x".repeat(150);
    for key in 0..ELEMENTS {
        client.send(&["SET", &format!("key:{key}:{pad}"), "x"]);
    }
    (0..ELEMENTS).for_each(|_| assert_eq!(client.reply(), "+OK\r\n"));
    let (cursor, keys) = page(&mut client, &["SCAN", "0", "COUNT", "1500"]);
    assert!(keys.len() > 1000 && cursor.parse::<u64>().expect("a number") >= 1 << 33, "{cursor}");
    let (end, rest) = page(&mut client, &["SCAN", &cursor, "COUNT", "3000"]);
    assert_eq!(end, "0");
    let all: BTreeSet<&String> = keys.iter().chain(&rest).collect();
    assert_eq!(all.len(), 2 * ELEMENTS + 3);
}

#[test]
fn cursors_are_right_behind_watch_and_in_transactions_too() {
    let group = Group::start("");
    fill(&mut group.endpoint.client());
    let mut client = group.endpoint.client();
    let (cursor, _) = page(&mut client, &["SCAN", "0", "COUNT", "50"]);
    client.ok(&["WATCH", "somekey"]);
    let (watched, _) = page(&mut client, &["SCAN", &cursor, "COUNT", "50"]);
    let (alone, _) = page(&mut group.endpoint.client(), &["SCAN", &cursor, "COUNT", "50"]);
    assert_eq!(watched, alone);
    client.ok(&["UNWATCH"]);
    let expected = client.ask(&["SCAN", &cursor, "COUNT", "50"]);
    for whole in [true, false] {
        let scan = ["SCAN", &cursor, "COUNT", "50"];
        if whole {
            client.raw(&pipeline(&[&["MULTI"], &scan, &["EXEC"]]));
        } else {
            client.send(&["MULTI"]);
            assert_eq!(client.reply(), "+OK\r\n");
            client.send(&scan);
            assert_eq!(client.reply(), "+QUEUED\r\n");
            client.send(&["EXEC"]);
        }
        if whole {
            assert_eq!(client.reply(), "+OK\r\n");
            assert_eq!(client.reply(), "+QUEUED\r\n");
        }
        assert_eq!(client.reply(), format!("*1\r\n{expected}"));
    }
}

#[test]
fn info_has_a_section_of_redans_own_behind_the_masters() {
    let group = Group::start("reads = \"any\"");
    for mut client in [group.endpoint.client(), group.endpoint.resp3()] {
        for words in [&["INFO"][..], &["INFO", "everything"], &["info", "redan"], &["INFO", "server", "redan"]] {
            let reply = client.ask(words);
            assert!(reply.contains("# Redan\r\nredan_version:"), "{words:?}: {reply}");
            assert!(reply.contains(&format!("redan_master:{}\r\n", group.servers[0].address())), "{words:?}: {reply}");
            assert_eq!(reply.contains("redis_version:"), words != ["info", "redan"], "{words:?}: {reply}");
        }
        let reply = client.ask(&["INFO", "replication"]);
        assert!(reply.contains("role:master") && !reply.contains("# Redan"), "{reply}");
    }
}
