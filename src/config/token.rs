//! `admin_token_file`: who says what stands in it may give orders at the `admin` address, with the buttons of the dashboard.

use std::net::SocketAddr;

use super::section::Section;
use super::{Secret, files};

/// Letters of a token; fewer could be guessed at one guess a second.
const LEAST: usize = 16;

pub(super) fn read(section: &Section<'_>, admin: Option<SocketAddr>) -> Option<Secret> {
    let path = section.file("admin_token_file")?;
    let Some(admin) = admin else {
        section.error("admin_token_file", "the token is for the `admin` address: add that, or remove this");
        return None;
    };
    if !admin.ip().is_loopback() {
        let words = "the `admin` address has no TLS: whoever listens on the network between reads the token; let a loopback \
                     address and a tunnel, or a proxy with TLS, stand before it";
        section.warn("admin_token_file", words);
    }
    let token = files::secret(&path).map_err(|why| section.error("admin_token_file", why)).ok()?;
    if token.reveal().len() < LEAST || !token.reveal().bytes().all(|byte| byte.is_ascii_graphic()) {
        let words = format!(
            "the token has {LEAST} letters, digits and signs at least; `redan passwd --generate` makes a random one"
        );
        section.error("admin_token_file", words);
        return None;
    }
    Some(token)
}
