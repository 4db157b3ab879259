//! `admin_socket`: where the operator's commands are taken, and where to look for it from outside.
//!
//! The running Redan and its command line work out the same places from the path of the same configuration file, so nobody has
//! to name the socket. The command line reads nothing else of the file: it works while the file is being changed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;

use super::listener::bind_to;
use super::section::Section;
use super::{Bind, Secret, files, values};

/// For the user that Redan runs as, and root.
const MODE: u32 = 0o600;

/// What stands under `admin_socket`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AdminSocket {
    Off,
    At(Bind),
    /// Nothing stands there: the first of these that can be had.
    Somewhere(Vec<PathBuf>),
}

impl AdminSocket {
    pub(crate) fn unix(path: PathBuf) -> Bind {
        Bind::Unix { path, mode: MODE }
    }
}

/// Where the socket of a Redan with this configuration file may be, the likeliest place first. The name tells the Redans of a
/// machine apart.
pub(crate) fn places(file: &Path) -> Vec<PathBuf> {
    places_with(file, &|name| std::env::var_os(name).map(PathBuf::from))
}

fn places_with(file: &Path, variable: &dyn Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let hash = digest::digest(&digest::SHA256, file.as_os_str().as_encoded_bytes());
    let hash: String = hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().chars().take(32).collect::<String>();
    let name = format!("redan-{stem}-{hash}.sock");
    let user = rustix::process::geteuid().as_raw();
    let folders = [
        // systemd's `RuntimeDirectory=`; several are separated by colons.
        variable("RUNTIME_DIRECTORY").map(|list| list.to_string_lossy().split(':').next().unwrap_or_default().into()),
        Some(PathBuf::from("/run/redan")),
        variable("XDG_RUNTIME_DIR"),
        file.parent().map(Path::to_owned),
        Some(std::env::temp_dir().join(format!("redan-{user}"))),
    ];
    let mut places: Vec<PathBuf> = folders.into_iter().flatten().map(|folder| folder.join(&name)).collect();
    places.dedup();
    places
}

pub(super) fn read(section: &Section<'_>, file: &Path) -> (AdminSocket, Option<Secret>) {
    let password = section
        .file("admin_password_file")
        .and_then(|path| files::secret(&path).map_err(|why| section.error("admin_password_file", why)).ok());
    let socket = match section.text("admin_socket") {
        None => AdminSocket::Somewhere(places(file)),
        Some(text) if text.text == "off" => AdminSocket::Off,
        Some(text) => match bind_to(section, "admin_socket", text, Some(MODE)) {
            Some(Bind::Tcp(address)) if !address.ip().is_loopback() => {
                section.error(
                    "admin_socket",
                    "orders are taken on this machine: use a Unix socket, or a loopback address",
                );
                AdminSocket::Off
            }
            Some(bind) => AdminSocket::At(bind),
            None => AdminSocket::Off,
        },
    };
    let tcp = matches!(socket, AdminSocket::At(Bind::Tcp(_)));
    if tcp && !section.has("admin_password_file") {
        let words = "any user of this machine reaches the address: name an `admin_password_file`, or use a Unix socket";
        section.error("admin_socket", words);
    }
    if !tcp && section.has("admin_password_file") {
        section.error("admin_password_file", "the file's permissions protect a Unix socket; remove it");
    }
    (socket, password)
}

/// Where to look for the Redan that runs with this file, and the file with its password.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) sockets: Vec<Place>,
    pub(crate) password_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// `unix:/path`, `/path` or an address with its port.
pub(crate) fn place(text: &str) -> Result<Place, String> {
    match text.strip_prefix("unix:") {
        Some(path) => Ok(Place::Unix(path.into())),
        None if text.contains('/') => Ok(Place::Unix(text.into())),
        None => values::listen_address(text).map(Place::Tcp),
    }
}

/// Reads two settings of the file and believes everything else. An error is a sentence. Where there is no such file and the
/// environment has the settings, as in a container, the Redan is meant that runs by them.
pub(crate) fn reach(file: &Path) -> Result<Reach, String> {
    reach_with(file, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

fn reach_with(file: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Result<Reach, String> {
    if variable("REDAN_BIND").is_some() && !file.exists() {
        return reach_of(file, variable("REDAN_ADMIN_SOCKET"), variable("REDAN_ADMIN_PASSWORD_FILE"));
    }
    let text = files::text(file)?;
    let table: toml::Table = text.parse().map_err(|error| format!("{}: {error}", file.display()))?;
    let setting = |name| table.get("redan").and_then(|redan| redan.get(name)?.as_str()).map(str::to_owned);
    reach_of(file, setting("admin_socket"), setting("admin_password_file"))
}

fn reach_of(file: &Path, socket: Option<String>, password_file: Option<String>) -> Result<Reach, String> {
    let beside = |path: &str| file.parent().unwrap_or_else(|| Path::new("")).join(path);
    let sockets = match socket.as_deref() {
        None => places(file).into_iter().map(Place::Unix).collect(),
        Some("off") => Vec::new(),
        Some(text) => match text.strip_prefix("unix:") {
            Some(path) => vec![Place::Unix(beside(path))],
            None => vec![place(text)?],
        },
    };
    Ok(Reach { sockets, password_file: password_file.as_deref().map(beside) })
}

/// The password that stands in a file, for whoever has to say it.
pub(crate) fn password(file: &Path) -> Result<Secret, String> {
    files::secret(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_sockets_of_its_own_and_the_nearest_folder_comes_first() {
        let systemd = |name: &str| (name == "RUNTIME_DIRECTORY").then(|| PathBuf::from("/run/redan:/run/more"));
        let user = |name: &str| (name == "XDG_RUNTIME_DIR").then(|| PathBuf::from("/run/user/1000"));
        let first = places_with(Path::new("/etc/redan/proxy.toml"), &systemd);
        let name = first[0].file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        assert!(first[0].starts_with("/run/redan") && name.starts_with("redan-proxy-"), "{first:?}");
        assert_eq!(first[1], Path::new("/etc/redan").join(&name), "the same place is tried once: {first:?}");
        let other = places_with(Path::new("/etc/other/proxy.toml"), &user);
        assert!(!other[0].ends_with(&name), "two Redans are told apart: {other:?}");
        assert!(other[1].starts_with("/run/user/1000") && other[2].starts_with("/etc/other"), "{other:?}");
    }

    #[test]
    fn the_command_line_finds_it_in_a_file_that_is_otherwise_wrong() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("proxy.toml");
        let reach_of = |text: &str| {
            std::fs::write(&file, text).expect("writable");
            reach(&file)
        };
        let named = reach_of("[redan]\nnonsense = 1\nadmin_socket = \"unix:a.sock\"\n").expect("readable");
        assert_eq!(named.sockets, [Place::Unix(folder.path().join("a.sock"))]);
        let tcp = reach_of("[redan]\nadmin_socket = \"127.0.0.1:99\"\nadmin_password_file = \"p\"").expect("readable");
        assert_eq!(tcp.sockets, [Place::Tcp(([127, 0, 0, 1], 99).into())]);
        assert_eq!(tcp.password_file, Some(folder.path().join("p")));
        assert_eq!(reach_of("").expect("readable").sockets.len(), places(&file).len());
        assert_eq!(reach_of("[redan]\nadmin_socket = \"off\"").expect("readable").sockets, []);
        assert!(reach_of("[").is_err());
    }

    #[test]
    fn without_a_file_the_environment_tells_where() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("proxy.toml");
        let bind = |name: &str| (name == "REDAN_BIND").then(|| "0.0.0.0:6379".to_owned());
        assert!(reach_with(&file, &|_| None).is_err(), "nobody runs by an environment that says nothing");
        let found = reach_with(&file, &bind).expect("readable");
        assert_eq!(found.sockets.len(), places(&file).len());
        let named = |name: &str| bind(name).or_else(|| (name == "REDAN_ADMIN_SOCKET").then(|| "unix:/a".to_owned()));
        assert_eq!(reach_with(&file, &named).expect("readable").sockets, [Place::Unix("/a".into())]);
        // A file counts alone.
        std::fs::write(&file, "[redan]\nadmin_socket = \"off\"").expect("writable");
        assert_eq!(reach_with(&file, &named).expect("readable").sockets, []);
    }
}
