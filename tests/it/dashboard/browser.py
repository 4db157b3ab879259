"""A headless Chromium, driven over a pair of pipes: no library, no port, no other process than the browser."""

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time

PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
# Of one answer; the machine may be busy with other tests.
PATIENCE = 90


class Browser:
    def __init__(self):
        program = next((path for path in map(shutil.which, PROGRAMS) if path), None)
        if program is None:
            raise SystemExit("no Chromium on PATH: .ci/install browser")
        self.folder = tempfile.mkdtemp(prefix="redan-browser-")
        commands, self.write_end = os.pipe()
        self.read_end, answers = os.pipe()

        def pipes():
            # The browser reads from 3 and writes to 4. First out of the way of each other.
            low, high = os.dup(commands), os.dup(answers)
            os.dup2(low, 3)
            os.dup2(high, 4)

        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
             "--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-component-update",
             "--font-render-hinting=none", f"--user-data-dir={self.folder}", "--remote-debugging-pipe", "about:blank"],
            preexec_fn=pipes, close_fds=False, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(commands)
        os.close(answers)
        self.unread = b""
        self.number = 0
        self.said = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # The browser is a family of processes, in a session of its own.
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def message(self, deadline):
        while b"\0" not in self.unread:
            ready, _, _ = select.select([self.read_end], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise SystemExit("the browser did not answer in time")
            more = os.read(self.read_end, 1 << 20)
            if not more:
                raise SystemExit("the browser has ended")
            self.unread += more
        line, _, self.unread = self.unread.partition(b"\0")
        return json.loads(line)

    def call(self, method, session=None, **parameters):
        self.number += 1
        wish = {"id": self.number, "method": method, "params": parameters}
        if session:
            wish["sessionId"] = session
        os.write(self.write_end, json.dumps(wish).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            message = self.message(deadline)
            if message.get("id") == self.number:
                if "error" in message:
                    raise SystemExit(f"{method}: {message['error']}")
                return message["result"]
            self.said.append(message)

    def page(self, url, width, height, dark=False, scale=1):
        return Page(self, url, width, height, dark, scale)


class Page:
    def __init__(self, browser, url, width, height, dark, scale):
        self.browser = browser
        self.target = browser.call("Target.createTarget", url="about:blank", newWindow=True)["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=width < 500)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=url)

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def look(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise SystemExit(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, expression, seconds=90):
        deadline = time.monotonic() + seconds
        while True:
            seen = self.look(f"Boolean({expression})")
            if seen:
                return seen
            if time.monotonic() > deadline:
                raise SystemExit(f"never true: {expression}; {self.complaints()}; the page says: {self.look('document.body.innerText')}")
            time.sleep(0.05)

    def key(self, key):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, text=key if kind == "keyDown" and len(key) == 1 else "")

    def picture(self, path, whole=True):
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        with open(path, "wb") as file:
            file.write(base64.b64decode(picture["data"]))

    def complaints(self):
        """Errors of scripts, refused by the policy or not found: what the console would show in red."""
        found = []
        for message in self.browser.said:
            if message.get("sessionId") != self.session:
                continue
            method, what = message.get("method"), message.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(what["exceptionDetails"].get("exception", {}).get("description", str(what)))
            if method == "Log.entryAdded" and what["entry"]["level"] == "error":
                found.append(what["entry"]["text"])
        return found

    def asked(self):
        """Every address that the page has asked for."""
        wishes = (m for m in self.browser.said if m.get("sessionId") == self.session and m.get("method") == "Network.requestWillBeSent")
        return [wish["params"]["request"]["url"] for wish in wishes]
