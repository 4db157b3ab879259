//! The files in docker/, built and run by podman: the counter through a failover, two data centres, the environment alone.
//!
//! `.ci/images` makes the images that they are based on out of Debian's packages; needs root and what `.ci/install containers`
//! installs. Where that does not work the tests say so and why.

mod engine;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine::{Engine, Project};

use super::support::redis::within;

/// Containers start in seconds; on a busy machine each of a dozen takes several.
const DEADLINE: Duration = Duration::from_secs(90);

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port()
}

/// Status and body; `None` while nobody answers.
fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(2 * DEADLINE)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.trim().to_owned()))
}

/// The master ends while the application goes on, one request after the other. What the counter says last.
fn count_through_the_end_of_the_master(project: &Project, port: u16) -> u64 {
    let (stopped, mut after) = (AtomicBool::new(false), 0);
    let (mut last, mut in_doubt) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            project.podman(&["stop", "--time", "10", &project.container("redis-0")]).expect("it stops");
            stopped.store(true, Ordering::SeqCst);
        });
        let start = Instant::now();
        while after < 30 {
            assert!(
                start.elapsed() < 2 * DEADLINE,
                "{after} answers since the master is gone\n{}",
                project.said("redan")
            );
            let gone = stopped.load(Ordering::SeqCst);
            let (status, text) = get(port, "/").expect("the counter's own container lives");
            match status {
                200 => {
                    let number: u64 = text.parse().expect("a number");
                    assert!(number > last, "{number} after {last}: a write was lost");
                    last = number;
                    after += u64::from(gone);
                }
                // The one that the master may have executed when it died.
                _ if text.contains("INDOUBT") && in_doubt == 0 => in_doubt += 1,
                _ => panic!("{status} {text}\n{}", project.said("redan")),
            }
        }
    });
    last
}

/// The counter as this machine sees it, encrypted.
fn get_encrypted(project: &Project, port: u16) -> String {
    let (authority, port) = (project.volume("certificates").join("ca.pem"), port.to_string());
    let mut outside = std::process::Command::new("redis-cli");
    outside.args(["--tls", "--cacert"]).arg(authority).args(["-h", "localhost", "-p", &port, "-a", "change-me"]);
    let answer = outside.args(["GET", "counter"]).output().expect("redis-cli");
    assert!(answer.status.success(), "{answer:?}");
    String::from_utf8_lossy(&answer.stdout).trim().to_owned()
}

#[test]
fn a_counter_that_knows_one_host_goes_on_through_a_failover() {
    let Some(engine) = Engine::get() else { return };
    let (port, tls) = (free_port(), free_port());
    // Sentinels that get no processor take their time.
    let hold = ("REDAN_HOLD", "5m".to_owned());
    let variables = [("COUNTER_PORT", port.to_string()), ("REDAN_TLS_PORT", tls.to_string()), hold];
    let project = Project::up(&engine, "compose.yaml", &variables);
    let ready = || project.exec("redan", &["/usr/bin/redan", "health", "--ready"]).is_ok();
    project.wait("Redan is ready", ready);
    let sentinels_know_all = || {
        (0..3).all(|number| {
            let sentinel = format!("sentinel-{number}");
            let said = project.exec(&sentinel, &["redis-cli", "-p", "26379", "INFO", "sentinel"]).unwrap_or_default();
            said.contains("slaves=2,sentinels=3") && said.contains("status=ok")
        })
    };
    project.wait("the Sentinels know the replicas and each other", sentinels_know_all);
    project.wait("the counter counts", || get(port, "/").is_some_and(|(status, _)| status == 200));
    project.wait("Redan knows everybody", || project.said("redan").matches(" serves reads ").count() >= 2);

    let last = count_through_the_end_of_the_master(&project, port);
    let roles: Vec<String> = ["redis-1", "redis-2"]
        .map(|name| project.exec(name, &["redis-cli", "-a", "change-me", "ROLE"]).unwrap())
        .into();
    assert!(roles.iter().any(|role| role.starts_with("master")), "{roles:?}");

    // It comes back at another address, believes itself the master, and is made a replica.
    project.podman(&["start", &project.container("redis-0")]).expect("it starts");
    let follows = || {
        let role = project.exec("redis-0", &["redis-cli", "-a", "change-me", "ROLE"]).unwrap_or_default();
        role.starts_with("slave") && role.contains("connected")
    };
    project.wait("the old master is a replica", follows);
    project.wait("and serves reads", || project.said("redan").contains("redis-0:6379 serves reads"));
    assert_eq!(get(port, "/value").expect("an answer"), (200, last.to_string()));

    assert_eq!(get_encrypted(&project, tls), last.to_string());
}

#[test]
fn two_data_centres_share_nothing_but_a_link() {
    let Some(engine) = Engine::get() else { return };
    let project = Project::up(&engine, "compose.link.yaml", &[]);
    let own = |words: &[&str]| project.exec("redis-b", &[&["redis-cli"], words].concat()).unwrap_or_default();
    project.wait("a write from the second one gets to the first", || own(&["-h", "redan-b", "SET", "k", "v"]) == "OK");
    project.wait("and comes back by replication", || own(&["GET", "k"]) == "v");
    assert!(own(&["INFO", "replication"]).contains("master_host:redan-b"));
    assert_eq!(project.exec("redis-a", &["redis-cli", "GET", "k"]).as_deref(), Ok("v"));
    // Neither the servers nor what is between them can be reached from the other side.
    assert!(project.exec("redis-b", &["redis-cli", "-h", "redis-a", "PING"]).is_err());
    assert!(project.exec("redis-b", &["redis-cli", "-h", "redan-a", "PING"]).is_err());
    for name in ["redan-a", "redan-b"] {
        project.wait("it is ready", || project.exec(name, &["/usr/bin/redan", "health", "--ready"]).is_ok());
    }
}

#[test]
fn a_container_runs_from_the_environment_alone() {
    let Some(engine) = Engine::get() else { return };
    let project = Project::new(&engine);
    let network = project.name();
    project.podman(&["network", "create", &project.label(), network]).expect("a network");
    let run = |name: &str, arguments: &[&str]| {
        let container = project.container(name);
        let head =
            ["run", "--detach", &project.label(), "--network", network, "--network-alias", name, "--name", &container];
        project.podman(&[&head, arguments].concat()).unwrap_or_else(|why| panic!("{name}: {why}"))
    };
    // Before there is a server of that name.
    let settings = ["REDAN_NODES=redis-0:6379", "REDAN_PLAINTEXT=allow", "REDAN_AUTHENTICATION=none", "REDAN_HOLD=60s"];
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--env", setting]).collect();
    run("redan", &[&["--read-only", "--cap-drop", "ALL"], &settings[..], &["redan"]].concat());
    let healthy = || project.podman(&["healthcheck", "run", &project.container("redan")]).is_ok();
    project.wait("its own health check passes", healthy);
    let ready = || project.exec("redan", &["/usr/bin/redan", "health", "--ready"]);
    assert!(ready().is_err(), "there is no master yet");
    let status = project.exec("redan", &["/usr/bin/redan", "status"]).expect("its variables tell where it is asked");
    assert!(status.contains("process 1, ") && status.contains("group 'main'"), "{status}");

    const SERVER: &str = "docker.io/library/redis:7-bookworm";
    let serve = |name: &str| run(name, &[SERVER, "redis-server", "--protected-mode", "no", "--save", ""]);
    serve("redis-0");
    project.wait("the name has come up", || ready().is_ok());
    run("client", &[SERVER, "sleep", "infinity"]);
    let set =
        |value: &str| project.exec("client", &["redis-cli", "-h", "redan", "SET", "k", value]).unwrap_or_default();
    assert_eq!(set("1"), "OK");
    // Its address goes to somebody else, and the name to another address.
    let address = |name: &str| {
        let form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        project.podman(&["inspect", "--format", form, &project.container(name)]).expect("it is there")
    };
    let before = address("redis-0");
    project.podman(&["rm", "--force", "--time", "0", &project.container("redis-0")]).expect("it is removed");
    run("somebody", &["--ip", &before, SERVER, "sleep", "infinity"]);
    serve("redis-0");
    assert_ne!(address("redis-0"), before);
    project.wait("redis-0 is found at its new address", || set("2") == "OK");
    assert_eq!(project.exec("redis-0", &["redis-cli", "GET", "k"]).as_deref(), Ok("2"));

    // Who it runs as, and how large it is: a debug build, stripped, is larger than a release.
    let inspect = |form: &str| project.podman(&["image", "inspect", "--format", form, "redan"]).expect("the image");
    assert_eq!(inspect("{{.Config.User}}"), "65532:65532");
    let size: u64 = inspect("{{.Size}}").parse().expect("bytes");
    assert!(size < 40_000_000, "{size} bytes");
    let notices = format!("{}:/usr/share/doc/redan/third-party-notices", project.container("redan"));
    assert!(project.podman(&["cp", &notices, "-"]).expect("it is in the image").contains("Apache License"));
    // A mistake ends it with the code for that, and a sentence.
    let wrong = project.podman(&["run", "--rm", &project.label(), "redan"]).unwrap_err();
    assert!(wrong.contains("neither REDAN_NODES nor REDAN_SENTINEL_ADDRESSES is set"), "{wrong}");
    within(DEADLINE, "SIGTERM ends it", || {
        project.podman(&["stop", "--time", "30", &project.container("redan")]).is_ok()
    });
    let code = project.podman(&["inspect", "--format", "{{.State.ExitCode}}", &project.container("redan")]);
    assert_eq!(code.as_deref(), Ok("0"));
}
