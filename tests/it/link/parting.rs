//! Programs that vanish while much is on its way to them: the other end learns of it, and keeps nothing for them.

use std::io::{Read, Write};
use std::time::Duration;

use super::connect;
use crate::support::link::Keys;
use crate::support::redis::{Redis, within};

/// Streams outlive a broken network for 30 s: whoever took this for one would keep them for so long.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_program_that_vanishes_within_an_answer_is_gone_at_the_other_end_too() {
    let (redis, keys) = (Redis::start(), Keys::make());
    redis.ok(&["SET", "large", &"x".repeat(4_000_000)]);
    let (entry, exit) = keys.pair(&redis.address(), "", "");
    let connected = || redis.info("connected_clients").and_then(|count| count.parse::<u32>().ok()).expect("a number");
    for _ in 0..20 {
        let mut program = connect(&entry.address(0));
        program.write_all(b"GET large\r\n").expect("open");
        let mut some = [0; 100];
        program.read_exact(&mut some).expect("an answer begins");
        // Much of it is unread, so its system resets the connection.
        drop(program);
    }
    // The one is the test's own.
    within(SOON, "the server is left by all of them", || connected() == 1);
    assert!(!exit.said().contains("the link broke"), "{}", exit.said());
    assert_eq!(exit.said().matches("the other end says: the connection at the other side broke").count(), 20);
}
