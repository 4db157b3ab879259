//! Reads that are asked of a second node while the first one takes its time.

use super::*;

/// One replica takes 200 ms for whatever a key with "slow" in it names, the others nothing.
fn slow_for_some(fake: &Fake) {
    let port = fake.port();
    fake.script(move |command| {
        let key = command.words.get(1).cloned().unwrap_or_default();
        let text = format!("{key}@{port}");
        let by = if key.contains("slow") { Duration::from_millis(200) } else { Duration::ZERO };
        Act::After(by, format!("${}\r\n{text}\r\n", text.len()).into_bytes())
    });
}

#[test]
fn a_hedged_read_is_answered_by_whoever_is_first_and_once() {
    for (listener, pipelined, hedge) in [
        ("consistency = \"eventual\"", 1, "8ms"),
        ("consistency = \"eventual\"", 5, "8ms"),
        ("reads = \"any\"", 3, "8ms"),
        ("consistency = \"eventual\"", 2, "p95"),
    ] {
        let nodes = Fakes::new();
        let endpoint = Endpoint::start(&nodes.addresses(), listener, &format!("hedge = {hedge:?}"));
        let mut client = endpoint.client();
        // Something is saved to be spent.
        let mut text = String::new();
        for _ in 0..800 {
            text = client.text(&["GET", "k"]).expect("a value");
        }
        // With "session" it is on one node by now.
        let here = nodes.0.iter().find(|fake| text.ends_with(&format!("@{}", fake.port()))).expect("who has answered");
        slow_for_some(here);
        let (mut longest, before) = (Duration::ZERO, nodes.served().iter().sum::<usize>());
        for round in 0..12 {
            let keys: Vec<String> = (0..pipelined).map(|number| format!("slow:{round}:{number}")).collect();
            let asked = Instant::now();
            client.raw(&keys.iter().map(|key| pipeline(&[&["GET", key]])).collect::<Vec<_>>().concat());
            for key in &keys {
                let text = client.text_reply();
                assert!(text.starts_with(&format!("{key}@")), "{text} answers {key}");
            }
            longest = longest.max(asked.elapsed());
            // What is sent right behind belongs to the same connection, and comes after it.
            assert!(client.text(&["GET", "quick"]).is_some_and(|text| text.starts_with("quick@")));
        }
        assert!(longest < Duration::from_millis(180), "{longest:?} with {listener}, {hedge}, {pipelined} at a time");
        let (hedges, won) = (endpoint.metric("redan_hedges_total"), endpoint.metric("redan_hedges_won_total"));
        assert!(hedges > 0.0 && won > 0.0 && won <= hedges, "{hedges} {won}");
        // The slow one may not have worked through all of it.
        let late: f64 = nodes.addresses().iter().map(|address| node(&endpoint, "late_reads", address)).sum();
        let most = 12.0 * (f64::from(pipelined) + 1.0) + hedges + late;
        let sent = (nodes.served().iter().sum::<usize>() - before) as f64;
        assert!(sent <= most, "nothing else was sent twice: {sent}, and {most} were to be");
    }
}

#[test]
fn hedges_are_at_most_a_tenth() {
    let nodes = Fakes::new();
    let endpoint = Endpoint::start(&nodes.addresses(), "consistency = \"eventual\"", "hedge = \"8ms\"");
    nodes.0[1..].iter().for_each(|fake| slow(fake, Duration::from_millis(30)));
    read_for(&endpoint.address(), 10, Duration::from_secs(1));
    let reads = endpoint.metric("redan_reads_total{from=\"replica\"}");
    let hedges = endpoint.metric("redan_hedges_total");
    assert!(hedges > 0.0 && hedges * 10.0 <= reads, "{hedges} for {reads} reads");
}

/// A node that is busy with a script says so sooner than the other one reads.
#[test]
fn an_error_never_wins_a_race() {
    let nodes = Fakes::new();
    let endpoint = Endpoint::start(&nodes.addresses(), "consistency = \"eventual\"", "hedge = \"8ms\"");
    let mut client = endpoint.client();
    for _ in 0..300 {
        assert!(client.ask(&["GET", "k"]).starts_with('$'));
    }
    // Whoever is asked second says that it is busy.
    let asked = Arc::new(Mutex::new(HashSet::new()));
    let busy = Arc::new(AtomicUsize::new(0));
    for replica in &nodes.0[1..] {
        let (asked, busy) = (Arc::clone(&asked), Arc::clone(&busy));
        replica.script(move |command| {
            if asked.lock().expect("no script panics").insert(command.words[1].clone()) {
                return Act::After(Duration::from_millis(100), b"$5\r\nvalue\r\n".to_vec());
            }
            busy.fetch_add(1, Ordering::SeqCst);
            Act::reply("-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n")
        });
    }
    for round in 0..10 {
        assert_eq!(client.ask(&["GET", &format!("k{round}")]), bulk("value"));
    }
    assert!(busy.load(Ordering::SeqCst) > 0, "nobody was asked second");
    assert_eq!(endpoint.metric("redan_hedges_won_total"), 0.0);
}
