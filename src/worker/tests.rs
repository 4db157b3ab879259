//! A worker on the test's own thread: how its tasks end, how large they are, and its handshakes.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;

use rcgen::KeyPair;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalRuntime;
use tokio_rustls::TlsConnector;

use super::*;
use crate::backend::dial::Dialer;
use crate::backend::pool::GroupView;
use crate::config::{self, Config, Identity, ListenerTls, NodeTls, NodeTrust};
use crate::handover::{Departure, Ready};
use crate::limits;
use crate::tls::keyring::Keyring;
use crate::tls::{client, server};
use crate::topology::Snapshot;

const DEADLINE: Duration = Duration::from_secs(20);

/// Runs `test` as a worker's thread would, and not for ever.
fn on_a_worker<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let options = LocalOptions::default();
    let runtime: LocalRuntime = Builder::new_current_thread().enable_all().build_local(options).expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(DEADLINE, test()).await }).expect("within the deadline");
}

fn config() -> Config {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("proxy.toml");
    let toml = "[[listener]]\nname = \"app\"\nbind = \"127.0.0.1:0\"\n\
                [[group]]\nname = \"main\"\nnodes = [\"127.0.0.1:1\"]\n";
    std::fs::write(&file, toml).expect("writable");
    config::load(&file).unwrap_or_else(|errors| panic!("{errors}"))
}

fn setup() -> Setup {
    let config = config();
    let dialer = Dialer::new(
        Arc::clone(&config.groups[0]),
        Arc::new(Keyring::load(&config.groups[0]).expect("no files to read")),
        Arc::default(),
    );
    let published = Arc::new(arc_swap::ArcSwap::from_pointee(Snapshot::unknown()));
    let view = GroupView {
        index: 0,
        name: "main".into(),
        published,
        look: Arc::default(),
        acknowledged: Default::default(),
        registry: Default::default(),
        scripts: Default::default(),
    };
    let doors = vec![Door { listener: Arc::clone(&config.listeners[0]), tls: None, holding: Arc::default() }];
    let (counters, throttle) = (Arc::default(), Arc::default());
    let memory = Memory::new(None, std::slice::from_ref(&counters));
    Setup {
        insight: insight::Settings::default(),
        outlet: None,
        workers: 1,
        started: Instant::now(),
        counters,
        groups: vec![GroupSetup { view, dialer: Arc::new(dialer) }],
        doors,
        throttle,
        switchboard: Arc::new(Switchboard::new(Vec::new())),
        memory,
        number: 0,
        seed: 1,
    }
}

/// The server's end and the client's end of a connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address: SocketAddr = listener.local_addr().expect("bound");
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (accepted.expect("accepted").0, client.expect("connected"))
}

fn arrival(id: u64, socket: TcpStream, seats: &Arc<Seats>) -> Arrival {
    let (remote, local) = (socket.peer_addr().expect("connected"), socket.local_addr().expect("bound"));
    let socket = Socket::Tcp(socket.into_std().expect("a socket"));
    Arrival { id, socket, peer: Peer::Tcp { remote, local }, listener: 0, seat: seats.take(0, 0, None), was: None }
}

#[test]
fn the_task_of_an_idle_session_is_small() {
    on_a_worker(|| async {
        let worker = Worker::new(setup());
        let (socket, _client) = pair().await;
        let seat = Seats::new(1).take(0, 0, None);
        let peer = Peer::Tcp { remote: ([127, 0, 0, 1], 1).into(), local: ([127, 0, 0, 1], 2).into() };
        let session = Session::new(1, socket.into(), peer, Rc::clone(&worker.door(0).expect("the only one").context));
        worker.counters.sessions_open.increment();
        let task = live(Presence { worker, id: 1, _seat: seat }, session);
        // Ten thousand idle clients keep ten thousand of these.
        assert!(size_of_val(&task) < 256, "{} bytes", size_of_val(&task));
        assert!(size_of::<Session>() < 1024, "{} bytes", size_of::<Session>());
    });
}

#[test]
fn a_worker_serves_drains_and_ends() {
    on_a_worker(|| async {
        let setup = setup();
        let counters = Arc::clone(&setup.counters);
        let seats = Seats::new(1);
        let (mailbox, letters) = mailbox();
        let serving = spawn_local(Worker::new(setup).serve(letters));
        let (server, mut client) = pair().await;
        mailbox.accepted(arrival(7, server, &seats));
        client.write_all(b"CLIENT ID\r\nECHO hi\r\n").await.expect("open");
        let mut reply = [0; 12];
        client.read_exact(&mut reply).await.expect("an answer");
        assert_eq!(&reply, b":7\r\n$2\r\nhi\r\n");
        assert_eq!((counters.sessions_open.get(), counters.sessions_total.get(), seats.taken()), (1, 1, 1));
        mailbox.drain();
        assert_eq!(serving.await.expect("no panic"), 0);
        assert_eq!(client.read(&mut reply).await.expect("closed in peace"), 0);
        assert_eq!((counters.sessions_open.get(), seats.taken()), (0, 0));
    });
}

/// Both may come in one turn of the worker's task, before any session has its own.
#[test]
fn who_goes_to_the_next_process_is_not_closed_for_its_silence() {
    on_a_worker(|| async {
        let (worker, seats) = (Worker::new(setup()), Seats::new(1));
        let (server, mut client) = pair().await;
        worker.admit(arrival(7, server, &seats));
        client.write_all(b"ECHO hi\r\n").await.expect("open");
        let mut reply = [0; 8];
        client.read_exact(&mut reply).await.expect("an answer");
        tokio::time::sleep(limits::WATCH_AT_DRAIN).await;
        let (sender, departures) = std::sync::mpsc::channel();
        worker.hand_over(Outbox::new(sender, Ready { listeners: vec!["app".to_owned()], links: Vec::new() }));
        worker.beat();
        while !worker.has_nobody() {
            tokio::task::yield_now().await;
        }
        assert!(matches!(departures.try_recv(), Ok(Departure::Client(client, ..)) if client.id == 7));
    });
}

#[test]
fn a_stopped_worker_says_how_many_it_cut_off() {
    on_a_worker(|| async {
        let seats = Seats::new(1);
        let (mailbox, letters) = mailbox();
        let serving = spawn_local(Worker::new(setup()).serve(letters));
        let mut clients = Vec::new();
        for id in 0..3 {
            let (server, client) = pair().await;
            mailbox.accepted(arrival(id, server, &seats));
            clients.push(client);
        }
        mailbox.stop();
        assert_eq!(serving.await.expect("no panic"), 3);
    });
}

#[test]
fn a_panic_costs_its_own_session_and_nothing_else() {
    on_a_worker(|| async {
        let worker = Worker::new(setup());
        let seats = Seats::new(1);
        worker.counters.sessions_open.increment();
        let presence = Presence { worker: Rc::clone(&worker), id: 1, _seat: seats.take(0, 0, None) };
        let task = spawn_local(async move {
            let _presence = presence;
            panic!("on purpose");
        });
        assert!(task.await.expect_err("it panicked").is_panic());
        let counters = &worker.counters;
        assert_eq!((counters.panics.get(), counters.sessions_open.get(), seats.taken()), (1, 0, 0));
    });
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn make() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["redan.test".to_owned()]).expect("params");
        let cert = params.self_signed(&key).expect("a certificate");
        std::fs::write(folder.path().join("cert.pem"), cert.pem()).expect("writable");
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).expect("writable");
        Self { folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self, client_ca: Option<PathBuf>) -> Arc<rustls::ServerConfig> {
        let tls = ListenerTls {
            certificates: vec![Identity { cert: self.at("cert.pem"), key: self.at("key.pem") }],
            only_tls13: false,
            handshake_timeout: Duration::from_secs(10),
            client_ca,
            client_crl: Vec::new(),
            client_may_show_none: false,
            user: None,
        };
        server::load(&tls).expect("good files").config
    }

    fn trusting(&self) -> NodeTls {
        NodeTls {
            trust: NodeTrust::Ca { ca: self.at("cert.pem"), crl: Vec::new() },
            server_name: Some("redan.test".to_owned()),
            identity: None,
        }
    }
}

/// A client that does its part of a handshake, and what it gets of it does not matter.
async fn shake_as_client(client: TcpStream, tls: NodeTls) {
    let name = client::server_name(&tls, "").expect("a name");
    let config = client::load(&tls).expect("good files").config;
    // Its connection is kept until it is told the end, as a real client would.
    if let Ok(mut stream) = TlsConnector::from(config).connect(name, client).await {
        let _ = stream.read(&mut [0; 16]).await;
    }
}

async fn refusal(handshakes: &Handshakes, config: Arc<rustls::ServerConfig>, server: TcpStream) -> String {
    match handshakes.accept(config, DEADLINE, server).await {
        Err(Failure::Refused(why)) => why,
        Err(Failure::Silent) => "silent".to_owned(),
        Ok(_) => "accepted".to_owned(),
    }
}

#[test]
fn silent_clients_take_nobodys_turn() {
    on_a_worker(|| async {
        let files = Files::make();
        let handshakes = Rc::new(Handshakes::new());
        let mut silent = Vec::new();
        for _ in 0..100 {
            let (server, client) = pair().await;
            let (handshakes, config) = (Rc::clone(&handshakes), files.config(None));
            spawn_local(async move { handshakes.accept(config, DEADLINE, server).await.map(drop) });
            silent.push(client);
        }
        tokio::task::yield_now().await;
        let (server, client) = pair().await;
        spawn_local(shake_as_client(client, files.trusting()));
        assert_eq!(refusal(&handshakes, files.config(None), server).await, "accepted");
    });
}

#[test]
fn a_failed_handshake_says_what_to_do() {
    on_a_worker(|| async {
        let (files, strangers) = (Files::make(), Files::make());
        let handshakes = Handshakes::new();

        let (server, client) = pair().await;
        drop(client);
        assert_eq!(refusal(&handshakes, files.config(None), server).await, "silent");

        let (server, mut client) = pair().await;
        client.write_all(b"*1\r\n$4\r\nPING\r\n").await.expect("open");
        let why = refusal(&handshakes, files.config(None), server).await;
        assert!(why.contains("does not speak TLS"), "{why}");

        let (server, client) = pair().await;
        spawn_local(shake_as_client(client, files.trusting()));
        let why = refusal(&handshakes, files.config(Some(files.at("cert.pem"))), server).await;
        assert!(why.contains("shows no certificate"), "{why}");

        let (server, client) = pair().await;
        spawn_local(shake_as_client(client, strangers.trusting()));
        let why = refusal(&handshakes, files.config(None), server).await;
        assert!(why.contains("check its CA file"), "{why}");
    });
}
