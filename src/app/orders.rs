//! Wires the operator's orders to who carries them out, and finds a place for the admin socket.
//!
//! Used by `app` alone.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::StartError;
use crate::admin::{Ask, GroupOrders};
use crate::config::{AdminSocket, Bind, Group};
use crate::control::{Drain, Promotion, direct};
use crate::net::{Listening, Shortcuts};
use crate::tls::keyring::Keyring;

/// A node's answer to an operator's command. SAVE of a large data set takes longer, and says so in the node's log.
const PATIENCE: Duration = Duration::from_secs(30);

/// By which the watch of a group is asked.
#[derive(Clone)]
pub(super) struct Askers {
    promotions: mpsc::Sender<Promotion>,
    drains: mpsc::Sender<Drain>,
}

/// Beside the two ends that the watch has.
pub(super) fn askers() -> (Askers, mpsc::Receiver<Promotion>, mpsc::Receiver<Drain>) {
    // A second switch is refused by whoever carries out the first.
    let (promotions, promoted) = mpsc::channel(1);
    let (drains, drained) = mpsc::channel(8);
    (Askers { promotions, drains }, promoted, drained)
}

impl Askers {
    /// What the operator may order of a group that is configured like this.
    pub(super) fn orders(&self, group: &Arc<Group>, keyring: &Arc<Keyring>, shortcuts: &Arc<Shortcuts>) -> GroupOrders {
        let Self { promotions, drains } = self.clone();
        let (group, keyring, shortcuts) = (Arc::clone(group), Arc::clone(keyring), Arc::clone(shortcuts));
        GroupOrders {
            promote: Box::new(move |Ask { node, timeout, progress }| {
                promotions.try_send(Promotion { node, timeout, progress }).is_ok()
            }),
            steer: Box::new(move |node, on, done| drains.try_send(Drain { node, on, done }).is_ok()),
            speak: Box::new(move |address, words| {
                let (group, keyring, shortcuts) = (Arc::clone(&group), Arc::clone(&keyring), Arc::clone(&shortcuts));
                Box::pin(async move { direct::command(&address, &group, &keyring, &shortcuts, &words, PATIENCE).await })
            }),
        }
    }
}

/// Binds the admin socket. Where nobody says where it shall be, its absence is no reason not to serve.
pub(super) fn bind(
    wanted: &AdminSocket,
    mut listen: impl FnMut(&Bind) -> Result<Listening, StartError>,
) -> Result<Option<(Listening, Bind)>, StartError> {
    match wanted {
        AdminSocket::Off => Ok(None),
        AdminSocket::At(at) => listen(at).map(|socket| Some((socket, at.clone()))),
        AdminSocket::Somewhere(places) => {
            let mut refusals = Vec::new();
            for place in places {
                let at = AdminSocket::unix(place.clone());
                let bound = place.parent().map_or(Ok(()), private);
                match bound.and_then(|()| listen(&at).map_err(|error| error.to_string())) {
                    Ok(socket) => return Ok(Some((socket, at))),
                    Err(why) => refusals.push(why),
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
