//! Clients that do not behave: they stop in the middle of a command, never read, vanish while they block, or speak another
//! protocol. Nothing of theirs is checked; what they leave behind shows in the Redans' memory, descriptors and threads.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::connection::Target;
use crate::resp::encode;

/// Between two of them.
const PAUSE: Duration = Duration::from_millis(300);

/// How long one that never reads stays.
const STAYS: Duration = Duration::from_secs(5);

pub(crate) async fn run(session: Target, tls: Target, name: String, stop: Arc<AtomicBool>) {
    let mut turn = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        // Being cut off is what they deserve.
        let _ = timeout(2 * STAYS, misbehave(&session, &tls, &name, turn)).await;
        sleep(PAUSE).await;
    }
}

async fn misbehave(session: &Target, tls: &Target, name: &str, turn: u64) -> io::Result<()> {
    let mut stream = TcpStream::connect(&session.address).await?;
    match turn % 10 {
        0 => stream.write_all(b"*3\r\n$3\r\nSET\r\n$5\r\nab").await?,
        1 => {
            // A large command of which the end never comes.
            stream.write_all(b"*3\r\n$3\r\nSET\r\n$4\r\nrude\r\n$900000\r\n").await?;
            stream.write_all(&[b'x'; 500_000]).await?;
        }
        2 => {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: redan\r\n\r\n").await?;
            let _ = timeout(STAYS, stream.read(&mut [0; 1000])).await;
        }
        3 => {
            // More than it will ever take.
            let key = format!("rude:{name}");
            stream.write_all(&encode(&["SET", &key, &"y".repeat(1_000_000)])).await?;
            for _ in 0..30 {
                stream.write_all(&encode(&["GET", &key])).await?;
            }
            sleep(STAYS).await;
        }
        4 => {
            stream.write_all(&encode(&["BLPOP", "rude:nobody-pushes", "0"])).await?;
            sleep(PAUSE).await;
        }
        5 => {
            for words in [&["WATCH", "rude"][..], &["MULTI"], &["INCR", "rude"]] {
                stream.write_all(&encode(words)).await?;
            }
            sleep(PAUSE).await;
        }
        6 => {
            stream.write_all(&encode(&["PSUBSCRIBE", "channel:*"])).await?;
            sleep(STAYS).await;
        }
        7 => {
            // Half a handshake.
            stream = TcpStream::connect(&tls.address).await?;
            stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await?;
            sleep(PAUSE).await;
        }
        8 => {
            // All at once, and gone before the first answer.
            for number in 0..2000 {
                stream.write_all(&encode(&["SET", "rude:flood", &number.to_string()])).await?;
            }
        }
        _ => {
            stream.write_all(&encode(&["MONITOR"])).await?;
            sleep(STAYS).await;
        }
    }
    if turn.is_multiple_of(3) {
        // A reset, not a farewell.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}
