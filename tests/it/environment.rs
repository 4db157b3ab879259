//! Settings from the environment: without a file, and by `${NAME}` in a file; and `redan health`, which looks there too.

use std::fs;
use std::process::{Command, Output, Stdio};

use super::support::client::Client;
use super::support::network::Running;
use super::support::redis::{Redis, eventually};

fn redan(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redan"));
    // Nothing of the test's own environment: the variables of one service are the mistakes of another.
    command.args(arguments).env_clear().envs(variables.iter().copied()).stdin(Stdio::null());
    command
}

fn output(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    redan(arguments, variables).output().expect("the built program")
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port()
}

#[test]
fn redan_runs_from_variables_alone_and_says_how_it_is() {
    let master = Redis::options().password("secret-word").start();
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    fs::write(&password, "secret-word\n").unwrap();
    let [bind, admin] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let (nodes, password) = (master.address(), password.display().to_string());
    let variables = [
        ("REDAN_BIND", bind.as_str()),
        ("REDAN_NODES", nodes.as_str()),
        ("REDAN_PASSWORD_FILE", password.as_str()),
        ("REDAN_ADMIN", admin.as_str()),
        ("REDAN_WORKERS", "1"),
        ("REDAN_DENY", "flushall,@dangerous"),
        // What Kubernetes adds when a service is called redan.
        ("REDAN_PORT", "tcp://10.0.0.1:6379"),
    ];
    let checked = output(&["check"], &variables);
    assert!(checked.status.success(), "{checked:?}");
    // Not there yet: it cannot be asked.
    assert_eq!(output(&["health"], &variables).status.code(), Some(69));
    let running = Running::start(redan(&["run"], &variables).current_dir(folder.path()));
    eventually("it serves", || std::net::TcpStream::connect(&bind).is_ok());
    let mut client = Client::connect(&bind);
    client.ok(&["SET", "k", "v"]);
    assert!(client.ask(&["FLUSHALL"]).starts_with("-NOPERM"));
    assert!(output(&["health"], &variables).status.success());
    eventually("it is ready", || output(&["health", "--ready"], &variables).status.success());
    assert!(output(&["health", "--admin", &admin], &[]).status.success(), "the address itself needs no variable");
    drop(master);
    eventually("it is not ready without a master", || {
        let asked = output(&["health", "--ready"], &variables);
        asked.status.code() == Some(1) && String::from_utf8_lossy(&asked.stdout).contains("has no master")
    });
    assert!(output(&["health"], &variables).status.success(), "and healthy all the same: a restart would not help");
    drop(running);
}

#[test]
fn mistakes_in_the_environment_name_the_variable() {
    let wrong = |arguments: &[&str], variables: &[(&str, &str)]| {
        let checked = output(arguments, variables);
        assert_eq!(checked.status.code(), Some(78), "{checked:?}");
        String::from_utf8_lossy(&checked.stderr).into_owned()
    };
    let both = wrong(&["run"], &[]);
    assert!(both.contains("REDAN_BIND is not set") && both.contains("neither REDAN_NODES nor"), "{both}");
    let least = [("REDAN_BIND", "127.0.0.1:1"), ("REDAN_NODES", "127.0.0.1:2")];
    let with = |name, value| wrong(&["check"], &[least[0], least[1], (name, value)]);
    assert!(with("REDAN_HOLD", "10").starts_with("REDAN_HOLD: `hold`: \"10\" is not a duration"));
    assert!(with("REDAN_NODESS", "x").starts_with("REDAN_NODESS stands for no setting; did you mean REDAN_NODES?"));
    assert!(wrong(&["health"], &[]).contains("REDAN_ADMIN is not set"));
    assert!(wrong(&["health"], &[("REDAN_ADMIN", "here")]).contains("REDAN_ADMIN is \"here\""));
}

#[test]
fn a_file_takes_words_from_the_environment() {
    let servers = [Redis::start(), Redis::start()];
    let replica = Redis::options().replica_of(&servers[0]).start();
    replica.wait_for_link();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.toml");
    let text = "[redan]\nworkers = \"${THREADS:-1}\"\n[[listener]]\nname = \"app\"\nbind = \"127.0.0.1:${PORT}\"\nhold = \"${HOLD:-5s}\"\n\
                [[group]]\nname = \"main\"\nnodes = [\"${NODES}\"]\n";
    fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let port = free_port().to_string();
    let nodes = format!("{}, {}", servers[0].address(), replica.address());
    let variables = [("PORT", port.as_str()), ("NODES", nodes.as_str())];
    let checked = output(&["check", &file], &variables);
    let table = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && table.contains(&replica.address()), "{checked:?}");
    let _running = Running::start(&mut redan(&["run", &file], &variables));
    let address = format!("127.0.0.1:{port}");
    eventually("it serves", || std::net::TcpStream::connect(&address).is_ok());
    Client::connect(&address).ok(&["SET", "k", "v"]);

    let unset = output(&["check", &file], &[("PORT", &port)]);
    let said = String::from_utf8_lossy(&unset.stderr).into_owned();
    assert_eq!(unset.status.code(), Some(78));
    assert!(
        said.contains("proxy.toml:9, NODES: environment variable NODES is not set; set it, or write a default"),
        "{said}"
    );
    let malformed = output(&["check", &file], &[("PORT", &port), ("NODES", "redis-0"), ("THREADS", "two")]);
    let said = String::from_utf8_lossy(&malformed.stderr).into_owned();
    assert!(said.contains("proxy.toml:2, THREADS: `workers` is out of range"), "{said}");
    assert!(said.contains("proxy.toml:9, NODES: `nodes`: \"redis-0\" is not a node's address"), "{said}");
}
