//! `redan status`, `redan pause` and the like: the operator's commands, said to the running Redan over its admin socket.
//!
//! Thin on purpose: each becomes one REDAN command, and what is answered is printed. Nothing is decided or changed here.

pub(super) mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use self::wire::{Failure, Line};
use super::UNAVAILABLE;
use crate::config::{self, admin_socket};
use crate::resp::value::Value;

/// Which Redan, and how its answer is printed.
#[derive(Debug, Args)]
pub(crate) struct Running {
    /// The configuration file of the running Redan, which tells where its admin socket is
    #[arg(long, default_value = "proxy.toml")]
    config: PathBuf,
    /// The socket itself, a path or IP:PORT; the configuration file is not read then
    #[arg(long, value_name = "SOCKET", value_parser = admin_socket::place)]
    socket: Option<admin_socket::Place>,
    /// The file with the password of an admin socket on IP:PORT, with --socket
    #[arg(long, value_name = "FILE", requires = "socket")]
    password_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the operator asks the running Redan, or orders.
#[derive(Debug, Subcommand)]
pub(crate) enum Order {
    /// Show the running Redan: its clients, its groups and their nodes
    Status {
        #[command(flatten)]
        running: Running,
    },
    /// Show the nodes of all groups or of one: role, state, lag, load
    Nodes {
        group: Option<String>,
        #[command(flatten)]
        running: Running,
    },
    /// Show each group's master, since when and why
    Groups {
        #[command(flatten)]
        running: Running,
    },
    /// Show each Sentinel that is asked, and whom it names
    Sentinels {
        group: Option<String>,
        #[command(flatten)]
        running: Running,
    },
    /// Show the listeners and how many clients they have
    Listeners {
        #[command(flatten)]
        running: Running,
    },
    /// Show the links: connections, bytes, breaks, full syncs
    Links {
        #[command(flatten)]
        running: Running,
    },
    /// Show the threads that serve clients
    Workers {
        #[command(flatten)]
        running: Running,
    },
    /// Show what has happened of late, in words
    Events {
        /// So many lines; 30 without it
        number: Option<u32>,
        #[command(flatten)]
        running: Running,
    },
    /// Show the settings: values, where they come from, what a change needs
    Config {
        /// Only those that have this word in their name or section
        word: Option<String>,
        #[command(flatten)]
        running: Running,
    },
    /// Show the clients: STATE held, USER app, NODE 10.0.0.1:6379, IDLE 60, LIMIT 1000 and the like choose some
    Sessions {
        /// Options of REDAN SESSIONS, in pairs
        options: Vec<String>,
        #[command(flatten)]
        running: Running,
    },
    /// Show the connections to nodes that clients share
    Lanes {
        /// Only those to this node
        node: Option<String>,
        #[command(flatten)]
        running: Running,
    },
    /// Let all clients of a group wait, once what is under way is answered
    Pause {
        /// The group's name; not needed where there is one
        group: Option<String>,
        /// It ends by itself after so long, an hour at most
        #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = config::duration)]
        time: Duration,
        /// Take it back if what is under way is not answered within so long; 10s without it
        #[arg(long, value_name = "TIME", value_parser = config::duration)]
        within: Option<Duration>,
        #[command(flatten)]
        running: Running,
    },
    /// End a pause
    Resume {
        /// The group's name; not needed where there is one
        group: Option<String>,
        #[command(flatten)]
        running: Running,
    },
    /// Send no more reads to a replica
    Drain {
        /// The node, as Redan knows it: host:port, or link:NAME
        node: String,
        /// Its group, where several have it
        #[arg(long)]
        group: Option<String>,
        #[command(flatten)]
        running: Running,
    },
    /// Let a drained replica serve reads again
    Undrain {
        node: String,
        /// Its group, where several have it
        #[arg(long)]
        group: Option<String>,
        #[command(flatten)]
        running: Running,
    },
    /// Replace the connections to a node, a group's nodes or all, each when it owes nothing
    Reconnect {
        /// A node or a group; all without it
        what: Option<String>,
        #[command(flatten)]
        running: Running,
    },
    /// Make another node the master, through the running Redan: no write is lost and no client is told
    Promote {
        /// The group's name
        group: String,
        /// The node that is to become the master, as Redan knows it: host:port, or link:NAME
        node: String,
        /// Give up, and put everything back, after so long
        #[arg(long, default_value = "10s", value_parser = config::duration)]
        timeout: Duration,
        #[command(flatten)]
        running: Running,
    },
    /// Send a command to one node, with Redan's own login there, and print its answer
    Node {
        node: String,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
        #[command(flatten)]
        running: Running,
    },
    /// Show commands that took longer than `slowlog_threshold`, and where the time went
    Slowlog {
        /// So many of the newest
        #[arg(default_value_t = 10)]
        count: u32,
        /// Forget them
        #[arg(long)]
        reset: bool,
        #[command(flatten)]
        running: Running,
    },
    /// Show the keys that are asked for most, once `redan hotkeys on` has let them be counted
    Hotkeys {
        /// Begin to count, end it, or begin anew
        #[arg(value_parser = ["on", "off", "reset"])]
        action: Option<String>,
        #[command(flatten)]
        running: Running,
    },
    /// Show the largest replies of at least `big_reply` bytes, by command and key
    Bigreplies {
        /// Forget them
        #[arg(long)]
        reset: bool,
        #[command(flatten)]
        running: Running,
    },
    /// Close a client's connection
    Kill {
        /// The id that `redan sessions` shows
        id: u64,
        #[command(flatten)]
        running: Running,
    },
    /// Read the files of TLS anew at once, as SIGHUP does
    Reload {
        #[command(flatten)]
        running: Running,
    },
    /// Have another process take the place of the running one, as SIGUSR2 does, and wait until it is in charge
    Upgrade {
        #[command(flatten)]
        running: Running,
    },
    /// Log more or less until the next start
    LogLevel {
        /// error, warn, info, debug, trace, off, or parts such as redan::control=debug,info
        level: String,
        #[command(flatten)]
        running: Running,
    },
    /// Tell the running Redan something about one of its links
    #[command(subcommand)]
    Link(LinkOrder),
    /// Say any REDAN command to the running Redan; without one its list
    Ask {
        words: Vec<String>,
        #[command(flatten)]
        running: Running,
    },
}

/// The orders of `redan link`.
#[derive(Debug, Subcommand)]
pub(crate) enum LinkOrder {
    /// Let replicas have full syncs for a while from a master that came back empty: they lose their data
    Allow {
        /// The link's name
        link: String,
        /// For so long, an hour at most; replicas ask again every second
        #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = config::duration)]
        time: Duration,
        #[command(flatten)]
        running: Running,
    },
}

pub(super) fn run(order: Order) -> ExitCode {
    let (running, words) = order.into_words();
    let Running { config, socket, password_file, json } = running;
    let asks_node = words[0] == "NODE";
    let words = words.into_iter().chain((json && !asks_node).then(|| "JSON".to_owned())).collect::<Vec<_>>();
    let reach = match socket {
        Some(socket) => Ok(admin_socket::Reach { sockets: vec![socket], password_file }),
        None => admin_socket::reach(&config),
    };
    let told = reach.map_err(Failure::Unreachable).and_then(|reach| {
        let mut line = Line::open(&reach, &config)?;
        line.ask(&words, &mut |step| println!("{step}"))
    });
    match told {
        Ok(Value::Error(words)) => {
            // Its kind, which is ERR here, is for programs.
            eprintln!("{}", words.strip_prefix("ERR ").unwrap_or(&words));
            ExitCode::FAILURE
        }
        Ok(value) => {
            println!("{}", if json && asks_node { json_of(&value).to_string() } else { text_of(&value) });
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(UNAVAILABLE)
        }
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

impl Order {
    /// The words behind REDAN.
    fn into_words(self) -> (Running, Vec<String>) {
        let words = |fixed: &[&str]| fixed.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let with =
            |name: &str, value: Option<String>| value.map(|value| vec![name.to_owned(), value]).unwrap_or_default();
        match self {
            Self::Status { running } => (running, words(&["STATUS"])),
            Self::Groups { running } => (running, words(&["GROUPS"])),
            Self::Listeners { running } => (running, words(&["LISTENERS"])),
            Self::Links { running } => (running, words(&["LINKS"])),
            Self::Workers { running } => (running, words(&["WORKERS"])),
            Self::Events { number, running } => {
                (running, [words(&["EVENTS"]), Vec::from_iter(number.map(|number| number.to_string()))].concat())
            }
            Self::Reload { running } => (running, words(&["RELOAD"])),
            Self::Upgrade { running } => (running, words(&["UPGRADE"])),
            Self::Nodes { group, running } => (running, [words(&["NODES"]), Vec::from_iter(group)].concat()),
            Self::Sentinels { group, running } => (running, [words(&["SENTINELS"]), Vec::from_iter(group)].concat()),
            Self::Config { word, running } => (running, [words(&["CONFIG"]), Vec::from_iter(word)].concat()),
            Self::Sessions { options, running } => (running, [words(&["SESSIONS"]), options].concat()),
            Self::Lanes { node, running } => (running, [words(&["LANES"]), Vec::from_iter(node)].concat()),
            Self::Resume { group, running } => (running, [words(&["RESUME"]), Vec::from_iter(group)].concat()),
            Self::Reconnect { what, running } => (running, [words(&["RECONNECT"]), Vec::from_iter(what)].concat()),
            Self::Slowlog { reset: true, running, .. } => (running, words(&["SLOWLOG", "RESET"])),
            Self::Slowlog { count, running, .. } => (running, words(&["SLOWLOG", "GET", &count.to_string()])),
            Self::Hotkeys { action, running } => (running, [words(&["HOTKEYS"]), Vec::from_iter(action)].concat()),
            Self::Bigreplies { reset, running } => {
                (running, words(if reset { &["BIGREPLIES", "RESET"] } else { &["BIGREPLIES"] }))
            }
            Self::Kill { id, running } => (running, words(&["KILL", &id.to_string()])),
            Self::LogLevel { level, running } => (running, words(&["LOG", "LEVEL", &level])),
            Self::Node { node, command, running } => (running, [words(&["NODE", &node]), command].concat()),
            Self::Drain { node, group, running } => {
                (running, [words(&["DRAIN", &node]), with("GROUP", group)].concat())
            }
            Self::Undrain { node, group, running } => {
                (running, [words(&["UNDRAIN", &node]), with("GROUP", group)].concat())
            }
            Self::Pause { group, time, within, running } => {
                let within = with("WITHIN", within.map(milliseconds));
                let length = words(&["FOR", &milliseconds(time)]);
                (running, [words(&["PAUSE"]), Vec::from_iter(group), length, within].concat())
            }
            Self::Promote { group, node, timeout, running } => {
                (running, words(&["PROMOTE", &node, "GROUP", &group, "TIMEOUT", &milliseconds(timeout)]))
            }
            Self::Link(LinkOrder::Allow { link, time, running }) => {
                (running, words(&["LINK", "ALLOW", &link, "FOR", &milliseconds(time)]))
            }
            Self::Ask { words: asked, running } => {
                let asked = if asked.is_empty() { words(&["HELP"]) } else { asked };
                (running, asked)
            }
        }
    }
}

/// As redis-cli prints it where no terminal is: what is nested, line by line.
fn text_of(value: &Value) -> String {
    match value {
        Value::Text(bytes) => String::from_utf8_lossy(bytes).trim_end_matches(['\r', '\n']).to_owned(),
        Value::Error(words) => format!("(error) {words}"),
        Value::Integer(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join("\n"),
        Value::Map(pairs) => {
            let lines = pairs.iter().flat_map(|(key, value)| [text_of(key), text_of(value)]);
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

fn json_of(value: &Value) -> serde_json::Value {
    match value {
        Value::Text(bytes) => String::from_utf8_lossy(bytes).into_owned().into(),
        Value::Error(words) => serde_json::json!({ "error": words }),
        Value::Integer(number) => (*number).into(),
        Value::Double(number) => (*number).into(),
        Value::Boolean(truth) => (*truth).into(),
        Value::Null => serde_json::Value::Null,
        Value::Array(items) => items.iter().map(json_of).collect(),
        Value::Map(pairs) => {
            pairs.iter().map(|(key, value)| (text_of(key), json_of(value))).collect::<serde_json::Map<_, _>>().into()
        }
    }
}
