"""redis-py's own tests, at a server and through Redan: what passes there must pass here.

Called by `make suites`: redis_py.py REDAN VENV SOURCE [pytest arguments]. SOURCE is the unpacked source package of
redis-py. Three runs, each with servers of its own: a bare master, Redan's default listener in front of a master and two
replicas, and a listener with admin_commands = "allow". A test that passes at the bare master and not through Redan is a
failure, save those in redis_py.allowed, which must really differ. Exit code 1 on any failure.
"""

import concurrent.futures
import contextlib
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).parent
REDAN, VENV, SOURCE = (pathlib.Path(argument).absolute() for argument in sys.argv[1:4])
MORE = sys.argv[4:]

FILES = [
    "test_commands.py", "test_pipeline.py", "test_pubsub.py", "test_scripting.py", "test_lock.py", "test_monitor.py",
    "test_encoding.py", "test_function.py", "test_cache.py", "test_keyspace_notifications.py", "test_multiprocessing.py",
    "test_asyncio/test_pipeline.py", "test_asyncio/test_pubsub.py", "test_asyncio/test_scripting.py",
    "test_asyncio/test_lock.py", "test_asyncio/test_monitor.py",
]

# They give the master a password that Redan is not told: it cannot reach the node any more, nor can the test take it back.
LEFT_OUT = ["test_commands.py::TestRedisCommands::test_auth"]

# What this listener refuses is refused with these words; a test that needs it says so itself.
REFUSED = "is an administrative command and this listener does not carry those"


def main():
    names = ["bare", "default", "admin"]
    with concurrent.futures.ThreadPoolExecutor() as threads:
        results = dict(zip(names, threads.map(run, names)))
    allowed = read_allowed()
    failures = []
    again = {name: [] for name in names}
    for name in names[1:]:
        for test, (outcome, why) in results[name].items():
            was = results["bare"].get(test, ("missing", ""))[0]
            if was != "passed" or outcome == "passed":
                continue
            if name == "default" and REFUSED in why:
                continue
            if test in allowed:
                allowed[test]["used"] = True
                continue
            again[name].append(test)
        missing = results["bare"].keys() - results[name].keys()
        failures.extend(f"{name}: {test} was not run" for test in sorted(missing))
    # Many wait a fraction of a second for what a busy machine may take longer to do: only what fails twice is a difference.
    for name, tests in again.items():
        for test, (outcome, why) in run(name, tests).items() if tests else ():
            if outcome != "passed" and test in tests:
                # The last lines say what, the traceback before them only where.
                failures.append(f"{name}: {test}: {outcome}: {why.strip()[-600:]}")
    for name, result in results.items():
        counts = {outcome: sum(1 for o, _ in result.values() if o == outcome) for outcome in ("passed", "skipped", "failed")}
        print(f"{name}: {counts}")
    if not MORE:
        unused = [test for test, entry in allowed.items() if not entry["used"]]
        failures.extend(f"redis_py.allowed: {test} passes, or does not exist" for test in unused)
    for failure in failures:
        print(f"\n=== {failure}")
    print(f"{len(failures)} differences")
    return 1 if failures else 0


def read_allowed():
    """Lines of `test<TAB>reason`."""
    allowed = {}
    for line in (HERE / "redis_py.allowed").read_text().splitlines():
        if line and not line.startswith("#"):
            test, reason = line.split("\t")
            assert reason, line
            allowed[test] = {"reason": reason, "used": False}
    return allowed


def run(name, only=()):
    """The outcome of every test, or of these, and why it failed."""
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        master = server(stack, folder)
        if name == "bare":
            port = master
        else:
            replicas = [server(stack, folder, master) for _ in range(2)]
            for replica in replicas:
                wait(lambda: b"master_link_status:up" in ask(replica, b"INFO replication\r\n"), "a replica's link")
            port = redan(stack, folder, [master, *replicas], name == "admin")
        report = folder / "report.xml"
        url = f"redis://127.0.0.1:{port}/0"
        command = [
            VENV / "bin/python", "-m", "pytest", "-v", "--tb=native", "-p", "no:cacheprovider", "--timeout=120", f"--redis-url={url}",
            f"--redis-mod-url={url}", f"--junitxml={report}", "-m",
            "not onlycluster and not fixed_client and not redismod and not ssl and not multidb_integration and not cp_integration",
            *(f"--deselect=tests/{test}" for test in LEFT_OUT), *(places(only) or [f"tests/{file}" for file in FILES]), *MORE,
        ]
        log = SOURCE.parent / f"redis-py.{name}{'.again' if only else ''}.log"
        print(f"{name}: {url}, log in {log}", flush=True)
        with log.open("wb") as out:
            subprocess.run(command, cwd=SOURCE, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False)
        return read(report)


def places(tests):
    """As pytest wants to be told: test_asyncio.test_lock.TestLock::test_lock is in tests/test_asyncio/test_lock.py."""
    modules = {file.removesuffix(".py").replace("/", "."): file for file in FILES}
    found = []
    for test in tests:
        path, name = test.split("::", 1)
        module = max((module for module in modules if f"{path}.".startswith(f"{module}.")), key=len)
        inside = path.removeprefix(module).removeprefix(".")
        found.append("::".join(part for part in (f"tests/{modules[module]}", inside.replace(".", "::"), name) if part))
    return found


def read(report):
    results = {}
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        test = f"{case.get('classname').removeprefix('tests.')}::{case.get('name')}"
        outcome, why = "passed", ""
        for child in case:
            if child.tag in ("failure", "error"):
                outcome, why = "failed", f"{child.get('message')}\n{child.text}"
            elif child.tag == "skipped" and outcome == "passed":
                outcome = "skipped"
        results[test] = (outcome, why)
    assert results, "no test was run"
    return results


def server(stack, folder, master=None):
    port = free_port()
    own = folder / str(port)
    own.mkdir()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", own]
    command += ["--repl-diskless-sync-delay", "0"]
    if master:
        command += ["--replicaof", "127.0.0.1", str(master)]
    start(stack, command, own / "log")
    wait(lambda: ask(port, b"PING\r\n").startswith(b"+PONG"), f"a server on port {port}")
    return port


def redan(stack, folder, nodes, admin):
    port = free_port()
    config = folder / "proxy.toml"
    config.write_text(f"""
[[listener]]
name = "app"
bind = "127.0.0.1:{port}"
group = "main"
reads = "replica"
{'admin_commands = "allow"' if admin else ''}

[[group]]
name = "main"
nodes = {[f"127.0.0.1:{node}" for node in nodes]}
""")
    start(stack, [REDAN, "run", config], SOURCE.parent / f"redan.{'admin' if admin else 'default'}.log")
    wait(lambda: ask(port, b"PING\r\nGET none\r\n").endswith(b"$-1\r\n"), "Redan")
    return port


def start(stack, command, log):
    out = stack.enter_context(open(log, "wb"))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def stop():
        process.send_signal(signal.SIGKILL)
        process.wait()

    stack.callback(stop)


def ask(port, line):
    """What comes until the end, which QUIT brings."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(line + b"QUIT\r\n")
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer.removesuffix(b"+OK\r\n")
    return b""


def wait(ready, what):
    deadline = time.monotonic() + 20
    while not ready():
        if time.monotonic() > deadline:
            sys.exit(f"not within 20 s: {what}")
        time.sleep(0.02)


def free_port():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return holder.getsockname()[1]


# Servers are stopped however this ends.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
sys.exit(main())
