//! `mode = "tls"`: plain TLS in both directions, as stunnel and ghostunnel speak it. No frames, and nothing is resumed.
//!
//! Either end half-closes as the program beside it does. What breaks on one side is reset on the other.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};

use super::Context;
use super::entry::{Dialer, Failure, Program};
use super::keyring::Guest;
use crate::net::Socket;

/// Four records at a time.
const BUFFER: usize = 64 * 1024;

pub(super) async fn entry(context: Context, dialer: Dialer, local: Socket, program: Program) {
    match dialer.tls().await {
        Ok((stream, guest)) => join(&context, stream, local, guest, &program.accept()).await,
        Err(Failure::Now(why) | Failure::Ever(why) | Failure::Unknown(why)) => {
            program.refuse(&context, &dialer.refusals, &local, why);
        }
    }
}

pub(super) async fn join(
    context: &Context,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut local: Socket,
    mut guest: Guest,
    from: &str,
) {
    let mut stopping = context.change.clone();
    let ended = tokio::select! {
        ended = both_ways(&mut stream, &mut local) => ended,
        () = stopping.ends() => Err(io::Error::other("Redan ends")),
        why = guest.watch().0.happens() => {
            context.counters.untrusted();
            Err(io::Error::other(why))
        }
    };
    match ended {
        Ok((received, sent)) => {
            context.counters.received(usize::try_from(received).unwrap_or(usize::MAX));
            context.counters.sent(usize::try_from(sent).unwrap_or(usize::MAX));
        }
        Err(error) => {
            tracing::warn!("link '{}': the connection of {from} is reset: {error}", context.link.name);
            local.reset_when_closed();
        }
    }
}

async fn both_ways(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), local: &mut Socket) -> io::Result<(u64, u64)> {
    match local {
        Socket::Tcp(local) => copy_bidirectional_with_sizes(stream, local, BUFFER, BUFFER).await,
        Socket::Unix(local) => copy_bidirectional_with_sizes(stream, local, BUFFER, BUFFER).await,
    }
}
