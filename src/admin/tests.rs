//! The endpoint over a real socket: what is answered, and what is refused.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::*;
use crate::memory::Memory;
use crate::metrics::PinReason;
use crate::topology::{Flavor, Node, NodeId, Role};

fn node(id: u32, address: &str, role: Role) -> Node {
    Node {
        id: NodeId(id),
        address: address.into(),
        role,
        readable: Ok(()),
        lag: None,
        lag_bytes: None,
        interruptions: 0,
        run: id,
        offsets_comparable: true,
        round_trip: None,
        zone: None,
        flavor: Flavor::Redis,
        version: None,
        greeting: None,
        parent: None,
        trouble: None,
        silent: false,
        busy: false,
    }
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
        busy: false,
        ..node(2, "bad\"na\\me\n:1", Role::Unknown)
    };
    let nodes = vec![node(0, "10.0.0.1:6379", Role::Master), replica, silent];
    let snapshot =
        Snapshot { epoch: 7, master: Some(0), nodes, reason: "the only claim".into(), sentinels: None, busy: false };
    AdminState {
        started: Instant::now(),
        started_at: SystemTime::now(),
        workers: vec![Arc::default(), Arc::default()],
        acceptor: Arc::default(),
        renewals: Arc::default(),
        memory: Memory::new(Some(1 << 30), &[]),
        groups: Arc::new(ArcSwap::from_pointee(vec![KnownGroup {
            number: 0,
            name: "main".to_owned(),
            snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
        }])),
        links: Arc::new(ArcSwap::from_pointee(vec![("dc2".to_owned(), Arc::default())])),
        reloads: Reloads::new().0,
        listening: Arc::new(AtomicBool::new(true)),
        draining: Arc::default(),
        promote: Box::new(|_| false),
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
    state.groups.load()[0].snapshot.store(Arc::new(Snapshot { reason: "two claims".into(), ..Snapshot::unknown() }));
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
    state.groups.load()[0].snapshot.store(Arc::new(Snapshot::unknown()));
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
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 ", "ask for /metrics"),
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

/// The whole exchange for a promotion with these lines of the head.
fn promotion(promote: Promote, head: &str, body: &str) -> String {
    let state = AdminState { promote, ..state() };
    let length = body.len();
    let request = format!("POST /promote HTTP/1.0\r\nHost: redan\r\nContent-Length: {length}\r\n{head}\r\n{body}");
    with_endpoint(Arc::new(state), async |address| exchange(address, request.as_bytes()).await)
}

#[test]
fn a_promotion_is_handed_on_and_told_of_line_by_line() {
    let promote: Promote = Box::new(|ask: Ask| {
        assert_eq!(
            (ask.group.as_str(), ask.node.as_str(), ask.timeout),
            ("main", "[::1]:6379", Duration::from_millis(50))
        );
        ["one", "done: two"].iter().all(|line| ask.progress.send((*line).to_owned()).is_ok())
    });
    let answer = promotion(promote, "Redan-Command: promote\r\n", "group=main&node=[::1]:6379&timeout_ms=50");
    assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("\r\n\r\none\ndone: two\n"), "{answer}");
}

#[test]
fn what_a_browser_could_send_promotes_nobody() {
    let whole = "group=main&node=10.0.0.2:6379";
    let guard = "Redan-Command: promote\r\n";
    for (head, body, status) in [
        ("", whole, 403),
        ("Redan-Command: promote\r\nOrigin: http://127.0.0.1:9180\r\n", whole, 403),
        (guard, "group=main", 400),
        (guard, "group=main&node=10.0.0.2:6379&timeout_ms=1h", 400),
        (guard, "group=other&node=10.0.0.2:6379", 404),
    ] {
        let promote: Promote = Box::new(|ask| panic!("handed on: {ask:?}"));
        let answer = promotion(promote, head, body);
        assert!(answer.starts_with(&format!("HTTP/1.0 {status}")), "{head:?} {body:?}: {answer}");
    }
    let answer = promotion(Box::new(|_| false), guard, whole);
    assert!(answer.starts_with("HTTP/1.0 503"), "{answer}");
    assert!(get(state(), "/promote").starts_with("HTTP/1.1 405"));
}
