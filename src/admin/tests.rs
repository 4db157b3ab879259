//! The endpoint over a real socket: what is answered, and what is refused.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::*;
use crate::config::Config;
use crate::memory::Memory;
use crate::metrics::PinReason;
use crate::resp::value::Value;
use crate::topology::{Node, NodeId, Role, Snapshot};

fn node(id: u32, address: &str, role: Role) -> Node {
    Node { address: address.into(), ..Node::example(id, role) }
}

fn config() -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.toml");
    let text = "[[listener]]\nname = \"app\"\nbind = \"127.0.0.1:6380\"\n[[group]]\nname = \"main\"\n\
                nodes = [{ address = \"10.0.0.2:6379\", zone = \"a\", weight = 3 }]\n\
                [[link]]\nname = \"dc2\"\nentry = \"127.0.0.1:8000\"\nto = \"dc2:7443\"\nidentity = \"redan.key\"\n\
                peers = [\"redan1q8xyjf5skj4rrg3ptng3wg26e3wenwranmpnfqt9zus0qtgu4e95qju4ace\"]\n";
    std::fs::write(&file, text).unwrap();
    // It is there; nobody reads it here.
    std::fs::write(folder.path().join("redan.key"), "").unwrap();
    crate::config::load(&file).unwrap()
}

/// One of each, of which the group takes promotions like this.
fn known(snapshot: Snapshot, promote: impl Fn(Ask) -> bool + Send + Sync + 'static) -> Known {
    let config = Arc::new(config());
    let group = KnownGroup {
        number: 0,
        config: Arc::clone(&config.groups[0]),
        snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
        witnesses: Arc::default(),
        since: Arc::default(),
        masters: Arc::default(),
        paused: Arc::default(),
        orders: Arc::new(GroupOrders {
            promote: Box::new(promote),
            steer: Box::new(|node, _, done| done.send(Err(format!("{node} stays"))).is_ok()),
            speak: Box::new(|_, words| {
                Box::pin(async move { Ok(Value::Array(words.into_iter().map(Value::Text).collect())) })
            }),
        }),
    };
    let listener = KnownListener {
        number: 0,
        config: Arc::clone(&config.listeners[0]),
        group: "main".to_owned(),
        crowd: Arc::new(|| Crowd { clients: 4, held: 1 }),
    };
    let link = KnownLink { config: Arc::clone(&config.links[0]), counters: Arc::default() };
    Known { config, groups: vec![group], listeners: vec![listener], links: vec![link] }
}

/// Two workers and one group: a master, a replica that lags, and a node that does not answer.
fn state() -> AdminState {
    let replica = Node {
        lag: Some(Duration::from_millis(1500)),
        lag_bytes: Some(42),
        round_trip: Some(Duration::from_micros(250)),
        ..node(1, "10.0.0.2:6379", Role::Replica)
    };
    let silent = Node {
        readable: Err("it does not answer".into()),
        trouble: Some("timed out".into()),
        silent: true,
        ..node(2, "bad\"na\\me\n:1", Role::Unknown)
    };
    let nodes = vec![node(0, "10.0.0.1:6379", Role::Master), replica, silent];
    let snapshot =
        Snapshot { epoch: 7, master: Some(0), nodes, reason: "the only claim".into(), sentinels: None, busy: false };
    AdminState {
        started: Instant::now(),
        started_at: SystemTime::now(),
        now: Arc::new(ArcSwap::from_pointee(known(snapshot, |_| false))),
        resident: Resident::open(),
        open_files: OpenFiles::open(),
        workers: vec![Arc::default(), Arc::default()],
        acceptor: Arc::default(),
        renewals: Arc::default(),
        traces: Arc::default(),
        chronicle: Arc::default(),
        visitors: Visitors::default(),
        memory: Memory::new(Some(1 << 30), &[]),
        reloads: Reloads::new().0,
        listening: Arc::new(AtomicBool::new(true)),
        draining: Arc::default(),
        switchboard: Arc::new(Switchboard::new(Vec::new())),
        orders: Orders {
            level: Arc::new(|level| Err(format!("no level is called {level}"))),
            upgrade: tokio::sync::mpsc::unbounded_channel().0,
        },
    }
}

/// Runs the endpoint for as long as `test` takes.
fn with_endpoint<T>(state: Arc<AdminState>, test: impl AsyncFnOnce(SocketAddr) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let endpoint = tokio::spawn(serve(listener, state, async move { drop(stopped.await) }));
        let outcome = test(address).await;
        stop.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(5), endpoint).await.expect("stops when told").unwrap();
        outcome
    })
}

/// Sends `request` as it is; the whole answer. The endpoint closes after one.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A reset after a refusal loses nothing that was read before.
    let reading = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    drop(reading.expect("answers and closes in time"));
    String::from_utf8(answer).unwrap()
}

fn get(state: AdminState, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: redan\r\n\r\n");
    with_endpoint(Arc::new(state), async |address| exchange(address, request.as_bytes()).await)
}

#[test]
fn the_report_tells_of_everything_and_leaves_open_what_is_not_known() {
    let state = state();
    state.acceptor.accepted(0);
    let handles = [state.workers[0].node(0, NodeId(1)), state.workers[1].node(0, NodeId(1))];
    handles.iter().for_each(|node| node.in_flight.set(2));
    let answer = get(state, "/status");
    assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
    let report: serde_json::Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(report["process"]["state"], "serving");
    assert!(report["process"]["resident_bytes"].as_u64().unwrap() > 1 << 20);
    assert_eq!((report["listeners"][0]["clients"].as_u64(), report["groups"][0]["held"].as_u64()), (Some(4), Some(1)));
    assert_eq!(report["groups"][0]["master"], "10.0.0.1:6379");
    let nodes = report["groups"][0]["nodes"].as_array().unwrap();
    assert_eq!(nodes.iter().map(|node| &node["state"]).collect::<Vec<_>>(), ["master", "ok", "down"]);
    assert_eq!((&nodes[1]["zone"], nodes[1]["weight"].as_u64()), (&"a".into(), Some(3)));
    assert_eq!(nodes[1]["in_flight"], 4);
    assert_eq!((&nodes[1]["lag_seconds"], &nodes[0]["lag_seconds"]), (&1.5.into(), &serde_json::Value::Null));
}

#[test]
fn metrics_sum_the_workers_and_show_the_snapshots() {
    let state = state();
    let [first, second] = &state.workers[..] else { panic!("two workers") };
    first.commands_read.add(2);
    second.commands_read.add(3);
    second.sessions_open.set(4);
    first.sessions_rejected.add(1);
    state.acceptor.rejected.add(1);
    second.pins.of(PinReason::Watch).add(6);
    first.topology_epoch_seen.of(0).set(7);
    second.topology_epoch_seen.of(0).set(6);
    let handles = [first.node(0, NodeId(1)), second.node(0, NodeId(1))];
    handles.iter().for_each(|node| node.commands.add(10));
    let (answer, older) = with_endpoint(Arc::new(state), async |address| {
        let asked = b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n\r\n";
        (exchange(address, asked).await, exchange(address, b"GET /metrics HTTP/1.1\r\n\r\n").await)
    });
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(older.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{older}");
    assert!(
        older.contains("\n# TYPE redan_commands_total counter\nredan_commands_total{kind=\"read\"} 5\n"),
        "{older}"
    );
    for line in [
        "redan_build_info{version=\"0.1.0\"} 1",
        "redan_commands_total{kind=\"read\"} 5",
        "redan_commands_total{kind=\"pinned\"} 0",
        "redan_sessions 4",
        "redan_worker_sessions{worker=\"1\"} 4",
        "redan_sessions_rejected_total 2",
        "redan_pins_taken_total{reason=\"watch\"} 6",
        "redan_group_has_master{group=\"main\"} 1",
        "redan_group_epoch{group=\"main\"} 7",
        "redan_group_epoch_seen{group=\"main\"} 6",
        "redan_node_up{group=\"main\",node=\"10.0.0.1:6379\"} 1",
        "redan_node_up{group=\"main\",node=\"bad\\\"na\\\\me\\n:1\"} 0",
        "redan_node_master{group=\"main\",node=\"10.0.0.1:6379\"} 1",
        "redan_node_master{group=\"main\",node=\"10.0.0.2:6379\"} 0",
        "redan_node_readable{group=\"main\",node=\"bad\\\"na\\\\me\\n:1\"} 0",
        "redan_node_role{group=\"main\",node=\"10.0.0.2:6379\",role=\"replica\"} 1",
        "redan_node_lag_bytes{group=\"main\",node=\"10.0.0.2:6379\"} 42",
        "redan_node_lag_seconds{group=\"main\",node=\"10.0.0.2:6379\"} 1.5",
        "redan_node_round_trip_seconds{group=\"main\",node=\"10.0.0.2:6379\"} 0.00025",
        "redan_node_commands_total{group=\"main\",node=\"10.0.0.2:6379\"} 20",
        "redan_node_commands_total{group=\"main\",node=\"10.0.0.1:6379\"} 0",
        "# EOF",
    ] {
        assert!(answer.lines().any(|found| found == line), "{line}\n{answer}");
    }
    assert!(!answer.contains("redan_node_lag_bytes{group=\"main\",node=\"10.0.0.1:6379\"}"), "unknown is no zero");
    assert!(answer.contains("\nprocess_start_time_seconds 1"));
}

#[test]
fn readiness_names_every_reason() {
    assert!(get(state(), "/readyz").starts_with("HTTP/1.1 200 OK\r\n"));
    let state = state();
    state.listening.store(false, Relaxed);
    state.now.load().groups[0]
        .snapshot
        .store(Arc::new(Snapshot { reason: "two claims".into(), ..Snapshot::unknown() }));
    let answer = get(state, "/readyz");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(body, "the listeners are not bound yet\ngroup 'main' has no master: two claims\n");
    let state = self::state();
    state.draining.store(true, Relaxed);
    let answer = get(state, "/readyz");
    assert!(answer.ends_with("\r\n\r\nRedan is shutting down and takes no new clients\n"), "{answer}");
}

#[test]
fn health_is_the_workers_heartbeat_and_not_the_masters() {
    let long_ago = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
    let beating = |state: &AdminState, ages_s: [u64; 2]| {
        for (worker, age_s) in state.workers.iter().zip(ages_s) {
            worker.heartbeat_ms.set(60_000 - age_s * 1000);
        }
    };
    let state = AdminState { started: long_ago, ..state() };
    state.now.load().groups[0].snapshot.store(Arc::new(Snapshot::unknown()));
    beating(&state, [1, 0]);
    assert!(get(state, "/healthz").starts_with("HTTP/1.1 200 OK\r\n"));
    let state = AdminState { started: long_ago, ..self::state() };
    beating(&state, [1, 20]);
    let answer = get(state, "/healthz");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("worker 1 has not run for 20."), "{answer}");
    let state = AdminState { started: long_ago, ..self::state() };
    beating(&state, [20, 1]);
    assert!(get(state, "/readyz").contains("worker 0 has not run"));
}

#[test]
fn other_requests_are_refused() {
    let long = format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(HEAD_BYTES));
    let many = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(HEADERS + 1));
    let rows: &[(&str, &str, &str)] = &[
        ("GET /x HTTP/1.1\r\n\r\n", "HTTP/1.1 404 ", "ask for /, /metrics"),
        ("GET /metrics/x HTTP/1.1\r\n\r\n", "HTTP/1.1 404 ", ""),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 405 ", "allow: GET, HEAD"),
        ("GET /healthz?verbose HTTP/1.1\r\n\r\n", "HTTP/1.1 200 ", "ok"),
        ("HEAD /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 200 ", "\r\n\r\n"),
        ("nonsense\r\n\r\n", "HTTP/1.1 400 ", ""),
        ("*1\r\n$4\r\nPING\r\n", "HTTP/1.1 400 ", ""),
        (&long, "HTTP/1.1 431 ", ""),
        (&many, "HTTP/1.1 431 ", ""),
    ];
    with_endpoint(Arc::new(state()), async |address| {
        for (request, status, part) in rows {
            let answer = exchange(address, request.as_bytes()).await;
            assert!(answer.starts_with(status), "{request:.40}\n{answer}");
            assert!(answer.contains(part), "{request:.40}\n{answer}");
        }
        assert!(exchange(address, b"HEAD /healthz HTTP/1.1\r\n\r\n").await.ends_with("\r\n\r\n"), "no body");
    });
}

#[test]
fn silent_clients_neither_block_others_nor_prevent_the_stop() {
    with_endpoint(Arc::new(state()), async |address| {
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS - 1 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let answer = exchange(address, b"GET /healthz HTTP/1.1\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        silent
    });
}

/// What is answered to `REDAN line`, with the steps before it.
fn redan(state: AdminState, line: &str) -> (Result<String, String>, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (told, mut steps) = tokio::sync::mpsc::unbounded_channel();
        let words = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        let outcome = verbs::run(verbs::Call::new(Arc::new(state), words, told)).await;
        let shown = outcome.map(|shown| match shown {
            verbs::Shown::Line(text) | verbs::Shown::Text(text) | verbs::Shown::Json(text) => text,
            verbs::Shown::Raw(value) => format!("{value:?}"),
        });
        let mut all = Vec::new();
        while let Ok(step) = steps.try_recv() {
            all.push(step);
        }
        (shown, all)
    })
}

#[test]
fn a_promotion_is_handed_on_and_told_of_step_by_step() {
    let promoting = |promote: fn(Ask) -> bool| {
        let state = state();
        let snapshot = (*state.now.load().groups[0].snapshot.load_full()).clone();
        state.now.store(Arc::new(known(snapshot, promote)));
        state
    };
    let accepting = promoting(|ask| {
        assert_eq!((ask.node.as_str(), ask.timeout), ("10.0.0.2:6379", Duration::from_millis(50)));
        ["one", "done: two"].iter().all(|line| ask.progress.send((*line).to_owned()).is_ok())
    });
    let (outcome, steps) = redan(accepting, "promote 10.0.0.2:6379 timeout 50ms");
    assert_eq!((outcome.as_deref(), steps.as_slice()), (Ok("done: two"), &["one".to_owned()][..]));
    let refusing = promoting(|ask| ask.progress.send("refused: no".to_owned()).is_ok());
    assert_eq!(redan(refusing, "PROMOTE x GROUP main").0, Err("refused: no".to_owned()));
    assert!(redan(state(), "PROMOTE x").0.unwrap_err().contains("ask again"));
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_could_be() {
    for (line, part) in [
        ("NONSENSE", "unknown verb 'NONSENSE'"),
        ("LOG", "REDAN LOG LEVEL level"),
        ("STATUS now", "wrong number of arguments; it is REDAN STATUS"),
        ("NODES other", "no group is called 'other'; there is main"),
        ("DRAIN 10.0.0.9:1", "no node is at 10.0.0.9:1; there is 10.0.0.1:6379, 10.0.0.2:6379"),
        ("DRAIN 10.0.0.2:6379", "10.0.0.2:6379 stays"),
        ("SESSIONS STATE asleep", "no session is ever 'asleep'"),
        ("SESSIONS ID", "ID lacks its value"),
        ("SESSIONS COLOUR red", "'COLOUR' is no option here"),
        ("PAUSE main FOR 2h", "longer than"),
        ("LOG LEVEL loud", "no level is called loud"),
        ("LINK ALLOW other", "no link is called 'other'; there is dc2"),
        ("KILL 7", "no client has the id 7"),
        ("RECONNECT nowhere", "no group is called so"),
    ] {
        let words = redan(state(), line).0.expect_err(line);
        assert!(words.contains(part), "{line}: {words}");
    }
}

#[test]
fn every_overview_is_text_for_people_and_json_for_programs() {
    for verb in [
        "HELP",
        "STATUS",
        "GROUPS",
        "NODES",
        "SENTINELS",
        "LISTENERS",
        "LINKS",
        "WORKERS",
        "CONFIG",
        "SESSIONS",
        "LANES",
    ] {
        let text = redan(state(), verb).0.unwrap_or_else(|error| panic!("{verb}: {error}"));
        assert!(text.lines().count() >= 1 && !text.starts_with('{'), "{verb}: {text}");
        let json = redan(state(), &format!("{verb} JSON")).0.unwrap();
        serde_json::from_str::<serde_json::Value>(&json).unwrap_or_else(|error| panic!("{verb}: {error}: {json}"));
    }
    let node = redan(state(), "NODE 10.0.0.2:6379 SET k JSON").0.unwrap();
    assert_eq!(node.matches("Text").count(), 3, "a node's command is the node's to the last word: {node}");
    let status = redan(state(), "STATUS").0.unwrap();
    assert!(status.contains("group 'main': 10.0.0.1:6379 is the master"), "{status}");
    let config = redan(state(), "CONFIG reads").0.unwrap();
    assert!(config.contains("listener app") && config.contains("replica") && config.contains("default"), "{config}");
    let config = redan(state(), "CONFIG bind").0.unwrap();
    assert!(config.contains("127.0.0.1:6380") && config.contains("line 3"), "{config}");
}

#[test]
fn a_group_that_no_worker_serves_is_paused_and_goes_on() {
    let paused = redan(state(), "PAUSE main FOR 5s").0.unwrap();
    assert!(paused.starts_with("group 'main' is paused: nothing is under way"), "{paused}");
    assert_eq!(redan(state(), "RESUME").0, Ok("group 'main' was not paused".to_owned()));
}
