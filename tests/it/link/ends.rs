//! Streams whose last word is lost with the network: neither end waits for what cannot come.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;
use std::thread;

use super::peer::{ACK, BEGINNING, DATA, FIN, RESET, answer, begin, frame, next, welcome};
use super::{connect, listener};
use crate::support::link::Keys;
use crate::support::proxy::Proxy;
use crate::support::redis::{DEADLINE, Redis, eventually};

const LOST: &str = "had ended, the last word about it was lost";

/// One connection to an exit that says "bye", hears "hello" and forgets the stream without having acknowledged its end. `told` is
/// sent how much the entry has when it asks for such a stream again.
fn serve(tls: &mut (impl Read + Write), told: &mpsc::Sender<u64>) {
    let Some((1, hello)) = next(tls) else { return };
    if hello[1] == 1 {
        tls.write_all(&frame(RESET, b"\x05there is no such stream any more")).expect("taken");
        let received: [u8; 8] = hello[18..26].try_into().expect("eight bytes");
        // Nobody listens any more when the test has ended.
        let _ = told.send(u64::from_be_bytes(received));
        return;
    }
    tls.write_all(&[welcome(BEGINNING), frame(DATA, b"bye"), frame(FIN, &3_u64.to_be_bytes())].concat())
        .expect("taken");
    // Whoever looked whether the entry listens says nothing, and is told of its end.
    match next(tls) {
        Some((DATA, said)) => assert_eq!(said, b"hello"),
        _ => return drop(tls.write_all(&frame(RESET, b"\x04gone"))),
    }
    assert_eq!(next(tls), Some((FIN, 5_u64.to_be_bytes().to_vec())));
}

#[test]
fn an_entry_ends_a_stream_that_the_exit_has_forgotten_because_it_was_over() {
    let keys = Keys::make();
    let (fake, address) = listener();
    let key = keys.exit.file.clone();
    let (told, asked_again) = mpsc::channel();
    thread::spawn(move || {
        for socket in fake.incoming() {
            let (socket, key, told) = (socket.expect("the entry dials"), key.clone(), told.clone());
            thread::spawn(move || serve(&mut answer(socket, &key), &told));
        }
    });
    let entry = Proxy::start(&keys.entry_to(&address, "127.0.0.1:0", ""));
    let mut program = connect(&entry.address(0));
    program.write_all(b"hello").expect("taken");
    program.shutdown(Shutdown::Write).expect("open");
    let mut heard = Vec::new();
    program.read_to_end(&mut heard).expect("an end, and no error");
    assert_eq!(heard, b"bye");
    assert_eq!(asked_again.recv_timeout(DEADLINE), Ok(4), "it has everything, the end included");
    eventually("it has ended", || entry.said().contains(LOST));
}

#[test]
fn an_exit_takes_a_stream_for_ended_when_its_end_alone_was_not_acknowledged() {
    let redis = Redis::start();
    let keys = Keys::make();
    let exit = Proxy::start(&keys.exit_to(&redis.address(), "127.0.0.1:0", "resume = \"1s\""));
    for acknowledges in [true, false] {
        let mut tls = begin(&exit.address(0), &keys.entry.file, 7, false, BEGINNING);
        tls.write_all(&frame(DATA, b"QUIT\r\n")).expect("taken");
        assert_eq!(next(&mut tls), Some((DATA, b"+OK\r\n".to_vec())));
        assert_eq!(next(&mut tls), Some((FIN, 5_u64.to_be_bytes().to_vec())));
        let ack = if acknowledges { frame(ACK, &5_u64.to_be_bytes()) } else { Vec::new() };
        tls.write_all(&[ack, frame(FIN, &6_u64.to_be_bytes())].concat()).expect("taken");
        drop(tls);
        let expected = if acknowledges { LOST } else { "is reset: the link broke" };
        eventually(expected, || exit.said().contains(expected));
        assert!(!acknowledges || !exit.said().contains("is reset"), "{}", exit.said());
    }
}
