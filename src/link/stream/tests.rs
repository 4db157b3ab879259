//! What a stream does with a peer that breaks the rules, and its timers.

use std::time::{Duration, Instant};

use super::super::frame::{Decoder, Event, Position};
use super::*;

const WINDOW: usize = 1000;

fn attached() -> (Stream, Instant) {
    let now = Instant::now();
    let mut stream = Stream::new(WINDOW, now);
    stream.attach(Position { received: 0, delivered: 0, window: 10, takes: 0 }, now).expect("a new stream");
    (stream, now)
}

fn told(stream: &mut Stream, control: Control, now: Instant) -> Result<(), Violation> {
    let mut bytes = Vec::new();
    control.encode(&mut bytes);
    stream.incoming([&bytes[..]], now, &mut |_| 0)
}

fn data(length: usize) -> Vec<u8> {
    let mut bytes = data_header(length).to_vec();
    bytes.extend(vec![b'x'; length]);
    bytes
}

fn says(stream: &mut Stream, now: Instant) -> Vec<Control> {
    let bytes = stream.control(now).unwrap_or_default();
    let (mut rest, mut decoder, mut found) = (&bytes[..], Decoder::default(), Vec::new());
    while let Some(Event::Control(control)) = decoder.next(&mut rest).expect("its own words") {
        found.push(control);
    }
    found
}

#[test]
fn a_peer_that_breaks_the_rules_is_found_out() {
    let (mut stream, now) = attached();
    assert_eq!(told(&mut stream, Control::Ack(1), now), Err(Violation::Ack));
    let (mut stream, now) = attached();
    assert_eq!(told(&mut stream, Control::Fin(1), now), Err(Violation::BehindEnd));
    let (mut stream, now) = attached();
    let position = Position { received: 0, delivered: 0, window: 1, takes: 0 };
    assert_eq!(told(&mut stream, Control::Welcome(position), now), Err(Violation::Greeting));
    let (mut stream, now) = attached();
    assert_eq!(stream.incoming([&data(WINDOW)[..]], now, &mut |_| 0), Ok(()));
    assert_eq!(stream.incoming([&data(1)[..]], now, &mut |_| 0), Err(Violation::Window));
    let (mut stream, now) = attached();
    assert_eq!(told(&mut stream, Control::Fin(0), now), Ok(()));
    assert_eq!(stream.incoming([&data(1)[..]], now, &mut |_| 0), Err(Violation::BehindEnd));
    let (mut stream, now) = attached();
    stream.local_extend(b"abc");
    assert!(stream.data(now).is_some());
    for (received, delivered) in [(4, 0), (1, 2), (4, 4)] {
        let wrong = Position { received, delivered, window: 10, takes: 0 };
        assert_eq!(stream.attach(wrong, now), Err(Violation::Position), "{received} {delivered}");
    }
    let (mut stream, now) = attached();
    assert!(matches!(stream.incoming([&b"GET / HTTP/1.1\r\n"[..]], now, &mut |_| 0), Err(Violation::Malformed(_))));
}

#[test]
fn no_more_is_sent_than_the_peer_lets_through() {
    let (mut stream, now) = attached();
    stream.local_extend(b"0123456789abcdef");
    assert_eq!(stream.data(now).expect("data").payload.concat(), b"0123456789");
    assert!(stream.data(now).is_none());
    assert_eq!(told(&mut stream, Control::Ack(4), now), Ok(()));
    assert_eq!(stream.data(now).expect("data").payload.concat(), b"abcd");
    // It breaks; the peer had got eight and handed on six.
    stream.attach(Position { received: 8, delivered: 6, window: 10, takes: 0 }, now).expect("it can go on");
    assert_eq!(stream.data(now).expect("data").payload.concat(), b"89abcdef");
}

#[test]
fn silence_is_broken_by_a_ping_and_a_silent_peer_is_dead() {
    let (mut stream, start) = attached();
    assert_eq!(says(&mut stream, start), []);
    assert_eq!(stream.deadline(), start + LINK_PING);
    let later = start + LINK_PING;
    assert_eq!(says(&mut stream, later), [Control::Ping(0)]);
    assert_eq!(says(&mut stream, later), []);
    assert!(!stream.is_dead(start + LINK_DEAD - Duration::from_millis(1)));
    assert!(stream.is_dead(start + LINK_DEAD));
    assert_eq!(told(&mut stream, Control::Pong(0), later + ACK_DELAY), Ok(()));
    assert_eq!(stream.round_trip(), Some(ACK_DELAY));
    assert!(!stream.is_dead(start + LINK_DEAD));
    assert_eq!(told(&mut stream, Control::Ping(5), later), Ok(()));
    assert_eq!(says(&mut stream, later), [Control::Pong(5)]);
}

#[test]
fn what_is_delivered_is_acknowledged_late_or_with_something_else() {
    let (mut stream, now) = attached();
    assert_eq!(stream.incoming([&data(10)[..]], now, &mut |slices| slices[0].len()), Ok(()));
    assert_eq!(says(&mut stream, now), []);
    assert_eq!(stream.deadline(), now + ACK_DELAY);
    assert_eq!(says(&mut stream, now + ACK_DELAY), [Control::Ack(10)]);
    assert_eq!(stream.incoming([&data(10)[..]], now, &mut |slices| slices[0].len()), Ok(()));
    stream.local_extend(b"reply");
    assert_eq!(says(&mut stream, now), [Control::Ack(20)]);
    // An eighth of the window is not kept waiting.
    assert_eq!(stream.incoming([&data(125)[..]], now, &mut |slices| slices[0].len()), Ok(()));
    assert_eq!(says(&mut stream, now), [Control::Ack(145)]);
}

#[test]
fn a_stream_has_arrived_when_the_last_byte_and_the_end_are_acknowledged() {
    let (mut stream, now) = attached();
    stream.local_extend(b"abc");
    stream.local_ended();
    assert_eq!(told(&mut stream, Control::Fin(0), now), Ok(()));
    assert!(stream.end_is_due());
    stream.end_delivered(now);
    assert_eq!(stream.data(now).expect("data").payload.concat(), b"abc");
    assert_eq!(says(&mut stream, now), [Control::Ack(1), Control::Fin(3)]);
    for number in [2, 3] {
        assert_eq!(told(&mut stream, Control::Ack(number), now), Ok(()));
        assert!(!stream.has_arrived(), "acknowledged: {number}");
    }
    assert_eq!(told(&mut stream, Control::Ack(4), now), Ok(()));
    assert!(stream.has_arrived() && stream.is_finished());
}
