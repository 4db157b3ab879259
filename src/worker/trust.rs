//! Whom a worker believes when the files of certificates have changed: clients that would not come in today are closed.
//!
//! The chain that a client has shown is kept by its TLS connection, so nothing is kept here. Nobody is closed for what has
//! not changed: see [`Serving::accepts`].

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use aws_lc_rs::digest::{Context as Hash, Digest, SHA256};
use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::task::{spawn_local, yield_now};
use tokio_rustls::server::TlsStream;

use super::handshake::{Failure, certificate_trouble};
use super::{Doorway, Worker};
use crate::tls::server::Serving;

/// Sessions looked at without a pause. A verification takes 0.1 ms, and clients of one application often share a
/// certificate, which is verified once: other clients wait for 2 ms at worst.
const WITHOUT_PAUSE: usize = 16;

impl Worker {
    /// A client that has finished its handshake with `used`. Files may have changed meanwhile, and who comes by a ticket has
    /// not shown its certificate again.
    pub(super) fn believe(
        &self,
        door: &Doorway,
        used: &Arc<Serving>,
        stream: TlsStream<TcpStream>,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let now = door.serving();
        let connection = stream.get_ref().1;
        let returns = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        if let Some(now) = now.filter(|now| returns || !Arc::ptr_eq(now, used)) {
            let verdict = now.accepts_again(connection.peer_certificates());
            verdict.map_err(|error| Failure::Refused(certificate_trouble(&error)))?;
        }
        Ok(stream)
    }

    /// From now on the listener presents these certificates, and believes those clients.
    pub(super) fn present(self: &Rc<Self>, listener: usize, serving: Arc<Serving>) {
        let Some(door) = self.door(listener) else { return };
        let before = door.tls.replace(Some(Arc::clone(&serving)));
        if before.is_some_and(|before| !before.trusts_as(&serving)) {
            self.look_again(door, serving);
        }
    }

    /// Closes the clients that would not come in any more.
    pub(super) fn look_again(self: &Rc<Self>, door: Rc<Doorway>, serving: Arc<Serving>) {
        spawn_local(Rc::clone(self).judge_again(door, serving));
    }

    /// In pieces, so that the others do not wait for it.
    async fn judge_again(self: Rc<Self>, door: Rc<Doorway>, serving: Arc<Serving>) {
        let of_door: Vec<u64> = {
            let live = self.live.borrow();
            live.values().filter(|session| session.is_of(&door.context)).map(|session| session.id).collect()
        };
        let mut verdicts: HashMap<Vec<u8>, Option<String>> = HashMap::new();
        let (mut closed, mut first) = (0_u64, None);
        for (index, id) in of_door.into_iter().enumerate() {
            if index % WITHOUT_PAUSE == WITHOUT_PAUSE - 1 {
                yield_now().await;
            }
            // Newer files have another judge.
            if !door.serving().is_some_and(|now| Arc::ptr_eq(&now, &serving)) {
                return;
            }
            let Some(session) = self.live.borrow().get(&id).map(Rc::clone) else { continue };
            let trouble = session.with_certificates(|chain| {
                let key = chain.map(digest).map_or_else(Vec::new, |digest| digest.as_ref().to_vec());
                let judge = || serving.accepts(chain).err().map(|error| certificate_trouble(&error));
                verdicts.entry(key).or_insert_with(judge).clone()
            });
            if let Some(why) = trouble {
                session.disconnect();
                first.get_or_insert_with(|| (session.address(), why));
                closed += 1;
                self.counters.untrusted_clients_closed.increment();
            }
        }
        if let Some((client, why)) = first {
            let name = &door.context.listener().name;
            tracing::warn!("closed {closed} clients of listener '{name}', {client} for instance: {why}");
        }
    }

    /// Connections to nodes that are not believed any more end, those that sessions have for themselves too.
    pub(super) fn keyring(&self, group: usize) {
        let Some(pool) = self.pool(group) else { return };
        pool.keyring_changed();
        for session in self.live.borrow().values().filter(|session| session.group() == group) {
            session.question_pin();
        }
    }
}

fn digest(chain: &[CertificateDer<'_>]) -> Digest {
    let mut hash = Hash::new(&SHA256);
    for certificate in chain {
        hash.update(&(certificate.len() as u64).to_be_bytes());
        hash.update(certificate);
    }
    hash.finish()
}
