//! The whole of Redan in the test's own process, on ports of the system's choice and without any node.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;
use crate::config;

const DEADLINE: Duration = Duration::from_secs(20);

/// Nobody listens there: what needs a node waits, what Redan answers itself does not.
const GROUP: &str = "[[group]]\nname = \"main\"\nnodes = [\"127.0.0.1:1\"]\n";

fn config(toml: &str) -> Config {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("proxy.toml");
    std::fs::write(&file, format!("{toml}\n{GROUP}")).expect("writable");
    config::load(&file).unwrap_or_else(|errors| panic!("{errors}"))
}

fn log() -> Log {
    Log { level: Arc::new(|_: &str| Ok(())), chronicle: Arc::default() }
}

fn beginning() -> Beginning {
    Beginning::new(Reloads::new(), mpsc::unbounded_channel().0, Inherited::default(), None).0
}

fn refusal(toml: &str) -> (u8, String) {
    match start(config(toml), beginning(), log()) {
        Err(error) => (error.exit_code(), error.to_string()),
        Ok(_) => panic!("it started"),
    }
}

fn tcp(bound: &Bound, index: usize) -> SocketAddr {
    match &bound.listeners[index] {
        Bind::Tcp(address) => *address,
        Bind::Unix { .. } => panic!("a TCP listener"),
    }
}

fn ask(stream: &mut (impl Read + Write), command: &str) -> String {
    stream.write_all(format!("{command}\r\n").as_bytes()).expect("open");
    let mut reply = [0; 512];
    let n = stream.read(&mut reply).expect("an answer");
    String::from_utf8_lossy(&reply[..n]).into_owned()
}

fn client(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream
}

fn drain(running: Running) -> usize {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(drain::drain(running))
}

#[test]
fn what_is_wrong_with_files_or_ports_is_said_before_anything_starts() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = holder.local_addr().expect("bound");
    let (code, says) = refusal(&format!("[[listener]]\nname = \"app\"\nbind = \"{taken}\""));
    assert_eq!(code, 71);
    assert!(says.starts_with(&format!("listener 'app': cannot listen on {taken}: another process")), "{says}");
    let plain = "[[listener]]\nname = \"app\"\nbind = \"127.0.0.1:0\"";
    let (code, says) = refusal(&format!("[redan]\nadmin = \"{taken}\"\n{plain}"));
    assert_eq!((code, says.starts_with(&format!("`admin`: cannot listen on {taken}"))), (71, true), "{says}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("redan.pem");
    std::fs::write(&file, "not PEM").expect("writable");
    let file = file.display();
    let (code, says) = refusal(&format!("{plain}\ntls = {{ cert = \"{file}\", key = \"{file}\" }}"));
    assert_eq!(
        (code, says),
        (78, format!("listener 'app': {file}: holds no certificate; it must be PEM with BEGIN CERTIFICATE"))
    );
}

#[test]
fn clients_are_served_counted_limited_and_drained() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("redan.sock");
    let toml = format!(
        "[redan]\nworkers = 2\nadmin = \"127.0.0.1:0\"\nshutdown_timeout = \"0s\"\n\
         [[listener]]\nname = \"app\"\nbind = \"127.0.0.1:0\"\nmax_clients = 2\n\
         [[listener]]\nname = \"local\"\nbind = \"unix:{}\"\n",
        path.display()
    );
    let bound = start(config(&toml), beginning(), log()).unwrap_or_else(|error| panic!("{error}"));
    let address = tcp(&bound, 0);
    assert_ne!(address.port(), 0);

    let (mut first, mut second) = (client(address), client(address));
    let ids = [ask(&mut first, "CLIENT ID"), ask(&mut second, "CLIENT ID")];
    assert_eq!(ids, [":1\r\n", ":2\r\n"]);
    let seats = Arc::clone(&bound.running.seats);
    assert_eq!((seats.of_worker(0), seats.of_worker(1)), (1, 1), "each worker has one of the two");
    let mut third = String::new();
    client(address).read_to_string(&mut third).expect("a reply and the end");
    assert_eq!(third, "-ERR max number of clients reached\r\n");
    assert_eq!(ask(&mut UnixStream::connect(&path).expect("it listens"), "PING"), "+PONG\r\n");

    drop(first);
    let start = Instant::now();
    while seats.of_listener(0) == 2 {
        assert!(start.elapsed() < DEADLINE, "the seat of a client that left is not given back");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(ask(&mut client(address), "PING"), "+PONG\r\n");

    let Some(Bind::Tcp(admin)) = bound.admin else { panic!("an admin address") };
    let mut metrics = String::new();
    let mut scraper = client(admin);
    scraper.write_all(b"GET /metrics HTTP/1.1\r\nHost: redan\r\nConnection: close\r\n\r\n").expect("open");
    scraper.read_to_string(&mut metrics).expect("an answer");
    assert!(metrics.contains("redan_sessions_rejected_total 1\n"), "{metrics}");

    drain(bound.running);
    assert_eq!(second.read(&mut [0; 16]).expect("closed in peace"), 0);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_client_that_waits_for_a_master_is_cut_off_at_the_deadline() {
    let toml =
        "[redan]\nworkers = 1\nshutdown_timeout = \"50ms\"\n[[listener]]\nname = \"app\"\nbind = \"127.0.0.1:0\"";
    let bound = start(config(toml), beginning(), log()).unwrap_or_else(|error| panic!("{error}"));
    let mut waiting = client(tcp(&bound, 0));
    assert_eq!(ask(&mut waiting, "PING"), "+PONG\r\n");
    waiting.write_all(b"SET key value\r\n").expect("open");
    let mut idle = client(tcp(&bound, 0));
    assert_eq!(ask(&mut idle, "PING"), "+PONG\r\n");
    let seats = Arc::clone(&bound.running.seats);
    assert_eq!(drain(bound.running), 1);
    assert_eq!(idle.read(&mut [0; 16]).expect("closed in peace"), 0);
    assert_eq!(seats.taken(), 0);
}

#[test]
fn the_watchdog_is_fed_while_all_workers_run_and_no_longer() {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let feedings = |last_beat: Duration| {
        // Two workers; one has beaten last so long ago.
        let started = Instant::now().checked_sub(Duration::from_secs(60)).expect("the machine is up for a minute");
        let workers: Vec<Arc<WorkerCounters>> = vec![Arc::default(), Arc::default()];
        workers[0].heartbeat_ms.set(60_000);
        workers[1].heartbeat_ms.set(u64::try_from((Duration::from_secs(60) - last_beat).as_millis()).expect("small"));
        let fed = Cell::new(0);
        let pulse = Pulse { started, workers };
        let feed = || fed.set(fed.get() + 1);
        let fed_for_a_while = async {
            let _ = tokio::time::timeout(
                Duration::from_millis(100),
                pulse.keep_alive(Some(Duration::from_millis(1)), feed),
            )
            .await;
        };
        runtime.block_on(fed_for_a_while);
        fed.get()
    };
    assert!(feedings(Duration::ZERO) > 0);
    assert_eq!(feedings(Duration::from_secs(30)), 0);
}
