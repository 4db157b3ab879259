//! Everything that crosses the paths between the hosts of a network, looked through for a text that must not be readable there.
//!
//! A raw socket of the network in which the test stands sees each frame on its bridge. What the test itself says to hosts, as
//! 10.77.0.254, is counted apart: it is readable, and so shows that the search would find.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// `ETH_P_ALL`, high byte first as the kernel wants it.
const ALL: i32 = (0x0003_u16).to_be() as i32;

/// The largest frame that the kernel hands over before it is cut for a wire.
const FRAME: usize = 128 * 1024;

const TEST: [u8; 4] = [10, 77, 0, 254];

#[derive(Default)]
pub(crate) struct Seen {
    /// Bytes of frames between hosts, and frames of these with the text.
    pub(crate) bytes: usize,
    pub(crate) readable: usize,
    /// Frames with the text from or to the test.
    pub(crate) of_the_test: usize,
}

pub(crate) struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Capture {
    pub(crate) fn start(text: &'static str) -> Self {
        let mut socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(ALL))).expect("a raw socket");
        socket.set_recv_buffer_size(8 * 1024 * 1024).expect("a large buffer, or what the system gives");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let (mut seen, mut frame) = (Seen::default(), vec![0; FRAME]);
            while !stopped.load(Ordering::Relaxed) {
                let Ok(length) = socket.read(&mut frame) else { continue };
                seen.take(&frame[..length], text.as_bytes());
            }
            seen
        });
        Self { stop, thread }
    }

    pub(crate) fn finish(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

impl Seen {
    fn take(&mut self, frame: &[u8], text: &[u8]) {
        let readable = frame.windows(text.len()).any(|window| window == text);
        // Of Ethernet and IPv4: 14 bytes, then the two addresses at 12 and 16.
        let of_the_test = frame.len() >= 34 && (frame[26..30] == TEST || frame[30..34] == TEST);
        if of_the_test {
            self.of_the_test += usize::from(readable);
        } else {
            self.bytes += frame.len();
            self.readable += usize::from(readable);
        }
    }
}
