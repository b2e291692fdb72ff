"""A headless Chromium, driven through a pipe by the DevTools protocol; needs no other package.

https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
)
_TIMEOUT = 30  # seconds for one answer
# Chromium reads commands from descriptor 3 and answers on 4. The pipes are moved there via higher numbers, in
# case one of them is where the other belongs.
_LAUNCH = """
import fcntl, os, sys
high = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for end, place in zip(high, (3, 4)):
    os.dup2(end, place)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find_chromium() -> str | None:
    """Return the path of Chromium, or None if it is not installed."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Page:
    """One tab; `events`: what the browser has reported, such as console lines, exceptions and requests."""

    def __init__(self, writer: int, reader: int) -> None:
        self._writer, self._reader = writer, reader
        self._held = b""
        self._last = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer. Raises `RuntimeError` with the browser's message."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._last:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._held:
            if not select([self._reader], [], [], _TIMEOUT)[0]:
                raise RuntimeError("the browser does not answer")
            self._held += os.read(self._reader, 1 << 20)
        first, _, self._held = self._held.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        return message

    def run(self, script: str) -> Any:
        """Return the value of an expression, after waiting for promises."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            raise RuntimeError(done["exceptionDetails"].get("exception", {}).get("description", script))
        return done["result"].get("value")

    def wait(self, condition: str, seconds: float = 10) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(condition):
            if time.monotonic() > end:
                raise RuntimeError(f"never became true: {condition}")
            time.sleep(0.02)

    def open(self, path: Path) -> None:
        """Open a file and wait until its images are loaded and painted."""
        self.events.clear()
        self.call("Page.navigate", url=path.absolute().as_uri())
        self.wait("location.protocol === 'file:' && document.readyState === 'complete'")
        self.settle()

    def settle(self) -> None:
        """Wait for two frames, after which all pending changes are painted."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def look(
        self, width: int, height: int, density: float = 1, dark: bool = False, phone: bool = False
    ) -> None:
        """Set the size of the window, the theme and the kind of device."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=density,
            mobile=phone,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone, maxTouchPoints=2)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Dispatch `Moved`, `Pressed`, `Released` or `Wheel` at a position in the window."""
        button = {} if kind in ("Moved", "Wheel") and "buttons" not in more else {"button": "left"}
        self.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **button, **more)

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 4) -> None:
        """Press at one position, move, and release at another."""
        self.mouse("Moved", *start)
        self.mouse("Pressed", *start, clickCount=1)
        for k in range(1, steps + 1):
            x, y = (a + (b - a) * k / steps for a, b in zip(start, end, strict=True))
            self.mouse("Moved", x, y, buttons=1)
        self.mouse("Released", *end, clickCount=1)
        self.settle()

    def click(self, selector: str) -> None:
        """Press and release in the middle of an element."""
        self.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'nearest'}})")
        x, y = self.middle(selector)
        self.drag((x, y), (x, y), steps=1)

    def middle(self, selector: str) -> tuple[float, float]:
        """Return the centre of an element in the window."""
        box = f"document.querySelector({selector!r}).getBoundingClientRect()"
        x, y = self.run(f"(b => [b.left + b.width / 2, b.top + b.height / 2])({box})")
        return x, y

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """Dispatch `Start`, `Move` or `End` with fingers at these positions."""
        touched = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(points)]
        self.call("Input.dispatchTouchEvent", type=f"touch{kind}", touchPoints=touched)

    def key(self, name: str, up: bool = True, shift: bool = False) -> None:
        """Press a key, and release it unless `up` is false."""
        text = {"text": name} if len(name) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=name, modifiers=8 * shift, **text)
        if up:
            self.key_up(name)
        self.settle()

    def key_up(self, name: str) -> None:
        """Release a key."""
        self.call("Input.dispatchKeyEvent", type="keyUp", key=name)

    def downloads_to(self, folder: Path) -> None:
        """Set the folder for files that a page saves."""
        session, self._session = self._session, None
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder.absolute()))
        self._session = session

    def screenshot(self, whole: bool = False) -> bytes:
        """Return a PNG of the window, or of the whole page."""
        self.settle()
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(taken["data"])

    def picture(self, selector: str) -> bytes:
        """Return a PNG of one element as it is on the screen."""
        self.settle()
        box = f"document.querySelector({selector!r}).getBoundingClientRect()"
        sides = "b.left + scrollX, b.top + scrollY, b.width, b.height"
        x, y, width, height = self.run(f"(b => [{sides}].map(Math.round))({box})")
        clip = {"x": x, "y": y, "width": width, "height": height, "scale": 1}
        taken = self.call("Page.captureScreenshot", format="png", clip=clip, optimizeForSpeed=True)
        return base64.b64decode(taken["data"])

    def requests(self) -> list[str]:
        """Return the URLs requested since `open`, except the page itself and data inside it."""
        asked = [
            e["params"]["request"]["url"]
            for e in self.events
            if e.get("method") == "Network.requestWillBeSent"
        ]
        page = self.run("location.href.split('#')[0]")
        return [url for url in asked if url != page and not url.startswith(("data:", "blob:"))]

    def faults(self) -> list[str]:
        """Return errors and warnings on the console, and exceptions, since `open`."""
        self.run("0")  # receives what has been reported until now
        out = []
        for event in self.events:
            told = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                out.append(str(told["exceptionDetails"].get("exception", told["exceptionDetails"])))
            elif event.get("method") == "Log.entryAdded":
                out.append(told["entry"]["text"])
            elif event.get("method") == "Runtime.consoleAPICalled" and told["type"] in (
                "error",
                "warning",
                "assert",
            ):
                out.append(str(told["args"]))
        return out


@contextmanager
def open_page() -> Iterator[Page]:
    """Start a browser with one tab and close it at the end. Raises `RuntimeError` if there is no Chromium."""
    program = find_chromium()
    if program is None:
        raise RuntimeError("no Chromium here: apt-get install chromium")
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        launch = [sys.executable, "-c", _LAUNCH, str(to_read), str(from_write)]
        process = subprocess.Popen(
            [*launch, program, *_FLAGS, *sandbox, f"--user-data-dir={profile}"],
            pass_fds=(to_read, from_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(from_write)
        try:
            yield Page(to_write, from_read)
        finally:
            os.close(to_write)
            os.close(from_read)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
