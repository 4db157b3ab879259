//! A server as they were before ACLs, HELLO and names of histories: it knows `slave`, AUTH with one argument, and
//! no more commands than a test needs.
//!
//! It keeps real strings, so that a test sees where a write went, and counts what each server was asked.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use crate::support::client::bulk;

pub(super) struct Old {
    port: u16,
    state: Arc<Mutex<State>>,
    stopped: Arc<AtomicBool>,
}

struct State {
    version: &'static str,
    password: Option<&'static str>,
    /// The port of its master; `None` is a master.
    follows: Option<u16>,
    slaves: Vec<u16>,
    data: Arc<Mutex<Data>>,
    /// Names of the commands that clients sent.
    asked: Vec<String>,
}

/// Shared by the servers of a group: replication without its delay.
#[derive(Default)]
struct Data {
    strings: HashMap<String, String>,
    offset: u64,
}

impl State {
    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().expect("no thread of this server panics")
    }
}

impl Old {
    /// A master and its slave.
    pub(super) fn pair(version: &'static str, password: Option<&'static str>) -> (Self, Self) {
        let data = Arc::default();
        let a = Self::start(version, password, Arc::clone(&data));
        let b = Self::start(version, password, data);
        Self::promote(&a, &b);
        (a, b)
    }

    fn start(version: &'static str, password: Option<&'static str>, data: Arc<Mutex<Data>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let state = State { version, password, follows: None, slaves: Vec::new(), data, asked: Vec::new() };
        let (state, stopped) = (Arc::new(Mutex::new(state)), Arc::new(AtomicBool::new(false)));
        let (of_thread, ends) = (Arc::clone(&state), Arc::clone(&stopped));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&of_thread);
                // The end of a connection is the end of its thread, whatever the reason.
                thread::spawn(move || drop(serve(&stream, port, &state)));
            }
        });
        Self { port, state, stopped }
    }

    /// `SLAVEOF NO ONE` on one and `SLAVEOF` it on the other, in one moment.
    pub(super) fn promote(master: &Self, slave: &Self) {
        let (mut m, mut s) = (master.state(), slave.state());
        (m.follows, m.slaves) = (None, vec![slave.port]);
        (s.follows, s.slaves) = (Some(master.port), Vec::new());
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How often clients sent it this command.
    pub(super) fn count(&self, name: &str) -> usize {
        self.state().asked.iter().filter(|asked| *asked == name).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of this server panics")
    }
}

impl Drop for Old {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then ends.
        drop(TcpStream::connect(self.address()));
    }
}

fn serve(mut stream: &TcpStream, port: u16, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream.try_clone()?);
    let mut connection = Connection { authenticated: false, queued: None };
    while let Some(words) = read_command(&mut input)? {
        let reply = connection.answer(&words, port, &mut state.lock().expect("no thread of this server panics"));
        stream.write_all(reply.as_bytes())?;
    }
    Ok(())
}

struct Connection {
    authenticated: bool,
    /// Replies of a MULTI to come.
    queued: Option<Vec<Vec<String>>>,
}

impl Connection {
    fn answer(&mut self, words: &[String], port: u16, state: &mut State) -> String {
        let name = words[0].to_ascii_uppercase();
        if name == "AUTH" {
            return self.log_in(words, state);
        }
        if state.password.is_some() && !self.authenticated {
            return "-NOAUTH Authentication required.\r\n".to_owned();
        }
        match (name.as_str(), self.queued.take()) {
            ("MULTI", None) => {
                self.queued = Some(Vec::new());
                "+OK\r\n".to_owned()
            }
            ("EXEC", Some(block)) => {
                let replies: String = block.iter().map(|words| command(words, port, state)).collect();
                format!("*{}\r\n{replies}", block.len())
            }
            (_, Some(mut block)) => {
                block.push(words.to_vec());
                self.queued = Some(block);
                "+QUEUED\r\n".to_owned()
            }
            (_, None) => command(words, port, state),
        }
    }

    fn log_in(&mut self, words: &[String], state: &State) -> String {
        let reply = match (state.password, words) {
            (None, [_, _]) => "-ERR Client sent AUTH, but no password is set",
            (Some(password), [_, given]) if password == given => {
                self.authenticated = true;
                "+OK"
            }
            (_, [_, _]) => "-ERR invalid password",
            _ => "-ERR wrong number of arguments for 'auth' command",
        };
        format!("{reply}\r\n")
    }
}

fn command(words: &[String], port: u16, state: &mut State) -> String {
    let name = words[0].to_ascii_uppercase();
    match name.as_str() {
        "INFO" => return bulk(&info(words.get(1).map_or("", String::as_str), port, state)),
        "ROLE" => return role(state),
        "PING" => return "+PONG\r\n".to_owned(),
        "CLIENT" | "SELECT" => return "+OK\r\n".to_owned(),
        _ => state.asked.push(name.clone()),
    }
    let mut data = state.data();
    match (name.as_str(), words) {
        ("SET", _) if state.follows.is_some() => "-READONLY You can't write against a read only slave.\r\n".to_owned(),
        ("SET", [_, key, value]) => {
            data.offset += 50;
            data.strings.insert(key.clone(), value.clone());
            "+OK\r\n".to_owned()
        }
        ("GET", [_, key]) => data.strings.get(key).map_or_else(|| "$-1\r\n".to_owned(), |value| bulk(value)),
        _ => format!("-ERR unknown command '{}'\r\n", words[0]),
    }
}

/// Without `master_replid`, `replica_announced`, `async_loading`: they came later.
fn info(section: &str, port: u16, state: &State) -> String {
    let offset = state.data().offset;
    let text = match section {
        "server" => {
            format!("# Server\nredis_version:{}\nredis_mode:standalone\nrun_id:{port:040}\n", state.version)
        }
        "persistence" => "# Persistence\nloading:0\n".to_owned(),
        "keyspace" => "# Keyspace\ndb0:keys=1,expires=0,avg_ttl=0\n".to_owned(),
        "replication" => {
            let slaves: String = (state.slaves.iter().enumerate())
                .map(|(n, slave)| format!("slave{n}:ip=127.0.0.1,port={slave},state=online,offset={offset},lag=0\n"))
                .collect();
            let own = match state.follows {
                None => "role:master\n".to_owned(),
                Some(master) => format!(
                    "role:slave\nmaster_host:127.0.0.1\nmaster_port:{master}\nmaster_link_status:up\n\
                     master_last_io_seconds_ago:0\nmaster_sync_in_progress:0\nslave_repl_offset:{offset}\n\
                     slave_priority:100\nslave_read_only:1\n"
                ),
            };
            let connected = state.slaves.len();
            format!("# Replication\n{own}connected_slaves:{connected}\n{slaves}master_repl_offset:{offset}\n")
        }
        _ => String::new(),
    };
    text.replace('\n', "\r\n")
}

fn role(state: &State) -> String {
    let offset = state.data().offset;
    match state.follows {
        None => {
            let slaves: String = (state.slaves.iter().map(u16::to_string))
                .map(|port| format!("*3\r\n{}{}{}", bulk("127.0.0.1"), bulk(&port), bulk(&offset.to_string())))
                .collect();
            format!("*3\r\n{}:{offset}\r\n*{}\r\n{slaves}", bulk("master"), state.slaves.len())
        }
        Some(port) => {
            let (kind, host, link) = (bulk("slave"), bulk("127.0.0.1"), bulk("connected"));
            format!("*5\r\n{kind}{host}:{port}\r\n{link}:{offset}\r\n")
        }
    }
}

/// The next command, which Redan always sends as an array of bulk strings; `None` at the end.
fn read_command(input: &mut impl BufRead) -> std::io::Result<Option<Vec<String>>> {
    let Some(count) = read_number(input)? else { return Ok(None) };
    let mut words = Vec::new();
    for _ in 0..count {
        let Some(len) = read_number(input)? else { return Ok(None) };
        let mut word = vec![0; len + 2];
        input.read_exact(&mut word)?;
        words.push(String::from_utf8_lossy(&word[..len]).into_owned());
    }
    Ok(Some(words))
}

/// The number of a line such as `*3` or `$5`.
fn read_number(input: &mut impl BufRead) -> std::io::Result<Option<usize>> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    Ok(line.get(1..).and_then(|number| number.trim_end().parse().ok()))
}
