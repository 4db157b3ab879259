//! A group's `sentinel` and `map`: who else is asked for the master, and where announced addresses are dialled.
//!
//! Used by the reader of groups. Sentinels have credentials and TLS of their own; nothing is taken from the group's.

use std::collections::HashSet;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

use super::group::{Around, credentials, is_readable_on_the_way, tls, verifiable};
use super::section::{Section, Text};
use super::{Access, Mapped, Sentinel, values};
use crate::topology::address::split_host_port;

/// Nobody runs more; what they name themselves is bounded by the tracker.
const ADDRESSES: usize = 32;

pub(super) fn read(section: Section<'_>, around: &Around<'_>) -> Option<Sentinel> {
    let master = section.required("master", "\"mymaster\"");
    let master = master.and_then(|text| section.parse("master", text, name));
    let (user, password) = credentials(&section, around.environment);
    let access = Arc::new(Access { user, password, tls: tls(&section) });
    let mut known = HashSet::new();
    let mut addresses: Vec<Arc<str>> = Vec::new();
    for value in section.list("addresses", "[\"10.0.0.1:26379\"]").unwrap_or_default() {
        let Some(text) = text("addresses", &section, value) else { continue };
        let Some(host) = section.parse("addresses", text, |text| around.reach(text)) else { continue };
        verifiable(&section, text.at, &host, access.tls.as_ref());
        if known.insert(text.text) {
            addresses.push(text.text.into());
        } else {
            section.source().error(text.at, "this Sentinel stands in the list twice; remove one of them");
        }
    }
    if addresses.len() > ADDRESSES {
        section.error("addresses", format!("more than {ADDRESSES} Sentinels; a few are enough, they name the others"));
    }
    let exposed = addresses.iter().find(|address| is_readable_on_the_way(address, &access));
    if let (Some(address), Some(_)) = (exposed, &access.password) {
        let text = format!("the password for the Sentinel {address} crosses the network unencrypted; prefer `tls`");
        section.warn("addresses", text);
    }
    section.close();
    Some(Sentinel { master: master?, addresses, access })
}

/// `map = { "announced" = "dialled" }`.
pub(super) fn map(section: &Section<'_>, access: &Arc<Access>, around: &Around<'_>) -> Vec<Mapped> {
    let mut mapped = Vec::new();
    for (key, value) in section.pairs("map", "{ \"10.0.0.5:6379\" = \"127.0.0.1:8001\" }") {
        let key_text = Text { text: key.get_ref(), at: key.span().start };
        let announced = section.parse("map", key_text, |text| values::node_address(text).map(drop));
        let Some(to) = text("map", section, value) else { continue };
        let (Some(()), Some(_)) = (announced, section.parse("map", to, |text| around.reach(text))) else { continue };
        let host = split_host_port(key.get_ref()).map_or("", |(host, _)| host);
        verifiable(section, key.span().start, host, access.tls.as_ref());
        mapped.push(Mapped {
            announced: key.get_ref().as_ref().into(),
            dialled: to.text.into(),
            access: access.announced_as(host),
        });
    }
    mapped
}

/// What Sentinel takes for a name.
fn name(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if !text.is_empty() && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(format!("\"{text}\" is no name of a master; write the one in `sentinel monitor`, mymaster for instance"))
}

fn text<'a>(key: &str, section: &Section<'a>, value: &'a Spanned<DeValue<'a>>) -> Option<Text<'a>> {
    let text = value.get_ref().as_str();
    if text.is_none() {
        let found = value.get_ref().type_str();
        let error = format!("an address in `{key}` is of type {found}; write \"host:port\"");
        section.source().error(value.span().start, error);
    }
    text.map(|text| Text { text, at: value.span().start })
}
