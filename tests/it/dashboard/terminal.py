"""Runs `redan top` in a terminal of 80 by 24: terminal.py END PROGRAM [ARGUMENT...]. END is a key or the name of a signal.

Prints what was shown, its exit code, and whether the terminal is as it was.
"""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import time


def main(end, *command):
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(terminal)
    child = os.fork()
    if child == 0:
        os.login_tty(terminal) if hasattr(os, "login_tty") else login(terminal)
        os.environ["TERM"] = "xterm-256color"
        os.execv(command[0], command)
    shown = b""
    deadline = time.monotonic() + 90
    raw = False
    ended = sent = None
    while time.monotonic() < deadline:
        ready, _, _ = select.select([controller], [], [], 0.05)
        if ready:
            shown += os.read(controller, 65536)
        if sent is None and "q quit".encode() in shown and b"serving" in shown and b"events" in shown:
            raw = termios.tcgetattr(terminal) != before
            sent = True
            if end.startswith("SIG"):
                os.kill(child, getattr(signal, end))
            else:
                os.write(controller, end.encode().decode("unicode_escape").encode())
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            ended = os.waitstatus_to_exitcode(status)
            break
    else:
        os.kill(child, signal.SIGKILL)
    while select.select([controller], [], [], 0.2)[0]:
        shown += os.read(controller, 65536)
    print(json.dumps({
        "code": ended, "raw": raw, "restored": termios.tcgetattr(terminal) == before,
        "left": shown.rfind(b"\x1b[?1049l") > shown.rfind(b"\x1b[?1049h") >= 0,
        "cursor": shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l"),
        "shown": shown.decode(errors="replace"),
    }))


def login(terminal):
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    for standard in range(3):
        os.dup2(terminal, standard)


if __name__ == "__main__":
    main(*sys.argv[1:])
