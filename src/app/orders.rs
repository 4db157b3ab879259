//! Wires the operator's orders to who carries them out, and finds a place for the admin socket.
//!
//! Used by `app` alone.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use crate::admin::{Ask, Orders, SetLevel};
use crate::config::{AdminSocket, Bind, Config};
use crate::control::{Drain, Promotion, direct};
use crate::net::{self, BindError, Listening, Shortcuts};
use crate::tls::keyring::Keyring;

/// A node's answer to an operator's command. SAVE of a large data set takes longer, and says so in the node's log.
const PATIENCE: Duration = Duration::from_secs(30);

/// The ends that admin holds.
pub(super) struct Wires {
    promotions: Vec<mpsc::Sender<Promotion>>,
    drains: Vec<mpsc::Sender<Drain>>,
    config: Arc<Config>,
    keyrings: Vec<Arc<Keyring>>,
    shortcuts: Arc<Shortcuts>,
}

/// The ends that the watch of a group holds.
pub(super) struct Taker {
    pub(super) promotions: mpsc::Receiver<Promotion>,
    pub(super) drains: mpsc::Receiver<Drain>,
}

pub(super) fn wires(
    config: &Arc<Config>,
    keyrings: &[Arc<Keyring>],
    shortcuts: &Arc<Shortcuts>,
) -> (Wires, Vec<Taker>) {
    let (mut promotions, mut drains, mut takers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in &config.groups {
        // A second switch is refused by whoever carries out the first.
        let (ask, asked) = mpsc::channel(1);
        let (drain, drained) = mpsc::channel(8);
        promotions.push(ask);
        drains.push(drain);
        takers.push(Taker { promotions: asked, drains: drained });
    }
    let (config, keyrings, shortcuts) = (Arc::clone(config), keyrings.to_vec(), Arc::clone(shortcuts));
    (Wires { promotions, drains, config, keyrings, shortcuts }, takers)
}

impl Wires {
    pub(super) fn orders(self, reload: Arc<Notify>, level: SetLevel) -> Orders {
        let Self { promotions, drains, config, keyrings, shortcuts } = self;
        Orders {
            promote: Box::new(move |Ask { group, node, timeout, progress }| {
                promotions[group].try_send(Promotion { node, timeout, progress }).is_ok()
            }),
            steer: Box::new(move |group, node, on, done| drains[group].try_send(Drain { node, on, done }).is_ok()),
            speak: Box::new(move |group, address, words| {
                let config = Arc::clone(&config.groups[group]);
                let (keyring, shortcuts) = (Arc::clone(&keyrings[group]), Arc::clone(&shortcuts));
                Box::pin(
                    async move { direct::command(&address, &config, &keyring, &shortcuts, &words, PATIENCE).await },
                )
            }),
            reload,
            level,
        }
    }
}

/// Binds the admin socket. Where nobody says where it shall be, its absence is no reason not to serve.
pub(super) fn bind(wanted: &AdminSocket) -> Result<Option<(Listening, Bind)>, BindError> {
    match wanted {
        AdminSocket::Off => Ok(None),
        AdminSocket::At(at) => net::bind(at).map(|socket| Some((socket, at.clone()))),
        AdminSocket::Somewhere(places) => {
            let mut refusals = Vec::new();
            for place in places {
                let at = AdminSocket::unix(place.clone());
                if let Some(Err(why)) = place.parent().map(private) {
                    refusals.push(why);
                    continue;
                }
                match net::bind(&at) {
                    Ok(socket) => return Ok(Some((socket, at))),
                    Err(error) => refusals.push(error.to_string()),
                }
            }
            let why = refusals.join("; ");
            tracing::warn!(
                "no admin socket, so `redan status` and the like will not find this Redan: {why}; set `admin_socket`"
            );
            Ok(None)
        }
    }
}

/// The folder for sockets in a place where anybody may make folders is made, and must be of this user alone.
fn private(folder: &Path) -> Result<(), String> {
    if folder.parent() != Some(std::env::temp_dir().as_path()) {
        return Ok(());
    }
    let user = rustix::process::geteuid().as_raw();
    if !folder.ends_with(format!("redan-{user}")) {
        return Ok(());
    }
    // Where it is there already, what follows judges it.
    let _ = fs::DirBuilder::new().mode(0o700).create(folder);
    let meta = fs::symlink_metadata(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    if meta.is_dir() && meta.uid() == user && meta.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(format!("{} is not a folder of this user alone", folder.display()))
}
