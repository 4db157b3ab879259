//! What a start needs of the machine and of files: sockets, certificates, keys; and what it gives up afterwards.
//!
//! Used by `start` before the first thread. Whatever is wrong is found here.

use std::sync::Arc;

use super::confine::{become_user, sandbox};
use super::upgraded::listen;
use super::{StartError, orders};
use crate::admin::{OpenFiles, Resident};
use crate::config::link::Link;
use crate::config::{Bind, Config, Group, Listener};
use crate::handover::{Inherited, Kept};
use crate::link;
use crate::net::{BindError, Listening};
use crate::tls::keyring::Keyring;
use crate::tls::{client, server};
use crate::upgrade;
use crate::worker::Door;

/// Everything that can be refused, before anything runs.
pub(super) struct Prepared {
    pub(super) doors: Vec<Door>,
    pub(super) keyrings: Vec<Arc<Keyring>>,
    pub(super) sockets: Vec<Listening>,
    pub(super) links: Vec<(Arc<link::Keyring>, Option<Listening>)>,
    pub(super) admin: Option<Listening>,
    pub(super) kept: Vec<Kept>,
    pub(super) admin_socket: Option<(Listening, Bind)>,
    pub(super) seen: (Resident, OpenFiles),
}

pub(super) fn prepare(config: &Config, mut inherited: Inherited) -> Result<Prepared, StartError> {
    let mut kept = Vec::new();
    let mut listen = |name: &str, bind: &Bind, failed: &dyn Fn(BindError) -> StartError| {
        listen(&mut inherited, &mut kept, name, bind, failed)
    };
    let door = |listener: &Arc<Listener>| {
        let tls = listener.tls.as_ref().map(server::load).transpose();
        let failed = |error| StartError::ListenerTls { listener: listener.name.clone(), error };
        let tls = tls.map_err(failed)?.map(Arc::new);
        Ok(Door { listener: Arc::clone(listener), tls, holding: Arc::default() })
    };
    let keyring = |group: &Arc<Group>| {
        let failed = |error| StartError::GroupTls { group: group.name.clone(), error };
        Keyring::load(group).map(Arc::new).map_err(failed)
    };
    let bound = |listener: &Arc<Listener>| {
        let failed = |error| StartError::Bind { listener: listener.name.clone(), error };
        listen(&listener.name, &listener.bind, &failed)
    };
    let sockets = config.listeners.iter().map(bound).collect::<Result<_, _>>()?;
    let link = |link: &Arc<Link>| {
        let name = || link.name.clone();
        let keyring = link::Keyring::load(link).map_err(|error| StartError::LinkTls { link: name(), error })?;
        let failed = |error| StartError::BindLink { link: name(), error };
        let socket = link.bind.as_ref().map(|bind| listen(&link.name, bind, &failed)).transpose()?;
        Ok((Arc::new(keyring), socket))
    };
    let links = config.links.iter().map(link).collect::<Result<_, _>>()?;
    let admin = config.admin.map(Bind::Tcp);
    let admin = admin.map(|bind| listen("admin", &bind, &StartError::BindAdmin)).transpose()?;
    let bind = |at: &Bind| listen("admin_socket", at, &StartError::BindAdminSocket);
    let admin_socket = orders::bind(&config.admin_socket, bind)?;
    for socket in inherited.rest() {
        tracing::warn!(
            "closed a socket that was given to this process: {socket} is the `bind` or the name of nothing here"
        );
    }
    Ok(Prepared {
        doors: config.listeners.iter().map(door).collect::<Result<_, _>>()?,
        keyrings: config.groups.iter().map(keyring).collect::<Result<_, _>>()?,
        sockets,
        links,
        admin,
        kept,
        admin_socket,
        seen: (Resident::open(), OpenFiles::open()),
    })
}

/// Gives up what the configuration says. No other thread runs yet.
pub(super) fn confine(
    config: &Config,
    keyrings: &[Arc<Keyring>],
    admin_socket: Option<&Bind>,
    sandboxed: bool,
) -> Result<(), StartError> {
    let binds: Vec<Bind> = config.listeners.iter().map(|listener| listener.bind.clone()).collect();
    if let Some(account) = &config.user {
        let owned: Vec<Bind> = binds.iter().chain(admin_socket).cloned().collect();
        become_user(account, &owned).map_err(StartError::Confinement)?;
    }
    // Rules are for good, and the number of their layers is bounded: who was born with them has them.
    if config.sandbox && !sandboxed {
        let of_listeners = config.listeners.iter().filter_map(|listener| listener.tls.as_ref()).flat_map(server::files);
        let of_nodes = keyrings.iter().flat_map(|keyring| keyring.settings()).flat_map(client::files);
        let of_sentinels = config.groups.iter().filter_map(|group| group.sentinel.as_ref()?.access.tls.as_ref());
        let of_sentinels = of_sentinels.flat_map(client::files);
        let of_links = config.links.iter().flat_map(|link| link::files(link));
        let of_an_upgrade = upgrade::files();
        let files = of_listeners.chain(of_nodes).chain(of_sentinels).chain(of_links).chain(config.sheet.files());
        let files = files.chain(of_an_upgrade.iter().map(|file| file.as_path()));
        sandbox(files, &binds).map_err(StartError::Confinement)?;
    }
    Ok(())
}

/// Where a socket listens, which the configuration leaves open with port 0.
pub(super) fn place(socket: &Listening, configured: &Bind) -> Bind {
    match socket {
        Listening::Tcp(socket) => socket.local_addr().map_or_else(|_| configured.clone(), Bind::Tcp),
        Listening::Unix(_) => configured.clone(),
    }
}
